"""Parts of an instance without an HTTP server: store sync, publisher and follower."""

from service.clock import Clock
from service.cluster.follower import INTERVAL, StoreFollower
from service.polling.poller import Poller
from service.state.publisher import SnapshotPublisher
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.support.wait import until


def publisher(store_sync: StoreSync) -> SnapshotPublisher:
    return SnapshotPublisher(store_sync.memory, store_sync.outbox.enqueue_snapshot, store_sync.load_period_starts)


def follower(store_sync: StoreSync, now: Clock, interval: float = INTERVAL) -> StoreFollower:
    return StoreFollower(store_sync, publisher(store_sync), now, interval=interval)


async def until_subscribed(store: Store) -> None:
    """Wait until an instance is subscribed to the store's announcements."""
    channel = f"{store._prefix}news"

    async def subscribed() -> bool:
        return dict(await store._redis.pubsub_numsub(channel))[channel] > 0

    await until(subscribed)


async def refresh(store_sync: StoreSync, now: Clock) -> None:
    """Sync and publish, as an instance does on each notification."""
    await follower(store_sync, now).refresh()


async def refresh_poller(poller: Poller) -> None:
    await StoreFollower(poller.store_sync, poller.publisher, poller.now).refresh()
