"""The states of sources that instances share by the store."""

from datetime import UTC, datetime, timedelta

from service.settings import load
from service.state.memory import MemoryState, SourceState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.conftest import Clock

SETTINGS = load(environ={})
NOW = datetime(2026, 4, 2, 11, tzinfo=UTC)


def state(hours: float, failures: int = 0) -> SourceState:
    at = NOW + timedelta(hours=hours)
    return SourceState(at, at - timedelta(hours=failures), at if failures else None, failures)


def instances(store: Store, clock: Clock) -> tuple[StoreSync, StoreSync]:
    clock.time = NOW
    first, second = (StoreSync(MemoryState(SETTINGS), store, now=clock) for _ in range(2))
    return first, second


async def poll(instance: StoreSync, shown: SourceState) -> None:
    instance.memory.states["nbk"] = shown
    instance.outbox.enqueue_state("nbk", shown)
    await instance.sync()


async def test_state_from_a_clock_that_was_ahead_is_replaced(store: Store, clock: Clock) -> None:
    """A leader's clock was a day ahead, and is right again: all instances see its polls, and their failures."""
    leader, follower = instances(store, clock)
    for shown in (state(24), state(0), state(0.2, failures=1)):
        await poll(leader, shown)
        await follower.sync()
        assert follower.memory.states["nbk"] == leader.memory.states["nbk"] == shown
        clock.forward(minutes=6)


async def test_older_stored_state_replaces_no_newer_one(store: Store, clock: Clock) -> None:
    """A leader was cut off from the store, and writes its state late: the new leader has polled since.

    The next poll is seen by both again.
    """
    cut_off, leader = instances(store, clock)
    await poll(leader, state(-0.1))
    cut_off.memory.states["nbk"] = late = state(-1, failures=3)
    cut_off.outbox.enqueue_state("nbk", late)
    await cut_off.sync()
    assert (await store.states())["nbk"] == late
    await leader.sync()
    assert leader.memory.states["nbk"] == state(-0.1)
    await poll(leader, state(0))
    await cut_off.sync()
    assert cut_off.memory.states["nbk"] == leader.memory.states["nbk"] == state(0)


async def test_older_stored_state_replaces_one_from_the_future(store: Store, clock: Clock) -> None:
    """The clock of an instance was ahead: its own state is not newer than a stored one, however old that is."""
    instance, _ = instances(store, clock)
    await store.save_state("nbk", state(-1))
    instance.memory.states["nbk"] = state(1)
    await instance.sync()
    assert instance.memory.states["nbk"] == state(-1)


async def test_clock_that_stays_ahead_hides_no_polls_of_others(store: Store, clock: Clock) -> None:
    """An instance whose clock is three hours ahead has polled, and follows another one now."""
    instance, _ = instances(store, clock)
    clock.time = NOW + timedelta(hours=3)
    instance.memory.states["nbk"] = state(3)
    await store.save_state("nbk", state(0.2, failures=1))
    await instance.sync()
    assert instance.memory.states["nbk"] == state(0.2, failures=1)


async def test_unwritten_state_is_kept_until_it_is_written(store: Store, clock: Clock) -> None:
    """It was polled while the store was down, and replaces the stored one with the next sync."""
    alone, other = instances(store, clock)
    await store.save_state("nbk", state(0))
    alone.memory.states["nbk"] = state(1)
    alone.outbox.enqueue_state("nbk", state(1))
    for store_sync in (alone, other):
        await store_sync.sync()
        assert store_sync.memory.states["nbk"] == state(1)
