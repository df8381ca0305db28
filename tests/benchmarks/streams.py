"""News on their way: from a writing to the memory of all instances, and to all readers of `/v1/stream`.

What is written is a fixing, as another instance writes it; who has it is told by open streams, since asking would
measure how often one asks. The times are from before the writing to when a reader has the whole event.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Final

from service.domain.fixing import Rate
from service.storage.repository import Store
from tests.benchmarks.load import MeasureError
from tests.benchmarks.processes import ROOT, Cores, Server, Service, beside, on_core
from tests.benchmarks.rows import Effort, Row
from tests.benchmarks.steady import p99
from tests.support.servers import valkey

INSTANCES: Final = 3
_EVENTS: Final = 20
_PAUSE: Final = 0.5
"""Seconds from one event to the next: far more often than banks publish."""
_BREATH: Final = 0.1
"""As much between two announcements."""
_IDLE: Final = 5.0
_FILES: Final = 200
"""Open files of a process beside its streams."""


@dataclass
class Readers:
    """Streams that are held open by a process of their own."""

    process: "subprocess.Popen[str]"
    count: int
    written: list[float] = field(default_factory=list)
    """When each event was written."""

    def told(self) -> str:
        """Return the next line; raise `MeasureError` where there is none."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise MeasureError(f"the readers of streams ended, exit status {self.process.wait()}")
        return line

    def times(self) -> list[list[float]]:
        """Let them end; return for each event after how many ms its readers had it, the first of them first."""
        assert self.process.stdin
        self.process.stdin.close()
        had = [sorted(json.loads(self.told())) for _ in self.written]
        if any(len(times) != self.count for times in had):
            raise MeasureError(f"events were read by {[len(times) for times in had]} of {self.count} readers")
        return [[(at - begun) * 1000 for at in times] for begun, times in zip(self.written, had, strict=True)]


@contextmanager
def _reading(each: int, *servers: Server) -> Iterator[Readers]:
    """Hold so many streams of each server open."""
    command = (sys.executable, "-m", "tests.benchmarks.readers", str(each), *(str(one.port) for one in servers))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            readers = Readers(process, each * len(servers))
            readers.told()
            yield readers
        finally:
            process.kill()


async def _write(url: str, readers: Readers, events: int, pause: float) -> None:
    """Let the bank correct its dollar so many times, each time once all readers have the one before."""
    async with Store(url, "ticker:") as store:
        (latest,) = await store.recent("recorded", 1)
        for number in range(1, events + 1):
            dollar = Decimal(40_000 + number).scaleb(-2)
            new = replace(latest, rates={**latest.rates, "USD": Rate(dollar)}, digest=f"{number:064x}")
            latest = new.with_revision_of(latest)
            await asyncio.sleep(pause)
            readers.written.append(time.monotonic())
            await store.save(latest)
            await store.coordination.publish_change()
            if f'"rate":{dollar}' not in (told := readers.told()):
                raise MeasureError(f"{dollar} was written, this was read: {told}")


def announcements(folder: Path, effort: Effort) -> Row:
    """Measure until the memory of all instances has what was written; nothing is pinned, so operators run them."""
    row = Row(f"publication to {INSTANCES} instances, p99 of {effort.announcements}", "median", "ms", most=250)
    with ExitStack() as stack:
        url = _store(folder, stack)
        services = [Service(folder / str(number), url=url) for number in range(INSTANCES)]
        servers = [stack.enter_context(service.running()) for service in services]
        readers = stack.enter_context(_reading(1, *servers))
        asyncio.run(_write(url, readers, effort.announcements, _BREATH))
        last = sorted(times[-1] for times in readers.times())
    row.pairs.append((median(last), percentile(last)))
    return row


def streams(count: int, folder: Path, cores: Cores, effort: Effort) -> list[Row]:
    """Measure what so many streams take, how long an event is on its way, and what other readers notice."""
    name = f"{count:,} streams"
    memory = Row(f"{name}, memory per stream", "aiohttp alone", "KB", most=15)
    last = Row(f"{name}, publication to the last one, p99", "to half of them, median", "ms", most=200)
    waits = Row(f"{name}, /v1/ticker during events, p99", "before", "ms", most=20)
    for number in range(effort.stream_rounds):
        where = folder / f"{count}-{number}"
        where.mkdir(parents=True)
        with on_core(cores.server), beside("hello", where) as plain, on_core(cores.load):
            bare = plain.resident
            with _reading(count, plain):
                bare = plain.resident - bare
        with ExitStack() as stack, on_core(cores.load):
            url = _store(where, stack)
            with on_core(cores.server):
                server = stack.enter_context(Service(where, url=url).running())
            other = stack.enter_context(ThreadPoolExecutor(1))
            idle = p99(server.port, "/v1/ticker", other.submit(time.sleep, _IDLE).done)
            before = server.resident
            readers = stack.enter_context(_reading(count, server))
            writing = other.submit(asyncio.run, _write(url, readers, _EVENTS, _PAUSE))
            waits.pairs.append((idle, p99(server.port, "/v1/ticker", writing.done)))
            writing.result()
            memory.pairs.append((bare * 1000 / count, (server.resident - before) * 1000 / count))
            times = readers.times()
        last.pairs.append((median(map(median, times)), percentile(sorted(one[-1] for one in times))))
    return [memory, last, waits]


def _store(folder: Path, stack: ExitStack) -> str:
    return f"redis://127.0.0.1:{stack.enter_context(valkey(folder / 'valkey')).port}/0"


def percentile(ordered: list[float]) -> float:
    """Return the 99th; the last of fewer than a hundred."""
    return ordered[len(ordered) * 99 // 100]


def possible(count: int) -> bool:
    """Whether a process may hold so many streams open; raises the limit of open files where that is allowed."""
    wanted = count + _FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True
