"""Between memory and the store: reads what others wrote, writes what is new, keeps what could not be written.

A store that is away costs nothing but durability: what it missed is written when it is back, and so is what it has
lost and is still known here.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime

import structlog

from service.acceptance import Judged, Verdict, judge_all
from service.board import KEEP, Board, SourceState
from service.embedded import Embedded
from service.errors import StoreError
from service.fixings import Fixing
from service.quarantine import Decision, Quarantine, Waiting
from service.sources.base import Payload
from service.store import Store, Written
from service.ticker import Snapshot

log = structlog.get_logger()

_RAWS = 100
"""Answers that wait for the store at most: they are large, and can be done without."""
Write = Callable[[], Awaitable[None]]


@dataclass
class Archive:
    board: Board
    store: Store
    server: Embedded | None = None
    """The server behind the store, where it is ours to look after."""
    error: str | None = None
    """What is wrong with the store; None while it does what it is asked."""
    _loaded: bool = False
    _stamps: dict[str, str] = field(default_factory=dict)
    """What is known here of each source in the store."""
    _news: bool = False
    """Whether something was written that is still to be announced."""
    _waiting: dict[tuple[str, ...], Write] = field(default_factory=dict)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def keep(self, fixing: Fixing) -> None:
        """Take an accepted fixing; like everything kept here it is written by the next `sync`."""
        self._waiting[_key(fixing)] = lambda: self._stamped(fixing.source, self.store.save(fixing))

    def keep_waiting(self, waiting: Waiting) -> None:
        key = ("waiting", *_key(waiting.fixing))
        self._waiting[key] = lambda: self._stamped(waiting.fixing.source, self.store.quarantine(waiting))

    def keep_decision(self, decision: Decision) -> None:
        fixing = decision.waiting.fixing
        self._waiting.pop(("waiting", *_key(fixing)), None)
        key = ("decision", *_key(fixing), decision.at.isoformat())
        self._waiting[key] = lambda: self._stamped(fixing.source, self.store.decide(decision))

    def keep_raw(self, payload: Payload) -> None:
        """Take a bank's answer, by which its figures can be checked."""
        source, digest, body = payload.source, payload.digest, payload.body
        keep = self.board.settings.store.keep_raw
        if sum(waiting[0] == "raw" for waiting in self._waiting) < _RAWS:
            self._waiting["raw", source, digest] = lambda: self.store.save_raw(source, digest, body, keep)

    def keep_state(self, source: str, state: SourceState) -> None:
        self._waiting["state", source] = lambda: self.store.save_state(source, state)

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        self._waiting["snapshot", snapshot.id] = lambda: self.store.save_snapshot(snapshot)

    async def review(self, now: datetime) -> None:
        """Bring store and snapshots up to date.

        What is shown was written first, unless the store is known to be away: readers do not wait for it.
        """
        if self.error is None:
            await self.sync()
        shown = dict(self.board.snapshots)
        for snapshot in self.board.refresh(now):
            log.info("ticker.changed", ticker=snapshot.id, status=snapshot.status, as_of=str(snapshot.as_of))
            _tell_choices(snapshot, shown.get(snapshot.id))
            self.keep_snapshot(snapshot)
        if self.error is not None or self._waiting:
            await self.sync()

    async def sync(self) -> None:
        """Read what was stored before this start, once; write what waits, in its order; read what others wrote.

        Never raises for a store that is away: that is told when it begins and when it ends, and what
        waits goes on waiting.
        """
        async with self._one_at_a_time:
            try:
                if self.server:
                    await self.server.ensure()
                await self._load_once()
                await self._write()
                await self._follow()
                await self._write()
                if self._news:
                    await self.store.peers.announce()
                    self._news = False
            except StoreError as error:
                if self.error is None:
                    log.warning("store.lost", error=str(error))
                self.error = str(error)
            else:
                if self.error is not None:
                    log.info("store.back")
                self.error = None

    async def _load_once(self) -> None:
        """Join what was stored with what was polled meanwhile."""
        if self._loaded:
            return
        stamps = await self.store.stamps()
        for key in self.board.settings.polled:
            days, stored = await self._read(key)
            await self._load_quarantine(key, days)
            self._join(key, stored)
        self._stamps = stamps
        self._loaded = True

    async def _read(self, key: str) -> tuple[list[date], list[Fixing]]:
        """Return all dates that are stored of a source, and the fixings of the latest."""
        days = await self.store.dates(key)
        self.board.stored_from[key] = days[-KEEP] if len(days) > KEEP else date.min
        return days, await self.store.fixings(key, days[-KEEP:])

    async def _write(self) -> None:
        for key, write in list(self._waiting.items()):
            if self._waiting.get(key) is write:  # else it was overtaken while others were written
                await write()
            if self._waiting.get(key) is write:
                del self._waiting[key]

    async def _load_quarantine(self, key: str, days: Collection[date]) -> None:
        """Take what waits in the store, which has fixings of these days; let be written what it has lost."""
        decisions = await self.store.decisions(key)
        stored = Quarantine.of(await self.store.waiting(key), decisions)
        for day, waiting in list(stored.waiting.items()):
            if any(kept[0] == "decision" and kept[1:-1] == _key(waiting.fixing) for kept in self._waiting):
                del stored.waiting[day]  # it has ended here, which is still to be written
        for day, waiting in self.board.quarantine[key].waiting.items():
            unwritten = ("waiting", *_key(waiting.fixing)) in self._waiting
            if not unwritten and day not in stored.waiting and day not in days and not _ended(waiting, decisions):
                self.keep_waiting(waiting)
                unwritten = True
            if unwritten:
                stored.waiting[day] = waiting
        self.board.quarantine[key] = stored

    async def _stamped(self, source: str, write: Awaitable[Written]) -> None:
        """Write; a stamp that is not the one known here tells that somebody else has written too."""
        written = await write
        self._news = True
        if written.before == self._stamps.get(source):
            self._stamps[source] = written.stamp

    async def _follow(self) -> None:
        """Read what others have written: who polls, an operator, a backfill, an import. Let what is lost be written."""
        stamps = await self.store.stamps()
        for key in self.board.settings.polled:
            if stamps.get(key) != self._stamps.get(key):
                days, stored = await self._read(key)
                self._merge(key, days[-KEEP:], stored)
                await self._load_quarantine(key, days)
        self._stamps = stamps
        for key, state in (await self.store.states()).items():
            known = self.board.states.get(key)
            if known and state.polled_at and (known.polled_at is None or known.polled_at < state.polled_at):
                self.board.states[key] = state

    def _merge(self, key: str, days: list[date], stored: list[Fixing]) -> None:
        """Take what is stored, of these days; let be written what it has lost, or has in an earlier form."""
        by_date = {fixing.date: fixing for fixing in stored}
        for fixing in self.board.series(key).fixings:
            there = by_date.get(fixing.date)
            lost = fixing.date not in days and (len(days) < KEEP or fixing.date > days[0])
            if lost or (there and fixing.replaces(there)):
                self.keep(fixing)
                by_date.pop(fixing.date, None)
        for fixing in by_date.values():
            self.board.add(fixing)
            self._waiting.pop(_key(fixing), None)

    def _join(self, key: str, stored: Iterable[Fixing]) -> None:
        """Take what was stored, and judge by it what was polled without knowing it."""
        polled = self.board.series(key).fixings
        self.board.reset(key, stored)
        for fixing in polled:
            self._waiting.pop(_key(fixing), None)
        if polled:
            now = max(fixing.fetched_at for fixing in polled)
            self.take_in(key, judge_all(polled, self.board.series(key), self.board.rules(key, now), KEEP), now)

    def take_in(self, key: str, judged: list[Judged], now: datetime) -> list[Waiting]:
        """Take in what was judged: show and keep what is accepted, let the rest wait; return what waits anew."""
        for one in judged:
            if one.verdict is Verdict.REVISION:
                log.warning("fixing.revised", source=key, date=str(one.fixing.date))
            if one.accepted:
                self.board.add(one.fixing)
                self.keep(one.fixing)
        quarantine = self.board.quarantine[key]
        before = dict(quarantine.waiting)
        changed, ended = quarantine.receive(judged, now)
        for waiting in changed:
            day = waiting.fixing.date
            if day not in before or not before[day].fixing.same_figures(waiting.fixing):
                log.warning("fixing.quarantined", source=key, date=str(day), reasons=waiting.reasons)
            self.keep_waiting(waiting)
        self.end_waits(ended)
        return changed

    def end_waits(self, decisions: Iterable[Decision]) -> None:
        for one in decisions:
            fixing = one.waiting.fixing
            log.info("quarantine.ended", source=fixing.source, date=str(fixing.date), outcome=one.outcome)
            self.keep_decision(one)


def _tell_choices(snapshot: Snapshot, before: Snapshot | None) -> None:
    """Tell which quotes come from another source than they did, and why."""
    was = {quote.code: quote.source for quote in before.quotes} if before else {}
    moved = defaultdict[tuple[str | None, str | None, str | None], list[str]](list)
    for quote in snapshot.quotes:
        if before and quote.source != was.get(quote.code):
            moved[was.get(quote.code), quote.source, quote.reason].append(quote.code)
    for (old, new, reason), codes in moved.items():
        told = reason or "the first choice is back"
        log.warning("ticker.source_changed", ticker=snapshot.id, codes=codes, before=old, source=new, reason=told)


def _ended(waiting: Waiting, decisions: Iterable[Decision]) -> bool:
    return any(one.at >= waiting.since and one.waiting.fixing == waiting.fixing for one in decisions)


def _key(fixing: Fixing) -> tuple[str, ...]:
    return ("fixing", fixing.source, str(fixing.date))
