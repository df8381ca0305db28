"""Deliveries to a real receiver from queues in a real Valkey; the clock is set by the tests."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.cluster.leader_election import LeaderElection
from service.errors import StoreError
from service.observability.counters import Counters
from service.settings import ClientSettings, WebhookSettings
from service.state.deliveries import GIVE_UP, MOST_WAITING, QueuedEvent, WebhookStatus
from service.state.events import Reported, ReportedTicker
from service.storage.repository import Store
from service.webhooks.delivery import WebhookDelivery
from service.webhooks.formats import SETTLED
from service.webhooks.sender import WebhookSender
from tests.conftest import Clock
from tests.support.receiver import Receiver, receiving
from tests.support.servers import valkey as valkey_server

NAME = "receiver"


def delivery(
    store: Store, webhook: WebhookSettings, sender: WebhookSender, clock: Clock, *, leads: bool = True
) -> WebhookDelivery:
    election = LeaderElection(store.coordination, own=leads)
    return WebhookDelivery(webhook, store.webhooks, sender, election, Counters(), {}, clock)


async def add(store: Store, clock: Clock, *numbers: int) -> None:
    """Add events to the queue of the receiver."""
    before = await store.webhooks.reported()
    after = Reported({"kzt": ReportedTicker(before.reported.tickers.get("kzt", ReportedTicker()).number + 1)})
    queued = [QueuedEvent(f"e{number}", "ticker.changed", "kzt", clock(), "{}") for number in numbers]
    assert await store.webhooks.add(before, after, {NAME: queued})


async def run(store: Store, clock: Clock, receiver: Receiver, **settings: Any) -> WebhookDelivery:
    """Deliver what is due; return the delivery with its counters and status."""
    async with WebhookSender(ClientSettings.model_validate({"timeout": 60}), clock) as sender:
        task = delivery(store, receiver.webhook(**settings), sender, clock)
        await task.deliver()
        return task


async def status(store: Store) -> WebhookStatus:
    return await store.webhooks.status(NAME)


async def test_delivery_goes_on_after_errors(store: Store, clock: Clock) -> None:
    """An outage of the store is reported elsewhere; an internal error is logged once."""
    delivered = asyncio.Event()
    errors: list[Exception] = [StoreError("down"), RuntimeError("oops"), RuntimeError("oops")]

    class FailingDelivery(WebhookDelivery):
        async def deliver(self) -> None:
            if errors:
                raise errors.pop(0)
            delivered.set()

    async with receiving() as receiver, WebhookSender(ClientSettings(), clock) as sender:
        election = LeaderElection(store.coordination, own=True)
        failing = FailingDelivery(
            receiver.webhook(), store.webhooks, sender, election, Counters(), {}, clock, interval=0.001
        )
        with capture_logs() as logs:
            async with failing:
                await asyncio.wait_for(delivered.wait(), 60)
    assert [log["event"] for log in logs] == ["webhook.store_lost", "webhook.delivery_crashed"]


async def test_events_are_delivered_in_order(store: Store, clock: Clock) -> None:
    async with receiving() as receiver:
        await add(store, clock, 1, 2, 3)
        task = await run(store, clock, receiver)
    assert receiver.ids == ["e1", "e2", "e3"]
    assert task.counters.deliveries == {(NAME, "delivered"): 3}
    assert task.statuses[NAME] == await status(store)
    assert (await status(store)).state.delivered_at == clock()
    assert (await status(store)).waiting == 0


async def test_failed_event_is_repeated_before_the_others(store: Store, clock: Clock) -> None:
    """With a growing pause, for as long as the receiver is down; each event is accepted once."""
    attempts = list[float]()
    async with receiving() as receiver:
        receiver.default = 500
        await add(store, clock, 1)
        start = clock.seconds()
        while clock.seconds() < start + 3600:
            before = len(receiver.ids)
            await run(store, clock, receiver)
            if len(receiver.ids) > before:
                attempts.append(clock.seconds() - start)
            clock.forward(seconds=5)
            if clock.seconds() == start + 1800:
                await add(store, clock, 2, 3)
        assert set(receiver.ids) == {"e1"}
        failing = (await status(store)).state
        assert (failing.failures, failing.error) == (len(attempts), "responded with status 500")
        assert failing.failing_since
        pauses = [second - first for first, second in pairwise(attempts)]
        assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
        receiver.default, receiver.requests = 204, []
        clock.forward(minutes=15)
        await run(store, clock, receiver)
        assert receiver.ids == ["e1", "e2", "e3"]
    assert (await status(store)).state.failing_since is None


@pytest.mark.parametrize("code", [429, 503])
async def test_pause_of_the_receiver_is_observed(store: Store, clock: Clock, code: int) -> None:
    async with receiving() as receiver:
        receiver.responses = [(code, {"Retry-After": "120"})]
        await add(store, clock, 1)
        await run(store, clock, receiver)
        clock.forward(seconds=119)
        await run(store, clock, receiver)
        assert receiver.ids == ["e1"]
        clock.forward(seconds=1)
        await run(store, clock, receiver)
        assert receiver.ids == ["e1", "e1"]


async def test_next_attempt_far_in_the_future_is_ignored(store: Store, clock: Clock) -> None:
    """It comes from an instance with a wrong clock, as do events dated in the future."""
    async with receiving() as receiver:
        receiver.responses = [(500, {})]
        clock.forward(days=400)
        await add(store, clock, 1)
        await run(store, clock, receiver)
        clock.forward(days=-400)
        await run(store, clock, receiver)
        assert receiver.ids == ["e1", "e1"]
        clock.forward(days=400)
        await add(store, clock, 2)
        clock.forward(days=-400)
        await run(store, clock, receiver, format="varnish")
        assert len(receiver.requests) == 3


async def test_event_is_dropped_after_a_day(store: Store, clock: Clock) -> None:
    """Only if an attempt fails; it is counted. Newer events stay."""
    async with receiving() as receiver:
        receiver.default = 500
        await add(store, clock, 1, 2)
        clock.forward(hours=23)
        await add(store, clock, 3)
        await run(store, clock, receiver)
        clock.forward(hours=1)
        task = await run(store, clock, receiver)
        assert task.counters.deliveries == {(NAME, "failed"): 1, (NAME, "dropped"): 2}
        state, waiting, first = await status(store)
        assert (state.dropped, state.dropped_at, waiting, first and first.event.id) == (2, clock(), 1, "e3")
        receiver.default = 204
        clock.forward(seconds=(2 * GIVE_UP).total_seconds())
        await run(store, clock, receiver)
        assert receiver.ids[-1] == "e3"
        assert (await status(store)).state.dropped == 2


async def test_queue_is_bounded(store: Store, clock: Clock) -> None:
    """The oldest events are dropped and counted."""
    async with receiving() as receiver:
        receiver.default = 500
        await add(store, clock, *range(MOST_WAITING + 5))
        task = await run(store, clock, receiver)
    assert task.counters.deliveries[NAME, "dropped"] == 5
    state, waiting, first = await status(store)
    assert (state.dropped, waiting, first and first.event.id) == (5, MOST_WAITING, "e5")


async def test_receiver_that_responds_with_410_is_not_requested_again(store: Store, clock: Clock) -> None:
    """Status 410 stops the webhook; its events are dropped, later ones too."""
    async with receiving() as receiver:
        receiver.responses = [(410, {})]
        await add(store, clock, 1, 2)
        await run(store, clock, receiver)
        clock.forward(days=30)
        await add(store, clock, 3)
        task = await run(store, clock, receiver)
        assert receiver.ids == ["e1"]
    assert task.counters.deliveries[NAME, "dropped"] == 1
    state, waiting, _ = await status(store)
    assert (waiting, state.dropped, state.stopped_at is not None) == (0, 3, True)


async def test_follower_sends_nothing(store: Store, clock: Clock) -> None:
    """It knows the state of the webhook, for its health and metrics."""
    async with receiving() as receiver:
        await add(store, clock, 1)
        async with WebhookSender(ClientSettings(), clock) as sender:
            task = delivery(store, receiver.webhook(), sender, clock, leads=False)
            await task.deliver()
        assert receiver.requests == []
    assert task.statuses[NAME].waiting == 1


async def test_cache_is_purged_when_followers_have_the_rates(store: Store, clock: Clock) -> None:
    async with receiving() as receiver:
        await add(store, clock, 1)
        await run(store, clock, receiver, format="fastly")
        assert receiver.requests == []
        clock.forward(seconds=SETTLED.total_seconds())
        await run(store, clock, receiver, format="fastly")
        assert [request.headers["surrogate-key"] for request in receiver.requests] == ["ticker-kzt"]


async def test_event_is_not_repeated_while_its_delivery_cannot_be_saved(tmp_path: Path, clock: Clock) -> None:
    """The store refuses writes, e.g. because its disk is full: one request, not one a second."""
    with valkey_server(tmp_path) as server:
        async with Store(f"redis://127.0.0.1:{server.port}/0", "t:", timeout=30) as store, receiving() as receiver:
            await add(store, clock, 1, 2)
            with server.client() as client:
                client.config_set("min-replicas-to-write", "1")
            async with WebhookSender(ClientSettings.model_validate({"timeout": 60}), clock) as sender:
                task = delivery(store, receiver.webhook(), sender, clock)
                for _ in range(3):
                    with pytest.raises(StoreError, match="NOREPLICAS"):
                        await task.deliver()
                assert receiver.ids == ["e1"]
                with server.client() as client:
                    client.config_set("min-replicas-to-write", "0")
                await task.deliver()
            assert receiver.ids == ["e1", "e2"]


async def test_longest_pause_is_a_day(store: Store, clock: Clock) -> None:
    """A pause longer than a day is cut to a day."""
    async with receiving() as receiver:
        receiver.responses = [(503, {"Retry-After": str(10**8)})]
        await add(store, clock, 1)
        await run(store, clock, receiver)
    assert (await status(store)).state.not_before == clock() + timedelta(days=1)
