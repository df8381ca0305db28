"""One poll through all stages: ask, understand, judge, keep, show. Holds the only broad `except`.

A poll that fails adds nothing and removes nothing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from time import perf_counter

import structlog

from service.clock import Clock
from service.domain import publication_schedule
from service.domain.fixing import Fixing
from service.errors import NotUnderstood, SourceError
from service.observability.counters import Counters
from service.runtime.background import run_in_thread
from service.sources.adapter import RawResponse, SourceAdapter, SourceSession
from service.state.memory import KEEP, MemoryState, SourceState
from service.storage.sync import StoreSync
from service.validation.rules import judge_all

log = structlog.get_logger()

LOOKBACK = timedelta(days=14)
"""How far back an empty series is filled: two distinct fixings across the longest holidays."""
MORE = 21
"""Fixings that a poll may bring beyond one for each day that was asked for: some banks answer with weeks anyway."""


@dataclass
class Poller:
    memory: MemoryState
    store_sync: StoreSync
    adapters: Mapping[str, SourceAdapter]
    feeds: Mapping[str, SourceSession]
    now: Clock
    counters: Counters = field(default_factory=Counters)
    _busy: set[str] = field(default_factory=set)
    _judging: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def poll(self, key: str) -> None:
        """Ask one source once; return at once where it is being asked already. Never raises."""
        if key in self._busy:
            return
        self._busy.add(key)
        begun = perf_counter()
        try:
            await self._ask(key)
            await self._judge_others_again(key)
        except SourceError as error:
            self._failed(key, str(error))
        except Exception as error:  # the one place that must survive every fault of an adapter
            if not self.memory.states[key].failing_since:
                log.exception("poll.crashed", source=key)
            self._failed(key, f"{key}: a fault of ours: {error!r}")
        else:
            self._succeeded(key)
        finally:
            self._busy.discard(key)
        state = self.memory.states[key]
        self.counters.polled(key, "failed" if state.error else "ok", perf_counter() - begun)
        self.store_sync.keep_state(key, state)
        await self.sync_and_publish()

    async def sync_and_publish(self) -> None:
        await self.store_sync.sync_and_publish(self.now())

    async def _ask(self, key: str) -> None:
        """Take in everything that the source has published; what may not be shown waits in quarantine.

        All that one poll brings is shown together; where it breaks off, what came before that.
        """
        source, now = self.memory.settings.polled[key], self.now()
        since, until = (
            self._since(key, publication_schedule.today(source, now)),
            publication_schedule.latest_possible_date(source, now),
        )
        # The latest ones, of a bank that answers with a year whatever it is asked: each would be judged.
        read = deque[tuple[RawResponse, Fixing]](maxlen=(until - since).days + 1 + MORE)
        try:
            async for one in published(self.adapters[key], self.feeds[key], since, until):
                read.append(one)
        finally:
            await self._take_in(key, read, now)
        if not read:
            raise NotUnderstood(key, self.feeds[key].url, f"no figures for any day from {since} to {until}")
        said = {fixing.date for _, fixing in read}
        # What lies before all that the answer has may just not be told any more.
        self.store_sync.record_decisions(self.memory.quarantine[key].withdraw(max(since, min(said)), said, now))

    async def _take_in(self, key: str, read: Collection[tuple[RawResponse, Fixing]], now: datetime) -> None:
        """Judge what was read, and what waits from before: later publications or another bank may explain it."""
        async with self._judging:  # one after the other: what one bank says confirms another
            known = None
            while known is not (series := self.memory.series(key)):  # the store may have told more while it was judged
                known, told = series, self._told(key, [fixing for _, fixing in read])
                judged = await run_in_thread(judge_all, told, known, self.memory.context(key, now), KEEP)
            changed = self.store_sync.take_in(key, judged, now)
        self.counters.fixings[key, "accepted"] += sum(one.accepted for one in judged)
        self.counters.fixings[key, "refused"] += sum(one.since == now for one in changed)  # not for other reasons only
        telling = {one.publish.digest for one in judged if one.publish} | {one.fixing.digest for one in changed}
        for payload in {payload.digest: payload for payload, _ in read}.values():
            if payload.digest in telling:
                self.store_sync.keep_raw(payload)
        own = self.memory.own_check(key)
        if own and own.differences and any(one.accepted for one in judged):
            log.warning("fixing.change_differs", source=key, against=str(own.against), differences=own.differences)

    async def _judge_others_again(self, key: str) -> None:
        """Judge what the other sources have in quarantine: what this one has published may confirm it."""
        for other in self.memory.settings.polled:
            if other != key and self.memory.quarantine[other].waiting:
                await self._take_in(other, [], self.now())

    def _told(self, key: str, read: list[Fixing]) -> list[Fixing]:
        """Return what is to be judged of what was read, after what waits from before it."""
        fixings = self.memory.series(key).fixings
        told = [fixing for fixing in read if fixing.date >= self.memory.oldest_complete_date(key)]
        oldest = fixings[0].date if fixings else date.min  # what waits before that cannot be judged
        begins = min((fixing.date for fixing in told), default=date.max)
        waiting = [one.fixing for day, one in self.memory.quarantine[key].waiting.items() if oldest < day < begins]
        return [*sorted(waiting, key=lambda fixing: fixing.date), *told]

    def _since(self, key: str, today: date) -> date:
        """Return the first date to ask for: from the publication before the latest one on, more where we know less.

        A correction of that one is half of every percentage.
        """
        published, earliest = self.memory.series(key).distinct, today - LOOKBACK
        if len(published) < 2:
            return earliest
        return max(earliest, min(published[-2].date, today))

    def _succeeded(self, key: str) -> None:
        state = self.memory.states[key]
        if state.failing_since:
            log.info("source.recovered", source=key, failing_since=state.failing_since.isoformat())
        self.memory.states[key] = SourceState(polled_at=self.now(), succeeded_at=self.now())

    def _failed(self, key: str, problem: str) -> None:
        state = self.memory.states[key]
        if not state.failing_since:
            log.warning("source.failing", source=key, error=problem)
        self.memory.states[key] = state.after_failure(self.now(), problem)


async def published(
    adapter: SourceAdapter, feed: SourceSession, since: date, until: date
) -> AsyncIterator[tuple[RawResponse, Fixing]]:
    """Yield what a source has published from `since` to `until`: fetched, and understood; each with its answer.

    An answer that is not understood keeps no other from being read: its error comes after them.
    """
    odd: NotUnderstood | None = None
    async for payload in adapter.fetch(feed, since, until):
        try:
            fixings = await run_in_thread(adapter.parse, payload)
        except NotUnderstood as error:
            odd = odd or error
            continue
        for fixing in fixings:
            yield payload, fixing
    if odd:
        raise odd
