"""The states of sources that instances share by the store."""

from datetime import UTC, datetime, timedelta

from service.settings import load
from service.state.memory import MemoryState, SourceState
from service.storage.repository import Store
from service.storage.sync import StoreSync

SETTINGS = load(environ={})
NOW = datetime(2026, 4, 2, 11, tzinfo=UTC)


def state(hours: float, failures: int = 0) -> SourceState:
    at = NOW + timedelta(hours=hours)
    return SourceState(at, at - timedelta(hours=failures), at if failures else None, failures)


async def test_state_from_a_clock_that_was_ahead_is_replaced(store: Store) -> None:
    """A leader's clock was a day ahead, and is right again: all instances see its polls, and their failures."""
    leader, follower = (StoreSync(MemoryState(SETTINGS), store) for _ in range(2))
    for shown in (state(24), state(0), state(0.2, failures=1)):
        leader.memory.states["nbk"] = shown
        leader.outbox.enqueue_state("nbk", shown)
        await leader.sync()
        await follower.sync()
        assert follower.memory.states["nbk"] == leader.memory.states["nbk"] == shown


async def test_unwritten_state_is_kept_until_it_is_written(store: Store) -> None:
    """It was polled while the store was down, and replaces the stored one with the next sync."""
    alone, other = (StoreSync(MemoryState(SETTINGS), store) for _ in range(2))
    await store.save_state("nbk", state(0))
    alone.memory.states["nbk"] = state(1)
    alone.outbox.enqueue_state("nbk", state(1))
    for store_sync in (alone, other):
        await store_sync.sync()
        assert store_sync.memory.states["nbk"] == state(1)
