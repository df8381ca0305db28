"""Keep an instance up to date with the store: on every notification, and every few seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from service.clock import Clock
from service.errors import StoreError
from service.runtime.background import BackgroundTask
from service.state.publisher import SnapshotPublisher
from service.storage.sync import StoreSync

log = structlog.get_logger()

INTERVAL: Final = 3.0
"""Seconds between two refreshes without a notification: one may be missed, and a status changes with time."""
_RETRY: Final = 1.0
"""Seconds between attempts to reach a store that is down."""


@dataclass
class StoreFollower(BackgroundTask):
    """A context in which an instance follows the store."""

    store_sync: StoreSync
    publisher: SnapshotPublisher
    now: Clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    error: str | None = None
    """What keeps this instance from following, other than the store: a fault of ours, reported by health."""

    async def refresh(self) -> None:
        """Sync, publish what has come, and write the snapshots that this makes."""
        await self.store_sync.request_sync()
        await self.publisher.publish(self.now())
        if self.store_sync.outbox:
            await self.store_sync.request_sync()

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
                await self.refresh()
                self._recovered()
            except Exception as error:  # it must go on: nothing else shows what other instances learn
                if self.error is None:
                    log.exception("following.crashed")
                self.error = f"a fault of ours, see the log: {error!r}"
            await self.sleep(_RETRY)

    async def _listen(self) -> None:
        """Refresh on each notification, until the store is down."""
        try:
            async with self.store_sync.store.coordination.subscribe() as wait_for_notification:
                while self.store_sync.error is None:
                    await self.refresh()
                    await wait_for_notification(INTERVAL)
                    self._recovered()
        except StoreError as error:
            log.debug("following.deaf", error=str(error))  # the store sync reports what is wrong with the store

    def _recovered(self) -> None:
        if self.error is not None:
            log.info("following.recovered")
        self.error = None
