"""Czech National Bank: one JSON object for a year, a row a currency and day, rates per `amount`.

Weekends and holidays are absent. So would be a currency that was not quoted: a row without a rate is
no row of this document.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession, by_year
from service.sources.rate_table import RateTableBuilder


class Cnb:
    def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_year(feed, since, until, lambda year: f"/daily-year?year={year}&lang=EN")

    def parse(self, payload: RawResponse) -> list[Fixing]:
        figures = RateTableBuilder(payload)
        names = ("validFor", "currencyCode", "rate", "amount")
        for row in parsing.rows(payload, parsing.json_object(payload), "rates"):
            date_, code, value, nominal = parsing.fields(payload, row, *names)
            figures.add(parsing.day(payload, date_, "%Y-%m-%d"), code, value, nominal)
        return figures.fixings()
