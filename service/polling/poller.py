"""Poll a source: fetch, parse, validate, apply, publish, flush. The only broad `except` of polling is here.

A poll that fails adds nothing and removes nothing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from time import perf_counter
from typing import Final

import structlog

from service.clock import Clock
from service.domain import publication_schedule
from service.domain.fixing import Fixing
from service.errors import NotUnderstood, SourceError
from service.observability.counters import Counters
from service.runtime.background import run_in_thread
from service.sources.adapter import RawResponse, SourceAdapter, SourceSession
from service.state.memory import KEEP, MemoryState, SourceState
from service.state.publisher import SnapshotPublisher
from service.storage.sync import StoreSync
from service.validation.rules import Judgement, judge_all

log = structlog.get_logger()

LOOKBACK: Final = timedelta(days=14)
"""How far back an empty series is filled: two distinct fixings across the longest holidays."""
_EXTRA_FIXINGS: Final = 21
"""Fixings of a response that are used beyond one for each requested day: some banks always send weeks."""

ParsedFixing = tuple[RawResponse, Fixing]


@dataclass
class Poller:
    memory: MemoryState
    store_sync: StoreSync
    publisher: SnapshotPublisher
    adapters: Mapping[str, SourceAdapter]
    sessions: Mapping[str, SourceSession]
    now: Clock
    counters: Counters = field(default_factory=Counters)
    _polling: set[str] = field(default_factory=set)
    _validating: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def poll(self, key: str) -> None:
        """Poll a source once; return at once if it is being polled. Never raises."""
        if key in self._polling:
            return
        self._polling.add(key)
        started = perf_counter()
        try:
            since, until = self._requested_dates(key)
            parsed, failure = await self._fetch_and_parse(key, since, until)
            await self._validate_and_apply(key, parsed)  # also what came before a failure
            if not failure:
                self._withdraw_unpublished(key, parsed, since)
                await self._validate_quarantine_again(besides=key)
        except Exception as error:  # noqa: BLE001 - polling survives every fault of an adapter; it is recorded
            failure = error
        finally:
            self._polling.discard(key)
        self._record_outcome(key, failure, started)
        await self.publisher.publish(self.now())
        await self.store_sync.request_sync()

    async def _fetch_and_parse(self, key: str, since: date, until: date) -> tuple[list[ParsedFixing], Exception | None]:
        """Return what a source has published, and what ended that early, if anything did."""
        # Of a source that always sends a whole year, the latest ones are enough.
        parsed = deque[ParsedFixing](maxlen=(until - since).days + 1 + _EXTRA_FIXINGS)
        try:
            async for one in published(self.adapters[key], self.sessions[key], since, until):
                parsed.append(one)
        except Exception as error:  # noqa: BLE001 - it is recorded when the rest is applied
            return list(parsed), error
        if not parsed:
            return [], NotUnderstood(key, self.sessions[key].url, f"no rates for any day from {since} to {until}")
        return list(parsed), None

    async def _validate_and_apply(self, key: str, parsed: Collection[ParsedFixing]) -> None:
        """Validate what was parsed and what is in quarantine: later publications or another source may explain it.

        One source after the other, since what one publishes confirms another.
        """
        async with self._validating:
            now = self.now()
            judgements = await self._validate(key, [fixing for _, fixing in parsed], now)
            self._apply(key, parsed, judgements, now)

    async def _validate(self, key: str, fixings: list[Fixing], now: datetime) -> list[Judgement]:
        """Validate in a thread, again if the series has changed meanwhile by a sync."""
        while True:
            series = self.memory.series(key)
            context = self.memory.context(key, now)
            judgements = await run_in_thread(judge_all, self._to_validate(key, fixings), series, context, KEEP)
            if self.memory.series(key) is series:
                return judgements

    def _apply(self, key: str, parsed: Collection[ParsedFixing], judgements: list[Judgement], now: datetime) -> None:
        """Apply judgements to the memory and queue them for the store, with the responses that they came from."""
        quarantined = self.store_sync.apply_judgements(key, judgements, now)
        self.counters.fixings[key, "accepted"] += sum(judgement.accepted for judgement in judgements)
        # Entries that only have other reasons are not counted again.
        self.counters.fixings[key, "refused"] += sum(one.since == now for one in quarantined)
        digests = {one.publish.digest for one in judgements if one.publish}
        digests |= {one.fixing.digest for one in quarantined}
        for response in {response.digest: response for response, _ in parsed}.values():
            if response.digest in digests:
                self.store_sync.outbox.enqueue_response(response)
        own = self.memory.own_check(key)
        if own and own.differences and any(judgement.accepted for judgement in judgements):
            log.warning("fixing.change_differs", source=key, against=str(own.against), differences=own.differences)

    def _withdraw_unpublished(self, key: str, parsed: Collection[ParsedFixing], since: date) -> None:
        """End the quarantine of dates that the source does not publish any more.

        What lies before the whole response may just not be part of it any more.
        """
        days = {fixing.date for _, fixing in parsed}
        ended = self.memory.quarantine[key].withdraw(max(since, min(days)), days, self.now())
        self.store_sync.record_decisions(ended)

    async def _validate_quarantine_again(self, besides: str) -> None:
        """Validate what the other sources have in quarantine: what this one has published may confirm it."""
        for key in self.memory.settings.polled:
            if key != besides and self.memory.quarantine[key].waiting:
                await self._validate_and_apply(key, [])

    def _to_validate(self, key: str, fixings: list[Fixing]) -> list[Fixing]:
        """Return the fixings that can be validated, after the quarantined ones that are older."""
        known = self.memory.series(key).fixings
        recent = [fixing for fixing in fixings if fixing.date >= self.memory.oldest_complete_date(key)]
        oldest = known[0].date if known else date.min  # nothing to compare a quarantined fixing with before that
        first = min((fixing.date for fixing in recent), default=date.max)
        waiting = [one.fixing for day, one in self.memory.quarantine[key].waiting.items() if oldest < day < first]
        return [*sorted(waiting, key=lambda fixing: fixing.date), *recent]

    def _requested_dates(self, key: str) -> tuple[date, date]:
        source, now = self.memory.settings.polled[key], self.now()
        first = self._first_date(key, publication_schedule.today(source, now))
        return first, publication_schedule.latest_possible_date(source, now)

    def _first_date(self, key: str, today: date) -> date:
        """Return the first date to request: that of the publication before the latest, whose correction counts too."""
        published, earliest = self.memory.series(key).distinct, today - LOOKBACK
        if len(published) < 2:
            return earliest
        return max(earliest, min(published[-2].date, today))

    def _record_outcome(self, key: str, failure: Exception | None, started: float) -> None:
        """Record how a poll went: in the source's state, which is stored, in the log and in the counters."""
        before = self.memory.states[key]
        if failure is None:
            state = SourceState(polled_at=self.now(), succeeded_at=self.now())
            if before.failing_since:
                log.info("source.recovered", source=key, failing_since=before.failing_since.isoformat())
        else:
            ours = not isinstance(failure, SourceError)
            error = f"{key}: a fault of ours: {failure!r}" if ours else str(failure)
            state = before.after_failure(self.now(), error)
            if not before.failing_since:
                if ours:
                    log.error("poll.crashed", source=key, exc_info=failure)
                log.warning("source.failing", source=key, error=error)
        self.memory.states[key] = state
        self.store_sync.outbox.enqueue_state(key, state)
        self.counters.polled(key, "failed" if failure else "ok", perf_counter() - started)


async def published(
    adapter: SourceAdapter, session: SourceSession, since: date, until: date
) -> AsyncIterator[ParsedFixing]:
    """Fetch and parse what a source has published from `since` to `until`; yield each fixing with its response.

    A response that cannot be parsed does not stop the others: its error is raised after them.
    """
    failure: NotUnderstood | None = None
    async for response in adapter.fetch(session, since, until):
        try:
            fixings = await run_in_thread(adapter.parse, response)
        except NotUnderstood as error:
            failure = failure or error
            continue
        for fixing in fixings:
            yield response, fixing
    if failure:
        raise failure
