"""Federal Reserve, release H.10: JSON of the FRED API, a series per currency; documented, without a recorded response.

Once a week, on Monday, the noon rates of New York of each day of the week before are published. Each series is
requested by itself, and its response does not name it: the responses are joined into one document, by series. A day
without a rate has a point instead of the number.

Most series are units of the currency for one dollar: the direction is inverse. Those of the euro, the pound and the
dollars of Australia and New Zealand are dollars for one unit: 1.1599 dollars for one euro are kept as 10000 euros for
11599 dollars, which has the same digits and the direction of the others.

The API requires a key, which is sent with each request and shown nowhere: the `secret` of the source.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Final

from service.domain.fixing import Quotation
from service.settings.types import SECRET
from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

SERIES: Final = {
    "DEXBZUS": "BRL",
    "DEXCAUS": "CAD",
    "DEXCHUS": "CNY",
    "DEXDNUS": "DKK",
    "DEXHKUS": "HKD",
    "DEXINUS": "INR",
    "DEXJPUS": "JPY",
    "DEXKOUS": "KRW",
    "DEXMAUS": "MYR",
    "DEXMXUS": "MXN",
    "DEXNOUS": "NOK",
    "DEXSDUS": "SEK",
    "DEXSFUS": "ZAR",
    "DEXSIUS": "SGD",
    "DEXSLUS": "LKR",
    "DEXSZUS": "CHF",
    "DEXTAUS": "TWD",
    "DEXTHUS": "THB",
    "DEXUSAL": "AUD",
    "DEXUSEU": "EUR",
    "DEXUSNZ": "NZD",
    "DEXUSUK": "GBP",
}
_DOLLARS: Final = "DEXUS"
"""How the series begin that are dollars for one unit."""
_MISSING: Final = "."


class Fred(SourceAdapter):
    needs_secret = True
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        query = f"file_type=json&observation_start={since}&observation_end={until}"
        parts = list[bytes]()
        for series in SERIES:
            response = await session.get(f"/series/observations?series_id={series}&{query}&api_key={SECRET}")
            parts.append(b'"%b":%b' % (series.encode(), response.body))
        url = f"{session.url}/series/observations?{query}"
        yield replace(response, url=url, body=b"{%b}" % b",".join(parts))

    def parse(self, response: RawResponse) -> ParsedResponse:
        document, table = parsing.json_object(response), RateTableBuilder(response)
        for series, code in SERIES.items():
            for row in parsing.rows(response, parsing.member(response, document, series), "observations"):
                with table.entry():
                    date_, value = parsing.fields(response, row, "date", "value")
                    nominal = "1"
                    if series.startswith(_DOLLARS) and value != _MISSING:
                        value, nominal = _turned(value)
                    if value != _MISSING:
                        table.add(parsing.day(response, date_, "%Y-%m-%d"), code, value, nominal)
        return table.fixings(Quotation.INVERSE)


def _turned(value: str) -> tuple[str, str]:
    """Return value and nominal of the other direction, exactly: `10000` for `11599` instead of `1.1599`."""
    whole, _, decimals = value.partition(".")
    return f"1{'0' * len(decimals)}", f"{whole}{decimals}".lstrip("0")
