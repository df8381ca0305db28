"""Where fixings outlive the process: Redis 7 or Valkey 8 and newer.

Keys, all under the configured prefix::

    fixings:<source>       hash    effective date -> fixing
    quarantine:<source>    hash    effective date -> what waits
    decisions:<source>     list    how waits ended, newest first
    backfilled             hash    source -> the spans that were asked for, and are whole
    raw:<source>:<digest>  string  a bank's answer, compressed; expires
    stamps                 hash    source -> a word for all of the above, another one with each writing
    states                 hash    source -> how its last polls went
    snapshots              hash    ticker -> its last snapshot, for programs that read Redis themselves
    leader, news           see `service.peers`
"""

import asyncio
import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple, Self, cast
from uuid import uuid4

from pydantic import TypeAdapter
from redis.asyncio.client import Pipeline
from redis.client import NEVER_DECODE

from service.board import SourceState
from service.connection import Connection
from service.fixings import Fixing
from service.peers import Peers
from service.quarantine import Decision, Waiting
from service.records import Record, readable, readable_figures
from service.ticker import Snapshot

_DECISIONS = 1000
"""Decisions of a source that are kept."""

FIXING = TypeAdapter(Fixing)
_WAITING = TypeAdapter(Waiting)
_DECISION = TypeAdapter(Decision)
_SPANS = TypeAdapter(list[tuple[date, date]])
_STATE = TypeAdapter(SourceState)
_SNAPSHOT = TypeAdapter(Snapshot)


class Written(NamedTuple):
    """The stamps of a source before a writing, and since; whether all of it holds now."""

    before: str | None
    stamp: str
    whole: bool = True


class Store:
    """All methods raise `StoreError` when the store is away or refuses. Writing twice is as once."""

    def __init__(self, url: str, prefix: str) -> None:
        """Connect lazily. Raises `SettingsError` for a URL of no known form."""
        self._connection = Connection(url)
        self._redis, self._errors = self._connection.redis, self._connection.errors
        self._prefix = prefix
        self.peers = Peers(self._connection, prefix)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def save(self, *fixings: Fixing, decision: Decision | None = None) -> Written:
        """Keep fixings of one source, each for its date, where nothing waits any more.

        Together with the decision that lets one in, where there is one. What says the same stays as it is, and so
        does what has been revised more often: who was cut off for a while may hold what has been replaced since.
        """
        source, days = fixings[0].source, [str(fixing.date) for fixing in fixings]
        key, whole = self._key("fixings", source), True

        async def write(pipe: Pipeline) -> None:
            stored = await pipe.hmget(key, days)
            there = {one.date: one for one in readable(FIXING, filter(None, stored), source)}
            new = [one for one in fixings if one.date not in there or one.replaces(there[one.date])]
            pipe.multi()  # type: ignore[no-untyped-call]
            for fixing in new:
                pipe.hset(key, str(fixing.date), FIXING.dump_json(fixing).decode())
            nonlocal whole
            whole = len(new) == len(fixings)
            if new:
                pipe.hdel(self._key("quarantine", source), *[str(one.date) for one in new])
            if decision:
                self._decide(pipe, decision)
            self._stamp(pipe, source)

        with self._errors():
            return _written(await self._redis.transaction(write, key))._replace(whole=whole)

    async def quarantine(self, waiting: Waiting) -> Written:
        """Let a fixing wait, in place of another form of it."""
        source, day = waiting.fixing.source, str(waiting.fixing.date)
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(self._key("quarantine", source), day, _WAITING.dump_json(waiting).decode())
                self._stamp(pipe, source)
                return _written(await pipe.execute())

    async def decide(self, decision: Decision) -> Written:
        """Keep how a wait ended, which is over by that."""
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                self._decide(pipe, decision)
                self._stamp(pipe, decision.waiting.fixing.source)
                return _written(await pipe.execute())

    def _decide(self, pipe: Pipeline, decision: Decision) -> None:
        fixing = decision.waiting.fixing
        key, json = self._key("decisions", fixing.source), _DECISION.dump_json(decision).decode()
        pipe.lrem(key, 0, json)
        pipe.lpush(key, json)
        pipe.ltrim(key, 0, _DECISIONS - 1)
        pipe.hdel(self._key("quarantine", fixing.source), str(fixing.date))

    def _stamp(self, pipe: Pipeline, source: str) -> None:
        """Change the stamp of a source, last of all in a transaction: `_written` reads what this answers."""
        key, stamp = self._key("stamps"), uuid4().hex
        pipe.hget(key, source)
        pipe.hset(key, source, stamp)
        pipe.hget(key, source)

    async def stamps(self) -> dict[str, str]:
        """Return a word a source for all that is stored of it: another one with each writing, never one of before."""
        with self._errors():
            return cast("dict[str, str]", await self._redis.hgetall(self._key("stamps")))

    async def sources(self) -> list[str]:
        """Return every source of which there are fixings, by name."""
        beginning = self._key("fixings", "")
        with self._errors():
            return sorted(
                [str(key)[len(beginning) :] async for key in self._redis.scan_iter(f"{_literal(beginning)}*")]
            )

    async def stamp(self, source: str) -> str | None:
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
        return list(readable(FIXING, filter(None, found), source))

    async def figures(self, source: str, since: date, until: date) -> list[Record]:
        """Return the figures of all days from `since` to `until`, oldest first; what is unreadable as in `fixings`.

        Each day is asked for, published or not: one without a fixing costs less than the list of all dates.
        """
        days = [str(date.fromordinal(day)) for day in range(since.toordinal(), until.toordinal() + 1)]
        with self._errors():
            found = await self._redis.hmget(self._key("fixings", source), days)
        return list(readable_figures(found, source))

    async def fixing(self, source: str, day: date) -> Fixing | None:
        with self._errors():
            json = await self._redis.hget(self._key("fixings", source), str(day))
            return FIXING.validate_json(json) if json else None

    async def waiting(self, source: str) -> list[Waiting]:
        """Return what is in quarantine, oldest date first."""
        with self._errors():
            found = await self._redis.hvals(self._key("quarantine", source))
        return sorted(readable(_WAITING, found, source), key=lambda one: one.fixing.date)

    async def decisions(self, source: str) -> list[Decision]:
        """Return how waits ended, newest first."""
        with self._errors():
            found = await self._redis.lrange(self._key("decisions", source), 0, -1)
        return list(readable(_DECISION, found, source))

    async def save_raw(self, source: str, digest: str, body: bytes, keep: timedelta) -> None:
        """Keep a bank's answer for a while, compressed; where no time is given, not at all."""
        if keep:
            packed = await asyncio.to_thread(zlib.compress, body)  # 10 ms for a year's document
            with self._errors():
                await self._redis.set(self._key("raw", source, digest), packed, ex=keep)

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
        return {str(key): state for key, json in found.items() for state in readable(_STATE, [json], str(key))}

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        with self._errors():
            await self._redis.hset(self._key("snapshots"), snapshot.id, _SNAPSHOT.dump_json(snapshot))

    async def snapshot(self, ticker: str) -> Snapshot | None:
        with self._errors():
            json = await self._redis.hget(self._key("snapshots"), ticker)
            return _SNAPSHOT.validate_json(json) if json else None

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


def _written(answers: Sequence[str | None]) -> Written:
    return Written(answers[-3], str(answers[-1]))


def _literal(text: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


def _date(field: str) -> date | None:
    """Return the date of a hash's field; None for one that is none of ours."""
    try:
        return date.fromisoformat(field)
    except ValueError:
        return None
