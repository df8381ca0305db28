"""Keep an instance in sync with the store: on every notification, and every few seconds."""

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
"""Seconds between refreshes without a notification: one may be lost, and a status also changes with time."""
_RETRY: Final = 1.0
"""Seconds between retries while the store is down."""


@dataclass
class StoreFollower(BackgroundTask):
    """Background task that follows the store."""

    store_sync: StoreSync
    publisher: SnapshotPublisher
    now: Clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    interval: float = INTERVAL
    error: str | None = None
    """Unexpected error in the last refresh, as reported by `/health`; None if it succeeded. Not the store's errors."""

    async def refresh(self) -> None:
        """Sync, publish changed snapshots, and write them to the store."""
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
            except Exception as error:  # keep running: nothing else publishes the rates of other instances
                if self.error is None:
                    log.exception("follower.crashed")
                self.error = f"internal error, see the log: {error!r}"
            await self.sleep(_RETRY)

    async def _listen(self) -> None:
        """Refresh on each notification, until the store fails."""
        try:
            async with self.store_sync.store.coordination.subscribe() as wait_for_notification:
                while self.store_sync.error is None:
                    await self.refresh()
                    await wait_for_notification(self.interval)
                    self._recovered()
        except StoreError as error:
            log.debug("follower.not_subscribed", error=str(error))  # the error itself is reported by the store sync

    def _recovered(self) -> None:
        if self.error is not None:
            log.info("follower.recovered")
        self.error = None
