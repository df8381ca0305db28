"""Between memory and the store: reads at the start, writes what is new, keeps what could not be written.

A store that is away costs nothing but durability: what it missed is written when it is back.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from service.acceptance import Judged, Verdict, judge_all
from service.board import KEEP, Board, SourceState
from service.embedded import Embedded
from service.errors import StoreError
from service.fixings import Fixing
from service.quarantine import Decision, Quarantine, Waiting
from service.sources.base import Payload
from service.store import Store
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
    _versions: dict[str, int] = field(default_factory=dict)
    """What is known here of each source in the store."""
    _waiting: dict[tuple[str, ...], Write] = field(default_factory=dict)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def keep(self, fixing: Fixing) -> None:
        """Take an accepted fixing; like everything kept here it is written by the next `sync`."""
        self._waiting[_key(fixing)] = lambda: self._versioned(fixing.source, self.store.save(fixing))

    def keep_waiting(self, waiting: Waiting) -> None:
        self._waiting["waiting", *_key(waiting.fixing)] = lambda: self.store.quarantine(waiting)

    def keep_decision(self, decision: Decision) -> None:
        fixing = decision.waiting.fixing
        self._waiting.pop(("waiting", *_key(fixing)), None)
        key = ("decision", *_key(fixing), decision.at.isoformat())
        self._waiting[key] = lambda: self._versioned(fixing.source, self.store.decide(decision))

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
        """Read what was stored before this start, once, and write what waits, in its order.

        Never raises for a store that is away: that is told when it begins and when it ends, and what
        waits goes on waiting.
        """
        async with self._one_at_a_time:
            try:
                if self.server:
                    await self.server.ensure()
                await self._load_once()
                for key, write in list(self._waiting.items()):
                    if self._waiting.get(key) is write:  # else it was overtaken while others were written
                        await write()
                    if self._waiting.get(key) is write:
                        del self._waiting[key]
                await self._follow()
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
        versions = await self.store.versions()
        states = await self.store.states()
        for key in self.board.settings.polled:
            stored = await self.store.recent(key, KEEP)
            await self._load_quarantine(key)
            self._join(key, stored)
            if key in states and self.board.states[key].polled_at is None:
                self.board.states[key] = states[key]
        self._versions = versions
        self._loaded = True

    async def _load_quarantine(self, key: str) -> None:
        stored = Quarantine.of(await self.store.waiting(key), await self.store.decisions(key))
        for day, waiting in list(stored.waiting.items()):
            if any(kept[0] == "decision" and kept[1:-1] == _key(waiting.fixing) for kept in self._waiting):
                del stored.waiting[day]  # it has ended here, which is still to be written
        for day, waiting in self.board.quarantine[key].waiting.items():
            if ("waiting", *_key(waiting.fixing)) in self._waiting:
                stored.waiting[day] = waiting
        self.board.quarantine[key] = stored

    async def _versioned(self, source: str, write: Awaitable[int]) -> None:
        """Write; a version that is not the next one tells that somebody else has written too."""
        version = await write
        if version == self._versions.get(source, 0) + 1:
            self._versions[source] = version

    async def _follow(self) -> None:
        """Read what others have written: an operator's decision, a backfill, an import."""
        versions = await self.store.versions()
        for key in self.board.settings.polled:
            if versions.get(key, 0) != self._versions.get(key, 0):
                for stored in await self.store.recent(key, KEEP):
                    if _key(stored) not in self._waiting:
                        self.board.add(stored)
                await self._load_quarantine(key)
        self._versions = versions

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


def _key(fixing: Fixing) -> tuple[str, ...]:
    return ("fixing", fixing.source, str(fixing.date))
