"""Periods of changes, and the publication in force on a date. Pure.

A change over a period compares a publication with the one that was in force when the period began: the last one with an
effective date up to that day.
"""

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar

from service.domain.breaks import Break, conversion
from service.domain.change import Change, Trend, change
from service.domain.fixing import RateTable

MAX_AGE: Final = timedelta(days=64)
"""Maximum age of a rate in force: longer than any holiday. After that the source no longer quotes the currency."""

T = TypeVar("T", bound=RateTable)


class Period(StrEnum):
    """The period of a change; `day` is the change since the previous publication."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    YTD = "ytd"


PERIODS: Final = tuple(Period)
LONGER: Final = tuple(period for period in Period if period is not Period.DAY)
"""The periods that begin on a calendar day."""


@dataclass(frozen=True, slots=True)
class PeriodChange:
    """The change of a rate since an earlier publication.

    `previous` is the earlier rate in the unit of the new one, `date` the first day of that rate, `percent` is rounded
    half up to two decimals.
    """

    percent: Decimal
    change: Decimal
    direction: Trend
    previous: Decimal
    date: date


Changes = Mapping[Period, PeriodChange | None]
"""The changes of a rate by period; None where history does not reach."""


def begin(period: Period, day: date) -> date:
    """Return the day on which the period up to `day` begins. Must not be called for the period `day`.

    week: seven days before. month, year: the same day of the month or year before, or the last day of that month if it
    is shorter. ytd: 31 December of the year before.
    """
    match period:
        case Period.WEEK:
            return date.fromordinal(max(1, day.toordinal() - 7))
        case Period.MONTH:
            return _clamped(day.year - (day.month == 1), (day.month - 2) % 12 + 1, day.day)
        case Period.YEAR:
            return _clamped(day.year - 1, day.month, day.day)
        case Period.YTD:
            return _clamped(day.year - 1, 12, 31)
        case Period.DAY:
            raise ValueError("the period of a day begins at the previous publication")


def _clamped(year: int, month: int, day: int) -> date:
    """Return a date, or the last day of the month if the month is shorter; the first date of all before year 1."""
    if year < 1:
        return date.min
    return date(year, month, min(day, monthrange(year, month)[1]))


def in_force(published: Sequence[T], day: date, max_age: timedelta | None = MAX_AGE) -> T | None:
    """Return the last of the publications up to `day`; None if there is none, or it is older than `max_age`."""
    for table in reversed(published):
        if table.date <= day:
            return table if max_age is None or day - table.date <= max_age else None
    return None


def since(code: str, base: str, new: RateTable, old: RateTable | None, breaks: Iterable[Break]) -> PeriodChange | None:
    """Return the change of `code` in `base` since an earlier publication.

    None if there is none, and across a break whose factor is unknown.
    """
    factor = conversion(breaks, code, base, old, new) if old else None
    if old is None or factor is None:
        return None
    return as_period_change(change(code, base, new, old, factor), old.date)


def as_period_change(moved: Change, day: date | None) -> PeriodChange | None:
    """Return a change since `day`; None if there was no rate before."""
    if day is None or moved.previous is None or moved.change is None or moved.percent is None or not moved.direction:
        return None
    return PeriodChange(moved.percent, moved.change, moved.direction, moved.previous, day)
