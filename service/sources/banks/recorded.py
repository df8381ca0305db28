"""Publications that ship with the project: real, dated, the last choice where no bank answers.

`recorded.csv` holds their figures as published; each row names the answer it was taken from, so a
receipt leads to the bank's own document and its digest.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from importlib.resources import files

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession
from service.sources.rate_table import RateTableBuilder


class Recorded:
    async def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:  # noqa: ARG002
        rows = (files("service.sources.banks") / "recorded.csv").read_bytes()
        yield RawResponse(feed.key, feed.base, feed.url, rows, feed.now())

    def parse(self, payload: RawResponse) -> list[Fixing]:
        figures = RateTableBuilder(payload)
        answers: dict[date, dict[str, str]] = {}
        columns = ("date", "code", "value", "nominal", "change", "url", "fetched_at", "digest")
        for row in parsing.csv_rows(payload, *columns):
            on = parsing.day(payload, row["date"], "%Y-%m-%d")
            figures.add(on, row["code"], row["value"], row["nominal"], row["change"])
            answers[on] = row
        return [
            replace(
                fixing,
                url=answers[fixing.date]["url"],
                fetched_at=parsing.moment(payload, answers[fixing.date]["fetched_at"], "%Y-%m-%dT%H:%M:%S%z"),
                digest=answers[fixing.date]["digest"],
            )
            for fixing in figures.fixings()
        ]
