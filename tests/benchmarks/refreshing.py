"""Refresh all banks of a service in this process, and print what each refresh costs, as JSON lines.

A pause is CPU time of the process, its threads included, between two runs of a task that is scheduled every
millisecond. Wall-clock time would include what else the machine does.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
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
from tests.benchmarks.banks import ALL_JUMP, FIRST, JUMP, NEXT, history
from tests.benchmarks.load import MeasureError
from tests.support.wire import FORMS

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
_LARGEST = "cbu"
"""The bank with the most currencies."""
_DEFAULT = "nbk"
"""The bank of the default ticker."""
_SINGLE = {
    f" of one bank, {_DEFAULT} of the default settings, all its currencies jump": _DEFAULT,
    f" of one bank, {_LARGEST} among all banks, all its currencies jump": _LARGEST,
}


class SettableClock(Clock):
    """A clock at 15:00 UTC of a day that can be set."""

    day = FIRST

    def __call__(self) -> datetime:
        return datetime(self.day.year, self.day.month, self.day.day, 15, tzinfo=UTC)


@dataclass
class RefreshCost:
    """The cost of a refresh in ms of CPU: the longest pause of the event loop, and the total."""

    pause: float = 0.0
    cpu: float = 0.0


@asynccontextmanager
async def measured_cost() -> AsyncIterator[RefreshCost]:
    """Measure the code in the context and the work that it leaves behind."""
    cost, done = RefreshCost(), False

    async def measure_pauses() -> None:
        last = time.process_time()
        while not done:
            await asyncio.sleep(0.001)
            now = time.process_time()
            cost.pause, last = max(cost.pause, (now - last) * 1000), now

    measuring = asyncio.create_task(measure_pauses())
    started = time.process_time()
    yield cost
    await asyncio.sleep(_QUIET)
    done = True
    await measuring
    cost.cpu = (time.process_time() - started) * 1000


async def _fetch_and_parse(settings: Settings, now: Clock, since: date, keys: Collection[str]) -> RefreshCost:
    """Fetch and parse the responses of these banks, and nothing else."""
    async with Client(settings.client) as client:

        async def fetch_all(key: str) -> int:
            session = BankSession(key, settings.polled[key], client, now)
            return len([item async for item in published(SOURCES[key], session, since, now().date(), [])])

        async with measured_cost() as cost:
            counts = await asyncio.gather(*map(fetch_all, keys))
    assert all(counts), counts
    return cost


def _check(poller: Poller, day: date) -> None:
    """Raise `MeasureError` unless the rates of all banks for a day were parsed, and are published or quarantined."""
    memory = poller.memory
    for key, state in memory.states.items():
        if state.error or not (memory.series(key).on(day) or day in memory.quarantine[key].waiting):
            raise MeasureError(f"{key} is not refreshed to {day}: {state}")


@asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[Poller]:
    """Run the service; yield its poller once each bank was polled."""
    refreshed: asyncio.Future[Poller] = asyncio.get_running_loop().create_future()

    class ObservedPoller(Poller):
        async def poll(self, key: str) -> None:
            await super().poll(key)
            if all(state.polled_at for state in self.memory.states.values()) and not refreshed.done():
                refreshed.set_result(self)

    runner = Runner(app, HttpSettings())
    try:
        with patch("service.polling.poller.Poller", ObservedPoller):
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield await refreshed
    finally:
        await runner.cleanup()


async def _first_start(create: Callable[[], web.Application]) -> RefreshCost:
    """Measure a start with an empty store."""
    async with measured_cost() as cost, _serving(create()) as poller:
        _check(poller, FIRST)
        await asyncio.sleep(_QUIET)
    return cost


async def _fill(settings: Settings) -> None:
    """Fill the store as if the service had run for months."""
    server = EmbeddedValkey(settings.store.data_dir, exclusive=True)
    async with server, Store(server.url, settings.store.prefix) as store:
        for key in FORMS:
            await store.save(*history(key))


async def _single_poll(create: Callable[[], web.Application], now: SettableClock, banks: str, key: str) -> RefreshCost:
    """Poll one bank when all its currencies jump."""
    async with ClientSession() as session:
        async with session.get(f"{banks}/latest/{FIRST}"):
            now.day = FIRST
        async with _serving(create()) as poller:
            async with session.get(f"{banks}/latest/{ALL_JUMP}"):
                now.day = ALL_JUMP
            for _ in range(2):  # what changes with the date alone; the first may share a pass of the start, by its time
                await poller.publisher.publish(now())
            async with measured_cost() as cost:
                await poller.poll(key)
            if ALL_JUMP not in poller.memory.quarantine[key].waiting:
                raise MeasureError(f"{key} has quarantined nothing")
    return cost


async def _later_refreshes(
    settings: Settings, create: Callable[[], web.Application], now: SettableClock, banks: str
) -> dict[str, RefreshCost]:
    costs = {}
    async with _serving(create()) as poller, ClientSession() as session:
        await asyncio.sleep(_QUIET)
        for name, day in _LATER.items():
            async with session.get(f"{banks}/latest/{day}"):
                now.day = day
            async with measured_cost() as costs[name]:
                await asyncio.gather(*map(poller.poll, settings.polled))
            _check(poller, day)
    return costs


def settings_of(folder: Path, banks: str, *, is_default: bool = False) -> Settings:
    """Return the settings with the tickers of the example whose banks have documents here, and one of the others.

    With `is_default`, these are the tickers of the default settings.
    """
    example = load(ROOT / "config" / "example.toml", environ={})
    others = {
        "id": "gel",
        "base": "GEL",
        "currencies": ["USD", "EUR", "RUB", "GBP", "CNY"],
        "sources": ["nbg", "cba", "nbt", "nbp", "boc", "boe"],
    }
    tickers = [ticker.model_dump() for ticker in example.tickers if FORMS.keys() >= set(ticker.sources)]
    return load(
        environ={},
        overrides={
            **({} if is_default else {"tickers": [*tickers, others]}),
            "sources": {key: {"url": f"{banks}/{key}"} for key in FORMS},
            "store": {"data_dir": folder},
            "log": {"format": "json"},
        },
    )


def main(folder: Path, port: int) -> None:
    banks = f"http://127.0.0.1:{port}"
    settings = settings_of(folder, banks)
    configure(settings.log)
    gc_tuning.tune_runtime()  # as the service does
    now = SettableClock()

    def create(settings: Settings = settings) -> web.Application:
        app = create_app(settings, embedded(settings.store, exclusive=True), now)
        gc.freeze()
        return app

    async def run() -> None:
        costs = {_FIRST: await _first_start(create)}
        await _fill(settings)
        costs |= await _later_refreshes(settings, create, now, banks)
        for name, key in _SINGLE.items():
            other = settings_of(folder.with_name(f"{folder.name}-{key}"), banks, is_default=key == _DEFAULT)
            await _fill(other)
            costs[name] = await _single_poll(partial(create, other), now, banks, key)
        for name, cost in costs.items():
            since = now.day - (LOOKBACK if name == _FIRST else timedelta(days=1))
            keys = [_SINGLE[name]] if name in _SINGLE else settings.polled
            base = await _fetch_and_parse(settings, now, since, keys)
            print(json.dumps({"name": name, "longest pause": [base.pause, cost.pause], "CPU": [base.cpu, cost.cpu]}))  # noqa: T201

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
