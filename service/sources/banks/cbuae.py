"""Central Bank of the UAE: an HTML table of currency names and rates; reported only, without a recorded response.

The response is a fragment, not a page. Rates are dirhams for one unit; small ones are written as 2E-06. The text "Last
updated: Friday 02 October 2026 06:05:15 PM" is the only date. The US dollar is pegged at 3.6725 dirhams, so that only
other currencies move. The server refuses clients that do not look like a browser, and responds in Arabic unless English
is requested, hence the `user_agent` and `headers` of this source. Rates by date exist too, but what is returned for a
day without rates is not documented.
"""

import re
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Final

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

_UPDATED: Final = "Last updated:"
_SMALL: Final = re.compile(r"[0-9](?:\.[0-9]{1,8})?E-0[0-9]")
"""A number below 0.0001 as .NET writes it; no other exponent is accepted."""
NAMES: Final = {
    "us dollar": "USD",
    "argentine peso": "ARS",
    "australian dollar": "AUD",
    "azerbaijan manat": "AZN",
    "bangladesh taka": "BDT",
    "bahrani dinar": "BHD",
    "bahraini dinar": "BHD",
    "brunei dollar": "BND",
    "brazilian real": "BRL",
    "botswana pula": "BWP",
    "belarus rouble": "BYN",
    "canadian dollar": "CAD",
    "swiss franc": "CHF",
    "chilean peso": "CLP",
    "chinese yuan - offshore": "CNH",
    "chinese yuan": "CNY",
    "colombian peso": "COP",
    "czech koruna": "CZK",
    "danish krone": "DKK",
    "algerian dinar": "DZD",
    "egypt pound": "EGP",
    "ethiopian birr": "ETB",
    "euro": "EUR",
    "gb pound": "GBP",
    "pound sterling": "GBP",
    "hongkong dollar": "HKD",
    "hungarian forint": "HUF",
    "indonesia rupiah": "IDR",
    "israeli new shekel": "ILS",
    "indian rupee": "INR",
    "iraqi dinar": "IQD",
    "iceland krona": "ISK",
    "jordan dinar": "JOD",
    "japanese yen": "JPY",
    "kenya shilling": "KES",
    "korean won": "KRW",
    "kuwaiti dinar": "KWD",
    "kazakhstan tenge": "KZT",
    "lebanon pound": "LBP",
    "sri lanka rupee": "LKR",
    "libyan dinar": "LYD",
    "moroccan dirham": "MAD",
    "macedonia denar": "MKD",
    "mauritian rupee": "MUR",
    "mexican peso": "MXN",
    "malaysia ringgit": "MYR",
    "nigerian naira": "NGN",
    "norwegian krone": "NOK",
    "newzealand dollar": "NZD",
    "omani rial": "OMR",
    "peru sol": "PEN",
    "philippine piso": "PHP",
    "pakistan rupee": "PKR",
    "polish zloty": "PLN",
    "qatari riyal": "QAR",
    "romanian leu": "RON",
    "serbian dinar": "RSD",
    "russia rouble": "RUB",
    "saudi riyal": "SAR",
    "swedish krona": "SEK",
    "singapore dollar": "SGD",
    "syrian pound": "SYP",
    "thai baht": "THB",
    "turkmen manat": "TMT",
    "tunisian dinar": "TND",
    "turkish lira": "TRY",
    "trin tob dollar": "TTD",
    "taiwan dollar": "TWD",
    "tanzania shilling": "TZS",
    "uganda shilling": "UGX",
    "uzbekistani som": "UZS",
    "vietnam dong": "VND",
    "yemen rial": "YER",
    "south africa rand": "ZAR",
    "zambian kwacha": "ZMW",
}
"""Reported names of currencies, in lower case."""


class Cbuae(SourceAdapter):
    latest_only = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:  # noqa: ARG002
        yield await session.get("/GetExchangeRateAllCurrency")

    def parse(self, response: RawResponse) -> ParsedResponse:
        texts, rows = parsing.html_table(response)
        updated = [text for text in texts if text.startswith(_UPDATED)]
        if len(updated) != 1:
            response.reject(f"lacks a paragraph that begins with {_UPDATED!r}")
        _, _, moment = updated[0].removeprefix(_UPDATED).strip().partition(" ")  # without the day of the week
        day = parsing.day(response, moment, "%d %B %Y %I:%M:%S %p")
        table = RateTableBuilder(response)
        for row in rows:
            with table.entry():
                if len(row) < 2:
                    response.reject(f"has a row without a name and a rate ({' '.join(row)[:40]})")
                name, value = row[-2:]
                code = NAMES.get(name.lower()) or response.reject(f"has the unknown currency {name[:40]!r}")
                table.add(day, code, f"{Decimal(value):f}" if _SMALL.fullmatch(value) else value)
        return table.fixings() or response.reject("has a date but no rates")
