"""Delay from a bank's publication to what visitors see, and the number of requests that polling makes for it.

The time until a poll finds a publication is simulated, over as many publications as are measured: with the scatter of
real arrivals that takes months. What follows is measured with processes: a bank corrects a rate, a leader that polls
each second finds it, and clients see it at the leader, a follower, a stream and through the edge. The sum of both is
what a visitor waits. The time begins with the bank's first response that has the correction.

The baseline is polling at fixed intervals, and responses that caches may keep for a minute.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

from aiohttp import ClientSession, ClientTimeout, web

from service.runtime.background import cancel_and_wait
from service.settings import Settings, load
from service.sources.banks import SOURCES
from service.web.http.responses import WHILE_EXPECTED
from tests.benchmarks.load import MeasureError
from tests.benchmarks.processes import Service
from tests.benchmarks.rows import Effort, Row
from tests.support.arrivals import Simulation
from tests.support.edge import NGINX, run_edge
from tests.support.servers import valkey
from tests.support.standin import Banks, serving
from tests.support.wait import until_true

_LEARNING: Final = 20
"""Publications that are not counted: the usual arrival is not known at first."""
_WEEKS: Final = 8
"""Simulated weeks of each bank."""
_INTERVALS: Final = (0.2, 1.2)
"""Seconds between two corrections."""
_PROBE_INTERVAL: Final = 0.05
_LAST: Final = 180.0
"""Maximum seconds until the last correction is seen everywhere."""
_TODAY: Final = datetime.now(UTC).date()
_CONFIG: Final = """\
http.max_age = {max_age}
[[tickers]]
id = "kzt"
base = "KZT"
currencies = ["USD"]
sources = ["nbk"]
[sources]
nbk = {{ days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], window = "00:00-23:59", every = 1, sweep = 1 }}
cbr = {{ enabled = false }}
ecb = {{ enabled = false }}
nbu = {{ enabled = false }}
cbu = {{ enabled = false }}
"""


@dataclass
class Corrections(Banks):
    """A bank that corrects its latest rate; the number of a correction is part of the rate."""

    count: int = 0
    first_responses: list[float] = field(default_factory=list)
    """By number of the correction: the time of the first response that had it."""

    def correct(self) -> None:
        self.count += 1
        rates = {_TODAY - timedelta(days=days): {"USD": f"450.{days:02}"} for days in range(1, 15)}
        self.published["nbk"] = {**rates, _TODAY: {"USD": f"{450 + self.count / 1000:.3f}"}}

    async def respond(self, request: web.Request) -> web.StreamResponse:
        response = await super().respond(request)
        if request.query.get("fdate") == f"{_TODAY:%d.%m.%Y}":
            self.first_responses += [time.monotonic()] * (self.count - len(self.first_responses))
        return response


@dataclass
class Probe:
    """What one kind of client has seen."""

    seen: list[float] = field(default_factory=list)
    """By number of the correction: the time when it, or a later one, was received."""

    def receive(self, quotes: Iterable[dict[str, str]]) -> None:
        (quote,) = quotes
        number = round((float(quote["rate"]) - 450) * 1000)
        self.seen += [time.monotonic()] * (number - len(self.seen))


def latency(folder: Path, effort: Effort) -> list[Row]:
    """Measure the delay of publications of one bank, with learned times and without."""
    if NGINX is None:
        raise MeasureError("nginx is missing; get it: apt-get install nginx")
    folder.mkdir()
    count = effort.publications
    learned, fixed = (
        asyncio.run(_propagation(folder / name, max_age, count))
        for name, max_age in (("learned", WHILE_EXPECTED), ("fixed", 60))
    )
    found, found_fixed = (_polling_delays(_settings(), "nbk", count, is_adaptive) for is_adaptive in (True, False))
    rows = list[Row]()
    for name, delays in learned.items():
        totals = _sums(found, delays), _sums(found_fixed, fixed[name])
        for percentile, most in ((50, 30), (95, 60)):
            target = most if name == "the edge" else None
            row = Row(f"publication to {name}, p{percentile} of {count}", "fixed intervals", "s", most=target)
            own, base = (_percentile(total, percentile) for total in totals)
            row.pairs.append((base, own))
            rows.append(row)
    return rows


def polling() -> list[Row]:
    """Simulate all banks over some weeks: the delay until a poll finds a publication, and the number of requests."""
    settings, rows = _settings(), list[Row]()
    for key, source in settings.polled.items():
        if source.window is None or len(source.days) == 1:  # weekly publications are too few to learn from
            continue
        runs = [_simulated(settings, key, _WEEKS, is_adaptive) for is_adaptive in (True, False)]
        delay = Row(f"{key}, publication to the poll that finds it, median", "fixed intervals", "s")
        own, base = (median(delays.total_seconds() for delays in run.delays[_LEARNING:]) for run in runs)
        delay.pairs.append((base, own))
        budget = Row(f"{key}, busiest day of {_WEEKS} weeks", "fixed intervals", "requests", most=source.budget)
        own, base = (max(run.requests.values()) for run in runs)
        budget.pairs.append((base, own))
        rows += [delay, budget]
    return rows


def _settings() -> Settings:
    enabled = {key: {"enabled": True} for key, adapter in SOURCES.items() if not adapter.relay}
    return load(environ={}, overrides={"sources": enabled})


def _simulated(settings: Settings, key: str, weeks: int, is_adaptive: bool) -> Simulation:
    simulation = Simulation(settings, key, SOURCES[settings.adapter(key)], is_adaptive=is_adaptive)
    simulation.run(weeks)
    return simulation


def _polling_delays(settings: Settings, key: str, count: int, is_adaptive: bool) -> list[float]:
    """Return the seconds until a poll finds a publication, of `count` publications."""
    weeks = (count + _LEARNING) // 4 + 2  # a week with holidays has four publications
    delays = _simulated(settings, key, weeks, is_adaptive).delays[_LEARNING:]
    return [delay.total_seconds() for delay in delays[:count]]


async def _propagation(folder: Path, max_age: int, count: int) -> dict[str, list[float]]:
    """Return the seconds from the bank's response to each kind of client, for each correction."""
    folder.mkdir()
    random = Random(1)  # noqa: S311 - the same at each run
    async with AsyncExitStack() as stack:
        banks = Corrections()
        banks.correct()
        await stack.enter_async_context(serving(banks))
        url = f"redis://127.0.0.1:{stack.enter_context(valkey(folder / 'valkey')).port}/0"
        servers = []
        for name in ("leader", "follower"):
            service = Service(folder / name, url=url, config=_CONFIG.format(max_age=max_age), environ=banks.environ())
            running = service.running()
            servers.append(await asyncio.to_thread(running.__enter__))
            stack.push(running.__exit__)
        leader, follower = (f"http://127.0.0.1:{server.port}" for server in servers)
        edge = stack.enter_context(run_edge([server.port for server in servers], rate="1000000r/s"))
        session = await stack.enter_async_context(ClientSession(timeout=ClientTimeout(10)))
        probes = {
            "the leader": _polled(session, f"{leader}/v1/ticker"),
            "a follower": _polled(session, f"{follower}/v1/ticker"),
            "a stream": _streamed(session, f"{follower}/v1/stream"),
            "the edge": _polled(session, f"{edge.url}/v1/ticker"),
        }
        seen = {name: Probe() for name in probes}
        for name, probe in probes.items():
            await stack.enter_async_context(_running(probe(seen[name])))
        await until_true(lambda: all(probe.seen for probe in seen.values()))
        for _ in range(count):
            await asyncio.sleep(random.uniform(*_INTERVALS))
            banks.correct()
        await until_true(lambda: all(len(probe.seen) > count for probe in seen.values()), _LAST)
        return {
            name: [at - first for first, at in zip(banks.first_responses[1:], probe.seen[1:], strict=True)]
            for name, probe in seen.items()
        }


@asynccontextmanager
async def _running(probe: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(probe)
    try:
        yield
        if task.done():
            task.result()
    finally:
        await cancel_and_wait(task)


def _polled(session: ClientSession, url: str) -> Callable[[Probe], Awaitable[None]]:
    async def run(probe: Probe) -> None:
        while True:
            async with session.get(url) as response:
                probe.receive((await response.json())["quotes"])
            await asyncio.sleep(_PROBE_INTERVAL)

    return run


def _streamed(session: ClientSession, url: str) -> Callable[[Probe], Awaitable[None]]:
    async def run(probe: Probe) -> None:
        async with session.get(url, timeout=ClientTimeout(None)) as response:
            async for line in response.content:
                if line.startswith(b"data:") and (
                    event := json.loads(line.removeprefix(b"data:"))
                ):  # heartbeats are {}
                    probe.receive(event["quotes"])

    return run


def _sums(first: list[float], second: list[float]) -> list[float]:
    """Return the sums of pairs: the two delays are independent."""
    return [one + other for one, other in zip(first, second, strict=True)]


def _percentile(values: list[float], percentile: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percentile // 100)]
