"""A bank with a past of ten years, in the wire format of Astana: a process of its own, its answers made ahead."""

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
"""Effective dates: ten years, up to the day before the publications that ship with the project."""
_MOVE = 8
"""The largest move of a day, in thousandths: so small that none of them has to wait."""


def documents() -> dict[date, bytes]:
    """Return the answer of each day: figures that move from Tuesday to Saturday, as banks' effective dates do."""
    moves = random.Random(39)  # noqa: S311 - the same at each run
    figures = {code: Decimal(100 + 97 * at) for at, code in enumerate(CODES)}
    made: dict[date, bytes] = {}
    day = FIRST
    while day <= LAST:
        changes: dict[str, str] = {}
        if day.weekday() not in (6, 0):
            for code, before in figures.items():
                figures[code] = (before * (1000 + moves.randint(-_MOVE, _MOVE)) / 1000).quantize(Decimal("0.01"))
                changes[code] = f"{figures[code] - before:+}"
        made[day] = standin.nbk(day, {code: str(figure) for code, figure in figures.items()}, changes)
        day += timedelta(days=1)
    return made


async def _answer(made: dict[date, bytes], request: web.Request) -> web.Response:
    """Answer for a date; for one beyond the ten years with no figures, as for one that is not set yet."""
    day = datetime.strptime(request.query["fdate"], "%d.%m.%Y").replace(tzinfo=UTC).date()
    return web.Response(body=made.get(day) or standin.nbk(day, {}), content_type="text/xml")


async def _ready(_: web.Request) -> web.Response:
    return web.Response()


def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/", _ready)
    app.router.add_get("/rss/get_rates.cfm", partial(_answer, documents()))
    web.run_app(app, host="127.0.0.1", port=port, loop=uvloop.new_event_loop(), access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
