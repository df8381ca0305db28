"""`Store`: records written to a real Valkey and read again."""

import json
import os
import threading
import zlib
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from structlog.testing import capture_logs

from service.domain.breaks import Break
from service.domain.fixing import Quotation
from service.errors import SettingsError, StoreError
from service.settings import load
from service.state.memory import SourceState
from service.state.selection import snapshot
from service.storage.codecs import Kind, Place
from service.storage.repository import Store
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from tests.support.fixings import day, fixing, later, series, with_sides
from tests.support.servers import sentinel, valkey
from tests.support.wait import until

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)


async def test_fixing_is_stored_without_loss(store: Store) -> None:
    """Trailing zeros, nominals, direction, times, digests and revisions are kept."""
    first = fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.1500", JPY=("180.10", 100))
    stored = replace(first, digest="new").with_revision_of(first)
    await store.save(stored)
    assert await store.fixing("ecb", day(1)) == stored
    (found,) = await store.recent("ecb", 5)
    assert str(found.rates["USD"].value) == "1.1500"
    assert found.revisions[0].digest == first.digest


async def test_fixings_are_found_by_date(store: Store) -> None:
    """Dates are sorted, `recent` returns the latest ones, an unknown date has no fixing."""
    for number in (3, 1, 2):
        await store.save(fixing(day(number), USD="475.09"))
    await store.save(later(fixing(day(2), USD="476.00")))
    assert await store.dates("nbk") == [day(1), day(2), day(3)]
    assert [(item.date, item.rates["USD"].value) for item in await store.recent("nbk", 2)] == [
        (day(2), Decimal("476.00")),
        (day(3), Decimal("475.09")),
    ]
    assert await store.fixing("nbk", day(4)) is None
    assert await store.recent("cbr", 5) == []


async def test_rates_of_many_days_are_read_without_metadata(store: Store) -> None:
    """Digits, nominals and direction as published, oldest first; days without a fixing are left out."""
    for number in (3, 1, 4):
        stored = fixing(day(number), "ecb", "EUR", Quotation.INVERSE, USD="1.1500", JPY=("180.10", 100))
        await store.save(replace(stored, digest="new").with_revision_of(stored))
    found = await store.rates("ecb", day(1), day(3))
    assert [(rates.date, rates.base, rates.direction) for rates in found] == [
        (day(1), "EUR", Quotation.INVERSE),
        (day(3), "EUR", Quotation.INVERSE),
    ]
    assert {code: (str(rate.value), rate.nominal) for code, rate in found[0].rates.items()} == {
        "USD": ("1.1500", 1),
        "JPY": ("180.10", 100),
    }
    assert await store.rates("ecb", day(5), day(9)) == await store.rates("nbk", day(1), day(9)) == []


async def test_quarantine_is_kept_until_decided(store: Store) -> None:
    """One entry per date. A decision ends it and is stored once; a fixing of the date alone does not end it."""
    first, second, third = (QuarantinedFixing(fixing(day(number), USD="0"), ("USD is 0",), NOW) for number in (1, 2, 3))
    for waiting in (third, first, second, first):
        await store.quarantine(waiting)
    assert await store.waiting("nbk") == [first, second, third]
    rejected, accepted = (
        QuarantineDecision(first, Outcome.REJECTED, NOW),
        QuarantineDecision(second, Outcome.ACCEPTED, NOW),
    )
    for decision in (rejected, accepted, accepted):
        await store.record_decision(decision)
    assert await store.decisions("nbk") == [accepted, rejected]
    assert await store.waiting("nbk") == [third]
    published = fixing(day(3), EUR="551.06")
    await store.save(published)
    assert await store.waiting("nbk") == [third]
    completed = replace(published, rates={**published.rates, **fixing(day(3), USD="475.09").rates})
    confirmed = QuarantineDecision(third, Outcome.CONFIRMED, NOW)
    await store.save(completed, decision=confirmed)
    assert await store.waiting("nbk") == []
    assert await store.fixing("nbk", day(3)) == completed
    assert await store.decisions("nbk") == [confirmed, accepted, rejected]


