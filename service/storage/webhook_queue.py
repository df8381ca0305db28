"""Queues of events for webhooks: kept until they are delivered.

Keys, under the configured prefix::

    webhooks:<webhook>   list  its events, oldest first; expires a month after the last one was added
    deliveries           hash  webhook -> state of its deliveries
    reported_tickers     hash  ticker -> what was reported of it
    reported_sources     hash  source -> what was reported of it

What was reported changes in the same transaction in which the events are added, and only if it is still what the caller
has read. So an event is added once, even if two instances lead.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

from redis.asyncio.client import Pipeline

from service.state.deliveries import DeliveryState, QueuedEvent, WaitingEvent, WebhookStatus
from service.state.events import Reported
from service.storage.codecs import DELIVERIES, QUEUED_EVENT, REPORTED_SOURCE, REPORTED_TICKER, Kind, readable
from service.storage.redis_connection import RedisConnection

T = TypeVar("T")
_UNUSED: Final = timedelta(days=30)
"""Time after which a queue expires to which nothing is added, e.g. that of a removed webhook."""
_KINDS: Final[Mapping[str, Kind[Any]]] = {"reported_tickers": REPORTED_TICKER, "reported_sources": REPORTED_SOURCE}


@dataclass(frozen=True, slots=True)
class StoredReport:
    """What was reported, with the stored texts from which it was read: by key, then by ticker or source."""

    reported: Reported = field(default_factory=Reported)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class WebhookQueue:
    """The queues of all webhooks. All methods raise `StoreError` if Redis is down or replies with an error."""

    def __init__(self, connection: RedisConnection, prefix: str) -> None:
        self._redis, self._errors, self._prefix = connection.redis, connection.errors, prefix
        self._states = dict[str, tuple[str | None, DeliveryState]]()
        """By webhook: its state that was read last, with its JSON, so that an invalid one is logged once."""

    async def reported(self, known: StoredReport | None = None) -> StoredReport:
        """Return what was reported: `known` if it has not changed. Invalid records are logged, and count as missing."""
        with self._errors():
            texts: dict[str, dict[str, str]] = {key: await self._hash(key) for key in _KINDS}
        if known and known.texts == texts:
            return known
        tickers = _records(REPORTED_TICKER, "reported_tickers", texts["reported_tickers"])
        sources = _records(REPORTED_SOURCE, "reported_sources", texts["reported_sources"])
        return StoredReport(Reported(tickers, sources), texts)

    async def add(
        self, before: StoredReport, after: Reported, events: Mapping[str, Sequence[QueuedEvent]]
    ) -> StoredReport | None:
        """Add events by webhook, and record what is reported with them; return what is stored then.

        None if what was reported is not as `before` any more: another instance has added events since.
        """
        fields = _changed_fields(before.reported, after)

        async def write(pipe: Pipeline) -> bool:
            for key in _KINDS:
                if await pipe.hgetall(self._key(key)) != before.texts[key]:
                    return False
            for webhook in events:  # a queue of a wrong type fails before anything is written
                await pipe.llen(self._key("webhooks", webhook))
            pipe.multi()  # type: ignore[no-untyped-call]
            for key, changed in fields.items():
                if changed:
                    pipe.hset(self._key(key), mapping=cast("dict[Any, Any]", changed))
            for webhook, added in events.items():
                if added:
                    pipe.rpush(self._key("webhooks", webhook), *(_json(QUEUED_EVENT, event) for event in added))
                    pipe.expire(self._key("webhooks", webhook), _UNUSED)
            return True

        with self._errors():
            keys = [self._key(key) for key in _KINDS]
            is_added = await self._redis.transaction(write, *keys, value_from_callable=True)
        if not is_added:
            return None
        return StoredReport(after, {key: {**before.texts[key], **fields[key]} for key in _KINDS})

    async def status(self, webhook: str) -> WebhookStatus:
        """Return the state of a webhook, the number of waiting events and the first of them.

        An invalid record at the beginning of the queue is logged and removed: it would block the others.
        """
        key, name = self._key("webhooks", webhook), f"webhooks:{webhook}"
        while True:
            with self._errors():
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.hget(self._key("deliveries"), webhook)
                    pipe.llen(key)
                    pipe.lindex(key, 0)
                    state_text, waiting, text = await pipe.execute()
            if webhook not in self._states or self._states[webhook][0] != state_text:
                state = next(readable(DELIVERIES, [(webhook, state_text)], "deliveries"), DeliveryState())
                self._states[webhook] = state_text, state
            state = self._states[webhook][1]
            first = next(readable(QUEUED_EVENT, [("0", text)], name), None)
            if first or text is None:
                return WebhookStatus(state, int(waiting), WaitingEvent(first, text) if first else None)
            with self._errors():
                await self._redis.lrem(key, 1, text)

    async def waiting(self, webhook: str) -> list[WaitingEvent]:
        """Return the waiting events, oldest first; invalid records are logged and skipped."""
        with self._errors():
            texts: list[str] = await cast(
                "Awaitable[list[str]]", self._redis.lrange(self._key("webhooks", webhook), 0, -1)
            )
        return [
            WaitingEvent(event, text)
            for number, text in enumerate(texts)
            for event in readable(QUEUED_EVENT, [(str(number), text)], f"webhooks:{webhook}")
        ]

    async def save(self, webhook: str, state: DeliveryState, done: Iterable[WaitingEvent] = ()) -> None:
        """Save the state of a webhook, and remove events that were delivered or dropped, in one transaction."""
        with self._errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                for waiting in done:
                    pipe.lrem(self._key("webhooks", webhook), 1, waiting.text)
                pipe.hset(self._key("deliveries"), webhook, _json(DELIVERIES, state))
                await pipe.execute()

    async def _hash(self, key: str) -> dict[str, str]:
        return cast("dict[str, str]", await self._redis.hgetall(self._key(key)))

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


def _json(kind: Kind[T], record: T) -> str:
    return kind.adapter.dump_json(record).decode()


def _changed_fields(before: Reported, after: Reported) -> dict[str, dict[str, str]]:
    """Return the records that have changed, by key and field."""
    tickers = {
        ticker: _json(REPORTED_TICKER, record)
        for ticker, record in after.tickers.items()
        if before.tickers.get(ticker) != record
    }
    sources = {
        source: _json(REPORTED_SOURCE, record)
        for source, record in after.sources.items()
        if before.sources.get(source) != record
    }
    return {"reported_tickers": tickers, "reported_sources": sources}


def _records(kind: Kind[T], key: str, texts: Mapping[str, str]) -> dict[str, T]:
    return {name: record for name, text in texts.items() for record in readable(kind, [(name, text)], key)}
