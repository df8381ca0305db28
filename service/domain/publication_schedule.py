"""When a source publishes: what is due, what was missed, what comes next.

A publication appears on a publication day, inside the window, and carries an effective date.
A bank holiday is no publication day. What repeats the rates before it is no publication: a feed that
carries old rates under new dates is as late as a silent one.
Everything here is pure; times are timezone-aware.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from itertools import takewhile

from service.domain.holidays import days_off
from service.settings import SourceSettings

STALE_AFTER = 3
"""So many missed publications make a series stale."""
_DAY = timedelta(days=1)
_YEAR = timedelta(days=366)
_LOOKBACK = timedelta(days=14)
"""Farther than any publication lies before the date that it carries: across the longest holidays."""


class Freshness(IntEnum):
    """How a series stands against its calendar; larger is worse."""

    CURRENT = 0
    LATE = 1
    STALE = 2


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication: when it is expected (UTC), and the date it will carry."""

    opens: datetime
    closes: datetime
    effective: date


def today(source: SourceSettings, now: datetime) -> date:
    return now.astimezone(source.timezone).date()


def is_publication_day(source: SourceSettings, day: date) -> bool:
    """Whether the source publishes on `day`: one of its days, and no holiday."""
    return day.weekday() in source.weekdays and day not in days_off(source.calendar, day.year)


def effective_date(source: SourceSettings, day: date) -> date:
    """Return the date that a publication of `day` carries."""
    match source.effective:
        case "same-day":
            return day
        case "next-day":
            return day + _DAY
        case "next-working-day":
            return next(later for later in _days_from(day + _DAY) if is_publication_day(source, later))


def market_day(source: SourceSettings, effective_date: date) -> date:
    """Return the day of the market that an effective date is of: a weekend counts as its Friday.

    Holidays are left out: sources are compared within days of each other, and one day makes no difference there.
    """
    day = effective_date if source.effective == "same-day" else effective_date - _DAY
    return day - timedelta(days=max(0, day.weekday() - 4))


def latest_possible_date(source: SourceSettings, now: datetime) -> date:
    """Return the last effective date that the source can have published by now.

    For the next working day one more is let in: a day off may be one by decree, which no calendar knows.
    """
    day = today(source, now)
    last = effective_date(source, day)
    if source.effective == "next-working-day":
        last = effective_date(source, last)
    return min(day + timedelta(days=source.ahead), max(last, day))


def freshness(source: SourceSettings, latest: date, now: datetime) -> Freshness:
    """Judge a series whose latest rates are of `latest`, which is no carry-over."""
    if source.window is None:
        return Freshness.STALE
    missed = 0
    for publication in _after(source, latest):
        if publication.closes > now:
            break
        missed += 1
        if missed == STALE_AFTER:
            return Freshness.STALE
    return Freshness.LATE if missed else Freshness.CURRENT


def between(source: SourceSettings, earlier: date, later: date) -> int:
    """Return how many publications carry a date after `earlier` and up to `later`."""
    if source.window is None:
        return 0
    return sum(1 for _ in takewhile(lambda one: one.effective <= later, _after(source, earlier)))


def is_window_open(source: SourceSettings, latest: date | None, now: datetime) -> bool:
    """Whether a window is open whose publication has not arrived."""
    local = now.astimezone(source.timezone)
    if source.window is None or not is_publication_day(source, local.date()):
        return False
    publication = _on(source, local.date())
    return publication.opens <= now < publication.closes and (latest is None or latest < publication.effective)


def next_due(source: SourceSettings, latest: date, now: datetime) -> datetime | None:
    """Return the next moment at which the status of this series may change.

    The opening of the next window whose publication is not here yet; inside such a window its close,
    by which the publication is due. None for a source that publishes nothing new.
    """
    if source.window is None:
        return None
    start = max(latest, today(source, now) - _LOOKBACK)
    coming = next(publication for publication in _after(source, start) if publication.closes > now)
    return coming.opens if coming.opens > now else coming.closes


def next_poll(source: SourceSettings, latest: date | None, polled: datetime | None, now: datetime) -> datetime:
    """Return when the leader polls next, after the last poll at `polled` (None: never).

    A step of the window later while the due publication has not come, else when the next window opens; at the latest
    when the sweep is due. A poll in the future was dated by a wrong clock.
    """
    polled = min(polled, now) if polled else None
    times = [polled + source.sweep if polled else now]
    if is_window_open(source, latest, now):
        times.append((polled or now) + source.every)
    elif due := next_due(source, latest or today(source, now), now):
        times.append(due)
    return max(now, min(times))


def _after(source: SourceSettings, latest: date) -> Iterator[Publication]:
    """Yield the publications that carry a later date than `latest`, in order."""
    for day in _days_from(latest - _LOOKBACK):
        if is_publication_day(source, day) and effective_date(source, day) > latest:
            yield _on(source, day)


def _on(source: SourceSettings, day: date) -> Publication:
    assert source.window is not None  # noqa: S101 - callers have checked
    start, end = source.window
    return Publication(
        datetime.combine(day, start, source.timezone).astimezone(UTC),
        datetime.combine(day, end, source.timezone).astimezone(UTC),
        effective_date(source, day),
    )


def _days_from(day: date) -> Iterator[date]:
    for offset in range(_YEAR.days):
        yield day + offset * _DAY
