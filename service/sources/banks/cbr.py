"""Bank of Russia: XML by date in windows-1251, decimal commas.

Asked for a date without a fixing of its own (Sunday, Monday, holidays, tomorrow before it is set)
it answers with the last one, under that one's own date.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession, by_day


class Cbr:
    def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(feed, since, until, lambda day: f"/XML_daily.asp?date_req={day:%d/%m/%Y}")

    def parse(self, payload: RawResponse) -> list[Fixing]:
        return parsing.val_curs(payload, "%d.%m.%Y", ",") or payload.reject("has a date and no rates")
