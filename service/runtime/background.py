"""Background tasks, CPU-bound work in a thread, and runs that SIGINT ends."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue
from threading import Lock, Thread, current_thread, main_thread
from typing import Any, Final, ParamSpec, Self, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_START: Final = Lock()


class BackgroundTask:
    """A context in which `_run` runs as a task."""

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

    Repeatedly: `asyncio.wait_for` of Python 3.11, which redis-py uses, swallows a cancellation that comes just when
    what it waits for is done. For the same reason the caller may be cancelled again while it waits: it is not
    interrupted, and `CancelledError` is raised when the tasks have ended.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=0.1)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # retrieved, so that it is not logged
    if cancelled:
        raise cancelled


def run_interruptibly(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine until it ends, or until SIGINT; raise `KeyboardInterrupt` then.

    `asyncio.run` cancels it once, which may be swallowed (see `cancel_and_wait`): the command would just go on.
    """

    async def run() -> _T:
        interrupted = asyncio.Event()
        if current_thread() is main_thread():  # no other thread gets signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
        task, interruption = asyncio.ensure_future(main), asyncio.create_task(interrupted.wait())
        await asyncio.wait([task, interruption], return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait(interruption, *([] if task.done() else [task]))
        if interrupted.is_set():
            raise KeyboardInterrupt
        return task.result()

    return asyncio.run(run())


async def run_in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run CPU-bound work in the worker thread, so that the event loop goes on meanwhile.

    One call at a time: several at once would not end any earlier, and the loop would wait for each of them. The end of
    the process does not wait for it.
    """
    done = Future[_T]()

    def run() -> None:
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(work(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits
                done.set_exception(error)

    _calls().put(run)
    return await asyncio.wrap_future(done)


def _calls() -> "SimpleQueue[Callable[[], None]]":
    """Return the queue of the worker thread, which is started with the first call.

    It is one thread: each new one may get a heap of its own from malloc, with megabytes that only it can use again.
    """
    with _START:
        return _started_worker()


@cache
def _started_worker() -> "SimpleQueue[Callable[[], None]]":
    calls = SimpleQueue[Callable[[], None]]()
    Thread(target=_run_all, args=(calls,), name="beside", daemon=True).start()
    return calls


def _run_all(calls: "SimpleQueue[Callable[[], None]]") -> None:
    while True:
        run = calls.get()
        run()
        del run  # with its result, until the next call


os.register_at_fork(after_in_child=_started_worker.cache_clear)  # a child has none of its parent's threads
