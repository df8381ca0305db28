"""Leader election: the instance that holds the lock in the store polls; all others are followers.

The lock is renewed every few seconds and expires after `Coordination.life`. An instance that was paused or disconnected
stops leading by its own clock before another one can acquire the lock. While the store is down, no leader can be
elected: every instance polls for its own clients until the store recovers. Two leaders are safe: they write the same
data.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from time import monotonic
from typing import Final
from uuid import uuid4

import structlog

from service import __version__
from service.clock import Clock
from service.errors import StoreError
from service.runtime.background import BackgroundTask, cancel_and_wait
from service.storage.coordination import Coordination, Instance

log = structlog.get_logger()

_RENEWALS: Final = 5
"""Attempts to acquire or renew the lock within its life: every 3 s by default."""
_RETRIES: Final = 15
"""Attempts within the life of the lock after a failed one: every second by default."""
_RESIGN: Final = 1.0
"""Timeout in seconds for releasing the lock at shutdown; if it fails, the lock expires."""
_FAILURES: Final = 2
"""Consecutive failed attempts after which a follower polls for itself."""
_STEPPED_DOWN: Final = 4
"""Lives of the lock for which an instance that stepped down leaves it to others."""
_NEVER: Final = float("-inf")


class Role(StrEnum):
    """Role of an instance in the cluster."""

    LEADER = "leader"
    FOLLOWER = "follower"
    ALONE = "alone"
    """The store is down: this instance polls for itself."""


@dataclass
class LeaderElection(BackgroundTask):
    """Background task that acquires and renews the leader's lock.

    An instance whose store is its `own` (the embedded server) is always the leader.
    """

    coordination: Coordination
    own: bool = False
    machine: Clock = field(default_factory=Clock)
    """The system clock, even if the service runs on another one (in tests)."""
    monotonic: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    error: str | None = None
    """Error of the last attempt; None if it succeeded."""
    latency: float | None = None
    """Round-trip time of the last ping in seconds; None if it failed."""
    offset: timedelta | None = None
    """By how much the local clock is ahead of the store's; None if the last ping failed."""
    foreign_lock: str | None = None
    """What is wrong with a lock that no instance can have written, so that none can lead; None if nothing is."""
    instances: tuple[Instance, ...] = ()
    """All instances that use the store, this one included; empty while the store is down."""
    id: str = field(default_factory=lambda: uuid4().hex[:8])
    """Random identifier of this instance, also in its log."""
    _started: datetime | None = None
    _leads_until: float = _NEVER
    _stepped_down_until: float = _NEVER
    _failures: int = _FAILURES
    _known: bool = False
    _crashed: bool = False
    _refreshed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aexit__(self, *_: object) -> None:
        """Release the lock, so that another instance need not wait until it expires."""
        await super().__aexit__()
        if self._known and self.error is None:
            holds_lock = self.role is Role.LEADER and not self.own
            release = asyncio.create_task(self._resign(holds_lock=holds_lock))
            await asyncio.wait([release], timeout=_RESIGN)
            await cancel_and_wait(release)

    async def step_down(self) -> None:
        """Release the lock, and leave it to another instance for some time: this one could not poll.

        An instance that has its own store, or that polls because the store is down, goes on: there is no other one.
        """
        if self.own:
            return
        was_leader = self.role is Role.LEADER
        self._stepped_down_until = self.monotonic() + _STEPPED_DOWN * self.coordination.life
        self._leads_until = _NEVER
        if was_leader and self.error is None:
            await self._resign(holds_lock=True)
        async with self._refreshed:
            self._refreshed.notify_all()

    async def _resign(self, *, holds_lock: bool) -> None:
        try:
            if holds_lock:
                await self.coordination.release()
            await self.coordination.withdraw(self.id)
        except StoreError as error:
            if holds_lock:
                log.warning("leader.lock_not_released", error=str(error))

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
        """Wait until `is_polling` has this value."""
        async with self._refreshed:
            await self._refreshed.wait_for(lambda: self.is_polling is polling)

    async def _run(self) -> None:
        before: Role | None = None
        while True:
            await self.refresh()
            if self.role is not before:
                log.info("leader.role", instance=self.id, role=self.role, before=before, store=self.error or "ok")
                before = self.role
            await self.sleep(self.coordination.life / (_RETRIES if self._failures else _RENEWALS))

    async def refresh(self) -> None:
        """Ping the store, and acquire or renew the lock."""
        started = self.monotonic()
        try:
            ping = await self.coordination.ping()
            self.latency, self.offset = ping.latency, self.machine() - ping.time
            if not self.own:
                is_candidate = self.monotonic() >= self._stepped_down_until
                if is_candidate and await self.coordination.acquire_or_renew():
                    self._leads_until, self.foreign_lock = started + self.coordination.life, None
                else:
                    self._leads_until = _NEVER
                    self._report_foreign_lock(await self.coordination.foreign_lock())
            if self._crashed:
                log.info("leader.recovered")
            self._failures, self._crashed, self.error = 0, False, None
            await self._announce(ping.time)
        except StoreError as error:
            self._failed(str(error))  # logged by the store sync, or with the new role
        except Exception as error:  # keep running: without an election no instance would poll
            if not self._crashed:
                log.exception("leader.crashed")
            self._crashed = True
            self._failed(f"internal error: {error!r}")
        self._known = True
        async with self._refreshed:
            self._refreshed.notify_all()

    async def _announce(self, now: datetime) -> None:
        """Announce this instance to the others, for `/health`; `now` is the time of the store's clock."""
        self._started = self._started or now
        own = Instance(id=self.id, version=__version__, role=self.role, started=self._started, seen=now)
        try:
            self.instances = await self.coordination.announce(own)
        except StoreError as error:
            self.instances = ()
            log.debug("leader.not_announced", error=str(error))

    def _report_foreign_lock(self, problem: str | None) -> None:
        if problem and not self.foreign_lock:
            log.error("leader.lock_foreign", problem=problem)
        self.foreign_lock = problem

    def _failed(self, error: str) -> None:
        self.error, self.latency, self.offset, self.instances = error, None, None, ()
        self._failures += 1
