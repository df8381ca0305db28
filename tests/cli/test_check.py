"""`python -m service check`: what is stored and cannot be used is listed, and moved aside without loss."""

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

SOUND = fixing(day(1), USD="475.09")
ENDLESS = fixing(date.max, USD="475.09")
QUARANTINED = QuarantinedFixing(fixing(day(2), USD="0"), ("USD is 0",), FETCHED)
DECISION = QuarantineDecision(QUARANTINED, Outcome.REJECTED, FETCHED)


def json_of(kind: Any, record: object) -> str:
    return str(kind.adapter.dump_json(record).decode())


@pytest.fixture
async def kept(settings: Settings) -> AsyncIterator[Store]:
    """Return the store of the settings."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        await store.save(SOUND, fixing(day(2), USD="475.10"))
        await store.save(fixing(day(1), "cbr", "RUB", USD="80"))
        await store.quarantine(QUARANTINED)
        await store.record_decision(DECISION)
        await store.quarantine(QUARANTINED)
        await store.save_state("nbk", SourceState(FETCHED))
        await store.save_backfilled("nbk", [(day(1), day(2))])
        yield store


BROKEN: dict[str, dict[Any, str | bytes]] = {
    "fixings:nbk": {
        "2026-04-03": json_of(FIXING, fixing(day(3), USD="1E+2000000")),
        "9999-12-31": json_of(FIXING, ENDLESS),
        "2026-04-04": b"\xff\x00 junk",
        "oops": "{}",
        b"\xff\n": "{}",
    },
    "quarantine:nbk": {"2026-04-05": json_of(WAITING, QUARANTINED)},
    "states": {"cbr": json_of(STATE, SourceState(FETCHED.replace(tzinfo=None)))},
    "snapshots": {"kzt": "{}"},
    "backfilled": {"ecb": "[1]"},
}
LINES = [
    "backfilled ecb: 0: Input should be a valid array",
    "decisions:nbk: it is of type string, not list",
    "fixings:mine: it is of type list, not hash",
    "fixings:nbk 2026-04-03: USD is 1E+2000000, outside 1E-15 to 1E+16",
    "fixings:nbk 2026-04-04: Input should be a valid string",
    "fixings:nbk 9999-12-31: it is dated 9999-12-31, after 20",
    "fixings:nbk oops: source: Field required",
    "fixings:nbk \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}: source: Field required",
    "quarantine:nbk 2026-04-05: it is dated 2026-04-02",
    "snapshots kzt: id: Field required",
    "states cbr: polled_at 2026-04-01 11:05:12 has no time zone",
]


async def broken(store: Store) -> None:
    redis = store._redis
    for key, fields in BROKEN.items():
        await redis.hset(store._key(key), mapping=fields)
    await redis.rename(store._key("decisions:nbk"), store._key("decisions:cbr"))  # of another source now
    await redis.set(store._key("decisions:nbk"), "oops")
    await redis.lpush(store._key("fixings:mine"), "one")


async def everything(store: Store) -> dict[str, Any]:
    reading = {"hash": store._redis.hgetall, "string": store._redis.get}
    found = {}
    async for key in store._redis.scan_iter(f"{store._prefix}*"):
        kind = await store._redis.type(key)
        name = key.removeprefix(store._prefix)
        found[name] = await (reading[kind](key) if kind in reading else store._redis.lrange(key, 0, -1))
    return found


async def test_a_sound_store_is_clean(kept: Store, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is listed, also of what is in quarantine for good reasons."""
    before = await everything(kept)
    for repair in (False, True):
        await asyncio.to_thread(check.check, settings, repair=repair)
        assert capsys.readouterr().out == "All stored records are valid.\n"
    assert await everything(kept) == before


