"""Snapshots are built once for all waiting callers, outside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime
from unittest.mock import patch

from service.domain.snapshot import Snapshot
from service.settings import Settings, TickerSettings
from service.state.memory import MemoryState
from service.state.publisher import SnapshotPublisher
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.conftest import Clock
from tests.support.fixings import day, fixing
from tests.support.instances import follower

FIXINGS = fixing(day(1), USD="478.77"), fixing(day(2), USD="475.09")
Build = Callable[[TickerSettings], Snapshot | None]


def with_tickers(settings: Settings, count: int) -> Settings:
    (ticker, *_) = settings.tickers
    return settings.model_copy(
        update={"tickers": tuple(ticker.model_copy(update={"id": f"t{number}"}) for number in range(count))}
    )


class BlockedBuilds:
    """Block snapshot builds until they are released, and record their threads."""

    def __init__(self, memory: MemoryState) -> None:
        self.selection = memory.selection
        self.started = threading.Event()
        self.released = threading.Event()
        self.threads = list[threading.Thread]()

    def __call__(self, now: datetime) -> Build:
        build = self.selection(now)

        def blocked(ticker: TickerSettings) -> Snapshot | None:
            self.threads.append(threading.current_thread())
            self.started.set()
            assert self.released.wait(60)
            return build(ticker)

        return blocked


async def test_concurrent_refreshes_share_a_build(store: Store, settings: Settings, clock: Clock) -> None:
    """Six refreshes waiting for the store together build the snapshots at most twice, not six times."""
    store_sync = StoreSync(MemoryState(settings), store)
    instance = follower(store_sync, clock)
    builds = BlockedBuilds(store_sync.memory)
    builds.released.set()

    async def add_and_refresh(number: int) -> None:
        store_sync.memory.add(FIXINGS[number % 2])
        await instance.refresh()
        assert store_sync.memory.snapshots["kzt"].as_of == day(2)

    with patch.object(store_sync.memory, "selection", builds):
        await asyncio.gather(*map(add_and_refresh, range(6)))
    assert 1 <= len(builds.threads) <= 2  # a second build serves those that arrived during the first


async def test_build_does_not_block_the_event_loop(settings: Settings, clock: Clock) -> None:
    """The build runs in a thread of its own and waits there until the event loop releases it."""
    memory = MemoryState(with_tickers(settings, 3))
    memory.reset("nbk", FIXINGS)
    builds = BlockedBuilds(memory)
    with patch.object(memory, "selection", builds):
        publishing = asyncio.create_task(SnapshotPublisher(memory, lambda _: None).publish(clock()))
        await asyncio.to_thread(builds.started.wait, 60)
        assert memory.snapshots == {}
        builds.released.set()
        await publishing
    assert len(builds.threads) == 3
    assert threading.main_thread() not in builds.threads
    assert memory.snapshots.keys() == {"t0", "t1", "t2"}


async def test_rates_added_during_a_build_are_published(settings: Settings, clock: Clock) -> None:
    """A snapshot built too early is rebuilt before the later call returns."""
    memory = MemoryState(with_tickers(settings, 3))
    memory.reset("nbk", FIXINGS[:1])
    builds = BlockedBuilds(memory)
    publisher = SnapshotPublisher(memory, lambda _: None)
    with patch.object(memory, "selection", builds):
        first = asyncio.create_task(publisher.publish(clock()))
        await asyncio.to_thread(builds.started.wait, 60)
        memory.add(FIXINGS[1])
        builds.released.set()
        await publisher.publish(clock())
    assert first.done()
    assert {snapshot.as_of for snapshot in memory.snapshots.values()} == {day(2)}


async def test_call_that_joined_a_cancelled_build_builds_itself(settings: Settings, clock: Clock) -> None:
    """A build is cancelled when an instance stops polling; callers waiting for it must still get a snapshot."""
    memory = MemoryState(settings)
    memory.reset("nbk", FIXINGS)
    builds = BlockedBuilds(memory)
    publisher = SnapshotPublisher(memory, lambda _: None)
    await publisher._lock.acquire()  # as if a build were running
    with patch.object(memory, "selection", builds):
        first, joined = (asyncio.create_task(publisher.publish(clock())) for _ in range(2))
        await asyncio.sleep(0)
        publisher._lock.release()
        await asyncio.to_thread(builds.started.wait, 60)
        first.cancel()
        builds.released.set()
        await asyncio.wait([first, joined])
    assert first.cancelled()
    assert memory.snapshots["kzt"].as_of == day(2)