async def test_decision_is_saved_only_with_its_rates(store: Store) -> None:
    """A later version that lacks them keeps both from being stored, so that the rates stay quarantined."""
    entry = QuarantinedFixing(fixing(day(3), USD="475.09"), ("USD moved",), NOW)
    accepted = QuarantineDecision(entry, Outcome.ACCEPTED, NOW)
    await store.quarantine(entry)
    newer = later(fixing(day(3), EUR="551.06"))
    await store.save(newer)
    written = await store.save(entry.fixing, decision=accepted)
    assert (written.whole, await store.decisions("nbk"), await store.waiting("nbk")) == (False, [], [entry])
    await store.save(later(fixing(day(3), EUR="551.06", USD="475.09"), 2))
    written = await store.save(entry.fixing, decision=accepted)  # confirmed meanwhile
    assert (written.whole, await store.decisions("nbk"), await store.waiting("nbk")) == (False, [accepted], [])


@pytest.mark.parametrize("codes", [{"USD"}, {"USD", "EUR"}])
async def test_retracted_rates_are_removed_with_their_decision(store: Store, codes: set[str]) -> None:
    """Other rates of the date are kept; a date without rates is removed. The version of the source changes."""
    published = fixing(day(3), USD="475.09", EUR="551.06")
    before = await store.save(published)
    retracted = published.without(published.rates.keys() - codes)
    decision = QuarantineDecision(QuarantinedFixing(retracted, ("retracted",), NOW), Outcome.RETRACTED, NOW)
    written = await store.retract(published, decision)
    remaining = published.without(codes)
    assert await store.fixing("nbk", day(3)) == (remaining if remaining.rates else None)
    assert await store.decisions("nbk") == [decision]
    assert (written.before, await store.version("nbk")) == (before.version, written.version)


async def test_known_decisions_are_not_decoded_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are decoded outside the event loop's thread, once: a source may have a thousand."""
    threads, read = list[threading.Thread](), Kind.read

    def recorded(kind: Kind[Any], json: str | bytes, place: Place) -> Any:
        threads.append(threading.current_thread())
        return read(kind, json, place)

    monkeypatch.setattr(Kind, "read", recorded)
    decisions = [
        QuarantineDecision(QuarantinedFixing(fixing(day(number), USD="1"), ("USD",), NOW), Outcome.REJECTED, NOW)
        for number in range(1, 4)
    ]
    for count, decision in enumerate(decisions, 1):
        await store.record_decision(decision)
        assert await store.decisions("nbk") == decisions[count - 1 :: -1]
        assert await store.decisions("nbk") == decisions[count - 1 :: -1]
        assert len(threads) == count
    assert threading.main_thread() not in threads


async def test_breaks_of_a_decision_are_stored(store: Store) -> None:
    """Date, currency and exact factor of a declared redenomination are kept."""
    waiting = QuarantinedFixing(fixing(day(3), BYN="235.10"), ("BYN moved",), NOW)
    breaks = (Break("BYN", day(3), Decimal(10000)), Break("BYN", day(2)))
    decision = QuarantineDecision(waiting, Outcome.ACCEPTED, NOW, breaks)
    await store.record_decision(decision)
    assert await store.decisions("nbk") == [decision]


async def test_write_returns_the_previous_version(store: Store) -> None:
    """Fixings, quarantine and decisions change the version; each source has its own."""
    waiting = QuarantinedFixing(fixing(day(3), USD="0"), (), NOW)
    assert await store.versions() == {}
    first = await store.save(fixing(day(1), USD="478.77"), fixing(day(2), USD="475.09"))
    second = await store.quarantine(waiting)
    third = await store.record_decision(QuarantineDecision(waiting, Outcome.REJECTED, NOW))
    other = await store.save(fixing(day(1), "cbr", "RUB", USD="80"))
    assert first.before is other.before is None
    assert (second.before, third.before) == (first.version, second.version)
    assert await store.versions() == {"nbk": third.version, "cbr": other.version}


async def test_newer_version_is_never_replaced_by_an_older_one(store: Store) -> None:
    """A disconnected instance writes the version before a correction; a repeated fixing keeps the first metadata."""
    first = fixing(day(1), USD="478.77")
    revised = replace(fixing(day(1), USD="478.70"), digest="revised").with_revision_of(first)
    for version in (revised, first, later(first, -1), later(revised)):
        await store.save(version)
    assert await store.fixing("nbk", day(1)) == revised
    second_revision = later(fixing(day(1), USD="478.77")).with_revision_of(revised)
    await store.save(second_revision)
    assert await store.fixing("nbk", day(1)) == second_revision


