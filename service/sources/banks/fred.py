"""Federal Reserve, release H.10: JSON of the FRED API, a series per currency; documented, without a recorded response.

Once a week, on Monday, the noon rates of New York of each day of the week before are published. Each series is
requested by itself, and its response does not name it: the responses are joined into one document, by series. A series
that is refused or odd is left out. A day without a rate has a point instead of the number.

Most series are units of the currency for one dollar: the direction is inverse. Those of the euro, the pound and the
dollars of Australia and New Zealand are dollars for one unit: 1.1599 dollars for one euro are kept as 10000 euros for
11599 dollars, which has the same digits and the direction of the others. Its key is the `secret` of the source.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Final

from service.domain.fixing import Quotation
from service.errors import BadAnswer, NotUnderstood
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
        parts, failure, last = list[bytes](), None, None
        for series in SERIES:
            try:
                last = await session.get(f"/series/observations?series_id={series}&{query}&api_key={SECRET}")
                parts.append(b'"%b":%b' % (series.encode(), _object(last)))
            except BadAnswer as error:
                failure = failure or error
        if last:
            yield replace(last, url=f"{session.url}/series/observations?{query}", body=b"{%b}" % b",".join(parts))
        elif failure:
            raise failure

    def parse(self, response: RawResponse) -> ParsedResponse:
        document, table, read_count = parsing.json_object(response), RateTableBuilder(response), 0
        for series, code in SERIES.items():
            with table.entry(is_rate=False):  # the rates of one series are enough
                rows = parsing.rows(response, parsing.member(response, document, series), "observations")
                read_count += 1
                for row in rows:
                    with table.entry():
                        date_, value = parsing.fields(response, row, "date", "value")
                        if value != _MISSING:
                            number, nominal = _turned(value) if series.startswith(_DOLLARS) else (value, "1")
                            table.add(parsing.day(response, date_, "%Y-%m-%d"), code, number, nominal)
        if not read_count:
            response.reject("lacks observations, an array of objects, in every series")
        return table.fixings(Quotation.INVERSE)


def _object(response: RawResponse) -> bytes:
    """Return the response to one series; null if it is no JSON object, which would spoil the joined document."""
    try:
        parsing.json_object(response)
    except NotUnderstood:
        return b"null"
    return response.body


def _turned(value: str) -> tuple[str, str]:
    """Return value and nominal of the other direction, exactly: `10000` for `11599` instead of `1.1599`."""
    whole, _, decimals = value.partition(".")
    return f"1{'0' * len(decimals)}", f"{whole}{decimals}".lstrip("0")
