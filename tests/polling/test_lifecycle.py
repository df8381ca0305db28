"""Polling as a whole crashes, which is a bug: another instance polls, and this one again, or its process ends."""

import asyncio
from typing import Self

import pytest
from structlog.testing import capture_logs

from service.cluster.leader_election import LeaderElection, Role
from service.observability.counters import Counters
from service.polling.lifecycle import PollingLifecycle
from service.settings import load
from service.sources.http_client import Client
from service.state.memory import MemoryState
from service.state.publisher import SnapshotPublisher
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.conftest import Clock
from tests.support.wait import until, until_true


class BrokenClient(Client):
    """A client that cannot be opened, as if a file of the installation were missing."""

    async def __aenter__(self) -> Self:
        raise ImportError("no such module")


@pytest.fixture
def elapsed() -> list[float]:
    """Return how long the lifecycle has slept, in seconds: its monotonic clock."""
    return [0.0]


@pytest.fixture
def lifecycle(store: Store, clock: Clock, elapsed: list[float]) -> PollingLifecycle:
    memory = MemoryState(load(environ={}))
    store_sync = StoreSync(memory, store)

    async def sleep(seconds: float) -> None:
        elapsed[0] += seconds
        await asyncio.sleep(0)

    election = LeaderElection(store.coordination, machine=clock, monotonic=lambda: elapsed[0])
    publisher = SnapshotPublisher(memory, store_sync.outbox.enqueue_snapshot)
    return PollingLifecycle(
        memory, store_sync, publisher, election, clock, Counters(), monotonic=lambda: elapsed[0], sleep=sleep
    )


async def test_crashed_leader_lets_another_instance_poll(
    lifecycle: PollingLifecycle, store: Store, valkey: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It releases the lock at once, and does not acquire it again while another one may."""
    monkeypatch.setattr("service.sources.http_client.Client", BrokenClient)
    election = lifecycle.election
    await election.refresh()
    assert election.is_polling
    lock = f"{store._prefix}leader"
    assert await store._redis.persist(lock)  # it does not expire: it must be released

    async def is_released() -> bool:
        return not await store._redis.exists(lock)

    async with Store(valkey, store._prefix) as another_store:
        another = LeaderElection(another_store.coordination, machine=clock)
        with capture_logs() as logs:
            async with lifecycle:
                await until(is_released)
                assert election.role is Role.FOLLOWER
                await election.refresh()
                assert election.role is Role.FOLLOWER
                await another.refresh()
                assert another.role is Role.LEADER
                assert not lifecycle.stopped
        assert lifecycle.counters.polling_crashes == 1
        assert [log["event"] for log in logs] == ["polling.crashed"]


async def test_only_instance_polls_again_after_a_crash(
    lifecycle: PollingLifecycle, elapsed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute in which no other instance has acquired the lock."""
    with monkeypatch.context() as patch:
        patch.setattr("service.sources.http_client.Client", BrokenClient)
        await lifecycle.election.refresh()
        async with lifecycle:
            await until_true(lambda: lifecycle.election.role is Role.FOLLOWER)
    await lifecycle.election.refresh()
    assert not lifecycle.election.is_polling
    elapsed[0] += 61
    await lifecycle.election.refresh()
    assert lifecycle.election.is_polling


async def test_process_gives_up_after_five_crashes(
    lifecycle: PollingLifecycle, elapsed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance with a store of its own has no other one to poll: it tries again, then ends for its supervisor."""
    monkeypatch.setattr("service.sources.http_client.Client", BrokenClient)
    gave_up = asyncio.Event()
    lifecycle.give_up = gave_up.set
    lifecycle.election.own = True
    await lifecycle.election.refresh()
    with capture_logs() as logs:
        async with lifecycle:
            await gave_up.wait()
            await until_true(lambda: lifecycle.stopped)
    assert lifecycle.counters.polling_crashes == 5
    assert [log["gives_up"] for log in logs] == [False] * 4 + [True]
    assert 5 + 10 + 20 + 40 <= elapsed[0] < 80
