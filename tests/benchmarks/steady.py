"""A client that sends requests at a constant rate, regardless of the load of the service.

wrk sends as fast as it gets responses: it would measure the CPU share that is left, not the latency of a client.
"""

import asyncio
import time
from collections.abc import Callable

import uvloop

from tests.benchmarks.load import MeasureError, request

RATE = 200
"""Requests per second, over one connection."""
_TIMEOUT = 5.0


def p99(port: int, path: str, done: Callable[[], bool], rate: int = RATE, within: float = _TIMEOUT) -> float:
    """Send requests until `done`; return the 99th percentile of the response times in ms.

    Raises `MeasureError` if a response was an error, or not complete `within` so many seconds.
    """
    try:
        durations = sorted(uvloop.run(_durations(port, request(path), done, rate, within)))
    except (OSError, EOFError, TimeoutError) as error:
        raise MeasureError(f"{path} at port {port}: {error!r}") from error
    return durations[len(durations) * 99 // 100] * 1000


async def _durations(port: int, request_: bytes, done: Callable[[], bool], rate: int, within: float) -> list[float]:
    """Return the seconds of each request, counted from when it was due if the previous response was late."""
    stream_reader, writer = await asyncio.open_connection("127.0.0.1", port)
    durations: list[float] = []
    started = time.perf_counter()
    while not done():
        due = started + len(durations) / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
            due = time.perf_counter()  # a late wake-up of this process is not a delay of the service
        async with asyncio.timeout(within):
            writer.write(request_)
            head = await stream_reader.readuntil(b"\r\n\r\n")
            await stream_reader.readexactly(int(head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0]))
        durations.append(time.perf_counter() - due)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise MeasureError(f"{request_!r} got the response {head!r}")
    writer.close()
    return durations
