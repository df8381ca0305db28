"""All banks in one process, each in its own wire format, with as many currencies and days as the real one answers with.

Figures are made up, and the same whoever tells them, but for two days: on `ALL_JUMP` each bank's are multiplied by a
factor of its own, which no other bank confirms; from `JUMP` on, half of the currencies are worth a half more.
`/latest/<date>` sets the last date that there are figures for.
"""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Final

import uvloop
from aiohttp import web

from service.domain.fixing import Fixing
from service.settings import load
from service.sources.adapter import RawResponse
from service.sources.banks import SOURCES
from service.sources.banks.boe import SERIES
from tests.benchmarks.wire import FORMS, Form

FIRST, NEXT, ALL_JUMP, JUMP = (date(2026, 12, day) for day in (15, 16, 17, 18))
"""The last days of a year: the banks that answer with a whole one have most to say."""
QUOTES: Final = {
    key: (source.base, tuple(SERIES.values()) if key == "boe" else source.quotes)
    for key, source in load(environ={}).sources.items()
    if key != "recorded"
}
_CODES: Final = sorted({code for base, quotes in QUOTES.values() for code in (base, *quotes)})
_DAY = timedelta(days=1)
_DATES: Final = {
    r"\d{4}-\d\d-\d\d": "%Y-%m-%d",
    r"\d\d\.\d\d\.\d{4}": "%d.%m.%Y",
    r"\d\d/\d\d/\d{4}": "%d/%m/%Y",
    r"\d\d/[A-Z][a-z]{2}/\d{4}": "%d/%b/%Y",
    r"\d{8}": "%Y%m%d",
    r"20\d\d(?=&|\.xml)": "%Y",
}


def document(key: str, begin: date, end: date, latest: date) -> bytes:
    """Return what a bank answers, asked for `begin` to `end`, that has published up to `latest`."""
    form, end = FORMS[key], min(end, latest)
    if form.span == "latest":
        begin = end = _working(latest)
    elif form.span == "until":
        begin = end = _working(min(begin, latest))
    told = "\n" if key == "boe" else form.between
    days = [begin + at * _DAY for at in range((end - begin).days + 1)]
    days = [day for day in days if form.weekends or day.weekday() < 5]
    between = "" if key == "boe" else told
    parts = [
        form.day % {"day": day.strftime(form.date)} + form.between.join(_rows(key, form, day)) + form.end
        for day in days
    ]
    return (form.head.replace("%(day)s", begin.strftime(form.date)) + between.join(parts) + form.tail).encode()


def past(key: str) -> list[Fixing]:
    """Return what a bank has said of the last four months before `FIRST`, as the service has it then."""
    found = dict[date, Fixing]()
    begin = FIRST - timedelta(days=125)
    days = [begin + at * _DAY for at in range(125)] if FORMS[key].span != "range" else [begin]
    for day in days:
        end = day if len(days) > 1 else FIRST - _DAY
        body = document(key, day, end, end)
        payload = RawResponse(key, QUOTES[key][0], f"http://{key}.test", body, datetime(2026, 12, 14, 12, tzinfo=UTC))
        found |= {fixing.date: fixing for fixing in SOURCES[key].parse(payload)}
    return [found[day] for day in sorted(found)][-90:]


def _rows(key: str, form: Form, day: date) -> Iterator[str]:
    base, quotes = QUOTES[key]
    for code in quotes:
        value, units = _figure(key, code, base, _working(day)), 1
        while form.units and value < 0.1 and units < 100_000:
            value, units = value * 10, units * 10
        digits = f"{Decimal(f'{value:.6g}'):f}"
        told = {"code": code, "value": digits.replace(".", ",") if form.comma else digits, "units": units}
        yield form.row % {**told, "day": day.strftime(form.date)}


@cache
def _figure(key: str, code: str, base: str, day: date) -> float:
    figure = _worth(code, day) / _worth(base, day)
    if day == ALL_JUMP:
        figure *= 1.2 + 0.02 * list(FORMS).index(key)
    return 1 / figure if key in ("ecb", "boe") else figure


def _worth(code: str, day: date) -> float:
    """Return what a currency is worth: from a ten-thousandth to some, each moved by half a percent a day at most."""
    at = _CODES.index(code)
    drift = (at * 7 + day.toordinal() * (at % 5 + 3)) % 11 - 5
    return 0.0001 * 1.13**at * (1 + drift / 2000) * (1.5 if day >= JUMP and at % 2 else 1.0)


def _working(day: date) -> date:
    return day - max(0, day.weekday() - 4) * _DAY


def _asked(told: str) -> tuple[date, date]:
    """Return the first and the last day that a question names; the last one of a year for a year."""
    for pattern, form in _DATES.items():
        if found := re.findall(pattern, told):
            days = [datetime.strptime(one, form).replace(tzinfo=UTC).date() for one in found]
            return days[0], days[0].replace(month=12, day=31) if form == "%Y" else days[-1]
    return date.min, date.max


def main(port: int) -> None:
    latest = FIRST
    kept: dict[tuple[str, date, date, date], bytes] = {}

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    async def publish(request: web.Request) -> web.Response:
        nonlocal latest
        latest = date.fromisoformat(request.match_info["day"])
        return web.Response()

    async def answer(request: web.Request) -> web.Response:
        key = request.match_info["key"]
        begin, end = _asked(request.match_info["step"] + "?" + request.query_string + await request.text())
        if key in ("ecb", "boc"):  # they are asked for no end where that is today
            end = date.max
        if FORMS[key].span == "day":
            end = begin
        asked = (key, begin, end, latest)
        if asked not in kept:
            kept[asked] = document(*asked)
        return web.Response(body=kept[asked])

    app = web.Application()
    app.router.add_get("/", ready)
    app.router.add_get("/latest/{day}", publish)
    app.router.add_route("*", "/{key}/{step:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, loop=uvloop.new_event_loop(), access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
