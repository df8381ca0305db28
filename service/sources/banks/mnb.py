"""Magyar Nemzeti Bank: SOAP, one response for a range, with an embedded XML of one `<Day>` per day; decimal commas.

Weekends and holidays are absent. The bank returns the currencies that are requested by name, and days without rates if
none is requested, hence the bank's list below.

For a range without rates it returns an empty `<GetExchangeRatesResult/>` or an empty `<MNBExchangeRates/>`.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder
from service.sources.soap import Operation

RATES = Operation(
    "GetExchangeRates",
    "http://www.mnb.hu/webservices/",
    "http://www.mnb.hu/webservices/MNBArfolyamServiceSoap/GetExchangeRates",
)
CURRENCIES = (
    "AUD,BRL,CAD,CHF,CNY,CZK,DKK,EUR,GBP,HKD,IDR,ILS,INR,ISK,JPY,KRW,"
    "MXN,MYR,NOK,NZD,PHP,PLN,RON,RSD,RUB,SEK,SGD,THB,TRY,UAH,USD,ZAR"
)


class Mnb(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        arguments = {"startDate": since, "endDate": until, "currencyNames": CURRENCIES}
        yield await RATES.call(session, "/arfolyamok.asmx", arguments)

    def parse(self, response: RawResponse) -> ParsedResponse:
        inner = parsing.content(response, RATES.result(response))
        if not inner:  # nothing published
            return ParsedResponse()
        table = RateTableBuilder(response, ",")
        root = parsing.xml(response, "MNBExchangeRates", inner)
        days = list(root.iter("Day"))
        if not days and (len(root) or parsing.content(response, root)):
            response.reject("has other content than <Day> in <MNBExchangeRates>")
        for published in days:
            with table.entry():
                day = parsing.day(response, published.get("date", ""), "%Y-%m-%d")
                for row in published.findall("Rate") or response.reject(f"has no rates for {day}"):
                    with table.entry():
                        table.add(day, row.get("curr", ""), parsing.content(response, row), row.get("unit", ""))
        return table.fixings()
