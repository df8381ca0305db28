"""Instances with different knowledge on one real Valkey converge to the same state."""

import asyncio
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.domain.fixing import Fixing
from service.errors import StoreError
from service.settings import Settings
from service.sources.adapter import RawResponse
from service.state.memory import KEEP, MemoryState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from service.validation.rules import judge_all
from tests.conftest import Clock
from tests.support.fixings import day, fixing, later
from tests.support.instances import follower, refresh, until_subscribed
from tests.support.servers import valkey as server
from tests.support.wait import until_true

INITIAL = fixing(day(1), USD="478.77")
FIRST = fixing(day(2), USD="475.09")
BAD = fixing(day(2), USD="4787.70")
HOUR = 3600


@dataclass
class Cluster:
    """Instances that share a store, each with a memory of its own."""

    store: Store
    settings: Settings
    clock: Clock

    def instance(self) -> StoreSync:
        return StoreSync(MemoryState(self.settings), self.store)

    async def instances(self, count: int) -> list[StoreSync]:
        instances = [self.instance() for _ in range(count)]
        await self.sync_rounds(instances)
        self.add_fixings(instances[0], INITIAL)
        await self.sync_rounds(instances)
        return instances

    def add_fixings(self, store_sync: StoreSync, *fixings: Fixing) -> None:
        for added in fixings:
            store_sync.memory.add(added)
            store_sync.outbox.enqueue_fixing(added)

    def quarantine(self, store_sync: StoreSync, bad: Fixing) -> QuarantinedFixing:
        entry = QuarantinedFixing(bad, ("USD moved by +900.00%",), bad.fetched_at)
        store_sync.memory.quarantine["nbk"].waiting[bad.date] = entry
        store_sync.outbox.enqueue_quarantined(entry)
        return entry

    async def sync_rounds(self, instances: list[StoreSync], count: int = 5) -> int:
        """Sync all instances `count` times; return the number of changes to the store in the last round."""
        versions = list[str | None]()
        for _ in range(count):
            versions = []
            for instance in instances:
                await refresh(instance, self.clock)
                versions.append(await self.store.version("nbk"))
        return len(set(versions)) - 1

    async def usd_rates(self, instances: list[StoreSync]) -> set[str]:
        """Return every USD rate shown or stored for 2 April."""
        stored = await self.store.fixing("nbk", day(2))
        found = [stored, *(instance.memory.series("nbk").on(day(2)) for instance in instances)]
        return {str(item.rates["USD"].value) if item else "nothing" for item in found}


@pytest.fixture
def cluster(store: Store, settings: Settings, clock: Clock) -> Cluster:
    return Cluster(store, settings, clock)


async def test_rejection_applies_to_all_instances(cluster: Cluster) -> None:
    """Disconnected instances quarantined the rate separately; one decision covers all of them."""
    leader, *_ = instances = await cluster.instances(3)
    entries = [cluster.quarantine(store_sync, later(BAD, number)) for number, store_sync in enumerate(instances)]
    await refresh(leader, cluster.clock)
    await cluster.store.record_decision(QuarantineDecision(entries[0], Outcome.REJECTED, cluster.clock()))
    assert await cluster.sync_rounds(instances) == 0
    assert all(store_sync.memory.quarantine["nbk"].is_rejected(BAD) for store_sync in instances)
    assert not any(store_sync.memory.quarantine["nbk"].waiting for store_sync in instances)


async def test_rejection_does_not_depend_on_clocks(cluster: Cluster) -> None:
    """The leader's clock is an hour ahead: the quarantine entry is newer than the decision and still ends."""
    leader, _ = instances = await cluster.instances(2)
    waiting = cluster.quarantine(leader, later(BAD, HOUR))
    await cluster.sync_rounds(instances)
    await cluster.store.record_decision(QuarantineDecision(waiting, Outcome.REJECTED, cluster.clock()))
    assert await cluster.sync_rounds(instances) == 0
    rules = leader.memory.context("nbk", cluster.clock())
    leader.apply_judgements("nbk", judge_all([BAD], leader.memory.series("nbk"), rules, KEEP), cluster.clock())
    assert await cluster.sync_rounds(instances) == 0
    assert [decision.outcome for decision in await cluster.store.decisions("nbk")] == [Outcome.REJECTED]


