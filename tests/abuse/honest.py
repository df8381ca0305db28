"""Readers who ask at a steady rate, whatever is done beside them, from other addresses than attacks come from."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import uvloop

from tests.abuse.attacks import TICKER
from tests.benchmarks.load import MeasureError

READERS: Final = 5
"""Addresses from which honest readers ask, over one connection each: the edge has limits for an address."""
RATE: Final = 40
"""Requests a second of each."""


async def _asked(port: int, number: int, done: Callable[[], bool]) -> list[float]:
    """Return the ms of each request of one honest reader. Raises `MeasureError` where one was not answered with 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.3.{number + 1}", 0))
    await asyncio.sleep(number / READERS / RATE)
    took: list[float] = []
    begun = time.perf_counter()
    while not done():
        due = begun + len(took) / RATE
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
            due = time.perf_counter()  # that our own clock woke us late is not the service's doing
        async with asyncio.timeout(5):
            writer.write(TICKER)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise MeasureError(f"an honest reader was answered with {head!r}")
            await reader.readexactly(int(head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0]))
        took.append((time.perf_counter() - due) * 1000)
    writer.close()
    return took


def p99(port: int, done: Callable[[], bool]) -> float:
    """Return the 99th percentile of the times of all honest readers until `done`, in ms."""

    async def all_asked() -> list[list[float]]:
        return await asyncio.gather(*(_asked(port, number, done) for number in range(READERS)))

    try:
        took = sorted(ms for one in uvloop.run(all_asked()) for ms in one)
    except (OSError, EOFError, TimeoutError) as error:
        raise MeasureError(f"an honest reader was not answered: {error!r}") from error
    return took[len(took) * 99 // 100]
