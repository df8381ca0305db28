"""All fixings as one file."""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.cli import transfer
from service.domain.bounds import last_dates
from service.errors import TickerError
from service.settings import load
from service.storage.codecs import FIXING
from service.storage.repository import Store
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from tests.support.fixings import day, fixing, later

FIXINGS = [
    fixing(day(1), USD="478.77", JPY=("31.50", 10)),
    replace(fixing(day(2), USD="475.09"), revisions=(fixing(day(2), USD="475.10"),)),
    fixing(day(2), "cbr", "RUB", USD="80.0000"),
]


NOW = datetime(2026, 4, 3, 4, tzinfo=UTC)


async def everything(store: Store) -> dict[str, Any]:
    keys = [str(key) async for key in store._redis.scan_iter(f"{store._prefix}fixings:*")]
    return {key: await store._redis.hgetall(key) for key in keys}


async def test_out_and_in_again_is_identical(store: Store, tmp_path: Path) -> None:
    """Exported, wiped, imported: byte by byte the same; equal stores make equal files."""
    for one in FIXINGS:
        await store.save(one)
    before = await everything(store)
    file, again = tmp_path / "a.gz", tmp_path / "b.gz"
    assert await transfer.export(store, file) == (3, 0)
    await store._redis.delete(*before)
    assert await everything(store) == {}
    assert await transfer.load(store, file, NOW) == (3, 0, 0)
    assert await everything(store) == before
    await transfer.export(store, again)
    assert again.read_bytes() == file.read_bytes()
    assert await transfer.load(store, file, NOW) == (0, 3, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.gz"]


async def test_what_is_known_stays(store: Store, tmp_path: Path) -> None:
    """A file brings what is missing, and changes nothing."""
    for one in FIXINGS:
        await store.save(one)
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(store._key("fixings", "cbr"))
    await store.save(later(fixing(day(1), USD="999.00")))
    assert await transfer.load(store, tmp_path / "a.gz", NOW) == (1, 1, 1)
    kept = await store.fixing("nbk", day(1))
    assert kept is not None
    assert str(kept.rates["USD"].value) == "999.00"


async def test_unreadable_record_is_reported(store: Store, tmp_path: Path) -> None:
    """A fixing that this version does not understand is counted, not passed over in silence."""
    await store.save(FIXINGS[0])
    await store._redis.hset(store._key("fixings", "nbk"), "2026-03-31", "{}")
    assert await transfer.export(store, tmp_path / "a.gz") == (1, 1)


async def test_what_is_left_out_of_an_export_is_counted(store: Store, tmp_path: Path) -> None:
    """Impossible dates, and a key of another type, which is one."""
    await store.save(FIXINGS[0], fixing(day(9), USD="478.77"))
    await store._redis.set(store._key("fixings", "ecb"), "oops")
    store.last_date = lambda _: day(2)
    assert await transfer.export(store, tmp_path / "a.gz") == (1, 2)


async def test_what_cannot_be_read_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    """A later version may understand it: it is known, and different."""
    await store.save(FIXINGS[0])
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.hset(store._key("fixings", "nbk"), str(day(1)), "{}")
    assert await transfer.load(store, tmp_path / "a.gz", NOW) == (0, 0, 1)
    assert await store._redis.hget(store._key("fixings", "nbk"), str(day(1))) == "{}"


async def test_an_import_ends_waits_by_a_decision(store: Store, tmp_path: Path) -> None:
    """What waited for a date that the file brings."""
    await store.save(FIXINGS[0])
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(store._key("fixings", "nbk"))
    waiting = QuarantinedFixing(fixing(day(1), USD="4787.70"), ("a jump",), NOW)
    await store.quarantine(waiting)
    await transfer.load(store, tmp_path / "a.gz", NOW)
    assert await store.decisions("nbk") == [QuarantineDecision(waiting, Outcome.WITHDRAWN, NOW)]


async def test_what_was_rejected_here_is_not_taken_in(store: Store, tmp_path: Path) -> None:
    """It is different from what is known; other figures of that day, and the same of another, are taken in."""
    for one in FIXINGS:
        await store.save(one)
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(*await everything(store))
    other = fixing(day(2), USD="999.00")
    for rejected in (FIXINGS[0], other):
        await store.record_decision(
            QuarantineDecision(QuarantinedFixing(rejected, ("a jump",), NOW), Outcome.REJECTED, NOW)
        )
    assert await transfer.load(store, tmp_path / "a.gz", NOW) == (2, 0, 1)
    assert await store.dates("nbk") == [day(2)]
    await store.record_decision(
        QuarantineDecision(QuarantinedFixing(FIXINGS[0], ("a jump",), NOW), Outcome.ACCEPTED, NOW)
    )
    assert await transfer.load(store, tmp_path / "a.gz", NOW) == (1, 2, 0)


def spoilt(line: int, **changes: object) -> bytes:
    """Return an export of which a line has other values."""
    lines = [dict(transfer.HEADER), *(json.loads(FIXING.adapter.dump_json(one)) for one in FIXINGS)]
    lines[line] |= changes
    return gzip.compress("".join(json.dumps(one) + "\n" for one in lines).encode())


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (b"", "is empty"),
        (b"no gzip", "cannot be read"),
        (spoilt(1)[:-12], "cannot be read"),
        (spoilt(1)[:40] + b"\xff" + spoilt(1)[41:], "cannot be read"),
        (gzip.compress(b"{}\n", mtime=0), "is not an export of fixings"),
        (gzip.compress(b"[\n", mtime=0), "line 1: is not JSON"),
        (gzip.compress(b"[" * 100_000, mtime=0), "line 1: is not JSON"),
        (spoilt(3, date="yesterday"), "line 4: is not a fixing: date: "),
        (spoilt(2, rates={"USD": {"value": "-1"}}), "line 3: USD is -1 for 1, not a positive finite rate"),
        (spoilt(2, rates={}), "line 3: it quotes no currency"),
        (spoilt(2, rates={"USD": {"value": "1E+2000000"}}), "line 3: USD is 1E\\+2000000, outside 1E-15 to 1E\\+16"),
        (spoilt(2, rates={"usd": {"value": "1"}}), "line 3: 'usd' is not a currency code"),
        (spoilt(2, base="kzt"), "line 3: the base 'kzt' is not a currency code"),
        (spoilt(2, source="a:b"), "line 3: 'a:b' is not a source key"),
        (spoilt(2, date="9999-12-31", revisions=[]), "line 3: it is dated 9999-12-31, after 2026-04-04, the last"),
        (spoilt(2, date="2030-01-01", revisions=[]), "line 3: it is dated 2030-01-01, after 2026-04-04, the last"),
        (spoilt(2, date="0001-01-01", revisions=[]), "line 3: it is dated 0001-01-01, before 1949-01-01, the first"),
        (spoilt(2, source="mine", date="2026-04-11", revisions=[]), "line 3: it is dated 2026-04-11, after 2026-04-10"),
        (spoilt(0, version=2), "is not an export of fixings, version 1"),
    ],
)
async def test_bad_file_is_reported_and_changes_nothing(store: Store, tmp_path: Path, file: bytes, told: str) -> None:
    """The line is named; the good ones before it are not taken in either."""
    path = tmp_path / "bad.gz"
    path.write_bytes(file)
    store.last_date = last_dates(load(environ={}), lambda: NOW)
    with pytest.raises(TickerError, match=told):
        await transfer.load(store, path, NOW)
    assert await everything(store) == {}


async def test_a_source_of_another_configuration_may_be_a_week_ahead(store: Store, tmp_path: Path) -> None:
    """How far it publishes ahead is not known here."""
    await store.save(fixing(day(10), "mine", USD="478.77"))
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(store._key("fixings", "mine"))
    store.last_date = last_dates(load(environ={}), lambda: NOW)
    assert await transfer.load(store, tmp_path / "a.gz", NOW) == (1, 0, 0)


async def test_unwritable_path_is_reported(store: Store, tmp_path: Path) -> None:
    """And no half of a file is left."""
    with pytest.raises(TickerError, match=r"cannot be written: "):
        await transfer.export(store, tmp_path / "nowhere" / "a.gz")
