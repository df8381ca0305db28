"""Bank of England: one CSV document for a range, a column per series; 1 GBP = X foreign, so the direction is inverse.

These are market spot rates at about 16:00, published for statistics; they are not official rates. Weekends and holidays
are absent. An empty cell is a currency that was not quoted that day. The series do not include rouble and tenge.
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from service.domain.fixing import Quotation
from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

SERIES: Final = {
    "XUDLUSS": "USD",
    "XUDLERS": "EUR",
    "XUDLJYS": "JPY",
    "XUDLCDS": "CAD",
    "XUDLSFS": "CHF",
    "XUDLADS": "AUD",
    "XUDLNDS": "NZD",
    "XUDLNKS": "NOK",
    "XUDLSKS": "SEK",
    "XUDLDKS": "DKK",
    "XUDLHDS": "HKD",
    "XUDLSGS": "SGD",
    "XUDLSRS": "SAR",
    "XUDLZRS": "ZAR",
    "XUDLTWS": "TWD",
    "XUDLBK25": "CZK",
    "XUDLBK33": "HUF",
    "XUDLBK47": "PLN",
    "XUDLBK78": "ILS",
    "XUDLBK83": "MYR",
    "XUDLBK87": "THB",
    "XUDLBK89": "CNY",
    "XUDLBK93": "KRW",
    "XUDLBK95": "TRY",
    "XUDLBK97": "INR",
    "XUDLZOS4": "RON",
}


class Boe(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        span = f"Datefrom={since:%d/%b/%Y}&Dateto={until:%d/%b/%Y}"
        query = f"CSVF=TN&{span}&SeriesCodes={','.join(SERIES)}&UsingCodes=Y&csv.x=yes"
        yield await session.get(f"/_iadb-fromshowcolumns.asp?{query}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.csv_rows(response, "DATE"):
            date_ = row.pop("DATE")
            if unknown := row.keys() - SERIES.keys():
                response.reject(f"has the unknown series {min(unknown)[:40]!r}")
            with table.entry():
                day = parsing.day(response, date_, "%d %b %Y")
                for series, value in row.items():
                    if value:
                        with table.entry():
                            table.add(day, SERIES[series], value)
        return table.fixings(Quotation.INVERSE)
