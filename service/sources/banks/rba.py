"""Reserve Bank of Australia: one CSV document since 2023, a column per currency; 1 AUD = X foreign: inverse.

The title of a column names its currency: `A$1=USD`. Ten lines describe the columns; the last one is `Series ID`.
Weekends and holidays are absent. An empty cell is a currency that was not quoted that day. The special drawing right
has the code `SDR`.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from itertools import dropwhile, islice
from typing import Final

from service.domain.fixing import Quotation
from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

RATE: Final = "A$1="
INDEX: Final = "Trade-weighted Index"


class Rba(SourceAdapter):
    whole_history = True
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        response = await session.get("/f11.1-data.csv")
        yield replace(response, since=since, until=until if until < session.now().date() else date.max)

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        below_name = replace(response, body=response.body[response.body.find(b"\nTitle,") + 1 :])
        rows = parsing.csv_rows(below_name, "Title")
        days = list(islice(dropwhile(lambda row: row["Title"] != "Series ID", rows), 1, None))
        for row in days or response.reject("has no rates"):
            with table.entry():
                day = parsing.day(response, row.pop("Title"), "%d-%b-%Y")
                for title, value in row.items():
                    if value and not title.startswith(INDEX):
                        with table.entry():
                            if not title.startswith(RATE):
                                response.reject(f"has the series {title[:40]!r}, which is not a rate of the dollar")
                            code = title.removeprefix(RATE)
                            table.add(day, "XDR" if code == "SDR" else code, value)
        return table.fixings(Quotation.INVERSE)
