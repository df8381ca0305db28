"""When things happen: the only import of apscheduler."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Self

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from service.domain import publication_schedule
from service.polling.poller import Poller
from service.runtime.background import cancel_and_wait
from service.settings import SourceSettings

_JITTER = 30
"""Seconds: not every ticker asks a bank at the same moment."""


class PollScheduler:
    """The running schedule of all sources."""

    def __init__(self, poller: Poller, *, at_once: bool) -> None:
        """Poll every source `at_once`, or when its next sweep is due."""
        self._poller = poller
        self._at_once = at_once
        self._running: set[asyncio.Task[None]] = set()
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    async def __aenter__(self) -> Self:
        """Poll at every sweep, and at every step of a window."""
        add, poller = self._scheduler.add_job, self._poller
        now = datetime.now(UTC)
        for key, source in poller.memory.settings.polled.items():
            asked = poller.memory.states[key].polled_at
            first = now if self._at_once or asked is None else min(asked, now) + source.sweep
            add(self._run, _each(source.sweep), [poller.poll, key], id=f"sweep:{key}", next_run_time=max(first, now))
            if source.window:
                add(self._run, window_trigger(source), [poller.poll_if_awaited, key], id=f"window:{key}")
        self._scheduler.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Start nothing more, cut off what runs, and return when it has ended."""
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)  # the scheduler stops from within the loop
        await cancel_and_wait(*self._running)

    def next_poll(self, key: str) -> datetime | None:
        """Return when a source will be asked next, as far as it is known now."""
        memory, now = self._poller.memory, self._poller.now()
        source, series = memory.settings.polled[key], memory.series(key)
        latest = series.news.date if series.news else None
        sweep, window = (self._scheduler.get_job(f"{kind}:{key}") for kind in ("sweep", "window"))
        times = [job.next_run_time for job in (sweep,) if job]
        if window and publication_schedule.is_window_open(source, latest, now):
            times.append(max(window.next_run_time, (memory.states[key].polled_at or now) + source.every))
        elif window and (
            due := publication_schedule.next_due(source, latest or publication_schedule.today(source, now), now)
        ):
            times.append(due)
        return min(times, default=None)

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
    """Fire on publication days, in the hours of the window and in the bank's own zone.

    Every minute, or every second where `every` is shorter: the poller leaves out what lies before the
    window opens, after it closes, and sooner than `every` since the last poll.
    """
    assert source.window is not None  # noqa: S101 - asked by the caller
    seconds = source.every < timedelta(minutes=1)
    return CronTrigger(
        day_of_week=",".join(sorted(source.days)),
        hour=f"{source.window.start.hour}-{source.window.end.hour}",
        minute="*",
        second="*" if seconds else "0",
        timezone=source.timezone,
        jitter=None if seconds else _JITTER,
    )
