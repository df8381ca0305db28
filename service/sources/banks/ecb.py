"""European Central Bank: one CSV document for a range; 1 EUR = X foreign, so the direction is inverse.

Weekends and TARGET holidays are absent. For a range without observations the bank returns status 200 and an empty body;
no other bank does that. The rouble is suspended, the tenge is not quoted.
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from service.domain.fixing import Quotation
from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

MEANT: Final = {"FREQ": "D", "CURRENCY_DENOM": "EUR", "UNIT_MULT": "0"}
"""Required dimensions: daily, per euro, without a multiplier (UNIT_MULT is a power of ten)."""


class Ecb(SourceAdapter):
    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        end = f"&endPeriod={until}" if until < session.now().date() else ""
        yield await session.get(f"/D..EUR.SP00.A?format=csvdata&startPeriod={since}{end}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        if not response.body.strip():  # nothing published
            return ParsedResponse()
        table = RateTableBuilder(response)
        for row in parsing.csv_rows(response, "CURRENCY", "TIME_PERIOD", "OBS_VALUE"):
            for column, value in MEANT.items():
                if (row.get(column) or value) != value:
                    response.reject(f"has {row[column][:40]!r} as {column} instead of {value!r}")
            if row["OBS_VALUE"] in ("", "NaN"):  # in SDMX: not quoted that day
                continue
            with table.entry():
                day = parsing.day(response, row["TIME_PERIOD"], "%Y-%m-%d")
                table.add(day, row["CURRENCY"], row["OBS_VALUE"])
        return table.fixings(Quotation.INVERSE)
