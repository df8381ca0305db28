"""National Bank of Ukraine: one JSON array for a range; a row a currency and day.

Saturday and Sunday repeat Friday's rates. `rate` is for `units` of the currency.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.fixings import Fixing
from service.sources import documents
from service.sources.base import Feed, Payload
from service.sources.figures import Figures


class Nbu:
    async def fetch(self, feed: Feed, since: date, until: date) -> AsyncIterator[Payload]:
        span = f"start={since:%Y%m%d}&end={until:%Y%m%d}"
        yield await feed.get(f"/exchange_site?{span}&sort=exchangedate&order=asc&json")

    def parse(self, payload: Payload) -> list[Fixing]:
        figures = Figures(payload)
        for row in documents.json_rows(payload):
            date_, code, value, nominal = documents.fields(payload, row, "exchangedate", "cc", "rate", "units")
            figures.add(documents.day(payload, date_, "%d.%m.%Y"), code, value, nominal)
        return figures.fixings()
