"""Deliver the events of a webhook: by the leader, in order, each until it is accepted or a day old."""

import asyncio
from collections.abc import MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final, NamedTuple, Self

import structlog

from service.clock import Clock
from service.cluster.leader_election import LeaderElection, Role
from service.errors import StoreError
from service.observability.counters import Counters
from service.runtime.background import BackgroundTask
from service.settings import WebhookSettings
from service.state.deliveries import GIVE_UP, MOST_WAITING, DeliveryState, WaitingEvent, WebhookStatus
from service.state.publisher import SnapshotPublisher
from service.storage.sync import StoreSync
from service.storage.webhook_queue import WebhookQueue
from service.webhooks.formats import is_settled
from service.webhooks.recorder import EventRecorder
from service.webhooks.sender import WebhookSender

log = structlog.get_logger()

_INTERVAL: Final = 1.0
"""Seconds between two looks at a queue; a new event is seen at once by the instance that records it."""


class _Result(NamedTuple):
    """The state of a webhook after an attempt, and the events that were delivered or are dropped."""

    state: DeliveryState
    done: Sequence[WaitingEvent] = ()
    dropped: Sequence[WaitingEvent] = ()


@dataclass
class WebhookDelivery(BackgroundTask):
    """Background task of one webhook: reads its state from the store and, on the leader, sends its events."""

    webhook: WebhookSettings
    queue: WebhookQueue
    sender: WebhookSender
    election: LeaderElection
    counters: Counters
    statuses: MutableMapping[str, WebhookStatus]
    now: Clock
    interval: float = _INTERVAL
    _unsaved: "_Result | None" = None
    """The result of an attempt that could not be saved: nothing is sent before it is."""
    _added: asyncio.Event = field(default_factory=asyncio.Event)
    _crashed: bool = False

    def notify(self) -> None:
        """Look at the queue now."""
        self._added.set()

    async def _run(self) -> None:
        while True:
            try:
                await self.deliver()
                self._crashed = False
            except StoreError as error:
                log.debug("webhook.store_lost", error=str(error))  # the error itself is reported by the store sync
            except Exception:  # keep running: nothing else sends the events
                if not self._crashed:
                    log.exception("webhook.delivery_crashed", webhook=self.webhook.label)
                self._crashed = True
            with suppress(TimeoutError):
                async with asyncio.timeout(self.interval):
                    await self._added.wait()
            self._added.clear()

    async def deliver(self) -> None:
        """Send the events that are due, oldest first, until an attempt fails. Raises `StoreError`."""
        while True:
            is_leader = self.election.role is Role.LEADER
            if self._unsaved and is_leader:
                await self._save(self._unsaved)
            self._unsaved = None
            state, waiting, first = status = await self.queue.status(self.webhook.label)
            self.statuses[self.webhook.label] = status
            if not is_leader or first is None:
                return
            now = self.now()
            if state.stopped_at or waiting > MOST_WAITING:
                await self._save(_Result(state, dropped=await self._excess(state)))
            elif state.is_due(now) and is_settled(self.webhook, first.event, now):
                await self._save(await self._attempt(state, first))
            else:
                return

    async def _excess(self, state: DeliveryState) -> list[WaitingEvent]:
        """Return the oldest events of a queue that is too long, or all events for a receiver that refuses them."""
        waiting = await self.queue.waiting(self.webhook.label)
        return waiting if state.stopped_at else waiting[: max(0, len(waiting) - MOST_WAITING)]

    async def _attempt(self, state: DeliveryState, first: WaitingEvent) -> _Result:
        attempt = await self.sender.send(self.webhook, first.event)
        name, now = self.webhook.label, self.now()
        if attempt.problem is None:
            self.counters.deliveries[name, "delivered"] += 1
            if state.failing_since:
                log.info("webhook.recovered", webhook=name, failing_since=state.failing_since.isoformat())
            return _Result(state.after_success(now), done=[first])
        self.counters.deliveries[name, "failed"] += 1
        failed, dropped = state.after_failure(now, attempt.problem, attempt.pause), list[WaitingEvent]()
        if attempt.status == HTTPStatus.GONE:
            failed = replace(failed, stopped_at=now)  # the next step drops the events
            log.warning("webhook.stopped", webhook=name, error=attempt.problem)
        elif not state.failing_since:
            log.warning("webhook.failing", webhook=name, error=attempt.problem)
        if now - first.event.time >= GIVE_UP:
            waiting = await self.queue.waiting(name)
            dropped = [item for item in waiting if now - item.event.time >= GIVE_UP]
        return _Result(failed, dropped=dropped)

    async def _save(self, result: _Result) -> None:
        self._unsaved, count, name = result, len(result.dropped), self.webhook.label
        state = result.state.after_dropping(count, self.now())
        await self.queue.save(name, state, (*result.done, *result.dropped))
        self._unsaved = None
        if count:
            self.counters.deliveries[name, "dropped"] += count
            log.warning("webhook.dropped", webhook=name, count=count, first=result.dropped[0].event.id)


class Webhooks:
    """All webhooks of an instance, as an async context manager; `statuses` has their state, by name."""

    def __init__(
        self,
        store_sync: StoreSync,
        publisher: SnapshotPublisher,
        election: LeaderElection,
        counters: Counters,
        statuses: MutableMapping[str, WebhookStatus],
        now: Clock,
    ) -> None:
        settings, queue = store_sync.memory.settings, store_sync.store.webhooks
        self._sender = WebhookSender(settings.client, now)
        self._deliveries = [
            WebhookDelivery(webhook, queue, self._sender, election, counters, statuses, now)
            for webhook in settings.webhooks
        ]
        self._recorder = EventRecorder(store_sync, publisher, election, now, self._notify)
        self._running = AsyncExitStack()

    def _notify(self) -> None:
        for delivery in self._deliveries:
            delivery.notify()

    async def __aenter__(self) -> Self:
        contexts: list[AbstractAsyncContextManager[object]] = [self._sender, *self._deliveries, self._recorder]
        for context in contexts:
            await self._running.enter_async_context(context)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()
