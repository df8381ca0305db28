"""National Bank of Ukraine: one JSON array for a range; a row a currency and day.

Saturday and Sunday repeat Friday's rates. `rate` is for `units` of the currency. Until October 2016 the
documents have a row that is no currency: settlements with India, under the code `___` (r030 255).
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession
from service.sources.rate_table import RateTableBuilder

PSEUDO_CURRENCY: Final = "___"
"""The only code that is ignored; any other that is no currency code rejects the document."""


class Nbu:
    async def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        span = f"start={since:%Y%m%d}&end={until:%Y%m%d}"
        yield await feed.get(f"/exchange_site?{span}&sort=exchangedate&order=asc&json")

    def parse(self, payload: RawResponse) -> list[Fixing]:
        figures = RateTableBuilder(payload)
        for row in parsing.json_rows(payload):
            if row.get("cc") == PSEUDO_CURRENCY:
                continue
            date_, code, value, nominal = parsing.fields(payload, row, "exchangedate", "cc", "rate", "units")
            figures.add(parsing.day(payload, date_, "%d.%m.%Y"), code, value, nominal)
        return figures.fixings()
