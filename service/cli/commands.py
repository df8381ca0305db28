"""Commands that print a ticker, the sources, or the result of one poll."""

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
from service.runtime.program import program
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
"""Log settings of commands: errors are printed once, by `service.cli.main`."""


def console(*, soft_wrap: bool = False, stderr: bool = False) -> Console:
    """Return a console without markup: the text of a bank may contain square brackets."""
    return Console(markup=False, soft_wrap=soft_wrap, stderr=stderr)


def show(settings: Settings, ticker: str | None, *, as_json: bool) -> None:
    """Print a ticker as the service serves it now, from stored rates."""
    configure(QUIET)
    ids = [configured.id for configured in settings.tickers]
    ticker_id = ticker or ids[0]
    if ticker_id not in ids:
        raise SettingsError(f"unknown ticker {ticker_id!r} (known: {', '.join(ids)})")
    memory = with_store(settings, lambda store: _memory(settings, store))
    memory.refresh(Clock()())
    snapshot = memory.snapshots.get(ticker_id)
    if snapshot is None:
        raise TickerError(f"ticker {ticker_id!r} has no rates yet; start the service: {program()} serve")
    if as_json:
        sys.stdout.write(ticker_json(View(snapshot, settings, Options(), sayer(snapshot, settings))).decode() + "\n")
        return
    title = f"{snapshot.base}, {snapshot.status}, as of {snapshot.as_of}"
    table = Table("currency", "rate", "previous", "change", "date", "source", title=title)
    for quote in snapshot.quotes:
        cells = (quote.rate, quote.previous, percent_text(quote.percent), quote.date, quote.source)
        table.add_row(quote.code, *map(text, cells))
    console().print(table)


def sources(settings: Settings) -> None:
    """List the sources with their latest publication and the result of their last poll."""
    configure(QUIET)
    memory = with_store(settings, lambda store: _memory(settings, store))
    columns = ("name", "base", "state", "last_fixing", "last_success", "error")
    table = Table("source", *(column.replace("_", " ") for column in columns))
    for key in settings.polled:
        described = describe(memory, key, None, Clock()())
        table.add_row(key, *(text(getattr(described, column)) for column in columns))
    console().print(table)


def poll(settings: Settings, key: str) -> None:
    """Poll a source once, as with an empty store, and print its rates and their validation. Store nothing."""
    configure(QUIET)
    source_of(settings, key)
    series = run_interruptibly(_poll(validate(settings), key))
    if series.latest is None:
        raise TickerError(f"{key}: no publishable rates")
    rates = Table(
        "currency", "nominal", f"{series.latest.base}, {series.latest.direction}", title=str(series.latest.date)
    )
    for code, rate in sorted(series.latest.rates.items()):
        rates.add_row(code, str(rate.nominal), f"{rate.value:f}")
    console().print(rates)


def source_of(settings: Settings, key: str) -> SourceSettings:
    """Return the settings of a source; raise `SettingsError` for an unknown key."""
    if key not in settings.sources:
        raise SettingsError(f"unknown source {key!r} (known: {', '.join(settings.sources)})")
    return settings.sources[key]


async def _poll(settings: Settings, key: str) -> Series:
    source, clock = settings.sources[key], Clock()
    now = clock()
    today, last_day = publication_schedule.today(source, now), publication_schedule.latest_possible_date(source, now)
    series, left_out = Series(), list[str]()
    table = Table("date", "currencies", "digest of the response", "verdict", title=source.name)
    async with Client(settings.client) as client:
        session = BankSession(key, source, client, clock, settings.wanted(key))
        async for _, fixing in published(SOURCES[settings.adapter(key)], session, today - LOOKBACK, last_day, left_out):
            context = validation_context(settings, key, now, None, {}, configured_breaks(source))
            judgement = judge(fixing, series, context)
            if judgement.publish:
                series = series.with_fixing(judgement.publish, KEEP)
            verdict = f"{judgement.verdict}: {'; '.join(judgement.reasons)}" if judgement.reasons else judgement.verdict
            table.add_row(str(fixing.date), str(len(fixing.rates)), fixing.digest[:16], verdict)
    console().print(table)
    for problem in left_out:
        console(soft_wrap=True).print(f"left out: {problem}")
    return series


async def _memory(settings: Settings, store: Store) -> MemoryState:
    store_sync = StoreSync(memory := MemoryState(settings), store)
    await store_sync.sync()
    if store_sync.error:
        raise StoreError(store_sync.error)
    return memory


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` with the configured store and return its result. The service may be running or not."""

    async def run() -> T:
        server = embedded(settings.store, exclusive=False)
        async with AsyncExitStack() as stack:
            if server:
                await stack.enter_async_context(server)
            store = await stack.enter_async_context(open_store(settings, server, Clock()))
            await store.check_schema(prepare=False)
            return await work(store)

    return run_interruptibly(run())


def text(value: object) -> str:
    """Format a table cell: a dash for None, a number without an exponent, a time in UTC to the minute."""
    if value is None:
        return "—"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else str(value)
