"""Bank of Israel: one CSV document for a range (SDMX), rates per power of ten in `UNIT_MULT`.

Weekends and holidays are absent. As in the standard of SDMX, status 404 means that the range has no observation.
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

MEANT: Final = {"FREQ": "D", "COUNTER_CURRENCY": "ILS", "UNIT_MEASURE": "ILS", "DATA_TYPE": "OF00"}
"""Required dimensions: daily, in shekels, representative rates."""


class Boi(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        span = f"startperiod={since}&endperiod={until}"
        response = await session.find(f"/?c%5BDATA_TYPE%5D=OF00&{span}&format=csv")
        if response:
            yield response

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.csv_rows(response, *MEANT, "BASE_CURRENCY", "UNIT_MULT", "TIME_PERIOD", "OBS_VALUE"):
            for column, value in MEANT.items():
                if row[column] != value:
                    response.reject(f"has {row[column][:40]!r} as {column} instead of {value!r}")
            with table.entry():
                day = parsing.day(response, row["TIME_PERIOD"], "%Y-%m-%d")
                nominal = parsing.power_of_ten(response, row["UNIT_MULT"])
                table.add(day, row["BASE_CURRENCY"], row["OBS_VALUE"], nominal)
        return table.fixings() or response.reject("has no rates")
