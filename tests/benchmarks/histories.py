"""Long history responses and charts: their duration, and the delay of other requests."""

import gzip
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median
from threading import Event
from typing import Final

from service.web.rendering.options import RANGES
from tests.benchmarks.load import fetch
from tests.benchmarks.processes import Cores, Service, mock_server, on_core
from tests.benchmarks.requests import Subject
from tests.benchmarks.rows import Effort, Row

_REQUESTS: Final = 10
_CHART: Final = "/v1/chart/usd.svg?range=all"
_WIDEST: Final = 1280
_WIDTHS: Final = cycle(range(_WIDEST - 1, 600, -1))
"""Widths of pictures: each is rendered for the first time, in at most sixty rounds."""
_PAGES: Final = cycle(
    f"{code}?lang={lang}&range={name}"
    for lang in ("en", "kk", "ru", "de", "fr", "es", "tr", "uz", "ky", "zh", "ar")
    for code in ("usd", "eur", "gbp", "cny", "rub")
    for name in RANGES
)
"""Pages of currencies: more than the service caches, so that each is rendered."""


def history(service: Service, folder: Path, cores: Cores, effort: Effort) -> Iterator[Row]:
    """Measure the duration of history responses and the delay of other requests; the service has a `decade`."""
    one_year, decade = (f"/v1/history/usd?from={since}-03-31&to=2026-03-31" for since in (2025, 2016))
    with on_core(cores.server), mock_server("hello", folder) as plain, service.running() as server, on_core(cores.load):
        for name, path, headers, most in (
            ("/v1/history, one year", one_year, {}, 15),
            ("/v1/history, ten years", decade, {}, 100),
            ("/v1/history, ten years, gzip", decade, {"Accept-Encoding": "gzip"}, 100),
            ("/v1/chart, ten years as SVG, rendered", f"{_CHART}&width={{unique}}", {}, 60),
            ("/v1/chart, ten years as SVG, cached", _CHART, {}, 15),
            ("/rates/usd, ten years, rendered", "/rates/{page}", {"Accept-Encoding": "gzip"}, 60),
            ("/rates/usd, ten years, cached", "/rates/usd?lang=en&range=all", {"Accept-Encoding": "gzip"}, 15),
        ):
            Subject(path.format(unique=_WIDEST, page="usd?lang=en&range=all"), headers).check(server.port)
            row = Row(name, "hello", "ms", most=most, related=False)
            for _ in range(effort.rounds):
                row.pairs.append((_median_duration(plain.port, "/", {}), _median_duration(server.port, path, headers)))
            yield row
        row = Row("/v1/ticker during requests for ten years, longest wait", "alone", "ms", most=10, related=False)
        for _ in range(effort.rounds):
            alone = _longest_wait(server.port, effort.seconds)
            with ThreadPoolExecutor(1) as threads, _requesting(threads, server.port, decade):
                row.pairs.append((alone, _longest_wait(server.port, effort.seconds)))
        yield row
        yield _first_load(server.port, effort)


def _first_load(port: int, effort: Effort) -> Row:
    """Measure the compressed size of the page of a currency with all its assets."""
    row = Row("/rates/usd, ten years, first load", "the page alone", "KB", most=100)
    headers = {"Accept-Encoding": "gzip"}
    _, _, page = fetch(port, "/rates/usd?lang=en&range=all", headers)
    names = re.findall(rb"static/[\w.-]+", gzip.decompress(page))
    assets = {name: len(fetch(port, f"/{name.decode()}", headers)[2]) for name in names}
    for _ in range(effort.rounds):
        row.pairs.append((len(page) / 1000, (len(page) + sum(assets.values())) / 1000))
    return row


def _median_duration(port: int, path: str, headers: Mapping[str, str]) -> float:
    """Return the median duration of some requests, from connect to the last byte, in ms."""
    durations = []
    for _ in range(_REQUESTS):
        unique_path = path.format(unique=next(_WIDTHS), page=next(_PAGES))
        started = time.perf_counter()
        fetch(port, unique_path, headers)
        durations.append(time.perf_counter() - started)
    return median(durations) * 1000


def _longest_wait(port: int, seconds: float) -> float:
    started, longest = time.perf_counter(), 0.0
    while (sent := time.perf_counter()) - started < seconds:
        fetch(port, "/v1/ticker")
        longest = max(longest, time.perf_counter() - sent)
    return longest * 1000


@contextmanager
def _requesting(threads: ThreadPoolExecutor, port: int, path: str) -> Iterator[None]:
    """Send requests continuously in a thread."""
    stop = Event()

    def request_until_stopped() -> None:
        while not stop.is_set():
            fetch(port, path)

    running = threads.submit(request_until_stopped)
    try:
        yield
    finally:
        stop.set()
    running.result()
