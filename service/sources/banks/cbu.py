"""Central Bank of Uzbekistan: a JSON array by date; numbers are strings, `Diff` is absolute per nominal."""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import Feed, Payload, by_day
from service.sources.rate_table import Figures


class Cbu:
    def fetch(self, feed: Feed, since: date, until: date) -> AsyncIterator[Payload]:
        return by_day(feed, since, until, lambda day: f"/all/{day}/")

    def parse(self, payload: Payload) -> list[Fixing]:
        figures = Figures(payload)
        for row in parsing.json_rows(payload):
            date_, code, value, nominal = parsing.fields(payload, row, "Date", "Ccy", "Rate", "Nominal")
            change = parsing.optional_field(payload, row, "Diff")
            figures.add(parsing.day(payload, date_, "%d.%m.%Y"), code, value, nominal, change)
        return figures.fixings()
