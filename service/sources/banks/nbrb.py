"""National Bank of the Republic of Belarus: a JSON array by date, rates per `Cur_Scale`.

Of its two lists it is the one of daily rates (`periodicity=0`). Saturday and Sunday repeat Friday's
rates. The ranges of `/rates/dynamics` are no choice: they have one currency each, and no scale.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Nbrb:
    def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(feed, since, until, lambda day: f"/rates?periodicity=0&ondate={day}")

    def parse(self, payload: RawResponse) -> list[Fixing]:
        figures = RateTableBuilder(payload)
        names = ("Date", "Cur_Abbreviation", "Cur_OfficialRate", "Cur_Scale")
        for row in parsing.json_rows(payload):
            date_, code, value, nominal = parsing.fields(payload, row, *names)
            figures.add(parsing.day(payload, date_, "%Y-%m-%dT%H:%M:%S"), code, value, nominal)
        return figures.fixings()
