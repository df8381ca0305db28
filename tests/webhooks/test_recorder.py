"""Recording of events by instances on one real Valkey."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from service.cluster.follower import StoreFollower
from service.cluster.leader_election import LeaderElection
from service.errors import StoreError
from service.settings import Settings
from service.state.memory import MemoryState, SourceState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from service.webhooks.recorder import EventRecorder
from tests.conftest import Clock
from tests.support.fixings import APRIL, day, fixing
from tests.support.instances import publisher
from tests.support.receiver import SECRET, Receiver, with_webhooks

OLD, NEW = (fixing(on, **rates) for on, rates in APRIL.items())  # type: ignore[arg-type]
NEXT = fixing(day(3), USD="480.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.20")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings with one ticker of one source, and two webhooks."""
    (ticker,) = settings.tickers
    settings = settings.model_copy(update={"tickers": (ticker.model_copy(update={"sources": ("nbk",)}),)})
    receiver = Receiver(url="http://127.0.0.1:1")
    every = ("ticker.changed", "ticker.late", "ticker.stale", "fixing.quarantined", "fixing.revised")
    return with_webhooks(
        settings, receiver.webhook(name="a", events=every), receiver.webhook(name="b", secret=SECRET, threshold=2)
    )


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        yield store


def instance(settings: Settings, store: Store, clock: Clock, *, leads: bool = True) -> EventRecorder:
    """Return the recorder of an instance that has polled the bank just now."""
    memory = MemoryState(settings)
    memory.states["nbk"] = SourceState(clock(), clock())
    store_sync = StoreSync(memory, store, patience=60)
    election = LeaderElection(store.coordination, own=leads)
    return EventRecorder(store_sync, publisher(store_sync), election, clock, lambda: None)


async def step(recorder: EventRecorder) -> None:
    """Follow the store as an instance does on each notification, then record events."""
    await StoreFollower(recorder.store_sync, recorder.publisher, recorder.now).refresh()
    await recorder.record()


async def ids(store: Store, webhook: str = "a") -> list[str]:
    return [item.event.id for item in await store.webhooks.waiting(webhook)]


async def types(store: Store, webhook: str = "a") -> list[str]:
    return [item.event.type for item in await store.webhooks.waiting(webhook)]


async def test_new_rates_are_recorded_once(settings: Settings, store: Store, clock: Clock) -> None:
    """Also by an instance that becomes the leader later, or that leads at the same time."""
    await store.save(OLD, NEW)
    leader, other = instance(settings, store, clock), instance(settings, store, clock)
    await step(leader)
    assert await types(store) == []
    await store.save(NEXT)
    await step(leader)
    await step(other)
    await step(leader)
    assert await types(store) == ["ticker.changed"]
    await step(instance(settings, store, clock))
    assert await types(store) == ["ticker.changed"]


async def test_two_leaders_at_once_record_an_event_once(settings: Settings, store: Store, clock: Clock) -> None:
    """One of them finds that what was reported has changed since it has read it."""
    await store.save(OLD, NEW)
    leader, other = instance(settings, store, clock), instance(settings, store, clock)
    await step(leader)
    await step(other)
    await store.save(NEXT)
    queue, synchronised = other.store_sync.store.webhooks, other._is_synchronised

    async def overtaken() -> bool:
        assert (await queue.reported()).reported.tickers["kzt"].number == 0
        await step(leader)
        return await synchronised()

    other._is_synchronised = overtaken  # type: ignore[method-assign]
    await step(other)
    other._is_synchronised = synchronised  # type: ignore[method-assign]
    await step(other)
    assert await types(store) == ["ticker.changed"]


async def test_recording_goes_on_after_errors(settings: Settings, store: Store, clock: Clock) -> None:
    """An outage of the store is reported elsewhere; an internal error is logged once."""
    recorder, slept = instance(settings, store, clock), asyncio.Event()
    errors: list[Exception] = [StoreError("down"), RuntimeError("oops"), RuntimeError("oops")]

    class FailingRecorder(EventRecorder):
        async def record(self) -> None:
            if errors:
                raise errors.pop(0)
            slept.set()

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    failing = FailingRecorder(
        recorder.store_sync, recorder.publisher, recorder.election, clock, lambda: None, sleep=sleep
    )
    with capture_logs() as logs:
        async with failing:
            await asyncio.wait_for(slept.wait(), 60)
    assert [log["event"] for log in logs] == ["webhook.store_lost", "webhook.recording_crashed"]


