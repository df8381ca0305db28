"""National Bank of Ukraine: one JSON array for a range; a row per currency and day.

Saturday and Sunday repeat Friday's rates. `rate` is for `units` of the currency. Until October 2016 the documents have
a row that is not a currency: settlements with India, under the code `___` (r030 255).
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

PSEUDO_CURRENCY: Final = "___"
"""The only invalid currency code that is ignored."""


class Nbu(SourceAdapter):
    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        span = f"start={since:%Y%m%d}&end={until:%Y%m%d}"
        yield await session.get(f"/exchange_site?{span}&sort=exchangedate&order=asc&json")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.json_rows(response):
            if row.get("cc") == PSEUDO_CURRENCY:
                continue
            with table.entry():
                date_, code, value, nominal = parsing.fields(response, row, "exchangedate", "cc", "rate", "units")
                table.add(parsing.day(response, date_, "%d.%m.%Y"), code, value, nominal)
        return table.fixings()
