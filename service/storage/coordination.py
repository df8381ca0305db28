"""Coordination of instances through the store: notifications, the leader's lock, and a ping of the store.

Keys, under the configured prefix: `leader`, the lock; `news`, a pub/sub channel with one message per write.
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
"""Default time to live of the leader's lock, in seconds."""


@dataclass(frozen=True, slots=True)
class PingResult:
    """Result of a ping: round-trip time in seconds, and the time of the store's clock, which all instances share."""

    latency: float
    time: datetime


class Coordination:
    """Notifications, the leader's lock, and pings.

    All methods raise `StoreError` if Redis is down or replies with an error.
    """

    def __init__(self, connection: RedisConnection, prefix: str, life: float = LIFE) -> None:
        self.life = life
        """Time to live of the leader's lock, in seconds."""
        self._redis, self._errors = connection.redis, connection.errors
        self._news = f"{prefix}news"
        self._lock = self._redis.lock(f"{prefix}leader", timeout=life, thread_local=False)

    async def ping(self) -> PingResult:
        """Measure the round-trip time to the store and read its clock."""
        sent = perf_counter()
        with self._errors():
            seconds, micros = await self._redis.time()
        return PingResult(perf_counter() - sent, datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros))

    async def acquire_or_renew(self) -> bool:
        """Acquire or renew the leader's lock; return whether it is held, for `life` seconds from the call on."""
        with self._errors():
            with suppress(LockError):  # not held
                return bool(await self._lock.reacquire())
            return bool(await self._lock.acquire(blocking=False))

    async def release(self) -> None:
        """Release the leader's lock if it is held."""
        with self._errors(), suppress(LockError):
            await self._lock.release()

    async def publish_change(self) -> None:
        """Notify all instances of a write."""
        with self._errors():
            await self._redis.publish(self._news, "")

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Callable[[float], Awaitable[bool]]]:
        """Subscribe to notifications; yield a function that waits for one, with a timeout in seconds."""

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
