"""Schedule the polls of each source by `MemoryState.next_poll`: the only import of apscheduler."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import uniform
from time import monotonic
from typing import Final, Self

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from service.domain.publication_schedule import pause_end
from service.polling.poller import Poller
from service.runtime.background import cancel_and_wait

log = structlog.get_logger()

JITTER = timedelta(seconds=30)
"""Maximum random delay of a poll, so that not all installations poll a bank at the same time."""
_CLOCK_CHECK: Final = 20.0
"""Seconds between two comparisons of the clock with the monotonic clock."""
_CLOCK_STEP: Final = timedelta(seconds=30)
"""A larger difference is a step: the clock was set, or the machine was suspended."""


class PollScheduler:
    """Scheduler of all sources: one job per source, which runs once and is rescheduled after each poll.

    Jobs have absolute UTC times that are computed here: with jitter a cron trigger returns the same time forever on the
    night when clocks go back (APScheduler issue 1021).
    """

    def __init__(
        self,
        poller: Poller,
        *,
        at_once: bool,
        monotonic: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Create a scheduler that polls every source `at_once`, or when its next poll is due."""
        self._poller = poller
        self._at_once = at_once
        self._monotonic = monotonic
        self._sleep = sleep
        self._following_clock: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None})

    async def __aenter__(self) -> Self:
        memory, now = self._poller.memory, self._poller.now()
        for key in memory.settings.scheduled:
            at_once = pause_end(memory.states[key].not_before, now) or now
            self._arm(key, at_once if self._at_once else memory.next_poll(key, now))
        self._scheduler.start()
        self._following_clock = asyncio.create_task(self._follow_clock())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the scheduler, cancel running polls, and wait until they have ended."""
        self._stopped = True
        self._scheduler.shutdown(wait=False)
        try:
            await asyncio.sleep(0)  # the scheduler stops in a callback of the event loop
        finally:
            following = [self._following_clock] if self._following_clock else []
            await cancel_and_wait(*self._running, *following)

    async def _follow_clock(self) -> None:
        """Schedule all polls again when the clock was set: running timers still have the old delay.

        Set back by a day, polls would stop for a day; set forward, they would come too late.
        """
        origin = self._monotonic_origin()
        while True:
            await self._sleep(_CLOCK_CHECK)
            before, origin = origin, self._monotonic_origin()
            if abs(origin - before) < _CLOCK_STEP:
                continue
            log.warning("clock.stepped", seconds=round((origin - before).total_seconds()))
            memory, now = self._poller.memory, self._poller.now()
            for job in self._scheduler.get_jobs():  # a source that is being polled now is scheduled afterwards
                self._arm(job.id, memory.next_poll(job.id, now))

    def _monotonic_origin(self) -> datetime:
        """Return when the monotonic clock was 0 by the clock: it changes only if the clock is set."""
        return self._poller.now() - timedelta(seconds=self._monotonic())

    def _arm(self, key: str, due: datetime) -> None:
        """Schedule the poll of a source for a time of the poller's clock; a time in the past means now."""
        delay = max(timedelta(), due - self._poller.now())
        trigger = DateTrigger(datetime.now(UTC) + delay)
        self._scheduler.add_job(self._poll, trigger, [key], id=key, replace_existing=True)

    async def _poll(self, key: str) -> None:
        """Poll a source and schedule its next poll. Cancellation at shutdown is not logged as an error."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._running.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await self._poller.poll(key)
        finally:
            self._running.discard(task)
            if not self._stopped:  # after an error too: otherwise the source would never be polled again
                now = self._poller.now()
                due = self._poller.memory.next_poll(key, now, polled=now)
                self._arm(key, due + jitter(due - now))


def jitter(delay: timedelta) -> timedelta:
    """Return a random extra delay: at most half of `delay`, and at most `JITTER`."""
    return uniform(0, 1) * min(JITTER, delay / 2)  # noqa: S311 - not used for security
