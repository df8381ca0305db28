"""Export and import of all fixings as one file."""

import asyncio
import gzip
import json
import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.cli import transfer
from service.domain.bounds import last_dates
from service.domain.fixing import Fixing
from service.errors import TickerError
from service.settings import Settings, load
from service.storage.codecs import FIXING
from service.storage.repository import Store
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from tests.support.cli import command
from tests.support.fixings import day, fixing, later, with_sides

FIXINGS = [
    fixing(day(1), USD="478.77", JPY=("31.50", 10)),
    replace(fixing(day(2), USD="475.09"), revisions=(fixing(day(2), USD="475.10"),)),
    with_sides(fixing(day(2), "cbr", "RUB", USD="80.0000"), USD=("79.90", "80.10")),
]


NOW = datetime(2026, 4, 3, 4, tzinfo=UTC)


async def all_fixings(store: Store) -> dict[str, Any]:
    """Return all stored fixings by key."""
    keys = [str(key) async for key in store._redis.scan_iter(f"{store._prefix}fixings:*")]
    return {key: await store._redis.hgetall(key) for key in keys}


async def imported(store: Store, file: Path) -> tuple[int, int, list[tuple[str, str]]]:
    """Import a file; return how many fixings were added and unchanged, and the refused ones with their reason."""
    fixings, _ = await transfer.load(store, file, NOW)
    return fixings.added, fixings.unchanged, fixings.refused


async def test_exported_and_imported_fixings_are_identical(store: Store, tmp_path: Path) -> None:
    """Exported, deleted and imported fixings are byte-identical; equal stores produce equal files."""
    for original in FIXINGS:
        await store.save(original)
    before = await all_fixings(store)
    file, again = tmp_path / "a.gz", tmp_path / "b.gz"
    exported = await transfer.export(store, file)
    assert (exported.fixings, exported.unreadable) == (3, 0)
    await store._redis.delete(*before)
    assert await all_fixings(store) == {}
    assert await imported(store, file) == (3, 0, [])
    assert await all_fixings(store) == before
    await transfer.export(store, again)
    assert again.read_bytes() == file.read_bytes()
    assert await imported(store, file) == (0, 3, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.gz"]


async def test_import_does_not_overwrite_known_fixings(store: Store, tmp_path: Path) -> None:
    """An import adds missing fixings and changes none."""
    for exported in FIXINGS:
        await store.save(exported)
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(store._key("fixings", "cbr"))
    await store.save(later(fixing(day(1), USD="999.00")))
    refused = [("nbk 2026-04-01", "a different fixing is stored")]
    assert await imported(store, tmp_path / "a.gz") == (1, 1, refused)
    stored = await store.fixing("nbk", day(1))
    assert stored is not None
    assert str(stored.rates["USD"].value) == "999.00"


async def test_unreadable_record_is_reported(store: Store, tmp_path: Path) -> None:
    """A fixing that this version cannot decode is counted instead of silently skipped."""
    await store.save(FIXINGS[0])
    await store._redis.hset(store._key("fixings", "nbk"), "2026-03-31", "{}")
    assert (await transfer.export(store, tmp_path / "a.gz")).unreadable == 1


async def test_fixings_left_out_of_an_export_are_counted(store: Store, tmp_path: Path) -> None:
    """Cover an impossible date and a key of a wrong type, which counts as one."""
    await store.save(FIXINGS[0], fixing(day(9), USD="478.77"))
    await store._redis.set(store._key("fixings", "ecb"), "oops")
    store.last_date = lambda _: day(2)
    assert (await transfer.export(store, tmp_path / "a.gz")).unreadable == 2


async def test_import_does_not_overwrite_unreadable_records(store: Store, tmp_path: Path) -> None:
    """A later version may be able to decode them; they count as known and different."""
    await store.save(FIXINGS[0])
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.hset(store._key("fixings", "nbk"), str(day(1)), "{}")
    assert await imported(store, tmp_path / "a.gz") == (0, 0, [("nbk 2026-04-01", "a different fixing is stored")])
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
    refused = [("nbk 2026-04-01", "an operator has rejected its rates")]
    assert await imported(store, tmp_path / "a.gz") == (2, 0, refused)
    assert await store.dates("nbk") == [day(2)]
    await store.record_decision(
        QuarantineDecision(QuarantinedFixing(FIXINGS[0], ("a jump",), NOW), Outcome.ACCEPTED, NOW)
    )
    assert await imported(store, tmp_path / "a.gz") == (1, 2, [])


def modified_export(index: int, **changes: object) -> bytes:
    """Return an export with other values in one line."""
    lines = [dict(transfer.HEADER), *(json.loads(FIXING.adapter.dump_json(exported)) for exported in FIXINGS)]
    lines[index] |= changes
    return gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())


