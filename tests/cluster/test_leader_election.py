"""Leader election between instances on one real Valkey, with controlled clocks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from service.cluster.leader_election import LeaderElection, Role
from service.storage.coordination import LIFE, Coordination
from service.storage.repository import Store
from tests.conftest import Clock


@dataclass
class Instance:
    """One instance of the election, with its own monotonic clock."""

    election: LeaderElection
    elapsed: float = 0.0

    def monotonic(self) -> float:
        return self.elapsed

    async def refresh(self) -> Role:
        await self.election.refresh()
        return self.election.role


def instance(store: Store, clock: Clock, *, own: bool = False) -> Instance:
    created = Instance(LeaderElection(store.coordination, own=own, machine=clock))
    created.election.monotonic = created.monotonic
    return created


@pytest.fixture
async def stores(store: Store, valkey: str) -> AsyncIterator[tuple[Store, Store]]:
    async with Store(valkey, store._prefix) as another:
        yield store, another


async def test_first_of_two_instances_leads(stores: tuple[Store, Store], clock: Clock) -> None:
    """It leads as long as it refreshes its lock; when it resigns, the other one takes over."""
    first, second = (instance(store, clock) for store in stores)
    assert [await candidate.refresh() for candidate in (first, second, first, second)] == [
        Role.LEADER,
        Role.FOLLOWER,
    ] * 2
    assert (first.election.is_polling, second.election.is_polling) == (True, False)
    await first.election.__aexit__()
    assert await second.refresh() is Role.LEADER
    assert await first.refresh() is Role.FOLLOWER


async def test_paused_leader_becomes_a_follower(stores: tuple[Store, Store], clock: Clock) -> None:
    """It steps down by its own clock, before any request; the lock expires and another instance takes it."""
    first, second = (instance(store, clock) for store in stores)
    before = (await stores[0].coordination.ping()).time
    await first.refresh()
    after = (await stores[0].coordination.ping()).time
    expires_at = await stores[0]._redis.pexpiretime(f"{stores[0]._prefix}leader") / 1000
    assert before.timestamp() - 0.001 <= expires_at - LIFE <= after.timestamp()
    first.elapsed += LIFE - 1
    roles = [first.election.role]
    first.elapsed += 1
    roles.append(first.election.role)
    assert roles == [Role.LEADER, Role.FOLLOWER]
    await stores[0]._redis.delete(f"{stores[0]._prefix}leader")  # as if it had expired
    assert await second.refresh() is Role.LEADER
    assert await first.refresh() is Role.FOLLOWER
    assert not first.election.is_polling


async def test_instance_without_a_store_polls_alone(clock: Clock) -> None:
    """Without a store from the start, an instance polls after its first failed refresh."""
    async with Store("redis://127.0.0.1:1/0", "t:") as unreachable:
        starting = instance(unreachable, clock)
        polls = [starting.election.is_polling]
        assert await starting.refresh() is Role.ALONE
        assert [*polls, starting.election.is_polling] == [False, True]
        assert (starting.election.latency, starting.election.offset) == (None, None)


async def test_instance_polls_alone_after_an_internal_error(
    stores: tuple[Store, Store], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling twice is better than not polling. The error is logged once, and so is the recovery."""
    first, second = (instance(store, clock) for store in stores)
    await first.refresh()
    await second.refresh()
    ping = Coordination.ping

    async def broken_ping(_: Coordination) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(Coordination, "ping", broken_ping)
    with capture_logs() as logs:
        assert [await second.refresh() for _ in range(3)] == [Role.FOLLOWER, Role.ALONE, Role.ALONE]
        assert second.election.is_polling
        monkeypatch.setattr(Coordination, "ping", ping)
        assert await second.refresh() is Role.FOLLOWER
    assert [log["event"] for log in logs] == ["leader.crashed", "leader.recovered"]


@pytest.mark.parametrize(("leads", "role_later"), [(False, Role.ALONE), (True, Role.LEADER)])
async def test_all_instances_poll_during_a_store_outage(
    stores: tuple[Store, Store], clock: Clock, *, leads: bool, role_later: Role
) -> None:
    """A follower pauses briefly, a leader leads until its lock expires; both recover by themselves."""
    first, second = (instance(store, clock) for store in stores)
    await first.refresh()
    await second.refresh()
    affected, coordination = (first, first.election.coordination) if leads else (second, second.election.coordination)
    async with Store("redis://127.0.0.1:1/0", "t:") as unreachable:
        affected.election.coordination = unreachable.coordination
        affected.elapsed += 3
        assert await affected.refresh() is (Role.LEADER if leads else Role.FOLLOWER)
        affected.elapsed += 3
        assert await affected.refresh() is role_later
        assert affected.election.is_polling
        affected.elapsed += LIFE
        assert await affected.refresh() is Role.ALONE
    affected.election.coordination = coordination
    assert await affected.refresh() is (Role.LEADER if leads else Role.FOLLOWER)


async def test_instance_with_its_own_store_always_leads(stores: tuple[Store, Store], clock: Clock) -> None:
    """No lock is taken, so a service that was killed does not wait for its own lock to expire."""
    own, other = instance(stores[0], clock, own=True), instance(stores[1], clock)
    assert await own.refresh() is Role.LEADER
    assert await other.refresh() is Role.LEADER
    own.elapsed += 10 * LIFE
    assert own.election.role is Role.LEADER


async def test_waiting_ends_when_the_role_changes(stores: tuple[Store, Store], clock: Clock) -> None:
    """Polling starts and stops by these waits."""
    first, second = (instance(store, clock) for store in stores)
    await first.refresh()
    started = asyncio.create_task(second.election.until(polling=True))
    await second.refresh()
    await asyncio.sleep(0)
    assert not started.done()
    await first.election.__aexit__()
    await second.refresh()
    await started
    stopped = asyncio.create_task(second.election.until(polling=False))
    await stores[1]._redis.set(f"{stores[1]._prefix}leader", "of another")
    await second.refresh()
    await stopped


async def test_clock_offset_to_the_store_is_measured(stores: tuple[Store, Store], clock: Clock) -> None:
    """The store is the shared clock; its response time is measured too."""
    measuring = instance(stores[0], clock)
    before = (await stores[0].coordination.ping()).time
    clock.time = before + timedelta(days=1)
    await measuring.refresh()
    after = (await stores[0].coordination.ping()).time
    assert measuring.election.offset is not None
    assert clock.time - after <= measuring.election.offset <= clock.time - before
    assert measuring.election.latency is not None
    assert measuring.election.latency > 0
