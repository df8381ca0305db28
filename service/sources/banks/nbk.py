"""National Bank of Kazakhstan: XML by date, decimal points, changes per nominal.

A date not yet set is a document with its date and no items. On Sundays, Mondays and holidays the
bank repeats the last rates under the date asked for, and `<change>` is then 0.00.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Nbk:
    def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(feed, since, until, lambda day: f"/get_rates.cfm?fdate={day:%d.%m.%Y}")

    def parse(self, payload: RawResponse) -> list[Fixing]:
        root = parsing.xml(payload, "rates")
        day = parsing.day(payload, parsing.text(payload, root, "date"), "%d.%m.%Y")
        figures = RateTableBuilder(payload)
        for item in root.iter("item"):
            code, value, nominal = (parsing.text(payload, item, name) for name in ("title", "description", "quant"))
            figures.add(day, code, value, nominal, parsing.optional_text(payload, item, "change"))
        return figures.fixings()
