"""Central Bank of Azerbaijan: XML by date, decimal points; documented and reported only, without a recorded response.

On weekends and holidays the bank returns its last rates, with the date of those rates. Metals are in a list of their
own, per troy ounce. The special drawing right has the code `SDR`. Before 2006 the base is the old manat under the same
code.
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder

CURRENCIES: Final = "ValType[@Type='Xarici valyutalar']"
"""The list of currencies; the other one is that of metals."""


class Cbar(SourceAdapter):
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/{day:%d.%m.%Y}.xml")

    def parse(self, response: RawResponse) -> ParsedResponse:
        root = parsing.xml(response, "ValCurs")
        day = parsing.day(response, root.get("Date", ""), "%d.%m.%Y")
        table = RateTableBuilder(response)
        for currencies in root.findall(CURRENCIES) or response.reject("lacks <ValType> with currencies"):
            for row in currencies.findall("Valute"):
                with table.entry():
                    code = row.get("Code", "")
                    value, nominal = (parsing.text(response, row, name) for name in ("Value", "Nominal"))
                    table.add(day, "XDR" if code == "SDR" else code, value, nominal)
        return table.fixings() or response.reject("has a date but no rates")
