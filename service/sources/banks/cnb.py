"""Czech National Bank: one JSON object per year, a row per currency and day, rates per `amount`.

Weekends and holidays are absent. So would be a currency that was not quoted: a row without a rate is an error.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_year
from service.sources.rate_table import RateTableBuilder


class Cnb(SourceAdapter):
    yearly = True

    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_year(session, since, until, lambda year: f"/daily-year?year={year}&lang=EN")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        names = ("validFor", "currencyCode", "rate", "amount")
        for row in parsing.rows(response, parsing.json_object(response), "rates"):
            with table.entry():
                date_, code, value, nominal = parsing.fields(response, row, *names)
                table.add(parsing.day(response, date_, "%Y-%m-%d"), code, value, nominal)
        return table.fixings()