async def test_version_of_a_source_is_never_reused(store: Store) -> None:
    """Each write changes it, also after the store was emptied."""
    versions = [await store.version("nbk")]
    for _ in range(2):
        await store.save(fixing(day(1), USD="478.77"))
        versions.append(await store.version("nbk"))
        await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
    assert versions[0] is None
    assert len(set(versions)) == 3


async def test_raw_response_is_stored_exactly_and_expires(store: Store) -> None:
    """In any encoding; it is compressed."""
    body = "<rates>доллар</rates>".encode("windows-1251") * 100
    await store.save_raw("cbr", "abc", body, timedelta(days=90))
    assert await store.raw("cbr", "abc") == body
    assert await store.raw("nbk", "abc") is None
    key = store._key("raw", "cbr", "abc")
    await store.save_raw("cbr", "def", body, timedelta(0))
    assert await store.raw("cbr", "def") is None
    assert 89 * 86400 < await store._redis.ttl(key) <= 90 * 86400
    assert await store._redis.strlen(key) < len(body) / 10


async def test_states_and_snapshots_are_stored(store: Store) -> None:
    """The state of each source and the snapshot of each ticker."""
    state = SourceState(NOW, NOW, NOW, 3, "down")
    await store.save_state("nbk", state)
    assert await store.states() == {"nbk": state}
    settings = load(environ={})
    built = snapshot(settings.tickers[0], settings.polled, {"nbk": series(fixing(day(2), USD="475.09"))}, NOW)
    assert built is not None
    await store.save_snapshot(built)
    assert await store.snapshot("kzt") == built
    assert await store.snapshot("eur") is None


async def test_numbers_with_many_decimals_are_stored(store: Store) -> None:
    """Those of two doubles, and their difference, which is smaller than any rate."""
    old, new = fixing(day(1), USD="0.0025834567890123455"), fixing(day(2), USD="0.0025834567890123456")
    await store.save(old, new)
    assert await store.recent("nbk", 5) == [old, new]
    settings = load(environ={})
    built = snapshot(settings.tickers[0], settings.polled, {"nbk": series(old, new)}, NOW)
    assert built is not None
    assert built.quotes[0].change == Decimal("1E-19")
    await store.save_snapshot(built)
    assert await store.snapshot("kzt") == built


async def test_unreachable_store_is_reported() -> None:
    """The error names the URL but not the password."""
    async with Store("redis://user:canary@127.0.0.1:1/0", "t:") as unreachable:
        with pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:1/0: ") as error:
            await unreachable.versions()
    assert "canary" not in str(error.value)


async def test_unreadable_record_is_logged_and_skipped(store: Store) -> None:
    """A foreign value under our key is not a fixing and does not affect the others."""
    key = store._key("fixings", "nbk")
    await store.save(fixing(day(2), USD="475.09"))
    await store._redis.hset(key, mapping={"2026-04-01": "{}", "2026-19-39": "{}", "oops": "{}"})
    with capture_logs() as logs:
        assert [item.date for item in await store.recent("nbk", 5)] == [day(2)]
        assert [item.date for item in await store.rates("nbk", day(1), day(2))] == [day(2)]
        assert await store.fixing("nbk", day(1)) is None
    logged = {
        (log["event"], log["source"], log["kind"], log["field"], log["problem"], log["beginning"]) for log in logs
    }
    missing = "source: is required", "Object missing required field `date`"
    assert logged == {
        ("store.unreadable", "nbk", "Fixing", "2026-19-39", "it is not a date", ""),
        ("store.unreadable", "nbk", "Fixing", "oops", "it is not a date", ""),
        *(("store.unreadable", "nbk", "Fixing", "2026-04-01", problem, "{}") for problem in missing),
    }


def json_of(record: object, **changes: object) -> str:
    """Return a record as stored, with other values."""
    return json.dumps(json.loads(TypeAdapter(type(record)).dump_json(record)) | changes)


