"""Central Bank of the Republic of Türkiye: XML by date, buying and selling rates per `Unit`.

The bank publishes no middle rate: ours is the mean of `ForexBuying` and `ForexSelling`, both of which are kept. For the
special drawing right it publishes one rate only. On weekends and holidays its file is missing (status 404, reported).
The encoding is ISO-8859-9 (recorded in 2016) or UTF-8 (reported).
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Tcmb(SourceAdapter):
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/{day:%Y%m}/{day:%d%m%Y}.xml", may_be_missing=True)

    def parse(self, response: RawResponse) -> ParsedResponse:
        root = parsing.xml(response, "Tarih_Date")
        day = parsing.day(response, root.get("Tarih", ""), "%d.%m.%Y")
        table = RateTableBuilder(response)
        for row in root.iter("Currency"):
            with table.entry():
                code = row.get("CurrencyCode", "")
                nominal, buying = (parsing.text(response, row, name) for name in ("Unit", "ForexBuying"))
                if code == "XDR":
                    table.add(day, code, buying, nominal)
                else:
                    selling = parsing.text(response, row, "ForexSelling")
                    table.add(day, code, nominal=nominal, buying=buying, selling=selling)
        return table.fixings() or response.reject("has a date but no rates")
