"""National Bank of Moldova: XML by date in the Bank of Russia's format, decimal points.

For a date without rates it returns a document with the date and no rates.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day


class Nbm(SourceAdapter):
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/official_exchange_rates?get_xml=1&date={day:%d.%m.%Y}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        return parsing.val_curs(response, "%d.%m.%Y")
