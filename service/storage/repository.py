"""Repository of fixings and quarantines in Redis 7 or Valkey 8 and newer.

Keys, all under the configured prefix::

    fixings:<source>       hash    effective date -> fixing
    quarantine:<source>    hash    effective date -> quarantined fixing
    decisions:<source>     list    decisions that ended a quarantine, newest first
    backfilled             hash    source, at a relay with its currencies -> completed spans of backfills
    raw:<source>:<digest>  string  raw response of the bank, compressed; expires
    raws:<source>          zset    digest -> time of storage: index of the raw responses, for `store.raw_bytes`;
                                   expired ones are removed when the next one is stored
    stamps                 hash    source -> version of its fixings, quarantine and decisions; changes with every write
    states                 hash    source -> result of its last polls
    snapshots              hash    ticker -> its last snapshot, for programs that read Redis directly
    aside:<source>         hash    key and field -> invalid record that `check --repair` moved, unchanged
    aside:<source>:<key>           whole key of a wrong type, moved by a sync or by `check --repair`
    schema                 string  version of this layout, see `service.storage.schema`
    leader, news, instances
                           see `service.storage.coordination`
    webhooks:<webhook>, deliveries, reported_tickers, reported_sources
                           see `service.storage.webhook_queue`
"""

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, Self, TypeVar, cast
from uuid import uuid4

from redis.asyncio.client import Pipeline
from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from service.clock import Clock
from service.domain.bounds import LATEST, date_errors, last_dates
from service.domain.fixing import Fixing
from service.domain.snapshot import Snapshot
from service.errors import StoreError, UnusableStoreError
from service.observability.tracing import traced
from service.runtime.background import run_in_thread
from service.runtime.program import program
from service.settings import Settings
from service.state.memory import SourceState
from service.storage import schema
from service.storage.codecs import (
    DECISION,
    DELIVERIES,
    FIXING,
    QUEUED_EVENT,
    REPORTED_SOURCE,
    REPORTED_TICKER,
    SNAPSHOT,
    SPANS,
    STATE,
    WAITING,
    Kind,
    Place,
    StoredRates,
    readable,
    readable_rates,
    report,
)
from service.storage.coordination import LIFE, Coordination
from service.storage.embedded_valkey import EmbeddedValkey
from service.storage.redis_connection import CLUSTER, TIMEOUT, RedisConnection, SentinelStatus
from service.storage.webhook_queue import WebhookQueue
from service.validation.quarantine import (
    KEPT_DECISIONS,
    Outcome,
    Quarantine,
    QuarantineDecision,
    QuarantinedFixing,
    index_by_time,
    is_entered_again,
)

_BATCH: Final = 250
_NAMED: Final = 10
"""Impossible dates of a source that are logged individually."""
_BY_SOURCE: Final[Mapping[str, tuple[Kind[Any] | None, str]]] = {
    "fixings": (FIXING, "hash"),
    "quarantine": (WAITING, "hash"),
    "decisions": (DECISION, "list"),
    "raws": (None, "zset"),
    "webhooks": (QUEUED_EVENT, "list"),
}
"""Keys per source, or per webhook: kind of the records and Redis type."""
_SHARED: Final[Mapping[str, Kind[Any] | None]] = {
    "states": STATE,
    "snapshots": SNAPSHOT,
    "backfilled": SPANS,
    "stamps": None,
    "instances": None,
    "deliveries": DELIVERIES,
    "reported_tickers": REPORTED_TICKER,
    "reported_sources": REPORTED_SOURCE,
}
"""Hashes that are shared by all sources."""
_FIXING_ASIDE: Final = re.compile(r"^fixings:\S+ (\d{4}-\d\d-\d\d)'*$")
"""Fields of `aside:<source>` with a fixing that `check --repair` moved there."""
# Stores a raw response, and removes the oldest ones that exceed the limit (counted from the newest).
_SAVE_RAW: Final = """
redis.call('SET', ARGV[1] .. ARGV[2], ARGV[3], 'PX', ARGV[4])
local now, budget, sum = redis.call('TIME'), tonumber(ARGV[5]), 0
redis.call('ZADD', KEYS[1], now[1] * 1000000 + now[2], ARGV[2])
for _, digest in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do
  local size = redis.call('STRLEN', ARGV[1] .. digest)
  sum = sum + size
  if size == 0 or (budget > 0 and sum > budget) then
    redis.call('UNLINK', ARGV[1] .. digest)
    redis.call('ZREM', KEYS[1], digest)
  end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
"""


