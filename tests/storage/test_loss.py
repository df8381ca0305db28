"""A store that loses records, may lose them, or was written by another version: on real Valkey servers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.domain.fixing import Fixing
from service.errors import NewerSchemaError, StoreError
from service.settings import Settings
from service.state.memory import KEEP, MemoryState
from service.storage import schema
from service.storage.repository import Durability, Store
from service.storage.sync import StoreSync
from service.validation.quarantine import KEPT_DECISIONS, Outcome, QuarantineDecision, QuarantinedFixing
from tests.conftest import Started
from tests.support.fixings import day, fixing, later
from tests.support.metrics import scraped, value
from tests.support.servers import valkey as server
from tests.support.wait import until

NOW = datetime(2026, 4, 2, 4, tzinfo=UTC)
LONG = [date(2025, 6, 1) + timedelta(days=number) for number in range(300)]
"""More dates than an instance keeps in memory."""


def instance_of(settings: Settings, store: Store) -> StoreSync:
    return StoreSync(MemoryState(settings), store)


async def filled(settings: Settings, store: Store) -> StoreSync:
    """Return an instance that has loaded a long history."""
    await store.save(*(fixing(on, USD="475.09") for on in LONG))
    instance = instance_of(settings, store)
    await instance.sync()
    assert instance.error is None
    assert instance.inventory.count("nbk") == len(LONG)
    return instance


async def flush(store: Store) -> None:
    """Delete everything, as FLUSHALL or a restart without persistence does."""
    await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])


async def evict(store: Store) -> None:
    """Delete the largest key alone, as `allkeys-lru` may: no version changes."""
    await store._redis.delete(store._key("fixings", "nbk"))


@pytest.mark.parametrize("lose", [flush, evict])
async def test_lost_fixings_are_reported(
    settings: Settings, store: Store, lose: Callable[[Store], Awaitable[None]]
) -> None:
    """What memory holds is written again; the rest is logged once, and named until it is back."""
    instance = await filled(settings, store)
    await lose(store)
    with capture_logs() as logs:
        await instance.sync()
        await instance.sync()
    (event,) = [entry for entry in logs if entry["event"] == "store.fixings_lost"]
    assert {name: event[name] for name in ("source", "fixings", "written_again", "oldest", "newest")} == {
        "source": "nbk",
        "fixings": 300,
        "written_again": KEEP,
        "oldest": "2025-06-01",
        "newest": "2026-03-27",
    }
    assert await store.count("nbk") == instance.inventory.count("nbk") == KEEP
    assert instance.inventory.oldest("nbk") == LONG[-KEEP]
    (warning,) = instance.warnings()
    assert warning == (
        "the store has lost fixings: nbk 210 (2025-06-01 to 2025-12-27); import the latest export, or run a backfill"
    )
    await store.save(*(fixing(on, USD="475.09") for on in LONG))  # as an import does
    await instance.sync()
    assert list(instance.warnings()) == []


@pytest.mark.parametrize("name", ["quarantine", "decisions"])
async def test_evicted_operator_records_are_written_again(settings: Settings, store: Store, name: str) -> None:
    """Although the version of the source stays."""
    await store.save(fixing(day(1), USD="478.77"), fixing(day(2), USD="475.09"))
    await store.quarantine(QuarantinedFixing(fixing(day(3), USD="4750.90"), ("USD moved",), NOW))
    rejected = QuarantinedFixing(fixing(date(2026, 3, 31), USD="1.00"), ("USD moved",), NOW)
    await store.record_decision(QuarantineDecision(rejected, Outcome.REJECTED, NOW))
    instance = instance_of(settings, store)
    await instance.sync()
    before = await store.waiting("nbk"), await store.decisions("nbk")
    await store._redis.delete(store._key(name, "nbk"))
    await instance.sync()
    assert (await store.waiting("nbk"), await store.decisions("nbk")) == before


async def test_lost_decisions_are_written_again_in_their_order(settings: Settings, store: Store) -> None:
    """The latest one on a rate is in force: an acceptance after a rejection."""
    on = date(2026, 3, 31)
    both = QuarantinedFixing(fixing(on, USD="1.00", EUR="2.00"), ("USD moved", "EUR moved"), NOW)
    dollar = QuarantinedFixing(fixing(on, USD="1.00"), ("USD moved",), NOW)
    await store.record_decision(QuarantineDecision(both, Outcome.REJECTED, NOW))
    await store.record_decision(QuarantineDecision(dollar, Outcome.ACCEPTED, NOW + timedelta(hours=1)))
    before = await store.decisions("nbk")
    instance = instance_of(settings, store)
    await instance.sync()
    await flush(store)
    await instance.sync()
    assert await store.decisions("nbk") == before
    restarted = instance_of(settings, store)
    await restarted.sync()
    quarantine = restarted.memory.quarantine["nbk"]
    assert [list(accepted.rates) for accepted in quarantine.accepted] == [["USD"]]
    assert [list(rejected.rates) for rejected in quarantine.rejected[on]] == [["EUR"]]


@pytest.mark.parametrize("is_partly_published", [False, True])
async def test_evicted_quarantine_of_a_correction_is_written_again(
    settings: Settings, store: Store, *, is_partly_published: bool
) -> None:
    """Although other rates of its currencies are published for its date, also if the rest of it was published."""
    first = fixing(day(2), USD="475.09", EUR="551.06")
    await store.save(fixing(day(1), USD="478.77", EUR="549.00"), first)
    if is_partly_published:
        await store.save(later(fixing(day(2), USD="475.09", EUR="552.00")).with_revision_of(first))
    await store.quarantine(QuarantinedFixing(later(fixing(day(2), USD="4750.90")), ("USD moved",), NOW))
    instance = instance_of(settings, store)
    await instance.sync()
    before = await store.waiting("nbk")
    assert len(before) == 1
    await store._redis.delete(store._key("quarantine", "nbk"))
    await instance.sync()
    assert list(instance.memory.quarantine["nbk"].waiting.values()) == await store.waiting("nbk") == before


@pytest.mark.parametrize(
    ("ending", "was_published"),
    [("replaced", False), ("replaced", True), ("in parts", False), ("in parts", True), ("decision evicted", False)],
)
async def test_quarantine_that_another_instance_ended_stays_ended(
    settings: Settings, store: Store, ending: str, *, was_published: bool
) -> None:
    """Also without a decision on exactly these rates: the bank has corrected them, or returned to earlier ones."""
    wrong = fixing(day(2), USD="4750.90", EUR="900.00")
    dollar, euro = wrong.without({"EUR"}), wrong.without({"USD"})
    await store.save(fixing(day(1), USD="478.77", EUR="548.66"))
    if was_published:
        await store.save(fixing(day(2), USD="475.09", EUR="551.06"))
    await store.quarantine(QuarantinedFixing(wrong, ("EUR moved", "USD moved"), NOW))
    instance = instance_of(settings, store)
    await instance.sync()

    async def end(part: Fixing) -> None:
        entry = QuarantinedFixing(part, (), NOW)
        await store.record_decision(QuarantineDecision(entry, Outcome.WITHDRAWN, NOW + timedelta(minutes=10)))

    await store.save(later(fixing(day(2), USD="475.09", EUR="551.06"), 10))
    if ending == "replaced":
        await end(later(fixing(day(2), USD="4751.50", EUR="900.00"), 5))
    elif ending == "in parts":
        await end(dollar)
        await end(euro)
    else:
        await end(wrong)
        await store._redis.delete(store._key("decisions", "nbk"))
    await instance.sync()
    assert await store.waiting("nbk") == []
    assert instance.memory.quarantine["nbk"].waiting == {}


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.RETRACTED, Outcome.ACCEPTED])
async def test_evicted_decision_on_one_rate_of_a_date_is_written_again(
    settings: Settings, store: Store, outcome: Outcome
) -> None:
    """Although other rates of the date are published, or the rate itself where it was accepted."""
    document = fixing(day(2), USD="475.09", EUR="551.06")
    published = document if outcome is Outcome.ACCEPTED else document.without({"USD"})
    await store.save(fixing(day(1), USD="478.77", EUR="548.66"), published)
    entry = QuarantinedFixing(fixing(day(2), USD="475.09"), ("USD moved",), NOW)
    await store.record_decision(QuarantineDecision(entry, outcome, NOW))
    instance = instance_of(settings, store)
    await instance.sync()
    await store._redis.delete(store._key("decisions", "nbk"))
    await instance.sync()
    assert [decision.outcome for decision in await store.decisions("nbk")] == [outcome]


async def test_lost_rejection_does_not_remove_what_was_accepted_since(settings: Settings, store: Store) -> None:
    """The acceptance was lost too, before this instance had read it."""
    document = fixing(day(2), USD="475.09", EUR="551.06")
    await store.save(fixing(day(1), USD="478.77", EUR="548.66"), document.without({"USD"}))
    entry = QuarantinedFixing(document.without({"EUR"}), ("USD moved",), NOW)
    await store.record_decision(QuarantineDecision(entry, Outcome.REJECTED, NOW))
    instance = instance_of(settings, store)
    await instance.sync()
    await store.save(document, decision=QuarantineDecision(entry, Outcome.ACCEPTED, NOW + timedelta(hours=1)))
    await store._redis.delete(store._key("decisions", "nbk"))
    await instance.sync()
    await instance.sync()
    assert await store.decisions("nbk") == []
    shown = instance.memory.series("nbk").on(day(2))
    assert shown is not None
    assert list(shown.rates) == ["USD", "EUR"]


async def test_retraction_that_was_lost_with_its_removal_is_restored(settings: Settings, store: Store) -> None:
    """A replica without the transactions was promoted: the rates are back, and were not fetched since."""
    whole, document = fixing(day(1), USD="4787.70"), fixing(day(2), USD="4750.90", EUR="551.06")
    await store.save(fixing(day(31, 3), USD="478.77", EUR="548.66"), whole, document)
    for published, retracted in ((whole, whole), (document, document.without({"EUR"}))):
        entry = QuarantinedFixing(retracted, ("retracted",), NOW)
        await store.retract(published, QuarantineDecision(entry, Outcome.RETRACTED, NOW))
    instance = instance_of(settings, store)
    await instance.sync()
    await store._redis.delete(store._key("decisions", "nbk"))
    await store.save(whole, document)
    await instance.sync()
    assert [decision.outcome for decision in await store.decisions("nbk")] == [Outcome.RETRACTED] * 2
    for fixings in (instance.memory.series("nbk").fixings, await store.recent("nbk", KEEP)):
        assert [(each.date, list(each.rates)) for each in fixings] == [(day(31, 3), ["USD", "EUR"]), (day(2), ["EUR"])]
    version = await store.version("nbk")
    await instance.sync()
    assert await store.version("nbk") == version


async def test_restored_retraction_leaves_what_was_accepted_since(settings: Settings, store: Store) -> None:
    """With other rates, so that it is not on the same ones as the retraction."""
    document = fixing(day(2), USD="475.09", EUR="551.06")
    dollar = QuarantinedFixing(document.without({"EUR"}), ("retracted",), NOW)
    await store.save(fixing(day(1), USD="478.77", EUR="548.66"), document)
    await store.retract(document, QuarantineDecision(dollar, Outcome.RETRACTED, NOW))
    instance = instance_of(settings, store)
    await instance.sync()
    await store._redis.delete(store._key("decisions", "nbk"))
    both = QuarantineDecision(QuarantinedFixing(document, (), NOW), Outcome.ACCEPTED, NOW + timedelta(hours=1))
    await store.save(document, decision=both)
    await instance.sync()
    assert len(await store.decisions("nbk")) == 2
    stored = await store.fixing("nbk", day(2))
    assert stored is not None
    assert list(stored.rates) == ["USD", "EUR"]


async def test_lost_retraction_does_not_remove_what_was_entered_since(settings: Settings, store: Store) -> None:
    """By hand, after the loss: neither an instance that knows the retraction removes it, nor an import."""
    entered = replace(fixing(day(2), USD="475.09"), entered_by="Aigul")
    await store.save(fixing(day(1), USD="478.77"), entered)
    retraction = QuarantineDecision(QuarantinedFixing(entered, ("retracted",), NOW), Outcome.RETRACTED, NOW)
    await store.retract(entered, retraction)
    instance = instance_of(settings, store)
    await instance.sync()
    await store._redis.delete(store._key("decisions", "nbk"))
    again = replace(entered, fetched_at=NOW + timedelta(minutes=1), digest="entered again", entered_by="Boris")
    await store.save(again)
    await instance.sync()
    assert await store.restore_decisions("nbk", [retraction]) == 0
    assert await store.fixing("nbk", day(2)) == instance.memory.series("nbk").on(day(2)) == again
    assert await store.decisions("nbk") == []
    earlier = replace(again, fetched_at=NOW - timedelta(minutes=1))
    await store._redis.delete(store._key("fixings", "nbk"))
    await store.save(earlier)
    assert await store.restore_decisions("nbk", [retraction]) == 1
    assert await store.fixing("nbk", day(2)) is None


async def test_restored_decisions_leave_the_others_in_their_order(settings: Settings, store: Store) -> None:
    """They were made on machines with different clocks: the latest one is in force."""

    def decision(on: date, outcome: Outcome, minute: int) -> QuarantineDecision:
        entry = QuarantinedFixing(fixing(on, USD="1.00"), ("USD moved",), NOW)
        return QuarantineDecision(entry, outcome, NOW + timedelta(minutes=minute))

    lost = decision(date(2026, 3, 30), Outcome.REJECTED, 2)
    await store.record_decision(lost)
    instance = instance_of(settings, store)
    await instance.sync()
    await store._redis.delete(store._key("decisions", "nbk"))
    rejected, accepted = (
        decision(date(2026, 3, 31), outcome, minute)
        for outcome, minute in ((Outcome.REJECTED, 3), (Outcome.ACCEPTED, 1))
    )
    await store.record_decision(rejected)
    await store.record_decision(accepted)
    await instance.sync()
    assert await store.decisions("nbk") == [lost, accepted, rejected]
    assert list(instance.memory.quarantine["nbk"].rejected) == [date(2026, 3, 30)]


async def test_lost_decision_is_older_than_a_stored_one(settings: Settings, store: Store) -> None:
    """What an operator has decided since the loss stays in force."""
    on = date(2026, 3, 31)
    both = QuarantinedFixing(fixing(on, USD="1.00", EUR="2.00"), ("USD moved", "EUR moved"), NOW)
    dollar = QuarantinedFixing(fixing(on, USD="1.00"), ("USD moved",), NOW)
    await store.record_decision(QuarantineDecision(both, Outcome.ACCEPTED, NOW))
    instance = instance_of(settings, store)
    await instance.sync()
    await store._redis.delete(store._key("decisions", "nbk"))
    await store.record_decision(QuarantineDecision(dollar, Outcome.RETRACTED, NOW + timedelta(hours=1)))
    await instance.sync()
    restarted = instance_of(settings, store)
    await restarted.sync()
    for each in (instance, restarted):
        assert [list(rejected.rates) for rejected in each.memory.quarantine["nbk"].rejected[on]] == [["USD"]]


async def test_dropped_decision_is_not_lost(settings: Settings, store: Store) -> None:
    """The store keeps the latest thousand."""
    entry = QuarantinedFixing(fixing(date(2026, 3, 31), USD="1.00"), ("USD moved",), NOW)
    await store.record_decision(QuarantineDecision(entry, Outcome.REJECTED, NOW))
    instance = instance_of(settings, store)
    await instance.sync()
    newer = [
        QuarantineDecision(
            QuarantinedFixing(fixing(day(2), USD=f"{number}.00"), ("USD moved",), NOW),
            Outcome.WITHDRAWN,
            NOW + timedelta(minutes=number),
        )
        for number in range(1, KEPT_DECISIONS + 1)
    ]
    await store.restore_decisions("nbk", newer)
    assert len(await store.decisions("nbk")) == KEPT_DECISIONS
    await store._redis.lset(store._key("decisions", "nbk"), 7, "unreadable")
    version = await store.version("nbk")
    await instance.sync()
    await instance.sync()
    assert await store.version("nbk") == version
    assert await store._redis.llen(store._key("decisions", "nbk")) == KEPT_DECISIONS


async def test_interrupted_first_load_ends_no_quarantine(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rates that were loaded before it are not taken for polled ones, which would end it."""
    first = fixing(day(2), USD="475.09", EUR="551.06")
    await store.save(fixing(day(1), USD="478.77", EUR="548.66"), first)
    await store.save(later(fixing(day(2), USD="475.09", EUR="551.07"), 20).with_revision_of(first))
    await store.quarantine(QuarantinedFixing(later(fixing(day(2), USD="4750.90"), 10), ("USD moved",), NOW))
    before, waiting = await store.waiting("nbk"), store.waiting
    assert len(before) == 1

    async def fail_for_others(key: str) -> list[QuarantinedFixing]:
        if key != "nbk":
            raise StoreError("the connection was lost")
        return await waiting(key)

    instance = instance_of(settings, store)
    monkeypatch.setattr(store, "waiting", fail_for_others)
    await instance.sync()
    errors = [instance.error]
    monkeypatch.undo()
    await instance.sync()
    errors.append(instance.error)
    assert [error is None for error in errors] == [False, True]
    assert list(instance.memory.quarantine["nbk"].waiting.values()) == await store.waiting("nbk") == before


