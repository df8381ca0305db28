"""Simulate a span of time: instances, banks, incidents, measurements."""

import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final
from unittest.mock import patch

import stamina
import structlog

from service.polling.backfill import Backfill
from service.runtime import background
from service.settings import Settings, load
from service.sources.http_client import Client
from service.sources.registry import adapter_of
from service.sources.session import BankSession
from service.storage.repository import open_store
from service.web.ops.health import report
from tests.support.promtool import PROMTOOL
from tests.support.servers import Server, valkey
from tests.year.measure import Alerts, Memory, Statuses, peak
from tests.year.simulation import TICK, BankServer, Inline, Instance, SkewedClock, Time, cause, serve_banks
from tests.year.truth import DAY, KEYS, Incident, Truth, fail_routinely, settle

TICKERS: Final = {
    "kzt": ("USD EUR RUB GBP CNY", "nbk cbr nbu cbu"),
    "rub": ("USD EUR CNY KZT BYN", "cbr cbu nbrb"),
    "eur": ("USD GBP CHF CNY PLN", "ecb cnb bnr"),
    "uah": ("USD EUR PLN GBP CNY", "nbu nbm mnb"),
    "uzs": ("USD EUR RUB KZT CNY", "cbu nbk cbr"),
    "kgs": ("USD EUR RUB KZT CNY", "nbkr cbr nbk"),
    "byn": ("USD EUR RUB PLN CNY", "nbrb cbr nbk"),
}
"""The first tickers of config/example.toml: currencies, and sources by priority."""
HISTORY: Final = 145 * DAY
"""What the store has from the start: longer than the `KEEP` dates of each bank that an instance has in memory."""
_EVALUATED: Final = 7
"""Days between two evaluations of the alert rules, after which memory is measured."""
_SETTLED: Final = 4
"""Weeks from the start after which memory is compared, for as many weeks, with the last ones."""
_FLAT: Final = 0.03
"""Largest growth of memory, as a fraction."""
_AHEAD: Final = timedelta(days=6)
"""Longest time from a publication to its effective date."""
_WARM: Final = timedelta(hours=12)
"""Time from the start, with an empty store, after which alerts count."""


def settings(environ: dict[str, str] | None = None, keys: tuple[str, ...] = KEYS) -> Settings:
    """Return the default settings with these banks, and those of the tickers that use no other one."""
    tickers = [
        {"id": key, "base": key.upper(), "currencies": currencies.split(), "sources": sources.split()}
        for key, (currencies, sources) in TICKERS.items()
        if set(sources.split()) <= set(keys)
    ]
    sources = {key: {"enabled": key in keys} for key in KEYS}
    return load(environ=environ or {}, overrides={"tickers": tickers, "sources": sources})


