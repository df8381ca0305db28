"""Replies as long as a history of ten years: how long they take, and how long they make another reader wait."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Event
from typing import Final

from tests.benchmarks.load import ask
from tests.benchmarks.processes import Cores, Service, beside, on_core
from tests.benchmarks.requests import Subject
from tests.benchmarks.rows import Effort, Row

_REQUESTS: Final = 10


def history(service: Service, folder: Path, cores: Cores, effort: Effort) -> Iterator[Row]:
    """Measure how long a reply takes, and how long it makes another reader wait; the service has a `decade`."""
    year, ten = (f"/v1/history/usd?from={since}-03-31&to=2026-03-31" for since in (2025, 2016))
    with on_core(cores.server), beside("hello", folder) as plain, service.running() as server, on_core(cores.load):
        for name, path, headers, most in (
            ("/v1/history, one year", year, {}, 15),
            ("/v1/history, ten years", ten, {}, 100),
            ("/v1/history, ten years, gzip", ten, {"Accept-Encoding": "gzip"}, 100),
        ):
            Subject(path, headers).check(server.port)
            row = Row(name, "hello", "ms", most=most, related=False)
            for _ in range(effort.rounds):
                row.pairs.append((_took(plain.port, "/", {}), _took(server.port, path, headers)))
            yield row
        row = Row("/v1/ticker during requests for ten years, longest wait", "alone", "ms", most=10, related=False)
        for _ in range(effort.rounds):
            alone = _longest_wait(server.port, effort.seconds)
            with ThreadPoolExecutor(1) as other, _asking(other, server.port, ten):
                row.pairs.append((alone, _longest_wait(server.port, effort.seconds)))
        yield row


def _took(port: int, path: str, headers: Mapping[str, str]) -> float:
    """Return the median of some requests, from the connection to the last byte, in ms."""
    took = []
    for _ in range(_REQUESTS):
        begun = time.perf_counter()
        ask(port, path, headers)
        took.append(time.perf_counter() - begun)
    return median(took) * 1000


def _longest_wait(port: int, seconds: float) -> float:
    begun, longest = time.perf_counter(), 0.0
    while (asked := time.perf_counter()) - begun < seconds:
        ask(port, "/v1/ticker")
        longest = max(longest, time.perf_counter() - asked)
    return longest * 1000


@contextmanager
def _asking(threads: ThreadPoolExecutor, port: int, path: str) -> Iterator[None]:
    """Ask one after the other, all the while."""
    enough = Event()

    def ask_on() -> None:
        while not enough.is_set():
            ask(port, path)

    asked = threads.submit(ask_on)
    try:
        yield
    finally:
        enough.set()
    asked.result()
