"""Wait for conditions, with a timeout that is long enough for a busy machine."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0
"""Timeout in seconds for what takes no time on an idle machine."""


async def until(condition: Callable[[], Awaitable[T | None]], within: float = PATIENCE) -> T:
    """Return the first true result of a condition; fail after `within` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not (result := await condition()):
        assert loop.time() < deadline, f"still {result!r} after {within} s"
        await asyncio.sleep(0.005)
    return result


async def until_true(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until a synchronous condition is true."""

    async def holds() -> bool:
        return bool(condition())

    await until(holds, within)


def wait_until(condition: Callable[[], object], what: str = "", within: float = PATIENCE) -> None:
    """Wait until a condition is true, without an event loop; an `OSError` counts as false."""
    deadline = time.monotonic() + within
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, f"{what}: not within {within} s"
        time.sleep(0.02)
