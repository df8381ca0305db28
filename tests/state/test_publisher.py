"""Snapshots are made once for all who wait for them, and readers have their turn meanwhile."""

import asyncio
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


def with_tickers(settings: Settings, count: int) -> Settings:
    (ticker, *_) = settings.tickers
    return settings.model_copy(
        update={"tickers": tuple(ticker.model_copy(update={"id": f"t{number}"}) for number in range(count))}
    )


async def test_concurrent_refreshes_share_a_pass(store: Store, settings: Settings, clock: Clock) -> None:
    """Six refreshes that wait for the store together build the snapshots twice at most, not six times."""
    store_sync = StoreSync(MemoryState(settings), store)
    instance = follower(store_sync, clock)
    made = list[TickerSettings]()
    refresh_memory = store_sync.memory.refresh

    def counting(now: datetime, *tickers: TickerSettings) -> tuple[Snapshot, ...]:
        made.extend(tickers)
        return refresh_memory(now, *tickers)

    async def learn(number: int) -> None:
        store_sync.memory.add(KNOWN[number % 2])
        await instance.refresh()
        assert store_sync.memory.snapshots["kzt"].as_of == day(2)

    with patch.object(store_sync.memory, "refresh", counting):
        await asyncio.gather(*map(learn, range(6)))
    assert 1 <= len(made) <= 2  # a second time for those that came while the first was made


async def test_each_ticker_is_made_in_a_turn_of_its_own(settings: Settings, clock: Clock) -> None:
    """What else the loop has to do comes between any two of them."""
    memory, order = MemoryState(with_tickers(settings, 3)), list[str]()
    memory.reset("nbk", KNOWN)
    memory.watchers.append(lambda snapshot: order.append(snapshot.id))

    async def reader() -> None:
        for _ in range(3):
            order.append("reader")
            await asyncio.sleep(0)

    await asyncio.gather(SnapshotPublisher(memory, lambda _: None).publish(clock()), reader())
    assert order == ["t0", "reader", "t1", "reader", "t2", "reader"]


async def test_what_comes_while_snapshots_are_made_is_shown_before_its_own_review_ends(
    settings: Settings, clock: Clock
) -> None:
    """A ticker that was made a moment too early is made again."""
    memory = MemoryState(with_tickers(settings, 3))
    memory.reset("nbk", KNOWN[:1])
    publisher = SnapshotPublisher(memory, lambda _: None)
    first = asyncio.create_task(publisher.publish(clock()))
    await asyncio.sleep(0)
    assert memory.snapshots.keys() == {"t0"}
    memory.add(KNOWN[1])
    await publisher.publish(clock())
    assert first.done()
    assert {snapshot.as_of for snapshot in memory.snapshots.values()} == {day(2)}
