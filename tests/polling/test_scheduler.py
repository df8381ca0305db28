"""The schedule of polls, by a real scheduler for a moment."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from service.polling.scheduler import JITTER, PollScheduler, jitter
from service.runtime.background import BackgroundTask
from service.settings import load
from service.state.memory import MemoryState, SourceState
from tests.support.fixings import day, fixing
from tests.support.wait import until_true

if TYPE_CHECKING:
    from service.polling.poller import Poller

SETTINGS = load(environ={})


class Recorder:
    """Stands where the poller stands and writes down what it is told to do."""

    def __init__(self, time: datetime | None = None, lasts: float = 60) -> None:
        self.time = time or datetime.now(UTC)
        self.memory = MemoryState(SETTINGS)
        self.polled: list[str] = []
        self._lasts = lasts

    def now(self) -> datetime:
        return self.time

    async def poll(self, key: str) -> None:
        self.polled.append(key)
        await asyncio.sleep(self._lasts)


async def test_every_source_is_polled_once_at_the_start_and_cut_off_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """The first poll does not wait for a window, and a shutdown in the middle of it is no error."""
    recorder = Recorder()
    async with PollScheduler(cast("Poller", recorder), at_once=True):
        await until_true(lambda: len(recorder.polled) >= len(SETTINGS.polled))
        assert sorted(recorder.polled) == sorted(SETTINGS.polled)
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_shutdown_waits_for_polls_that_swallow_a_cancellation() -> None:
    """Also where what polls is cancelled again meanwhile, as every background task is."""
    ended, over = list[str](), asyncio.Event()

    class Stubborn(Recorder):
        async def poll(self, key: str) -> None:
            self.polled.append(key)
            for _ in range(4):
                with suppress(asyncio.CancelledError):
                    await over.wait()
            ended.append(key)

    recorder = Stubborn()

    class Polling(BackgroundTask):
        async def _run(self) -> None:
            async with PollScheduler(cast("Poller", recorder), at_once=True):
                await asyncio.Event().wait()

    async with Polling():
        await until_true(lambda: len(recorder.polled) == len(SETTINGS.polled))
    before = sorted(ended)
    over.set()
    assert before == sorted(SETTINGS.polled)


async def test_who_takes_over_polls_what_is_due() -> None:
    """Not all banks at once: what was asked lately by another waits for its sweep, what never was does not."""
    recorder = Recorder()
    for key in SETTINGS.polled:
        recorder.memory.states[key] = SourceState(polled_at=recorder.time)
    recorder.memory.states["cbr"] = SourceState()
    recorder.memory.states["ecb"] = SourceState(polled_at=recorder.time - 2 * SETTINGS.sources["ecb"].sweep)
    async with PollScheduler(cast("Poller", recorder), at_once=False) as schedule:
        await until_true(lambda: len(recorder.polled) >= 2)
        assert sorted(recorder.polled) == ["cbr", "ecb"]
        assert {job.id for job in schedule._scheduler.get_jobs()} == SETTINGS.polled.keys() - {"cbr", "ecb"}


async def test_next_poll_is_armed_after_each_poll() -> None:
    """One job a source, at the time that `publication_schedule` says, by the poller's clock, some seconds later."""
    recorder = Recorder(datetime(2026, 4, 2, 10, 31, tzinfo=UTC), lasts=0)
    recorder.memory.add(fixing(day(2), USD="475.09"))
    recorder.memory.states["nbk"] = SourceState(polled_at=recorder.time - timedelta(minutes=11))
    armed = asyncio.Event()

    class Watched(PollScheduler):
        def _arm(self, key: str, at: datetime) -> None:
            super()._arm(key, at)
            if key in recorder.polled and key == "nbk":
                armed.set()

    before = datetime.now(UTC)
    async with Watched(cast("Poller", recorder), at_once=False) as schedule:
        await armed.wait()
        jobs = {job.id: job for job in schedule._scheduler.get_jobs()}
        assert jobs.keys() == SETTINGS.polled.keys()
        at = jobs["nbk"].next_run_time - timedelta(minutes=10)
        assert before <= at <= datetime.now(UTC) + JITTER
    assert recorder.polled.count("nbk") == 1


def test_jitter_is_bounded_by_half_the_delay() -> None:
    assert all(timedelta(0) <= jitter(timedelta(seconds=2)) <= timedelta(seconds=1) for _ in range(200))
    assert all(timedelta(0) <= jitter(timedelta(hours=2)) <= JITTER for _ in range(200))


async def test_source_is_polled_again_after_an_error() -> None:
    """An error in publishing, for example, must not be the end of a source's polling."""

    class Failing(Recorder):
        async def poll(self, key: str) -> None:
            self.polled.append(key)
            raise RuntimeError("publishing failed")

    recorder = Failing()
    async with PollScheduler(cast("Poller", recorder), at_once=True) as schedule:
        await until_true(lambda: len(recorder.polled) >= len(SETTINGS.polled))
        await until_true(lambda: {job.id for job in schedule._scheduler.get_jobs()} == SETTINGS.polled.keys())
