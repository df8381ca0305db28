"""The end of what runs in the background."""

import asyncio
from typing import Any


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended, however they do.

    Again and again: `asyncio.wait_for` of Python 3.11, which the client of Redis uses, swallows a cancellation that
    comes just when what it waits for is done.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.1)
    await asyncio.gather(*tasks, return_exceptions=True)
