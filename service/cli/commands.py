"""What the command line prints: a ticker, the sources, what one poll brings."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from service.clock import Clock
from service.domain import publication_schedule
from service.domain.change import percent_text
from service.domain.fixing import Series
from service.errors import SettingsError, StoreError, TickerError
from service.observability.logging import configure
from service.polling.poller import LOOKBACK, published
from service.runtime.background import run_interruptibly
from service.settings import LogSettings, Settings, SourceSettings
from service.sources.banks import SOURCES, validate
from service.sources.http_client import Client
from service.sources.session import BankSession
from service.state.memory import KEEP, MemoryState, configured_breaks, validation_context
from service.storage.embedded_valkey import embedded
from service.storage.repository import Store, open_store
from service.storage.sync import StoreSync
from service.validation.rules import judge
from service.web.api.sources import describe
from service.web.rendering.formats import View, sayer, ticker_json
from service.web.rendering.options import Options

T = TypeVar("T")

QUIET = LogSettings(level="critical")
"""Errors are told once, by the command line."""


def show(settings: Settings, ticker: str | None, *, as_json: bool) -> None:
    """Print a ticker from what is stored, as the service would serve it now."""
    configure(QUIET)
    ids = [known.id for known in settings.tickers]
    wanted = ticker or ids[0]
    if wanted not in ids:
        raise SettingsError(f"there is no ticker {wanted!r}; there are {', '.join(ids)}")
    memory = with_store(settings, lambda store: _memory(settings, store))
    memory.refresh(Clock()())
    snapshot = memory.snapshots.get(wanted)
    if snapshot is None:
        raise TickerError(f"the ticker {wanted} has no figures yet; start the service with: make run")
    if as_json:
        sys.stdout.write(ticker_json(View(snapshot, settings, Options(), sayer(snapshot, settings))).decode() + "\n")
        return
    title = f"{snapshot.base}, {snapshot.status}, as of {snapshot.as_of}"
    table = Table("currency", "rate", "before", "change", "date", "source", title=title)
    for quote in snapshot.quotes:
        told = (quote.rate, quote.previous, percent_text(quote.percent), quote.date, quote.source)
        table.add_row(quote.code, *map(text, told))
    Console().print(table)


def sources(settings: Settings) -> None:
    """Print every source and how its polls go."""
    configure(QUIET)
    memory = with_store(settings, lambda store: _memory(settings, store))
    told = ("name", "base", "state", "last_fixing", "last_success", "error")
    table = Table("source", *(column.replace("_", " ") for column in told))
    for key in settings.polled:
        described = describe(memory, key, None, Clock()())
        table.add_row(key, *(text(getattr(described, column)) for column in told))
    Console().print(table)


def poll(settings: Settings, key: str) -> None:
    """Ask one source once, as with an empty store, and print what would be stored; nothing is."""
    configure(QUIET)
    source_of(settings, key)
    series = asyncio.run(_poll(validate(settings), key))
    if series.latest is None:
        raise TickerError(f"{key}: no figures that could be published")
    figures = Table(
        "currency", "nominal", f"{series.latest.base}, {series.latest.direction}", title=str(series.latest.date)
    )
    for code, rate in sorted(series.latest.rates.items()):
        figures.add_row(code, str(rate.nominal), f"{rate.value:f}")
    Console().print(figures)


def source_of(settings: Settings, key: str) -> SourceSettings:
    if key not in settings.sources:
        raise SettingsError(f"there is no source {key!r}; there are {', '.join(settings.sources)}")
    return settings.sources[key]


async def _poll(settings: Settings, key: str) -> Series:
    source, clock = settings.sources[key], Clock()
    now = clock()
    today, last_day = publication_schedule.today(source, now), publication_schedule.latest_possible_date(source, now)
    series = Series()
    table = Table("date", "currencies", "digest of the answer", "verdict", title=source.name)
    async with Client(settings.client) as client:
        feed = BankSession(key, source, client, clock, settings.wanted(key))
        async for _, fixing in published(SOURCES[settings.adapter(key)], feed, today - LOOKBACK, last_day):
            judged = judge(fixing, series, validation_context(settings, key, now, None, {}, configured_breaks(source)))
            if judged.publish:
                series = series.with_fixing(judged.publish, KEEP)
            told = ": ".join([judged.verdict, *(["; ".join(judged.reasons)] if judged.reasons else [])])
            table.add_row(str(fixing.date), str(len(fixing.rates)), fixing.digest[:16], told)
    Console().print(table)
    return series


async def _memory(settings: Settings, store: Store) -> MemoryState:
    store_sync = StoreSync(memory := MemoryState(settings), store)
    await store_sync.sync()
    if store_sync.error:
        raise StoreError(store_sync.error)
    return memory


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` with the store that the service uses, beside it or without it."""

    async def run() -> T:
        server = embedded(settings.store, exclusive=False)
        async with AsyncExitStack() as stack:
            if server:
                await stack.enter_async_context(server)
            return await work(await stack.enter_async_context(open_store(settings, server, Clock())))

    return run_interruptibly(run())


def text(value: object) -> str:
    """Return a table cell: a dash for nothing, plain digits, minutes of a time."""
    if value is None:
        return "—"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else str(value)
