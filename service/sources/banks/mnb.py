"""Magyar Nemzeti Bank: SOAP, one answer for a range; in it, as text, an XML with a `<Day>` each; decimal commas.

Weekends and holidays are absent. The bank answers for the currencies that it is asked for by name, and
with days without rates where it is asked for none, so its list stands here.

A range without an observation is answered with a blank `<GetExchangeRatesResult/>` or an empty
`<MNBExchangeRates/>`.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession
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


class Mnb:
    async def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        arguments = {"startDate": since, "endDate": until, "currencyNames": CURRENCIES}
        yield await RATES.ask(feed, "/arfolyamok.asmx", arguments)

    def parse(self, payload: RawResponse) -> list[Fixing]:
        inner = parsing.content(payload, RATES.result(payload))
        if not inner:  # nothing published
            return []
        figures = RateTableBuilder(payload, ",")
        root = parsing.xml(payload, "MNBExchangeRates", inner)
        days = list(root.iter("Day"))
        if not days and (len(root) or parsing.content(payload, root)):
            payload.reject("has something else than <Day> in <MNBExchangeRates>")
        for published in days:
            day = parsing.day(payload, published.get("date", ""), "%Y-%m-%d")
            for row in published.findall("Rate") or payload.reject(f"has no rates for {day}"):
                figures.add(day, row.get("curr", ""), parsing.content(payload, row), row.get("unit", ""))
        return figures.fixings()
