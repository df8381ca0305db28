"""Wait until something is so: as long as it takes on a busy machine, and no longer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T | None]], within: float = 60) -> T:
    """Return the first true result of a condition; fail after so many seconds without one."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + within
    while not (result := await condition()):
        assert loop.time() < give_up, f"still {result!r} after {within} s"
        await asyncio.sleep(0.005)
    return result


async def until_true(condition: Callable[[], object], within: float = 60) -> None:
    """Wait until a condition that awaits nothing is true."""

    async def holds() -> bool:
        return bool(condition())

    await until(holds, within)
