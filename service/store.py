"""Where fixings outlive the process: Redis 7 or Valkey 8 and newer. The only import of redis.

Keys, all under the configured prefix::

    fixings:<source>    hash    effective date -> fixing
    refused:<source>    list    what was not published, newest first
    states              hash    source -> how its last polls went
    snapshots           hash    ticker -> its last snapshot
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self, cast
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from service.board import SourceState
from service.errors import SettingsError, StoreError
from service.fixings import Fixing
from service.ticker import Snapshot

SENTINEL = "redis+sentinel"
_FORMS = "embedded, redis://, rediss://, unix://, redis+sentinel://host:26379,host2:26379/name/0"
_TIMEOUT = 1.0
_REFUSED = 100


@dataclass(frozen=True, slots=True)
class Refused:
    """A fixing that was not published, whole, with the reasons and the time (UTC)."""

    fixing: Fixing
    reasons: tuple[str, ...]
    at: datetime


log = structlog.get_logger()

_FIXING = TypeAdapter(Fixing)
_REFUSAL = TypeAdapter(Refused)
_STATE = TypeAdapter(SourceState)
_SNAPSHOT = TypeAdapter(Snapshot)


def _connect(url: str) -> tuple[Redis, list[Redis]]:
    """Return the client of a store and those of the Sentinels that name it, all to be closed.

    For `redis://`, `rediss://`, `unix://` and `redis+sentinel://host,host2/name/0`.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": _TIMEOUT,
        "socket_connect_timeout": _TIMEOUT,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 1),
    }
    parts = urlsplit(url)
    if parts.scheme != SENTINEL:
        return Redis.from_url(url, **options), []
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    name, _, db = parts.path.strip("/").partition("/")
    addresses = [(host, int(port or 26379)) for host, _, port in (one.partition(":") for one in hosts.split(","))]
    if not name or not all(host for host, _ in addresses):
        raise ValueError("needs hosts and a service name")
    if password:
        options |= {"username": unquote(user) or None, "password": unquote(password)}
    sentinel = Sentinel(addresses, **options)  # type: ignore[no-untyped-call]
    return cast("Redis", sentinel.master_for(name, db=int(db or 0))), sentinel.sentinels


def _date(field: str) -> date | None:
    """Return the date of a hash's field; None for one that is none of ours."""
    try:
        return date.fromisoformat(field)
    except ValueError:
        return None


class Store:
    """All methods raise `StoreError` when the store is away or refuses."""

    def __init__(self, url: str, prefix: str) -> None:
        """Connect lazily. Raises `SettingsError` for a URL of no known form."""
        try:
            self._redis, self._sentinels = _connect(url)
        except ValueError:
            raise SettingsError(f"store.url: is none of {_FORMS}") from None
        self._prefix = prefix
        parts = urlsplit(url)
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        """The address without its password, for messages."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in (self._redis, *self._sentinels):
            await client.aclose()

    async def ping(self) -> None:
        with self._errors():
            await self._redis.ping()

    async def save(self, fixing: Fixing) -> None:
        """Keep `fixing` for its date. Doing it twice is as once."""
        with self._errors():
            await self._redis.hset(self._key("fixings", fixing.source), str(fixing.date), _FIXING.dump_json(fixing))

    async def refuse(self, refused: Refused) -> None:
        """Keep what was not published, the newest `_REFUSED` of a source. Doing it twice is as once."""
        key, value = self._key("refused", refused.fixing.source), _REFUSAL.dump_json(refused).decode()
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.lrem(key, 0, value)
                pipe.lpush(key, value)
                pipe.ltrim(key, 0, _REFUSED - 1)
                await pipe.execute()

    async def save_state(self, source: str, state: SourceState) -> None:
        with self._errors():
            await self._redis.hset(self._key("states"), source, _STATE.dump_json(state))

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        with self._errors():
            await self._redis.hset(self._key("snapshots"), snapshot.id, _SNAPSHOT.dump_json(snapshot))

    async def dates(self, source: str) -> list[date]:
        """Return every effective date of a source, oldest first."""
        with self._errors():
            days = [str(day) for day in await self._redis.hkeys(self._key("fixings", source))]
        return sorted(day for day in map(_date, days) if day)

    async def recent(self, source: str, count: int) -> list[Fixing]:
        """Return the fixings of the `count` latest dates, oldest first; what is unreadable is left out and told."""
        days = [str(day) for day in (await self.dates(source))[-count:]]
        if not days:
            return []
        with self._errors():
            found = await self._redis.hmget(self._key("fixings", source), days)
        fixings = []
        for day, json in zip(days, found, strict=True):
            try:
                fixings.append(_FIXING.validate_json(json or ""))
            except ValidationError:
                log.warning("fixing.unreadable", source=source, date=day)
        return fixings

    async def fixing(self, source: str, day: date) -> Fixing | None:
        with self._errors():
            json = await self._redis.hget(self._key("fixings", source), str(day))
            return _FIXING.validate_json(json) if json else None

    async def refused(self, source: str) -> list[Refused]:
        """Return what was not published, newest first."""
        with self._errors():
            found = await self._redis.lrange(self._key("refused", source), 0, -1)
            return [_REFUSAL.validate_json(json) for json in found]

    async def states(self) -> Mapping[str, SourceState]:
        with self._errors():
            found = await self._redis.hgetall(self._key("states"))
            return {str(key): _STATE.validate_json(json) for key, json in found.items()}

    async def snapshot(self, ticker: str) -> Snapshot | None:
        with self._errors():
            json = await self._redis.hget(self._key("snapshots"), ticker)
            return _SNAPSHOT.validate_json(json) if json else None

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            # redis-py prints the whole client of each Sentinel that did not answer.
            told = str(error).partition(" : <")[0] or type(error).__name__
            raise StoreError(f"{self.where}: {told}") from error
        except ValidationError as error:
            raise StoreError(f"{self.where}: holds what this version cannot read: {error.title}") from error