async def test_lost_rejection_is_written_again(cluster: Cluster) -> None:
    """Emptying the store loses neither fixings nor snapshots nor decisions of operators."""
    instances = await cluster.instances(2)
    waiting = cluster.quarantine(instances[0], BAD)
    await cluster.sync_rounds(instances)
    await cluster.store.record_decision(QuarantineDecision(waiting, Outcome.REJECTED, cluster.clock()))
    await cluster.sync_rounds(instances)
    before = await cluster.store.snapshot("kzt")
    redis = cluster.store._redis
    await redis.delete(*[key async for key in redis.scan_iter(f"{cluster.store._prefix}*")])
    assert await cluster.sync_rounds(instances) == 0
    assert [decision.outcome for decision in await cluster.store.decisions("nbk")] == [Outcome.REJECTED]
    assert await cluster.store.dates("nbk") == [day(1)]
    assert await cluster.store.snapshot("kzt") == before
    assert cluster.instance().memory.quarantine["nbk"].decisions == ()
    assert all(instance.memory.quarantine["nbk"].is_rejected(BAD) for instance in instances)


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.CONFIRMED])
async def test_revoked_rejection_stays_revoked(cluster: Cluster, outcome: Outcome) -> None:
    """The latest decision applies, also on instances that knew the rejection."""
    instances = await cluster.instances(2)
    waiting = cluster.quarantine(instances[0], BAD)
    await cluster.sync_rounds(instances)
    await cluster.store.record_decision(QuarantineDecision(waiting, Outcome.REJECTED, cluster.clock()))
    await cluster.sync_rounds(instances)
    await cluster.store.save(BAD, decision=QuarantineDecision(waiting, outcome, cluster.clock()))
    assert await cluster.sync_rounds(instances) == 0
    assert await cluster.usd_rates(instances) == {"4787.70"}
    assert not any(instance.memory.quarantine["nbk"].is_rejected(BAD) for instance in instances)


@pytest.mark.parametrize("digest", ["of its own", FIRST.digest])
async def test_correction_replaces_the_earlier_version(cluster: Cluster, digest: str) -> None:
    """An instance that started without the store knows only the version before the correction."""
    (leader,) = await cluster.instances(1)
    late = cluster.instance()
    cluster.add_fixings(late, later(INITIAL), replace(later(FIRST), digest=digest))
    cluster.add_fixings(leader, FIRST, later(fixing(day(2), USD="476.00"), HOUR).with_revision_of(FIRST))
    await refresh(leader, cluster.clock)
    assert await cluster.sync_rounds([late, leader]) == 0
    assert await cluster.usd_rates([late, leader]) == {"476.00"}


async def test_correction_found_without_the_store_is_a_revision(cluster: Cluster) -> None:
    """An instance that started without the store knows a correction that the store lacks."""
    (leader,) = await cluster.instances(1)
    late = cluster.instance()
    cluster.add_fixings(late, later(INITIAL), later(fixing(day(2), USD="476.00"), HOUR))
    cluster.add_fixings(leader, FIRST)
    await refresh(leader, cluster.clock)
    assert await cluster.sync_rounds([late, leader]) == 0
    assert await cluster.usd_rates([late, leader]) == {"476.00"}
    stored = await cluster.store.fixing("nbk", day(2))
    assert stored is not None
    assert [str(revision.rates["USD"].value) for revision in stored.revisions] == ["475.09"]


async def test_reverted_correction_does_not_depend_on_clocks(cluster: Cluster) -> None:
    """The correction was fetched with a clock a day ahead; then the bank publishes its first version again."""
    leader, other = instances = await cluster.instances(2)
    cluster.add_fixings(leader, FIRST)
    await cluster.sync_rounds(instances)
    wrong = later(fixing(day(2), USD="476.00"), 24 * HOUR).with_revision_of(FIRST)
    cluster.add_fixings(other, wrong)
    await cluster.sync_rounds(instances)
    cluster.add_fixings(leader, replace(FIRST, fetched_at=later(FIRST, 60).fetched_at).with_revision_of(wrong))
    assert await cluster.sync_rounds(instances) == 0
    assert await cluster.usd_rates(instances) == {"475.09"}


