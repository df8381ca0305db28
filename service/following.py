"""An instance in step with the store and with the clock: it looks when others announce, and every few seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

import structlog

from service.archive import Archive
from service.clock import Clock
from service.errors import StoreError
from service.tasks import end

log = structlog.get_logger()

LOOK: Final = 3.0
"""Seconds after which to look unasked: an announcement may be missed, a status changes with time."""
_AGAIN: Final = 1.0
"""Seconds between attempts to reach a store that is away."""


@dataclass
class Following:
    """A context in which an instance follows."""

    archive: Archive
    now: Clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            await end(self._task)

    @property
    def stopped(self) -> bool:
        """Whether following has ended while the service goes on: a fault, which health must tell."""
        return self._task is not None and self._task.done()

    async def _run(self) -> None:
        try:
            while True:
                await self._listen()
                await self.archive.review(self.now())
                await self.sleep(_AGAIN)
        except Exception:
            log.exception("following.crashed")
            raise

    async def _listen(self) -> None:
        """Look whenever there is news, until the store is away."""
        try:
            async with self.archive.store.peers.news() as heard:
                while self.archive.error is None:
                    await self.archive.review(self.now())
                    await heard(LOOK)
        except StoreError as error:
            log.debug("following.deaf", error=str(error))  # the archive tells what is wrong with the store
