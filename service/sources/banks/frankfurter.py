"""Frankfurter, a relay (v2, public or self-hosted): the official rates of the bank named by `provider`.

Each currency is requested with that currency as `base`, because the other direction would return the digits of an
inversion; the responses are joined into one. Without a provider Frankfurter returns blended rates, which are not
official: they are never requested.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date

from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.rate_table import RateTableBuilder


class Frankfurter(SourceAdapter):
    relay = True
    yearly = True

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        if not session.wanted:
            return
        query = f"quotes={session.base}&providers={session.provider}&from={since}&to={until}"
        responses = [await session.get(f"/rates?base={code}&{query}") for code in session.wanted]
        # Joined before parsing, so that one response that is no JSON rejects all.
        body = b"[" + b",".join(response.body for response in responses) + b"]"
        yield replace(responses[-1], url=f"{session.url}/rates?{query}", body=body)

    def parse(self, response: RawResponse) -> ParsedResponse:
        table = RateTableBuilder(response)
        for row in parsing.json_row_lists(response):
            if row.get("quote") != response.base:
                response.reject(f"has rates in {str(row.get('quote'))[:40]!r} instead of {response.base}")
            with table.entry():
                date_, code, value = parsing.fields(response, row, "date", "base", "rate")
                table.add(parsing.day(response, date_, "%Y-%m-%d"), code, value)
        return table.fixings()
