"""Record events in the queues of the webhooks: by the leader, once each.

An event is what differs between the state in memory and what was reported before, which is stored with the events. So
nothing is lost if the leader is killed: the next one finds the same difference.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from service.clock import Clock
from service.cluster.leader_election import LeaderElection, Role
from service.domain.event import Event, cloud_event
from service.errors import StoreError
from service.runtime.background import BackgroundTask
from service.settings import WebhookSettings
from service.state.deliveries import QueuedEvent
from service.state.events import Reported, detect
from service.state.publisher import SnapshotPublisher
from service.storage.sync import StoreSync
from service.storage.webhook_queue import StoredReport

log = structlog.get_logger()

_INTERVAL: Final = 1.0
"""Seconds between two comparisons."""
UNNAMED: Final = "urn:currency-ticker"
"""The source of events of a service without a public URL."""


@dataclass
class EventRecorder(BackgroundTask):
    """Background task that records events while this instance is the leader; `notify` is called after new ones."""

    store_sync: StoreSync
    publisher: SnapshotPublisher
    election: LeaderElection
    now: Clock
    notify: Callable[[], None]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _known: StoredReport | None = None
    _crashed: bool = False

    async def _run(self) -> None:
        while True:
            try:
                await self.record()
                self._crashed = False
            except StoreError as error:
                self._known = None
                log.debug("webhook.store_lost", error=str(error))  # the error itself is reported by the store sync
            except Exception:  # keep running: nothing else records events
                if not self._crashed:
                    log.exception("webhook.recording_crashed")
                self._crashed = True
            await self.sleep(_INTERVAL)

    async def record(self) -> None:
        """Record the events since the last call. Raises `StoreError`."""
        if self.election.role is not Role.LEADER:
            self._known = None
            return
        memory, queue = self.store_sync.memory, self.store_sync.store.webhooks
        # First: what was reported before this point was stored before it, so that memory has it after the next sync.
        stored = await queue.reported(self._known)
        before = self._completed(stored.reported)
        if detect(memory, before, self.now()).reported == stored.reported:
            self._known = stored
            return
        # Only what is stored is reported: without it, the next leader would report its earlier state again.
        if not await self._is_synchronised():
            return
        events, after = detect(memory, before, self.now())
        source = memory.settings.http.public_url or UNNAMED
        added = {hook.label: _selected(hook, events, source) for hook in memory.settings.webhooks}
        recorded = await queue.add(stored, after, added)
        if recorded is None:  # another leader was faster
            return
        self._known = recorded
        for event in events:
            log.info("webhook.event", type=event.type, subject=event.subject, id=event.id)
        if any(added.values()):
            self.notify()

    def _completed(self, stored: Reported) -> Reported:
        """Return what was reported, completed by what the store has lost since it was read last."""
        if self._known is None:
            return stored
        known = self._known.reported
        return Reported({**known.tickers, **stored.tickers}, {**known.sources, **stored.sources})

    async def _is_synchronised(self) -> bool:
        """Synchronise memory with the store and publish; return whether all rates in memory are stored."""
        if not await self.store_sync.request_sync():
            return False
        await self.publisher.publish(self.now())
        if self.store_sync.outbox.has_rates:
            await self.store_sync.request_sync()
        return self.store_sync.error is None and not self.store_sync.outbox.has_rates


def _selected(webhook: WebhookSettings, events: Sequence[Event], source: str) -> list[QueuedEvent]:
    """Return the events that a webhook wants."""
    return [
        QueuedEvent(event.id, event.type, event.subject, event.time, cloud_event(event, source))
        for event in events
        if event.type in webhook.events and (event.reach is None or event.reach >= webhook.threshold)
    ]
