"""One poll through all stages: ask, understand, judge, keep, show. Holds the only broad `except`.

A poll that fails adds nothing and removes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import structlog

from service import publications
from service.archive import Archive
from service.board import Board, Refusal, SourceState
from service.errors import NotUnderstood, SourceError
from service.fixings import Fixing, objections
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
    now: Callable[[], datetime]
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
            log.exception("poll.crashed", source=key)
            self._failed(key, f"{key}: a fault of ours: {error!r}")
        else:
            self._succeeded(key, refused)
        finally:
            self._busy.discard(key)
        self.archive.keep_state(key, self.board.states[key])
        await self.review()

    async def poll_if_awaited(self, key: str) -> None:
        """Ask inside a publication window, until the due fixing is here."""
        latest = self.board.series(key).latest
        if publications.awaited(self.board.settings.polled[key], latest.date if latest else None, self.now()):
            await self.poll(key)

    async def review(self) -> None:
        """Bring store and snapshots up to date: what is shown was written first, where there is a store."""
        await self.archive.sync()
        for snapshot in self.board.refresh(self.now()):
            log.info("ticker.changed", ticker=snapshot.id, status=snapshot.status, as_of=str(snapshot.as_of))
            self.archive.keep_snapshot(snapshot)

    async def _ask(self, key: str) -> tuple[Refusal, ...]:
        """Take in everything that the source has published; return what we do not publish."""
        source = self.board.settings.polled[key]
        today = publications.today(source, self.now())
        since, until = self._since(key, today), publications.effective(source, today)
        found = 0
        refused: dict[date, Refusal] = {}
        async for fixing in published(self.adapters[key], self.feeds[key], since, until):
            found += 1
            if refusal := self._take(fixing):
                refused[fixing.date] = refusal
        if not found:
            raise NotUnderstood(key, self.feeds[key].url, f"no figures for any day from {since} to {until}")
        return tuple(refused.values())

    def _since(self, key: str, today: date) -> date:
        """Return the first date to ask for: known ones again for revisions, more where we know too little."""
        series = self.board.series(key)
        earliest = today - LOOKBACK
        if series.latest is None or len(series.distinct) < 2:  # noqa: PLR2004 - a change needs two
            return earliest
        return max(earliest, min(series.latest.date, today))

    def _take(self, fixing: Fixing) -> Refusal | None:
        """Accept one fixing, as new or as a revision, or refuse it."""
        known = self.board.series(fixing.source)
        replaced = known.on(fixing.date)
        if replaced and replaced.same_figures(fixing):
            return None
        last_day = publications.horizon(self.board.settings.polled[fixing.source], self.now())
        if reasons := objections(fixing, known, last_day):
            return self._refuse(fixing, reasons)
        if replaced:
            log.warning("fixing.revised", source=fixing.source, date=str(fixing.date))
            fixing = fixing.revising(replaced)
        self.board.add(fixing)
        self.archive.keep(fixing)
        return None

    def _refuse(self, fixing: Fixing, reasons: tuple[str, ...]) -> Refusal:
        refusal = Refusal(fixing.date, reasons, fixing.digest)
        if refusal not in self.board.states[fixing.source].refused:
            log.warning("fixing.refused", source=fixing.source, date=str(fixing.date), reasons=reasons)
            self.archive.keep_refused(Refused(fixing, reasons, self.now()))
        return refusal

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
    """Yield what a source has published from `since` to `until`: fetched, and understood."""
    async for payload in adapter.fetch(feed, since, until):
        for fixing in adapter.parse(payload):
            yield fixing
