"""Learning when publications arrive, and polling more often around that time."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from service.domain.arrivals import Arrivals, learned
from service.domain.fixing import Fixing, Series
from service.domain.publication_schedule import (
    ExpectedArrival,
    effective_date,
    is_publication_day,
    next_poll,
    publication_of,
)
from service.settings import load
from tests.support.fixings import fixing

SOURCES = load(environ={}).sources
NBK = SOURCES["nbk"]
MINUTE = timedelta(minutes=1)
FIRST = date(2026, 4, 6)


def days(count: int) -> list[date]:
    """Return publication days of the National Bank."""
    every_day = (FIRST + timedelta(days=number) for number in range(100))
    return [day for day in every_day if is_publication_day(NBK, day)][:count]


def published(day: date, delay: timedelta) -> Fixing:
    """Return the fixing published on a day, so long after the opening of the window at 15:30 in Astana (10:30 UTC)."""
    opens = datetime(day.year, day.month, day.day, 10, 30, tzinfo=UTC)
    return replace(fixing(effective_date(NBK, day), USD=f"{400 + day.toordinal() % 90}.00"), fetched_at=opens + delay)


def history(delays: Sequence[float]) -> Series:
    """Return publications with these delays, in minutes."""
    on = days(len(delays))
    return Series(tuple(published(day, minutes * MINUTE) for day, minutes in zip(on, delays, strict=True)))


def test_usual_arrival_is_learned_with_a_margin() -> None:
    """The first one has no predecessor that shows that the service was running."""
    assert learned(NBK, history([99, 40, 42, 38, 45, 41])) == Arrivals(33 * MINUTE, 50 * MINUTE)


def test_five_observations_are_needed() -> None:
    assert learned(NBK, history([40] * 5)) is None
    assert learned(NBK, history([40] * 6)) is not None


def test_single_early_and_late_publications_are_ignored() -> None:
    """Of ten or more."""
    assert learned(NBK, history([40] * 6 + [5, 200] + [40] * 6)) == Arrivals(35 * MINUTE, 45 * MINUTE)


def test_only_the_latest_publications_count() -> None:
    """The bank has changed its hours."""
    assert learned(NBK, history([100] * 10 + [20] * 20)) == Arrivals(15 * MINUTE, 25 * MINUTE)


def test_fixings_of_a_first_start_or_a_backfill_are_not_observations() -> None:
    """All were fetched long after their publication, or together."""
    fetched_together = [
        replace(each, fetched_at=datetime(2026, 5, 8, 11, tzinfo=UTC)) for each in history([40] * 12).fixings
    ]
    assert learned(NBK, Series(tuple(fetched_together))) is None


def test_revision_does_not_change_the_time_of_arrival() -> None:
    series = history([40] * 7)
    *earlier, last = series.fixings
    revised = replace(last, fetched_at=last.fetched_at + 300 * MINUTE, revisions=(last,))
    assert learned(NBK, Series((*earlier, revised))) == learned(NBK, series)


def test_source_without_a_window_has_no_arrivals() -> None:
    assert learned(SOURCES["recorded"], history([40] * 7)) is None


@pytest.mark.parametrize("key", [key for key, source in SOURCES.items() if source.window])
def test_publication_of_an_effective_date(key: str) -> None:
    """Every publication day of a year is found by its effective date."""
    source = SOURCES[key]
    for number in range(365):
        day = date(2026, 1, 1) + timedelta(days=number)
        if is_publication_day(source, day):
            publication = publication_of(source, effective_date(source, day))
            assert publication
            assert publication.opens.astimezone(source.timezone).date() == day


def astana(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 4, 14, hour - 5, minute, second, tzinfo=UTC)


EXPECTED = ExpectedArrival(astana(16), astana(16, 30))
LATEST = date(2026, 4, 14)
"""The publication of Monday; that of Tuesday, for Wednesday, is awaited."""


@pytest.mark.parametrize(
    ("polled", "now", "following"),
    [
        (astana(15, 30), astana(15, 30), astana(15, 40)),  # the window is open, nothing is expected yet
        (astana(15, 55), astana(15, 55), astana(16)),  # not a whole interval later than the expected time
        (astana(16), astana(16), astana(16, 0, 24)),  # half of 150 requests for half an hour
        (astana(16, 30), astana(16, 30), astana(16, 30, 24)),
        (astana(16, 30, 24), astana(16, 30, 24), astana(16, 40, 24)),  # it is late
    ],
)
def test_polls_are_frequent_while_a_publication_is_expected(
    polled: datetime, now: datetime, following: datetime
) -> None:
    assert next_poll(NBK, LATEST, polled, now, expected=EXPECTED) == following


def test_interval_fits_the_budget_and_every() -> None:
    wide = ExpectedArrival(astana(16), astana(18))
    assert wide.polling_interval(NBK) == timedelta(seconds=96)
    assert wide.polling_interval(NBK.model_copy(update={"budget": 10})) == timedelta(minutes=10)  # `every`
    assert wide.polling_interval(NBK.model_copy(update={"every": timedelta(seconds=5)})) == timedelta(seconds=5)


@pytest.mark.parametrize(("failures", "minutes"), [(1, 1), (2, 2), (5, 16), (8, 60), (10_000, 60)])
def test_failing_source_is_polled_again_soon(failures: int, minutes: int) -> None:
    """At growing intervals: not only at the next sweep, which would be hours later."""
    source, now = NBK.model_copy(update={"sweep": timedelta(hours=1)}), astana(9)
    assert next_poll(source, LATEST, now, now, failures=failures) == now + minutes * MINUTE


@pytest.mark.parametrize(("failures", "seconds"), [(0, 24), (1, 60), (3, 240), (9, 600)])
def test_failures_lengthen_the_interval_while_a_publication_is_expected(failures: int, seconds: int) -> None:
    """Up to `every`."""
    following = next_poll(NBK, LATEST, astana(16), astana(16), expected=EXPECTED, failures=failures)
    assert following == astana(16) + timedelta(seconds=seconds)


def test_nothing_is_polled_after_the_arrival_until_the_next_look() -> None:
    arrived = date(2026, 4, 15)
    assert next_poll(NBK, arrived, astana(16, 5), astana(16, 5), expected=None) == astana(16, 5) + NBK.sweep


@pytest.mark.parametrize(
    ("now", "interval"),
    [(astana(19, 5), 10 * MINUTE), (astana(20, 30), 15 * MINUTE), (astana(23), 40 * MINUTE)],
)
def test_intervals_grow_after_a_missed_publication(now: datetime, interval: timedelta) -> None:
    """The window closes at 19:00; after that, a sixth of the time since."""
    assert next_poll(NBK, LATEST, now, now) == now + interval
