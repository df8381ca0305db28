"""Poll a source: fetch, parse, validate, apply, publish, flush. The errors of a source are recorded, not raised.

A failed poll never removes rates; fixings that were received before the failure are still applied.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from time import perf_counter
from typing import Final
from weakref import ReferenceType, ref

import structlog

from service.clock import Clock
from service.domain import publication_schedule
from service.domain.fixing import Fixing
from service.errors import NotUnderstood, SourceError
from service.observability.counters import Counters
from service.observability.tracing import Span, span
from service.runtime.background import run_in_thread
from service.sources.adapter import RawResponse, SourceAdapter, SourceSession
from service.state.memory import KEEP, MOST_LEFT_OUT, MemoryState, SourceState
from service.state.publisher import SnapshotPublisher
from service.storage.sync import StoreSync
from service.validation.cross_check import CrossCheck
from service.validation.quarantine import Quarantine
from service.validation.rules import Judgement, judge_all

log = structlog.get_logger()

LOOKBACK: Final = timedelta(days=14)
"""How far back an empty series is fetched: enough for two publications across the longest holidays."""
_EXTRA_FIXINGS: Final = 21
"""Fixings that are used in addition to one per requested day: some banks always send several weeks."""

ParsedFixing = tuple[RawResponse, Fixing]


class _NothingPublished(NotUnderstood):
    """No response has a rate: a fault, unless only a publication was requested that may not be there yet."""


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
    _full_polls: dict[str, datetime] = field(default_factory=dict)
    """By source: the last poll that requested all dates that may have changed."""
    _validating: asyncio.Lock = field(default_factory=asyncio.Lock)
    _newly_polled: set[str] = field(default_factory=set)
    """Sources polled since the quarantine of the others was validated."""
    _validating_quarantine: asyncio.Lock = field(default_factory=asyncio.Lock)
    _quarantine_inputs: dict[str, tuple[ReferenceType[CrossCheck], Quarantine, date]] = field(default_factory=dict)
    """By source: what its quarantine was last validated by. A cross-check is another one after each change."""

    async def poll(self, key: str) -> None:
        """Poll a source once; return at once if it is being polled, or has demanded a pause.

        An error of the source is recorded in its state, not raised.
        """
        # Another instance, or a backfill, may have received the demand.
        pause_end = publication_schedule.pause_end(self.memory.states[key].not_before, self.now())
        if key in self._polling or pause_end:
            return
        self._polling.add(key)
        with span("poll", {"source": key}) as polling:
            await self._poll(key, polling)

    async def _poll(self, key: str, polling: Span) -> None:
        started, left_out, awaited = perf_counter(), list[str](), None
        try:
            awaited = self._awaited_dates(key)
            since, until = awaited or self._requested_dates(key)
            parsed, left_out, failure = await self._fetch_and_parse(key, since, until)
            if awaited and isinstance(failure, _NothingPublished):
                failure = None
            await self._validate_and_apply(key, parsed)  # even after a failure: fixings before it are valid
            if not awaited and not failure:
                self._full_polls[key] = self.now()
            if parsed and not failure:
                if not (left_out or awaited):  # a date that could not be read is still published
                    self._withdraw_unpublished(key, parsed, since)
                await self._validate_quarantine_again(key)
        except Exception as error:  # noqa: BLE001 - a bug in an adapter must not stop polling; it is recorded below
            failure = error
        finally:
            self._polling.discard(key)
        if awaited:  # other dates were not read again
            left_out = [*left_out, *self.memory.states[key].left_out]
        self._record_outcome(key, failure, left_out, started)
        if failure:
            polling.fail(failure)
        with span("publish", {}):
            await self.publisher.publish(self.now())
        with span("flush", {}):
            await self.store_sync.request_sync()

    async def _fetch_and_parse(
        self, key: str, since: date, until: date
    ) -> tuple[list[ParsedFixing], list[str], Exception | None]:
        """Return the published fixings, what could not be read, and the error if fetching or parsing failed."""
        # Limited to the latest ones: some sources always send a whole year.
        parsed, left_out = deque[ParsedFixing](maxlen=(until - since).days + 1 + _EXTRA_FIXINGS), list[str]()
        try:
            async for parsed_fixing in published(self.adapters[key], self.sessions[key], since, until, left_out):
                parsed.append(parsed_fixing)
        except Exception as error:  # noqa: BLE001 - recorded after the other fixings are applied
            return list(parsed), left_out, error
        if not parsed:
            problem = f"no rates for any day from {since} to {until}"
            return [], left_out, _NothingPublished(key, self.sessions[key].url, problem)
        return list(parsed), left_out, None

    async def _validate_and_apply(self, key: str, parsed: Collection[ParsedFixing]) -> bool:
        """Validate new and quarantined fixings; return whether rates were accepted.

        Later publications or other sources may confirm a quarantined rate.

        Sources are validated one after the other, because the rates of one confirm those of another.
        """
        async with self._validating:
            now = self.now()
            with span("validate", {"source": key}):
                judgements = await self._validate(key, [fixing for _, fixing in parsed], now)
            with span("apply", {"source": key}):
                self._apply(key, parsed, judgements, now)
            return any(judgement.publish for judgement in judgements)

    async def _validate(self, key: str, fixings: list[Fixing], now: datetime) -> list[Judgement]:
        """Validate in a worker thread; repeat if a sync has changed the rates or the decisions in the meantime."""
        while True:
            series, quarantine = self.memory.series(key), self.memory.quarantine[key]
            context = self.memory.context(key, now)
            judgements = await run_in_thread(judge_all, self._to_validate(key, fixings), series, context, KEEP)
            if self.memory.series(key) is series and self.memory.quarantine[key] is quarantine:
                return judgements

    def _apply(self, key: str, parsed: Collection[ParsedFixing], judgements: list[Judgement], now: datetime) -> None:
        """Apply judgements to memory and enqueue them, with the responses that they came from."""
        quarantined = self.store_sync.apply_judgements(key, judgements, now)
        self.counters.fixings[key, "accepted"] += sum(judgement.accepted for judgement in judgements)
        # Entries of which only the reasons changed are not counted again.
        self.counters.fixings[key, "refused"] += sum(entry.since == now for entry in quarantined)
        digests = {judgement.publish.digest for judgement in judgements if judgement.publish}
        digests |= {entry.fixing.digest for entry in quarantined}
        for response in {response.digest: response for response, _ in parsed}.values():
            if response.digest in digests:
                self.store_sync.outbox.enqueue_response(response)
        check = self.memory.own_check(key)
        if check and check.differences and any(judgement.accepted for judgement in judgements):
            log.warning("fixing.change_differs", source=key, against=str(check.against), differences=check.differences)

    def _withdraw_unpublished(self, key: str, parsed: Collection[ParsedFixing], since: date) -> None:
        """End the quarantine of dates that the source no longer publishes.

        Dates before the first one in the response are kept: they may just not be part of it any more.
        """
        days = {fixing.date for _, fixing in parsed}
        ended = self.memory.quarantine[key].withdraw(max(since, min(days)), days, self.now())
        self.store_sync.record_decisions(ended)

    async def _validate_quarantine_again(self, polled: str) -> None:
        """Validate the quarantined rates of other sources again: those of the polled one may confirm them.

        Concurrent polls share one pass. It is repeated while it releases rates, which may confirm others.
        """
        self._newly_polled.add(polled)
        async with self._validating_quarantine:
            # Empty if another poll's pass has included this one.
            news, self._newly_polled = self._newly_polled, set()
            try:
                while news:
                    news = await self._validate_other_quarantines(news)
            except BaseException:  # polls that wait for this pass make another one
                self._newly_polled |= news
                raise

    async def _validate_other_quarantines(self, news: AbstractSet[str]) -> set[str]:
        """Validate the quarantine of each source again, unless only that source itself was polled.

        Returns the sources of which rates were released. A source is skipped where nothing has changed since: most
        polls bring nothing new.
        """
        released = set[str]()
        for key in self.memory.settings.polled:
            quarantine, source = self.memory.quarantine[key], self.memory.settings.polled[key]
            if not (news - {key} and quarantine.waiting):
                continue
            last_day = publication_schedule.latest_possible_date(source, self.now())
            inputs = (ref(self.memory.cross_check), quarantine, last_day)
            if self._quarantine_inputs.get(key) == inputs:
                continue
            if await self._validate_and_apply(key, []):
                released.add(key)
            self._quarantine_inputs[key] = inputs
        return released

    def _to_validate(self, key: str, fixings: list[Fixing]) -> list[Fixing]:
        """Return the older quarantined fixings, then those of `fixings` that can be validated."""
        published_fixings = self.memory.series(key).fixings
        recent = [fixing for fixing in fixings if fixing.date >= self.memory.oldest_complete_date(key)]
        # Quarantined fixings before the oldest published one have nothing to compare with.
        oldest = published_fixings[0].date if published_fixings else date.min
        first_recent = min((fixing.date for fixing in recent), default=date.max)
        waiting = self.memory.quarantine[key].waiting
        quarantined = [entry.fixing for day, entry in waiting.items() if oldest < day < first_recent]
        return [*sorted(quarantined, key=lambda fixing: fixing.date), *recent]

    def _awaited_dates(self, key: str) -> tuple[date, date] | None:
        """Return the dates to request if only an awaited publication is looked for: one request instead of several.

        A publication is awaited around its usual arrival, after it was missed, and while its rates are quarantined. All
        dates are requested at least every `sweep`, and until the usual arrival is known.
        """
        source, now, latest = self.memory.settings.polled[key], self.now(), self.memory.series(key).latest_distinct
        expected, last_full_poll = self.memory.expected_arrival(key, now), self._full_polls.get(key)
        if latest is None or expected is None or last_full_poll is None:
            return None
        if not timedelta() <= now - last_full_poll < source.sweep:  # negative after the clock was set back
            return None
        last = publication_schedule.latest_possible_date(source, now)
        overdue = [entry.fixing.date for entry in self.memory.suspicious(key)]
        if missed := publication_schedule.first_missed(source, latest.date, now):
            overdue.append(missed.effective)
        if overdue:
            return min([*overdue, last]), last
        publication = publication_schedule.awaited(source, latest.date, now)
        if publication is None or publication.opens > now:
            return None
        effective = publication.effective
        if expected.begin <= now <= expected.end:
            return effective, effective
        # It may have another date, because of a holiday by decree.
        return effective, last

    def _requested_dates(self, key: str) -> tuple[date, date]:
        source, now = self.memory.settings.polled[key], self.now()
        first = self._first_date(key, publication_schedule.today(source, now))
        return first, publication_schedule.latest_possible_date(source, now)

    def _first_date(self, key: str, today: date) -> date:
        """Return the first date to request: the publication before the latest, since it may have been corrected."""
        published, earliest = self.memory.series(key).distinct, today - LOOKBACK
        if len(published) < 2:
            return earliest
        return max(earliest, min(published[-2].date, today))

    def _record_outcome(self, key: str, failure: Exception | None, left_out: list[str], started: float) -> None:
        """Record the result of a poll in the source's state, which is stored, in the log and in the counters."""
        before, unreadable = self.memory.states[key], tuple(dict.fromkeys(left_out))[:MOST_LEFT_OUT]
        if unreadable and unreadable != before.left_out:
            log.warning("source.partial", source=key, left_out=unreadable)
        if failure is None:
            pause_end = publication_schedule.pause_end(before.not_before, self.now())
            state = SourceState(self.now(), self.now(), left_out=unreadable, not_before=pause_end)
            if before.failing_since:
                log.info("source.recovered", source=key, failing_since=before.failing_since.isoformat())
        else:
            is_internal = not isinstance(failure, SourceError)
            error = f"{key}: internal error: {failure!r}" if is_internal else failure
            state = before.after_failure(self.now(), error)
            if is_internal and before.error != error:
                log.error("poll.crashed", source=key, exc_info=failure)
            if not before.failing_since:
                log.warning("source.failing", source=key, error=str(error))
        self.memory.states[key] = state
        self.store_sync.outbox.enqueue_state(key, state)
        self.counters.polled(key, "failed" if failure else "ok", perf_counter() - started)


async def published(
    adapter: SourceAdapter, session: SourceSession, since: date, until: date, left_out: list[str]
) -> AsyncIterator[ParsedFixing]:
    """Fetch and parse the fixings from `since` to `until`; yield each with the response that it came from.

    If a response cannot be parsed, the others are still parsed; the first error is raised at the end. The problems of
    single rates and days that could not be read are appended to `left_out`.
    """
    failure: NotUnderstood | None = None
    async for response in adapter.fetch(session, since, until):
        try:
            with span("parse", {"source": response.source}):
                fixings = await run_in_thread(adapter.parse, response)
        except NotUnderstood as error:
            failure = failure or error
            continue
        left_out += fixings.left_out
        for fixing in fixings:
            yield response, fixing
    if failure:
        raise failure
