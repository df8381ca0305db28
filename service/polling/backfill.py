"""Fetch the history of a source step by step: rate-limited, resumable, with the same validation as a poll.

A step is a month, or a year if one response may cover a year. A step is recorded after it is completely written, so
that an interrupted run resumes where it stopped. A backfill is idempotent and can run next to a running service, which
follows the store.

Later publications are already known here, so a rate is also validated by what follows it: a change that the next
publications confirm is accepted, one that they revert is an error of the bank. Suspicious rates do not stop a run: they
are quarantined and listed at the end.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from service.clock import Clock
from service.domain import publication_schedule
from service.errors import RateLimited, SourceError, StoreError, TickerError
from service.polling.poller import ParsedFixing, published
from service.polling.stored import StoredValidation
from service.settings import Settings
from service.sources.adapter import SourceSession
from service.sources.registry import adapter_of
from service.state.memory import SourceState
from service.storage.repository import Store
from service.validation.rules import Judgement, Verdict

_TAIL = 40
"""Last fixings of a step that are validated again with the next one, starting with the first quarantined rate."""
_SETTLED = timedelta(days=7)
"""Newer dates are not recorded as complete: they may not have been published when they were requested."""
_DAY = timedelta(days=1)

Step = tuple[date, date]


@dataclass
class Count:
    """Fixings processed so far by a backfill."""

    accepted: int = 0
    known: int = 0
    waiting: int = 0
    held: dict[date, tuple[str, ...]] = field(default_factory=dict)
    """Currencies of the quarantined rates, by date."""
    left_out: list[str] = field(default_factory=list)
    """Problems of rates and days that could not be read."""


@dataclass
class Backfill:
    """A backfill of one source. `report` is called after each step with its number of days and the count so far."""

    settings: Settings
    store: Store
    feed: SourceSession
    now: Clock
    report: Callable[[int, Count], None]
    count: Count = field(default_factory=Count)
    _held: list[ParsedFixing] = field(default_factory=list)

    async def run(self, since: date, until: date) -> Count:
        """Fetch the dates from `since` to `until`, both included. Raises `TickerError` on failure; can be resumed."""
        if self.feed.provider and not self.feed.wanted:
            raise TickerError(f"{self.feed.key}: no ticker uses this relay, so there are no currencies to request")
        steps = await self.steps(since, until)
        for number, step in enumerate(steps, 1):
            first, last = step
            start = min([first, *(fixing.date for _, fixing in self._held)])
            await self._check_pause()
            try:
                fetched = await self._fetch(first, last)
                await self._validate_and_write([*self._held, *fetched], step, final=number == len(steps))
                await self._record((start, last))
            except (SourceError, StoreError) as error:
                if isinstance(error, RateLimited):
                    await self._record_pause(error)
                complete = f"complete up to {start - _DAY}, " if number > 1 else ""
                raise TickerError(f"{error}; {complete}run the command again to resume") from None
            self.report((last - first).days + 1, self.count)
        return self.count

    async def _check_pause(self) -> None:
        """Raise `TickerError` during a pause that the bank has demanded, here or at a poll of the service."""
        state = await self._state()
        if end := publication_schedule.pause_end(state.not_before, self.now()):
            raise TickerError(f"{self.feed.key}: the bank demands a pause; run the command again after {end:%F %T} UTC")

    async def _record_pause(self, error: RateLimited) -> None:
        """Store the pause, so that the service observes it too."""
        state = (await self._state()).after_failure(self.now(), error)
        await self.store.save_state(self.feed.key, state)
        await self.store.coordination.publish_change()

    async def _state(self) -> SourceState:
        return (await self.store.states()).get(self.feed.key, SourceState())

    async def steps(self, since: date, until: date) -> list[Step]:
        """Return the remaining steps, oldest first."""
        until = min(until, publication_schedule.latest_possible_date(self.settings.sources[self.feed.key], self.now()))
        done = await self.store.backfilled(self._record_key)
        yearly = adapter_of(self.settings, self.feed.key).yearly
        return [step for gap in _gaps(since, until, done) for step in _split(*gap, yearly=yearly)]

    async def _fetch(self, first: date, last: date) -> list[ParsedFixing]:
        adapter = adapter_of(self.settings, self.feed.key)
        parsed = list[ParsedFixing]()
        async for response, fixing in published(adapter, self.feed, first, last, self.count.left_out):
            if first <= fixing.date <= last:
                parsed.append((response, fixing))
        return parsed

    async def _validate_and_write(self, parsed: list[ParsedFixing], step: Step, *, final: bool) -> None:
        """Validate and write fixings; keep those from a quarantined rate near the end for the next step."""
        judged = await self._stored.judge([fixing for _, fixing in parsed], *step)
        complete_count = len(judged)
        if not final:
            for index in range(max(0, len(judged) - _TAIL), len(judged)):
                if judged[index].held:
                    complete_count = index
                    break
        self._held = parsed[complete_count:]
        await self._write(parsed[:complete_count], judged[:complete_count])

    async def _write(self, parsed: list[ParsedFixing], judged: list[Judgement]) -> None:
        self.count.accepted += await self._stored.write(parsed, judged)
        self.count.known += sum(judgement.verdict is Verdict.KNOWN for judgement in judged)
        for judgement in judged:
            if judgement.held:
                self.count.held[judgement.fixing.date] = tuple(sorted(judgement.held.rates))
        self.count.waiting = len(self.count.held)

    async def _record(self, step: Step) -> None:
        """Record a step as complete, except for dates that are not settled or are validated with the next step."""
        first, last = step[0], min(step[1], self._today() - _SETTLED)
        if self._held:
            last = min(last, self._held[0][1].date - _DAY)
        if last >= first:
            done = await self.store.backfilled(self._record_key)
            await self.store.save_backfilled(self._record_key, _joined([*done, (first, last)]))

    @property
    def _stored(self) -> StoredValidation:
        return StoredValidation(self.settings, self.store, self.feed.key, self.now)

    @property
    def _record_key(self) -> str:
        """The key of the recorded spans; for a relay with the requested currencies, since others must be fetched."""
        currencies = f":{','.join(sorted(self.feed.wanted))}" if self.feed.provider else ""
        return f"{self.feed.key}{currencies}"

    def _today(self) -> date:
        return publication_schedule.today(self.settings.sources[self.feed.key], self.now())


def _joined(spans: Iterable[Step]) -> list[Step]:
    """Merge overlapping and adjacent spans."""
    joined: list[Step] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + _DAY:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _gaps(since: date, until: date, done: Iterable[Step]) -> Iterator[Step]:
    """Yield the spans from `since` to `until` that are not in `done`."""
    for first, last in done:
        if first > until:
            break
        if since < first:
            yield since, first - _DAY
        since = max(since, last + _DAY)
    if since <= until:
        yield since, until


def _split(first: date, last: date, *, yearly: bool) -> Iterator[Step]:
    """Split a span into months or years; the first and the last may be partial."""
    while first <= last:
        month = 12 if yearly else first.month
        following = date(first.year + month // 12, month % 12 + 1, 1)
        yield first, min(last, following - _DAY)
        first = following
