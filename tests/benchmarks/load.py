"""Load on a server: by wrk, and by a client of our own for what wrk cannot ask.

wrk waits for a body after HEAD, for ever, and it cannot stop at a number of requests.
"""

import asyncio
import math
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import takewhile
from typing import cast

import uvloop

CONNECTIONS = 64
_TIMEOUT = 15.0
"""Seconds by which a load may last longer than it should."""
_LONGEST = 120.0
"""Seconds for all that is sent at once."""


class MeasureError(Exception):
    """What was measured is not what the row says."""


@dataclass(frozen=True)
class Load:
    """What a load was answered with: requests a second, and the 99th percentile of the times to an answer, in ms."""

    rate: float
    p99: float = math.nan


def wrk(port: int, path: str, headers: Mapping[str, str], seconds: float) -> Load:
    """Ask as fast as is answered; raise `MeasureError` where one was answered with an error, or not at all."""
    fields = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = [
        "wrk",
        "--latency",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds:.0f}s",
        *fields,
        f"http://127.0.0.1:{port}{path}",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + _TIMEOUT).stdout
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", told, re.MULTILINE)
    p99 = re.search(r"^\s+99%\s+([\d.]+)(us|ms|s)$", told, re.MULTILINE)
    if rate is None or p99 is None or float(rate[1]) == 0 or "Non-2xx" in told or "Socket errors" in told:
        raise MeasureError(f"{' '.join(command)}\n{told}")
    return Load(float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]])


def wrk_version() -> str:
    told = subprocess.run(("wrk", "-v"), capture_output=True, text=True, check=False).stdout
    return " ".join(told.split()[:2])


def ask(port: int, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, str, bytes]:
    """Ask once; return the status, the ETag and the body, or its beginning where it has no end (a stream)."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        endless = answer.headers.get_content_type() == "text/event-stream"
        return answer.status, answer.headers.get("ETag", ""), answer.read1() if endless else answer.read()
    finally:
        connection.close()


def request(path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> bytes:
    """Return a request as it goes over the wire."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode("latin-1")


def repeated(port: int, requests: Iterable[bytes], seconds: float) -> Load:
    """Do the same by our own client, for what wrk cannot ask and is answered with 200."""
    begun = time.perf_counter()
    statuses = send(port, takewhile(lambda _: time.perf_counter() - begun < seconds, requests))
    if set(statuses) != {200}:
        raise MeasureError(f"port {port} answered with {dict(statuses)}")
    return Load(statuses[200] / (time.perf_counter() - begun))


def send(port: int, requests: Iterable[bytes]) -> Counter[int]:
    """Send them all over 64 connections, each kept; return how many were answered with which status."""
    try:
        return uvloop.run(_send(port, iter(requests)))
    except (OSError, TimeoutError) as error:
        raise MeasureError(f"requests to port {port}: {error!r}") from error


async def _send(port: int, requests: Iterator[bytes]) -> Counter[int]:
    loop = asyncio.get_running_loop()
    statuses: Counter[int] = Counter()

    async def client() -> None:
        done = loop.create_future()
        await loop.create_connection(lambda: _Client(requests, statuses, done), "127.0.0.1", port)
        await done

    async with asyncio.timeout(_LONGEST):
        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return statuses


class _Client(asyncio.Protocol):
    """One connection, which sends the next request when the last is answered."""

    def __init__(self, requests: Iterator[bytes], statuses: Counter[int], done: asyncio.Future[None]) -> None:
        self._done = done
        self._requests = requests
        self._statuses = statuses
        self._received = b""
        self._without_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one without being its child
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, whole, body = self._received.partition(b"\r\n\r\n")
        if not whole:
            return
        status = int(head[9:12])
        if not self._without_body and status != 304 and len(body) < _length(head):
            return
        self._statuses[status] += 1
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or MeasureError("the server closed a connection that was to be kept"))

    def _next(self) -> None:
        one = next(self._requests, None)
        if one is None:
            self._done.set_result(None)
            self._transport.close()
        else:
            self._without_body = one.startswith(b"HEAD ")
            self._transport.write(one)


def _length(head: bytes) -> int:
    with suppress(IndexError, ValueError):
        return int(head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])
    raise MeasureError(f"an answer does not tell its length: {head!r}")
