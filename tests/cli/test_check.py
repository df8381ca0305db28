"""`python -m service check`: list invalid stored records and move them aside without data loss."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from service.cli import check
from service.errors import TickerError
from service.settings import Settings
from service.state.memory import SourceState
from service.storage.codecs import FIXING, STATE, WAITING
from service.storage.repository import BadRecord, Store
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from tests.support.fixings import FETCHED, day, fixing

VALID = fixing(day(1), USD="475.09")
OVER_RANGE = fixing(date.max, USD="475.09")
QUARANTINED = QuarantinedFixing(fixing(day(2), USD="0"), ("USD is 0",), FETCHED)
DECISION = QuarantineDecision(QUARANTINED, Outcome.REJECTED, FETCHED)


def to_json(kind: Any, record: object) -> str:
    return str(kind.adapter.dump_json(record).decode())


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """Yield the store that the settings name, filled with valid records."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        await store.save(VALID, fixing(day(2), USD="475.10"))
        await store.save(fixing(day(1), "cbr", "RUB", USD="80"))
        await store.quarantine(QUARANTINED)
        await store.record_decision(DECISION)
        await store.quarantine(QUARANTINED)
        await store.save_state("nbk", SourceState(FETCHED))
        await store.save_backfilled("nbk", [(day(1), day(2))])
        yield store


INVALID: dict[str, dict[Any, str | bytes]] = {
    "fixings:nbk": {
        "2026-04-03": to_json(FIXING, fixing(day(3), USD="1E+2000000")),
        "9999-12-31": to_json(FIXING, OVER_RANGE),
        "2026-04-04": b"\xff\x00 junk",
        "oops": "{}",
        b"\xff\n": "{}",
    },
    "quarantine:nbk": {"2026-04-05": to_json(WAITING, QUARANTINED)},
    "states": {"cbr": to_json(STATE, SourceState(FETCHED.replace(tzinfo=None)))},
    "snapshots": {"kzt": "{}"},
    "backfilled": {"ecb": "[1]"},
}
EXPECTED_LINES = [
    "backfilled ecb: 0: must be a list",
    "decisions:nbk: it is of type string, not list",
    "fixings:mine: it is of type list, not hash",
    "fixings:nbk 2026-04-03: USD is 1E+2000000, outside 1E-15 to 1E+16",
    "fixings:nbk 2026-04-04: must be text",
    "fixings:nbk 9999-12-31: it is dated 9999-12-31, after 20",
    "fixings:nbk oops: source: is required",
    "fixings:nbk \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}: source: is required",
    "quarantine:nbk 2026-04-05: it is dated 2026-04-02",
    "snapshots kzt: id: is required",
    "states cbr: polled_at 2026-04-01 11:05:12 has no time zone",
]


async def write_invalid_records(store: Store) -> None:
    redis = store._redis
    for key, fields in INVALID.items():
        await redis.hset(store._key(key), mapping=fields)
    await redis.rename(store._key("decisions:nbk"), store._key("decisions:cbr"))  # under the key of another source
    await redis.set(store._key("decisions:nbk"), "oops")
    await redis.lpush(store._key("fixings:mine"), "one")


async def all_stored(store: Store) -> dict[str, Any]:
    """Return the value of each key under the prefix."""
    readers = {"hash": store._redis.hgetall, "string": store._redis.get}
    found = {}
    async for key in store._redis.scan_iter(f"{store._prefix}*"):
        kind = await store._redis.type(key)
        name = key.removeprefix(store._prefix)
        found[name] = await (readers[kind](key) if kind in readers else store._redis.lrange(key, 0, -1))
    return found


