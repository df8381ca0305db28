"""National Bank of Georgia: a JSON array with one set of rates by date, rates and changes per `quantity`.

It returns the last valid set, with the date of that set: for a Monday that of Saturday. For dates before its history it
returns an empty array. A set without rates is an error. `diff` is the bank's own change, absolute and signed;
`diffFormated` lacks the sign.
"""

from collections.abc import AsyncIterator
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day
from service.sources.rate_table import RateTableBuilder


class Nbg(SourceAdapter):
    publishes_changes = True

    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return by_day(session, since, until, lambda day: f"/currencies/?date={day}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for valid in parsing.json_rows(response):
            with table.entry():
                (date_,) = parsing.fields(response, valid, "date")
                day = parsing.day(response, date_, "%Y-%m-%dT%H:%M:%S.%fZ")  # in Tbilisi's time, despite the Z
                for row in parsing.rows(response, valid, "currencies") or response.reject(f"has no rates for {day}"):
                    with table.entry():
                        code, value, nominal = parsing.fields(response, row, "code", "rate", "quantity")
                        table.add(day, code, value, nominal, table.optional(parsing.optional_field, row, "diff"))
        return table.fixings()
