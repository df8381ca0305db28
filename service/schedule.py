"""When things happen: the only import of apscheduler."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Self

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from service import publications
from service.poller import Poller
from service.settings import SourceSettings

REVIEW = timedelta(seconds=15)
"""How often statuses follow the clock, and a store that was away is tried again."""
_JITTER = timedelta(seconds=30)


class Schedule:
    """The running schedule of all sources."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._running: set[asyncio.Task[None]] = set()
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    async def __aenter__(self) -> Self:
        """Poll every source now; from then on at every sweep and at every step of its window."""
        add, poller = self._scheduler.add_job, self._poller
        for key, source in poller.board.settings.polled.items():
            sweep = [poller.poll, key]
            add(self._run, _each(source.sweep), sweep, id=f"sweep:{key}", next_run_time=datetime.now(UTC))
            if source.window:
                add(self._run, window_trigger(source), [poller.poll_if_awaited, key], id=f"window:{key}")
        add(self._run, _each(REVIEW), [poller.review], id="review")
        self._scheduler.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Start nothing more, cut off what runs, and return when it has ended."""
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)  # the scheduler stops from within the loop
        for job in self._running:
            job.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def next_poll(self, key: str) -> datetime | None:
        """Return when a source will be asked next, as far as it is known now."""
        board = self._poller.board
        latest = board.series(key).latest
        jobs = {kind: self._scheduler.get_job(f"{kind}:{key}") for kind in ("sweep", "window")}
        times = {kind: job.next_run_time for kind, job in jobs.items() if job}
        if "window" in times:
            source, expected = board.settings.polled[key], latest.date if latest else None
            if not publications.awaited(source, expected, times["window"]):
                del times["window"]
        return min(times.values(), default=None)

    async def _run(self, work: Callable[..., Awaitable[None]], *args: str) -> None:
        """Do a job; being cut off at shutdown is no error to log."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._running.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await work(*args)
        finally:
            self._running.discard(task)


def _each(interval: timedelta) -> IntervalTrigger:
    return IntervalTrigger(seconds=interval.total_seconds(), timezone=UTC)


def window_trigger(source: SourceSettings) -> CronTrigger:
    """Fire `every` so often on publication days, in the hours of the window and the bank's own zone.

    Whole hours: the poller leaves out what lies before the window opens and after it closes.
    """
    assert source.window is not None  # noqa: S101 - asked by the caller
    every = int(source.every.total_seconds())
    hours = f"{source.window.start.hour}-{source.window.end.hour}"
    if every < 60:
        fields = {"hour": hours, "minute": "*", "second": f"*/{every}"}
    elif every < 3600:
        fields = {"hour": hours, "minute": f"*/{every // 60}", "second": "0"}
    else:
        fields = {"hour": f"{hours}/{every // 3600}", "minute": str(source.window.start.minute), "second": "0"}
    return CronTrigger(
        day_of_week=",".join(sorted(source.days)),
        timezone=source.timezone,
        jitter=int(min(source.every / 4, _JITTER).total_seconds()),
        **fields,
    )
