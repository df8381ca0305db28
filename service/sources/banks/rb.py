"""Sveriges Riksbank (Sweden): one JSON array for a range, a row per series and day, rates per unit: SEKUSDPMI.

Weekends and holidays are absent. The range is at most a year (reported). `SEKETT` is the krona itself, always 1. A
range without rates is an error: how the bank reports one is unknown.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder


class Rb(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        yield await session.get(f"/Observations/ByGroup/130/{since}/{until}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.json_rows(response):
            with table.entry():
                series, date_, value = parsing.fields(response, row, "seriesId", "date", "value")
                if series == "SEKETT":
                    continue
                if not (series.startswith("SEK") and series.endswith("PMI")):
                    response.reject(f"has the series {series[:40]!r}, which is not a rate in SEK")
                day = parsing.day(response, date_, "%Y-%m-%d")
                table.add(day, series.removeprefix("SEK").removesuffix("PMI"), value)
        return table.fixings() or response.reject("has no rates")
