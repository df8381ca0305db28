"""When things happen: triggers worked out on a calendar, and a real scheduler for a moment."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from service.board import Board
from service.schedule import Schedule, window_trigger
from service.settings import SourceSettings, load
from tests.figures import day, fixing

if TYPE_CHECKING:
    from service.poller import Poller

SETTINGS = load(environ={})


def fires(source: SourceSettings, start: datetime, end: datetime) -> list[datetime]:
    """Return every time at which the window's trigger fires, in the source's zone, without jitter."""
    trigger = window_trigger(source)
    assert trigger.jitter > 0
    trigger.jitter = None
    found, at = [], trigger.get_next_fire_time(None, start)
    while at < end:
        found.append(at)
        at = trigger.get_next_fire_time(at, at + timedelta(microseconds=1))
    return found


@pytest.mark.parametrize(
    ("every", "count", "second"),
    [(timedelta(minutes=10), 30, "15:10"), (timedelta(hours=1), 5, "16:30"), (timedelta(seconds=30), 600, "15:00")],
)
def test_a_window_is_asked_in_the_banks_own_hours(every: timedelta, count: int, second: str) -> None:
    """On publication days only, at every step, on the wall clock of Astana."""
    source = SETTINGS.sources["nbk"].model_copy(update={"every": every})
    friday_to_monday = fires(source, datetime(2026, 4, 3, tzinfo=UTC), datetime(2026, 4, 6, tzinfo=UTC))
    assert len(friday_to_monday) == count
    assert {at.date() for at in friday_to_monday} == {day(3)}
    assert f"{friday_to_monday[1]:%H:%M}" == second


def test_a_window_follows_summer_time() -> None:
    """Frankfurt's 15:00 is 14:00 UTC in winter and 13:00 in summer."""
    for month, hour in ((1, 14), (7, 13)):
        start = datetime(2026, month, 14, tzinfo=UTC)
        assert fires(SETTINGS.sources["ecb"], start, start + timedelta(days=1))[0].astimezone(UTC).hour == hour


class Recorder:
    """Stands where the poller stands and writes down what it is told to do."""

    def __init__(self) -> None:
        self.board = Board(SETTINGS)
        self.polled: list[str] = []
        self.awaited: list[str] = []

    async def poll(self, key: str) -> None:
        self.polled.append(key)
        await asyncio.sleep(60)

    async def poll_if_awaited(self, key: str) -> None:
        self.awaited.append(key)

    async def review(self) -> None:
        pass


async def test_every_source_is_polled_once_at_the_start_and_cut_off_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """The first poll does not wait for a window, and a shutdown in the middle of it is no error."""
    recorder = Recorder()
    async with Schedule(cast("Poller", recorder)):
        await asyncio.sleep(0.05)
        assert sorted(recorder.polled) == sorted(SETTINGS.polled)
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_the_next_poll_is_told() -> None:
    """The next sweep, or the next step of an open window whose fixing has not come."""
    recorder = Recorder()
    async with Schedule(cast("Poller", recorder)) as schedule:
        await asyncio.sleep(0.05)
        sweep = schedule.next_poll("recorded")
        assert sweep is not None
        assert timedelta(hours=23) < sweep - datetime.now(UTC) <= timedelta(days=1)
        recorder.board.add(fixing(day(1, 1).replace(year=2099), USD="475.09"))
        arrived = schedule.next_poll("nbk")
        assert arrived is not None
        assert arrived - datetime.now(UTC) <= timedelta(hours=1)
