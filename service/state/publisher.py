"""Publish changed snapshots: to memory and its watchers, to the log, and to the outbox."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from service.domain.snapshot import Snapshot
from service.runtime.background import run_in_thread
from service.settings import TickerSettings
from service.state.memory import MemoryState

log = structlog.get_logger()


@dataclass
class SnapshotPublisher:
    """Rebuilds the snapshots, which notifies the memory's watchers, and enqueues those that changed."""

    memory: MemoryState
    enqueue: Callable[[Snapshot], None]
    prepare: Callable[[], Awaitable[None]] | None = None
    """Loads what snapshots need beside the memory; called before they are built."""
    _due: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def publish(self, now: datetime) -> None:
        """Publish changed snapshots. Concurrent calls share one pass.

        Snapshots are built in a worker thread, because on a day on which many rates are suspicious that takes long.
        Rates that arrive meanwhile are published by the next pass: every change of the memory is followed by a call.
        """
        self._due = True
        async with self._lock:
            if not self._due:  # another call has published since
                return
            self._due = False
            try:
                if self.prepare:
                    await self.prepare()
                await self._publish(self.memory.selection(now))
            except BaseException:  # calls that wait for this pass make another one
                self._due = True
                raise

    async def _publish(self, build: Callable[[TickerSettings], Snapshot | None]) -> None:
        for ticker in self.memory.settings.tickers:
            new = await run_in_thread(build, ticker)
            before = self.memory.snapshots.get(ticker.id)
            snapshot = self.memory.show(new)
            if snapshot:
                log_change(snapshot, before)
                self.enqueue(snapshot)


def log_change(snapshot: Snapshot, before: Snapshot | None) -> None:
    """Log that a ticker has changed, and which quotes have another source than before, with the reason."""
    log.info("ticker.changed", ticker=snapshot.id, status=snapshot.status, as_of=str(snapshot.as_of))
    old_sources = {quote.code: quote.source for quote in before.quotes} if before else {}
    switched = defaultdict[tuple[str | None, str | None, str | None], list[str]](list)
    for quote in snapshot.quotes:
        if before and quote.source != old_sources.get(quote.code):
            switched[old_sources.get(quote.code), quote.source, quote.reason].append(quote.code)
    for (old, new, reason), codes in switched.items():
        details = {"ticker": snapshot.id, "codes": codes, "before": old, "source": new}
        if reason:
            log.warning("ticker.source_changed", **details, reason=reason)
        else:
            log.info("ticker.source_changed", **details, reason="the preferred source has rates")
