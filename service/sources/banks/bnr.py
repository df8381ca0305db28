"""National Bank of Romania: one XML for a year, a `<Cube>` a day, rates per `multiplier` where there is one.

Weekends and holidays are absent. So would be a currency that was not quoted: the bank's schema knows no
`<Rate>` without a number. XAU is a gram of gold. The namespace is not looked at: it has changed before.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession, by_year
from service.sources.rate_table import RateTableBuilder


class Bnr:
    def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_year(feed, since, until, lambda year: f"/years/nbrfxrates{year}.xml")

    def parse(self, payload: RawResponse) -> list[Fixing]:
        figures = RateTableBuilder(payload)
        root = parsing.xml(payload, "{*}DataSet")
        # Wherever they stand: a day that is told twice, in two places, is refused.
        for cube in list(root.iter("{*}Cube")) or payload.reject("has no rates"):
            day = parsing.day(payload, cube.get("date", ""), "%Y-%m-%d")
            for row in cube.findall("{*}Rate") or payload.reject(f"has no rates for {day}"):
                value = parsing.content(payload, row)
                figures.add(day, row.get("currency", ""), value, row.get("multiplier", "1"))
        return figures.fixings()
