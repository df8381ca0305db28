"""All that can go wrong, done on purpose to real parts under constant load; readers notice nothing.

The short form, for every test run, has a lock that lives a fifth as long; `make chaos` has all as it is deployed.
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
from tests.chaos.house import REST, House, dollar, house, today
from tests.support.wait import wait_until

LONG = bool(os.environ.get("CHAOS_LONG"))
SHORTENED = 1.0 if LONG else 5.0
LOCK_LIFE = LIFE / SHORTENED


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_clients_notice_nothing(tmp_path: Path) -> None:
    """Every answer is 200 and none goes back in time; one leads; nothing accepted is lost; memory is flat."""
    async with house(tmp_path, lock_life=LOCK_LIFE, readers=20 if LONG else 8) as built:
        for harm in (
            kill_the_leader,
            kill_a_follower,
            stop_the_leader,
            kill_valkey,
            fail_over,
            cut_valkey_off,
            fill_the_disk,
            silence_the_banks,
            trouble_a_bank,
            turn_a_clock,
            restart_the_edge,
        ):
            begun, before = time.monotonic(), built.readers.answers.total()
            await harm(built)
            leader = await built.settled()
            took, answers = time.monotonic() - begun, built.readers.answers.total() - before
            print(
                f"{harm.__name__:18} {took:5.1f} s, {answers} answers, leader {built.instances.index(leader)}, "
                f"slowest {1000 * built.readers.slowest:.0f} ms"
            )
            built.readers.slowest = 0
            assert built.readers.faults == []
            assert built.readers.unanswered == []
        print(f"older rates were shown {built.readers.latest:.1f} s after newer ones at most")
        assert built.readers.answers.keys() == {200}
        await nothing_is_lost(built)
        memory_is_flat(built)


async def kill_the_leader(built: House) -> None:
    leader = await built.leader()
    leader.end(signal.SIGKILL)
    other = await built.leader()
    assert other is not leader
    leader.start()
    await built.all_show(built.edition)


async def kill_a_follower(built: House) -> None:
    leader = await built.leader()
    follower = next(one for one in built.instances if one is not leader)
    follower.end(signal.SIGKILL)
    built.publish()
    await built.all_show(built.edition)
    follower.start()
    await built.all_show(built.edition)
    assert await built.leader() is leader


async def stop_the_leader(built: House) -> None:
    """Let it wake up after another has taken its place; it knows that."""
    leader = await built.leader()
    leader.send(signal.SIGSTOP)
    begun, stopped = time.monotonic(), leader.process
    leader.process = None
    other = await built.leader()
    built.publish()
    await built.all_show(built.edition)
    await asyncio.sleep(max(0.0, 2 * LOCK_LIFE - (time.monotonic() - begun)))
    leader.process = stopped
    leader.send(signal.SIGCONT)
    await built.all_show(built.edition)
    assert await built.leader() is other


async def kill_valkey(built: House) -> None:
    """Let it come back with its file before the Sentinels have made up their minds."""
    master = built.master()
    master.kill()
    built.publish()
    await asyncio.sleep(1)
    master.start()
    await built.all_show(built.edition)


async def fail_over(built: House) -> None:
    """Let the replica take over; the old master comes back as a replica."""
    master = built.master()
    master.kill()
    built.publish()
    await built.all_show(built.edition)
    await built.replaced(master)
    await built.leader()
    master.start()

    def follows() -> bool:
        with master.client() as client:
            return bool(client.info("replication")["role"] == "slave")

    await asyncio.to_thread(wait_until, follows, "the old master is a replica")


async def cut_valkey_off(built: House) -> None:
    """Let nothing answer and nothing refuse: each asks the banks for itself, and what it learns is kept."""
    cut_off = [*built.servers, built.sentinels[0]]
    for server in cut_off:
        assert server.process
        server.process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    await asyncio.sleep(2)
    built.publish()
    await built.all_show(built.edition)
    for one in built.instances:
        await built.told(one, "redis+sentinel://")
    await asyncio.sleep(max(0.0, 60 / SHORTENED**2 - (time.monotonic() - begun)))
    for server in cut_off:
        assert server.process
        server.process.send_signal(signal.SIGCONT)


async def fill_the_disk(built: House) -> None:
    """Let no byte more be written to the master's file: it is told, and the Sentinels choose another."""
    limited = list[psutil.Process]()
    for attempt in range(15):  # the Sentinels may be choosing another just now
        master = built.master()
        assert master.process
        limited.append(psutil.Process(master.process.pid))
        written = max((path.stat() for path in master.folder.rglob("*.aof")), key=lambda stat: stat.st_mtime)
        limited[-1].rlimit(resource.RLIMIT_FSIZE, (written.st_size, resource.RLIM_INFINITY))
        built.publish()
        try:
            await built.told(built.instances[0], "cannot write to disk", within=4)
            break
        except AssertionError:
            if attempt == 14:
                raise
    built.publish()
    await built.all_show(built.edition)
    for process in limited:
        process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def silence_the_banks(built: House) -> None:
    """Figures stay, and health tells of every bank."""
    built.banks.faults |= {"nbk": 503, "cbr": 503}
    await built.told(await built.leader(), "nbk: responded with status 503")
    await asyncio.sleep(2)
    built.banks.faults.clear()


