"""Frankfurter, a relay (its v2, public or self-hosted): the official rates of any of its banks, named by `provider`.

Asked for each currency with that currency as `base`, since the digits of the other direction would be
those of an inversion; the answers together are one payload. Without a provider it answers a blend,
which is nobody's official rate, and is not asked for.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession
from service.sources.rate_table import RateTableBuilder


class Frankfurter:
    async def fetch(self, feed: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        if not feed.wanted:
            return
        asked = f"quotes={feed.base}&providers={feed.provider}&from={since}&to={until}"
        answers = [await feed.get(f"/rates?base={code}&{asked}") for code in feed.wanted]
        # Joined as JSON, so that an answer which is none spoils the whole: a fixing has all its currencies or is none.
        body = b"[" + b",".join(answer.body for answer in answers) + b"]"
        yield replace(answers[-1], url=f"{feed.url}/rates?{asked}", body=body)

    def parse(self, payload: RawResponse) -> list[Fixing]:
        figures = RateTableBuilder(payload)
        for row in parsing.json_row_lists(payload):
            date_, code, quote, value = parsing.fields(payload, row, "date", "base", "quote", "rate")
            if quote != payload.base:
                payload.reject(f"has rates in {quote[:40]!r}, not in {payload.base}")
            figures.add(parsing.day(payload, date_, "%Y-%m-%d"), code, value)
        return figures.fixings()
