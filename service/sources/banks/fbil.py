"""Financial Benchmarks India: one JSON array for a range, a row per pair and day: `INR / 100 JPY`.

Reference rates, which the Reserve Bank of India refers to. Weekends and holidays are absent. A range without rates is
an error: how FBIL reports one is unknown.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder


class Fbil(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        yield await session.get(f"/fetchfiltered?fromDate={since}&toDate={until}&authenticated=false")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.json_rows(response):
            with table.entry():
                date_, pair, value = parsing.fields(response, row, "processRunDate", "subProdName", "rate")
                day = parsing.day(response, date_, "%Y-%m-%d %H:%M:%S")
                match pair.split(" "):
                    case ["INR", "/", nominal, code]:
                        table.add(day, code, value, nominal)
                    case _:
                        response.reject(f"has the pair {pair[:40]!r}, which is not a rate in INR")
        return table.fixings() or response.reject("has no rates")
