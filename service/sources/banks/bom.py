"""Bank of Mongolia: one JSON object since 2001, 5 MB whatever dates are requested; an object per day, rates per unit.

Thousands are separated by commas: `3,576.42`. A currency without a rate was not quoted that day (reported). Weekends
and holidays are absent. The special drawing right has the code `SDR`; metals are per troy ounce.
"""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Final

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

HEADERS: Final = {"Content-Type": "application/json"}
GROUPED: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")


class Bom(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        body = json.dumps({"startDate": str(since), "endDate": str(until)}, separators=(",", ":"))
        response = await session.post("/currency-rate-movement/data", body.encode(), HEADERS)
        yield replace(response, since=since, until=until if until < session.now().date() else date.max)

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        rows = parsing.rows(response, parsing.json_object(response), "data") or response.reject("has no rates")
        for row in rows:
            with table.entry():
                (date_,) = parsing.fields(response, row, "RATE_DATE")
                day = parsing.day(response, date_, "%Y-%m-%d")
                if not response.since <= day <= response.until:
                    continue
                for code in (name for name in row if name != "RATE_DATE"):
                    with table.entry():
                        if value := parsing.optional_field(response, row, code):
                            plain = value.replace(",", "") if GROUPED.fullmatch(value) else value
                            table.add(day, "XDR" if code == "SDR" else code, plain)
        return table.fixings()
