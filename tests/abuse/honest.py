"""Measure honest clients: they send requests at a steady rate, from other addresses than the attacks."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import uvloop

from tests.abuse.attacks import TICKER
from tests.benchmarks.load import MeasureError

CLIENTS: Final = 5
"""Number of honest clients, with one address and connection each: the edge has limits per address."""
RATE: Final = 40
"""Requests a second of each client."""


async def _measure(port: int, number: int, done: Callable[[], bool]) -> list[float]:
    """Return the duration of each request of one client, in ms. Raise `MeasureError` for a status other than 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.3.{number + 1}", 0))
    await asyncio.sleep(number / CLIENTS / RATE)
    durations: list[float] = []
    started = time.perf_counter()
    while not done():
        due = started + len(durations) / RATE
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
            due = time.perf_counter()  # do not count a late wake-up of this process
        async with asyncio.timeout(5):
            writer.write(TICKER)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise MeasureError(f"an honest client got {head!r}")
            await reader.readexactly(int(head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0]))
        durations.append((time.perf_counter() - due) * 1000)
    writer.close()
    return durations


def p99(port: int, done: Callable[[], bool]) -> float:
    """Return the 99th percentile of the durations of all honest clients until `done`, in ms."""

    async def measure_all() -> list[list[float]]:
        return await asyncio.gather(*(_measure(port, number, done) for number in range(CLIENTS)))

    try:
        durations = sorted(ms for durations in uvloop.run(measure_all()) for ms in durations)
    except (OSError, EOFError, TimeoutError) as error:
        raise MeasureError(f"an honest client got no response: {error!r}") from error
    return durations[len(durations) * 99 // 100]
