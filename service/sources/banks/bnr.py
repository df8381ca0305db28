"""National Bank of Romania: one XML document per year, a `<Cube>` per day, rates per `multiplier` if given.

Weekends and holidays are absent. So would be a currency without a rate: the bank's schema does not allow a `<Rate>`
without a number. XAU is one gram of gold. The namespace is ignored: it has changed before.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_year
from service.sources.rate_table import RateTableBuilder


class Bnr(SourceAdapter):
    yearly = True

    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_year(session, since, until, lambda year: f"/years/nbrfxrates{year}.xml")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        root = parsing.xml(response, "{*}DataSet")
        # At any depth: rates of a day that is present twice, in two places, are left out.
        for cube in list(root.iter("{*}Cube")) or response.reject("has no rates"):
            with table.entry():
                day = parsing.day(response, cube.get("date", ""), "%Y-%m-%d")
                for row in cube.findall("{*}Rate") or response.reject(f"has no rates for {day}"):
                    with table.entry():
                        value = parsing.content(response, row)
                        table.add(day, row.get("currency", ""), value, row.get("multiplier", "1"))
        return table.fixings()
