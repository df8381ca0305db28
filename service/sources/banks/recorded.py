"""Recorded publications that ship with the project: real and dated, used if no bank is reachable.

`recorded.csv` has the rates as published. Each row names the response that it was taken from, so that a receipt leads
to the bank's own document and its digest.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from importlib.resources import files

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder


class Recorded(SourceAdapter):
    latest_only = True
    publishes_changes = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:  # noqa: ARG002
        rows = (files("service.sources.banks") / "recorded.csv").read_bytes()
        yield RawResponse(session.key, session.base, session.url, rows, session.now())

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        receipts: dict[date, dict[str, str]] = {}
        columns = ("date", "code", "value", "nominal", "change", "url", "fetched_at", "digest")
        for row in parsing.csv_rows(response, *columns):
            on = parsing.day(response, row["date"], "%Y-%m-%d")
            table.add(on, row["code"], row["value"], row["nominal"], row["change"])
            receipts[on] = row
        parsed = table.fixings()
        fixings = [
            replace(
                fixing,
                url=receipts[fixing.date]["url"],
                fetched_at=parsing.moment(response, receipts[fixing.date]["fetched_at"], "%Y-%m-%dT%H:%M:%S%z"),
                digest=receipts[fixing.date]["digest"],
            )
            for fixing in parsed
        ]
        return ParsedResponse(fixings, parsed.left_out)
