"""Refresh all banks of a service in this process, and print what each refresh costs, as JSON lines.

A pause is CPU time of the process, its threads included, between two runs of a task that is scheduled every
millisecond. Wall-clock time would include what else the machine does.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import uvloop
from aiohttp import ClientSession, web

from service.app import create_app
from service.clock import Clock
from service.observability.logging import configure
from service.polling.poller import LOOKBACK, Poller, published
from service.runtime import gc_tuning
from service.settings import HttpSettings, Settings, load
from service.settings.loader import ROOT
from service.sources.banks import SOURCES
from service.sources.http_client import Client
from service.sources.session import BankSession
from service.storage.embedded_valkey import EmbeddedValkey, embedded
from service.storage.repository import Store
from service.web.server.runner import Runner
from tests.benchmarks.banks import ALL_JUMP, FIRST, JUMP, NEXT, past
from tests.benchmarks.load import MeasureError
from tests.benchmarks.wire import FORMS

_QUIET = 0.3
"""Seconds before and after a refresh, for work that is still in progress."""
_FIRST = " into an empty store"
_LATER = {
    " with nothing new": FIRST,
    " with a new date": NEXT,
    ", all currencies jump and are quarantined": ALL_JUMP,
    ", half of them jump and are quarantined": JUMP,
    ", the jumps are confirmed": JUMP,
}


class Noon(Clock):
    """A clock that stands at 15:00 UTC of a day that can be set."""

    day = FIRST

    def __call__(self) -> datetime:
        return datetime(self.day.year, self.day.month, self.day.day, 15, tzinfo=UTC)


@dataclass
class Taken:
    """The cost of a refresh: the longest pause of the loop, and all of it, in ms of CPU."""

    pause: float = 0.0
    cpu: float = 0.0


@asynccontextmanager
async def taking() -> AsyncIterator[Taken]:
    """Measure what runs inside, and the work it leaves behind."""
    taken, done = Taken(), False

    async def beat() -> None:
        last = time.process_time()
        while not done:
            await asyncio.sleep(0.001)
            now = time.process_time()
            taken.pause, last = max(taken.pause, (now - last) * 1000), now

    beating = asyncio.create_task(beat())
    begun = time.process_time()
    yield taken
    await asyncio.sleep(_QUIET)
    done = True
    await beating
    taken.cpu = (time.process_time() - begun) * 1000


async def _alone(settings: Settings, now: Clock, since: date) -> Taken:
    """Fetch and parse the responses of all banks, and nothing else."""
    async with Client(settings.client) as client:

        async def ask(key: str) -> int:
            feed = BankSession(key, settings.polled[key], client, now)
            return len([one async for one in published(SOURCES[key], feed, since, now().date())])

        async with taking() as taken:
            found = await asyncio.gather(*map(ask, settings.polled))
    assert all(found), found
    return taken


def _check(poller: Poller, day: date) -> None:
    """Raise `MeasureError` unless the rates of all banks for a day were parsed, and are published or quarantined."""
    memory = poller.memory
    for key, state in memory.states.items():
        if state.error or not (memory.series(key).on(day) or day in memory.quarantine[key].waiting):
            raise MeasureError(f"{key} is not refreshed to {day}: {state}")


@asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[Poller]:
    """Run the service; yield its poller when that has polled each bank once."""
    refreshed: asyncio.Future[Poller] = asyncio.get_running_loop().create_future()

    class Known(Poller):
        async def poll(self, key: str) -> None:
            await super().poll(key)
            if all(state.polled_at for state in self.memory.states.values()) and not refreshed.done():
                refreshed.set_result(self)

    runner = Runner(app, HttpSettings())
    try:
        with patch("service.polling.poller.Poller", Known):
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield await refreshed
    finally:
        await runner.cleanup()


async def _first(made: Callable[[], web.Application]) -> Taken:
    """Measure a start with an empty store."""
    async with taking() as taken, _serving(made()) as poller:
        _check(poller, FIRST)
        await asyncio.sleep(_QUIET)
    return taken


async def _fill(settings: Settings) -> None:
    """Fill the store as that of a service that has run for months."""
    server = EmbeddedValkey(settings.store.data_dir, exclusive=True)
    async with server, Store(server.url, settings.store.prefix) as store:
        for key in FORMS:
            await store.save(*past(key))


async def _later(settings: Settings, made: Callable[[], web.Application], now: Noon, banks: str) -> dict[str, Taken]:
    found = {}
    async with _serving(made()) as poller, ClientSession() as session:
        await asyncio.sleep(_QUIET)
        for name, day in _LATER.items():
            async with session.get(f"{banks}/latest/{day}"):
                now.day = day
            async with taking() as found[name]:
                await asyncio.gather(*map(poller.poll, settings.polled))
            _check(poller, day)
    return found


def main(folder: Path, port: int) -> None:
    banks = f"http://127.0.0.1:{port}"
    example = load(ROOT / "config" / "example.toml", environ={})
    others = {
        "id": "gel",
        "base": "GEL",
        "currencies": ["USD", "EUR", "RUB", "GBP", "CNY"],
        "sources": ["nbg", "cba", "nbt", "nbp", "boc", "boe"],
    }
    settings = load(
        environ={},
        overrides={
            "tickers": [*(ticker.model_dump() for ticker in example.tickers), others],
            "sources": {key: {"url": f"{banks}/{key}"} for key in FORMS},
            "store": {"data_dir": folder},
            "log": {"format": "json"},
        },
    )
    configure(settings.log)
    gc_tuning.tune_runtime()  # as the service does
    now = Noon()

    def made() -> web.Application:
        app = create_app(settings, embedded(settings.store, exclusive=True), now)
        gc.freeze()
        return app

    async def run() -> None:
        own = {_FIRST: await _first(made)}
        await _fill(settings)
        own |= await _later(settings, made, now, banks)
        for name, taken in own.items():
            base = await _alone(settings, now, now.day - (LOOKBACK if name == _FIRST else timedelta(days=1)))
            print(json.dumps({"name": name, "longest pause": [base.pause, taken.pause], "CPU": [base.cpu, taken.cpu]}))  # noqa: T201

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
