"""Publications that ship with the project: real, dated, the last choice where no bank answers.

`recorded.csv` holds their rates as published; each row names the response it was taken from, so a
receipt leads to the bank's own document and its digest.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from importlib.resources import files

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder


class Recorded(SourceAdapter):
    latest_only = True
    publishes_changes = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:  # noqa: ARG002
        rows = (files("service.sources.banks") / "recorded.csv").read_bytes()
        yield RawResponse(session.key, session.base, session.url, rows, session.now())

    def parse(self, response: RawResponse) -> list[Fixing]:
        table = RateTableBuilder(response)
        answers: dict[date, dict[str, str]] = {}
        columns = ("date", "code", "value", "nominal", "change", "url", "fetched_at", "digest")
        for row in parsing.csv_rows(response, *columns):
            on = parsing.day(response, row["date"], "%Y-%m-%d")
            table.add(on, row["code"], row["value"], row["nominal"], row["change"])
            answers[on] = row
        return [
            replace(
                fixing,
                url=answers[fixing.date]["url"],
                fetched_at=parsing.moment(response, answers[fixing.date]["fetched_at"], "%Y-%m-%dT%H:%M:%S%z"),
                digest=answers[fixing.date]["digest"],
            )
            for fixing in table.fixings()
        ]
