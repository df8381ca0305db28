"""Leader election: the instance that holds the lock in the store polls; all others serve and follow.

The lock is renewed every few seconds and lives `coordination.LIFE` without that. An instance that was paused or cut off
has lost it by its own clock before another can have taken it. Without the store nobody can know who polls: each does,
for its own clients, until the store is back. Two leaders are safe: they write the same.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from time import monotonic
from typing import Final

import structlog

from service.clock import Clock
from service.errors import StoreError
from service.runtime.background import BackgroundTask, cancel_and_wait
from service.storage.coordination import LIFE, Coordination

log = structlog.get_logger()

RENEWED: Final = 3.0
"""Seconds between two looks at the lock."""
_AGAIN: Final = 1.0
"""Seconds to the next look after one that failed."""
_RESIGN: Final = 1.0
"""Seconds for giving the lock back; after that it ends by itself."""
_FAILURES: Final = 2
"""Looks that fail before an instance that follows polls for itself."""
_NEVER: Final = float("-inf")


class Role(StrEnum):
    LEADER = "leader"
    FOLLOWER = "follower"
    ALONE = "alone"
    """Without the store."""


@dataclass
class LeaderElection(BackgroundTask):
    """A context in which this instance leads when it may.

    An instance whose store is its `own` always does.
    """

    coordination: Coordination
    own: bool = False
    machine: Clock = field(default_factory=Clock)
    """The machine's clock, whatever the service takes for the time."""
    monotonic: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    error: str | None = None
    """The store's last error; None while it works."""
    latency: float | None = None
    """Seconds that the store took to answer, last; None while it does not."""
    offset: timedelta | None = None
    """By how much the clock here is ahead of the store's."""
    _leads_until: float = _NEVER
    _failures: int = _FAILURES
    _known: bool = False
    _crashed: bool = False
    _looked: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aexit__(self, *_: object) -> None:
        """Give the lock back, so that another need not wait for its end."""
        await super().__aexit__()
        if self.role is Role.LEADER and not self.own and self.error is None:
            resigning = asyncio.create_task(self._resign())
            await asyncio.wait([resigning], timeout=_RESIGN)
            await cancel_and_wait(resigning)

    async def _resign(self) -> None:
        try:
            await self.coordination.release()
        except StoreError as error:
            log.warning("leader.lock_left", error=str(error))

    @property
    def role(self) -> Role:
        if self.own or self.monotonic() < self._leads_until:
            return Role.LEADER
        return Role.FOLLOWER if self._failures < _FAILURES else Role.ALONE

    @property
    def is_polling(self) -> bool:
        """Whether this instance polls the banks."""
        return self._known and self.role is not Role.FOLLOWER

    async def until(self, *, polling: bool) -> None:
        """Wait until this instance polls the banks, or stops doing so."""
        async with self._looked:
            await self._looked.wait_for(lambda: self.is_polling is polling)

    async def _run(self) -> None:
        before: Role | None = None
        while True:
            await self.refresh()
            if self.role is not before:
                log.info("leader.role", role=self.role, before=before, store=self.error or "ok")
                before = self.role
            await self.sleep(_AGAIN if self._failures else RENEWED)

    async def refresh(self) -> None:
        """Take or renew the lock, and see how the store does."""
        begun = self.monotonic()
        try:
            ping = await self.coordination.ping()
            self.latency, self.offset = ping.latency, self.machine() - ping.time
            if not self.own and await self.coordination.acquire_or_renew():
                self._leads_until = begun + LIFE
            elif not self.own:
                self._leads_until = _NEVER
            if self._crashed:
                log.info("leader.recovered")
            self._failures, self._crashed, self.error = 0, False, None
        except StoreError as error:
            self._failed(str(error))  # the log has it from the archive, or by the new role
        except Exception as error:  # without leadership nobody would poll any more
            if not self._crashed:
                log.exception("leader.crashed")
            self._crashed = True
            self._failed(f"a fault of ours: {error!r}")
        self._known = True
        async with self._looked:
            self._looked.notify_all()

    def _failed(self, error: str) -> None:
        self.error, self.latency, self.offset = error, None, None
        self._failures += 1
