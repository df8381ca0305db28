"""Bank of Canada: one JSON object for a range, an observation a day, in it a series a currency: FXUSDCAD.

Weekends and holidays are absent. A series without a value is one that was not quoted that day: an
observation has a place for each of its group, which the bank leaves empty, or fills with the words
"Bank holiday".
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

HOLIDAY: Final = "Bank holiday"
"""What the bank writes instead of a value; any other word rejects the document."""


class Boc(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        end = f"&end_date={until}" if until < session.now().date() else ""
        yield await session.get(f"/observations/group/FX_RATES_DAILY/json?start_date={since}{end}")

    def parse(self, response: RawResponse) -> list[Fixing]:
        table = RateTableBuilder(response)
        for row in parsing.rows(response, parsing.json_object(response), "observations"):
            (date_,) = parsing.fields(response, row, "d")
            day = parsing.day(response, date_, "%Y-%m-%d")
            for series in (name for name in row if name != "d"):
                seen = parsing.member(response, row, series)
                if "v" not in seen:
                    response.reject(f"lacks v in {series[:40]}")
                value = parsing.optional_field(response, seen, "v")
                if value not in ("", HOLIDAY):
                    if not (series.startswith("FX") and series.endswith("CAD")):
                        response.reject(f"has the series {series[:40]!r}, which is no rate in CAD")
                    table.add(day, series.removeprefix("FX").removesuffix("CAD"), value)
        return table.fixings()
