"""A mock bank with ten years of history in the format of Astana, as a process with prepared responses."""

import random
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import product

import uvloop
from aiohttp import web

from tests.support import standin

CURRENCIES = 39
CODES = ("USD", "EUR", "RUB", "GBP", "CNY", *("".join(letters) for letters in product("XYZ", "ABCD", "EFGH")))[
    :CURRENCIES
]
FIRST, LAST = date(2016, 4, 1), date(2026, 3, 31)
"""Effective dates: ten years, up to the day before the sample data."""
_MOVE = 8
"""The largest move per day, in thousandths: too small to be quarantined."""


def documents() -> dict[date, bytes]:
    """Return the response of each day: rates that move from Tuesday to Saturday, as effective dates do."""
    moves = random.Random(39)  # noqa: S311 - the same at each run
    rates = {code: Decimal(100 + 97 * index) for index, code in enumerate(CODES)}
    responses: dict[date, bytes] = {}
    day = FIRST
    while day <= LAST:
        changes: dict[str, str] = {}
        if day.weekday() not in (6, 0):
            for code, before in rates.items():
                rates[code] = (before * (1000 + moves.randint(-_MOVE, _MOVE)) / 1000).quantize(Decimal("0.01"))
                changes[code] = f"{rates[code] - before:+}"
        responses[day] = standin.nbk(day, {code: str(rate) for code, rate in rates.items()}, changes)
        day += timedelta(days=1)
    return responses


async def _respond(responses: dict[date, bytes], request: web.Request) -> web.Response:
    """Respond for a date; without rates for one after the ten years, like a date that is not published yet."""
    day = datetime.strptime(request.query["fdate"], "%d.%m.%Y").replace(tzinfo=UTC).date()
    return web.Response(body=responses.get(day) or standin.nbk(day, {}), content_type="text/xml")


async def _ready(_: web.Request) -> web.Response:
    return web.Response()


def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/", _ready)
    app.router.add_get("/rss/get_rates.cfm", partial(_respond, documents()))
    web.run_app(app, host="127.0.0.1", port=port, loop=uvloop.new_event_loop(), access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
