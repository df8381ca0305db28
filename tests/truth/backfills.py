"""Backfill each real history in one run: `python -m tests.truth.backfills [ecb|nbu]`.

A mock server serves the history in the bank's wire format, and an embedded Valkey in a temporary directory stores the
rates. The output of the command, its exit status and its duration are printed.
"""

# ruff: noqa: T201 - a report

import asyncio
import json
import os
import sys
import tempfile
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.truth.histories import ROOT, History, load

FIRST_DATES: Final = {"ecb": "1999-01-04", "nbu": "2010-01-01"}
LAST_DATES: Final = {"ecb": "2026-04-30", "nbu": "2022-12-31"}


def ecb(history: History, first: date, last: date) -> bytes:
    """Return the CSV of a range; an empty body if nothing was published in it."""
    rows = [
        f"D,{code},{day},{rate.value}\n"
        for day, rates in zip(history.dates, history.documents, strict=True)
        if first <= day <= last
        for code, rate in rates.items()
    ]
    return ("FREQ,CURRENCY,TIME_PERIOD,OBS_VALUE\n" + "".join(rows)).encode() if rows else b""


def nbu(history: History, first: date, last: date) -> bytes:
    """Return the JSON of a range, with the pseudo-currency that the bank published until October 2016."""
    pseudo = {"cc": "___", "rate": 1.0, "units": 1}
    rows = [
        {"exchangedate": f"{day:%d.%m.%Y}", "cc": code, "rate": float(rate.value), "units": rate.nominal}
        for day, rates in zip(history.dates, history.documents, strict=True)
        if first <= day <= last
        for code, rate in rates.items()
    ]
    if rows and first < date(2016, 10, 1):
        rows.append({"exchangedate": rows[0]["exchangedate"], **pseudo})
    return json.dumps(
        [{key: str(value) if key != "rate" else value for key, value in row.items()} for row in rows]
    ).encode()


async def respond(request: web.Request) -> web.Response:
    key, query = request.path.split("/")[1], request.query
    history = HISTORIES[key]
    if key == "ecb":
        last = date.fromisoformat(query.get("endPeriod", "2030-01-01"))
        return web.Response(body=ecb(history, date.fromisoformat(query["startPeriod"]), last))
    first, last = (date.fromisoformat(f"{text[:4]}-{text[4:6]}-{text[6:]}") for text in (query["start"], query["end"]))
    return web.Response(body=nbu(history, first, last))


HISTORIES: Final[dict[str, History]] = {}


async def run(key: str) -> int:
    HISTORIES[key] = load(key)
    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    with tempfile.TemporaryDirectory() as folder:
        async with TestServer(app) as server:
            environ = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
            environ |= {
                f"TICKER_SOURCES__{key.upper()}__URL": str(server.make_url(f"/{key}")),
                "TICKER_STORE__DATA_DIR": str(Path(folder) / "data"),
                "TICKER_CLIENT__MAX_BYTES": "20000000",
            }
            started = perf_counter()
            process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "service",
                    "backfill",
                    key,
                    "--from",
                    FIRST_DATES[key],
                    "--to",
                    LAST_DATES[key],
                ),
                *("--pause", "0"),
                cwd=ROOT,
                env=environ,
                stderr=asyncio.subprocess.DEVNULL,
            )
            status = await process.wait()
    print(f"{key}: exit status {status}, {perf_counter() - started:.0f} s")
    return status


async def main() -> int:
    return max([await run(key) for key in sys.argv[1:] or FIRST_DATES])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
