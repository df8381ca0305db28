"""Several instances at one real Valkey: what one learns all show, whatever is lost on the way."""

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


def figures(number: int, rates: dict[str, str]) -> Fixing:
    made = fixing(day(number))
    return replace(made, rates={code: Rate(Decimal(value)) for code, value in rates.items()})


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return the default configuration without recorded figures, which would be there from the start."""
    (ticker,) = settings.tickers
    return settings.model_copy(update={"tickers": (ticker.model_copy(update={"sources": ("nbk", "cbr")}),)})


async def written(store: Store, on: date) -> Fixing:
    """Wait until the store has the bank's fixing: it is shown first."""

    async def there() -> Fixing | None:
        return await store.fixing("nbk", on)

    return await until(there)


async def shown(client: Client) -> dict[str, Any]:
    reply = await client.get("/v1/ticker", headers=PLAIN)
    return dict(await reply.json()) if reply.status == 200 else {}


def shows(client: Client, date: str) -> Callable[[], Awaitable[bool]]:
    async def so() -> bool:
        return (await shown(client)).get("as_of") == date

    return so


def store_of(settings: Settings) -> Store:
    return Store(settings.store.url.get_secret_value(), settings.store.prefix)


async def check(client: Client, name: str) -> dict[str, Any]:
    document = await (await client.get("/health", headers=PLAIN)).json(content_type=None)
    return dict(document["checks"][name][0])


async def has_synced(client: Client, store: Store) -> None:
    """Wait until an instance has read all that is stored by now, and has written what it had to write."""
    for number in (1, 2):  # it reads before it writes: its second sync begins after the writes of the first
        marker = fixing(day(number), "cbr", "RUB", USD="0")
        await store.quarantine(QuarantinedFixing(marker, ("USD is 0",), marker.fetched_at))
        await store.coordination.publish_change()

        async def has_read(last: str = str(marker.date)) -> bool:
            return any(held["date"] == last for held in (await check(client, "source:cbr"))["quarantine"])

        await until(has_read)


async def role(client: Client) -> str:
    return str((await check(client, "leader"))["observedValue"])


async def test_one_instance_polls_and_all_show(start: Started, banks: Banks, settings: Settings) -> None:
    """A follower asks no bank, and shows what the leader learnt, byte for byte."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    leader, follower = await start(), await start()
    await until(shows(leader, "2026-04-02"))
    await until(shows(follower, "2026-04-02"))

    async def all_have_polls() -> bool:
        polls = [
            (await check(one, f"source:{key}")).get("time") for one in (leader, follower) for key in ("nbk", "cbr")
        ]
        return None not in polls

    await until(all_have_polls)
    async with store_of(settings) as store:
        await has_synced(follower, store)
    one, other = [await client.get("/v1/ticker", headers=PLAIN) for client in (leader, follower)]
    assert (one.headers["ETag"], await one.read()) == (other.headers["ETag"], await other.read())
    assert sorted([await role(leader), await role(follower)]) == ["follower", "leader"]
    assert sorted(set(banks.targets)) == sorted(banks.targets) != []
    sources = [await (await client.get("/v1/sources", headers=PLAIN)).json() for client in (leader, follower)]
    nbk = [next(one for one in listed["sources"] if one["key"] == "nbk") for listed in sources]
    assert nbk[0]["last_poll"] == nbk[1]["last_poll"] is not None
    assert None not in (nbk[0]["next_poll"], nbk[1]["next_poll"])


async def test_announcements_are_heard_at_once(settings: Settings, clock: Clock) -> None:
    """What another writes is shown long before the next look: that is an hour away."""
    clock.forward(days=9)  # what is dated beyond the source's horizon is not read
    async with store_of(settings) as store, store_of(settings) as other:
        instance = StoreSync(MemoryState(settings), store)
        async with follower(instance, clock, interval=3600):
            await until_subscribed(other)
            for number in range(2, 12):
                await other.save(figures(number, NEW | {"USD": f"47{number}.00"}))
                await other.coordination.publish_change()
                await until_true(is_published(instance, day(number)))
        await instance.close()


async def test_a_missed_announcement_is_made_good(settings: Settings, clock: Clock) -> None:
    """By a look of its own, every few seconds."""
    assert INTERVAL <= 5
    async with store_of(settings) as store, store_of(settings) as other:
        instance = StoreSync(MemoryState(settings), store)
        async with follower(instance, clock, interval=0.01):
            await until_true(lambda: instance._loaded)
            await other.save(figures(1, OLD), figures(2, NEW))
            await until_true(is_published(instance, day(2)))
        await instance.close()


def is_published(instance: StoreSync, on: date) -> Callable[[], bool]:
    return lambda: "kzt" in instance.memory.snapshots and instance.memory.snapshots["kzt"].as_of == on


async def test_another_takes_over(start: Started, banks: Banks) -> None:
    """A leader that ends gives the lock back; who takes it asks the banks at once."""
    banks.published["nbk"] = {day(1): OLD}
    leader = await start()
    await until(shows(leader, "2026-04-01"))
    follower = await start()
    await until(shows(follower, "2026-04-01"))
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    await leader.close()
    await until(shows(follower, "2026-04-02"))
    assert await role(follower) == "leader"


async def test_what_the_store_has_lost_is_written_again(start: Started, banks: Banks, settings: Settings) -> None:
    """As long as one instance lives: the fixings, and what waits; each as it was, with its receipt."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await until(shows(client, "2026-04-02"))
    banks.published.clear()
    async with store_of(settings) as store:
        await written(store, day(2))
        await store.quarantine(QuarantinedFixing(fixing(day(3), USD="0"), ("USD is 0",), fixing(day(3)).fetched_at))
        await store.coordination.publish_change()

        async def waits() -> bool:
            return bool((await check(client, "source:nbk"))["quarantine"])

        await until(waits)
        before, kept = await store.recent("nbk", KEEP), await store.waiting("nbk")
        await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
        assert await store.recent("nbk", KEEP) == []
        await store.coordination.publish_change()

        async def back() -> bool:
            return await store.recent("nbk", KEEP) == before and await store.waiting("nbk") == kept

        await until(back)


