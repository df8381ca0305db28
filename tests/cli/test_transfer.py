"""Export and import of all fixings as one file."""

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


async def all_fixings(store: Store) -> dict[str, Any]:
    """Return all stored fixings by key."""
    keys = [str(key) async for key in store._redis.scan_iter(f"{store._prefix}fixings:*")]
    return {key: await store._redis.hgetall(key) for key in keys}


async def test_exported_and_imported_fixings_are_identical(store: Store, tmp_path: Path) -> None:
    """Exported, deleted and imported fixings are byte-identical; equal stores produce equal files."""
    for exported in FIXINGS:
        await store.save(exported)
    before = await all_fixings(store)
    file, again = tmp_path / "a.gz", tmp_path / "b.gz"
    assert await transfer.export(store, file) == (3, 0)
    await store._redis.delete(*before)
    assert await all_fixings(store) == {}
    assert await transfer.load(store, file, NOW) == (3, 0, 0)
    assert await all_fixings(store) == before
    await transfer.export(store, again)
    assert again.read_bytes() == file.read_bytes()
    assert await transfer.load(store, file, NOW) == (0, 3, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.gz"]


async def test_import_does_not_overwrite_known_fixings(store: Store, tmp_path: Path) -> None:
    """An import adds missing fixings and changes none."""
    for exported in FIXINGS:
        await store.save(exported)
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(store._key("fixings", "cbr"))
    await store.save(later(fixing(day(1), USD="999.00")))
    assert await transfer.load(store, tmp_path / "a.gz", NOW) == (1, 1, 1)
    stored = await store.fixing("nbk", day(1))
    assert stored is not None
    assert str(stored.rates["USD"].value) == "999.00"


async def test_unreadable_record_is_reported(store: Store, tmp_path: Path) -> None:
    """A fixing that this version cannot decode is counted instead of silently skipped."""
    await store.save(FIXINGS[0])
    await store._redis.hset(store._key("fixings", "nbk"), "2026-03-31", "{}")
    assert await transfer.export(store, tmp_path / "a.gz") == (1, 1)


async def test_fixings_left_out_of_an_export_are_counted(store: Store, tmp_path: Path) -> None:
    """Cover an impossible date and a key of a wrong type, which counts as one."""
    await store.save(FIXINGS[0], fixing(day(9), USD="478.77"))
    await store._redis.set(store._key("fixings", "ecb"), "oops")
    store.last_date = lambda _: day(2)
    assert await transfer.export(store, tmp_path / "a.gz") == (1, 2)


async def test_import_does_not_overwrite_unreadable_records(store: Store, tmp_path: Path) -> None:
    """A later version may be able to decode them; they count as known and different."""
    await store.save(FIXINGS[0])
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.hset(store._key("fixings", "nbk"), str(day(1)), "{}")
    assert await transfer.load(store, tmp_path / "a.gz", NOW) == (0, 0, 1)
    assert await store._redis.hget(store._key("fixings", "nbk"), str(day(1))) == "{}"


async def test_import_withdraws_quarantined_rates_of_its_dates(store: Store, tmp_path: Path) -> None:
    """The decision is recorded."""
    await store.save(FIXINGS[0])
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(store._key("fixings", "nbk"))
    quarantined = QuarantinedFixing(fixing(day(1), USD="4787.70"), ("a jump",), NOW)
    await store.quarantine(quarantined)
    await transfer.load(store, tmp_path / "a.gz", NOW)
    assert await store.decisions("nbk") == [QuarantineDecision(quarantined, Outcome.WITHDRAWN, NOW)]


async def test_rejected_rates_are_not_imported(store: Store, tmp_path: Path) -> None:
    """They count as different; other rates of that date, and the same rates of another date, are imported."""
    for exported in FIXINGS:
        await store.save(exported)
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(*await all_fixings(store))
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


def modified_export(index: int, **changes: object) -> bytes:
    """Return an export with other values in one line."""
    lines = [dict(transfer.HEADER), *(json.loads(FIXING.adapter.dump_json(exported)) for exported in FIXINGS)]
    lines[index] |= changes
    return gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (b"", "is empty"),
        (b"no gzip", "cannot be read"),
        (modified_export(1)[:-12], "cannot be read"),
        (modified_export(1)[:40] + b"\xff" + modified_export(1)[41:], "cannot be read"),
        (gzip.compress(b"{}\n", mtime=0), "is not an export of fixings"),
        (gzip.compress(b"[\n", mtime=0), "line 1: is not JSON"),
        (gzip.compress(b"[" * 100_000, mtime=0), "line 1: is not JSON"),
        (modified_export(3, date="yesterday"), "line 4: is not a fixing: date: "),
        (modified_export(2, rates={"USD": {"value": "-1"}}), "line 3: USD is -1 for 1, not a positive finite rate"),
        (modified_export(2, rates={}), "line 3: it quotes no currency"),
        (
            modified_export(2, rates={"USD": {"value": "1E+2000000"}}),
            "line 3: USD is 1E\\+2000000, outside 1E-15 to 1E\\+16",
        ),
        (modified_export(2, rates={"usd": {"value": "1"}}), "line 3: 'usd' is not a currency code"),
        (modified_export(2, base="kzt"), "line 3: the base 'kzt' is not a currency code"),
        (modified_export(2, source="a:b"), "line 3: 'a:b' is not a source key"),
        (
            modified_export(2, date="9999-12-31", revisions=[]),
            "line 3: it is dated 9999-12-31, after 2026-04-04, the last",
        ),
        (
            modified_export(2, date="2030-01-01", revisions=[]),
            "line 3: it is dated 2030-01-01, after 2026-04-04, the last",
        ),
        (
            modified_export(2, date="0001-01-01", revisions=[]),
            "line 3: it is dated 0001-01-01, before 1949-01-01, the first",
        ),
        (
            modified_export(2, source="mine", date="2026-04-11", revisions=[]),
            "line 3: it is dated 2026-04-11, after 2026-04-10",
        ),
        (modified_export(0, version=2), "is not an export of fixings, version 1"),
    ],
)
async def test_invalid_file_is_reported_and_changes_nothing(
    store: Store, tmp_path: Path, file: bytes, problem: str
) -> None:
    """The error names the line; valid lines before it are not imported either."""
    path = tmp_path / "bad.gz"
    path.write_bytes(file)
    store.last_date = last_dates(load(environ={}), lambda: NOW)
    with pytest.raises(TickerError, match=problem):
        await transfer.load(store, path, NOW)
    assert await all_fixings(store) == {}


async def test_unconfigured_source_may_be_dated_a_week_ahead(store: Store, tmp_path: Path) -> None:
    """The publication horizon of such a source is unknown."""
    await store.save(fixing(day(10), "mine", USD="478.77"))
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(store._key("fixings", "mine"))
    store.last_date = last_dates(load(environ={}), lambda: NOW)
    assert await transfer.load(store, tmp_path / "a.gz", NOW) == (1, 0, 0)


async def test_unwritable_path_is_reported(store: Store, tmp_path: Path) -> None:
    """The directory does not exist."""
    with pytest.raises(TickerError, match=r"cannot be written: "):
        await transfer.export(store, tmp_path / "nowhere" / "a.gz")