def with_line(line: bytes) -> bytes:
    """Return an export with one record."""
    return gzip.compress(json.dumps(transfer.HEADER).encode() + b"\n" + line + b"\n", mtime=0)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (b"", "is empty"),
        (b"no gzip", "cannot be read: it is not compressed with gzip, or is damaged$"),
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
        (modified_export(0, version=3), "is not an export of fixings, version 1 or 2"),
        (modified_export(0, version=1)[:-12], "cannot be read: it ends too early"),
        (with_line(b'{"decision":{}}'), "line 2: is not a QuarantineDecision"),
        (with_line(b'{"quarantined":[]}'), "line 2: is not a QuarantinedFixing"),
        (with_line(b'{"quarantined":{"fixing":{"source":"nbk","date":"2026-04-01"}}}'), "line 2: is not a Quarantined"),
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
    assert await imported(store, tmp_path / "a.gz") == (1, 0, [])


async def test_unwritable_path_is_reported(store: Store, tmp_path: Path) -> None:
    """The directory does not exist."""
    with pytest.raises(TickerError, match=r"cannot be written: "):
        await transfer.export(store, tmp_path / "nowhere" / "a.gz")


def decision(on: Fixing, outcome: Outcome, hour: int) -> QuarantineDecision:
    at = NOW.replace(hour=hour)
    return QuarantineDecision(QuarantinedFixing(on, ("USD moved",), NOW.replace(hour=0)), outcome, at)


async def test_quarantine_and_decisions_are_restored(store: Store, tmp_path: Path) -> None:
    """Into an empty store identically, also of a source without fixings; into the same store nothing is added."""
    await store.save(*FIXINGS[:2])
    for number, outcome in ((1, Outcome.REJECTED), (2, Outcome.ACCEPTED), (3, Outcome.WITHDRAWN)):
        await store.record_decision(decision(fixing(day(number), USD="999.00"), outcome, number))
    await store.record_decision(decision(fixing(day(1), "cbr", "RUB", USD="1.00"), Outcome.RETRACTED, 1))
    await store.quarantine(QuarantinedFixing(fixing(day(3), USD="4750.90"), ("USD moved",), NOW))
    before = [await store.decisions("nbk"), await store.decisions("cbr"), await store.waiting("nbk")]
    exported = await transfer.export(store, tmp_path / "a.gz")
    assert str(exported) == "2 fixings, 4 decisions, 1 quarantined"
    await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
    fixings, others = await transfer.load(store, tmp_path / "a.gz", NOW)
    assert (str(fixings), str(others)) == ("2 added, 0 unchanged, 0 refused", "5 added, 0 unchanged, 0 refused")
    assert [await store.decisions("nbk"), await store.decisions("cbr"), await store.waiting("nbk")] == before
    fixings, others = await transfer.load(store, tmp_path / "a.gz", NOW)
    assert (str(fixings), str(others)) == ("0 added, 2 unchanged, 0 refused", "0 added, 5 unchanged, 0 refused")
    await transfer.export(store, tmp_path / "b.gz")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


async def test_newer_decisions_apply_after_an_import(store: Store, tmp_path: Path) -> None:
    """Restored decisions are older than stored ones; quarantined rates that were decided since stay decided."""
    entry = QuarantinedFixing(fixing(day(3), USD="4750.90"), ("USD moved",), NOW)
    other = QuarantinedFixing(fixing(day(2), USD="4750.90"), ("USD moved",), NOW)
    first, second = (
        decision(fixing(day(1), USD="999.00"), Outcome.REJECTED, 1),
        QuarantineDecision(entry, Outcome.ACCEPTED, NOW.replace(hour=9)),
    )
    await store.record_decision(first)
    await store.quarantine(entry)
    await store.quarantine(other)
    await transfer.export(store, tmp_path / "a.gz")
    await store._redis.delete(store._key("decisions", "nbk"))
    await store.record_decision(second)
    await store.quarantine(QuarantinedFixing(fixing(day(2), USD="4751.00"), ("USD moved",), NOW))
    _, others = await transfer.load(store, tmp_path / "a.gz", NOW)
    assert others.refused == [
        ("nbk 2026-04-02", "other rates are quarantined"),
        ("nbk 2026-04-03", "its quarantine has ended"),
    ]
    assert str(others) == (
        "1 added, 0 unchanged, 2 refused (1: other rates are quarantined; 1: its quarantine has ended)"
    )
    assert await store.decisions("nbk") == [second, first]
    assert [str(waiting.fixing.rates["USD"].value) for waiting in await store.waiting("nbk")] == ["4751.00"]


