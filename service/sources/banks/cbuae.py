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
_REPORTED: Final = """
USD us dollar, ARS argentine peso, AUD australian dollar, AZN azerbaijan manat, BDT bangladesh taka,
BHD bahrani dinar, BHD bahraini dinar, BND brunei dollar, BRL brazilian real, BWP botswana pula,
BYN belarus rouble, CAD canadian dollar, CHF swiss franc, CLP chilean peso, CNH chinese yuan - offshore,
CNY chinese yuan, COP colombian peso, CZK czech koruna, DKK danish krone, DZD algerian dinar,
EGP egypt pound, ETB ethiopian birr, EUR euro, GBP gb pound, GBP pound sterling, HKD hongkong dollar,
HUF hungarian forint, IDR indonesia rupiah, ILS israeli new shekel, INR indian rupee, IQD iraqi dinar,
ISK iceland krona, JOD jordan dinar, JPY japanese yen, KES kenya shilling, KRW korean won, KWD kuwaiti dinar,
KZT kazakhstan tenge, LBP lebanon pound, LKR sri lanka rupee, LYD libyan dinar, MAD moroccan dirham,
MKD macedonia denar, MUR mauritian rupee, MXN mexican peso, MYR malaysia ringgit, NGN nigerian naira,
NOK norwegian krone, NZD newzealand dollar, OMR omani rial, PEN peru sol, PHP philippine piso,
PKR pakistan rupee, PLN polish zloty, QAR qatari riyal, RON romanian leu, RSD serbian dinar,
RUB russia rouble, SAR saudi riyal, SEK swedish krona, SGD singapore dollar, SYP syrian pound, THB thai baht,
TMT turkmen manat, TND tunisian dinar, TRY turkish lira, TTD trin tob dollar, TWD taiwan dollar,
TZS tanzania shilling, UGX uganda shilling, UZS uzbekistani som, VND vietnam dong, YER yemen rial,
ZAR south africa rand, ZMW zambian kwacha
"""
NAMES: Final = {entry.strip()[4:]: entry.strip()[:3] for entry in _REPORTED.split(",")}
"""Codes by the reported names of currencies, in lower case."""


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
