"""Interruptible runs end even if a task suppresses its cancellation."""

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from service.runtime.background import run_interruptibly


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
