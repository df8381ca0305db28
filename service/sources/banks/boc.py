"""Bank of Canada: one JSON object for a range, an observation per day with a series per currency: FXUSDCAD.

Weekends and holidays are absent. A series without a value was not quoted that day: an observation has all series of its
group, and the bank leaves the value empty or sets it to "Bank holiday".
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any, Final

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder

HOLIDAY: Final = "Bank holiday"
"""The only text that is accepted instead of a value; a rate with any other is left out."""


def _add(table: RateTableBuilder, response: RawResponse, day: date, series: str, observation: dict[str, Any]) -> None:
    if "v" not in observation:
        response.reject(f"lacks v in {series[:40]} on {day}")
    value = parsing.optional_field(response, observation, "v")
    if value not in ("", HOLIDAY):
        if not (series.startswith("FX") and series.endswith("CAD")):
            response.reject(f"has the series {series[:40]!r}, which is not a rate in CAD")
        table.add(day, series.removeprefix("FX").removesuffix("CAD"), value)


class Boc(SourceAdapter):
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        end = f"&end_date={until}" if until < session.now().date() else ""
        yield await session.get(f"/observations/group/FX_RATES_DAILY/json?start_date={since}{end}")

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.rows(response, parsing.json_object(response), "observations"):
            with table.entry():
                (date_,) = parsing.fields(response, row, "d")
                day = parsing.day(response, date_, "%Y-%m-%d")
                for series in (name for name in row if name != "d"):
                    with table.entry():
                        _add(table, response, day, series, parsing.member(response, row, series))
        return table.fixings()