def with_huge_rate(text: str) -> str:
    return text.replace("475.09", "1E+2000000")


VALID = fixing(day(1), USD="475.09")
QUARANTINED = QuarantinedFixing(VALID, ("USD is 0",), NOW)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("2026-04-01", with_huge_rate(json_of(VALID)), "USD is 1E+2000000, outside 1E-15 to 1E+16"),
        ("2026-04-01", json_of(VALID, rates={}), "it quotes no currency"),
        ("2026-04-01", json_of(VALID, source="cbr"), "it is of source 'cbr'"),
        ("2026-04-01", json_of(VALID, date="2026-03-31"), "it is dated 2026-03-31"),
        ("2026-04-01", json_of(VALID, fetched_at="2026-04-01T00:00:00"), "fetched_at 2026-04-01 00:00:00 has no time"),
        ("2026-04-01", b"\xff\x00 junk", "must be text"),
        ("2026-04-01", "[" * 100_000, "is not JSON"),
        ("2026-04-01", '{"more":' + "[" * 100_000, "is not JSON"),
        ("9999-12-31", json_of(VALID, date="9999-12-31"), "it is dated 9999-12-31, after 2026-04-09, the last"),
        ("2026-04-10", json_of(VALID, date="2026-04-10"), "it is dated 2026-04-10, after 2026-04-09, the last"),
        ("1900-01-01", json_of(VALID, date="1900-01-01"), "it is dated 1900-01-01, before 1949-01-01"),
        ("20260401", json_of(VALID), "it is not a date"),
        ("2026-W14-3", json_of(VALID), "it is not a date"),
    ],
)  # fmt: skip
async def test_invalid_fixing_is_skipped_and_logged(store: Store, field: str, value: str | bytes, problem: str) -> None:
    """All other fixings are read."""
    store.last_date = lambda _: day(9)
    await store._redis.hset(store._key("fixings", "nbk"), field, value)
    await store.save(fixing(day(2), USD="475.09"))
    with capture_logs() as logs:
        days = await store.dates("nbk")
        assert [item.date for item in await store.fixings("nbk", days)] == [day(2)]
    (log,) = logs
    assert (log["event"], log["source"], log["key"], log["field"]) == (
        "store.unreadable",
        "nbk",
        "fixings:nbk",
        field,
    )
    assert log["problem"].startswith(problem)


@pytest.mark.parametrize(
    "value", [with_huge_rate(json_of(VALID)), json_of(VALID, date="2026-04-03"), b"\xff", '{"a":' + "[" * 9999]
)
async def test_invalid_rates_are_skipped_without_metadata_too(store: Store, value: str | bytes) -> None:
    """As read for a history and one by one."""
    await store._redis.hset(store._key("fixings", "nbk"), "2026-04-01", value)
    await store.save(fixing(day(2), USD="475.09"))
    with capture_logs() as logs:
        assert [item.date for item in await store.rates("nbk", day(1), day(2))] == [day(2)]
        assert await store.fixing("nbk", day(1)) is None
    assert [(log["key"], log["field"]) for log in logs] == [("fixings:nbk", "2026-04-01")] * 2


async def test_future_fixing_is_read_once_its_date_is_possible(store: Store) -> None:
    """The clock was behind, or an operator accepted it early: it is read later without another write."""
    store.last_date = lambda _: day(2)
    await store.save(fixing(day(1), USD="475.09"), fixing(day(3), USD="475.10"))
    before = await store.versions()
    assert await store.dates("nbk") == [day(1)]
    assert await store.versions() == before
    store.last_date = lambda _: day(3)
    assert await store.versions() != before
    assert await store.dates("nbk") == [day(1), day(3)]
    assert await store.versions() == before


async def test_clock_behind_does_not_flood_the_log(store: Store) -> None:
    """The first dates are named, the others are counted."""
    await store.save(*(fixing(day(number), USD="475.09") for number in range(1, 31)))
    store.last_date = lambda _: date(2020, 1, 1)
    with capture_logs() as logs:
        assert await store.dates("nbk") == []
    assert [log["field"] for log in logs] == [*(str(day(number)) for number in range(1, 11)), ""]
    assert logs[-1]["problem"] == "20 more are dated after 2020-01-01; check the system clock"


