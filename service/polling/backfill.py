"""Fetch the past of a source step by step: politely, resumably, by the rules that hold every day.

Steps are months, or years where one response holds so much. A step is written when it is complete and then noted, so
that a run that was cut off resumes where it was. Running it twice has the effect of running it once, also beside a
running service, which follows by itself.

What comes next is known here, so a rate is judged by its future too: a move that the next publications keep is true,
one that goes back is a slip. Nothing stops a run; what is held is in quarantine and named at the end.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from service.clock import Clock
from service.domain import publication_schedule
from service.domain.fixing import Fixing, Series
from service.errors import SourceError, StoreError, TickerError
from service.polling.poller import published
from service.runtime.background import run_in_thread
from service.settings import Settings
from service.sources.adapter import RawResponse, SourceSession
from service.sources.banks import SOURCES
from service.state.memory import configured_breaks, tolerance, validation_context, witness_of
from service.storage.repository import Store
from service.validation.cross_check import CrossCheck
from service.validation.quarantine import Quarantine
from service.validation.rules import Judgement, Verdict, judge_all

_BEFORE, _AFTER = timedelta(days=90), timedelta(days=14)
"""How much of what is known is looked at before and after a step: what offset and spread of two banks come from."""
_TAIL = 40
"""Documents at the end of a step that are judged again with the next one, from the first with a held rate on."""
_SETTLED = timedelta(days=7)
"""What is younger may not have been published when it was requested."""
_DAY = timedelta(days=1)
_KEEP = 10_000

Step = tuple[date, date]
Read = tuple[RawResponse, Fixing]


@dataclass
class Count:
    """What came of a backfill so far."""

    accepted: int = 0
    known: int = 0
    waiting: int = 0
    held: dict[date, tuple[str, ...]] = field(default_factory=dict)
    """The rates that are in quarantine, by date."""


@dataclass
class Backfill:
    """A run for one source. `report` is called with the days of each step that is done, and the count so far."""

    settings: Settings
    store: Store
    feed: SourceSession
    now: Clock
    report: Callable[[int, Count], None]
    count: Count = field(default_factory=Count)
    _held: list[Read] = field(default_factory=list)

    async def run(self, since: date, until: date) -> Count:
        """Fill from `since` to `until`, both included. Raises `TickerError` where it cannot go on; run again then."""
        if self.feed.provider and not self.feed.wanted:
            raise TickerError(f"{self.feed.key}: no ticker uses this relay, so there are no currencies to request")
        steps = await self.steps(since, until)
        for number, step in enumerate(steps, 1):
            first, last = step
            try:
                read = await self._ask(first, last)
                begun = min([first, *(fixing.date for _, fixing in self._held)])
                await self._take_in([*self._held, *read], step, final=number == len(steps))
                await self._note((begun, last))
            except (SourceError, StoreError) as error:
                raise TickerError(f"{error}; filled up to {first - _DAY}, run it again to go on") from None
            self.report((last - first).days + 1, self.count)
        return self.count

    async def steps(self, since: date, until: date) -> list[Step]:
        """Return the steps that are left, oldest first."""
        until = min(until, publication_schedule.latest_possible_date(self.settings.sources[self.feed.key], self.now()))
        done = await self.store.backfilled(self._asked)
        yearly = SOURCES[self.settings.adapter(self.feed.key)].yearly
        return [step for gap in _gaps(since, until, done) for step in _split(*gap, yearly=yearly)]

    async def _ask(self, first: date, last: date) -> list[Read]:
        adapter = SOURCES[self.settings.adapter(self.feed.key)]
        return [one async for one in published(adapter, self.feed, first, last) if first <= one[1].date <= last]

    async def _take_in(self, read: list[Read], step: Step, *, final: bool) -> None:
        """Judge what was read; held rates at the end of a step are judged again with the next one."""
        judged = await self._judge([fixing for _, fixing in read], step)
        held = [at for at, one in enumerate(judged) if one.held]
        at = len(judged) if final else next((at for at in held if at >= len(judged) - _TAIL), len(judged))
        self._held = read[at:]
        await self._write(read[:at], judged[:at])

    async def _judge(self, fixings: list[Fixing], step: Step) -> list[Judgement]:
        key, (first, last) = self.feed.key, step
        span = (min([first, *(fixing.date for fixing in fixings)]) - _BEFORE, last + _AFTER)
        sources, quarantine = self.settings.sources, Quarantine.of([], await self.store.decisions(key))
        known = {other: await self._known(other, span) for other in sources}
        check = CrossCheck(
            {other: witness_of(sources[other], other, series) for other, series in known.items()},
            tolerance(self.settings.acceptance),
            {key: quarantine.accepted},
        )
        breaks = (*configured_breaks(sources[key]), *quarantine.breaks)
        context = validation_context(self.settings, key, self.now(), check, quarantine.rejected, breaks, backfill=True)
        return await run_in_thread(judge_all, fixings, known[key], context, _KEEP)

    async def _known(self, key: str, span: Step) -> Series:
        days = [span[0] + number * _DAY for number in range((span[1] - span[0]).days + 1)]
        return Series(tuple(await self.store.fixings(key, days)))

    async def _write(self, read: list[Read], judged: list[Judgement]) -> None:
        """Write what is published and what is held."""
        key = self.feed.key
        quarantine = Quarantine.of(await self.store.waiting(key), await self.store.decisions(key))
        if accepted := [one.publish for one in judged if one.publish]:
            await self.store.save(*accepted)
        waiting, ended = quarantine.receive(judged, self.now())
        digests = {*(one.digest for one in accepted), *(one.fixing.digest for one in waiting)}
        for payload in {payload.digest: payload for payload, _ in read}.values():
            if payload.digest in digests:
                await self.store.save_raw(key, payload.digest, payload.body, self.settings.store.keep_raw)
        for decision in ended:
            await self.store.record_decision(decision)
        for one in waiting:
            await self.store.quarantine(one)
        self.count.accepted += len(accepted)
        self.count.known += sum(one.verdict is Verdict.KNOWN for one in judged)
        self.count.held |= {one.fixing.date: tuple(sorted(one.held.rates)) for one in judged if one.held}
        self.count.waiting = len(self.count.held)

    async def _note(self, step: Step) -> None:
        """Note that a step is whole, up to what may still come or is judged with the next."""
        first, last = step[0], min(step[1], self._today() - _SETTLED)
        if self._held:
            last = min(last, self._held[0][1].date - _DAY)
        if last >= first:
            done = await self.store.backfilled(self._asked)
            await self.store.save_backfilled(self._asked, _joined([*done, (first, last)]))

    @property
    def _asked(self) -> str:
        """The key of the noted spans: for a relay with the requested currencies, so that others are fetched again."""
        wanted = f":{','.join(sorted(self.feed.wanted))}" if self.feed.provider else ""
        return f"{self.feed.key}{wanted}"

    def _today(self) -> date:
        return publication_schedule.today(self.settings.sources[self.feed.key], self.now())


def _joined(spans: Iterable[Step]) -> list[Step]:
    """Return the same days in as few spans as possible."""
    joined: list[Step] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + _DAY:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _gaps(since: date, until: date, done: Iterable[Step]) -> Iterator[Step]:
    """Yield the spans from `since` to `until` that are not done."""
    for first, last in done:
        if first > until:
            break
        if since < first:
            yield since, first - _DAY
        since = max(since, last + _DAY)
    if since <= until:
        yield since, until


def _split(first: date, last: date, *, yearly: bool) -> Iterator[Step]:
    """Yield the months or years of a span, cut off where it begins and ends."""
    while first <= last:
        month = 12 if yearly else first.month
        beyond = date(first.year + month // 12, month % 12 + 1, 1)
        yield first, min(last, beyond - _DAY)
        first = beyond
