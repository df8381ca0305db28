"""Bank of Russia: XML by date in windows-1251, decimal commas.

For a date without a fixing (Sunday, Monday, holidays, tomorrow before it is set) it returns the last fixing, with the
date of that fixing.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day


class Cbr(SourceAdapter):
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/XML_daily.asp?date_req={day:%d/%m/%Y}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        return parsing.val_curs(response, "%d.%m.%Y", ",") or response.reject("has a date but no rates")
