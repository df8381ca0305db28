"""What the command line prints: a ticker, the sources, what one poll brings."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn
from rich.table import Table

from service import portable, publications
from service.acceptance import Rules, judge, unusable
from service.app import checked, create_store
from service.archive import Archive
from service.backfill import Backfill, Count
from service.board import KEEP, Board
from service.change import percent_text
from service.clock import Clock
from service.embedded import embedded
from service.errors import SettingsError, StoreError, TickerError
from service.fixings import Series
from service.logs import configure
from service.poller import LOOKBACK, published
from service.quarantine import Decision, Outcome, Waiting
from service.settings import LogSettings, Settings, SourceSettings
from service.sources import LATEST_ONLY, SOURCES
from service.sources.client import BankFeed, Client
from service.store import Store
from service.web.options import Options
from service.web.render import View, sayer, ticker_json
from service.web.sources import describe

T = TypeVar("T")
_TOLD = 20
"""Decisions that are printed."""

_QUIET = LogSettings(level="critical")
"""Errors are told once, by the command line."""


def show(settings: Settings, ticker: str | None, *, as_json: bool) -> None:
    """Print a ticker from what is stored, as the service would serve it now."""
    configure(_QUIET)
    ids = [known.id for known in settings.tickers]
    wanted = ticker or ids[0]
    if wanted not in ids:
        raise SettingsError(f"there is no ticker {wanted!r}; there are {', '.join(ids)}")
    board = _with_store(settings, lambda store: _board(settings, store))
    board.refresh(Clock()())
    snapshot = board.snapshots.get(wanted)
    if snapshot is None:
        raise TickerError(f"the ticker {wanted} has no figures yet; start the service with: make run")
    if as_json:
        sys.stdout.write(ticker_json(View(snapshot, settings, Options(), sayer(snapshot, settings))).decode() + "\n")
        return
    title = f"{snapshot.base}, {snapshot.status}, as of {snapshot.as_of}"
    table = Table("currency", "rate", "before", "change", "date", "source", title=title)
    for quote in snapshot.quotes:
        told = (quote.rate, quote.previous, percent_text(quote.percent), quote.date, quote.source)
        table.add_row(quote.code, *map(_text, told))
    Console().print(table)


def sources(settings: Settings) -> None:
    """Print every source and how its polls go."""
    configure(_QUIET)
    board = _with_store(settings, lambda store: _board(settings, store))
    told = ("name", "base", "state", "last_fixing", "last_success", "error")
    table = Table("source", *(column.replace("_", " ") for column in told))
    for key in settings.polled:
        described = describe(board, key, None, Clock()())
        table.add_row(key, *(_text(described[column]) for column in told))
    Console().print(table)


def quarantine(settings: Settings) -> None:
    """Print what waits, and how the last waits ended."""
    configure(_QUIET)
    keys = list(settings.sources)  # a backfill may have filled one that is not polled

    async def read(store: Store) -> tuple[list[Waiting], list[Decision]]:
        waiting = [one for key in keys for one in await store.waiting(key)]
        return waiting, [one for key in keys for one in await store.decisions(key)]

    waiting, decisions = _with_store(settings, read)
    table = Table("source", "date", "since", "why", title="in quarantine")
    for one in waiting:
        table.add_row(one.fixing.source, str(one.fixing.date), _text(one.since), "\n".join(one.reasons))
    console = Console()
    console.print(table if waiting else "nothing waits")
    ended = Table("source", "date", "waited since", "ended", "how", title="decided")
    for decision in sorted(decisions, key=lambda one: one.at, reverse=True)[:_TOLD]:
        fixing, since = decision.waiting.fixing, decision.waiting.since
        ended.add_row(fixing.source, str(fixing.date), _text(since), _text(decision.at), decision.outcome)
    if decisions:
        console.print(ended)


def decide(settings: Settings, key: str, day: date, outcome: Outcome) -> None:
    """Publish what waits for a date, or see to it that it never is; the service follows by itself."""
    configure(_QUIET)

    async def end(store: Store) -> None:
        found = {one.fixing.date: one for one in await store.waiting(key)}
        if day not in found:
            waits = ", ".join(map(str, found)) or "nothing"
            raise TickerError(f"{key}: nothing waits for {day}; there is {waits}")
        decision = Decision(found[day], outcome, Clock()())
        fixing = decision.waiting.fixing
        if outcome is Outcome.REJECTED:
            await store.decide(decision)
        elif bad := unusable(fixing):
            raise TickerError(f"{key}: the fixing of {day} cannot be published by anybody: {'; '.join(bad)}")
        else:
            replaced = await store.fixing(key, day)
            await store.save(fixing.revising(replaced) if replaced else fixing, decision=decision)

    _with_store(settings, end)
    Console().print(f"{key} {day}: {outcome}")


def backfill(settings: Settings, key: str, since: date, until: date | None, pause: timedelta | None) -> None:
    """Fill the past of a source; what is done is kept, whatever happens."""
    configure(_QUIET)
    source = _source(checked(settings), key)
    if settings.adapter(key) in LATEST_ONLY:
        raise SettingsError(f"{key} tells its latest figures only, there is no past to ask for")
    clock = Clock()
    until = until or publications.today(source, clock())
    if since > until:
        raise SettingsError(f"--from {since} lies after {until}")

    async def fill(store: Store) -> Count:
        wait = settings.client.pause if pause is None else pause
        async with Client(settings.client) as client:
            feed = BankFeed(key, source, client, clock, settings.wanted(key), pause=wait)
            run = Backfill(settings, store, feed, clock, told)
            progress.update(task, total=sum((last - first).days + 1 for first, last in await run.steps(since, until)))
            return await run.run(since, until)

    def told(days: int, count: Count) -> None:
        done = count.accepted + count.known
        rate = done / max(progress.tasks[task].elapsed or 1, 1)
        progress.update(task, advance=days, done=f"{done} fixings, {rate:.0f}/s")

    columns = (
        "{task.description}",
        BarColumn(),
        TaskProgressColumn(),
        "{task.fields[done]}",
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{key} from {since} to {until}", total=None, done="")
        count = _with_store(settings, fill)
    Console().print(f"{key}: {count.accepted} new, {count.known} known, {count.waiting} in quarantine")


def export(settings: Settings, path: Path) -> None:
    """Write all fixings to a file."""
    configure(_QUIET)
    count = _with_store(settings, lambda store: portable.export(store, path))
    Console().print(f"{path}: {count} fixings")


def load(settings: Settings, path: Path) -> None:
    """Take in the fixings of a file."""
    configure(_QUIET)
    new, known, different = _with_store(settings, lambda store: portable.load(store, path))
    Console().print(f"{path}: {new} new, {known} known, {different} different from what is known, which stays")


def poll(settings: Settings, key: str) -> None:
    """Ask one source once, as with an empty store, and print what would be stored; nothing is."""
    configure(_QUIET)
    _source(settings, key)
    series = asyncio.run(_poll(checked(settings), key))
    if series.latest is None:
        raise TickerError(f"{key}: no figures that could be published")
    figures = Table(
        "currency", "nominal", f"{series.latest.base}, {series.latest.direction}", title=str(series.latest.date)
    )
    for code, rate in sorted(series.latest.rates.items()):
        figures.add_row(code, str(rate.nominal), f"{rate.value:f}")
    Console().print(figures)


def _source(settings: Settings, key: str) -> SourceSettings:
    if key not in settings.sources:
        raise SettingsError(f"there is no source {key!r}; there are {', '.join(settings.sources)}")
    return settings.sources[key]


async def _poll(settings: Settings, key: str) -> Series:
    source, clock = settings.sources[key], Clock()
    now = clock()
    today, last_day = publications.today(source, now), publications.horizon(source, now)
    series = Series()
    table = Table("date", "currencies", "digest of the answer", "verdict", title=source.name)
    async with Client(settings.client) as client:
        feed = BankFeed(key, source, client, clock, settings.wanted(key))
        async for _, fixing in published(SOURCES[settings.adapter(key)], feed, today - LOOKBACK, last_day):
            judged = judge(fixing, series, Rules(last_day))
            if judged.accepted:
                series = series.with_fixing(judged.fixing, KEEP)
            told = ": ".join([judged.verdict, *(["; ".join(judged.reasons)] if judged.reasons else [])])
            table.add_row(str(fixing.date), str(len(fixing.rates)), fixing.digest[:16], told)
    Console().print(table)
    return series


async def _board(settings: Settings, store: Store) -> Board:
    archive = Archive(board := Board(settings), store)
    await archive.sync()
    if archive.error:
        raise StoreError(archive.error)
    return board


def _with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` with the store that the service uses, beside it or without it."""

    async def run() -> T:
        server = embedded(settings.store, exclusive=False)
        async with AsyncExitStack() as stack:
            if server:
                await stack.enter_async_context(server)
            return await work(await stack.enter_async_context(create_store(settings, server)))

    return asyncio.run(run())


def _text(value: object) -> str:
    """Return a table cell: a dash for nothing, plain digits, minutes of a time."""
    if value is None:
        return "—"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else str(value)