async def test_retracted_and_repaired_dates_are_not_lost(settings: Settings, store: Store) -> None:
    """Nothing is reported: an operator removed them."""
    instance = await filled(settings, store)
    entry = QuarantinedFixing(fixing(LONG[0], USD="475.09"), ("retracted by an operator",), NOW)
    await store.retract(fixing(LONG[0], USD="475.09"), QuarantineDecision(entry, Outcome.RETRACTED, NOW))
    await store._redis.hset(store._key("fixings", "nbk"), str(LONG[1]), "junk")
    for bad in await store.bad_records():
        assert await store.set_aside(bad)
    with capture_logs() as logs:
        await instance.sync()
    assert [entry for entry in logs if entry["event"] == "store.fixings_lost"] == []
    assert list(instance.warnings()) == []
    assert instance.inventory.count("nbk") == 298


async def test_clock_that_is_set_back_loses_nothing(settings: Settings, store: Store) -> None:
    """Dates that are not possible yet are not read, but they are there."""
    instance = await filled(settings, store)
    store.last_date = lambda _: LONG[-10]
    await store._redis.hset(store._key("stamps"), "nbk", "another")
    await instance.sync()
    assert list(instance.warnings()) == []


async def test_health_and_metrics_report_the_loss(start: Started, settings: Settings, store: Store) -> None:
    """`/health` warns; the metrics have the numbers by source and the oldest date."""
    url, prefix = settings.store.url.get_secret_value(), settings.store.prefix
    async with Store(url, prefix) as same:
        await same.save(*(fixing(on, USD="475.09") for on in LONG))
        client = await start()
        samples = await scraped(client)
        assert value(samples, "ticker_store_fixings", source="nbk") == 300
        assert value(samples, "ticker_store_fixings_lost", source="nbk") == 0
        midnight = datetime(2025, 6, 1, tzinfo=UTC).timestamp()
        assert value(samples, "ticker_store_oldest_date_seconds", source="nbk") == midnight
        assert value(samples, "ticker_store_durable") == 1
        await flush(same)

        async def is_reported() -> bool:
            document = await (await client.get("/health")).json(content_type=None)
            return any(note.startswith("the store has lost fixings: nbk 210 (") for note in document["notes"])

        await until(is_reported)
        samples = await scraped(client)
        assert value(samples, "ticker_store_fixings_lost", source="nbk") == 210
        oldest = datetime.combine(LONG[-KEEP], datetime.min.time(), UTC).timestamp()
        assert value(samples, "ticker_store_oldest_date_seconds", source="nbk") == oldest


