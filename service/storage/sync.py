"""Between memory and the store: reads what others wrote, writes what is new, keeps what could not be written.

A store that is away costs nothing but durability: what it missed is written when it is back, and so is what it has
lost and is still known here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property

import structlog

from service.domain.fixing import Fixing
from service.domain.snapshot import Snapshot
from service.errors import StoreError
from service.runtime.background import cancel_and_wait
from service.sources.adapter import RawResponse
from service.state.memory import KEEP, MemoryState, SourceState
from service.state.publisher import SnapshotPublisher
from service.storage import merge
from service.storage.embedded_valkey import EmbeddedValkey
from service.storage.repository import Store, WriteResult
from service.validation.quarantine import QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, Verdict, judge_all

log = structlog.get_logger()

_PATIENCE = 1.0
"""Seconds that readers wait for the store, each of the two times that a review asks it."""
_ORDER = {"fixing": 0, "decision": 1, "waiting": 2}
"""What is written first: a fixing and a decision end what waits for their day, and what still waits comes after."""
_RAWS = 100
"""Answers that wait for the store at most: they are large, and can be done without."""
Write = Callable[[], Awaitable[None]]


@dataclass
class StoreSync:
    memory: MemoryState
    store: Store
    server: EmbeddedValkey | None = None
    """The server behind the store, where it is ours to look after."""
    error: str | None = None
    """What is wrong with the store; None while it does what it is asked."""
    _loaded: bool = False
    _stamps: dict[str, str] = field(default_factory=dict)
    """What is known here of each source in the store."""
    _news: bool = False
    """Whether something was written that is still to be announced."""
    _waiting: dict[tuple[str, ...], Write] = field(default_factory=dict)
    _asked: bool = False
    _syncing: "asyncio.Task[None] | None" = None

    def keep(self, fixing: Fixing) -> None:
        """Take an accepted fixing; like everything kept here it is written by the next `sync`."""
        self._waiting[_key(fixing)] = lambda: self._stamped(fixing.source, self.store.save(fixing))

    def keep_waiting(self, waiting: QuarantinedFixing) -> None:
        key = ("waiting", *_key(waiting.fixing))
        self._waiting[key] = lambda: self._stamped(waiting.fixing.source, self.store.quarantine(waiting))

    def keep_decision(self, decision: QuarantineDecision) -> None:
        fixing = decision.waiting.fixing
        self._waiting.pop(("waiting", *_key(fixing)), None)
        key = ("decision", *_key(fixing), decision.at.isoformat())
        self._waiting[key] = lambda: self._stamped(fixing.source, self.store.decide(decision))

    def keep_raw(self, payload: RawResponse) -> None:
        """Take a bank's answer, by which its figures can be checked."""
        source, digest, keep = payload.source, payload.digest, self.memory.settings.store.keep_raw
        if sum(waiting[0] == "raw" for waiting in self._waiting) < _RAWS:
            self._waiting["raw", source, digest] = lambda: self.store.save_raw(source, digest, payload.body, keep)

    def keep_state(self, source: str, state: SourceState) -> None:
        self._waiting["state", source] = lambda: self.store.save_state(source, state)

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        self._waiting["snapshot", snapshot.id] = lambda: self.store.save_snapshot(snapshot)

    @cached_property
    def _showing(self) -> SnapshotPublisher:
        return SnapshotPublisher(self.memory, self.keep_snapshot)

    async def sync_and_publish(self, now: datetime) -> None:
        """Bring store and snapshots up to date: written, then shown; a store that is away or slow delays nothing."""
        self._showing.due = True
        if self.error is None:
            await self._soon()
        await self._showing.show(now)
        if self.error is not None or self._waiting:
            await self._soon()

    async def close(self) -> None:
        """Leave behind in the store what can be left there in a moment."""
        try:
            await self._soon()
        finally:
            if self._syncing:
                await cancel_and_wait(self._syncing)

    async def _soon(self) -> None:
        self._asked = True
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync_as_asked())
        done, _ = await asyncio.wait([self._syncing], timeout=_PATIENCE)
        for task in done:  # another may be under way by now
            task.result()

    async def _sync_as_asked(self) -> None:
        """Once more where it was asked for meanwhile: what is under way may have passed what that was about."""
        while self._asked:
            self._asked = False
            await self.sync()
            self._showing.due = True

    async def sync(self) -> None:
        """Read what was stored before this start, once; write what waits, in its order; read what others wrote.

        Never raises for a store that is away or refuses: that is told when it begins and when it ends, and what
        waits goes on waiting.
        """
        try:
            if self.server:
                await self.server.ensure()
            if not self._loaded:
                await self._follow()
            refused = await self._write()
            await self._follow()
            refused = await self._write() or refused
            if self._news:
                await self.store.coordination.publish_change()
                self._news = False
            if refused:
                raise refused
        except StoreError as error:
            if self.error is None:
                log.warning("store.lost", error=str(error))
            self.error = str(error)
        else:
            if self.error is not None:
                log.info("store.back")
            self.error = None

    async def _write(self) -> StoreError | None:
        """Write what waits, and return what was refused first: that keeps nothing else from being read."""
        refused = list[StoreError]()
        for key, write in sorted(self._waiting.items(), key=lambda one: _ORDER.get(one[0][0], 3)):
            if self._waiting.get(key) is not write:  # it was overtaken while others were written
                continue
            try:
                await write()
            except StoreError as error:
                if not error.refused:
                    raise
                refused.append(error)
            else:
                if self._waiting.get(key) is write:
                    del self._waiting[key]
        return refused[0] if refused else None

    async def _load_quarantine(self, key: str, days: Collection[date], stored: Iterable[Fixing]) -> None:
        """Take what waits in the store, which has fixings of these days; let be written what it has lost."""
        waiting, decisions = await self.store.waiting(key), await self.store.decisions(key)
        ended, unwritten = (
            {date.fromisoformat(kept[3]) for kept in self._waiting if kept[0] == kind and kept[2] == key}
            for kind in ("decision", "waiting")
        )
        self.memory.quarantine[key], lost, forgotten = merge.quarantine(
            self.memory.quarantine[key],
            waiting,
            decisions,
            days=days,
            published={one.date: one for one in stored},
            ended=ended,
            unwritten=unwritten,
        )
        for decision in forgotten:
            self.keep_decision(decision)
        for one in lost:
            self.keep_waiting(one)

    async def _stamped(self, source: str, write: Awaitable[WriteResult]) -> None:
        """Write; a stamp that is not the one known here tells that somebody else has written too."""
        written = await write
        self._news = True
        if written.whole and written.before == self._stamps.get(source):
            self._stamps[source] = written.stamp

    async def _follow(self) -> None:
        """Read what others have written: who polls, an operator, a backfill, an import; at first all there is."""
        stamps = await self.store.stamps()
        for key in self.memory.settings.polled:
            if not self._loaded or stamps.get(key) != self._stamps.get(key):
                days = await self.store.dates(key)
                stored = await self.store.fixings(key, days[-KEEP:])
                self.memory.stored_from[key] = days[-KEEP] if len(days) > KEEP else date.min
                await self._load_quarantine(key, days, stored)
                self._merge(key, days[-KEEP:], stored) if self._loaded else self._join(key, stored)
                self.memory.drop_rejected(key)
        self._stamps, self._loaded = stamps, True
        self.memory.follow(await self.store.states())

    def _merge(self, key: str, days: list[date], stored: list[Fixing]) -> None:
        """Take what is stored, of these days; let be written what it has lost, or has in an earlier form.

        Rates that an operator has retracted are dropped here too, and not written again.
        """
        self.memory.drop_rejected(key)
        taken, written, lost = merge.fixings(self.memory.series(key).fixings, days, stored)
        for fixing in taken:
            self.memory.add(fixing)
            self._waiting.pop(_key(fixing), None)
        for fixing in written:
            self.keep(fixing)
        for snapshot in self.memory.snapshots.values() if lost else ():
            self.keep_snapshot(snapshot)

    def _join(self, key: str, stored: Iterable[Fixing]) -> None:
        """Take what was stored, and judge by it what was polled without knowing it, but for what is older."""
        polled = self.memory.series(key).fixings
        self.memory.reset(key, stored)
        for fixing in polled:
            self._waiting.pop(_key(fixing), None)
        if polled:
            now, known = max(fixing.fetched_at for fixing in polled), self.memory.series(key)
            there = {one.date: one.fetched_at for one in known.fixings}
            newer = [one for one in polled if one.fetched_at >= there.get(one.date, one.fetched_at)]
            judged = judge_all(newer, known, self.memory.context(key, now), KEEP)
            waiting = self.memory.quarantine[key].waiting
            self.take_in(key, [merge.still_held(one, waiting.get(one.fixing.date)) for one in judged], now)

    def take_in(self, key: str, judged: list[Judgement], now: datetime) -> list[QuarantinedFixing]:
        """Take in what was judged: show and keep what is accepted, let the rest wait; return what waits anew."""
        for one in judged:
            if one.verdict is Verdict.REVISION:
                log.warning("fixing.revised", source=key, date=str(one.fixing.date))
            if one.publish:
                self.keep(one.publish)
        changed, news, ended = self.memory.apply_judgements(key, judged, now)
        for waiting in news:
            day, reasons = str(waiting.fixing.date), waiting.reasons
            log.warning("fixing.quarantined", source=key, date=day, reasons=reasons)
        self.record_decisions(ended)  # first: a decision takes its date out of the store's quarantine
        for waiting in changed:
            self.keep_waiting(waiting)
        return changed

    def record_decisions(self, decisions: Iterable[QuarantineDecision]) -> None:
        for one in decisions:
            fixing = one.waiting.fixing
            log.info("quarantine.ended", source=fixing.source, date=str(fixing.date), outcome=one.outcome)
            self.keep_decision(one)


def _key(fixing: Fixing) -> tuple[str, ...]:
    return ("fixing", fixing.source, str(fixing.date))
