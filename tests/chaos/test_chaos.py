"""Faults injected into the full stack under constant load; clients must not notice them.

Test runs use a lock with a fifth of its lifetime; `make chaos` uses the deployed lifetime.
"""

import asyncio
import os
import resource
import signal
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

import psutil
import pytest

from service.storage.coordination import LIFE
from tests.chaos.stack import REST, Stack, dollar, run_stack, today
from tests.support.wait import wait_until

LONG = bool(os.environ.get("CHAOS_LONG"))
SHORTENED = 1.0 if LONG else 5.0
LOCK_LIFE = LIFE / SHORTENED


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_clients_do_not_notice_faults(tmp_path: Path) -> None:
    """Every status is 200, rates never become older, one instance leads, no rate is lost, memory does not grow."""
    async with run_stack(tmp_path, lock_life=LOCK_LIFE, clients=20 if LONG else 8) as stack:
        for fault in (
            kill_the_leader,
            kill_a_follower,
            stop_the_leader,
            kill_valkey,
            fail_over,
            hang_valkey,
            fill_the_disk,
            fail_all_banks,
            break_a_bank,
            shift_a_clock,
            restart_the_edge,
        ):
            started, before = time.monotonic(), stack.clients.statuses.total()
            await fault(stack)
            leader = await stack.until_settled()
            seconds, responses = time.monotonic() - started, stack.clients.statuses.total() - before
            print(
                f"{fault.__name__:18} {seconds:5.1f} s, {responses} responses, leader {stack.instances.index(leader)}, "
                f"slowest {1000 * stack.clients.slowest:.0f} ms"
            )
            stack.clients.slowest = 0
            assert stack.clients.faults == []
            assert stack.clients.unanswered == []
        print(f"older rates were shown at most {stack.clients.max_delay:.1f} s after newer ones")
        assert stack.clients.statuses.keys() == {200}
        await check_no_rate_is_lost(stack)
        check_memory_is_flat(stack)


async def kill_the_leader(stack: Stack) -> None:
    leader = await stack.leader()
    leader.end(signal.SIGKILL)
    other = await stack.leader()
    assert other is not leader
    leader.start()
    await stack.until_all_show(stack.edition)


async def kill_a_follower(stack: Stack) -> None:
    leader = await stack.leader()
    follower = next(instance for instance in stack.instances if instance is not leader)
    follower.end(signal.SIGKILL)
    stack.publish()
    await stack.until_all_show(stack.edition)
    follower.start()
    await stack.until_all_show(stack.edition)
    assert await stack.leader() is leader


async def stop_the_leader(stack: Stack) -> None:
    """Resume it after another instance became the leader; it must notice that."""
    leader = await stack.leader()
    leader.send(signal.SIGSTOP)
    started, stopped = time.monotonic(), leader.process
    leader.process = None
    other = await stack.leader()
    stack.publish()
    await stack.until_all_show(stack.edition)
    await asyncio.sleep(max(0.0, 2 * LOCK_LIFE - (time.monotonic() - started)))
    leader.process = stopped
    leader.send(signal.SIGCONT)
    await stack.until_all_show(stack.edition)
    assert await stack.leader() is other


async def kill_valkey(stack: Stack) -> None:
    """Restart it with its data before the Sentinels start a failover."""
    master = stack.master()
    master.kill()
    stack.publish()
    await asyncio.sleep(1)
    master.start()
    await stack.until_all_show(stack.edition)


async def fail_over(stack: Stack) -> None:
    """Let the replica take over; the old master returns as a replica."""
    master = stack.master()
    master.kill()
    stack.publish()
    await stack.until_all_show(stack.edition)
    await stack.until_replaced(master)
    await stack.leader()
    master.start()

    def follows() -> bool:
        with master.client() as client:
            return bool(client.info("replication")["role"] == "slave")

    await asyncio.to_thread(wait_until, follows, "the old master is a replica")


async def hang_valkey(stack: Stack) -> None:
    """Make Valkey hang: each instance polls the banks itself, and no rate that it polls is lost."""
    hung = [*stack.servers, stack.sentinels[0]]
    for server in hung:
        assert server.process
        server.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    await asyncio.sleep(2)
    stack.publish()
    await stack.until_all_show(stack.edition)
    for instance in stack.instances:
        await stack.until_reported(instance, "redis+sentinel://")
    await asyncio.sleep(max(0.0, 60 / SHORTENED**2 - (time.monotonic() - started)))
    for server in hung:
        assert server.process
        server.process.send_signal(signal.SIGCONT)


