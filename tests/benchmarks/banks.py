"""All banks in one process, each in its own wire format, with as many currencies and days as the real one has.

Rates are artificial and equal for all banks, except on two days: on `ALL_JUMP` each bank's are multiplied by a
factor of its own, which no other bank confirms; from `JUMP` on, half of the currencies are worth a half more.
`/latest/<date>` sets the last published date.
"""

import sys
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Final

import uvloop
from aiohttp import web

from service.domain.fixing import Fixing
from service.settings import load
from service.sources.adapter import RawResponse
from service.sources.banks import SOURCES
from service.sources.banks.boe import SERIES
from tests.support.wire import FORMS, requested_dates, written

FIRST, NEXT, ALL_JUMP, JUMP = (date(2026, 12, day) for day in (15, 16, 17, 18))
"""The last days of a year, when responses with a whole year are longest."""
QUOTES: Final = {
    key: (source.base, tuple(SERIES.values()) if key == "boe" else source.quotes)
    for key, source in load(environ={}).sources.items()
    if key != "recorded"
}
_CODES: Final = sorted({code for base, quotes in QUOTES.values() for code in (base, *quotes)})
_DAY = timedelta(days=1)


def document(key: str, begin: date, end: date, latest: date) -> bytes:
    """Return the response of a bank for `begin` to `end` that has published up to `latest`."""
    form, end = FORMS[key], min(end, latest)
    if form.span == "latest":
        begin = end = _working_day(latest)
    elif form.span == "until":
        begin = end = _working_day(min(begin, latest))
    days = [begin + offset * _DAY for offset in range((end - begin).days + 1)]
    days = [day for day in days if form.weekends or day.weekday() < 5]
    base, quotes = QUOTES[key]
    return written(
        key, begin, days, lambda day: {code: _rate_of(key, code, base, _working_day(day)) for code in quotes}
    )


def history(key: str) -> list[Fixing]:
    """Return a bank's publications of the last four months before `FIRST`, as stored by the service."""
    fixings = dict[date, Fixing]()
    begin = FIRST - timedelta(days=125)
    days = [begin + offset * _DAY for offset in range(125)] if FORMS[key].span != "range" else [begin]
    for day in days:
        end = day if len(days) > 1 else FIRST - _DAY
        body = document(key, day, end, end)
        payload = RawResponse(key, QUOTES[key][0], f"http://{key}.test", body, datetime(2026, 12, 14, 12, tzinfo=UTC))
        fixings |= {fixing.date: fixing for fixing in SOURCES[key].parse(payload)}
    return [fixings[day] for day in sorted(fixings)][-90:]


@cache
def _rate_of(key: str, code: str, base: str, day: date) -> float:
    rate = _value_of(code, day) / _value_of(base, day)
    if day == ALL_JUMP:
        rate *= 1.2 + 0.02 * list(FORMS).index(key)
    return 1 / rate if key in ("ecb", "boe") else rate


def _value_of(code: str, day: date) -> float:
    """Return the value of a currency, from a ten-thousandth upwards, moving by at most half a percent per day."""
    index = _CODES.index(code)
    drift = (index * 7 + day.toordinal() * (index % 5 + 3)) % 11 - 5
    return 0.0001 * 1.13**index * (1 + drift / 2000) * (1.5 if day >= JUMP and index % 2 else 1.0)


def _working_day(day: date) -> date:
    return day - max(0, day.weekday() - 4) * _DAY


def main(port: int) -> None:
    latest = FIRST
    cached: dict[tuple[str, date, date, date], bytes] = {}

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    async def publish(request: web.Request) -> web.Response:
        nonlocal latest
        latest = date.fromisoformat(request.match_info["day"])
        return web.Response()

    async def respond(request: web.Request) -> web.Response:
        key = request.match_info["key"]
        text = request.match_info["step"] + "?" + request.query_string + await request.text()
        begin, end = requested_dates(key, text)
        parameters = (key, begin, end, latest)
        if parameters not in cached:
            cached[parameters] = document(*parameters)
        return web.Response(body=cached[parameters])

    app = web.Application()
    app.router.add_get("/", ready)
    app.router.add_get("/latest/{day}", publish)
    app.router.add_route("*", "/{key}/{step:.*}", respond)
    web.run_app(app, host="127.0.0.1", port=port, loop=uvloop.new_event_loop(), access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
