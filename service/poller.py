"""One poll through all stages: ask, understand, judge, keep, show. Holds the only broad `except`.

A poll that fails adds nothing and removes nothing.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import structlog

from service import publications
from service.archive import Archive
from service.board import KEEP, Board, Refusal, SourceState
from service.clock import Clock
from service.errors import NotUnderstood, SourceError
from service.fixings import Fixing, Judged, Verdict, judge
from service.sources.base import Feed, Source
from service.store import Refused

log = structlog.get_logger()

LOOKBACK = timedelta(days=14)
"""How far back an empty series is filled: two distinct fixings across the longest holidays."""


@dataclass
class Poller:
    board: Board
    archive: Archive
    adapters: Mapping[str, Source]
    feeds: Mapping[str, Feed]
    now: Clock
    _busy: set[str] = field(default_factory=set)

    async def poll(self, key: str) -> None:
        """Ask one source once; return at once where it is being asked already. Never raises."""
        if key in self._busy:
            return
        self._busy.add(key)
        try:
            refused = await self._ask(key)
        except SourceError as error:
            self._failed(key, str(error))
        except Exception as error:  # the one place that must survive every fault of an adapter
            if not self.board.states[key].failing_since:
                log.exception("poll.crashed", source=key)
            self._failed(key, f"{key}: a fault of ours: {error!r}")
        else:
            self._succeeded(key, refused)
        finally:
            self._busy.discard(key)
        self.archive.keep_state(key, self.board.states[key])
        await self.review()

    async def poll_if_awaited(self, key: str) -> None:
        """Ask inside a publication window, every so often, until the due fixing is here."""
        source, latest = self.board.settings.polled[key], self.board.series(key).news
        asked = self.board.states[key].polled_at
        if asked and self.now() - asked < source.every * 0.9:  # the schedule's jitter may bring two fires together
            return
        if publications.awaited(source, latest.date if latest else None, self.now()):
            await self.poll(key)

    async def review(self) -> None:
        await self.archive.review(self.now())

    async def _ask(self, key: str) -> tuple[Refusal, ...]:
        """Take in everything that the source has published; return what we do not publish.

        All that one poll brings is shown together; where it breaks off, what came before that.
        """
        source = self.board.settings.polled[key]
        today, last_day = publications.today(source, self.now()), publications.horizon(source, self.now())
        since = self._since(key, today)
        known, judged = self.board.series(key), list[Judged]()
        try:
            async for fixing in published(self.adapters[key], self.feeds[key], since, last_day):
                judged.append(judge(fixing, known, last_day))
                if judged[-1].accepted:
                    known = known.with_fixing(judged[-1].fixing, KEEP)
        finally:
            self._take_in(one for one in judged if one.accepted)
        if not judged:
            raise NotUnderstood(key, self.feeds[key].url, f"no figures for any day from {since} to {last_day}")
        return self._refuse(key, [one for one in judged if one.verdict is Verdict.REFUSED])

    def _take_in(self, accepted: Iterable[Judged]) -> None:
        for one in accepted:
            if one.verdict is Verdict.REVISION:
                log.warning("fixing.revised", source=one.fixing.source, date=str(one.fixing.date))
            self.board.add(one.fixing)
            self.archive.keep(one.fixing)

    def _refuse(self, key: str, judged: list[Judged]) -> tuple[Refusal, ...]:
        """Keep and tell what was refused and was not before."""
        told = {(known.date, known.reasons) for known in self.board.states[key].refused}
        refusals = {one.fixing.date: (Refusal(one.fixing.date, one.reasons, one.fixing.digest), one) for one in judged}
        for refusal, one in refusals.values():
            if (refusal.date, refusal.reasons) not in told:
                log.warning("fixing.refused", source=key, date=str(refusal.date), reasons=refusal.reasons)
                self.archive.keep_refused(Refused(one.fixing, one.reasons, self.now()))
        return tuple(refusal for refusal, _ in refusals.values())

    def _since(self, key: str, today: date) -> date:
        """Return the first date to ask for: known ones again for revisions, more where we know too little."""
        series = self.board.series(key)
        earliest = today - LOOKBACK
        if series.latest is None or len(series.distinct) < 2:
            return earliest
        return max(earliest, min(series.latest.date, today))

    def _succeeded(self, key: str, refused: tuple[Refusal, ...]) -> None:
        state = self.board.states[key]
        if state.failing_since:
            log.info("source.recovered", source=key, failing_since=state.failing_since.isoformat())
        self.board.states[key] = SourceState(polled_at=self.now(), succeeded_at=self.now(), refused=refused)

    def _failed(self, key: str, problem: str) -> None:
        state = self.board.states[key]
        if not state.failing_since:
            log.warning("source.failing", source=key, error=problem)
        self.board.states[key] = state.after_failure(self.now(), problem)


async def published(adapter: Source, feed: Feed, since: date, until: date) -> AsyncIterator[Fixing]:
    """Yield what a source has published from `since` to `until`: fetched, and understood.

    An answer that is not understood keeps no other from being read: its error comes after them.
    """
    odd: NotUnderstood | None = None
    async for payload in adapter.fetch(feed, since, until):
        try:
            fixings = adapter.parse(payload)
        except NotUnderstood as error:
            odd = odd or error
            continue
        for fixing in fixings:
            yield fixing
    if odd:
        raise odd
