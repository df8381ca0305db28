"""National Bank of Kazakhstan: XML by date, decimal points, changes per nominal.

A date not yet set is a document with its date and no items. On Sundays, Mondays and holidays the
bank repeats the last rates under the date asked for, and `<change>` is then 0.00.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.fixings import Fixing
from service.sources import documents
from service.sources.base import Feed, Payload, by_day
from service.sources.figures import Figures


class Nbk:
    def fetch(self, feed: Feed, since: date, until: date) -> AsyncIterator[Payload]:
        return by_day(feed, since, until, lambda day: f"/get_rates.cfm?fdate={day:%d.%m.%Y}")

    def parse(self, payload: Payload) -> list[Fixing]:
        root = documents.xml(payload, "rates")
        day = documents.day(payload, documents.text(payload, root, "date"), "%d.%m.%Y")
        figures = Figures(payload)
        for item in root.iter("item"):
            code, value, nominal = (documents.text(payload, item, name) for name in ("title", "description", "quant"))
            figures.add(day, code, value, nominal, documents.optional_text(payload, item, "change"))
        return figures.fixings()
