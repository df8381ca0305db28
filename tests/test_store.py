"""What outlives the process, against a real Valkey."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.board import SourceState
from service.errors import SettingsError, StoreError
from service.fixings import Direction
from service.quarantine import Decision, Outcome, Waiting
from service.settings import load
from service.store import Store
from service.ticker import snapshot
from tests.figures import day, fixing, later, series
from tests.servers import sentinel, valkey

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)


async def test_a_fixing_comes_back_digit_by_digit(store: Store) -> None:
    """Trailing zeros, nominals, direction, times, digests and revisions survive."""
    first = fixing(day(1), "ecb", "EUR", Direction.INVERSE, USD="1.1500", JPY=("180.10", 100))
    kept = replace(first, digest="new").revising(first)
    await store.save(kept)
    assert await store.fixing("ecb", day(1)) == kept
    (found,) = await store.recent("ecb", 5)
    assert str(found.rates["USD"].value) == "1.1500"
    assert found.revisions[0].digest == first.digest


async def test_fixings_are_found_by_date(store: Store) -> None:
    """Dates in order, the latest few, nothing for what there is not."""
    for number in (3, 1, 2):
        await store.save(fixing(day(number), USD="475.09"))
    await store.save(later(fixing(day(2), USD="476.00")))
    assert await store.dates("nbk") == [day(1), day(2), day(3)]
    assert [(one.date, one.rates["USD"].value) for one in await store.recent("nbk", 2)] == [
        (day(2), Decimal("476.00")),
        (day(3), Decimal("475.09")),
    ]
    assert await store.fixing("nbk", day(4)) is None
    assert await store.recent("cbr", 5) == []


async def test_figures_of_many_days_are_read_without_receipts(store: Store) -> None:
    """Digits, nominals and direction as published, oldest first; days without a fixing are left out."""
    for number in (3, 1, 4):
        one = fixing(day(number), "ecb", "EUR", Direction.INVERSE, USD="1.1500", JPY=("180.10", 100))
        await store.save(replace(one, digest="new").revising(one))
    found = await store.figures("ecb", day(1), day(3))
    assert [(one.date, one.base, one.direction) for one in found] == [
        (day(1), "EUR", Direction.INVERSE),
        (day(3), "EUR", Direction.INVERSE),
    ]
    assert {code: (str(rate.value), rate.nominal) for code, rate in found[0].rates.items()} == {
        "USD": ("1.1500", 1),
        "JPY": ("180.10", 100),
    }
    assert await store.figures("ecb", day(5), day(9)) == await store.figures("nbk", day(1), day(9)) == []


async def test_what_waits_is_kept_until_it_is_decided(store: Store) -> None:
    """Once a date; a decision ends the wait and is kept, once; so does a fixing that is accepted for the date."""
    one, two, three = (Waiting(fixing(day(number), USD="0"), ("USD is 0",), NOW) for number in (1, 2, 3))
    for waiting in (three, one, two, one):
        await store.quarantine(waiting)
    assert await store.waiting("nbk") == [one, two, three]
    rejected, accepted = Decision(one, Outcome.REJECTED, NOW), Decision(two, Outcome.ACCEPTED, NOW)
    for decision in (rejected, accepted, accepted):
        await store.decide(decision)
    assert await store.decisions("nbk") == [accepted, rejected]
    assert await store.waiting("nbk") == [three]
    await store.save(fixing(day(3), USD="475.09"))
    assert await store.waiting("nbk") == []


async def test_a_writing_tells_what_was_there_before(store: Store) -> None:
    """A fixing, what waits and a decision are news for who watches; each source has its own stamp."""
    waiting = Waiting(fixing(day(3), USD="0"), (), NOW)
    assert await store.stamps() == {}
    first = await store.save(fixing(day(1), USD="478.77"), fixing(day(2), USD="475.09"))
    second = await store.quarantine(waiting)
    third = await store.decide(Decision(waiting, Outcome.REJECTED, NOW))
    other = await store.save(fixing(day(1), "cbr", "RUB", USD="80"))
    assert first.before is other.before is None
    assert (second.before, third.before) == (first.stamp, second.stamp)
    assert await store.stamps() == {"nbk": third.stamp, "cbr": other.stamp}


async def test_a_later_form_is_never_replaced_by_an_earlier_one(store: Store) -> None:
    """Who was cut off while the bank corrected itself holds what was replaced; who says the same changes no receipt."""
    first = fixing(day(1), USD="478.77")
    revised = replace(fixing(day(1), USD="478.70"), digest="revised").revising(first)
    for late in (revised, first, later(first, -1), later(revised)):
        await store.save(late)
    assert await store.fixing("nbk", day(1)) == revised
    twice = later(fixing(day(1), USD="478.77")).revising(revised)
    await store.save(twice)
    assert await store.fixing("nbk", day(1)) == twice


async def test_a_stamp_is_never_the_same_again(store: Store) -> None:
    """Other with each writing, also after all was wiped; each source has its own."""
    stamps = [await store.stamp("nbk")]
    for _ in range(2):
        await store.save(fixing(day(1), USD="478.77"))
        stamps.append(await store.stamp("nbk"))
        await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
    assert stamps[0] is None
    assert len(set(stamps)) == 3


async def test_a_raw_answer_comes_back_byte_by_byte_and_expires(store: Store) -> None:
    """Whatever its encoding; compressed, and not for ever."""
    body = "<rates>доллар</rates>".encode("windows-1251") * 100
    await store.save_raw("cbr", "abc", body, timedelta(days=90))
    assert await store.raw("cbr", "abc") == body
    assert await store.raw("nbk", "abc") is None
    key = store._key("raw", "cbr", "abc")
    await store.save_raw("cbr", "def", body, timedelta(0))
    assert await store.raw("cbr", "def") is None
    assert 89 * 86400 < await store._redis.ttl(key) <= 90 * 86400
    assert await store._redis.strlen(key) < len(body) / 10


async def test_states_and_snapshots_come_back(store: Store) -> None:
    """The last poll of each source and the snapshot of each ticker."""
    state = SourceState(NOW, NOW, NOW, 3, "down")
    await store.save_state("nbk", state)
    assert await store.states() == {"nbk": state}
    settings = load(environ={})
    made = snapshot(settings.tickers[0], settings.polled, {"nbk": series(fixing(day(2), USD="475.09"))}, NOW)
    assert made is not None
    await store.save_snapshot(made)
    assert await store.snapshot("kzt") == made
    assert await store.snapshot("eur") is None


async def test_a_store_that_is_away_is_a_clear_error() -> None:
    """The address is named, the password is not."""
    async with Store("redis://user:canary@127.0.0.1:1/0", "t:") as away:
        with pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:1/0: ") as error:
            await away.stamps()
    assert "canary" not in str(error.value)


async def test_what_cannot_be_read_is_told_and_left_out(store: Store) -> None:
    """Somebody else's value under our key is no fixing, and costs no other."""
    key = store._key("fixings", "nbk")
    await store.save(fixing(day(2), USD="475.09"))
    await store._redis.hset(key, mapping={"2026-04-01": "{}", "2026-19-39": "{}", "oops": "{}"})
    with capture_logs() as logs:
        assert [one.date for one in await store.recent("nbk", 5)] == [day(2)]
        assert [one.date for one in await store.figures("nbk", day(1), day(2))] == [day(2)]
    told = {"event": "store.unreadable", "log_level": "warning", "source": "nbk", "kind": "Fixing", "beginning": "{}"}
    assert logs == [told, told]
    with pytest.raises(StoreError, match="cannot read"):
        await store.fixing("nbk", day(1))


