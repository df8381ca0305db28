"""Frankfurter, a relay (its v2, public or self-hosted): the official rates of any of its banks, named by `provider`.

Requested for each currency with that currency as `base`, since the digits of the other direction would be
those of an inversion; the answers together are one response. Without a provider it answers a blend,
which is nobody's official rate, and is not requested.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date

from service.domain.fixing import Fixing
from service.sources import parsing
from service.sources.adapter import RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder


class Frankfurter(SourceAdapter):
    relay = True
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        if not session.wanted:
            return
        query = f"quotes={session.base}&providers={session.provider}&from={since}&to={until}"
        answers = [await session.get(f"/rates?base={code}&{query}") for code in session.wanted]
        # Joined as JSON, so that an answer which is none spoils the whole: a fixing has all its currencies or is none.
        body = b"[" + b",".join(answer.body for answer in answers) + b"]"
        yield replace(answers[-1], url=f"{session.url}/rates?{query}", body=body)

    def parse(self, response: RawResponse) -> list[Fixing]:
        table = RateTableBuilder(response)
        for row in parsing.json_row_lists(response):
            date_, code, quote, value = parsing.fields(response, row, "date", "base", "quote", "rate")
            if quote != response.base:
                response.reject(f"has rates in {quote[:40]!r}, not in {response.base}")
            table.add(parsing.day(response, date_, "%Y-%m-%d"), code, value)
        return table.fixings()