@dataclass
class Year:
    """What was measured."""

    truth: Truth
    statuses: Statuses
    alerts: Alerts
    last: date = date.min
    """The last day that was simulated."""
    memory: list[Memory] = field(default_factory=list)
    """Once a week."""
    peak: float = 0.0
    """Largest memory of the process in MB."""
    store: float = 0.0
    """Memory of the store at the end, in MB."""
    health: Counter[str] = field(default_factory=Counter)
    """By note of `/health`, without its numbers: midnights at which an instance had it."""

    @property
    def periods(self) -> tuple[Sequence[Memory], Sequence[Memory]]:
        """The weeks in which memory is compared: the first ones once it has settled, and the last ones."""
        weeks = self.memory[_SETTLED:]
        half = min(len(weeks) // 2, 2 * _SETTLED)
        return weeks[:half], weeks[len(weeks) - half :]

    @property
    def growth(self) -> tuple[float, float] | None:
        """By what fraction objects and the memory in use have grown, by their medians; None after a short time."""
        first, last = self.periods
        if len(first) < _SETTLED:
            return None
        objects = median(each.objects for each in last) / median(each.objects for each in first)
        in_use = median(each.in_use for each in last) / median(each.in_use for each in first)
        return objects - 1, in_use - 1

    @property
    def is_flat(self) -> bool:
        """Whether neither objects nor the memory in use have grown by more than 3 %."""
        return self.growth is None or max(self.growth) <= _FLAT


@dataclass
class _Simulation:
    """The parts of a running simulation."""

    year: Year
    time: Time
    store: Server
    instances: dict[str, Instance]
    changed: list[Instance]
    """Instances whose snapshots have changed since the last check."""

    async def scrape(self) -> None:
        for instance in self.instances.values():
            await instance.renew()
            self.year.alerts.scrape(instance, self.time.now)

    async def tick(self) -> None:
        """Check what is shown; before, do what an instance does every few seconds."""
        statuses, now = self.year.statuses, self.time.now
        for instance in self.instances.values():
            await instance.tick(reads=now.minute == 0)
            statuses.check(instance, now)
        for name in {instance.name for instance in self.changed}:
            if self.instances[name].is_up and not self.instances[name].clock.skew:
                statuses.check_rates(self.instances[name], now)
        self.changed.clear()
        await self.scrape()
        self.time.at(now + TICK, self.tick)

    def notify(self, writer: Instance) -> None:
        """Let the other instances read what one has written."""
        for instance in self.instances.values():
            if instance is not writer:
                self.time.at(self.time.now, instance.tick)

    async def cause(self, incident: Incident) -> None:
        for instance in self.instances.values():
            await instance.renew()
        await cause(incident, self.time, self.instances, self.store)
        await self.scrape()
        for at in (incident.begin + timedelta(seconds=30), *(incident.end + timedelta(seconds=n) for n in (5, 21, 60))):
            self.time.at(at, self.scrape)

    def note_health(self) -> None:
        for instance in self.instances.values():
            if instance.is_up and not instance.clock.skew:
                for note in report(instance.health).notes:
                    self.year.health[re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?|[\d.]+", "#", note)[:120]] += 1


async def simulate(
    folder: Path,
    seed: int,
    first: date,
    last: date,
    keys: tuple[str, ...] = KEYS,
    fail: Callable[[Truth], None] = fail_routinely,
    progress: Callable[[str], bool] = lambda _: True,
    history: timedelta = timedelta(),
) -> Year:
    """Simulate from the morning of `first` to the end of `last`; `fail` adds incidents.

    `progress` gets a line after each day, and returns whether to go on. The store has the rates of the time before:
    `history`.
    """
    random.seed(seed)  # the jitter of polls
    begin = datetime.combine(first, time(3), UTC)
    simulated = Time(begin)
    async with AsyncExitStack() as stack:
        stack.enter_context(stamina.set_testing(True, attempts=3))  # no real waits
        stack.enter_context(patch.object(background, "_started_worker", Inline))
        store = stack.enter_context(valkey(folder / "store", "--appendonly", "yes"))
        truth = Truth(settings(keys=keys), seed, first, last, history + 30 * DAY)
        fail(truth)
        calendar = settle(truth)
        server = BankServer(truth, simulated)
        running = await serve_banks(server)
        stack.push_async_callback(running.close)
        environ = server.environ(f"http://{running.host}:{running.port}")
        configured = settings(environ | {"TICKER_STORE__URL": f"redis://127.0.0.1:{store.port}"}, keys)
        await _load_history(configured, truth, simulated, history)
        year = Year(truth, Statuses(truth), Alerts(folder, configured, calendar, begin + _WARM))
        changed = list[Instance]()
        simulation = _Simulation(year, simulated, store, {}, changed)
        instances = simulation.instances
        for name in "ab":
            clock = SkewedClock(simulated)
            instances[name] = Instance(name, configured, simulated, clock, changed.append, simulation.notify)
        for incident in truth.incidents:
            if incident.kind in ("store", "restart", "crash", "clock") and begin < incident.begin:
                simulated.at(incident.begin, partial(simulation.cause, incident))
        for instance in instances.values():
            await instance.start()
        simulated.at(begin + TICK, simulation.tick)
        number, goes_on = 0, True
        while goes_on and (day := first + number * DAY) <= last:
            await simulated.run(datetime.combine(day + DAY, time(), UTC))
            simulation.note_health()
            requests = sum(bank.requests for bank in truth.banks.values())
            goes_on = progress(f"{day}: {requests} requests") and day < last
            year.last, number = day, number + 1
            if number % _EVALUATED == 0 or not goes_on:
                if PROMTOOL:
                    year.alerts.evaluate(simulated.now)
                year.memory.append(Memory.measure(simulated.now))
        year.peak, year.store = peak(), store.client().info("memory")["used_memory"] / 1e6
        for instance in instances.values():
            if instance.is_up:
                await instance.stop()
    return year


async def _load_history(settings: Settings, truth: Truth, simulated: Time, history: timedelta) -> None:
    """Store what the banks have published before the year, by the code of the command `backfill`.

    Three weeks at a time; where a bank serves its latest rates only, day by day.
    """
    clock, start = SkewedClock(simulated), simulated.now
    async with open_store(settings, None, clock) as store, Client(settings.client) as client:
        for key, source in settings.polled.items():
            session = BankSession(key, source, client, clock, settings.wanted(key))
            step = 1 if adapter_of(settings, key).latest_only else 21
            for before in range(history.days, 0, -step):
                first, end = truth.first - before * DAY, truth.first - max(0, before - step) * DAY
                simulated.now = min(start, datetime.combine(end, time(), UTC))
                run = Backfill(settings, store, session, clock, lambda *_: None)
                await run.run(first, end + _AHEAD)
    simulated.now = start


def quiet() -> None:
    """Log nothing: what happens in a year is thousands of lines."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
