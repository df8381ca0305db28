"""Interruptible runs end even if a task suppresses its cancellation; CPU-bound work runs in one thread."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress

import pytest

from service.runtime.background import run_in_thread, run_interruptibly


def test_result_and_error_of_a_run_are_propagated() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    async def fail() -> None:
        raise ValueError("no")

    assert run_interruptibly(work()) == 7
    with pytest.raises(ValueError, match="no"):
        run_interruptibly(fail())


def test_sigint_ends_a_run_that_suppresses_cancellation() -> None:
    """`asyncio.wait_for` suppresses it too on Python 3.11."""
    cancelled = 0

    async def suppress_cancellation() -> None:
        nonlocal cancelled
        os.kill(os.getpid(), signal.SIGINT)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        cancelled += 1
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(suppress_cancellation())
    assert cancelled == 1


class _Result:
    pass


async def test_all_work_runs_in_one_thread_in_order() -> None:
    order: list[int] = []

    def work(number: int) -> int:
        order.append(number)
        return threading.get_ident()

    threads = await asyncio.gather(*(run_in_thread(work, number) for number in range(20)))
    assert len({*threads, await run_in_thread(work, 20)}) == 1
    assert threads[0] != threading.get_ident()
    assert order == list(range(21))


async def test_failed_and_cancelled_work_does_not_end_the_thread() -> None:
    started, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def wait() -> None:
        started.set()
        go_on.wait()

    def fail() -> None:
        raise ValueError("no")

    waiting = asyncio.create_task(run_in_thread(wait))
    cancelled = asyncio.create_task(run_in_thread(calls.append, "cancelled"))
    failing = asyncio.create_task(run_in_thread(fail))
    await asyncio.to_thread(started.wait)
    cancelled.cancel()
    with suppress(asyncio.CancelledError):
        await cancelled
    go_on.set()
    await waiting
    with pytest.raises(ValueError, match="no"):
        await failing
    await run_in_thread(calls.append, "later")
    assert calls == ["later"]


async def test_thread_keeps_no_result() -> None:
    """The result of the last call may be large, and the next call may be hours later."""
    result, freed = await run_in_thread(_Result), asyncio.Event()
    weakref.finalize(result, asyncio.get_running_loop().call_soon_threadsafe, freed.set)
    del result
    await asyncio.wait_for(freed.wait(), 10)


_FORK = """
import asyncio
import os

from service.runtime.background import run_in_thread

assert asyncio.run(run_in_thread(int, "7")) == 7
child = os.fork()
result = asyncio.run(run_in_thread(int, "8"))
if child == 0:
    os._exit(result)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8
"""


def test_fork_has_a_thread_of_its_own() -> None:
    """As in a server that forks its workers after work was done in a thread."""
    subprocess.run((sys.executable, "-c", _FORK), check=True, timeout=60)