async def durability_of(url: str) -> Durability:
    async with Store(url, "t:") as store:
        return await store.durability()


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (("--appendonly", "yes"), []),
        ((), ["the append-only file is off, so a restart can lose records; set appendonly to yes"]),
        (
            ("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"),
            ["maxmemory-policy is allkeys-lru, so records can be evicted; set it to noeviction"],
        ),
    ],
)
async def test_server_that_can_lose_records_is_reported(
    settings: Settings, start: Started, tmp_path: Path, arguments: tuple[str, ...], problems: list[str]
) -> None:
    """Once in the log, always in `/health`."""
    with server(tmp_path, *arguments) as own:
        url = f"redis://127.0.0.1:{own.port}/0"
        assert (await durability_of(url)).problems == problems
        with capture_logs() as logs:
            client = await start(
                settings.model_copy(update={"store": settings.store.model_copy(update={"url": SecretStr(url)})})
            )
            await asyncio.sleep(0)
        events = [entry["problems"] for entry in logs if entry["event"] == "store.not_durable"]
        assert events == ([problems] if problems else [])
        document = await (await client.get("/health")).json(content_type=None)
        (check,) = document["checks"]["store"]
        assert check["status"] == ("warn" if problems else "pass")
        assert check.get("output", "") == "; ".join(problems)
        assert check["persistence"] == ("none" if not arguments else "append-only file")
        assert value(await scraped(client), "ticker_store_durable") == (0 if problems else 1)
        await client.close()


