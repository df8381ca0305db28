"""Bank of Russia: XML by date in windows-1251, decimal commas.

Asked for a date without a fixing of its own (Sunday, Monday, holidays, tomorrow before it is set)
it answers with the last one, under that one's own date.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import Feed, Payload, by_day


class Cbr:
    def fetch(self, feed: Feed, since: date, until: date) -> AsyncIterator[Payload]:
        return by_day(feed, since, until, lambda day: f"/XML_daily.asp?date_req={day:%d/%m/%Y}")

    def parse(self, payload: Payload) -> list[Fixing]:
        return parsing.val_curs(payload, "%d.%m.%Y", ",") or payload.reject("has a date and no rates")