async def test_valid_store_has_no_problems(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quarantined rates are valid records too; a repair changes nothing."""
    before = await all_stored(store)
    for repair in (False, True):
        await asyncio.to_thread(check.check, settings, repair=repair)
        assert capsys.readouterr().out == "All stored records are valid.\n"
    assert await all_stored(store) == before


async def test_each_invalid_record_is_listed(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Print key, field and problem on one line each, change nothing and fail."""
    await write_invalid_records(store)
    before = await all_stored(store)
    with pytest.raises(TickerError, match=r"12 invalid stored records; .* python -m service check --repair"):
        await asyncio.to_thread(check.check, settings, repair=False)
    lines = capsys.readouterr().out.splitlines()
    expected = sorted([*EXPECTED_LINES, "decisions:cbr 0: it is of source 'nbk'"])
    assert [line[: len(prefix)] for line, prefix in zip(lines, expected, strict=True)] == expected
    assert await all_stored(store) == before


async def test_repair_moves_invalid_records_unchanged(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Move them into the hash of their source; keep valid records and make running instances reload the source."""
    await write_invalid_records(store)
    before, versions = await all_stored(store), await store.versions()
    await asyncio.to_thread(check.check, settings, repair=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert all(line.endswith(": moved aside") for line in lines)
    after = await all_stored(store)
    assert after["aside:nbk"] == {
        f"{key} {field}": before[key][field]
        for key in ("fixings:nbk", "quarantine:nbk")
        for field in ("\udcff\n" if isinstance(field_name, bytes) else field_name for field_name in INVALID[key])
    }
    assert after["aside:cbr"] == {
        "states cbr": before["states"]["cbr"],
        "decisions:cbr 0": before["decisions:cbr"][0],
    }
    assert after["aside:kzt"] == {"snapshots kzt": "{}"}
    assert after["aside:ecb"] == {"backfilled ecb": "[1]"}
    assert after["aside:mine:fixings:mine"] == ["one"]
    assert after["aside:nbk:decisions:nbk"] == "oops"
    assert await store._redis.hget(store._key("aside:nbk"), "fixings:nbk 2026-04-04") == "\udcff\x00 junk"
    assert await store.dates("nbk") == [day(1), day(2)]
    assert await store.waiting("nbk") == [QUARANTINED]
    assert await store.states() == {"nbk": SourceState(FETCHED)}
    now = await store.versions()
    assert {key for key in now if now[key] != versions.get(key)} == {"nbk", "cbr", "mine"}
    await asyncio.to_thread(check.check, settings, repair=False)


async def test_repeated_repair_of_a_field_keeps_both_values(store: Store) -> None:
    """The same field can become invalid again."""
    key = store._key("fixings:nbk")
    for value in ("one", "two"):
        await store._redis.hset(key, "2026-04-03", value)
        await store._redis.set(store._key("fixings:cbr"), value)
        for record in await store.bad_records():
            assert await store.set_aside(record)
    found = await all_stored(store)
    assert found["aside:nbk"] == {"fixings:nbk 2026-04-03": "one", "fixings:nbk 2026-04-03'": "two"}
    assert (found["aside:cbr:fixings:cbr"], found["aside:cbr:fixings:cbr'"]) == ("one", "two")


async def test_all_problems_are_repaired_in_one_run(store: Store, settings: Settings) -> None:
    """The version stamps and the index of raw responses can be of a wrong type as well."""
    for key in ("stamps", "raws:nbk"):
        await store._redis.delete(store._key(key))
        await store._redis.set(store._key(key), "oops")
    await store._redis.hset(store._key("fixings:nbk"), "2026-04-03", "{}")
    await asyncio.to_thread(check.check, settings, repair=True)
    found = await all_stored(store)
    assert found["aside:stamps:stamps"] == found["aside:nbk:raws:nbk"] == "oops"
    assert found["aside:nbk"] == {"fixings:nbk 2026-04-03": "{}"}
    assert found["stamps"].keys() == {"nbk"}
    assert await store.bad_records() == []


async def test_record_rewritten_since_the_check_is_not_moved(store: Store) -> None:
    """The new value may be valid."""
    await store._redis.hset(store._key("fixings:nbk"), "2026-04-03", "{}")
    (record,) = await store.bad_records()
    assert isinstance(record, BadRecord)
    await store.save(fixing(day(3), USD="475.11"))
    assert not await store.set_aside(record)
    assert await store.dates("nbk") == [day(1), day(2), day(3)]
    assert "aside:nbk" not in await all_stored(store)
