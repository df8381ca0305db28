"""Wait until something is so: as long as it takes on a busy machine, and no longer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds to wait for what happens at once on a machine that has nothing else to do."""


async def until(condition: Callable[[], Awaitable[T | None]], within: float = PATIENCE) -> T:
    """Return the first true result of a condition; fail after so many seconds without one."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + within
    while not (result := await condition()):
        assert loop.time() < give_up, f"still {result!r} after {within} s"
        await asyncio.sleep(0.005)
    return result


async def until_true(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until a condition that awaits nothing is true."""

    async def holds() -> bool:
        return bool(condition())

    await until(holds, within)


def wait_until(condition: Callable[[], object], what: str = "", within: float = PATIENCE) -> None:
    """Wait until a condition is true, without an event loop; an error of the connection counts as not yet."""
    give_up = time.monotonic() + within
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < give_up, f"{what}: not within {within} s"
        time.sleep(0.02)
