"""Central Bank of Uzbekistan: a JSON array by date; numbers are strings, `Diff` is absolute per nominal."""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Cbu:
    def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(feed, since, until, lambda day: f"/all/{day}/")

    def parse(self, payload: RawResponse) -> list[Fixing]:
        figures = RateTableBuilder(payload)
        for row in parsing.json_rows(payload):
            date_, code, value, nominal = parsing.fields(payload, row, "Date", "Ccy", "Rate", "Nominal")
            change = parsing.optional_field(payload, row, "Diff")
            figures.add(parsing.day(payload, date_, "%d.%m.%Y"), code, value, nominal, change)
        return figures.fixings()
