"""Queues of webhooks in a real Valkey."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import structlog
from pydantic import SecretStr

from service.errors import StoreError
from service.settings import Settings, WebhookSettings
from service.state.deliveries import DeliveryState, QueuedEvent
from service.state.events import Reported, ReportedSource, ReportedTicker
from service.state.memory import MemoryState
from service.storage.codecs import QUEUED_EVENT
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.support.fixings import day
from tests.support.receiver import with_webhooks

TIME = datetime(2026, 4, 2, 4, 0, 0, 125, tzinfo=UTC)


def queued(number: int) -> QueuedEvent:
    return QueuedEvent(f"e{number}", "ticker.changed", "kzt", TIME, f'{{"id":"e{number}"}}')


def _json(event: QueuedEvent) -> bytes:
    return QUEUED_EVENT.adapter.dump_json(event)


FIRST = Reported({"kzt": ReportedTicker(1, {"USD": "1"}, late=day(2))}, {"nbk": ReportedSource(("q",), ("r",))})


async def test_events_are_added_with_what_was_reported(store: Store) -> None:
    """Both are read back as they were written."""
    queue = store.webhooks
    empty = await queue.reported()
    assert empty.reported == Reported()
    assert await queue.add(empty, FIRST, {"a": [queued(1), queued(2)], "b": []})
    stored = await queue.reported()
    assert stored.reported == FIRST
    assert await queue.reported(stored) is stored
    state, waiting, first = await queue.status("a")
    assert (state, waiting, first and first.event) == (DeliveryState(), 2, queued(1))
    assert await queue.status("b") == (DeliveryState(), 0, None)
    assert [item.event for item in await queue.waiting("a")] == [queued(1), queued(2)]


async def test_second_leader_adds_no_event(store: Store) -> None:
    """It has read what was reported before the first one added its events."""
    queue = store.webhooks
    before = await queue.reported()
    first = await queue.add(before, FIRST, {"a": [queued(1)]})
    assert await queue.add(before, FIRST, {"a": [queued(1)]}) is None
    assert first
    second = replace(FIRST, tickers={"kzt": ReportedTicker(2)})
    assert await queue.add(first, second, {"a": [queued(2)]})
    assert [item.event.id for item in await queue.waiting("a")] == ["e1", "e2"]
    assert (await queue.reported()).reported == second


async def test_delivered_event_is_removed_with_the_state(store: Store) -> None:
    queue = store.webhooks
    await queue.add(await queue.reported(), FIRST, {"a": [queued(1), queued(2)]})
    state = DeliveryState(3, TIME, "responded with status 500", TIME, TIME, 7, TIME, TIME)
    _, _, first = await queue.status("a")
    assert first
    await queue.save("a", state, [first])
    await queue.save("a", state, [first])  # repeated: nothing else is removed
    saved, waiting, second = await queue.status("a")
    assert (saved, waiting, second and second.event) == (state, 1, queued(2))


async def test_unreadable_event_does_not_block_the_others(store: Store) -> None:
    """It is logged and removed, like one that no request can carry; an unreadable state counts as none."""
    queue = store.webhooks
    unsendable = (
        replace(queued(0), id="e\r\nX-Injected: 1"),
        replace(queued(0), subject="k\nz"),
        replace(queued(0), id=""),
    )
    await store._redis.rpush(store._key("webhooks", "a"), "junk", '{"id": 1}', *map(_json, unsendable))
    await store._redis.hset(store._key("deliveries"), "a", "junk")
    await store._redis.hset(store._key("reported_tickers"), "kzt", "junk")
    before = await queue.reported()
    assert before.reported == Reported()
    assert await queue.add(before, FIRST, {"a": [queued(1)]})
    with structlog.testing.capture_logs() as logs:
        state, waiting, first = await queue.status("a")
    assert (state, waiting, first and first.event) == (DeliveryState(), 1, queued(1))
    assert [entry["kind"] for entry in logs].count("QueuedEvent") == 5
    assert (await queue.reported()).reported == FIRST


async def test_unreadable_state_is_logged_once(store: Store) -> None:
    """It is read every few seconds, and replaced after the next delivery only."""
    await store._redis.hset(store._key("deliveries"), "a", "{oops")
    with structlog.testing.capture_logs() as logs:
        assert [(await store.webhooks.status("a")).state for _ in range(3)] == [DeliveryState()] * 3
        await store.webhooks.save("a", replace(DeliveryState(), dropped=2))
        assert (await store.webhooks.status("a")).state.dropped == 2
    assert [log["event"] for log in logs] == ["store.unreadable"]


async def test_queue_of_a_wrong_type_loses_no_event(settings: Settings, store: Store) -> None:
    """It is moved aside by the next sync; until then nothing is added, and nothing counts as reported."""
    webhook = WebhookSettings(url=SecretStr("https://a.example/"), name="a", format="varnish")
    instance, queue = StoreSync(MemoryState(with_webhooks(settings, webhook)), store), store.webhooks
    await instance.sync()
    await store._redis.set(store._key("webhooks", "a"), "junk")
    before = await queue.reported()
    with pytest.raises(StoreError, match="a key is of a wrong type"):
        await queue.add(before, FIRST, {"a": [queued(1)]})
    assert (await queue.reported()).reported == Reported()
    await instance.sync()
    assert list(instance.moved_aside) == ["webhooks:a"]
    assert await queue.add(before, FIRST, {"a": [queued(1)]})
    assert [item.event.id for item in await queue.waiting("a")] == ["e1"]


async def test_check_finds_unreadable_records(store: Store) -> None:
    """`check --repair` moves them."""
    await store._redis.rpush(store._key("webhooks", "a"), "junk")
    await store._redis.hset(store._key("deliveries"), "a", "junk")
    bad = await store.bad_records()
    assert {record.place.key for record in bad} == {"webhooks:a", "deliveries"}
    assert all([await store.set_aside(record) for record in bad])
    assert await store.bad_records() == []


async def test_queue_of_a_removed_webhook_expires(store: Store) -> None:
    await store.webhooks.add(await store.webhooks.reported(), FIRST, {"a": [queued(1)]})
    assert 29 * 86_400 < await store._redis.ttl(store._key("webhooks", "a")) <= 30 * 86_400