async def test_poll_time_in_the_future_is_skipped(store: Store) -> None:
    """Otherwise the source would not be polled until then. The last possible date is that of any time zone."""
    store.last_date = lambda _: day(2)
    await store.save_state("nbk", SourceState(datetime(2026, 4, 4, tzinfo=UTC)))
    await store.save_state("cbr", SourceState(datetime(2026, 4, 3, tzinfo=UTC)))
    assert (await store.states()).keys() == {"cbr"}
    (record,) = await store.bad_records()
    assert (record.place.key, record.place.field) == ("states", "nbk")
    assert record.problem == "polled_at 2026-04-04 00:00:00+00:00 is in the future"


async def test_write_to_a_key_of_a_wrong_type_names_the_remedy(store: Store) -> None:
    """The error is marked as refused, so other writes continue."""
    await store._redis.set(store._key("fixings:nbk"), "oops")
    with pytest.raises(StoreError, match=r"a key is of a wrong type; see: python -m service check$") as error:
        await store.save(fixing(day(1), USD="475.09"))
    assert error.value.refused


async def test_invalid_records_of_every_kind_are_skipped(store: Store) -> None:
    """Quarantine, decisions, states, snapshots, backfilled spans: none raises, each is logged."""
    decision = QuarantineDecision(QUARANTINED, Outcome.REJECTED, NOW)
    naive = json_of(SourceState(NOW), polled_at="2026-04-01T00:00:00")
    hashes: dict[str, dict[Any, Any]] = {
        "quarantine:nbk": {"2026-04-01": with_huge_rate(json_of(QUARANTINED)), "2026-04-02": b"\xff"},
        "states": {"nbk": naive, "cbr": "{", "ecb": json_of(SourceState(NOW))},
        "snapshots": {"kzt": "{}"},
        "backfilled": {"nbk": '[["2026-01-01", "9999-12-31"]]', "cbr": "{}"},
    }
    for key, fields in hashes.items():
        await store._redis.hset(store._key(key), mapping=fields)
    await store._redis.lpush(store._key("decisions:nbk"), json_of(decision), with_huge_rate(json_of(decision)))
    with capture_logs() as logs:
        assert await store.waiting("nbk") == []
        assert await store.decisions("nbk") == [decision]
        assert await store.states() == {"ecb": SourceState(NOW)}
        assert await store.snapshot("kzt") is None
        assert await store.backfilled("nbk") == await store.backfilled("cbr") == []
    assert {(log["key"], log["field"]) for log in logs} == {
        *((key, field) for key, fields in hashes.items() for field in fields if field != "ecb"),
        ("decisions:nbk", "0"),
    }
    assert {log["event"] for log in logs} == {"store.unreadable"}


@pytest.mark.parametrize("rates", [{"USD": "0"}, {"USD": "-1"}, {"USD": ("475", 0)}, {"KZT": "2"}, {}])
async def test_unpublishable_quarantined_fixing_is_read(store: Store, rates: dict[str, Any]) -> None:
    """Operators must see invalid rates and dates beyond the horizon."""
    waiting = QuarantinedFixing(fixing(date(2030, 1, 1), **rates), ("why",), NOW)
    store.last_date = lambda _: day(2)
    await store.quarantine(waiting)
    assert await store.waiting("nbk") == [waiting]


async def test_key_of_a_wrong_type_reads_as_empty_and_is_logged(store: Store) -> None:
    """Other sources and the other keys of the same source are read."""
    await store.save(fixing(day(1), "cbr", "RUB", USD="80"))
    for key in ("fixings:nbk", "quarantine:nbk", "decisions:nbk", "states", "snapshots", "backfilled"):
        await store._redis.set(store._key(key), "oops")
    await store._redis.lpush(store._key("raw", "nbk", "abc"), "oops")
    with capture_logs() as logs:
        lists: list[list[Any]] = [
            await store.dates("nbk"),
            await store.fixings("nbk", [day(1)]),
            await store.rates("nbk", day(1), day(2)),
            await store.waiting("nbk"),
            await store.decisions("nbk"),
            await store.backfilled("nbk"),
        ]
        assert not any(lists)
        assert await store.fixing("nbk", day(1)) is None
        assert await store.snapshot("kzt") is None
        assert await store.raw("nbk", "abc") is None
        assert await store.states() == {}
        assert await store.dates("cbr") == [day(1)]
    assert {log["key"] for log in logs} == {
        "fixings:nbk", "quarantine:nbk", "decisions:nbk", "states", "snapshots", "backfilled", "raw:nbk:abc"
    }  # fmt: skip
    assert all("python -m service check" in log["problem"] for log in logs)


