"""When things happen: triggers worked out on a calendar, and a real scheduler for a moment."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from service.polling.scheduler import PollScheduler, window_trigger
from service.settings import SourceSettings, load
from service.state.memory import MemoryState, SourceState
from tests.figures import day, fixing

if TYPE_CHECKING:
    from service.polling.poller import Poller

SETTINGS = load(environ={})


def fires(source: SourceSettings, start: datetime, end: datetime) -> list[datetime]:
    """Return every time at which the window's trigger fires, in the source's zone, without jitter."""
    trigger = window_trigger(source)
    assert trigger.jitter or source.every < timedelta(minutes=1)
    trigger.jitter = None
    found, at = [], trigger.get_next_fire_time(None, start)
    while at < end:
        found.append(at)
        at = trigger.get_next_fire_time(at, at + timedelta(microseconds=1))
    return found


@pytest.mark.parametrize(("every", "apart"), [(timedelta(minutes=45), 60), (timedelta(seconds=20), 1)])
def test_a_window_is_looked_into_in_the_banks_own_hours(every: timedelta, apart: int) -> None:
    """On publication days only, on the wall clock of Astana, often enough for any `every`."""
    source = SETTINGS.sources["nbk"].model_copy(update={"every": every})
    friday_to_monday = fires(source, datetime(2026, 4, 3, tzinfo=UTC), datetime(2026, 4, 6, tzinfo=UTC))
    assert {at.date() for at in friday_to_monday} == {day(3)}
    assert f"{friday_to_monday[0]:%H:%M} {friday_to_monday[-1]:%H:%M}" == "15:00 19:59"
    assert (friday_to_monday[1] - friday_to_monday[0]).total_seconds() == apart


def test_a_window_follows_summer_time() -> None:
    """Frankfurt's 15:00 is 14:00 UTC in winter and 13:00 in summer."""
    for month, hour in ((1, 14), (7, 13)):
        start = datetime(2026, month, 14, tzinfo=UTC)
        assert fires(SETTINGS.sources["ecb"], start, start + timedelta(days=1))[0].astimezone(UTC).hour == hour


class Recorder:
    """Stands where the poller stands and writes down what it is told to do."""

    def __init__(self, time: datetime | None = None) -> None:
        self.time = time or datetime.now(UTC)
        self.memory = MemoryState(SETTINGS)
        self.polled: list[str] = []
        self.awaited: list[str] = []

    def now(self) -> datetime:
        return self.time

    async def poll(self, key: str) -> None:
        self.polled.append(key)
        await asyncio.sleep(60)

    async def poll_if_awaited(self, key: str) -> None:
        self.awaited.append(key)

    async def sync_and_publish(self) -> None:
        pass


async def test_every_source_is_polled_once_at_the_start_and_cut_off_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """The first poll does not wait for a window, and a shutdown in the middle of it is no error."""
    recorder = Recorder()
    async with PollScheduler(cast("Poller", recorder), at_once=True):
        await asyncio.sleep(0.05)
        assert sorted(recorder.polled) == sorted(SETTINGS.polled)
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_who_takes_over_polls_what_is_due() -> None:
    """Not all banks at once: what was asked lately by another waits for its sweep, what never was does not."""
    recorder = Recorder()
    for key in SETTINGS.polled:
        recorder.memory.states[key] = SourceState(polled_at=recorder.time)
    recorder.memory.states["cbr"] = SourceState()
    recorder.memory.states["ecb"] = SourceState(polled_at=recorder.time - 2 * SETTINGS.sources["ecb"].sweep)
    async with PollScheduler(cast("Poller", recorder), at_once=False):
        await asyncio.sleep(0.05)
        assert sorted(recorder.polled) == ["cbr", "ecb"]


@pytest.mark.parametrize(
    ("now", "latest", "asked", "told"),
    [
        ("2099-04-02T10:00", day(2), None, "2099-04-02T10:30"),  # before the window: its opening
        ("2099-04-02T10:31", day(2), "2099-04-02T10:30", "2099-04-02T10:40"),  # inside: a step after the last poll
        ("2099-04-02T10:31", day(3), "2099-04-02T10:30", "2099-04-03T10:30"),  # it has come: tomorrow's window
    ],
)
async def test_the_next_poll_is_told(now: str, latest: date, asked: str | None, told: str) -> None:
    """The opening of the next window, or its next step while the due fixing has not come, or the sweep."""
    recorder = Recorder(datetime.fromisoformat(now).replace(tzinfo=UTC))
    recorder.memory.add(fixing(latest.replace(year=2099), USD="475.09"))
    if asked:
        recorder.memory.states["nbk"] = SourceState(polled_at=datetime.fromisoformat(asked).replace(tzinfo=UTC))
    async with PollScheduler(cast("Poller", recorder), at_once=True) as schedule:
        sweep = schedule.next_poll("recorded")
        assert sweep is not None
        assert sweep - datetime.now(UTC) <= timedelta(days=1)
        schedule._scheduler.remove_job("sweep:nbk")
        assert schedule.next_poll("nbk") == datetime.fromisoformat(told).replace(tzinfo=UTC)
