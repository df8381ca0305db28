"""National Bank of Tajikistan: XML by date in the Bank of Russia's format, but decimal points and ISO dates.

For an unavailable date it silently returns today's rates with today's date: the date in the document is used, never the
requested one. Weekends and holidays repeat the last rates.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day


class Nbt(SourceAdapter):
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/export_xml.php?date={day}&export=xmlout")

    def parse(self, response: RawResponse) -> ParsedResponse:
        return parsing.val_curs(response, "%Y-%m-%d") or response.reject("has a date but no rates")
