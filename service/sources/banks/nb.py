"""Norges Bank (Norway): one CSV document for a range (SDMX), rates per power of ten in `UNIT_MULT`.

Weekends and holidays are absent. As in the standard of SDMX, status 404 means that the range has no observation.
`TWI` and `I44` are indices of the krone, not currencies.
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

MEANT: Final = {"FREQ": "B", "QUOTE_CUR": "NOK", "TENOR": "SP"}
"""Required dimensions: on business days, in kroner, spot."""
INDICES: Final = ("TWI", "I44")


class Nb(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        response = await session.find(f"/B..NOK.SP?format=csvdata&startPeriod={since}&endPeriod={until}")
        if response:
            yield response

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.csv_rows(response, *MEANT, "BASE_CUR", "UNIT_MULT", "TIME_PERIOD", "OBS_VALUE"):
            for column, value in MEANT.items():
                if row[column] != value:
                    response.reject(f"has {row[column][:40]!r} as {column} instead of {value!r}")
            if row["BASE_CUR"] in INDICES:
                continue
            with table.entry():
                day = parsing.day(response, row["TIME_PERIOD"], "%Y-%m-%d")
                nominal = parsing.power_of_ten(response, row["UNIT_MULT"])
                table.add(day, row["BASE_CUR"], row["OBS_VALUE"], nominal)
        return table.fixings() or response.reject("has no rates")
