"""Publish new snapshots: to the memory and its watchers, to the log, and to the outbox."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from service.domain.snapshot import Snapshot
from service.state.memory import MemoryState

log = structlog.get_logger()


@dataclass
class SnapshotPublisher:
    """Makes the snapshots anew, notifies the memory's watchers, and hands those that changed to the outbox."""

    memory: MemoryState
    enqueue: Callable[[Snapshot], None]
    _due: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def publish(self, now: datetime) -> None:
        """Publish what has changed; concurrent calls share one pass. The loop gets its turn after each ticker."""
        self._due = True
        async with self._lock:
            if not self._due:  # another call has published it while this one waited
                return
            self._due = False
            for ticker in self.memory.settings.tickers:
                before = self.memory.snapshots.get(ticker.id)
                for snapshot in self.memory.refresh(now, ticker):
                    log_change(snapshot, before)
                    self.enqueue(snapshot)
                await asyncio.sleep(0)


def log_change(snapshot: Snapshot, before: Snapshot | None) -> None:
    """Log that a ticker has changed, which quotes come from another source than they did, and why."""
    log.info("ticker.changed", ticker=snapshot.id, status=snapshot.status, as_of=str(snapshot.as_of))
    was = {quote.code: quote.source for quote in before.quotes} if before else {}
    moved = defaultdict[tuple[str | None, str | None, str | None], list[str]](list)
    for quote in snapshot.quotes:
        if before and quote.source != was.get(quote.code):
            moved[was.get(quote.code), quote.source, quote.reason].append(quote.code)
    for (old, new, reason), codes in moved.items():
        why = reason or "the preferred source is back"
        log.warning("ticker.source_changed", ticker=snapshot.id, codes=codes, before=old, source=new, reason=why)