async def test_each_bad_record_is_listed(kept: Store, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each: key, field, problem; nothing is changed, and the command fails."""
    await broken(kept)
    before = await everything(kept)
    with pytest.raises(TickerError, match=r"12 invalid stored records; .* python -m service check --repair"):
        await asyncio.to_thread(check.check, settings, repair=False)
    lines = capsys.readouterr().out.splitlines()
    expected = sorted([*LINES, "decisions:cbr 0: it is of source 'nbk'"])
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected
    assert await everything(kept) == before


async def test_repair_moves_each_bad_record_as_it_is(
    kept: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into the hash of its source; what is sound stays, and running instances load the source again."""
    await broken(kept)
    before, versions = await everything(kept), await kept.versions()
    await asyncio.to_thread(check.check, settings, repair=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert all(line.endswith(": moved aside") for line in lines)
    after = await everything(kept)
    assert after["aside:nbk"] == {
        f"{key} {field}": before[key][field]
        for key in ("fixings:nbk", "quarantine:nbk")
        for field in ("\udcff\n" if isinstance(one, bytes) else one for one in BROKEN[key])
    }
    assert after["aside:cbr"] == {
        "states cbr": before["states"]["cbr"],
        "decisions:cbr 0": before["decisions:cbr"][0],
    }
    assert after["aside:kzt"] == {"snapshots kzt": "{}"}
    assert after["aside:ecb"] == {"backfilled ecb": "[1]"}
    assert after["aside:mine:fixings:mine"] == ["one"]
    assert after["aside:nbk:decisions:nbk"] == "oops"
    assert await kept._redis.hget(kept._key("aside:nbk"), "fixings:nbk 2026-04-04") == "\udcff\x00 junk"
    assert await kept.dates("nbk") == [day(1), day(2)]
    assert await kept.waiting("nbk") == [QUARANTINED]
    assert await kept.states() == {"nbk": SourceState(FETCHED)}
    now = await kept.versions()
    assert {key for key in now if now[key] != versions.get(key)} == {"nbk", "cbr", "mine"}
    await asyncio.to_thread(check.check, settings, repair=False)


async def test_what_is_moved_aside_twice_is_kept_twice(kept: Store) -> None:
    """The same field may be broken again."""
    key = kept._key("fixings:nbk")
    for value in ("one", "two"):
        await kept._redis.hset(key, "2026-04-03", value)
        await kept._redis.set(kept._key("fixings:cbr"), value)
        for bad in await kept.bad_records():
            assert await kept.set_aside(bad)
    found = await everything(kept)
    assert found["aside:nbk"] == {"fixings:nbk 2026-04-03": "one", "fixings:nbk 2026-04-03'": "two"}
    assert (found["aside:cbr:fixings:cbr"], found["aside:cbr:fixings:cbr'"]) == ("one", "two")


async def test_everything_is_repaired_in_one_run(kept: Store, settings: Settings) -> None:
    """Also where the stamps, and the index of raw answers, are of a wrong type."""
    for key in ("stamps", "raws:nbk"):
        await kept._redis.delete(kept._key(key))
        await kept._redis.set(kept._key(key), "oops")
    await kept._redis.hset(kept._key("fixings:nbk"), "2026-04-03", "{}")
    await asyncio.to_thread(check.check, settings, repair=True)
    found = await everything(kept)
    assert found["aside:stamps:stamps"] == found["aside:nbk:raws:nbk"] == "oops"
    assert found["aside:nbk"] == {"fixings:nbk 2026-04-03": "{}"}
    assert found["stamps"].keys() == {"nbk"}
    assert await kept.bad_records() == []


async def test_a_record_that_is_written_meanwhile_is_not_moved(kept: Store) -> None:
    """It may be sound by now."""
    await kept._redis.hset(kept._key("fixings:nbk"), "2026-04-03", "{}")
    (bad,) = await kept.bad_records()
    assert isinstance(bad, BadRecord)
    await kept.save(fixing(day(3), USD="475.11"))
    assert not await kept.set_aside(bad)
    assert await kept.dates("nbk") == [day(1), day(2), day(3)]
    assert "aside:nbk" not in await everything(kept)
