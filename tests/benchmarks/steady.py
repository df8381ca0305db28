"""Readers that ask at a steady rate, whatever else the service and its machine are busy with.

wrk asks as fast as it is answered: it would measure what the backfill leaves it of a core, not how readers fare.
"""

import asyncio
import time
from collections.abc import Callable

import uvloop

from tests.benchmarks.load import MeasureError, request

RATE = 200
"""Requests a second, over one connection."""
_TIMEOUT = 5.0


def p99(port: int, path: str, done: Callable[[], bool], rate: int = RATE, within: float = _TIMEOUT) -> float:
    """Ask until `done`; return the 99th percentile of the times to an answer, in ms.

    Raises `MeasureError` where one was answered with an error, or not at all `within` so many seconds.
    """
    try:
        took = sorted(uvloop.run(_asked(port, request(path), done, rate, within)))
    except (OSError, EOFError, TimeoutError) as error:
        raise MeasureError(f"{path} at port {port}: {error!r}") from error
    return took[len(took) * 99 // 100] * 1000


async def _asked(port: int, one: bytes, done: Callable[[], bool], rate: int, within: float) -> list[float]:
    """Return the seconds of each request: from when it was due, where the one before it was answered too late."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took: list[float] = []
    begun = time.perf_counter()
    while not done():
        due = begun + len(took) / rate
        early = due - time.perf_counter()
        if early > 0:
            await asyncio.sleep(early)
            due = time.perf_counter()  # that our own clock woke us late is not the service's doing
        async with asyncio.timeout(within):
            writer.write(one)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0]))
        took.append(time.perf_counter() - due)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise MeasureError(f"{one!r} was answered with {head!r}")
    writer.close()
    return took