async def test_damaged_raw_response_is_skipped(store: Store) -> None:
    """It is logged and reads as absent."""
    await store._redis.set(store._key("raw", "nbk", "abc"), b"no zlib")
    with capture_logs() as logs:
        assert await store.raw("nbk", "abc") is None
    assert [log["field"] for log in logs] == ["abc"]


async def stored_digests(store: Store, source: str = "nbk") -> list[str]:
    keys = [str(key) async for key in store._redis.scan_iter(f"{store._prefix}raw:{source}:*")]
    return sorted(key.rpartition(":")[2] for key in keys)


async def test_oldest_raw_responses_are_evicted(store: Store) -> None:
    """Each source has its own budget; storing a response again makes it the newest."""
    body = os.urandom(1000)
    size = len(zlib.compress(body))
    store._raw_bytes = 3 * size
    for digest in "abcd":
        await store.save_raw("nbk", digest, body, timedelta(days=90))
    await store.save_raw("cbr", "a", body, timedelta(days=90))
    assert (await stored_digests(store), await stored_digests(store, "cbr")) == (["b", "c", "d"], ["a"])
    for digest in "be":
        await store.save_raw("nbk", digest, body, timedelta(days=90))
    assert await stored_digests(store) == ["b", "d", "e"]
    assert await store.raw("nbk", "b") == body


async def test_expired_raw_responses_do_not_count(store: Store) -> None:
    """They leave the index with the next response and evict nothing."""
    body = os.urandom(1000)
    store._raw_bytes = 3 * len(zlib.compress(body))
    await store.save_raw("nbk", "a", body, timedelta(days=90))
    for digest in "bc":
        await store.save_raw("nbk", digest, body, timedelta(milliseconds=20))

    async def have_expired() -> bool:
        return await stored_digests(store) == ["a"]

    await until(have_expired)
    for digest in "de":
        await store.save_raw("nbk", digest, body, timedelta(days=90))
    assert (
        await stored_digests(store)
        == ["a", "d", "e"]
        == sorted(await store._redis.zrange(store._key("raws:nbk"), 0, -1))
    )
    assert await store._redis.pttl(store._key("raws:nbk")) > 89 * 86_400_000


async def test_raw_response_beyond_the_budget_is_not_stored(store: Store) -> None:
    """Nothing is evicted for it."""
    body = os.urandom(1000)
    store._raw_bytes = 3 * len(zlib.compress(body))
    await store.save_raw("nbk", "a", body, timedelta(days=90))
    await store.save_raw("nbk", "b", os.urandom(5000), timedelta(days=90))
    assert await stored_digests(store) == ["a"]


async def test_raw_responses_of_an_earlier_version_count(store: Store) -> None:
    """They have no index: their remaining lifetime shows which are the oldest."""
    packed = zlib.compress(os.urandom(1000))
    store._raw_bytes = 3 * len(packed)
    for digest, days in (("a", 10), ("b", 89), ("c", 50), ("d", 88)):
        await store._redis.set(store._key("raw", "nbk", digest), packed, ex=timedelta(days=days))
    await store.save_raw("nbk", "e", os.urandom(1000), timedelta(days=90))
    assert await stored_digests(store) == ["b", "d", "e"]


async def test_raw_responses_without_a_limit_are_not_evicted(store: Store) -> None:
    """They are kept until they expire."""
    for digest in "abcd":
        await store.save_raw("nbk", digest, os.urandom(1000), timedelta(days=90))
    assert await stored_digests(store) == list("abcd")


