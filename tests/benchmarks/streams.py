"""Delay of new rates: from a write to the memory of all instances, and to all clients of `/v1/stream`.

A fixing is written as by another instance. Open streams show when an instance has it, since polling would measure the
polling interval. Times are from before the write until a client has received the whole event.
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
from tests.benchmarks.processes import ROOT, Cores, Server, Service, mock_server, on_core
from tests.benchmarks.rows import Effort, Row
from tests.benchmarks.steady import p99
from tests.support.servers import valkey

INSTANCES: Final = 3
_EVENTS: Final = 20
_PAUSE: Final = 0.5
"""Seconds between two events: far more often than banks publish."""
_ANNOUNCEMENT_PAUSE: Final = 0.1
"""Seconds between two announcements."""
_IDLE: Final = 5.0
_FILES: Final = 200
"""Open files of a process besides its streams."""


@dataclass
class StreamClients:
    """Streams held open by a separate process."""

    process: "subprocess.Popen[str]"
    count: int
    written: list[float] = field(default_factory=list)
    """The time of each write."""

    def next_line(self) -> str:
        """Return the next line of output; raise `MeasureError` without one."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise MeasureError(f"the stream clients exited, exit status {self.process.wait()}")
        return line

    def times(self) -> list[list[float]]:
        """Stop the clients; return for each event the sorted delays in ms until its clients received it."""
        assert self.process.stdin
        self.process.stdin.close()
        received = [sorted(json.loads(self.next_line())) for _ in self.written]
        if any(len(times) != self.count for times in received):
            raise MeasureError(f"events were received by {[len(times) for times in received]} of {self.count} clients")
        return [[(at - written) * 1000 for at in times] for written, times in zip(self.written, received, strict=True)]


@contextmanager
def _open_streams(each: int, *servers: Server) -> Iterator[StreamClients]:
    """Keep `each` streams of each server open."""
    command = (sys.executable, "-m", "tests.benchmarks.readers", str(each), *(str(server.port) for server in servers))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            clients = StreamClients(process, each * len(servers))
            clients.next_line()
            yield clients
        finally:
            process.kill()


async def _write(url: str, clients: StreamClients, events: int, pause: float) -> None:
    """Revise the dollar `events` times, each after all clients have received the previous one; a jump is not shown."""
    async with Store(url, "ticker:") as store:
        (latest,) = await store.recent("recorded", 1)
        for number in range(1, events + 1):
            dollar = Decimal(47_000 + number).scaleb(-2)
            new = replace(latest, rates={**latest.rates, "USD": Rate(dollar)}, digest=f"{number:064x}")
            latest = new.with_revision_of(latest)
            await asyncio.sleep(pause)
            clients.written.append(time.monotonic())
            await store.save(latest)
            await store.coordination.publish_change()
            if f'"rate":{dollar}' not in (line := clients.next_line()):
                raise MeasureError(f"{dollar} was written, this was received: {line}")


def announcements(folder: Path, effort: Effort) -> Row:
    """Measure until all instances have a write in memory; not pinned, as in production."""
    row = Row(f"publication to {INSTANCES} instances, p99 of {effort.announcements}", "median", "ms", most=250)
    with ExitStack() as stack:
        url = _store(folder, stack)
        services = [Service(folder / str(number), url=url) for number in range(INSTANCES)]
        servers = [stack.enter_context(service.running()) for service in services]
        clients = stack.enter_context(_open_streams(1, *servers))
        asyncio.run(_write(url, clients, effort.announcements, _ANNOUNCEMENT_PAUSE))
        last = sorted(times[-1] for times in clients.times())
    row.pairs.append((median(last), percentile(last)))
    return row


def streams(count: int, folder: Path, cores: Cores, effort: Effort) -> list[Row]:
    """Measure the memory of streams, the delay of an event, and the delay of other requests."""
    name = f"{count:,} streams"
    memory = Row(f"{name}, memory per stream", "aiohttp alone", "KB", most=15)
    last = Row(f"{name}, publication to the last one, p99", "to half of them, median", "ms", most=200)
    latency = Row(f"{name}, /v1/ticker during events, p99", "before", "ms", most=20)
    for number in range(effort.stream_rounds):
        directory = folder / f"{count}-{number}"
        directory.mkdir(parents=True)
        with on_core(cores.server), mock_server("hello", directory) as hello, on_core(cores.load):
            baseline = hello.resident
            with _open_streams(count, hello):
                baseline = hello.resident - baseline
        with ExitStack() as stack, on_core(cores.load):
            url = _store(directory, stack)
            with on_core(cores.server):
                server = stack.enter_context(Service(directory, url=url).running())
            thread = stack.enter_context(ThreadPoolExecutor(1))
            idle = p99(server.port, "/v1/ticker", thread.submit(time.sleep, _IDLE).done)
            before = server.resident
            clients = stack.enter_context(_open_streams(count, server))
            writing = thread.submit(asyncio.run, _write(url, clients, _EVENTS, _PAUSE))
            latency.pairs.append((idle, p99(server.port, "/v1/ticker", writing.done)))
            writing.result()
            memory.pairs.append((baseline * 1000 / count, (server.resident - before) * 1000 / count))
            times = clients.times()
        last.pairs.append((median(map(median, times)), percentile(sorted(delays[-1] for delays in times))))
    return [memory, last, latency]


def _store(folder: Path, stack: ExitStack) -> str:
    return f"redis://127.0.0.1:{stack.enter_context(valkey(folder / 'valkey')).port}/0"


def percentile(ordered: list[float]) -> float:
    """Return the 99th percentile; the last value of fewer than a hundred."""
    return ordered[len(ordered) * 99 // 100]


def possible(count: int) -> bool:
    """Return whether a process may hold so many streams open, raising the limit of open files if allowed."""
    wanted = count + _FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True
