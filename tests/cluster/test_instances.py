"""Several instances on one real Valkey: a rate fetched by one is shown by all, even after data loss."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from service.cluster.follower import INTERVAL
from service.domain.fixing import Fixing, Rate
from service.settings import Settings
from service.state.memory import KEEP, MemoryState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from service.validation.quarantine import QuarantinedFixing
from tests.conftest import Clock, Started
from tests.support.fixings import day, fixing
from tests.support.instances import follower, until_subscribed
from tests.support.standin import Banks
from tests.support.wait import until, until_true

OLD = {"USD": "478.77", "EUR": "548.62", "RUB": "5.87", "GBP": "631.98", "CNY": "69.37"}
NEW = {"USD": "475.09", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12"}
PLAIN = {"Accept-Encoding": "identity"}
Client = TestClient[Any, Any]


def fixing_on(number: int, rates: dict[str, str]) -> Fixing:
    template = fixing(day(number))
    return replace(template, rates={code: Rate(Decimal(value)) for code, value in rates.items()})


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return the default configuration without sample data, which would be shown from the start."""
    (ticker,) = settings.tickers
    return settings.model_copy(update={"tickers": (ticker.model_copy(update={"sources": ("nbk", "cbr")}),)})


async def until_stored(store: Store, on: date) -> Fixing:
    """Wait until the store has the fixing: it is shown before it is written."""

    async def stored() -> Fixing | None:
        return await store.fixing("nbk", on)

    return await until(stored)


async def ticker_of(client: Client) -> dict[str, Any]:
    response = await client.get("/v1/ticker", headers=PLAIN)
    return dict(await response.json()) if response.status == 200 else {}


def shows_date(client: Client, date: str) -> Callable[[], Awaitable[bool]]:
    async def shows() -> bool:
        return (await ticker_of(client)).get("as_of") == date

    return shows


def store_of(settings: Settings) -> Store:
    return Store(settings.store.url.get_secret_value(), settings.store.prefix)


async def check(client: Client, name: str) -> dict[str, Any]:
    document = await (await client.get("/health", headers=PLAIN)).json(content_type=None)
    return dict(document["checks"][name][0])


async def until_synced(client: Client, store: Store) -> None:
    """Wait until an instance has read everything stored so far and written its own changes."""
    for number in (1, 2):  # an instance reads before it writes: its second sync starts after the writes of the first
        marker = fixing(day(number), "cbr", "RUB", USD="0")
        await store.quarantine(QuarantinedFixing(marker, ("USD is 0",), marker.fetched_at))
        await store.coordination.publish_change()

        async def has_read(last: str = str(marker.date)) -> bool:
            return any(entry["date"] == last for entry in (await check(client, "source:cbr"))["quarantine"])

        await until(has_read)


async def role(client: Client) -> str:
    return str((await check(client, "leader"))["observedValue"])


