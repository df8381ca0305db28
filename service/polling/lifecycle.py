"""Start and stop polling: create the bank sessions, the poller and the scheduler while this instance may poll."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import structlog

from service.clock import Clock
from service.cluster.leader_election import LeaderElection, Role
from service.observability.counters import Counters
from service.runtime.background import BackgroundTask
from service.sources.banks import SOURCES
from service.state.memory import MemoryState
from service.state.publisher import SnapshotPublisher
from service.storage.sync import StoreSync

log = structlog.get_logger()

START_DELAY = 0.05
"""Delay of polling after the start, in seconds, so that clients are served first: a tenth of all imports is needed only
for polling."""


@dataclass
class PollingLifecycle(BackgroundTask):
    """Background task that polls the banks while this instance is the leader, or the store is down."""

    memory: MemoryState
    store_sync: StoreSync
    publisher: SnapshotPublisher
    election: LeaderElection
    now: Clock
    counters: Counters

    def next_poll(self, key: str) -> datetime:
        """Return when a source is polled next, without jitter."""
        return self.memory.next_poll(key, self.now())

    @property
    def stopped(self) -> bool:
        """Whether polling has crashed while the service is running; reported by `/health`."""
        return self._task is not None and self._task.done()

    async def _run(self) -> None:
        await asyncio.sleep(START_DELAY)
        try:
            await self.election.until(polling=True)
            await self._poll()
        except Exception:
            log.exception("polling.crashed")
            raise

    async def _poll(self) -> None:
        from service.polling.poller import Poller  # noqa: PLC0415 - requests are served first
        from service.polling.scheduler import PollScheduler  # noqa: PLC0415
        from service.sources.http_client import Client  # noqa: PLC0415
        from service.sources.session import BankSession  # noqa: PLC0415

        async with Client(self.memory.settings.client) as client:
            settings = self.memory.settings
            polled = settings.polled
            sessions = {
                key: BankSession(key, source, client, self.now, settings.wanted(key)) for key, source in polled.items()
            }
            adapters = {key: SOURCES[settings.adapter(key)] for key in polled}
            poller = Poller(self.memory, self.store_sync, self.publisher, adapters, sessions, self.now, self.counters)
            is_first_term = True
            while True:
                at_once = is_first_term and self.election.role is Role.LEADER
                async with PollScheduler(poller, at_once=at_once):
                    await self.election.until(polling=False)
                is_first_term = False
                await self.election.until(polling=True)
