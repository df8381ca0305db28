"""National Bank of the Republic of Belarus: a JSON array by date, rates per `Cur_Scale`.

Of the bank's two lists this is the daily one (`periodicity=0`). Saturday and Sunday repeat Friday's rates. The ranges
of `/rates/dynamics` cannot be used: they have one currency each, and no scale.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Nbrb(SourceAdapter):
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/rates?periodicity=0&ondate={day}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        names = ("Date", "Cur_Abbreviation", "Cur_OfficialRate", "Cur_Scale")
        for row in parsing.json_rows(response):
            with table.entry():
                date_, code, value, nominal = parsing.fields(response, row, *names)
                table.add(parsing.day(response, date_, "%Y-%m-%dT%H:%M:%S"), code, value, nominal)
        return table.fixings()
