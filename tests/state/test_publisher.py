"""Snapshots are built once for all who wait for them, beside the event loop."""

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

KNOWN = fixing(day(1), USD="478.77"), fixing(day(2), USD="475.09")
Build = Callable[[TickerSettings], Snapshot | None]


def with_tickers(settings: Settings, count: int) -> Settings:
    (ticker, *_) = settings.tickers
    return settings.model_copy(
        update={"tickers": tuple(ticker.model_copy(update={"id": f"t{number}"}) for number in range(count))}
    )


class HeldBuilds:
    """Lets a memory build snapshots when it is told to, and records the threads that do."""

    def __init__(self, memory: MemoryState) -> None:
        self.selection = memory.selection
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.threads = list[threading.Thread]()

    def __call__(self, now: datetime) -> Build:
        build = self.selection(now)

        def held(ticker: TickerSettings) -> Snapshot | None:
            self.threads.append(threading.current_thread())
            self.begun.set()
            assert self.may_go_on.wait(60)
            return build(ticker)

        return held


async def test_concurrent_refreshes_share_a_pass(store: Store, settings: Settings, clock: Clock) -> None:
    """Six refreshes that wait for the store together build the snapshots twice at most, not six times."""
    store_sync = StoreSync(MemoryState(settings), store)
    instance = follower(store_sync, clock)
    builds = HeldBuilds(store_sync.memory)
    builds.may_go_on.set()

    async def learn(number: int) -> None:
        store_sync.memory.add(KNOWN[number % 2])
        await instance.refresh()
        assert store_sync.memory.snapshots["kzt"].as_of == day(2)

    with patch.object(store_sync.memory, "selection", builds):
        await asyncio.gather(*map(learn, range(6)))
    assert 1 <= len(builds.threads) <= 2  # a second time for those that came while the first was built


async def test_loop_runs_while_a_snapshot_is_built(settings: Settings, clock: Clock) -> None:
    """The build is in a thread of its own: it waits here until the event loop lets it go on."""
    memory = MemoryState(with_tickers(settings, 3))
    memory.reset("nbk", KNOWN)
    builds = HeldBuilds(memory)
    with patch.object(memory, "selection", builds):
        publishing = asyncio.create_task(SnapshotPublisher(memory, lambda _: None).publish(clock()))
        await asyncio.to_thread(builds.begun.wait, 60)
        assert memory.snapshots == {}
        builds.may_go_on.set()
        await publishing
    assert len(builds.threads) == 3
    assert threading.main_thread() not in builds.threads
    assert memory.snapshots.keys() == {"t0", "t1", "t2"}


async def test_rates_that_come_during_a_build_are_published(settings: Settings, clock: Clock) -> None:
    """A snapshot that was built a moment too early is built again before the later call returns."""
    memory = MemoryState(with_tickers(settings, 3))
    memory.reset("nbk", KNOWN[:1])
    builds = HeldBuilds(memory)
    publisher = SnapshotPublisher(memory, lambda _: None)
    with patch.object(memory, "selection", builds):
        first = asyncio.create_task(publisher.publish(clock()))
        await asyncio.to_thread(builds.begun.wait, 60)
        memory.add(KNOWN[1])
        builds.may_go_on.set()
        await publisher.publish(clock())
    assert first.done()
    assert {snapshot.as_of for snapshot in memory.snapshots.values()} == {day(2)}


async def test_call_that_joined_a_cancelled_pass_publishes_itself(settings: Settings, clock: Clock) -> None:
    """A pass is cancelled where an instance stops polling; whoever waits for it must not go away with nothing."""
    memory = MemoryState(settings)
    memory.reset("nbk", KNOWN)
    builds = HeldBuilds(memory)
    publisher = SnapshotPublisher(memory, lambda _: None)
    await publisher._lock.acquire()  # a pass is being made
    with patch.object(memory, "selection", builds):
        first, joined = (asyncio.create_task(publisher.publish(clock())) for _ in range(2))
        await asyncio.sleep(0)
        publisher._lock.release()
        await asyncio.to_thread(builds.begun.wait, 60)
        first.cancel()
        builds.may_go_on.set()
        await asyncio.wait([first, joined])
    assert first.cancelled()
    assert memory.snapshots["kzt"].as_of == day(2)