async def test_a_store_with_an_older_past_loses_nothing(start: Started, banks: Banks, settings: Settings) -> None:
    """A replica that had not heard the latest became the master, or an old file was restored."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await until(shows(client, "2026-04-02"))
    async with store_of(settings) as store:
        await written(store, day(2))
        await store._redis.hdel(store._key("fixings", "nbk"), str(day(2)))
        await store._redis.hset(store._key("stamps"), "nbk", "of before")
        await store.coordination.publish_change()

        async def back() -> bool:
            return await store.fixing("nbk", day(2)) is not None

        await until(back)
        assert (await shown(client))["as_of"] == "2026-04-02"


async def test_an_older_form_never_replaces_a_newer_one(start: Started, banks: Banks, settings: Settings) -> None:
    """Somebody who slept through a revision writes what he knew: the revision stays, in the store and on show."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await until(shows(client, "2026-04-02"))
    async with store_of(settings) as store:
        first = await written(store, day(2))
        revised = figures(2, NEW | {"USD": "476.00"}).with_revision_of(first)
        await store.save(revised)
        await store.coordination.publish_change()

        async def so() -> bool:
            return bool((await shown(client))["quotes"][0]["rate"] == 476.0)

        await until(so)
        await store.save(first)
        await has_synced(client, store)
        assert await so()
        assert await store.fixing("nbk", day(2)) == revised


def has_polled(client: Client) -> Callable[[], Awaitable[bool]]:
    async def so() -> bool:
        async with client.get("/metrics", headers=PLAIN) as reply:
            return 'polls_total{result="ok",source="nbk"} 1' in await reply.text()

    return so


async def test_two_leaders_write_the_same(start: Started, banks: Banks, settings: Settings) -> None:
    """Two that lead, each at its own pace: one fixing a date, the first one's receipt, the same on show."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    first = await start()
    await until(shows(first, "2026-04-02"))
    async with store_of(settings) as store:
        await written(store, day(2))
        before = await store.recent("nbk", KEEP)
        await store._redis.delete(f"{store._prefix}leader")
        asked = len(banks.targets)
        second = await start()

        async def leads() -> bool:
            return await role(second) == "leader"

        await until(leads)
        await until(has_polled(second))
        assert len(banks.targets) > asked
        await has_synced(second, store)
        assert await store.recent("nbk", KEEP) == before
    replies = [await client.get("/v1/ticker", headers=PLAIN) for client in (first, second)]
    assert replies[0].headers["ETag"] == replies[1].headers["ETag"]
