"""The status page of all sources with 90 days of publications: its rendering, and the delay of other requests."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from service.settings import load
from service.storage.repository import Store
from tests.benchmarks.load import fetch
from tests.benchmarks.processes import Cores, Service, on_core
from tests.benchmarks.requests import Subject
from tests.benchmarks.rows import Effort, Row
from tests.support.publications import fill
from tests.support.servers import valkey

_LIFE: Final = 5.2
"""Seconds after which the page is rendered again."""
_LANGUAGES: Final = ("en", "ru", "kk")
_TICKER: Final = """\
[[tickers]]
id = "kzt"
base = "KZT"
currencies = ["USD", "EUR", "RUB", "GBP", "CNY"]
sources = ["nbk", "cbr", "nbu"]
"""


def status(folder: Path, cores: Cores, effort: Effort) -> Iterator[Row]:
    """Measure requests that render the page, and the longest wait for a ticker meanwhile."""
    banks = [key for key, source in load(environ={}).sources.items() if not source.recorded]
    rendered = Row(f"/status of {len(banks)} sources, rendered", "from the cache", "ms", most=100, related=False)
    waits = Row("/v1/ticker while /status is rendered, longest wait", "alone", "ms", most=10, related=False)
    with ExitStack() as stack:
        folder.mkdir(exist_ok=True)
        url = f"redis://127.0.0.1:{stack.enter_context(valkey(folder / 'valkey')).port}/0"
        asyncio.run(_fill(url, banks))
        stack.enter_context(on_core(cores.server))
        server = stack.enter_context(Service(folder, url=url, config=config_of(banks)).running())
        stack.enter_context(on_core(cores.load))
        threads = stack.enter_context(ThreadPoolExecutor(1))
        for lang in _LANGUAGES:
            Subject(f"/status?lang={lang}").check(server.port)  # the first one loads the language
        for _ in range(effort.rounds):
            time.sleep(_LIFE)
            alone = _longest_wait(server.port)
            requested = threads.submit(lambda: [_duration(server.port, lang) for lang in _LANGUAGES])
            waits.pairs.append((alone, _longest_wait(server.port)))
            rendered.pairs.append((_duration(server.port, _LANGUAGES[0]), max(requested.result())))
    yield from (rendered, waits)


def _duration(port: int, lang: str) -> float:
    """Return the duration of a request for the page, in ms."""
    started = time.perf_counter()
    fetch(port, f"/status?lang={lang}")
    return 1000 * (time.perf_counter() - started)


def _longest_wait(port: int) -> float:
    """Return the longest wait for a ticker within half a second, in ms."""
    started, longest = time.perf_counter(), 0.0
    while (sent := time.perf_counter()) - started < 0.5:
        fetch(port, "/v1/ticker")
        longest = max(longest, time.perf_counter() - sent)
    return 1000 * longest


def config_of(banks: Sequence[str]) -> str:
    """Return a configuration with all banks, none of which can be reached."""
    source = (
        '\n[sources.{0}]\nenabled = true\nurl = "http://127.0.0.1:1/{0}"\nsecret = "12345678"\n'  # fred requires one
    )
    return _TICKER + "".join(map(source.format, banks))


async def _fill(url: str, banks: Sequence[str]) -> None:
    settings = load(environ={}, overrides={"sources": {key: {"enabled": True} for key in banks}})
    async with Store(url, settings.store.prefix) as store:
        await fill(store, settings, datetime.now(UTC))
