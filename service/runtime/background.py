"""What runs in the background while a context is open, and its end; what runs beside the loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any, Final, ParamSpec, Self, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_TURN: Final = Lock()


class BackgroundTask:
    """A context in which `_run` goes on in a task of its own."""

    _task: "asyncio.Task[None] | None" = None

    async def _run(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            await cancel_and_wait(self._task)


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended, however they do.

    Again and again: `asyncio.wait_for` of Python 3.11, which the client of Redis uses, swallows a cancellation that
    comes just when what it waits for is done.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.1)
    await asyncio.gather(*tasks, return_exceptions=True)


async def run_in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Do pure work that takes long in a thread, so that the loop gets its turn every few milliseconds meanwhile.

    One after the other: several at once would not be done any earlier, and the loop would wait for each of them.
    The end of the process does not wait for it.
    """
    done = Future[_T]()

    def run() -> None:
        with _TURN:
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(work(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - it belongs to who waits
                    done.set_exception(error)

    Thread(target=run, name="beside", daemon=True).start()
    return await asyncio.wrap_future(done)