async def test_follower_records_nothing(settings: Settings, store: Store, clock: Clock) -> None:
    await store.save(OLD, NEW)
    await step(instance(settings, store, clock))
    await store.save(NEXT)
    await step(instance(settings, store, clock, leads=False))
    assert await types(store) == []


async def test_event_is_recorded_by_the_next_leader(settings: Settings, store: Store, clock: Clock) -> None:
    """The leader was killed after it had stored the rates, before it recorded the event."""
    await store.save(OLD, NEW)
    await step(instance(settings, store, clock))
    await store.save(NEXT)
    await step(instance(settings, store, clock))
    assert await types(store) == ["ticker.changed"]


async def test_nothing_is_reported_that_is_not_stored(settings: Settings, store: Store, clock: Clock) -> None:
    """Otherwise a leader without these rates would report the old ones as another change."""
    await store.save(OLD, NEW)
    leader = instance(settings, store, clock)
    await step(leader)
    memory, outbox = leader.store_sync.memory, leader.store_sync.outbox
    memory.add(NEXT)
    outbox.enqueue_fixing(NEXT)
    save = store.save

    async def refused(*_: object, **__: object) -> None:
        from service.errors import StoreError  # noqa: PLC0415

        raise StoreError("out of memory")

    store.save = refused  # type: ignore[method-assign,assignment]
    await step(leader)
    assert memory.snapshots["kzt"].as_of == day(3)
    assert await types(store) == []
    store.save = save  # type: ignore[method-assign]
    await step(leader)
    assert await types(store) == ["ticker.changed"]


async def test_store_that_has_lost_the_last_writes(settings: Settings, store: Store, clock: Clock) -> None:
    """A replica was promoted: the event is recorded again, with the same id, so that receivers recognise it."""
    await store.save(OLD, NEW)
    leader = instance(settings, store, clock)
    await step(leader)
    hashes = {key: await store._redis.hgetall(store._key(key)) for key in ("reported_tickers", "reported_sources")}
    await store.save(NEXT)
    await step(leader)
    before = await ids(store)
    await store._redis.delete(store._key("webhooks", "a"))
    for key, value in hashes.items():
        await store._redis.hset(store._key(key), mapping=value)  # type: ignore[arg-type]
    await step(leader)
    assert await ids(store) == before != []


async def test_empty_store_is_no_event_and_loses_none(settings: Settings, store: Store, clock: Clock) -> None:
    """The store was emptied while the service runs: the next change is still reported."""
    await store.save(OLD, NEW)
    leader = instance(settings, store, clock)
    await step(leader)
    await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
    await step(leader)
    assert await types(store) == []
    await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
    await store.save(OLD, NEW, NEXT)
    await step(leader)
    assert await types(store) == ["ticker.changed"]


async def test_webhook_gets_only_the_events_that_it_wants(settings: Settings, store: Store, clock: Clock) -> None:
    """The second one wants changes of two percent and more."""
    await store.save(OLD, NEW)
    leader = instance(settings, store, clock)
    await step(leader)
    await store.save(NEXT)
    await step(leader)
    assert (await types(store), await types(store, "b")) == (["ticker.changed"], [])
    rates = {**NEXT.rates, "GBP": replace(NEXT.rates["GBP"], value=NEW.rates["GBP"].value * 103 / 100)}
    clock.forward(hours=12)
    await store.save(replace(NEXT, rates=rates, digest="later").with_revision_of(NEXT))
    await step(leader)
    assert await types(store) == ["ticker.changed", "fixing.revised", "ticker.changed"]
    assert await types(store, "b") == ["ticker.changed"]
    assert '"changed":["GBP"]' in (await store.webhooks.waiting("b"))[0].event.body
