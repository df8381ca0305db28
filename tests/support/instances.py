"""An instance without a server: its memory, its sync with the store, its publisher and its follower."""

from service.clock import Clock
from service.cluster.follower import INTERVAL, StoreFollower
from service.polling.poller import Poller
from service.state.publisher import SnapshotPublisher
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.support.wait import until


def publisher(store_sync: StoreSync) -> SnapshotPublisher:
    return SnapshotPublisher(store_sync.memory, store_sync.outbox.enqueue_snapshot)


def follower(store_sync: StoreSync, now: Clock, interval: float = INTERVAL) -> StoreFollower:
    return StoreFollower(store_sync, publisher(store_sync), now, interval=interval)


async def until_heard(store: Store) -> None:
    """Wait until an instance hears what is announced."""
    channel = f"{store._prefix}news"

    async def listens() -> bool:
        return dict(await store._redis.pubsub_numsub(channel))[channel] > 0

    await until(listens)


async def refresh(store_sync: StoreSync, now: Clock) -> None:
    """Sync and publish, as an instance does on each notification."""
    await follower(store_sync, now).refresh()


async def refresh_poller(poller: Poller) -> None:
    await StoreFollower(poller.store_sync, poller.publisher, poller.now).refresh()