T = TypeVar("T")


class WriteResult(NamedTuple):
    """The versions of a source before and after a write; `whole` if all of it was written."""

    before: str | None
    version: str
    whole: bool = True


class Sizes(NamedTuple):
    """Numbers of records of a source."""

    fixings: int = 0
    quarantined: int = 0
    decisions: int = 0


class Durability(NamedTuple):
    """How safe records are in the server; None: unknown, the server does not report it to this user."""

    policy: str | None = None
    """`maxmemory-policy`."""
    appends: bool | None = None
    """Whether the append-only file is on."""
    is_writing: bool | None = None
    """Whether the last write to the append-only file succeeded."""

    @property
    def problems(self) -> list[str]:
        """What can lose records, with the remedy."""
        problems = list[str]()
        if self.policy not in (None, "noeviction"):
            problems.append(f"maxmemory-policy is {self.policy}, so records can be evicted; set it to noeviction")
        if self.appends is False:
            problems.append("the append-only file is off, so a restart can lose records; set appendonly to yes")
        if self.appends and self.is_writing is False:
            problems.append("the append-only file cannot be written; check whether the disk is full")
        return problems


class BadRecord(NamedTuple):
    """An invalid record, which all instances skip. `value` is None if the whole key is of a wrong type."""

    place: Place
    problem: str
    value: str | None = None


