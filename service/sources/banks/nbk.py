"""National Bank of Kazakhstan: XML by date, decimal points, changes per nominal.

For a date that is not set yet it returns a document with the date and no items. On Sundays, Mondays and holidays the
bank repeats the last rates under the requested date, with a `<change>` of 0.00.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Nbk(SourceAdapter):
    publishes_changes = True

    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/get_rates.cfm?fdate={day:%d.%m.%Y}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        root = parsing.xml(response, "rates")
        day = parsing.day(response, parsing.text(response, root, "date"), "%d.%m.%Y")
        table = RateTableBuilder(response)
        for item in root.iter("item"):
            with table.entry():
                code, value, nominal = (
                    parsing.text(response, item, name) for name in ("title", "description", "quant")
                )
                table.add(day, code, value, nominal, table.optional(parsing.optional_text, item, "change"))
        return table.fixings()
