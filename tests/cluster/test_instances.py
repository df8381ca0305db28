"""Several instances at one real Valkey: what one learns all show, whatever is lost on the way."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from service.domain.fixing import Fixing, Rate
from service.settings import Settings
from service.state.memory import KEEP
from service.storage.repository import Store
from service.validation.quarantine import QuarantinedFixing
from tests.conftest import Clock, Started
from tests.support.fixings import day, fixing
from tests.support.standin import Banks

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


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 10) -> float:
    """Wait until something holds; return after how many seconds."""
    begun = time.perf_counter()
    while not await holds():
        assert time.perf_counter() - begun < seconds, "it never did"
        await asyncio.sleep(0.01)
    return time.perf_counter() - begun


async def written(store: Store, on: date) -> Fixing:
    """Wait until the store has the bank's fixing: it is shown first."""

    async def there() -> bool:
        return await store.fixing("nbk", on) is not None

    await eventually(there)
    fixing = await store.fixing("nbk", on)
    assert fixing is not None
    return fixing


async def shown(client: Client) -> dict[str, Any]:
    reply = await client.get("/v1/ticker", headers=PLAIN)
    return dict(await reply.json()) if reply.status == 200 else {}


def shows(client: Client, date: str) -> Callable[[], Awaitable[bool]]:
    async def so() -> bool:
        return (await shown(client)).get("as_of") == date

    return so


def store_of(settings: Settings) -> Store:
    return Store(settings.store.url.get_secret_value(), settings.store.prefix)


async def role(client: Client) -> str:
    checks = (await (await client.get("/health", headers=PLAIN)).json(content_type=None))["checks"]
    return str(checks["leader"][0]["observedValue"])


async def test_one_instance_polls_and_all_show(start: Started, banks: Banks) -> None:
    """A follower asks no bank, and shows what the leader learnt, byte for byte, within a second."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    leader, follower = await start(), await start()
    await eventually(shows(leader, "2026-04-02"))
    assert await eventually(shows(follower, "2026-04-02")) < 1
    await asyncio.sleep(0.2)
    asked = len(banks.asked)
    one, other = [await client.get("/v1/ticker", headers=PLAIN) for client in (leader, follower)]
    assert (one.headers["ETag"], await one.read()) == (other.headers["ETag"], await other.read())
    assert sorted([await role(leader), await role(follower)]) == ["follower", "leader"]
    assert asked == len(banks.asked) > 0
    sources = [await (await client.get("/v1/sources", headers=PLAIN)).json() for client in (leader, follower)]
    nbk = [next(one for one in listed["sources"] if one["key"] == "nbk") for listed in sources]
    assert nbk[0]["last_poll"] == nbk[1]["last_poll"] is not None
    assert None not in (nbk[0]["next_poll"], nbk[1]["next_poll"])


async def test_announcements_are_heard_at_once(start: Started, settings: Settings, clock: Clock) -> None:
    """What another writes is in memory long before the next look."""
    clock.forward(days=9)  # what is dated beyond the source's horizon is not read
    client = await start()
    await asyncio.sleep(0.2)
    async with store_of(settings) as store:
        for number in range(2, 12):
            await store.save(figures(number, NEW | {"USD": f"47{number}.00"}))
            await store.coordination.publish_change()
            assert await eventually(shows(client, str(day(number)))) < 0.5


async def test_a_missed_announcement_is_made_good(start: Started, settings: Settings) -> None:
    """Within a few seconds, by a look of its own."""
    client = await start()
    await asyncio.sleep(0.2)
    async with store_of(settings) as store:
        await store.save(figures(1, OLD), figures(2, NEW))
        assert await eventually(shows(client, "2026-04-02")) < 5


async def test_another_takes_over(start: Started, banks: Banks) -> None:
    """A leader that ends gives the lock back; who takes it asks the banks at once."""
    banks.published["nbk"] = {day(1): OLD}
    leader = await start()
    await eventually(shows(leader, "2026-04-01"))
    follower = await start()
    await eventually(shows(follower, "2026-04-01"))
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    await leader.close()
    await eventually(shows(follower, "2026-04-02"))
    assert await role(follower) == "leader"


async def test_what_the_store_has_lost_is_written_again(start: Started, banks: Banks, settings: Settings) -> None:
    """As long as one instance lives: the fixings, and what waits; each as it was, with its receipt."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await eventually(shows(client, "2026-04-02"))
    banks.published.clear()
    async with store_of(settings) as store:
        await written(store, day(2))
        await store.quarantine(QuarantinedFixing(fixing(day(3), USD="0"), ("USD is 0",), fixing(day(3)).fetched_at))
        await store.coordination.publish_change()

        async def waits() -> bool:
            checks = (await (await client.get("/health", headers=PLAIN)).json(content_type=None))["checks"]
            return bool(checks["source:nbk"][0]["quarantine"])

        await eventually(waits)
        before, kept = await store.recent("nbk", KEEP), await store.waiting("nbk")
        await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
        assert await store.recent("nbk", KEEP) == []

        async def back() -> bool:
            return await store.recent("nbk", KEEP) == before and await store.waiting("nbk") == kept

        await eventually(back)


async def test_a_store_with_an_older_past_loses_nothing(start: Started, banks: Banks, settings: Settings) -> None:
    """A replica that had not heard the latest became the master, or an old file was restored."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await eventually(shows(client, "2026-04-02"))
    async with store_of(settings) as store:
        await written(store, day(2))
        await store._redis.hdel(store._key("fixings", "nbk"), str(day(2)))
        await store._redis.hset(store._key("stamps"), "nbk", "of before")

        async def back() -> bool:
            return await store.fixing("nbk", day(2)) is not None

        await eventually(back)
        assert (await shown(client))["as_of"] == "2026-04-02"


async def test_an_older_form_never_replaces_a_newer_one(start: Started, banks: Banks, settings: Settings) -> None:
    """Somebody who slept through a revision writes what he knew: the revision stays, in the store and on show."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    client = await start()
    await eventually(shows(client, "2026-04-02"))
    async with store_of(settings) as store:
        first = await written(store, day(2))
        revised = figures(2, NEW | {"USD": "476.00"}).with_revision_of(first)
        await store.save(revised)
        await store.coordination.publish_change()

        async def so() -> bool:
            return bool((await shown(client))["quotes"][0]["rate"] == 476.0)

        await eventually(so)
        await store.save(first)
        await store.coordination.publish_change()
        await asyncio.sleep(0.3)
        assert await so()
        assert await store.fixing("nbk", day(2)) == revised


async def test_two_leaders_write_the_same(start: Started, banks: Banks, settings: Settings) -> None:
    """Two that lead, each at its own pace: one fixing a date, the first one's receipt, the same on show."""
    banks.published["nbk"] = {day(1): OLD, day(2): NEW}
    first = await start()
    await eventually(shows(first, "2026-04-02"))
    async with store_of(settings) as store:
        await written(store, day(2))
        before = await store.recent("nbk", KEEP)
        await store._redis.delete(f"{store._prefix}leader")
        second = await start()

        async def leads() -> bool:
            return await role(second) == "leader"

        await eventually(leads)
        await asyncio.sleep(0.5)
        assert await store.recent("nbk", KEEP) == before
    replies = [await client.get("/v1/ticker", headers=PLAIN) for client in (first, second)]
    assert replies[0].headers["ETag"] == replies[1].headers["ETag"]
