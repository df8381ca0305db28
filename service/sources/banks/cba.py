"""Central Bank of Armenia: SOAP, one response for a range; `Diff` is the bank's own change, per `Amount`.

Working days only. Currencies must be requested by name, hence the bank's list below, without gold and silver, whose
rates are per gram.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder
from service.sources.soap import Operation

RANGE = Operation(
    "ExchangeRatesByDateRangeByISO", "http://www.cba.am/", '"http://www.cba.am/ExchangeRatesByDateRangeByISO"'
)
CURRENCIES = (
    "USD,GBP,AUD,EUR,XDR,IRR,PLN,CAD,INR,NOK,JPY,SEK,CHF,CZK,CNY,SGD,BRL,AED,KGS,KZT,RUB,UAH,UZS,BYN,TJS,GEL,HKD,NZD"
)


class Cba(SourceAdapter):
    publishes_changes = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        arguments = {"ISOCodes": CURRENCIES, "DateFrom": since, "DateTo": until}
        yield await RANGE.call(session, "/exchangerates.asmx", arguments)

    def parse(self, response: RawResponse) -> ParsedResponse:
        result = RANGE.result(response)
        if result.find("{urn:schemas-microsoft-com:xml-diffgram-v1}diffgram") is None:
            response.reject("lacks <diffgram>")
        table = RateTableBuilder(response)
        for row in result.iter("ExchangeRatesByRange"):
            with table.entry():
                names = ("RateDate", "ISO", "Rate", "Amount")
                date_, code, value, nominal = (parsing.text(response, row, name) for name in names)
                day = parsing.day(response, date_, "%Y-%m-%dT%H:%M:%S%z")
                table.add(day, code, value, nominal, table.optional(parsing.optional_text, row, "Diff"))
        return table.fixings()
