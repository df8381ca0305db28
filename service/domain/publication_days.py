"""What became of each expected publication of the last days: on time, late, missed, quarantined. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final

from service.domain.arrivals import first_seen
from service.domain.fixing import Fixing, Series
from service.domain.publication_schedule import Publication, publications_for, today
from service.settings import SourceSettings

DAYS: Final = 90
"""Effective dates that are reported: memory has at least as many."""
_DAY: Final = timedelta(days=1)


class DayState(StrEnum):
    """The state of an effective date of a source."""

    ON_TIME = "on_time"
    """First seen before its window closed, and one polling interval later at most."""
    LATE = "late"
    """First seen later, also because the service was down."""
    PUBLISHED = "published"
    """When it arrived is not known: it comes from a backfill, or no publication was expected."""
    QUARANTINED = "quarantined"
    """All or some of its rates are quarantined."""
    MISSED = "missed"
    """Its window has closed without it, or it repeats older rates."""
    DUE = "due"
    """Its window has not closed."""
    NONE = "none"
    """No publication is expected: a weekend or a holiday."""
    UNKNOWN = "unknown"
    """It is older than the known history."""


@dataclass(frozen=True, slots=True)
class PublicationDays:
    """The states of consecutive effective dates from `first` on.

    They are valid until a publication arrives or is quarantined, and `valid_until` at most.
    """

    first: date
    states: tuple[DayState, ...]
    valid_until: datetime

    def dates(self, *states: DayState) -> list[date]:
        """Return the dates in one of these states, oldest first."""
        return [self.first + number * _DAY for number, state in enumerate(self.states) if state in states]


def publication_days(
    source: SourceSettings, series: Series, quarantined: Collection[date], now: datetime
) -> PublicationDays:
    """Return the states of the last `DAYS` effective dates, up to today or to a later publication."""
    latest, current = series.latest, today(source, now)
    last = max(current, latest.date) if latest else current
    first = last - (DAYS - 1) * _DAY
    expected = publications_for(source, first, last)
    arrived = _arrivals(source, series, expected)
    oldest = series.fixings[0].date if series.fixings else date.max

    def state(day: date) -> DayState:
        publication = expected.get(day)
        if day in quarantined:
            return DayState.QUARANTINED
        if day in arrived:
            return arrived[day]
        if publication is None:
            return DayState.NONE
        if publication.closes > now:
            return DayState.DUE
        return DayState.UNKNOWN if day < oldest else DayState.MISSED

    closing = [publication.closes for publication in expected.values() if publication.closes > now]
    day_ends = datetime.combine(current + _DAY, datetime.min.time(), source.timezone)
    return PublicationDays(
        first, tuple(state(first + number * _DAY) for number in range(DAYS)), min([day_ends, *closing])
    )


def _arrivals(source: SourceSettings, series: Series, expected: Mapping[date, Publication]) -> Mapping[date, DayState]:
    """Return whether each publication of a series, carry-overs excluded, was on time, by its effective date."""
    around = (None, *series.distinct, None)
    arrivals = dict[date, DayState]()
    for (previous, fixing), (_, following) in pairwise(pairwise(around)):
        if fixing:
            arrivals[fixing.date] = _arrival(source, previous, fixing, following, expected.get(fixing.date))
    return arrivals


def _arrival(
    source: SourceSettings,
    previous: Fixing | None,
    fixing: Fixing,
    following: Fixing | None,
    publication: Publication | None,
) -> DayState:
    """Return whether a publication was on time.

    It is not known unless the service was running when it was expected: it had seen the one before earlier, and did not
    receive this one together with the next.
    """
    seen = first_seen(fixing)
    if publication is None or previous is None or first_seen(previous) >= min(publication.opens, seen):
        return DayState.PUBLISHED
    if seen > publication.day_ends and following and first_seen(following) <= seen:
        return DayState.PUBLISHED
    return DayState.ON_TIME if seen <= publication.closes + source.every else DayState.LATE