async def test_rejected_write_does_not_prevent_reads(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only store still delivers the changes of other instances."""
    (instance,) = await cluster.instances(1)

    async def refuse(*_: object, **__: object) -> None:
        error = StoreError("it is full")
        error.refused = True
        raise error

    await cluster.store.save(FIRST)
    monkeypatch.setattr(cluster.store, "save_state", refuse)
    instance.outbox.enqueue_state("nbk", instance.memory.states["nbk"])
    await cluster.sync_rounds([instance])
    assert instance.error == "it is full"
    assert await cluster.usd_rates([instance]) == {"475.09"}


async def test_invalid_utf8_affects_one_record(cluster: Cluster) -> None:
    """Foreign data under our keys or on our channel neither stops the sync nor the subscription."""
    (instance,) = await cluster.instances(1)
    await cluster.store._redis.hset(cluster.store._key("fixings", "nbk"), "2026-04-02", b"\xff")
    await cluster.store._redis.hset(cluster.store._key("stamps"), "nbk", "another")
    await refresh(instance, cluster.clock)
    assert instance.error is None
    async with cluster.store.coordination.subscribe() as receive:
        await receive(1)
        await cluster.store._redis.publish(f"{cluster.store._prefix}news", b"\xff")
        assert await receive(1)


async def test_unreadable_state_is_skipped(cluster: Cluster) -> None:
    """It may be of a source that another version of the service polls. It is logged once until it changes."""
    (instance,) = await cluster.instances(1)
    for json in ("{oops", "[]"):
        await cluster.store._redis.hset(cluster.store._key("states"), "other", json)
        with capture_logs() as logs:
            await refresh(instance, cluster.clock)
            await refresh(instance, cluster.clock)
        assert instance.error is None
        assert [(log["event"], log["beginning"]) for log in logs] == [("store.unreadable", json)]


async def test_unreadable_schema_is_logged_once(cluster: Cluster) -> None:
    (instance,) = await cluster.instances(1)
    await cluster.store._redis.set(cluster.store._key("schema"), "v1")
    with capture_logs() as logs:
        await refresh(instance, cluster.clock)
        await refresh(instance, cluster.clock)
    assert [(log["event"], log["key"]) for log in logs] == [("store.unreadable", "schema")]


async def test_clients_do_not_wait_for_a_hung_store(cluster: Cluster, tmp_path: Path) -> None:
    """New rates are shown shortly and written once the store responds again."""
    with server(tmp_path / "v") as hung_server:
        assert hung_server.process
        async with Store(f"redis://127.0.0.1:{hung_server.port}/0", "t:", timeout=60) as store:
            slow_cluster = Cluster(store, cluster.settings, cluster.clock)
            (instance,) = await slow_cluster.instances(1)
            instance.patience = 0.05
            hung_server.process.send_signal(signal.SIGSTOP)
            slow_cluster.add_fixings(instance, FIRST)
            await refresh(instance, cluster.clock)
            assert instance.memory.snapshots["kzt"].as_of == FIRST.date
            assert instance._syncing
            assert not instance._syncing.done()
            instance.patience = 60
            hung_server.process.send_signal(signal.SIGCONT)
            await slow_cluster.sync_rounds([instance])
            assert await slow_cluster.usd_rates([instance]) == {"475.09"}
            await instance.close()


async def empty_store(cluster: Cluster) -> None:
    redis = cluster.store._redis
    await redis.delete(*[key async for key in redis.scan_iter(f"{cluster.store._prefix}*")])


@pytest.mark.parametrize("count", [1, 2])
async def test_quarantined_correction_survives_data_loss(cluster: Cluster, count: int) -> None:
    """The published fixing of that day is restored first and does not end the quarantine."""
    instances = await cluster.instances(count)
    cluster.add_fixings(instances[0], FIRST)
    await cluster.sync_rounds(instances)
    waiting = cluster.quarantine(instances[0], later(BAD))
    await cluster.sync_rounds(instances)
    await empty_store(cluster)
    await cluster.sync_rounds(instances)
    assert await cluster.store.waiting("nbk") == [waiting]
    await cluster.store._redis.hset(cluster.store._key("stamps"), "nbk", "another")
    await cluster.sync_rounds(instances)
    assert [list(instance.memory.quarantine["nbk"].waiting.values()) for instance in instances] == [[waiting]] * count


async def test_quarantine_beside_a_rejection_survives_data_loss(cluster: Cluster) -> None:
    """Both are of the same day but have different rates."""
    instances = await cluster.instances(1)
    rejected = cluster.quarantine(instances[0], BAD)
    await cluster.sync_rounds(instances)
    await cluster.store.record_decision(QuarantineDecision(rejected, Outcome.REJECTED, cluster.clock()))
    await cluster.sync_rounds(instances)
    waiting = cluster.quarantine(instances[0], later(fixing(day(2), USD="47.51")))
    await cluster.sync_rounds(instances)
    await empty_store(cluster)
    assert await cluster.sync_rounds(instances) == 0
    assert await cluster.store.waiting("nbk") == [waiting]
    assert [decision.outcome for decision in await cluster.store.decisions("nbk")] == [Outcome.REJECTED]


async def test_rejoining_instance_does_not_end_a_quarantine(cluster: Cluster) -> None:
    """A disconnected instance fetched the same rates as the leader, which has since quarantined a correction."""
    leader, late = instances = await cluster.instances(2)
    cluster.add_fixings(late, later(FIRST))
    cluster.add_fixings(leader, FIRST)
    await refresh(leader, cluster.clock)
    waiting = cluster.quarantine(leader, later(BAD, 2))
    await refresh(leader, cluster.clock)
    await refresh(late, cluster.clock)
    assert await cluster.sync_rounds(instances) == 0
    assert await cluster.store.waiting("nbk") == [waiting]


async def test_ended_quarantine_does_not_depend_on_clocks(cluster: Cluster) -> None:
    """It began by a clock that is a day ahead and ended by a correct one."""
    leader, ahead, _ = instances = await cluster.instances(3)
    cluster.quarantine(ahead, later(BAD, 24 * HOUR))
    await cluster.sync_rounds(instances)
    leader.record_decisions(leader.memory.quarantine["nbk"].withdraw(day(1), [day(1)], cluster.clock()))
    assert await cluster.sync_rounds(instances) == 0
    assert await cluster.store.waiting("nbk") == []
    assert len(await cluster.store.decisions("nbk")) == 1


async def test_change_during_a_write_is_read_at_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The running sync has already read the store, so another one follows."""
    instance, _ = await cluster.instances(2)
    publish_change, entered, release = cluster.store.coordination.publish_change, asyncio.Event(), asyncio.Event()

    async def publish_later() -> None:
        entered.set()
        await release.wait()
        await publish_change()

    async with follower(instance, cluster.clock, interval=3600):
        await until_subscribed(cluster.store)
        monkeypatch.setattr(cluster.store.coordination, "publish_change", publish_later)
        cluster.add_fixings(instance, later(fixing(day(1), USD="478.80")).with_revision_of(INITIAL))
        poll = asyncio.create_task(refresh(instance, cluster.clock))
        await entered.wait()
        await cluster.store.save(FIRST)
        await publish_change()
        await until_true(lambda: instance._requested)
        release.set()
        await until_true(lambda: instance.memory.series("nbk").on(day(2)) == FIRST)
        await poll
    await instance.close()


async def test_rejected_write_does_not_prevent_other_writes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without one permission may have others: fixings matter most."""
    (instance,) = await cluster.instances(1)

    async def refuse(*_: object) -> None:
        error = StoreError("it may not")
        error.refused = True
        raise error

    monkeypatch.setattr(cluster.store, "save_raw", refuse)
    for number in range(20):
        instance.outbox.enqueue_response(RawResponse("nbk", "KZT", "u", str(number).encode(), cluster.clock()))
    cluster.add_fixings(instance, FIRST)
    await cluster.sync_rounds([instance])
    assert instance.error == "it may not"
    assert await cluster.store.fixing("nbk", day(2)) == FIRST
