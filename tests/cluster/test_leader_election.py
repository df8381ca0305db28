"""Who polls: one of several instances at one real Valkey, by clocks that are set."""

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
    """One instance's part, with a monotonic clock of its own."""

    election: LeaderElection
    passed: float = 0.0

    def monotonic(self) -> float:
        return self.passed

    async def looks(self) -> Role:
        await self.election.refresh()
        return self.election.role


def instance(store: Store, clock: Clock, *, own: bool = False) -> Instance:
    made = Instance(LeaderElection(store.coordination, own=own, machine=clock))
    made.election.monotonic = made.monotonic
    return made


@pytest.fixture
async def stores(store: Store, valkey: str) -> AsyncIterator[tuple[Store, Store]]:
    async with Store(valkey, store._prefix) as another:
        yield store, another


async def test_one_of_two_leads(stores: tuple[Store, Store], clock: Clock) -> None:
    """The first, for as long as it looks; when it resigns the other does, at its next look."""
    first, second = (instance(store, clock) for store in stores)
    assert [await one.looks() for one in (first, second, first, second)] == [Role.LEADER, Role.FOLLOWER] * 2
    assert (first.election.is_polling, second.election.is_polling) == (True, False)
    await first.election.__aexit__()
    assert await second.looks() is Role.LEADER
    assert await first.looks() is Role.FOLLOWER


async def test_who_was_paused_leads_no_more(stores: tuple[Store, Store], clock: Clock) -> None:
    """By its own clock, before it asks anybody; the lock lives for a while only, and then another has it."""
    first, second = (instance(store, clock) for store in stores)
    before = (await stores[0].coordination.ping()).time
    await first.looks()
    after = (await stores[0].coordination.ping()).time
    ends = await stores[0]._redis.pexpiretime(f"{stores[0]._prefix}leader") / 1000
    assert before.timestamp() - 0.001 <= ends - LIFE <= after.timestamp()
    first.passed += LIFE - 1
    roles = [first.election.role]
    first.passed += 1
    roles.append(first.election.role)
    assert roles == [Role.LEADER, Role.FOLLOWER]
    await stores[0]._redis.delete(f"{stores[0]._prefix}leader")  # it has expired
    assert await second.looks() is Role.LEADER
    assert await first.looks() is Role.FOLLOWER
    assert not first.election.is_polling


async def test_without_the_store_each_polls_for_itself(clock: Clock) -> None:
    """At once where it was never there; a follower when more than one look has failed; a leader goes on."""
    async with Store("redis://127.0.0.1:1/0", "t:") as away:
        new = instance(away, clock)
        polls = [new.election.is_polling]
        assert await new.looks() is Role.ALONE
        assert [*polls, new.election.is_polling] == [False, True]
        assert (new.election.latency, new.election.offset) == (None, None)


async def test_a_fault_of_ours_makes_it_poll_for_itself(
    stores: tuple[Store, Store], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better twice than never; it is logged when it begins and when it ends."""
    first, second = (instance(store, clock) for store in stores)
    await first.looks()
    await second.looks()
    contact = Coordination.ping

    async def broken(_: Coordination) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(Coordination, "ping", broken)
    with capture_logs() as logs:
        assert [await second.looks() for _ in range(3)] == [Role.FOLLOWER, Role.ALONE, Role.ALONE]
        assert second.election.is_polling
        monkeypatch.setattr(Coordination, "ping", contact)
        assert await second.looks() is Role.FOLLOWER
    assert [log["event"] for log in logs] == ["leader.crashed", "leader.recovered"]


@pytest.mark.parametrize(("leads", "then"), [(False, Role.ALONE), (True, Role.LEADER)])
async def test_a_store_that_is_lost_makes_all_poll(
    stores: tuple[Store, Store], clock: Clock, *, leads: bool, then: Role
) -> None:
    """A follower holds still for a moment, a leader leads on until its lock ends; both come back by themselves."""
    first, second = (instance(store, clock) for store in stores)
    await first.looks()
    await second.looks()
    one, coordination = (first, first.election.coordination) if leads else (second, second.election.coordination)
    async with Store("redis://127.0.0.1:1/0", "t:") as away:
        one.election.coordination = away.coordination
        one.passed += 3
        assert await one.looks() is (Role.LEADER if leads else Role.FOLLOWER)
        one.passed += 3
        assert await one.looks() is then
        assert one.election.is_polling
        one.passed += LIFE
        assert await one.looks() is Role.ALONE
    one.election.coordination = coordination
    assert await one.looks() is (Role.LEADER if leads else Role.FOLLOWER)


async def test_whose_store_is_its_own_always_leads(stores: tuple[Store, Store], clock: Clock) -> None:
    """No lock is taken: a service that was killed need not wait for its own to end."""
    own, other = instance(stores[0], clock, own=True), instance(stores[1], clock)
    assert await own.looks() is Role.LEADER
    assert await other.looks() is Role.LEADER
    own.passed += 10 * LIFE
    assert own.election.role is Role.LEADER


async def test_waiting_ends_when_the_role_changes(stores: tuple[Store, Store], clock: Clock) -> None:
    """Polling begins and ends by this."""
    first, second = (instance(store, clock) for store in stores)
    await first.looks()
    began = asyncio.create_task(second.election.until(polling=True))
    await second.looks()
    await asyncio.sleep(0)
    assert not began.done()
    await first.election.__aexit__()
    await second.looks()
    await began
    ended = asyncio.create_task(second.election.until(polling=False))
    await stores[1]._redis.set(f"{stores[1]._prefix}leader", "of another")
    await second.looks()
    await ended


async def test_the_store_is_a_clock_that_all_share(stores: tuple[Store, Store], clock: Clock) -> None:
    """How far the clock here is from it is known, and how long it takes to answer."""
    one = instance(stores[0], clock)
    before = (await stores[0].coordination.ping()).time
    clock.time = before + timedelta(days=1)
    await one.looks()
    after = (await stores[0].coordination.ping()).time
    assert one.election.offset is not None
    assert clock.time - after <= one.election.offset <= clock.time - before
    assert one.election.latency is not None
    assert one.election.latency > 0
