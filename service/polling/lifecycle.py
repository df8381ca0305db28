"""Polling as a whole: the sessions with the banks, the poller and its schedule, started once requests can be served."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import structlog

from service.clock import Clock
from service.cluster.leader_election import LeaderElection, Role
from service.domain import publication_schedule
from service.observability.counters import Counters
from service.runtime.background import BackgroundTask
from service.sources.banks import SOURCES
from service.state.memory import MemoryState
from service.state.publisher import SnapshotPublisher
from service.storage.sync import StoreSync

log = structlog.get_logger()

READERS_FIRST = 0.05
"""Seconds from the start to the first poll: what only polling needs is a tenth of all that is loaded."""


@dataclass
class PollingLifecycle(BackgroundTask):
    """A context in which the banks are polled, while this instance is the one to do it."""

    memory: MemoryState
    store_sync: StoreSync
    publisher: SnapshotPublisher
    election: LeaderElection
    now: Clock
    counters: Counters

    def next_poll(self, key: str) -> datetime:
        """Return when a source is polled next, without jitter, as far as it is known now."""
        source, series, now = self.memory.settings.polled[key], self.memory.series(key), self.now()
        latest = series.latest_distinct.date if series.latest_distinct else None
        return publication_schedule.next_poll(source, latest, self.memory.states[key].polled_at, now)

    @property
    def stopped(self) -> bool:
        """Whether polling has ended while the service goes on: an error, which health reports."""
        return self._task is not None and self._task.done()

    async def _run(self) -> None:
        await asyncio.sleep(READERS_FIRST)
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
            first = True
            while True:
                at_once = first and self.election.role is Role.LEADER
                async with PollScheduler(poller, at_once=at_once):
                    await self.election.until(polling=False)
                first = False
                await self.election.until(polling=True)
