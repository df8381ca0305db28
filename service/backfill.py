"""The past of a source, asked for step by step: politely, resumably, by the same rules as what comes in daily.

Steps are months, or years where one answer holds so much. A step is written when it is whole, and then
noted, so that a run that was cut off goes on where it was. Doing it twice is as once, also beside a
running service, which follows by itself.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from service import publications
from service.acceptance import Judged, Verdict, judge_all
from service.board import rules
from service.clock import Clock
from service.errors import SourceError, StoreError, TickerError
from service.fixings import Fixing, Series
from service.poller import published
from service.quarantine import KEEP, Quarantine
from service.settings import Settings
from service.sources import BY_YEAR, SOURCES
from service.sources.base import Feed, Payload
from service.store import Store

STOP_AFTER = 3
"""So many publications in a row that must wait are a matter for a person, before the past is full of them."""
_AROUND = timedelta(days=14)
"""How much of what is known is looked at on both sides of a step."""
_TAIL = 10
"""Fixings at the end of a step that are judged with the next one, if at least one of them must wait."""
_SETTLED = timedelta(days=7)
"""What is younger may not have been published when it was asked for."""
_DAY = timedelta(days=1)
_KEEP = 10_000

Step = tuple[date, date]
Read = tuple[Payload, Fixing]


@dataclass
class Count:
    """What came of a backfill so far."""

    accepted: int = 0
    known: int = 0
    waiting: int = 0


@dataclass
class Backfill:
    """A run for one source. `tell` is called with the days of each step that is done, and the count so far."""

    settings: Settings
    store: Store
    feed: Feed
    now: Clock
    tell: Callable[[int, Count], None]
    count: Count = field(default_factory=Count)
    _held: list[Read] = field(default_factory=list)
    _refused: list[Judged] = field(default_factory=list)
    """The fixings that had to wait, since the last that did not."""

    async def run(self, since: date, until: date) -> Count:
        """Fill from `since` to `until`, both included. Raises `TickerError` where it cannot go on; run again then."""
        if self.feed.provider and not self.feed.wanted:
            raise TickerError(f"{self.feed.key}: a relay is asked for what tickers want of it, and none names it")
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
            self.tell((last - first).days + 1, self.count)
        return self.count

    async def steps(self, since: date, until: date) -> list[Step]:
        """Return what is left to ask for, oldest first."""
        until = min(until, publications.horizon(self.settings.sources[self.feed.key], self.now()))
        done = await self.store.backfilled(self._asked)
        yearly = self.settings.adapter(self.feed.key) in BY_YEAR
        return [step for gap in _gaps(since, until, done) for step in _split(*gap, yearly=yearly)]

    async def _ask(self, first: date, last: date) -> list[Read]:
        adapter = SOURCES[self.settings.adapter(self.feed.key)]
        return [one async for one in published(adapter, self.feed, first, last) if first <= one[1].date <= last]

    async def _take_in(self, read: list[Read], step: Step, *, final: bool) -> None:
        """Judge what was read; what waits at the end of a step waits for the next one, which may explain it."""
        judged = await self._judge([fixing for _, fixing in read], step)
        refused = [at for at, one in enumerate(judged) if one.verdict is Verdict.REFUSED]
        at = next((at for at in refused if at >= len(judged) - _TAIL), len(judged)) if not final else len(judged)
        self._held = read[at:]
        await self._write(read[:at], judged[:at])

    async def _judge(self, fixings: list[Fixing], step: Step) -> list[Judged]:
        key, (first, last) = self.feed.key, step
        span = (min([first, *(fixing.date for fixing in fixings)]) - _AROUND, last + _AROUND)
        known = await self._known(key, span)
        rejected = Quarantine.of([], await self.store.decisions(key)).rejected
        judged = judge_all(fixings, known, rules(self.settings, key, self.now(), {}, rejected), _KEEP)
        if any(one.verdict is Verdict.REFUSED for one in judged):
            others = {other: await self._known(other, span) for other in self.settings.sources if other != key}
            judged = judge_all(fixings, known, rules(self.settings, key, self.now(), others, rejected), _KEEP)
        return judged

    async def _known(self, key: str, span: Step) -> Series:
        days = [span[0] + number * _DAY for number in range((span[1] - span[0]).days + 1)]
        return Series(tuple(await self.store.fixings(key, days)))

    async def _write(self, read: list[Read], judged: list[Judged]) -> None:
        """Write what is accepted and what waits, up to where too much would wait."""
        key = self.feed.key
        quarantine = Quarantine.of(await self.store.waiting(key), await self.store.decisions(key))
        stop = self._stop(judged, quarantine)
        kept = judged if stop is None else judged[:stop]
        coming = {one.fixing.date for one in kept if one.verdict is Verdict.REFUSED} | quarantine.waiting.keys()
        if len(coming) > KEEP:
            raise TickerError(f"{key}: {len(coming)} fixings would wait, decide on some (python -m service quarantine)")
        if accepted := [one.fixing for one in kept if one.accepted]:
            await self.store.save(*accepted)
        waiting, ended = quarantine.receive(kept, self.now())
        telling = {*(one.digest for one in accepted), *(one.fixing.digest for one in waiting)}
        for payload in {payload.digest: payload for payload, _ in read}.values():
            if payload.digest in telling:
                await self.store.save_raw(key, payload.digest, payload.body, self.settings.store.keep_raw)
        for one in waiting:
            await self.store.quarantine(one)
        for decision in ended:
            await self.store.decide(decision)
        self.count.accepted += len(accepted)
        self.count.known += sum(one.verdict is Verdict.KNOWN for one in kept)
        self.count.waiting += len(waiting)
        if stop is not None:
            first = self._refused[0]
            raise TickerError(
                f"{key}: too many in a row must wait, from {first.fixing.date} on:"
                f" {'; '.join(first.reasons)}. Decide (python -m service quarantine), then run it again"
            )

    def _stop(self, judged: list[Judged], quarantine: Quarantine) -> int | None:
        """Return where too many publications in a row had to wait; None where they did not."""
        for at, one in enumerate(judged):
            if one.verdict is not Verdict.REFUSED or quarantine.is_rejected(one.fixing):
                self._refused = []
                continue
            self._refused.append(one)
            news = len(Series(tuple(refused.fixing for refused in self._refused)).distinct)
            if news == STOP_AFTER or len(self._refused) == _TAIL:
                return at + 1
        return None

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
        """What is asked for: of a relay it is what tickers want, and another past when they want more."""
        wanted = f":{','.join(sorted(self.feed.wanted))}" if self.feed.provider else ""
        return f"{self.feed.key}{wanted}"

    def _today(self) -> date:
        return publications.today(self.settings.sources[self.feed.key], self.now())


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
