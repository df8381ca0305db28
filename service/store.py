"""Where fixings outlive the process: Redis 7 or Valkey 8 and newer.

Keys, all under the configured prefix::

    fixings:<source>       hash    effective date -> fixing
    quarantine:<source>    hash    effective date -> what waits
    decisions:<source>     list    how waits ended, newest first
    backfilled             hash    source -> the spans that were asked for, and are whole
    raw:<source>:<digest>  string  a bank's answer, compressed; expires
    versions               hash    source -> how often its fixings or decisions were written
    stamps                 hash    source -> a word that is another one with each of these writings
    states                 hash    source -> how its last polls went
    snapshots              hash    ticker -> its last snapshot
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Self, TypeVar, cast
from uuid import uuid4

import structlog
from msgspec import DecodeError
from pydantic import TypeAdapter, ValidationError
from redis.asyncio.client import Pipeline
from redis.client import NEVER_DECODE

from service.board import SourceState
from service.connection import Connection
from service.fixings import Fixing
from service.quarantine import Decision, Waiting
from service.records import RECORD, Record
from service.ticker import Snapshot

T = TypeVar("T")
_DECISIONS = 1000
"""Decisions of a source that are kept."""

log = structlog.get_logger()

FIXING = TypeAdapter(Fixing)
_WAITING = TypeAdapter(Waiting)
_DECISION = TypeAdapter(Decision)
_SPANS = TypeAdapter(list[tuple[date, date]])
_STATE = TypeAdapter(SourceState)
_SNAPSHOT = TypeAdapter(Snapshot)


class Store:
    """All methods raise `StoreError` when the store is away or refuses. Writing twice is as once."""

    def __init__(self, url: str, prefix: str) -> None:
        """Connect lazily. Raises `SettingsError` for a URL of no known form."""
        self._connection = Connection(url)
        self._redis, self._errors = self._connection.redis, self._connection.errors
        self._prefix = prefix

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def save(self, *fixings: Fixing, decision: Decision | None = None) -> int:
        """Keep fixings of one source, each for its date, where nothing waits any more; return the new version.

        Together with the decision that lets one in, where there is one.
        """
        source, days = fixings[0].source, [str(fixing.date) for fixing in fixings]
        json = [FIXING.dump_json(fixing).decode() for fixing in fixings]
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(self._key("fixings", source), mapping=dict(zip(days, json, strict=True)))
                pipe.hdel(self._key("quarantine", source), *days)
                if decision:
                    self._decide(pipe, decision)
                return await self._written(pipe, source)

    async def quarantine(self, waiting: Waiting) -> None:
        """Let a fixing wait, in place of another form of it."""
        key, day = self._key("quarantine", waiting.fixing.source), str(waiting.fixing.date)
        with self._errors():
            await self._redis.hset(key, day, _WAITING.dump_json(waiting))

    async def decide(self, decision: Decision) -> int:
        """Keep how a wait ended, which is over by that; return the new version."""
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                self._decide(pipe, decision)
                return await self._written(pipe, decision.waiting.fixing.source)

    def _decide(self, pipe: Pipeline, decision: Decision) -> None:
        fixing = decision.waiting.fixing
        key, json = self._key("decisions", fixing.source), _DECISION.dump_json(decision).decode()
        pipe.lrem(key, 0, json)
        pipe.lpush(key, json)
        pipe.ltrim(key, 0, _DECISIONS - 1)
        pipe.hdel(self._key("quarantine", fixing.source), str(fixing.date))

    async def _written(self, pipe: Pipeline, source: str) -> int:
        pipe.hset(self._key("stamps"), source, uuid4().hex)
        pipe.hincrby(self._key("versions"), source, 1)
        *_, version = await pipe.execute()
        return int(version)

    async def versions(self) -> dict[str, int]:
        """Return a number a source that grows whenever its fixings or decisions are written."""
        with self._errors():
            found = await self._redis.hgetall(self._key("versions"))
            return {str(source): int(version) for source, version in found.items()}

    async def sources(self) -> list[str]:
        """Return every source of which there are fixings, by name."""
        beginning = self._key("fixings", "")
        with self._errors():
            return sorted(
                [str(key)[len(beginning) :] async for key in self._redis.scan_iter(f"{_literal(beginning)}*")]
            )

    async def stamp(self, source: str) -> str | None:
        """Return a word for all that is stored of a source, another one with each writing and never one of before."""
        with self._errors():
            return cast("str | None", await self._redis.hget(self._key("stamps"), source))

    async def dates(self, source: str) -> list[date]:
        """Return every effective date of a source, oldest first."""
        with self._errors():
            days = [str(day) for day in await self._redis.hkeys(self._key("fixings", source))]
        return sorted(day for day in map(_date, days) if day)

    async def recent(self, source: str, count: int) -> list[Fixing]:
        """Return the fixings of the `count` latest dates, oldest first."""
        return await self.fixings(source, (await self.dates(source))[-count:])

    async def fixings(self, source: str, days: Sequence[date]) -> list[Fixing]:
        """Return the fixings that there are of some dates, in their order; what is unreadable is left out and told."""
        if not days:
            return []
        with self._errors():
            found = await self._redis.hmget(self._key("fixings", source), [str(day) for day in days])
        return list(_readable(FIXING, filter(None, found), source))

    async def figures(self, source: str, since: date, until: date) -> list[Record]:
        """Return the figures of all days from `since` to `until`, oldest first; what is unreadable as in `fixings`.

        Each day is asked for, published or not: one without a fixing costs less than the list of all dates.
        """
        days = [str(date.fromordinal(day)) for day in range(since.toordinal(), until.toordinal() + 1)]
        with self._errors():
            found = await self._redis.hmget(self._key("fixings", source), days)
        return list(_readable_figures(found, source))

    async def fixing(self, source: str, day: date) -> Fixing | None:
        with self._errors():
            json = await self._redis.hget(self._key("fixings", source), str(day))
            return FIXING.validate_json(json) if json else None

    async def waiting(self, source: str) -> list[Waiting]:
        """Return what is in quarantine, oldest date first."""
        with self._errors():
            found = await self._redis.hvals(self._key("quarantine", source))
        return sorted(_readable(_WAITING, found, source), key=lambda one: one.fixing.date)

    async def decisions(self, source: str) -> list[Decision]:
        """Return how waits ended, newest first."""
        with self._errors():
            found = await self._redis.lrange(self._key("decisions", source), 0, -1)
        return list(_readable(_DECISION, found, source))

    async def save_raw(self, source: str, digest: str, body: bytes, keep: timedelta) -> None:
        """Keep a bank's answer for a while, compressed; where no time is given, not at all."""
        if not keep:
            return
        with self._errors():
            await self._redis.set(self._key("raw", source, digest), zlib.compress(body), ex=keep)

    async def raw(self, source: str, digest: str) -> bytes | None:
        """Return a bank's answer as it came; None where it has expired."""
        with self._errors():
            options = {NEVER_DECODE: True}
            found = await self._redis.execute_command("GET", self._key("raw", source, digest), **options)  # type: ignore[no-untyped-call]
            return zlib.decompress(found) if found else None

    async def backfilled(self, source: str) -> list[tuple[date, date]]:
        """Return the spans that backfills have asked for, the first and the last day of each, oldest first."""
        with self._errors():
            return _SPANS.validate_json(await self._redis.hget(self._key("backfilled"), source) or "[]")

    async def save_backfilled(self, source: str, spans: Sequence[tuple[date, date]]) -> None:
        with self._errors():
            await self._redis.hset(self._key("backfilled"), source, _SPANS.dump_json(list(spans)))

    async def save_state(self, source: str, state: SourceState) -> None:
        with self._errors():
            await self._redis.hset(self._key("states"), source, _STATE.dump_json(state))

    async def states(self) -> Mapping[str, SourceState]:
        with self._errors():
            found = await self._redis.hgetall(self._key("states"))
            return {str(key): _STATE.validate_json(json) for key, json in found.items()}

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        with self._errors():
            await self._redis.hset(self._key("snapshots"), snapshot.id, _SNAPSHOT.dump_json(snapshot))

    async def snapshot(self, ticker: str) -> Snapshot | None:
        with self._errors():
            json = await self._redis.hget(self._key("snapshots"), ticker)
            return _SNAPSHOT.validate_json(json) if json else None

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


def _literal(text: str) -> str:
    """Return a pattern that matches only this."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


def _readable(kind: TypeAdapter[T], found: Iterable[str | bytes | None], source: str) -> Iterator[T]:
    for json in found:
        try:
            yield kind.validate_json(json or "")
        except ValidationError as error:
            log.warning("store.unreadable", source=source, kind=error.title, beginning=str(json)[:80])


def _readable_figures(found: Iterable[str | bytes | None], source: str) -> Iterator[Record]:
    for json in found:
        if json is None:
            continue
        try:
            yield RECORD.decode(json)
        except DecodeError:
            log.warning("store.unreadable", source=source, kind="Fixing", beginning=str(json)[:80])


def _date(field: str) -> date | None:
    """Return the date of a hash's field; None for one that is none of ours."""
    try:
        return date.fromisoformat(field)
    except ValueError:
        return None
