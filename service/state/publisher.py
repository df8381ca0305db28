"""What is shown: snapshots, made anew whenever something may have come."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from service.domain.snapshot import Snapshot
from service.state.change_log import tell
from service.state.memory import MemoryState


@dataclass
class SnapshotPublisher:
    memory: MemoryState
    keep: Callable[[Snapshot], None]
    """Called with each snapshot that has changed."""
    due: bool = True
    """Whether something may have come since they were made."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def show(self, now: datetime) -> None:
        """Make them where that is due: once for all who wait for it, a ticker at each turn of the loop."""
        async with self._turn:
            if not self.due:
                return
            self.due = False
            for ticker in self.memory.settings.tickers:
                before = self.memory.snapshots.get(ticker.id)
                for snapshot in self.memory.refresh(now, ticker):
                    tell(snapshot, before)
                    self.keep(snapshot)
                await asyncio.sleep(0)
