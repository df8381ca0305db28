"""An instance in step with the store and with the clock: it looks when others announce, and every few seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from service.clock import Clock
from service.errors import StoreError
from service.runtime.background import BackgroundTask
from service.storage.sync import StoreSync

log = structlog.get_logger()

LOOK: Final = 3.0
"""Seconds after which to look unasked: an announcement may be missed, a status changes with time."""
_AGAIN: Final = 1.0
"""Seconds between attempts to reach a store that is away."""


@dataclass
class StoreFollower(BackgroundTask):
    """A context in which an instance follows."""

    store_sync: StoreSync
    now: Clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    error: str | None = None
    """What keeps this instance from following, other than the store: a fault of ours, which health must tell."""

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
                await self.store_sync.sync_and_publish(self.now())
                self._well()
            except Exception as error:  # it must go on: nobody else shows what others learn
                if self.error is None:
                    log.exception("following.crashed")
                self.error = f"a fault of ours, see the log: {error!r}"
            await self.sleep(_AGAIN)

    async def _listen(self) -> None:
        """Look whenever there is news, until the store is away."""
        try:
            async with self.store_sync.store.coordination.news() as heard:
                while self.store_sync.error is None:
                    await self.store_sync.sync_and_publish(self.now())
                    await heard(LOOK)
                    self._well()
        except StoreError as error:
            log.debug("following.deaf", error=str(error))  # the store sync tells what is wrong with the store

    def _well(self) -> None:
        if self.error is not None:
            log.info("following.recovered")
        self.error = None