async def test_export_of_version_1_is_imported(store: Store, tmp_path: Path) -> None:
    """It has fixings only."""
    (tmp_path / "a.gz").write_bytes(modified_export(0, version=1))
    assert await imported(store, tmp_path / "a.gz") == (3, 0, [])


async def filled(store: Store, count: int) -> None:
    await store.save(*(fixing(date(2025, 1, 1) + timedelta(days=number), USD="475.09") for number in range(count)))


async def test_backup_is_not_replaced_by_one_that_lost_records(store: Store, tmp_path: Path) -> None:
    """More than 5 % fewer fixings or decisions, or a source less: refused, unless forced. No file is left behind."""
    file = tmp_path / "a.gz"
    await filled(store, 100)
    await store.save(fixing(day(1), "cbr", "RUB", USD="80.00"))
    for hour in range(4):
        await store.record_decision(decision(fixing(day(3), USD=f"{hour}.00"), Outcome.REJECTED, hour))
    await transfer.export(store, file)
    backup, fixings, decisions = file.read_bytes(), store._key("fixings", "nbk"), store._key("decisions", "nbk")
    await store._redis.hdel(fixings, *(str(date(2025, 1, 1) + timedelta(days=number)) for number in range(5)))
    await transfer.export(store, file)  # 96 of 101
    assert file.read_bytes() != backup
    await filled(store, 100)
    await transfer.export(store, file)
    assert file.read_bytes() == backup
    kept = await store._redis.lrange(decisions, 0, -1)
    await store._redis.ltrim(decisions, 0, 2)
    with pytest.raises(TickerError, match="the store has 101 fixings, 3 decisions, 0 quarantined, the file has"):
        await transfer.export(store, file)
    await store._redis.delete(decisions)
    await store._redis.rpush(decisions, *kept)
    await store._redis.delete(store._key("fixings", "cbr"))
    with pytest.raises(TickerError, match=r", and lacks cbr\. Check whether the store has lost records; --force"):
        await transfer.export(store, file)
    await store.save(fixing(day(1), "cbr", "RUB", USD="80.00"))
    await store._redis.hdel(fixings, *(str(date(2025, 1, 1) + timedelta(days=number)) for number in range(6)))
    with pytest.raises(TickerError, match=r"a\.gz: not overwritten: the store has 95 fixings"):
        await transfer.export(store, file)
    assert file.read_bytes() == backup
    assert [path.name for path in tmp_path.iterdir()] == ["a.gz"]
    assert (await transfer.export(store, file, force=True)).fixings == 95
    assert file.read_bytes() != backup


