"""National Bank of Georgia: a JSON array of one set by date, rates and changes per `quantity`.

It answers with the last valid set, under that one's own date: asked for a Monday, with Saturday's.
Before its coverage begins it answers with an empty array. A set without rates is broken.
`diff` is the bank's own change, absolute and signed; `diffFormated` has lost the sign.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Nbg:
    def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(feed, since, until, lambda day: f"/currencies/?date={day}")

    def parse(self, payload: RawResponse) -> list[Fixing]:
        figures = RateTableBuilder(payload)
        for valid in parsing.json_rows(payload):
            (date_,) = parsing.fields(payload, valid, "date")
            day = parsing.day(payload, date_, "%Y-%m-%dT%H:%M:%S.%fZ")  # a date of Tbilisi, whatever the Z says
            for row in parsing.rows(payload, valid, "currencies") or payload.reject(f"has no rates for {day}"):
                code, value, nominal = parsing.fields(payload, row, "code", "rate", "quantity")
                figures.add(day, code, value, nominal, parsing.optional_field(payload, row, "diff"))
        return figures.fixings()
