"""National Bank of the Kyrgyz Republic: XML in windows-1251, decimal commas; the latest daily rates only.

Dates cannot be requested: a missed date stays missing. The bank has two lists in the same format, distinguished by
name. The daily list (USD, EUR, CNY, KZT, RUB) is dated the next day. The weekly list (GBP and some 35 more) has its own
date and is valid for seven days. Only the daily list is used: a fixing has one date and the same currencies every time,
which the two lists together do not.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

NAME = "Daily Exchange Rates"


class Nbkr(SourceAdapter):
    latest_only = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:  # noqa: ARG002
        yield await session.get("/daily.xml")

    def parse(self, response: RawResponse) -> ParsedResponse:
        root = parsing.xml(response, "CurrencyRates")
        if root.get("Name") != NAME:
            response.reject(f"has the name {root.get('Name', '')[:40]!r} instead of {NAME!r}")
        day = parsing.day(response, root.get("Date", ""), "%d.%m.%Y")
        table = RateTableBuilder(response, ",")
        for row in root.iter("Currency"):
            with table.entry():
                value, nominal = (parsing.text(response, row, name) for name in ("Value", "Nominal"))
                table.add(day, row.get("ISOCode", ""), value, nominal)
        return table.fixings() or response.reject("has a date but no rates")