async def test_unknown_durability_is_not_a_warning(settings: Settings, tmp_path: Path) -> None:
    """A user without the right to INFO is served: nothing is logged."""
    with server(tmp_path) as own:
        with own.client() as client:
            client.execute_command("ACL SETUSER ticker on >s3cret ~* &* +@all -info")
        async with Store(f"redis://ticker:s3cret@127.0.0.1:{own.port}/0", "t:") as store:
            instance = instance_of(settings, store)
            with capture_logs() as logs:
                await instance.sync()
            assert instance.error is None
            assert instance.durability == Durability()
            assert list(instance.warnings()) == []
            assert [entry["event"] for entry in logs] == []


class TestSchema:
    async def test_version_is_written_at_the_first_start(self, settings: Settings, store: Store) -> None:
        """Also into a store with records from before the version existed."""
        await store.check_schema(prepare=False)
        assert await store._redis.get(store._key("schema")) is None
        await store.save(fixing(day(1), USD="478.77"))
        instance = instance_of(settings, store)
        await instance.sync()
        assert await store._redis.get(store._key("schema")) == str(schema.VERSION)
        await flush(store)
        await instance.sync()
        assert await store._redis.get(store._key("schema")) == str(schema.VERSION)

    async def test_newer_version_is_refused(self, settings: Settings, store: Store) -> None:
        """Nothing is read or written; a store that becomes newer while the service runs is an outage."""
        await store.save(fixing(day(1), USD="478.77"))
        instance = instance_of(settings, store)
        await instance.sync()
        await store._redis.set(store._key("schema"), schema.VERSION + 1)
        added = fixing(day(2), USD="475.09")
        instance.outbox.enqueue_fixing(added)
        await instance.sync()
        assert isinstance(instance.unusable, NewerSchemaError)
        assert instance.error == (
            "the store has schema 2, this version of the service knows up to 1: start the newer version,"
            " or restore an export into an empty store"
        )
        assert await store.dates("nbk") == [day(1)]
        await store._redis.set(store._key("schema"), schema.VERSION)
        await instance.sync()
        assert [instance.unusable, instance.error] == [None, None]
        assert await store.dates("nbk") == [day(1), day(2)]

    async def test_older_version_is_migrated_once(
        self, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Step by step, by one of two instances; commands refuse the store until then."""
        steps = list[int]()

        def step(number: int) -> schema.Migration:
            async def migrate(redis: object, key: schema.Key) -> None:
                steps.append(number)
                await asyncio.sleep(0.01)
                assert key("fixings", "nbk") == store._key("fixings", "nbk")

            return migrate

        await store.save(fixing(day(1), USD="478.77"))
        await instance_of(settings, store).sync()
        monkeypatch.setattr(schema, "VERSION", 3)
        monkeypatch.setattr(schema, "MIGRATIONS", {1: step(1), 2: step(2)})
        with pytest.raises(StoreError, match="the store has schema 1, this version of the service needs 3"):
            await store.check_schema(prepare=False)
        instances = [instance_of(settings, store), instance_of(settings, store)]
        await asyncio.gather(*(instance.sync() for instance in instances))
        for instance in instances:
            await instance.sync()
            assert instance.error is None
        assert steps == [1, 2]
        assert await store._redis.get(store._key("schema")) == "3"

    @pytest.mark.parametrize("version", ["junk", "", "0", "-1", "\u0661", "9" * 5000])
    async def test_unreadable_version_stops_nothing(self, settings: Settings, store: Store, version: str) -> None:
        """It is logged; a key of a wrong type is moved aside and written again."""
        await store.save(fixing(day(1), USD="478.77"))
        await store._redis.set(store._key("schema"), version)
        instance = instance_of(settings, store)
        with capture_logs() as logs:
            await instance.sync()
        assert instance.error is None
        assert "store.unreadable" in [entry["event"] for entry in logs]
        await store._redis.delete(store._key("schema"))
        await store._redis.hset(store._key("schema"), "a", "b")
        await instance.sync()
        await instance.sync()
        assert await store._redis.get(store._key("schema")) == str(schema.VERSION)


KEYS = (
    "fixings:nbk",
    "quarantine:nbk",
    "decisions:nbk",
    "raws:nbk",
    "states",
    "snapshots",
    "backfilled",
    "stamps",
    "instances",
)


@pytest.mark.parametrize("key", KEYS)
async def test_key_of_a_wrong_type_is_moved_aside(settings: Settings, store: Store, key: str) -> None:
    """A new instance names it and has the rates of the other banks; what it writes later is stored."""
    for source, base in (("nbk", "KZT"), ("cbr", "RUB")):
        await store.save(*(fixing(day(number), source, base, USD="475.09") for number in (1, 2)))
    await store._redis.delete(store._key(key))
    await store._redis.set(store._key(key), "junk")
    instance = instance_of(settings, store)
    with capture_logs() as logs:
        await instance.sync()
    assert instance.error is None
    assert len(instance.memory.series("cbr").fixings) == 2
    assert len(instance.memory.series("nbk").fixings) == (0 if key == "fixings:nbk" else 2)
    expected = "list" if key == "decisions:nbk" else "zset" if key == "raws:nbk" else "hash"
    problem = f"it is of type string, not {expected}"
    (event,) = [entry for entry in logs if entry["event"] == "store.moved_aside"]
    assert (event["key"], event["problem"]) == (key, problem)
    assert list(instance.warnings()) == [f"{key} was moved aside: {problem}"]
    owner = key.partition(":")[2] or key
    assert await store._redis.get(store._key("aside", owner, key)) == "junk"
    polled = fixing(day(3), USD="476.00")
    instance.memory.add(polled)
    instance.outbox.enqueue_fixing(polled)
    await instance.sync()
    assert await store.fixing("nbk", day(3)) == polled


async def test_key_of_a_wrong_type_is_moved_aside_while_running(settings: Settings, store: Store) -> None:
    """Found by the write that fails; what memory holds is written again."""
    await store.save(fixing(day(1), USD="478.77"), fixing(day(2), USD="475.09"))
    instance = instance_of(settings, store)
    await instance.sync()
    await store._redis.delete(store._key("fixings", "nbk"))
    await store._redis.set(store._key("fixings", "nbk"), "junk")
    for _ in range(3):
        await instance.sync()
    assert instance.error is None
    assert await store.dates("nbk") == [day(1), day(2)]
    assert instance.inventory.lost("nbk") == []


async def test_key_that_cannot_be_moved_is_named(settings: Settings, tmp_path: Path) -> None:
    """An ACL without RENAMENX: the instance still has the other banks."""
    with server(tmp_path, "--appendonly", "yes") as own:
        with own.client() as client:
            client.execute_command("ACL SETUSER ticker on >s3cret ~* &* +@all -renamenx")
            client.set("t:fixings:nbk", "junk")
        async with Store(f"redis://ticker:s3cret@127.0.0.1:{own.port}/0", "t:") as store:
            await store.save(fixing(day(1), "cbr", "RUB", USD="80.00"))
            instance = instance_of(settings, store)
            with capture_logs() as logs:
                await instance.sync()
            assert len(instance.memory.series("cbr").fixings) == 1
            assert [entry["key"] for entry in logs if entry["event"] == "store.not_moved"] == ["fixings:nbk"]
