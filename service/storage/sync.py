"""Synchronise in-memory state with Redis: pull remote changes, flush pending writes, retry failed ones.

The service keeps serving while Redis is down; writes are queued. Records that Redis has lost and that are still in
memory are written again.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from time import monotonic
from typing import Final

import structlog

from service.clock import Clock
from service.domain.fixing import Fixing, Series
from service.domain.snapshot import Snapshot
from service.errors import StoreError, UnusableStoreError
from service.runtime.background import cancel_and_wait, run_in_thread
from service.sources.adapter import RawResponse
from service.state.memory import KEEP, MemoryState, SourceState
from service.state.selection import PeriodStarts, missing_starts
from service.storage import merge
from service.storage.embedded_valkey import EmbeddedValkey
from service.storage.inventory import Inventory
from service.storage.older_rates import read_period_starts, read_rates, trimmed
from service.storage.outbox import LostDecisions, Outbox, PendingWrite
from service.storage.repository import Durability, Sizes, Store, WriteResult
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, Verdict, judge_all

log = structlog.get_logger()

_PATIENCE = 1.0
"""Seconds that a caller waits for a sync; after that it continues in the background."""
_INSPECTED_EVERY: Final = 600.0
"""Seconds between inspections of the server's persistence and eviction."""


@dataclass
class StoreSync:
    """Keeps one instance's memory and the store in sync."""

    memory: MemoryState
    store: Store
    server: EmbeddedValkey | None = None
    """The embedded server, if this process runs one."""
    now: Clock = field(default_factory=Clock)
    error: str | None = None
    """Error of the last sync; None if it succeeded."""
    unusable: UnusableStoreError | None = None
    """The error of the last sync if this version cannot use the store."""
    outbox: Outbox = field(default_factory=Outbox)
    patience: float = _PATIENCE
    inventory: Inventory = field(default_factory=Inventory)
    durability: Durability = field(default_factory=Durability)
    """Persistence and eviction of the server at the last inspection."""
    moved_aside: dict[str, str] = field(default_factory=dict)
    """Keys of a wrong type that were moved aside since the start, with their problem."""
    _sizes: dict[str, Sizes] = field(default_factory=dict)
    """By source: the numbers of records at the last sync."""
    _inspected_at: float | None = None
    _loaded: set[str] = field(default_factory=set)
    """Sources whose stored fixings were loaded once."""
    _versions: dict[str, str] = field(default_factory=dict)
    """By source: the stored version that was loaded last."""
    _unannounced: bool = False
    """Whether there were writes since the last notification of other instances."""
    _requested: bool = False
    _syncing: "asyncio.Task[None] | None" = None
    _started_from: dict[str, Series] = field(default_factory=dict)
    """By source: the series whose period starts were loaded last."""
    _loading_starts: "asyncio.Task[None] | None" = None

    @property
    def _is_loaded(self) -> bool:
        return self._loaded >= self.memory.settings.polled.keys()

    async def close(self) -> None:
        """Flush pending writes, for `patience` seconds at most."""
        try:
            await self.request_sync()
        finally:
            await cancel_and_wait(*(task for task in (self._syncing, self._loading_starts) if task))

    async def request_sync(self) -> bool:
        """Start a sync, or repeat the running one, which may have read already; wait for `patience` seconds.

        Return whether it has ended, with or without an error.
        """
        self._requested = True
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync_as_requested())
        done, _ = await asyncio.wait([self._syncing], timeout=self.patience)
        for task in done:  # self._syncing may be another task by now
            task.result()
        return bool(done)

    async def _sync_as_requested(self) -> None:
        while self._requested:
            self._requested = False
            await self.sync()

    async def sync(self) -> None:
        """Pull the writes of other instances, then flush the outbox and notify them.

        Never raises if Redis is down or replies with an error: the first error and the recovery are logged, and pending
        writes stay in the outbox.
        """
        try:
            if self.server:
                await self.server.ensure()
            await self.store.check_schema(prepare=True)
            await self._inspect()
            if not self._is_loaded or self.store.wrong_type_seen:
                await self._move_wrong_keys_aside()
            await self._pull()
            await self._flush()
        except StoreError as error:
            self.unusable = error if isinstance(error, UnusableStoreError) else None
            if self.error is None and (self._is_loaded or not self.unusable):  # otherwise the start fails with it
                log.warning("store.lost", error=str(error))
            self.error = str(error)
        else:
            if self.error is not None:
                log.info("store.recovered")
            self.error = self.unusable = None

    def warnings(self) -> Iterator[str]:
        """Yield what an operator should know about a store that works: lost records, and what may lose them."""
        lost = {key: days for key in self.memory.settings.polled if (days := self.inventory.lost(key))}
        if lost:
            listed = ", ".join(f"{key} {len(days)} ({days[0]} to {days[-1]})" for key, days in lost.items())
            yield f"the store has lost fixings: {listed}; import the latest export, or run a backfill"
        for key, problem in self.moved_aside.items():
            yield f"{key} was moved aside: {problem}"
        yield from self.durability.problems

    async def _inspect(self) -> None:
        """Look at the server's persistence and eviction: at the start, after an outage, and every few minutes."""
        now = monotonic()
        if self.error is None and self._inspected_at is not None and now - self._inspected_at < _INSPECTED_EVERY:
            return
        durability = await self.store.durability()
        if durability.problems and durability != self.durability:
            log.warning("store.not_durable", problems=durability.problems)
        self.durability, self._inspected_at = durability, now

    async def _move_wrong_keys_aside(self) -> None:
        """Move keys of a wrong type aside: until then the records of their kind can neither be read nor written."""
        settings = self.memory.settings
        for bad in await self.store.wrong_keys(settings.polled, [webhook.label for webhook in settings.webhooks]):
            try:
                if not await self.store.set_aside(bad):
                    continue
            except StoreError as error:
                if not error.refused:
                    raise
                log.warning("store.not_moved", key=bad.place.key, problem=bad.problem, error=str(error))
                continue
            self.moved_aside[bad.place.key] = bad.problem
            log.warning("store.moved_aside", source=bad.place.owner, key=bad.place.key, problem=bad.problem)

    async def _flush(self) -> None:
        """Write the outbox, then notify other instances.

        If Redis rejects a write, the others are still written; the first error is raised at the end.
        """
        refusals = list[StoreError]()
        for write in self.outbox:
            if write not in self.outbox:  # replaced while others were written
                continue
            try:
                await self._write(write)
            except StoreError as error:
                if not error.refused:
                    raise
                refusals.append(error)
            else:
                self.outbox.remove(write)
        if self._unannounced:
            await self.store.coordination.publish_change()
            self._unannounced = False
        if refusals:
            raise refusals[0]

    async def _write(self, write: PendingWrite) -> None:
        match write.record:
            case Fixing() as fixing:
                self._wrote(write.owner, await self.store.save(fixing))
                self.inventory.add(write.owner, fixing.date)
            case QuarantineDecision() as decision:
                self._wrote(write.owner, await self.store.record_decision(decision))
            case LostDecisions(decisions):
                self._unannounced |= bool(await self.store.restore_decisions(write.owner, decisions))
            case QuarantinedFixing() as quarantined:
                self._wrote(write.owner, await self.store.quarantine(quarantined))
            case RawResponse() as response:
                keep = self.memory.settings.store.keep_raw
                await self.store.save_raw(write.owner, response.digest, response.body, keep)
            case SourceState() as state:
                await self.store.save_state(write.owner, state)
            case Snapshot() as snapshot:
                await self.store.save_snapshot(snapshot)

    def _wrote(self, source: str, written: WriteResult) -> None:
        """Record the new version, unless another instance has written too: then the next sync pulls the source."""
        self._unannounced = True
        if written.whole and written.before == self._versions.get(source):
            self._versions[source] = written.version

    async def _pull(self) -> None:
        """Load the sources that have changed in the store since the last pull; the first time all.

        Records that vanish without a write (eviction) do not change the version of their source, but its size.
        """
        versions, sizes = await self.store.versions(), await self.store.sizes(tuple(self.memory.settings.polled))
        for key in self.memory.settings.polled:
            is_changed = versions.get(key) != self._versions.get(key)
            if not self._is_loaded or is_changed or _has_shrunk(self._sizes.get(key, Sizes()), sizes[key]):
                days = await self.store.dates(key)
                stored = await self.store.fixings(key, days[-KEEP:])
                self.memory.stored_from[key] = days[-KEEP] if len(days) > KEEP else date.min
                await self._pull_quarantine(key, days, stored)
                if key in self._loaded:
                    self._merge(key, days[-KEEP:], stored)
                else:
                    await self._load(key, stored)
                    self._loaded.add(key)
                self.memory.drop_rejected(key)
                await self._take_stock(key, days)
                self._started_from.pop(key, None)
        self._versions, self._sizes = versions, sizes
        states = await self.store.states()
        self.memory.merge_states(states, self.now(), self.outbox.sources_with_state)

    async def _take_stock(self, key: str, days: Collection[date]) -> None:
        """Report the dates that the store has lost. Memory has written the recent ones to the outbox again."""
        removed = {
            decision.waiting.fixing.date
            for decision in self.memory.quarantine[key].decisions
            if decision.outcome is Outcome.RETRACTED
        }
        latest = self.store.last_date(key)
        known = self.inventory.known(key)
        removed |= {day for day in known if day > latest}  # the clock was set back: they are not read
        if not set(known) <= {*days, *removed}:
            removed |= {*await self.store.dates_aside(key)}
        loss = self.inventory.update(key, days, removed, (fixing.date for fixing in self.memory.series(key).fixings))
        if loss.dates:
            log.warning(
                "store.fixings_lost",
                source=key,
                fixings=len(loss.dates),
                written_again=len(loss.held),
                oldest=str(loss.dates[0]),
                newest=str(loss.dates[-1]),
            )

    async def load_period_starts(self) -> None:
        """Load the publications with which new rates are compared over long periods, if memory does not have them.

        Waits for `patience` seconds; after that it continues in the background. Never raises if Redis is down: what
        could not be loaded is loaded by a later call.
        """
        if self._loading_starts is None or self._loading_starts.done():
            self._loading_starts = asyncio.create_task(self._load_period_starts())
        done, _ = await asyncio.wait([self._loading_starts], timeout=self.patience)
        for task in done:
            task.result()

    async def _load_period_starts(self) -> None:
        for key in self.memory.settings.polled:
            series = self.memory.series(key)
            if not self._is_loaded or self.error is not None or self._started_from.get(key) is series:
                continue
            try:
                self.memory.period_starts[key] = await self._period_starts(key, series)
            except StoreError as error:  # also reported by the next sync
                log.debug("store.no_period_starts", source=key, error=str(error))
                return
            self._started_from[key] = series

    async def _period_starts(self, key: str, series: Series) -> PeriodStarts:
        """Read the publications in force at the beginnings of periods that a series does not reach."""
        if self.memory.oldest_complete_date(key) == date.min:
            return {}  # the store has no older ones
        tickers = [ticker for ticker in self.memory.settings.tickers if key in ticker.sources]
        pairs = {(code, ticker.base) for ticker in tickers for code in ticker.currencies}
        missing = await run_in_thread(missing_starts, series, pairs)
        read = partial(read_rates, self.store, key)
        return trimmed(await read_period_starts(read, missing, self.memory.jump))

    async def _pull_quarantine(self, key: str, days: Collection[date], stored: Iterable[Fixing]) -> None:
        """Merge the quarantine of a source with the stored one; enqueue entries and decisions that the store has lost.

        `days` are all dates with a stored fixing, `stored` the latest of these fixings.
        """
        waiting, decisions = await self.store.waiting(key), await self.store.decisions(key)
        self.memory.quarantine[key], lost, lost_decisions = merge.quarantine(
            self.memory.quarantine[key],
            waiting,
            decisions,
            days=days,
            published={fixing.date: fixing for fixing in stored},
            known={fixing.date: fixing for fixing in self.memory.series(key).fixings},
            ended=self.outbox.decided_dates(key),
            unwritten=self.outbox.quarantined_dates(key),
        )
        if lost_decisions:
            self.outbox.enqueue_lost_decisions(key, lost_decisions)
        for quarantined in lost:
            self.outbox.enqueue_quarantined(quarantined)

    def _merge(self, key: str, days: list[date], stored: list[Fixing]) -> None:
        """Merge stored fixings into memory; enqueue those that the store has lost, or has in an earlier version.

        Rates that an operator has retracted are removed first, so that they are not written again.
        """
        self.memory.drop_rejected(key)
        loaded, newer, is_data_lost = merge.fixings(self.memory.series(key).fixings, days, stored)
        for fixing in loaded:
            self.memory.add(fixing)
            self.outbox.remove_fixing(key, fixing.date)
        for fixing in newer:
            self.outbox.enqueue_fixing(fixing)
        if is_data_lost:
            for snapshot in self.memory.snapshots.values():
                self.outbox.enqueue_snapshot(snapshot)

    async def _load(self, key: str, stored: Iterable[Fixing]) -> None:
        """Load stored fixings; validate again the fixings that were polled before the store could be read."""
        loaded = Series(tuple(stored))
        while True:
            polled = self.memory.series(key)
            if not polled.fixings:
                self.memory.reset(key, loaded.fixings)
                return
            now = max(fixing.fetched_at for fixing in polled.fixings)
            context = self.memory.context(key, now, loaded)
            judgements = await run_in_thread(judge_all, _newer(polled, loaded), loaded, context, KEEP)
            if self.memory.series(key) is polled:  # else a poll has changed it in the meantime
                break
        self.memory.reset(key, loaded.fixings)
        for fixing in polled.fixings:
            self.outbox.remove_fixing(key, fixing.date)
        waiting = self.memory.quarantine[key].waiting
        extended = [merge.still_held(judgement, waiting.get(judgement.fixing.date)) for judgement in judgements]
        self.apply_judgements(key, extended, now)

    def apply_judgements(self, key: str, judgements: list[Judgement], now: datetime) -> list[QuarantinedFixing]:
        """Apply judgements to memory; log and enqueue the changes.

        Returns the quarantined fixings that are new or have changed.
        """
        for judgement in judgements:
            if judgement.verdict is Verdict.REVISION:
                log.warning("fixing.revised", source=key, date=str(judgement.fixing.date))
            if judgement.publish:
                self.outbox.enqueue_fixing(judgement.publish)
        changed, news, ended = self.memory.apply_judgements(key, judgements, now)
        for quarantined in news:
            day, reasons = str(quarantined.fixing.date), quarantined.reasons
            log.warning("fixing.quarantined", source=key, date=day, reasons=reasons)
        self.record_decisions(ended)  # first: a decision removes its date from the store's quarantine
        for quarantined in changed:
            self.outbox.enqueue_quarantined(quarantined)
        return changed

    def record_decisions(self, decisions: Iterable[QuarantineDecision]) -> None:
        """Log and enqueue decisions."""
        for decision in decisions:
            fixing = decision.waiting.fixing
            log.info("quarantine.ended", source=fixing.source, date=str(fixing.date), outcome=decision.outcome)
            self.outbox.enqueue_decision(decision)


def _has_shrunk(before: Sizes, now: Sizes) -> bool:
    return any(count < earlier for earlier, count in zip(before, now, strict=True))


def _newer(polled: Series, stored: Series) -> list[Fixing]:
    """Return the polled fixings that are not older than the stored ones of their dates."""
    stored_times = {fixing.date: fixing.fetched_at for fixing in stored.fixings}
    return [
        fixing for fixing in polled.fixings if fixing.fetched_at >= stored_times.get(fixing.date, fixing.fetched_at)
    ]