async def trouble_a_bank(built: House) -> None:
    """Slow, lying, huge, resetting: nothing of it is ever shown."""
    before = built.edition
    for fault in ("hang", b"<rates>" + b" " * 3_000_000, "reset"):
        built.banks.faults["nbk"] = fault
        await built.told(await built.leader(), "nbk: ")
        del built.banks.faults["nbk"]
    built.publish(times=10)
    await built.told(await built.leader(), "is quarantined")
    for one in built.instances:
        assert await built.shows(one) == before


async def turn_a_clock(built: House) -> None:
    """One instance lives a day ahead, and then a day behind: it is told, and readers see the same."""
    for days in (1, -1):
        one = built.instances[2]
        one.end(signal.SIGTERM)
        one.start(ahead=timedelta(days=days))
        await built.told(one, "the local clock is")
        await built.settled()
        one.end(signal.SIGTERM)
        one.start()
        await built.all_show(built.edition)


async def restart_the_edge(built: House) -> None:
    """While it is away nobody is answered; once it is back everybody is."""
    begun = time.monotonic()
    await asyncio.to_thread(built.edge.restart)
    back, answers = time.monotonic(), built.readers.answers.total()
    await asyncio.to_thread(wait_until, lambda: built.readers.answers.total() > answers + 50, "answers of the edge")
    unanswered = built.readers.unanswered
    print(f"the edge was away for {back - begun:.2f} s: {len(unanswered)} requests were not answered")
    assert all(sent < back for sent, _ in unanswered)
    unanswered.clear()


async def nothing_is_lost(built: House) -> None:
    """In the store and at every instance: today's last word, and every day before it."""
    stored = {one.date: one for one in await built.store.recent("nbk", 90)}
    assert set(built.banks.published["nbk"]) <= stored.keys()
    for day, figures in built.banks.published["nbk"].items():
        assert {code: str(rate.value) for code, rate in stored[day].rates.items()} == figures
    assert str(stored[today()].rates["USD"].value) == dollar(built.edition)
    for one in built.instances:
        for day in stored:
            status, body = await built.ask(one, f"/v1/fixings/nbk/{day}")
            assert status == 200
            assert str(REST["EUR"]) in body


def memory_is_flat(built: House) -> None:
    """No process takes more and more: the last third of its life against the third before."""
    for taken in built.memory.values():
        if len(taken) >= 15:
            third = len(taken) // 3
            before, after = median(taken[third : 2 * third]), median(taken[2 * third :])
            print(f"memory {before / 2**20:.1f} -> {after / 2**20:.1f} MB in {len(taken)} s")
            assert after < 1.1 * before