@pytest.mark.parametrize(
    "url", ["redis://:canary/x@h:6379/0", "redis+sentinel://:canary/x@h/name/0", "http://:canary@h"]
)
def test_a_url_that_cannot_be_used_does_not_tell_its_password(url: str) -> None:
    """A slash in a password breaks the URL, not its secrecy."""
    with pytest.raises(SettingsError) as error:
        Store(url, "t:")
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("url", ["http://h", "redis+sentinel://h", "redis+sentinel:///name", "nonsense"])
def test_a_url_of_no_known_form_is_a_settings_error(url: str) -> None:
    """The key is named."""
    with pytest.raises(SettingsError, match=r"store\.url"):
        Store(url, "t:")


async def test_sentinel_urls_are_understood() -> None:
    """Hosts, ports, service name, database and login arrive where the library wants them."""
    async with Store("redis+sentinel://u:p%40ss@one,two:26380/main/3", "t:") as store:
        pool: Any = store._redis.connection_pool
        sentinels = [
            (one.connection_pool.connection_kwargs["host"], one.connection_pool.connection_kwargs["port"])
            for one in pool.sentinel_manager.sentinels
        ]
        assert sentinels == [("one", 26379), ("two", 26380)]
        assert pool.service_name == "main"
        assert pool.connection_kwargs == {"username": "u", "password": "p@ss", "db": 3} | pool.connection_kwargs
        assert "p@ss" not in store._connection.where


async def test_the_master_is_found_by_a_sentinel(tmp_path: Path) -> None:
    """The login is the master's; what is wrong is told in one line without it."""
    with (
        valkey(tmp_path / "master", "--requirepass", "s3cret") as master,
        sentinel(tmp_path / "sentinel", master, more="sentinel auth-pass main s3cret\n") as watching,
    ):
        await finds_the_master(watching.port)


async def finds_the_master(sentinel: int) -> None:
    async with Store(f"redis+sentinel://:s3cret@127.0.0.1:{sentinel}/main/0", "t:") as store:
        for _ in range(100):
            with suppress(StoreError):
                await store.save(fixing(day(1), USD="478.77"))
                break
            await asyncio.sleep(0.05)
        assert await store.dates("nbk") == [day(1)]
    for url, told in (
        (f":canary@127.0.0.1:{sentinel}/main/0", "the password is missing or wrong"),
        (f":canary@127.0.0.1:{sentinel}/other/0", "no Sentinel that answers knows a master"),
    ):
        async with Store(f"redis+sentinel://{url}", "t:") as store:
            with pytest.raises(StoreError, match=told) as error:
                await store.stamps()
        assert "canary" not in str(error.value)
        assert len(str(error.value)) < 150
