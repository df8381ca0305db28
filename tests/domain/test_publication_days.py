"""The states of a source's last effective dates, as the status page shows them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from service.domain.fixing import Fixing, Series
from service.domain.publication_days import DAYS, DayState, publication_days
from service.settings import load
from tests.support.fixings import fixing

NBK = load(environ={}).sources["nbk"]
"""It publishes from Monday to Friday, 15:30 to 19:00 in Astana (10:30 to 14:00 UTC), for the next day."""
NOW = datetime(2026, 4, 17, 6, tzinfo=UTC)
"""A Friday morning: Thursday's publication is in force."""


def published(day: int, hour: float = 11, *, on: int | None = None) -> Fixing:
    """Return the fixing of a date in April, first seen at an hour (UTC) on the day before or on another day."""
    seen = datetime(2026, 4, on or day - 1, tzinfo=UTC) + timedelta(hours=hour)
    return replace(fixing(date(2026, 4, day), USD=f"{400 + day}.00"), fetched_at=seen)


def states(fixings: Sequence[Fixing], *quarantined: int, now: datetime = NOW) -> dict[int, DayState]:
    """Return the states of the dates from 7 April on, by day."""
    days = publication_days(NBK, Series(tuple(fixings)), {date(2026, 4, day) for day in quarantined}, now)
    assert len(days.states) == DAYS
    dates = (days.first + timedelta(days=number) for number in range(DAYS))
    return {day.day: state for day, state in zip(dates, days.states, strict=True) if day >= date(2026, 4, 7)}


WEEK = [published(day) for day in (7, 8, 9, 10, 11, 14, 15, 16, 17)]
"""The dates of two weeks: Friday's publication is dated Saturday, Monday's Tuesday."""


def without(*days: int) -> list[Fixing]:
    return [kept for kept in WEEK if kept.date.day not in days]


def test_publications_within_the_window_are_on_time() -> None:
    """Of the first one it is not known whether the service was running. Sunday and Monday have no publication."""
    assert states(WEEK) == {
        7: DayState.PUBLISHED,
        **dict.fromkeys((8, 9, 10, 11, 14, 15, 16, 17), DayState.ON_TIME),
        12: DayState.NONE,
        13: DayState.NONE,
    }


def test_publication_after_its_window_is_late() -> None:
    """The polling interval is not the bank's fault: 10 minutes."""
    within, after = published(10, 14 + 10 / 60), published(10, 14 + 11 / 60)
    assert states(sorted([*without(10), within], key=lambda one: one.date))[10] is DayState.ON_TIME
    assert states(sorted([*without(10), after], key=lambda one: one.date))[10] is DayState.LATE


def test_missing_publication_is_missed_once_its_window_has_closed() -> None:
    missing = without(17)
    assert states(missing, now=NOW)[17] is DayState.MISSED
    during = datetime(2026, 4, 16, 13, 59, tzinfo=UTC)
    assert 17 not in states(missing, now=during), "it is in the future"
    # Of a date that has begun, the window may still be open: in a source of the same day.
    same_day = NBK.model_copy(update={"effective": "same-day"})
    days = publication_days(same_day, Series(tuple(missing)), (), datetime(2026, 4, 17, 11, tzinfo=UTC))
    assert days.states[-1] is DayState.DUE
    assert days.valid_until == datetime(2026, 4, 17, 14, tzinfo=UTC)


def test_repeated_rates_are_a_missed_publication() -> None:
    repeated = replace(WEEK[-2], date=date(2026, 4, 17))
    assert states([*without(17), repeated])[17] is DayState.MISSED


def test_arrival_of_backfilled_publications_is_unknown() -> None:
    """They were all seen later: by a backfill, or by the first poll after an outage of days."""
    backfilled = [replace(one, fetched_at=NOW + timedelta(seconds=number)) for number, one in enumerate(WEEK[:-1])]
    assert set(states(backfilled).values()) == {DayState.PUBLISHED, DayState.NONE, DayState.MISSED}
    outage = [*WEEK[:-3], *(replace(one, fetched_at=NOW) for one in WEEK[-3:])]
    after_outage = states(outage)
    assert [after_outage[day] for day in (14, 15, 16, 17)] == [DayState.ON_TIME, *[DayState.PUBLISHED] * 3]


def test_revision_does_not_make_a_publication_late() -> None:
    """The first form counts."""
    corrected = replace(fixing(date(2026, 4, 10), USD="499.00"), fetched_at=NOW).with_revision_of(published(10))
    assert states(sorted([*without(10), corrected], key=lambda one: one.date))[10] is DayState.ON_TIME


def test_quarantined_rates_prevail() -> None:
    """Whether the rest of the date was published or not."""
    assert [states(without(16), 16, 17)[day] for day in (15, 16, 17)] == [
        DayState.ON_TIME,
        DayState.QUARANTINED,
        DayState.QUARANTINED,
    ]


def test_dates_before_the_known_history_are_unknown() -> None:
    days = publication_days(NBK, Series(tuple(WEEK)), (), NOW)
    assert set(days.states[: -len(states(WEEK)) - 10]) == {DayState.UNKNOWN, DayState.NONE}
    assert days.dates(DayState.UNKNOWN)[-1] < date(2026, 4, 7)
    empty = publication_days(NBK, Series(), (), NOW)
    assert set(empty.states) == {DayState.UNKNOWN, DayState.NONE}


def test_holidays_have_no_publication() -> None:
    """8 March 2026 is a Sunday, so Monday is off; 23 March is Nauryz: their next dates expect nothing."""
    days = publication_days(NBK, Series((replace(WEEK[0], date=date(2026, 3, 1)), *WEEK)), (), NOW)
    missed = days.dates(DayState.MISSED)
    assert date(2026, 3, 24) not in missed
    assert date(2026, 3, 20) in missed


def test_date_of_an_unexpected_publication_is_published() -> None:
    """On a day off by the calendar."""
    unexpected = published(13, on=12)
    assert states(sorted([*WEEK, unexpected], key=lambda one: one.date))[13] is DayState.PUBLISHED


def test_source_without_a_schedule_has_no_expectation() -> None:
    unscheduled = NBK.model_copy(update={"window": None})
    days = publication_days(unscheduled, Series(tuple(WEEK)), (), NOW)
    assert set(days.states) == {DayState.PUBLISHED, DayState.NONE}
