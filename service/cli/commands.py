"""Commands that print a ticker, the sources, or the result of one poll."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeVar

from service.cli.output import add_row, coloured, console, lines, table, write_json
from service.clock import Clock
from service.cluster.follower import INTERVAL
from service.domain import publication_schedule
from service.domain.change import percent_text
from service.domain.fixing import Fixing, Rate, Series
from service.domain.snapshot import Snapshot
from service.errors import SettingsError, StoreError, TickerError
from service.observability.logging import configure
from service.polling.poller import LOOKBACK, Poller, published
from service.runtime.background import run_in_thread, run_interruptibly
from service.runtime.program import set_rate_command
from service.settings import LogSettings, Settings, SourceSettings
from service.sources.http_client import Client
from service.sources.registry import adapter_of, check_secret, validate
from service.sources.session import BankSession
from service.state.memory import KEEP, MemoryState, configured_breaks, validation_context
from service.state.publisher import SnapshotPublisher
from service.storage.embedded_valkey import embedded
from service.storage.repository import Store, open_store
from service.storage.sync import StoreSync
from service.validation.quarantine import Quarantine
from service.validation.rules import Judgement, judge_all
from service.web import models
from service.web.api.sources import describe
from service.web.rendering.formats import View, sayer, ticker_json, to_json
from service.web.rendering.options import Options

T = TypeVar("T")

QUIET = LogSettings(level="critical")
"""Log settings of commands: errors are printed once, by `service.cli.main`."""

_PATIENCE: Final = 60.0
"""Seconds for which `show` waits for the store."""


def show(settings: Settings, ticker: str | None, *, as_json: bool, watch: bool = False) -> None:
    """Print a ticker as the service serves it now.

    If no service is running, the banks that are due are polled once, and their rates are stored. With `watch`, it is
    printed again at each change, until SIGINT.
    """
    configure(QUIET)
    ids = [configured.id for configured in settings.tickers]
    ticker_id = ticker or ids[0]
    if ticker_id not in ids:
        raise SettingsError(f"unknown ticker {ticker_id!r} (known: {', '.join(ids)})")

    def print_snapshot(snapshot: Snapshot) -> None:
        if as_json:
            write_json(ticker_json(View(snapshot, settings, Options(), sayer(snapshot, settings))))
        else:
            _print_snapshot(snapshot, is_repeated=watch)

    try:
        run_interruptibly(_show(validate(settings), ticker_id, print_snapshot, watch=watch))
    except KeyboardInterrupt:
        if not watch:
            raise


async def _show(settings: Settings, ticker: str, show: Callable[[Snapshot], None], *, watch: bool) -> None:
    async with _opened(settings) as (store, is_alone):
        memory, shown = MemoryState(settings), None
        store_sync = StoreSync(memory, store, patience=_PATIENCE)
        while True:
            await store_sync.sync()
            if store_sync.error:
                raise StoreError(store_sync.error)
            problems = await _poll_due(memory, store_sync) if is_alone else []
            await store_sync.load_period_starts()
            memory.refresh(Clock()())
            snapshot = memory.snapshots.get(ticker)
            if shown is None:
                lines(console(stderr=True), problems)
            if snapshot is None and not watch:
                advice = "no bank has responded" if is_alone else "no bank has responded to the running service yet"
                if source := settings.entered_source(ticker):
                    advice = f"enter them with: {set_rate_command(source)}"
                raise TickerError(f"ticker {ticker!r} has no rates yet; {advice}")
            if snapshot and snapshot != shown:
                show(snapshot)
                shown = snapshot
            if not watch:
                return
            await asyncio.sleep(INTERVAL)


async def _poll_due(memory: MemoryState, store_sync: StoreSync) -> list[str]:
    """Poll the sources that are due, unless a service does; return the errors of sources that a ticker names."""
    coordination, clock, settings = store_sync.store.coordination, Clock(), memory.settings
    if not await coordination.acquire_or_renew():
        return []
    try:
        async with Client(settings.client) as client:
            sessions = {
                key: BankSession(key, source, client, clock, settings.wanted(key))
                for key, source in settings.scheduled.items()
            }
            adapters = {key: adapter_of(settings, key) for key in sessions}
            publisher = SnapshotPublisher(memory, store_sync.outbox.enqueue_snapshot)
            poller = Poller(memory, store_sync, publisher, adapters, sessions, clock)
            due = [
                key
                for key in sessions
                if memory.states[key].polled_at is None or memory.next_poll(key, clock()) <= clock()
            ]
            await asyncio.gather(*map(poller.poll, due))
            await store_sync.close()
    finally:
        await coordination.release()
    named = {source for ticker in settings.tickers for source in ticker.sources}
    return [error for key in due if key in named and (error := memory.states[key].error)]


def _print_snapshot(snapshot: Snapshot, *, is_repeated: bool) -> None:
    output = console()
    title = f"{snapshot.id}: {snapshot.base}, {snapshot.status}, as of {snapshot.as_of}"
    rows = table("currency", "rate", "previous", "change", "date", "source", title=title)
    for quote in snapshot.quotes:
        change = coloured(percent_text(quote.percent), quote.percent)
        add_row(rows, (quote.code, quote.rate, quote.previous, change, quote.date, quote.source))
    if is_repeated and output.is_terminal:
        output.clear()
    output.print(rows)


def sources(settings: Settings, *, as_json: bool = False) -> None:
    """List the sources with their latest publication and the result of their last poll."""
    configure(QUIET)
    memory, now = with_store(settings, lambda store: _memory(settings, store)), Clock()()
    described = [describe(memory, key, memory.next_poll(key, now), now) for key in settings.polled]
    if as_json:
        write_json(to_json(models.Sources(sources=described)))
        return
    columns = ("name", "base", "state", "last_fixing", "last_success", "error")
    rows = table("source", *(column.replace("_", " ") for column in columns))
    for source in described:
        problem = source.error or "; ".join(source.left_out) or None
        add_row(rows, (source.key, *(getattr(source, column) for column in columns[:-1]), problem))
    console().print(rows)


def poll(settings: Settings, key: str, *, as_json: bool = False) -> None:
    """Poll a source once, and print its rates and how the service validates them. Store nothing."""
    configure(QUIET)
    polled_source(validate(settings), key)
    polled = with_store(settings, lambda store: _poll(settings, store, key))
    if as_json:
        write_json(to_json(polled.document()))
    else:
        polled.print()
    if all(map(_is_refused, polled.judgements)):
        raise TickerError(f"{key}: no publishable rates")


@dataclass(frozen=True)
class _Polled:
    """The result of a poll; `left_out` is what could not be read."""

    source: str
    name: str
    judgements: Sequence[Judgement]
    left_out: Sequence[str]

    @property
    def latest(self) -> Fixing | None:
        """The latest fixing that would be published, or is already."""
        published = [
            judgement.publish or judgement.fixing.without(_held(judgement))
            for judgement in self.judgements
            if not _is_refused(judgement)
        ]
        return max(published, key=lambda fixing: fixing.date, default=None)

    def document(self) -> dict[str, object]:
        fixings = [
            {
                "date": str(judgement.fixing.date),
                "digest": judgement.fixing.digest,
                "verdict": _verdict(judgement),
                "reasons": judgement.reasons,
                "base": judgement.fixing.base,
                "direction": judgement.fixing.direction,
                "rates": {
                    code: {
                        "value": rate.value,
                        "nominal": rate.nominal,
                        "quarantined": code in _held(judgement),
                        **_sides(rate),
                    }
                    for code, rate in sorted(judgement.fixing.rates.items())
                },
            }
            for judgement in self.judgements
        ]
        return {"source": self.source, "fixings": fixings, "left_out": self.left_out}

    def print(self) -> None:
        output = console()
        rows = table("date", "currencies", "digest of the response", "verdict", title=self.name)
        for judgement in self.judgements:
            fixing, reasons = judgement.fixing, "; ".join(judgement.reasons)
            verdict = f"{_verdict(judgement)}: {reasons}" if reasons else _verdict(judgement)
            add_row(rows, (fixing.date, len(fixing.rates), fixing.digest[:16], verdict))
        output.print(rows)
        lines(output, [f"left out: {problem}" for problem in self.left_out])
        if latest := self.latest:
            sides = [
                name for name in ("buying", "selling") if any(name in _sides(rate) for rate in latest.rates.values())
            ]
            columns = ("currency", "nominal", f"{latest.base}, {latest.direction}", *sides)
            rates = table(*columns, title=str(latest.date))
            for code, rate in sorted(latest.rates.items()):
                add_row(rates, (code, rate.nominal, rate.value, *(_sides(rate).get(name, "") for name in sides)))
            output.print(rates)


def _sides(rate: Rate) -> Mapping[str, Decimal]:
    """Return the buying and the selling rate, if the source publishes them."""
    sides = {"buying": rate.buying, "selling": rate.selling}
    return {name: side for name, side in sides.items() if side is not None}


def _verdict(judgement: Judgement) -> str:
    """Return the verdict; `quarantined in part` if a part is published, whatever the verdict on that part is."""
    return "quarantined in part" if judgement.held and not _is_refused(judgement) else judgement.verdict


def _is_refused(judgement: Judgement) -> bool:
    """Return whether no rate is published: those that are not quarantined are, by this poll or an earlier one."""
    return judgement.held is not None and judgement.held.rates.keys() == judgement.fixing.rates.keys()


def _held(judgement: Judgement) -> Collection[str]:
    return judgement.held.rates if judgement.held else ()


def source_of(settings: Settings, key: str) -> SourceSettings:
    """Return the settings of a source; raise `SettingsError` for an unknown key."""
    if key not in settings.sources:
        raise SettingsError(f"unknown source {key!r} (known: {', '.join(settings.sources)})")
    return settings.sources[key]


def polled_source(settings: Settings, key: str) -> SourceSettings:
    """Return the settings of a source that can be polled; raise `SettingsError` for others."""
    source = source_of(settings, key)
    if source.is_manual:
        advice = f"enter them with: {set_rate_command(key)}"
        raise SettingsError(f"{key} is not polled, its rates are entered by hand; {advice}")
    check_secret(settings, key)
    return source


async def _poll(settings: Settings, store: Store, key: str) -> _Polled:
    """Poll a source, and judge what it returns by the stored rates, as the service does."""
    source, clock = settings.sources[key], Clock()
    now, memory = clock(), await _memory(settings, store)
    first, last = (
        publication_schedule.today(source, now) - LOOKBACK,
        publication_schedule.latest_possible_date(source, now),
    )
    fixings, left_out = list[Fixing](), list[str]()
    async with Client(settings.client) as client:
        session = BankSession(key, source, client, clock, settings.wanted(key))
        async for _, fixing in published(adapter_of(settings, key), session, first, last, left_out):
            fixings.append(fixing)
    if key in settings.polled:
        series, context = memory.series(key), memory.context(key, now)
        fixings = [fixing for fixing in fixings if fixing.date >= memory.oldest_complete_date(key)]
    else:  # it is judged by its own past, and by the polled sources
        series = Series(tuple(await store.recent(key, KEEP)))
        quarantine = Quarantine.of([], await store.decisions(key))
        breaks = (*configured_breaks(source), *quarantine.breaks)
        context = validation_context(settings, key, now, memory.cross_check, quarantine.rejected, breaks)
    judgements = await run_in_thread(judge_all, fixings, series, context, KEEP)
    return _Polled(key, source.name, judgements, left_out)


async def _memory(settings: Settings, store: Store) -> MemoryState:
    store_sync = StoreSync(memory := MemoryState(settings), store)
    await store_sync.sync()
    if store_sync.error:
        raise StoreError(store_sync.error)
    return memory


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` with the configured store and return its result. The service may be running or not."""

    async def run() -> T:
        async with _opened(settings) as (store, _):
            return await work(store)

    return run_interruptibly(run())


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Store, bool]]:
    """Open the configured store; yield it, and whether this process may poll the banks.

    It may not if a service runs the embedded server; with another store, the leader's lock decides. Raises
    `UnusableStoreError` if this version cannot use the store.
    """
    server = embedded(settings.store, exclusive=False)
    async with AsyncExitStack() as stack:
        if server:
            await stack.enter_async_context(server)
        store = await stack.enter_async_context(open_store(settings, server, Clock()))
        await store.check_schema(prepare=False)
        yield store, server is None or server.is_own
