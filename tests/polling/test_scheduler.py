"""Polls are scheduled by a real scheduler, run for a moment."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from service.polling.scheduler import JITTER, PollScheduler, jitter
from service.runtime.background import BackgroundTask
from service.settings import load
from service.state.memory import MemoryState, SourceState
from tests.support.fixings import day, fixing
from tests.support.wait import until_true

if TYPE_CHECKING:
    from service.polling.poller import Poller

SETTINGS = load(environ={})


class RecordingPoller:
    """A poller that only records the polled sources."""

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


async def test_all_sources_are_polled_at_start_and_cancelled_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """The first poll does not wait for a window, and a shutdown during it logs no error."""
    poller = RecordingPoller()
    async with PollScheduler(cast("Poller", poller), at_once=True):
        await until_true(lambda: len(poller.polled) >= len(SETTINGS.polled))
        assert sorted(poller.polled) == sorted(SETTINGS.polled)
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_shutdown_waits_for_polls_that_ignore_cancellation() -> None:
    """Also if the polling task is cancelled again meanwhile, as background tasks are."""
    ended, release = list[str](), asyncio.Event()

    class UncancellablePoller(RecordingPoller):
        async def poll(self, key: str) -> None:
            self.polled.append(key)
            for _ in range(4):
                with suppress(asyncio.CancelledError):
                    await release.wait()
            ended.append(key)

    poller = UncancellablePoller()

    class Polling(BackgroundTask):
        async def _run(self) -> None:
            async with PollScheduler(cast("Poller", poller), at_once=True):
                await asyncio.Event().wait()

    async with Polling():
        await until_true(lambda: len(poller.polled) == len(SETTINGS.polled))
    before = sorted(ended)
    release.set()
    assert before == sorted(SETTINGS.polled)


async def test_new_leader_polls_only_due_sources() -> None:
    """A recently polled source waits for its sweep; one that was never polled does not."""
    poller = RecordingPoller()
    for key in SETTINGS.polled:
        poller.memory.states[key] = SourceState(polled_at=poller.time)
    poller.memory.states["cbr"] = SourceState()
    poller.memory.states["ecb"] = SourceState(polled_at=poller.time - 2 * SETTINGS.sources["ecb"].sweep)
    async with PollScheduler(cast("Poller", poller), at_once=False) as schedule:
        await until_true(lambda: len(poller.polled) >= 2)
        assert sorted(poller.polled) == ["cbr", "ecb"]
        assert {job.id for job in schedule._scheduler.get_jobs()} == SETTINGS.polled.keys() - {"cbr", "ecb"}


async def test_next_poll_is_scheduled_after_each_poll() -> None:
    """One job per source, at the time given by `publication_schedule` and the poller's clock, plus jitter."""
    poller = RecordingPoller(datetime(2026, 4, 2, 10, 31, tzinfo=UTC), lasts=0)
    poller.memory.add(fixing(day(2), USD="475.09"))
    poller.memory.states["nbk"] = SourceState(polled_at=poller.time - timedelta(minutes=11))
    scheduled = asyncio.Event()

    class ObservedScheduler(PollScheduler):
        def _arm(self, key: str, at: datetime) -> None:
            super()._arm(key, at)
            if key in poller.polled and key == "nbk":
                scheduled.set()

    before = datetime.now(UTC)
    async with ObservedScheduler(cast("Poller", poller), at_once=False) as schedule:
        await scheduled.wait()
        jobs = {job.id: job for job in schedule._scheduler.get_jobs()}
        assert jobs.keys() == SETTINGS.polled.keys()
        at = jobs["nbk"].next_run_time - timedelta(minutes=10)
        assert before <= at <= datetime.now(UTC) + JITTER
    assert poller.polled.count("nbk") == 1


def test_jitter_is_bounded_by_half_the_delay() -> None:
    assert all(timedelta(0) <= jitter(timedelta(seconds=2)) <= timedelta(seconds=1) for _ in range(200))
    assert all(timedelta(0) <= jitter(timedelta(hours=2)) <= JITTER for _ in range(200))


async def test_source_is_polled_again_after_an_error() -> None:
    """An error, for example in publishing, must not end the polling of a source."""

    class FailingPoller(RecordingPoller):
        async def poll(self, key: str) -> None:
            self.polled.append(key)
            raise RuntimeError("publishing failed")

    poller = FailingPoller()
    async with PollScheduler(cast("Poller", poller), at_once=True) as schedule:
        await until_true(lambda: len(poller.polled) >= len(SETTINGS.polled))
        await until_true(lambda: {job.id for job in schedule._scheduler.get_jobs()} == SETTINGS.polled.keys())


@pytest.mark.parametrize("days", [-1, 1])
async def test_schedule_follows_a_clock_that_is_set(days: int) -> None:
    """Set back, all polls would wait for a day more; set forward, they would not come in time. Drift is no step."""
    poller = RecordingPoller(datetime(2026, 4, 2, 10, 31, tzinfo=UTC))
    for key in SETTINGS.polled:
        poller.memory.states[key] = SourceState(polled_at=poller.time)
    elapsed, steps, checked = 0.0, asyncio.Queue[timedelta](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        nonlocal elapsed
        checked.set()
        step = await steps.get()
        elapsed += seconds
        poller.time += timedelta(seconds=seconds) + step

    def due() -> dict[str, datetime]:
        return {job.id: job.next_run_time for job in schedule._scheduler.get_jobs()}

    schedule = PollScheduler(cast("Poller", poller), at_once=False, monotonic=lambda: elapsed, sleep=sleep)
    with capture_logs() as logs:
        async with schedule:
            await checked.wait()
            before = due()
            assert before.keys() == SETTINGS.polled.keys()
            checked.clear()
            steps.put_nowait(timedelta(seconds=2))
            await checked.wait()
            assert due() == before
            checked.clear()
            started = datetime.now(UTC)
            steps.put_nowait(timedelta(days=days))
            await checked.wait()
            for key, at in due().items():
                expected = poller.memory.next_poll(key, poller.now()) - poller.now()
                assert started + expected <= at <= datetime.now(UTC) + expected
            assert all(at - started <= SETTINGS.sources[key].sweep + timedelta(minutes=1) for key, at in due().items())
            if days > 0:
                await until_true(lambda: "nbk" in poller.polled)
    assert [log for log in logs if log["event"] == "clock.stepped"] == [
        {"event": "clock.stepped", "log_level": "warning", "seconds": days * 86400}
    ]
