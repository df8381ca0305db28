"""Start and stop polling: create the bank sessions, the poller and the scheduler while this instance may poll."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

import structlog

from service.clock import Clock
from service.cluster.leader_election import LeaderElection, Role
from service.observability.counters import Counters
from service.runtime.background import BackgroundTask
from service.sources.registry import adapter_of
from service.state.memory import MemoryState
from service.state.publisher import SnapshotPublisher
from service.storage.sync import StoreSync

log = structlog.get_logger()

START_DELAY = 0.05
"""Delay of polling after the start, in seconds, so that clients are served first: a tenth of all imports is needed only
for polling."""
_MOST_CRASHES: Final = 5
"""Consecutive crashes after which polling gives up."""
_RESTART_DELAY: Final = 5.0
"""Delay in seconds of a restart after the first crash; doubled after each further one."""
_RECOVERED: Final = 3600.0
"""Seconds of polling without a crash after which earlier ones do not count."""


@dataclass
class PollingLifecycle(BackgroundTask):
    """Background task that polls the banks while this instance is the leader, or the store is down.

    A crash, which is a bug, releases the leader's lock, so that another instance polls, and polling is restarted. After
    several crashes in a row this instance gives up: `give_up` is called, which ends the process for its supervisor.
    """

    memory: MemoryState
    store_sync: StoreSync
    publisher: SnapshotPublisher
    election: LeaderElection
    now: Clock
    counters: Counters
    give_up: Callable[[], None] = lambda: None
    monotonic: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def next_poll(self, key: str) -> datetime:
        """Return when a source is polled next, without jitter."""
        return self.memory.next_poll(key, self.now())

    @property
    def stopped(self) -> bool:
        """Whether polling has given up while the service is running; reported by `/health`."""
        return self._task is not None and self._task.done()

    async def _run(self) -> None:
        await self.sleep(START_DELAY)
        crashes = 0
        while True:
            started = self.monotonic()
            try:
                await self._poll()
            except Exception:
                crashes = 1 if self.monotonic() - started >= _RECOVERED else crashes + 1
                self.counters.polling_crashes += 1
                log.exception("polling.crashed", gives_up=crashes == _MOST_CRASHES)
                await self.election.step_down()
                if crashes == _MOST_CRASHES:
                    self.give_up()
                    raise
            await self.sleep(_RESTART_DELAY * 2 ** (crashes - 1))

    async def _poll(self) -> None:
        from service.polling.poller import Poller  # noqa: PLC0415 - requests are served first
        from service.polling.scheduler import PollScheduler  # noqa: PLC0415
        from service.sources.http_client import Client  # noqa: PLC0415
        from service.sources.session import BankSession  # noqa: PLC0415

        await self.election.until(polling=True)
        async with Client(self.memory.settings.client) as client:
            settings = self.memory.settings
            scheduled = settings.scheduled
            sessions = {
                key: BankSession(key, source, client, self.now, settings.wanted(key))
                for key, source in scheduled.items()
            }
            adapters = {key: adapter_of(settings, key) for key in scheduled}
            poller = Poller(self.memory, self.store_sync, self.publisher, adapters, sessions, self.now, self.counters)
            is_first_term = True
            while True:
                at_once = is_first_term and self.election.role is Role.LEADER
                async with PollScheduler(poller, at_once=at_once):
                    await self.election.until(polling=False)
                is_first_term = False
                await self.election.until(polling=True)