async def test_one_instance_polls_and_all_show_the_rates(start: Started, banks: Banks, settings: Settings) -> None:
    """A follower sends no requests to banks and shows the same bytes as the leader."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    leader, follower = await start(), await start()
    await until(shows_date(leader, "2026-04-02"))
    await until(shows_date(follower, "2026-04-02"))

    async def all_know_polls() -> bool:
        polls = [
            (await check(client, f"source:{key}")).get("time")
            for client in (leader, follower)
            for key in ("nbk", "cbr")
        ]
        return None not in polls

    await until(all_know_polls)
    async with store_of(settings) as store:
        await until_synced(follower, store)
    first, second = [await client.get("/v1/ticker", headers=PLAIN) for client in (leader, follower)]
    assert (first.headers["ETag"], await first.read()) == (second.headers["ETag"], await second.read())
    assert sorted([await role(leader), await role(follower)]) == ["follower", "leader"]
    assert sorted(set(banks.targets)) == sorted(banks.targets) != []
    sources = [await (await client.get("/v1/sources", headers=PLAIN)).json() for client in (leader, follower)]
    nbk = [next(source for source in listed["sources"] if source["key"] == "nbk") for listed in sources]
    assert nbk[0]["last_poll"] == nbk[1]["last_poll"] is not None
    assert None not in (nbk[0]["next_poll"], nbk[1]["next_poll"])


async def test_change_notifications_are_handled_at_once(settings: Settings, clock: Clock) -> None:
    """Changes by another instance are shown long before the next sync, which is an hour away."""
    clock.forward(days=9)  # fixings dated beyond the source's horizon are not read
    async with store_of(settings) as store, store_of(settings) as other:
        instance = StoreSync(MemoryState(settings), store)
        async with follower(instance, clock, interval=3600):
            await until_subscribed(other)
            for number in range(2, 12):
                await other.save(fixing_on(number, NEW | {"USD": f"47{number}.00"}))
                await other.coordination.publish_change()
                await until_true(is_published(instance, day(number)))
        await instance.close()


async def test_missed_notification_is_compensated_by_the_next_sync(settings: Settings, clock: Clock) -> None:
    """Followers sync every few seconds in any case."""
    assert INTERVAL <= 5
    async with store_of(settings) as store, store_of(settings) as other:
        instance = StoreSync(MemoryState(settings), store)
        async with follower(instance, clock, interval=0.01):
            await until_true(lambda: instance._loaded)
            await other.save(fixing_on(1, OLD), fixing_on(2, NEW))
            await until_true(is_published(instance, day(2)))
        await instance.close()


def is_published(instance: StoreSync, on: date) -> Callable[[], bool]:
    return lambda: "kzt" in instance.memory.snapshots and instance.memory.snapshots["kzt"].as_of == on


async def test_follower_takes_over_when_the_leader_stops(start: Started, banks: Banks) -> None:
    """A leader releases its lock on shutdown; the new leader polls the banks at once."""
    banks.published["nbk"] = {day(1): OLD}
    leader = await start()
    await until(shows_date(leader, "2026-04-01"))
    follower = await start()
    await until(shows_date(follower, "2026-04-01"))
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    await leader.close()
    await until(shows_date(follower, "2026-04-02"))
    assert await role(follower) == "leader"


async def test_lost_records_are_written_again(start: Started, banks: Banks, settings: Settings) -> None:
    """A running instance restores fixings and quarantine with their metadata."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await until(shows_date(client, "2026-04-02"))
    banks.published.clear()
    async with store_of(settings) as store:
        await until_stored(store, day(2))
        await store.quarantine(QuarantinedFixing(fixing(day(3), USD="0"), ("USD is 0",), fixing(day(3)).fetched_at))
        await store.coordination.publish_change()

        async def is_quarantined() -> bool:
            return bool((await check(client, "source:nbk"))["quarantine"])

        await until(is_quarantined)
        before, quarantine = await store.recent("nbk", KEEP), await store.waiting("nbk")
        await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
        assert await store.recent("nbk", KEEP) == []
        await store.coordination.publish_change()

        async def is_restored() -> bool:
            return await store.recent("nbk", KEEP) == before and await store.waiting("nbk") == quarantine

        await until(is_restored)


async def test_store_with_an_older_state_is_updated(start: Started, banks: Banks, settings: Settings) -> None:
    """An outdated replica was promoted to master, or an old backup was restored."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await until(shows_date(client, "2026-04-02"))
    async with store_of(settings) as store:
        await until_stored(store, day(2))
        await store._redis.hdel(store._key("fixings", "nbk"), str(day(2)))
        await store._redis.hset(store._key("stamps"), "nbk", "of before")
        await store.coordination.publish_change()

        async def is_restored() -> bool:
            return await store.fixing("nbk", day(2)) is not None

        await until(is_restored)
        assert (await ticker_of(client))["as_of"] == "2026-04-02"


async def test_older_version_never_replaces_a_newer_one(start: Started, banks: Banks, settings: Settings) -> None:
    """An instance that missed a revision writes the old version: the revision stays stored and shown."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await until(shows_date(client, "2026-04-02"))
    async with store_of(settings) as store:
        first = await until_stored(store, day(2))
        revised = fixing_on(2, NEW | {"USD": "476.00"}).with_revision_of(first)
        await store.save(revised)
        await store.coordination.publish_change()

        async def shows_revision() -> bool:
            return bool((await ticker_of(client))["quotes"][0]["rate"] == 476.0)

        await until(shows_revision)
        await store.save(first)
        await until_synced(client, store)
        assert await shows_revision()
        assert await store.fixing("nbk", day(2)) == revised


def has_polled(client: Client) -> Callable[[], Awaitable[bool]]:
    async def is_polled() -> bool:
        async with client.get("/metrics", headers=PLAIN) as response:
            return 'polls_total{result="ok",source="nbk"} 1' in await response.text()

    return is_polled


async def test_two_leaders_do_not_conflict(start: Started, banks: Banks, settings: Settings) -> None:
    """With two leaders at a time each date has one fixing, with the first one's metadata, shown by both."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    first = await start()
    await until(shows_date(first, "2026-04-02"))
    async with store_of(settings) as store:
        await until_stored(store, day(2))
        before = await store.recent("nbk", KEEP)
        requests = len(banks.targets)
        second = await start()

        async def leads() -> bool:
            if await role(second) == "leader":
                return True
            await store._redis.delete(f"{store._prefix}leader")  # again, if the first one has renewed it
            return False

        await until(leads)
        await until(has_polled(second))
        assert len(banks.targets) > requests
        await until_synced(second, store)
        assert await store.recent("nbk", KEEP) == before
    responses = [await client.get("/v1/ticker", headers=PLAIN) for client in (first, second)]
    assert responses[0].headers["ETag"] == responses[1].headers["ETag"]
