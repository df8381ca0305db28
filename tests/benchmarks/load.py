"""Load on a server: by wrk, and by a Python client for requests that wrk cannot send.

wrk waits forever for the body of a HEAD response, and it cannot stop after a number of requests.
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
"""Seconds by which a load may exceed its duration."""
_LONGEST = 120.0
"""Maximum seconds of a fixed number of requests."""


class MeasureError(Exception):
    """A measurement failed or is not valid."""


@dataclass(frozen=True)
class Load:
    """Result of a load: requests per second, and the 99th percentile of the response times in ms."""

    rate: float
    p99: float = math.nan


def wrk(port: int, path: str, headers: Mapping[str, str], seconds: float) -> Load:
    """Send requests at the maximum rate; raise `MeasureError` if a response was an error or missing."""
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
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + _TIMEOUT).stdout
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", output, re.MULTILINE)
    p99 = re.search(r"^\s+99%\s+([\d.]+)(us|ms|s)$", output, re.MULTILINE)
    if rate is None or p99 is None or float(rate[1]) == 0 or "Non-2xx" in output or "Socket errors" in output:
        raise MeasureError(f"{' '.join(command)}\n{output}")
    return Load(float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]])


def wrk_version() -> str:
    output = subprocess.run(("wrk", "-v"), capture_output=True, text=True, check=False).stdout
    return " ".join(output.split()[:2])


def fetch(
    port: int, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, str, bytes]:
    """Send one request; return the status, the ETag and the body (its beginning, for a stream)."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        endless = response.headers.get_content_type() == "text/event-stream"
        return response.status, response.headers.get("ETag", ""), response.read1() if endless else response.read()
    finally:
        connection.close()


def request(path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> bytes:
    """Return a request as sent over the wire."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode("latin-1")


def repeated(port: int, requests: Iterable[bytes], seconds: float) -> Load:
    """Send requests for `seconds` with the Python client; all responses must have status 200."""
    started = time.perf_counter()
    statuses = send(port, takewhile(lambda _: time.perf_counter() - started < seconds, requests))
    if set(statuses) != {200}:
        raise MeasureError(f"port {port} responded with {dict(statuses)}")
    return Load(statuses[200] / (time.perf_counter() - started))


def send(port: int, requests: Iterable[bytes]) -> Counter[int]:
    """Send all requests over 64 keep-alive connections; return the number of responses by status."""
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
    """One connection, which sends the next request after each response."""

    def __init__(self, requests: Iterator[bytes], statuses: Counter[int], done: asyncio.Future[None]) -> None:
        self._done = done
        self._requests = requests
        self._statuses = statuses
        self._received = b""
        self._without_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            "asyncio.WriteTransport", transport
        )  # uvloop's transport implements the interface without inheriting it
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, complete, body = self._received.partition(b"\r\n\r\n")
        if not complete:
            return
        status = int(head[9:12])
        if not self._without_body and status != 304 and len(body) < _length(head):
            return
        self._statuses[status] += 1
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or MeasureError("the server closed a keep-alive connection"))

    def _next(self) -> None:
        request_ = next(self._requests, None)
        if request_ is None:
            self._done.set_result(None)
            self._transport.close()
        else:
            self._without_body = request_.startswith(b"HEAD ")
            self._transport.write(request_)


def _length(head: bytes) -> int:
    with suppress(IndexError, ValueError):
        return int(head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])
    raise MeasureError(f"a response has no Content-Length: {head!r}")