@pytest.mark.parametrize(
    "url", ["redis://:canary/x@h:6379/0", "redis+sentinel://:canary/x@h/name/0", "http://:canary@h"]
)
def test_invalid_url_does_not_show_its_password(url: str) -> None:
    """A slash in the password makes the URL invalid but does not disclose the password."""
    with pytest.raises(SettingsError) as error:
        Store(url, "t:")
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("url", ["http://h", "redis+sentinel://h", "redis+sentinel:///name", "nonsense"])
def test_unknown_url_scheme_is_a_settings_error(url: str) -> None:
    """The error names the setting."""
    with pytest.raises(SettingsError, match=r"store\.url"):
        Store(url, "t:")


async def test_sentinel_url_is_parsed() -> None:
    """Hosts, ports, service name, database and login are passed to the library."""
    async with Store("redis+sentinel://u:p%40ss@one,two:26380/main/3", "t:") as store:
        pool: Any = store._redis.connection_pool
        sentinels = [
            (client.connection_pool.connection_kwargs["host"], client.connection_pool.connection_kwargs["port"])
            for client in pool.sentinel_manager.sentinels
        ]
        assert sentinels == [("one", 26379), ("two", 26380)]
        assert pool.service_name == "main"
        assert pool.connection_kwargs == {"username": "u", "password": "p@ss", "db": 3} | pool.connection_kwargs
        assert "p@ss" not in store._connection.where


async def test_master_is_found_through_a_sentinel(tmp_path: Path) -> None:
    """The login is the master's; errors are one line without it."""
    with (
        valkey(tmp_path / "master", "--requirepass", "s3cret") as master,
        sentinel(tmp_path / "sentinel", master, more="sentinel auth-pass main s3cret\n") as watcher,
    ):
        await check_sentinel(watcher.port)


async def check_sentinel(sentinel: int) -> None:
    async with Store(f"redis+sentinel://:s3cret@127.0.0.1:{sentinel}/main/0", "t:") as store:

        async def is_found() -> bool:
            with suppress(StoreError):
                await store.save(fixing(day(1), USD="478.77"))
                return True
            return False

        await until(is_found)
        assert await store.dates("nbk") == [day(1)]
    for url, message in (
        (f":canary@127.0.0.1:{sentinel}/main/0", "the password is missing or wrong"),
        (f":canary@127.0.0.1:{sentinel}/other/0", r"it knows no master 'other' \(known: 'main'\)"),
    ):
        async with Store(f"redis+sentinel://{url}", "t:") as store:
            with pytest.raises(StoreError, match=message) as error:
                await store.versions()
        assert "canary" not in str(error.value)
        assert len(str(error.value)) < 150


async def test_buying_and_selling_rates_are_stored_where_present(store: Store) -> None:
    """With their digits, also those of revisions; other records are written as before there were any."""
    plain = fixing(day(1), USD="475.0", EUR="551")
    first = with_sides(plain, USD=("474.0", "476.0"))
    revised = later(with_sides(plain, USD=("474.0", "477.00"))).with_revision_of(first)
    await store.save(plain)
    assert "buying" not in str(await store._redis.hgetall(store._key("fixings", "nbk")))
    await store.save(replace(revised, date=day(2), revisions=(replace(first, date=day(2)),)))
    json_text = await store._redis.hget(store._key("fixings", "nbk"), str(day(2)))
    assert json.loads(str(json_text))["rates"] == {
        "USD": {"value": "475.0", "nominal": 1, "change": None, "buying": "474.0", "selling": "477.00"},
        "EUR": {"value": "551", "nominal": 1, "change": None},
    }
    found = await store.fixing("nbk", day(2))
    assert found
    assert (found.rates, found.revisions[0].rates) == (revised.rates, first.rates)
    assert str(found.rates["USD"].selling) == "477.00"
    (_, rates) = await store.rates("nbk", day(1), day(2))
    assert (rates.rates["USD"].buying, rates.rates["EUR"].buying) == (Decimal("474.0"), None)
    assert rates.is_revised("USD", "KZT")


async def test_revision_of_one_side_replaces_the_stored_record(store: Store) -> None:
    first = with_sides(fixing(day(1), USD="475"), USD=("474", "476"))
    revised = later(with_sides(first, USD=("474", "477"))).with_revision_of(first)
    await store.save(first)
    await store.save(revised)
    await store.save(first)
    assert await store.fixing("nbk", day(1)) == revised