async def fill_the_disk(stack: Stack) -> None:
    """Let the master's writes to disk fail: health reports it, and the Sentinels start a failover."""
    limited = list[psutil.Process]()
    for attempt in range(15):  # a failover may be in progress
        master = stack.master()
        assert master.process
        limited.append(psutil.Process(master.process.pid))
        newest_file = max((path.stat() for path in master.folder.rglob("*.aof")), key=lambda stat: stat.st_mtime)
        limited[-1].rlimit(resource.RLIMIT_FSIZE, (newest_file.st_size, resource.RLIM_INFINITY))
        stack.publish()
        try:
            await stack.until_reported(stack.instances[0], "cannot write to disk", within=4)
            break
        except AssertionError:
            if attempt == 14:
                raise
    stack.publish()
    await stack.until_all_show(stack.edition)
    for process in limited:
        process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def fail_all_banks(stack: Stack) -> None:
    """Rates are still shown, and health reports the failing banks."""
    stack.banks.faults |= {"nbk": 503, "cbr": 503}
    await stack.until_reported(await stack.leader(), "nbk: responded with status 503")
    await asyncio.sleep(2)
    stack.banks.faults.clear()


async def break_a_bank(stack: Stack) -> None:
    """Hang, send a huge document, reset, publish a false rate: no such rate is shown."""
    before = stack.edition
    for fault in ("hang", b"<rates>" + b" " * 3_000_000, "reset"):
        stack.banks.faults["nbk"] = fault
        await stack.until_reported(await stack.leader(), "nbk: ")
        del stack.banks.faults["nbk"]
    stack.publish(times=10)
    await stack.until_reported(await stack.leader(), "is quarantined")
    for instance in stack.instances:
        assert await stack.shown_by(instance) == before


async def shift_a_clock(stack: Stack) -> None:
    """Shift one clock a day ahead, then a day back: health reports it, and clients see no difference."""
    for days in (1, -1):
        instance = stack.instances[2]
        instance.end(signal.SIGTERM)
        instance.start(ahead=timedelta(days=days))
        await stack.until_reported(instance, "the local clock is")
        await stack.until_settled()
        instance.end(signal.SIGTERM)
        instance.start()
        await stack.until_all_show(stack.edition)


async def restart_the_edge(stack: Stack) -> None:
    """No request fails after the edge is back."""
    started = time.monotonic()
    await asyncio.to_thread(stack.edge.restart)
    restarted, responses = time.monotonic(), stack.clients.statuses.total()
    await asyncio.to_thread(
        wait_until, lambda: stack.clients.statuses.total() > responses + 50, "responses of the edge"
    )
    unanswered = stack.clients.unanswered
    print(f"the edge was down for {restarted - started:.2f} s: {len(unanswered)} requests had no response")
    assert all(sent < restarted for sent, _ in unanswered)
    unanswered.clear()


async def check_no_rate_is_lost(stack: Stack) -> None:
    """Check the store and every instance for today's latest rates and those of every earlier day."""
    stored = {fixing.date: fixing for fixing in await stack.store.recent("nbk", 90)}
    assert set(stack.banks.published["nbk"]) <= stored.keys()
    for day, rates in stack.banks.published["nbk"].items():
        assert {code: str(rate.value) for code, rate in stored[day].rates.items()} == rates
    assert str(stored[today()].rates["USD"].value) == dollar(stack.edition)
    for instance in stack.instances:
        for day in stored:
            status, body = await stack.get(instance, f"/v1/fixings/nbk/{day}")
            assert status == 200
            assert str(REST["EUR"]) in body


def check_memory_is_flat(stack: Stack) -> None:
    """Compare the memory of each process in the last third of its life with that in the third before."""
    for values in stack.memory.values():
        if len(values) >= 15:
            third = len(values) // 3
            before, after = median(values[third : 2 * third]), median(values[2 * third :])
            print(f"memory {before / 2**20:.1f} -> {after / 2**20:.1f} MB in {len(values)} s")
            assert after < 1.1 * before
