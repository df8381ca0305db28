"""Coordination of instances through the store: notifications, the leader's lock, and a ping of the store.

Keys, under the configured prefix: `leader`, the lock; `instances`, a hash from the id of an instance to its presence;
`news`, a pub/sub channel with one message per write.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Final

from msgspec import DecodeError, Struct, json
from redis.exceptions import LockError

from service.observability.tracing import traced
from service.storage.redis_connection import RedisConnection

LIFE: Final = 15.0
"""Default time to live of the leader's lock, in seconds."""
_TOKEN: Final = re.compile(r"[0-9a-f]{32}")
"""Content of the lock: redis-py writes the hex digits of a UUID."""
_MISSED: Final = 2
"""Lives of the lock after which an instance that has not announced itself counts as ended."""
_MOST_INSTANCES: Final = 200
"""Instances that are listed."""
_WITHOUT_EXPIRY: Final = -1
_EXPIRED: Final = -2
"""Replies to PTTL."""


class Instance(Struct, frozen=True, kw_only=True):
    """The presence of an instance: a random id, its version and role, its start, and its last announcement (UTC)."""

    id: str
    version: str
    role: str
    started: datetime
    seen: datetime


@dataclass(frozen=True, slots=True)
class PingResult:
    """Result of a ping: round-trip time in seconds, and the time of the store's clock, which all instances share."""

    latency: float
    time: datetime


@traced("store")
class Coordination:
    """Notifications, the leader's lock, and pings.

    All methods raise `StoreError` if Redis is down or replies with an error.
    """

    def __init__(self, connection: RedisConnection, prefix: str, life: float = LIFE) -> None:
        self.life = life
        """Time to live of the leader's lock, in seconds."""
        self._redis, self._errors = connection.redis, connection.errors
        self._news = f"{prefix}news"
        self._instances = f"{prefix}instances"
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

    async def foreign_lock(self) -> str | None:
        """Return what is wrong with the lock if no instance can have written it; None if nothing is."""
        key = self._lock.name
        with self._errors():
            pipe = self._redis.pipeline()
            pipe.type(key)
            pipe.pttl(key)
            pipe.get(key)
            kind, milliseconds, content = await pipe.execute(raise_on_error=False)
        if kind == "none" or milliseconds == _EXPIRED:
            return None
        if kind != "string":
            return f"is a {kind} instead of a string"
        if milliseconds == _WITHOUT_EXPIRY:
            return "has no expiry"
        if milliseconds > 1000 * self.life:
            return f"expires only in {timedelta(seconds=milliseconds // 1000)}"
        return None if _TOKEN.fullmatch(str(content)) else "is held by another program"

    async def announce(self, instance: Instance) -> tuple[Instance, ...]:
        """Announce an instance; return all that have announced themselves recently, the oldest first.

        Entries of instances that have ended without `withdraw` are removed.
        """
        with self._errors():
            pipe = self._redis.pipeline()
            pipe.hset(self._instances, instance.id, json.encode(instance).decode())
            pipe.pexpire(self._instances, timedelta(seconds=_MISSED * self.life))
            pipe.hgetall(self._instances)
            entries: dict[str, str] = (await pipe.execute())[-1]
            present = {known.id: known for known in _decoded(entries) if self._is_present(known, instance.seen)}
            if ended := entries.keys() - present.keys():
                await self._redis.hdel(self._instances, *ended)
        listed = sorted(present.values(), key=lambda known: (known.started, known.id))
        return tuple(listed[:_MOST_INSTANCES])

    def _is_present(self, instance: Instance, now: datetime) -> bool:
        return abs(now - instance.seen) <= timedelta(seconds=_MISSED * self.life)

    async def withdraw(self, instance_id: str) -> None:
        """Remove an instance that ends."""
        with self._errors():
            await self._redis.hdel(self._instances, instance_id)

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


def _decoded(entries: dict[str, str]) -> Iterator[Instance]:
    """Yield the valid entries of the hash of instances."""
    for key, entry in entries.items():
        with suppress(DecodeError, UnicodeError):
            instance = json.decode(entry, type=Instance)
            if instance.id == key and instance.seen.tzinfo and instance.started.tzinfo:
                yield instance
