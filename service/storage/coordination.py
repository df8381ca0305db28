"""Coordination of instances through the store: notifications, the leader's lock, and a ping of the store.

Keys, under the configured prefix: `leader`, the lock; `news`, a channel on which each message says that something
was written.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Final

from redis.exceptions import LockError

from service.storage.redis_connection import RedisConnection

LIFE: Final = 15.0
"""Seconds that the leader's lock lives without being renewed."""


@dataclass(frozen=True, slots=True)
class PingResult:
    """How the store answered: `latency` in seconds, and by its own clock, which is what all instances share."""

    latency: float
    time: datetime


class Coordination:
    """All methods raise `StoreError` when the store is away or refuses."""

    def __init__(self, connection: RedisConnection, prefix: str) -> None:
        self._redis, self._errors = connection.redis, connection.errors
        self._news = f"{prefix}news"
        self._lock = self._redis.lock(f"{prefix}leader", timeout=LIFE, thread_local=False)

    async def ping(self) -> PingResult:
        begun = perf_counter()
        with self._errors():
            seconds, micros = await self._redis.time()
        return PingResult(perf_counter() - begun, datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros))

    async def acquire_or_renew(self) -> bool:
        """Take the leader's lock, or renew it; return whether it is ours, for `LIFE` seconds from the call on."""
        with self._errors():
            with suppress(LockError):  # never ours, or not any more
                return bool(await self._lock.reacquire())
            return bool(await self._lock.acquire(blocking=False))

    async def release(self) -> None:
        """Give the lock back, where it is ours."""
        with self._errors(), suppress(LockError):
            await self._lock.release()

    async def publish_change(self) -> None:
        """Notify all instances that something was written."""
        with self._errors():
            await self._redis.publish(self._news, "")

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Callable[[float], Awaitable[bool]]]:
        """Subscribe to notifications: yields a function that waits for one, for so many seconds at most."""

        async def wait_for_notification(seconds: float) -> bool:
            with self._errors():
                return await channel.get_message(timeout=seconds) is not None

        with self._errors():
            channel = self._redis.pubsub()
            await channel.subscribe(self._news)
        try:
            yield wait_for_notification
        finally:
            await channel.aclose()  # type: ignore[no-untyped-call]