@traced("store")
class Store:
    """The stored data of all sources. Writes are idempotent.

    All methods raise `StoreError` if Redis is down or replies with an error. Records that cannot be read or are out of
    bounds, and keys of a wrong type, are logged (`store.unreadable`) and skipped: no method raises for them.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        last_date: Callable[[str], date] = lambda _: LATEST,
        raw_bytes: int = 0,
        timeout: float = TIMEOUT,
        lock_life: float = LIFE,
    ) -> None:
        """Create a store that connects lazily. Raises `SettingsError` for an invalid URL.

        `last_date` returns the last effective date that a source can have published by now. `raw_bytes` limits the
        total size of the raw responses kept per source, compressed; 0 means no limit. `timeout` is that of connecting
        and of each command, `lock_life` the time to live of the leader's lock, in seconds.
        """
        self._connection = RedisConnection(url, timeout)
        self._redis, self._errors = self._connection.redis, self._connection.errors
        self._prefix = prefix
        self._raw_bytes = raw_bytes
        self._save_raw = self._redis.register_script(_SAVE_RAW)
        self.last_date = last_date
        self.coordination = Coordination(self._connection, prefix, lock_life)
        self.webhooks = WebhookQueue(self._connection, prefix)
        self._decoded_decisions = dict[str, dict[str, QuarantineDecision]]()
        """By source: the decisions that were read last, by their JSON."""
        self._withheld = dict[str, date]()
        """By source: the first stored date that is not possible yet."""
        self._decoded_states = dict[str, tuple[str, date, SourceState | None]]()
        """By source: its state that was read last, with its JSON and the last date; None if it is invalid."""
        self._invalid_schema: str | None = None
        self._is_in_no_cluster = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def save(
        self,
        *fixings: Fixing,
        decision: QuarantineDecision | None = None,
        still_quarantined: QuarantinedFixing | None = None,
    ) -> WriteResult:
        """Save fixings of one source, each unless a later version of it is stored.

        If given, the decision that ends a quarantine and the rates of its date that stay quarantined are saved in the
        same transaction, unless later versions keep the fixings from being stored.
        """
        source, days = fixings[0].source, [str(fixing.date) for fixing in fixings]
        key, whole = self._key("fixings", source), True

        async def write(pipe: Pipeline) -> None:
            stored = await pipe.hmget(key, days)
            by_date = {old.date: old for old in readable(FIXING, zip(days, stored, strict=True), f"fixings:{source}")}
            new = [
                fixing for fixing in fixings if fixing.date not in by_date or fixing.supersedes(by_date[fixing.date])
            ]
            pipe.multi()  # type: ignore[no-untyped-call]
            for fixing in new:
                pipe.hset(key, str(fixing.date), FIXING.adapter.dump_json(fixing).decode())
            nonlocal whole
            whole = len(new) == len(fixings)
            if decision and all(each in new or each.is_part_of(by_date[each.date]) for each in fixings):
                self._decide(pipe, decision, still_quarantined)
            self._change_version(pipe, source)

        with self._errors():
            return _written(await self._redis.transaction(write, key))._replace(whole=whole)

    async def quarantine(self, waiting: QuarantinedFixing) -> WriteResult:
        """Save a quarantined fixing, replacing an earlier one of its date."""
        source, day = waiting.fixing.source, str(waiting.fixing.date)
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(self._key("quarantine", source), day, WAITING.adapter.dump_json(waiting).decode())
                self._change_version(pipe, source)
                return _written(await pipe.execute())

    async def record_decision(
        self, decision: QuarantineDecision, still_quarantined: QuarantinedFixing | None = None
    ) -> WriteResult:
        """Save a decision, which ends the quarantine of its date except for the rates that are `still_quarantined`."""
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                self._decide(pipe, decision, still_quarantined)
                self._change_version(pipe, decision.waiting.fixing.source)
                return _written(await pipe.execute())

    async def restore_decisions(self, source: str, decisions: Sequence[QuarantineDecision]) -> int:
        """Add decisions that are not stored, by their times among those that are; return how many.

        They end no quarantine: it is newer than they are. The order of the stored ones stays, and the latest are kept.
        Rates that a restored decision has retracted are removed again, unless an operator has entered them since.
        """
        key, fixings = self._key("decisions", source), self._key("fixings", source)

        async def write(pipe: Pipeline) -> int:
            stored = list[tuple[datetime, str, QuarantineDecision | None]]()
            latest = datetime.max.replace(tzinfo=UTC)
            for field, json in _numbered(await pipe.lrange(key, 0, -1)):
                known = next(readable(DECISION, [(field, json)], f"decisions:{source}"), None)
                latest = known.at if known else latest  # an unreadable one stays where it is
                stored.append((latest, json, known))
            days = sorted({each.waiting.fixing.date for each in decisions if each.outcome is Outcome.RETRACTED})
            json_of_days = await pipe.hmget(fixings, [str(day) for day in days]) if days else []
            fields = zip(map(str, days), json_of_days, strict=True)
            published = {fixing.date: fixing for fixing in readable(FIXING, fields, f"fixings:{source}")}
            stored_decisions = [known for _, _, known in stored]
            new = list[QuarantineDecision]()
            for decision in sorted(decisions, key=lambda decision: decision.at, reverse=True):
                index = index_by_time([at for at, _, _ in stored], decision.at)
                is_void = is_entered_again(decision, published.get(decision.waiting.fixing.date))
                if decision not in stored_decisions and index < KEPT_DECISIONS and not is_void:
                    stored.insert(index, (decision.at, DECISION.adapter.dump_json(decision).decode(), decision))
                    new.append(decision)
            quarantine = Quarantine.of((), [known for _, _, known in stored if known])
            retracted_days = {each.waiting.fixing.date for each in new if each.outcome is Outcome.RETRACTED}
            pipe.multi()  # type: ignore[no-untyped-call]
            if new:
                pipe.delete(key)
                pipe.rpush(key, *(json for _, json, _ in stored[:KEPT_DECISIONS]))
                for day in retracted_days & published.keys():
                    self._replace(pipe, quarantine.without_rejected(published[day]))
                self._change_version(pipe, source)
            return len(new)

        with self._errors():
            return cast("int", await self._redis.transaction(write, key, fixings, value_from_callable=True))

    async def retract(self, published: Fixing, decision: QuarantineDecision) -> WriteResult:
        """Remove the rates of a decision from a published fixing, and save the decision, in one transaction."""
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                self._replace(pipe, published.without(decision.waiting.fixing.rates))
                self._decide(pipe, decision)
                self._change_version(pipe, published.source)
                return _written(await pipe.execute())

    def _replace(self, pipe: Pipeline, fixing: Fixing) -> None:
        """Replace the stored fixing of a date, or remove it if no rate is left."""
        key, day = self._key("fixings", fixing.source), str(fixing.date)
        if fixing.rates:
            pipe.hset(key, day, FIXING.adapter.dump_json(fixing).decode())
        else:
            pipe.hdel(key, day)

    def _decide(
        self, pipe: Pipeline, decision: QuarantineDecision, still_quarantined: QuarantinedFixing | None = None
    ) -> None:
        fixing = decision.waiting.fixing
        key, json = self._key("decisions", fixing.source), DECISION.adapter.dump_json(decision).decode()
        pipe.lrem(key, 0, json)
        pipe.lpush(key, json)
        pipe.ltrim(key, 0, KEPT_DECISIONS - 1)
        quarantine, day = self._key("quarantine", fixing.source), str(fixing.date)
        if still_quarantined:
            pipe.hset(quarantine, day, WAITING.adapter.dump_json(still_quarantined).decode())
        else:
            pipe.hdel(quarantine, day)

    def _change_version(self, pipe: Pipeline, source: str) -> None:
        """Change the version of a source, last in a transaction: `_written` reads the replies to these commands."""
        key, version = self._key("stamps"), uuid4().hex
        pipe.hget(key, source)
        pipe.hset(key, source, version)
        pipe.hget(key, source)

    async def check_schema(self, *, prepare: bool) -> None:
        """Check that the server is not in cluster mode, and the version of the store's layout.

        With `prepare`, it is written if the store is new, and an older layout is migrated. Raises
        `UnusableStoreError` for a Redis Cluster or a newer layout, and `StoreError` for an older one that is not
        migrated.
        """
        await self._refuse_cluster()
        stored = await self._read("schema", self._redis.get(self._key("schema")), None)
        if stored == str(schema.VERSION):
            return
        if stored is not None and not schema.FORM.fullmatch(stored):
            if stored != self._invalid_schema:  # it is read at each sync
                report("schema", Place("schema", ""), "it is not a version", stored)
            self._invalid_schema = stored
            return
        with self._errors():
            is_new = stored is None and not await self._redis.exists(self._key("stamps"))
        version = schema.VERSION if is_new else int(stored or schema.UNVERSIONED)
        schema.check(version, or_older=prepare)
        if prepare and version < schema.VERSION:
            with self._errors():
                await schema.migrate(self._redis, self._key)
        elif prepare:
            try:
                with self._errors():
                    await self._redis.set(self._key("schema"), version, nx=True)
            except StoreError as error:  # a replica, a full server: records can still be read
                if not error.refused:
                    raise

    async def _refuse_cluster(self) -> None:
        """Raise `UnusableStoreError` for a server in cluster mode: its transactions have keys of one slot only."""
        if self._is_in_no_cluster:
            return
        try:
            with self._errors():
                cluster = await self._redis.info("cluster")
        except StoreError as error:
            if not error.refused:
                raise
            cluster = {}  # an ACL or a proxy does not allow INFO
        if cluster.get("cluster_enabled"):
            raise UnusableStoreError(f"{self._connection.where}: {CLUSTER}")
        self._is_in_no_cluster = True

    async def versions(self) -> dict[str, str]:
        """Return an opaque version per source; it changes with every write and is never reused.

        It also changes when a date that `dates` has omitted becomes possible: the clock was behind, or an operator
        accepted it early.
        """
        stored: dict[str, str] = await self._read("stamps", self._redis.hgetall(self._key("stamps")), {})
        due = {source: day for source, day in self._withheld.items() if day <= self.last_date(source)}
        return stored | {source: f"{stored[source]} {day}" for source, day in due.items() if source in stored}

    async def sources(self) -> list[str]:
        """Return all sources with stored fixings, quarantined fixings or decisions, in alphabetical order."""
        found = set[str]()
        for prefix in (self._key(name, "") for name in ("fixings", "quarantine", "decisions")):
            with self._errors():
                keys = [str(key) async for key in self._redis.scan_iter(f"{_literal(prefix)}*")]
            found.update(key.removeprefix(prefix) for key in keys)
        return sorted(found)

    async def sizes(self, sources: Sequence[str]) -> dict[str, Sizes]:
        """Return the numbers of records of each source, also of records that are skipped when read."""
        with self._errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for source in sources:
                    pipe.hlen(self._key("fixings", source))
                    pipe.hlen(self._key("quarantine", source))
                    pipe.llen(self._key("decisions", source))
                replies = [reply if isinstance(reply, int) else 0 for reply in await pipe.execute(raise_on_error=False)]
        return {source: Sizes(*replies[3 * place : 3 * place + 3]) for place, source in enumerate(sources)}

    async def durability(self) -> Durability:
        """Return the persistence and eviction of the server; unknown where an ACL or a proxy does not allow `INFO`."""
        try:
            with self._errors():
                memory, persistence = await self._redis.info("memory"), await self._redis.info("persistence")
        except StoreError as error:
            if not error.refused:
                raise
            return Durability()
        appends = persistence.get("aof_enabled")
        return Durability(
            memory.get("maxmemory_policy"),
            None if appends is None else bool(appends),
            persistence.get("aof_last_write_status", "ok") == "ok",
        )

    async def server_info(self) -> dict[str, Any]:
        """Return what the server reports about its memory, persistence and replicas (`INFO`)."""
        with self._errors():
            return await self._redis.info("memory", "persistence", "replication")

    async def sentinel_status(self) -> SentinelStatus | None:
        """Return the state of the Sentinels; None if the URL of the store names none. Never raises."""
        return await self._connection.sentinel_status()

    async def dates_aside(self, source: str) -> list[date]:
        """Return the dates of the fixings that `check --repair` has moved aside."""
        stored = await self._read("aside", self._redis.hkeys(self._key("aside", source)), [])
        matches = (_FIXING_ASIDE.match(field) for field in stored)
        return [date.fromisoformat(match[1]) for match in matches if match and _field_error(match[1]) is None]

    async def version(self, source: str) -> str | None:
        """Return the version of one source; None if nothing of it is stored."""
        stored: str | None = await self._read("stamps", self._redis.hget(self._key("stamps"), source), None)
        return stored

    async def dates(self, source: str) -> list[date]:
        """Return all effective dates of a source, oldest first; impossible dates are logged and omitted."""
        key, latest = f"fixings:{source}", self.last_date(source)
        days, later = list[date](), list[date]()
        for field in await self._read(key, self._redis.hkeys(self._key(key)), []):
            if problem := _field_error(field):
                report(FIXING.name, Place(key, field), problem, "")
                continue
            day = date.fromisoformat(field)
            if day <= latest:
                days.append(day)
            else:
                later.append(day)
        self._withheld.pop(source, None)
        if later:
            self._withheld[source] = min(later)
        for day in sorted(later)[:_NAMED]:
            report(FIXING.name, Place(key, str(day)), date_errors(day, latest)[0], "")
        unnamed_count = len(later) - _NAMED
        if unnamed_count > 0:
            report(
                FIXING.name,
                Place(key, ""),
                f"{unnamed_count} more are dated after {latest}; check the system clock",
                "",
            )
        return sorted(days)

    async def count(self, source: str) -> int:
        """Return the number of stored fixings of a source, including those that are skipped when read."""
        key = f"fixings:{source}"
        return int(await self._read(key, self._redis.hlen(self._key(key)), 1))

    async def recent(self, source: str, count: int) -> list[Fixing]:
        """Return the fixings of the `count` latest dates, oldest first."""
        return await self.fixings(source, (await self.dates(source))[-count:])

    async def fixings(self, source: str, days: Sequence[date]) -> list[Fixing]:
        """Return the fixings of the given dates, in the same order; dates without a fixing are skipped."""
        if not days:
            return []
        key, fields = f"fixings:{source}", [str(day) for day in days]
        stored = await self._read(key, self._redis.hmget(self._key(key), fields), [])
        return list(readable(FIXING, zip(fields, stored, strict=False), key, self.last_date(source)))

    async def rates(self, source: str, since: date, until: date) -> list[StoredRates]:
        """Return the rates of all dates from `since` to `until`, oldest first.

        Every date is requested, with or without a fixing: that is faster than reading the list of all dates.
        """
        key, until = f"fixings:{source}", min(until, self.last_date(source))
        days = [str(date.fromordinal(day)) for day in range(since.toordinal(), until.toordinal() + 1)]
        stored = await self._read(key, self._redis.hmget(self._key(key), days), []) if days else []
        return list(readable_rates(zip(days, stored, strict=False), key))

    async def fixing(self, source: str, day: date) -> Fixing | None:
        """Return the fixing of a date; None if there is none or it is invalid."""
        return next(iter(await self.fixings(source, [day])), None)

    async def waiting(self, source: str) -> list[QuarantinedFixing]:
        """Return the quarantined fixings, oldest date first."""
        key = f"quarantine:{source}"
        stored = await self._read(key, self._redis.hgetall(self._key(key)), {})
        return sorted(readable(WAITING, stored.items(), key), key=lambda entry: entry.fixing.date)

    async def decisions(self, source: str) -> list[QuarantineDecision]:
        """Return the decisions that ended quarantines, newest first.

        They are read at each change of the source: those that were read before are not decoded again, the others in a
        worker thread, since a thousand of them take most of a second.
        """
        key, known = f"decisions:{source}", self._decoded_decisions.get(source, {})
        stored = await self._read(key, self._redis.lrange(self._key(key), 0, -1), [])
        new = [(field, json) for field, json in _numbered(stored) if json not in known]
        if new:
            known = known | await run_in_thread(_decoded, new, key)
        self._decoded_decisions[source] = {json: known[json] for json in stored if json in known}
        return [known[json] for json in stored if json in known]

    async def save_raw(self, source: str, digest: str, body: bytes, keep: timedelta) -> None:
        """Store a raw response, compressed, for the time `keep`; if that is zero, do nothing.

        If the responses of the source exceed `raw_bytes`, the oldest are removed. A single response that exceeds it is
        not stored.
        """
        if keep:
            packed = await asyncio.to_thread(zlib.compress, body)  # 10 ms for a year's document
            if 0 < self._raw_bytes < len(packed):
                return
            key, milliseconds = self._key("raws", source), keep // timedelta(milliseconds=1)
            with self._errors():
                if self._raw_bytes and not await self._redis.exists(key):
                    await self._index_raw(source, milliseconds)
                await self._save_raw(
                    [key], [self._key("raw", source, ""), digest, packed, milliseconds, self._raw_bytes]
                )

    async def _index_raw(self, source: str, milliseconds: int) -> None:
        """Index the responses that an earlier version stored without an index; the age is derived from the TTL."""
        prefix, now = self._key("raw", source, ""), (await self._redis.time())[0] * 1_000_000
        stored_keys = sorted({str(key) async for key in self._redis.scan_iter(f"{_literal(prefix)}*", count=1000)})
        for start in range(0, len(stored_keys), _BATCH):
            batch = stored_keys[start : start + _BATCH]
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in batch:
                    pipe.pttl(key)
                remaining = await pipe.execute()
                ages = (milliseconds - max(0, min(ttl, milliseconds)) for ttl in remaining)
                times = [now - age * 1000 for age in ages]
                digests = (key.removeprefix(prefix) for key in batch)
                await self._redis.zadd(self._key("raws", source), dict(zip(digests, times, strict=True)))

    async def raw(self, source: str, digest: str) -> bytes | None:
        """Return a raw response, unchanged; None if it has expired or was removed for newer ones."""
        key, options = f"raw:{source}:{digest}", {NEVER_DECODE: True}
        command = self._redis.execute_command("GET", self._key(key), **options)  # type: ignore[no-untyped-call]
        stored: bytes | None = await self._read(key, command, None)
        try:
            return zlib.decompress(stored) if stored else None
        except zlib.error as error:
            report("raw", Place(f"raw:{source}", digest), str(error), "")
            return None

    async def backfilled(self, source: str) -> list[tuple[date, date]]:
        """Return the completed spans of backfills, as pairs of first and last date, oldest first."""
        return await self._field_record(SPANS, "backfilled", source) or []

    async def save_backfilled(self, source: str, spans: Sequence[tuple[date, date]]) -> None:
        with self._errors():
            await self._redis.hset(self._key("backfilled"), source, SPANS.adapter.dump_json(list(spans)))

    async def save_state(self, source: str, state: SourceState) -> None:
        with self._errors():
            await self._redis.hset(self._key("states"), source, STATE.adapter.dump_json(state))

    async def states(self) -> Mapping[str, SourceState]:
        """Return the valid states by source. They are read at each sync: an invalid one is logged once a day."""
        stored = await self._read("states", self._redis.hgetall(self._key("states")), {})
        states = dict[str, tuple[str, date, SourceState | None]]()
        for key, json in stored.items():
            last_date, known = self.last_date(key), self._decoded_states.get(key)
            if known and known[:2] == (json, last_date):
                states[key] = known
            else:
                states[key] = json, last_date, next(readable(STATE, [(key, json)], "states", last_date), None)
        self._decoded_states = states
        return {key: state for key, (_, _, state) in states.items() if state}

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        with self._errors():
            await self._redis.hset(self._key("snapshots"), snapshot.id, SNAPSHOT.adapter.dump_json(snapshot))

    async def snapshot(self, ticker: str) -> Snapshot | None:
        return await self._field_record(SNAPSHOT, "snapshots", ticker)

    async def bad_records(self) -> list[BadRecord]:
        """Return all invalid records and keys of a wrong type, sorted by key and field."""
        bad = dict[tuple[str, str], BadRecord]()  # a scan may return a field twice
        for kind, key, expected_type in await self._keys():
            with self._errors():
                actual_type = str(await self._redis.type(self._key(key)))
                if actual_type not in (expected_type, "none"):
                    bad[key, ""] = BadRecord(Place(key, ""), f"it is of type {actual_type}, not {expected_type}")
                elif kind:
                    async for field, json in self._fields(key, expected_type):
                        place = Place(key, field, self._latest(key, field))
                        try:
                            kind.read(json, place)
                        except ValueError as error:
                            bad[key, field] = BadRecord(place, str(error), json)
        # `stamps` comes first: while that key is of a wrong type, no other record can be moved.
        return [bad[place] for place in sorted(bad, key=lambda place: (place[0] != "stamps", place))]

    async def wrong_keys(self, sources: Collection[str], webhooks: Collection[str] = ()) -> list[BadRecord]:
        """Return the keys of these sources and webhooks, and the shared ones, that are of a wrong type."""
        self._connection.wrong_type_seen = False
        expected = dict.fromkeys(_SHARED, "hash") | {"schema": "string"}
        for name, (_, redis_type) in _BY_SOURCE.items():
            owners = webhooks if name == "webhooks" else sources
            expected |= {f"{name}:{owner}": redis_type for owner in owners}
        with self._errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in expected:
                    pipe.type(self._key(key))
                types = await pipe.execute()
        return [
            BadRecord(Place(key, ""), f"it is of type {actual}, not {expected[key]}")
            for key, actual in zip(expected, map(str, types), strict=True)
            if actual not in (expected[key], "none")
        ]

    @property
    def wrong_type_seen(self) -> bool:
        """Whether a command has failed because of the type of its key since `wrong_keys` was called."""
        return self._connection.wrong_type_seen

    async def set_aside(self, bad: BadRecord) -> bool:
        """Move an invalid record, unchanged, to `aside:<source>`; return False if it has changed since it was read.

        Running instances reload the source.
        """
        key, owner = self._key(bad.place.key), bad.place.owner or bad.place.key
        aside, value = self._key("aside", owner), bad.value

        async def write(pipe: Pipeline, value: str) -> bool:
            name = f"{bad.place.key} {bad.place.field}"
            while await pipe.hexists(aside, name):
                name += "'"
            is_list = _BY_SOURCE.get(bad.place.key.partition(":")[0], (None, "hash"))[1] == "list"
            stored_values = await pipe.lrange(key, 0, -1) if is_list else [await pipe.hget(key, bad.place.field)]
            pipe.multi()  # type: ignore[no-untyped-call]
            if value not in stored_values:
                return False
            pipe.hset(aside, name, value)
            if is_list:
                pipe.lrem(key, 1, value)
            else:
                pipe.hdel(key, bad.place.field)
            if ":" in bad.place.key:
                self._change_version(pipe, owner)
            return True

        with self._errors():
            if value is not None:
                moving = partial(write, value=value)
                return cast("bool", await self._redis.transaction(moving, key, aside, value_from_callable=True))
            name = f"{aside}:{bad.place.key}"
            while not await self._redis.renamenx(key, name):
                name += "'"
            if ":" in bad.place.key:
                await self._redis.hset(self._key("stamps"), owner, uuid4().hex)
            return True

    async def _keys(self) -> list[tuple[Kind[Any] | None, str, str]]:
        """Return all existing keys of sources, and the shared keys, as tuples of kind, key and Redis type."""
        keys: list[tuple[Kind[Any] | None, str, str]] = [(kind, key, "hash") for key, kind in _SHARED.items()]
        for name, (kind, redis_type) in _BY_SOURCE.items():
            pattern = f"{_literal(self._key(name, ''))}*"
            with self._errors():
                stored = [str(key) async for key in self._redis.scan_iter(pattern)]
            keys += [(kind, key.removeprefix(self._prefix), redis_type) for key in sorted(set(stored))]
        return keys

    async def _fields(self, key: str, redis_type: str) -> AsyncIterator[tuple[str, str]]:
        if redis_type == "list":
            for entry in _numbered(await self._redis.lrange(self._key(key), 0, -1)):
                yield entry
        else:
            async for field, json in self._redis.hscan_iter(self._key(key)):
                yield field, json

    def _latest(self, key: str, field: str) -> date:
        if key == "states":
            return self.last_date(field)
        name, _, source = key.partition(":")
        return self.last_date(source) if name == "fixings" else LATEST

    async def _field_record(self, kind: Kind[T], key: str, field: str) -> T | None:
        """Return the record of a field; None if it is missing or invalid."""
        json = await self._read(key, self._redis.hget(self._key(key), field), None)
        return next(readable(kind, [(field, json)], key), None)

    async def _read(self, key: str, command: Awaitable[Any], empty: Any) -> Any:  # noqa: ANN401 - as redis types it
        """Return the result of a command; `empty` if the key is of a wrong type."""
        with self._errors():
            try:
                return await command
            except ResponseError as error:
                if not str(error).startswith("WRONGTYPE"):
                    raise
        self._connection.wrong_type_seen = True
        report("key", Place(key, ""), f"it is of a wrong type; see: {program()} check", "")
        return empty

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


def open_store(settings: Settings, server: EmbeddedValkey | None, now: Clock, *, lock_life: float = LIFE) -> Store:
    """Return the configured store, or the one of the embedded server; it connects lazily."""
    url = server.url if server else settings.store.url.get_secret_value()
    store = settings.store
    return Store(url, store.prefix, last_dates(settings, now), store.raw_bytes, lock_life=lock_life)


def _written(replies: Sequence[str | None]) -> WriteResult:
    """Return the versions from the replies to `_change_version`, the last commands of a transaction."""
    return WriteResult(replies[-3], str(replies[-1]))


def _literal(text: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


def _decoded(stored: Iterable[tuple[str, str]], key: str) -> dict[str, QuarantineDecision]:
    """Return the valid decisions of a list by their JSON."""
    return {json: decision for field, json in stored for decision in readable(DECISION, [(field, json)], key)}


def _numbered(values: Iterable[Any]) -> Iterator[tuple[str, str]]:
    return ((str(number), value) for number, value in enumerate(values))


def _field_error(field: str) -> str | None:
    """Return why a field of a hash is not a valid effective date; None if it is."""
    try:
        day = date.fromisoformat(field)
    except ValueError:
        day = None
    if day is None or str(day) != field:
        return "it is not a date"
    return next(iter(date_errors(day, date.max)), None)
