"""Central Bank of Turkmenistan: XML by date; documented and reported only, without a recorded response.

On Sundays and holidays its file is missing (status 404). The server refuses clients that do not look like a browser,
hence the `user_agent` of this source. The US dollar is pegged at 3.5 manats, so that only other currencies move. Until
2023 the date is in ISO format.
"""

import re
from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Cbt(SourceAdapter):
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/{day:%Y}/{day:%d%m%Y}.xml", may_be_missing=True)

    def parse(self, response: RawResponse) -> ParsedResponse:
        root = parsing.xml(response, "cbt_currency_rate")
        date_ = parsing.text(response, root, "date")
        day = parsing.day(response, date_, "%Y-%m-%d" if re.match("[0-9]{4}-", date_) else "%d.%m.%Y")
        table = RateTableBuilder(response)
        for row in root.iter("rate"):
            with table.entry():
                value, nominal = (parsing.text(response, row, name) for name in ("rate_tmt", "multiplier"))
                table.add(day, row.get("code", ""), value, nominal)
        return table.fixings() or response.reject("has a date but no rates")
