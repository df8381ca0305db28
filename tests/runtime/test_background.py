"""Background tasks end, whatever they do with a cancellation."""

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from service.runtime.background import run_interruptibly


def test_result_and_error_of_a_run_are_returned() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    async def fail() -> None:
        raise ValueError("no")

    assert run_interruptibly(work()) == 7
    with pytest.raises(ValueError, match="no"):
        run_interruptibly(fail())


def test_sigint_ends_a_run_that_swallows_a_cancellation() -> None:
    """As `asyncio.wait_for` does on Python 3.11."""
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        os.kill(os.getpid(), signal.SIGINT)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        cancelled += 1
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(stubborn())
    assert cancelled == 1
