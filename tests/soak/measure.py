"""Two instances on one store under load, measured step by step, and what is to be said of each row of figures."""

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
from tests.soak.slope import LEAST, slope
from tests.support.servers import valkey
from tests.support.standin import Banks, serving

RATE: Final = 50
"""Measured requests a second, of each instance."""
_WITHIN: Final = 60.0
"""Seconds after which a request counts as not answered: also on a machine that is busy with something else."""
BOUNDS: Final = {"MB": 1.0, "files": 12.0, "ms": 6.0}
"""Growth an hour that is taken for none, by unit: it is seen long before it matters."""
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
    """How long it takes; `step` is from one measurement to the next. In seconds."""

    seconds: float
    step: float
    warm: float

    @classmethod
    def of(cls, minutes: float) -> "Length":
        seconds = minutes * 60
        return cls(seconds, min(10.0, max(1.0, seconds / 60)), min(600.0, seconds / 3))


@dataclass
class Measured:
    """What was measured, by its name and unit, and when: in hours."""

    at: list[float] = field(default_factory=list)
    series: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, name: str, unit: str, value: float) -> None:
        self.series.setdefault((name, unit), []).append(value)

    def rows(self, warm: float) -> Iterator[tuple[list[str], bool]]:
        """Yield each row of the table, and whether it grows; `warm` is in hours."""
        begin = next(number for number, hour in enumerate(self.at) if hour >= warm)
        for (name, unit), values in self.series.items():
            kept = values[begin:]
            fitted = slope(self.at[begin:], kept)
            low, high = fitted.within()
            bound = BOUNDS.get(unit)
            grows = bound is not None and fitted.grows(bound)
            ends = "/".join(f"{one:,.1f}" for one in (min(kept), median(kept), max(kept)))
            verdict = "" if bound is None else "GROWS" if grows else "flat" if high <= bound else "not known"
            told = (f"{fitted.value:+,.2f} ± {fitted.error:,.2f}", f"{low:+,.1f} to {high:+,.1f}", verdict)
            yield [f"{name}, {unit or 'not judged'}", ends, *told], grows


def waits(port: int, seconds: float) -> float:
    """Return the 99th percentile of the waits for `/v1/ticker` in so many seconds; in a process of its own."""
    until = time.monotonic() + seconds
    return p99(port, "/v1/ticker", lambda: time.monotonic() >= until, RATE, _WITHIN)


def _counted(measured: Measured, warm: float) -> int:
    """Return how many measurements there are after the warm-up."""
    return sum(hour >= warm / 3600 for hour in measured.at)


async def soak(folder: Path, length: Length, enough: Callable[[Load], bool] = lambda _: True) -> tuple[Measured, Load]:
    """Run it all; return what was measured, and what was asked. It goes on until that is `enough`, too."""
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
        loading = asyncio.create_task(load.all())
        stack.push_async_callback(cancel_and_wait, loading)
        loop, begun = asyncio.get_running_loop(), time.monotonic()
        while time.monotonic() < begun + length.seconds or _counted(measured, length.warm) < LEAST or not enough(load):
            asked = [loop.run_in_executor(pool, waits, server.port, length.step) for server in instances.values()]
            waited = await asyncio.gather(*asked)
            measured.at.append((time.monotonic() - begun) / 3600)
            for (name, server), wait in zip(instances.items(), waited, strict=True):
                measured.add(f"memory of the {name}", "MB", server.resident)
                measured.add(f"open files of the {name}", "files", psutil.Process(server.process.pid).num_fds())
                measured.add(f"p99 of the {name}", "ms", wait)
            assert store.process
            measured.add("memory of the store, which keeps every answer of the banks", "", resident(store.process.pid))
            for task in (publishing, loading):
                if task.done():
                    task.result()
    return measured, load
