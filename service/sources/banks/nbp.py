"""National Bank of Poland: one JSON array for a range, a table per day, each rate for one unit.

Only table A: table B (RUB, KZT and others) is published on Wednesdays, so with it a Wednesday's fixing would have
currencies that Thursday's lacks.
"""

from collections.abc import AsyncIterator
from datetime import date, timedelta

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

LONGEST = timedelta(days=92)
"""From the first day to the last: the bank rejects more than 93 days (https://api.nbp.pl)."""


class Nbp(SourceAdapter):
    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        while since <= until:
            end = min(until, since + LONGEST)
            # "404 NotFound" means that the range has no table (https://api.nbp.pl), e.g. a weekend.
            if tables := await session.find(f"/tables/A/{since}/{end}/?format=json"):
                yield tables
            since = end + timedelta(days=1)

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for published in parsing.json_rows(response):
            kind, date_ = parsing.fields(response, published, "table", "effectiveDate")
            if kind != "A":
                response.reject(f"has the table {kind[:40]!r} instead of 'A'")
            with table.entry():
                day = parsing.day(response, date_, "%Y-%m-%d")
                for row in parsing.rows(response, published, "rates"):
                    with table.entry():
                        table.add(day, *parsing.fields(response, row, "code", "mid"))
        return table.fixings() or response.reject("has no rates")