async def test_earlier_files_are_kept(store: Store, tmp_path: Path) -> None:
    """So many of them, the newest as FILE.1; without the option none."""
    file, contents = tmp_path / "a.gz", list[bytes]()
    for count in range(1, 5):
        await filled(store, count)
        await transfer.export(store, file, keep=2)
        contents.append(file.read_bytes())
    assert len(set(contents)) == 4
    names = ["a.gz", "a.gz.1", "a.gz.2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [(tmp_path / name).read_bytes() for name in names] == contents[:0:-1]
    await filled(store, 5)
    await transfer.export(store, file)
    assert [(tmp_path / name).read_bytes() for name in names[1:]] == contents[2:0:-1]


@pytest.mark.parametrize("force", [False, True])
async def test_only_a_regular_file_is_overwritten(store: Store, tmp_path: Path, force: bool) -> None:
    """Not a link, a directory, a pipe or a device: each stays what it is."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    kinds = {
        "link": "a symbolic link",
        "dangling": "a symbolic link",
        "folder": "a directory",
        "pipe": "a device or pipe",
    }
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    for name, kind in kinds.items():
        with pytest.raises(TickerError, match=f"{name}: is {kind}, not a regular file"):
            await transfer.export(store, tmp_path / name, force=force)
    with pytest.raises(TickerError, match="/dev/null: is a device or pipe, not a regular file"):
        await transfer.export(store, Path("/dev/null"), force=force)
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("number", [1, 2])
async def test_only_a_regular_file_is_a_kept_one(store: Store, tmp_path: Path, force: bool, number: int) -> None:
    """A link, a directory or a pipe at the name of an earlier file stays, and nothing is written."""
    file, kept = tmp_path / "a.gz", tmp_path / f"a.gz.{number}"
    await filled(store, 1)
    await transfer.export(store, file)
    backup = file.read_bytes()
    await filled(store, 2)
    for make, kind in (
        (partial(kept.symlink_to, file), "a symbolic link"),
        (partial(kept.symlink_to, tmp_path / "nowhere"), "a symbolic link"),
        (partial(os.mkfifo, kept), "a device or pipe"),
        (partial(kept.mkdir), "a directory"),
    ):
        make()
        inode = kept.lstat().st_ino
        with pytest.raises(TickerError, match=rf"a\.gz\.{number}: is {kind}, not a regular file; move it away"):
            await transfer.export(store, file, force=force, keep=2)
        assert (kept.lstat().st_ino, file.read_bytes()) == (inode, backup)
        assert len([*tmp_path.iterdir()]) == 2
        if kept.is_dir() and not kept.is_symlink():
            kept.rmdir()
        else:
            kept.unlink()
    await transfer.export(store, file, force=force, keep=2)
    assert (tmp_path / "a.gz.1").read_bytes() == backup


async def test_name_that_is_too_long_is_reported(store: Store, tmp_path: Path) -> None:
    """Also one to which only the suffix of the unfinished file does not fit."""
    for length in (250, 300):
        with pytest.raises(TickerError, match="File name too long"):
            await transfer.export(store, tmp_path / ("x" * length))


async def test_file_that_is_no_export_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    """Unless forced; an empty file may be."""
    await store.save(FIXINGS[0])
    for content in (b"precious", gzip.compress(b"precious\n"), gzip.compress(b"{}\n"), modified_export(1)[:-12]):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(TickerError, match=r"a\.gz: exists and is not a complete export; choose another file"):
            await transfer.export(store, tmp_path / "a.gz")
        assert (tmp_path / "a.gz").read_bytes() == content
        await transfer.export(store, tmp_path / "a.gz", force=True)
    (tmp_path / "b.gz").write_bytes(b"")
    await transfer.export(store, tmp_path / "b.gz")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


async def test_command_prints_what_was_exported_and_imported(store: Store, settings: Settings, tmp_path: Path) -> None:
    """A file, standard output, and a report with the reason of each refusal."""
    environ = {
        "TICKER_STORE__URL": settings.store.url.get_secret_value(),
        "TICKER_STORE__PREFIX": settings.store.prefix,
    }
    async with Store(environ["TICKER_STORE__URL"], environ["TICKER_STORE__PREFIX"]) as same:
        await same.save(*FIXINGS[:2])
        await same.quarantine(QuarantinedFixing(fixing(day(3), USD="4750.90"), ("USD moved",), NOW))
        file, piped = tmp_path / "a.gz", tmp_path / "b.gz"
        exported = await asyncio.to_thread(command, environ, "export", str(file), "--keep", "1")
        assert (exported.exit_code, exported.stdout) == (0, f"{file}: 2 fixings, 0 decisions, 1 quarantined\n")
        written = await asyncio.to_thread(command, environ, "export", "-")
        assert (written.exit_code, written.stderr) == (0, "-: 2 fixings, 0 decisions, 1 quarantined\n")
        piped.write_bytes(written.stdout_bytes)
        assert piped.read_bytes() == file.read_bytes()
        await same._redis.delete(same._key("fixings", "nbk"))
        await same.save(later(fixing(day(1), USD="999.00")))
        loaded = await asyncio.to_thread(command, environ, "import", str(piped))
        assert loaded.exit_code == 0
        assert loaded.stdout == (
            f"{piped}: 1 added, 0 unchanged, 1 refused (a different fixing is stored)\n"
            "quarantine and decisions: 0 added, 1 unchanged, 0 refused\n"
            "  nbk 2026-04-01: a different fixing is stored\n"
        )
