"""Measure two instances on one store under load at intervals, and judge the trend of each value."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from service.runtime.background import cancel_and_wait
from tests.benchmarks.processes import Server, Service, resident
from tests.benchmarks.steady import p99
from tests.soak.load import Load
from tests.soak.slope import MIN_MEASUREMENTS, slope
from tests.support.servers import valkey
from tests.support.standin import Banks, serving

RATE: Final = 50
"""Measured requests a second, of each instance."""
_TIMEOUT: Final = 60.0
"""Timeout of a measured request in seconds; long enough for a busy machine."""
BOUNDS: Final = {"MB": 1.0, "files": 12.0, "ms": 6.0}
"""Growth per hour that is ignored, by unit."""
_CONFIG: Final = """\
http.max_age = 1
client = { timeout = 2, connect_timeout = 1, attempts = 1 }
[[tickers]]
id = "kzt"
base = "KZT"
currencies = ["USD", "EUR", "RUB", "GBP", "CNY"]
sources = ["nbk", "cbr"]
[sources]
nbk = { days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], window = "00:00-23:59", every = 1, sweep = 1 }
cbr = { days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], window = "00:00-23:59", every = 1, sweep = 2 }
ecb = { enabled = false }
nbu = { enabled = false }
cbu = { enabled = false }
"""


@dataclass(frozen=True)
class Length:
    """Duration of a run, interval between measurements, and duration of the warm-up, in seconds."""

    seconds: float
    step: float
    warm: float

    @classmethod
    def of(cls, minutes: float) -> "Length":
        seconds = minutes * 60
        return cls(seconds, min(10.0, max(1.0, seconds / 60)), min(600.0, seconds / 3))


@dataclass
class Measured:
    """Measured values by name and unit, and their times in hours."""

    at: list[float] = field(default_factory=list)
    series: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, name: str, unit: str, value: float) -> None:
        self.series.setdefault((name, unit), []).append(value)

    def rows(self, warm: float) -> Iterator[tuple[list[str], bool]]:
        """Yield each row of the table and whether the value grows; `warm` is in hours."""
        begin = next(number for number, hour in enumerate(self.at) if hour >= warm)
        for (name, unit), values in self.series.items():
            after_warm_up = values[begin:]
            fitted = slope(self.at[begin:], after_warm_up)
            low, high = fitted.within()
            bound = BOUNDS.get(unit)
            grows = bound is not None and fitted.grows(bound)
            spread = "/".join(
                f"{value:,.1f}" for value in (min(after_warm_up), median(after_warm_up), max(after_warm_up))
            )
            verdict = "" if bound is None else "GROWS" if grows else "flat" if high <= bound else "unknown"
            trend = (f"{fitted.value:+,.2f} ± {fitted.error:,.2f}", f"{low:+,.1f} to {high:+,.1f}", verdict)
            yield [f"{name}, {unit or 'not judged'}", spread, *trend], grows


def latency_p99(port: int, seconds: float) -> float:
    """Measure `/v1/ticker` for some seconds and return its p99 latency, in ms; run in a process of its own."""
    until = time.monotonic() + seconds
    return p99(port, "/v1/ticker", lambda: time.monotonic() >= until, RATE, _TIMEOUT)


def _counted(measured: Measured, warm: float) -> int:
    """Return the number of measurements after the warm-up."""
    return sum(hour >= warm / 3600 for hour in measured.at)


async def soak(folder: Path, length: Length, enough: Callable[[Load], bool] = lambda _: True) -> tuple[Measured, Load]:
    """Run load and measurements for at least `length` and until the load is `enough`; return both."""
    measured = Measured()
    async with AsyncExitStack() as stack:
        banks = await stack.enter_async_context(serving(Banks()))
        store = stack.enter_context(valkey(folder / "valkey"))
        url = f"redis://127.0.0.1:{store.port}/0"
        instances: dict[str, Server] = {}
        load = Load(banks, (), streams=40)
        publishing = asyncio.create_task(load.publish())
        stack.push_async_callback(cancel_and_wait, publishing)
        for name in ("leader", "follower"):
            service = Service(folder / name, url=url, config=_CONFIG, environ=banks.environ())
            running = service.running()
            instances[name] = await asyncio.to_thread(running.__enter__)
            stack.push(running.__exit__)
        load.ports = tuple(server.port for server in instances.values())
        pool = stack.enter_context(ProcessPoolExecutor(len(instances), get_context("spawn")))
        loading = asyncio.create_task(load.run())
        stack.push_async_callback(cancel_and_wait, loading)
        loop, started = asyncio.get_running_loop(), time.monotonic()
        while (
            time.monotonic() < started + length.seconds
            or _counted(measured, length.warm) < MIN_MEASUREMENTS
            or not enough(load)
        ):
            measuring = [
                loop.run_in_executor(pool, latency_p99, server.port, length.step) for server in instances.values()
            ]
            latencies = await asyncio.gather(*measuring)
            measured.at.append((time.monotonic() - started) / 3600)
            for (name, server), latency in zip(instances.items(), latencies, strict=True):
                measured.add(f"memory of the {name}", "MB", server.resident)
                measured.add(f"open files of the {name}", "files", psutil.Process(server.process.pid).num_fds())
                measured.add(f"p99 of the {name}", "ms", latency)
            assert store.process
            measured.add(
                "memory of the store, which keeps every response of the banks", "", resident(store.process.pid)
            )
            for task in (publishing, loading):
                if task.done():
                    task.result()
    return measured, load
