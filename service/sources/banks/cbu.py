"""Central Bank of Uzbekistan: a JSON array by date; numbers are strings, `Diff` is absolute per nominal."""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Cbu(SourceAdapter):
    publishes_changes = True

    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/all/{day}/")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.json_rows(response):
            with table.entry():
                date_, code, value, nominal = parsing.fields(response, row, "Date", "Ccy", "Rate", "Nominal")
                change = table.optional(parsing.optional_field, row, "Diff")
                table.add(parsing.day(response, date_, "%d.%m.%Y"), code, value, nominal, change)
        return table.fixings()
