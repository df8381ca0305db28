"""Publication schedule of a source: publications that are due, missed, and next. Pure; times are timezone-aware.

A publication appears on a publication day, within the window, and has an effective date. A bank holiday is not a
publication day. A carry-over is not a publication: a source that repeats old rates under new dates is as late as one
that publishes nothing.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from itertools import pairwise, takewhile

from service.domain.fixing import Series
from service.domain.holidays import days_off, worked_weekend_days
from service.settings import SourceSettings
from service.settings.types import ALL_DAY

STALE_AFTER = 3
"""Missed publications from which a series is stale."""
_DAY = timedelta(days=1)
_YEAR = timedelta(days=366)
_SATURDAY = 5
_FIRST_RETRY = timedelta(minutes=1)
_FIRST_RETRY_WITHOUT_RATES = timedelta(seconds=5)
"""While a source has no rates at all, visitors may see none: at a first start, the network may come up later."""
_MOST_DOUBLINGS = 20
_SHORTEST_INTERVAL = timedelta(seconds=20)
_REQUESTS_PER_PART = 25
"""`budget` divided by this, at least 1: an interval is such a part of the time for which something is overdue."""
_DENSE_SHARE = 0.5
"""Share of the requests per day that is used around the expected arrival."""
_LOOKBACK = timedelta(days=14)
"""Upper limit of the time between a publication and its effective date: more than the longest holidays."""


class Freshness(IntEnum):
    """Freshness of a series by its publication schedule; larger is worse."""

    CURRENT = 0
    LATE = 1
    STALE = 2


@dataclass(frozen=True, slots=True)
class Publication:
    """One expected publication: its window (UTC) and its effective date."""

    opens: datetime
    closes: datetime
    effective: date
    day_ends: datetime
    """End of the day on which it appears, in the source's time zone."""


@dataclass(frozen=True, slots=True)
class ExpectedArrival:
    """When a publication is expected (UTC), both ends included."""

    begin: datetime
    end: datetime

    def polling_interval(self, source: SourceSettings) -> timedelta:
        """Return the interval between polls while it is expected: as short as the requests per day allow."""
        return min(source.every, max(_SHORTEST_INTERVAL, (self.end - self.begin) / (_DENSE_SHARE * source.budget)))


def today(source: SourceSettings, now: datetime) -> date:
    """Return the date at `now` in the source's time zone."""
    return now.astimezone(source.timezone).date()


def is_publication_day(source: SourceSettings, day: date) -> bool:
    """Return whether the source publishes on `day`: one of its weekdays and no holiday, or one of its working days."""
    if day in source.working_days:
        return True
    is_holiday = day in source.days_off or day in days_off(source.calendar, day.year)
    return day.weekday() in source.weekdays and not is_holiday


def _may_publish(source: SourceSettings, day: date) -> bool:
    """Return whether `day` is a publication day, or a worked weekend day, on which some banks publish."""
    is_worked = day in worked_weekend_days(source.calendar, day.year) and day not in source.days_off
    return is_worked or is_publication_day(source, day)


def _has_rates(source: SourceSettings, day: date) -> bool:
    """Return whether a source that publishes once for several days has rates of `day`: from Monday to Friday."""
    return day.weekday() < _SATURDAY and day not in days_off(source.calendar, day.year)


def effective_date(source: SourceSettings, day: date) -> date:
    """Return the effective date of a publication that appears on `day`."""
    match source.effective:
        case "same-day":
            return day
        case "next-day":
            return day + _DAY
        case "next-working-day":
            return next(later for later in _days_from(day + _DAY) if _may_publish(source, later))
        case "previous-working-day":
            earlier = (day - offset * _DAY for offset in range(1, _LOOKBACK.days))
            return next((working for working in earlier if _has_rates(source, working)), day - _DAY)


def worked_days(source: SourceSettings, series: Series) -> frozenset[date]:
    """Return the dates of a series that its source's calendar has off, although most of its rates changed on them.

    The bank worked then: a holiday was moved by decree, or the calendar is wrong. Rates that a bank sets for a whole
    month, from its first day, are not most. The days are empty unless the calendar decides about market days.
    """
    if source.effective != "next-working-day":
        return frozenset()
    days = set[date]()
    for earlier, fixing in pairwise(series.distinct):
        if not _may_publish(source, fixing.date):
            shared = fixing.rates.keys() & earlier.rates.keys()
            moved_count = sum(not fixing.has_rate_of(earlier, code) for code in shared)
            if 2 * moved_count > len(fixing.rates):
                days.add(fixing.date)
    return frozenset(days)


def market_day(source: SourceSettings, effective_date: date, worked: Collection[date] = ()) -> date:
    """Return the market day whose rates an effective date has: that of the publication; a weekend counts as the Friday.

    Before a holiday, rates that are valid on the next working day are days older than their date: compared with other
    banks' rates of the day before it, they would diverge from them. `worked` are days on which the source worked
    although its calendar has them off.
    """
    is_later = source.effective in ("next-day", "next-working-day")
    day = effective_date - _DAY if is_later else effective_date
    if source.effective == "next-working-day":
        days_before = (day - offset * _DAY for offset in range(_LOOKBACK.days))
        day = next((earlier for earlier in days_before if earlier in worked or _may_publish(source, earlier)), day)
    return day - timedelta(days=max(0, day.weekday() - 4))


def latest_possible_date(source: SourceSettings, now: datetime) -> date:
    """Return the last effective date that the source can have published by now.

    For `next-working-day` one more day is allowed: a holiday by decree is in no calendar. A source that publishes at
    any time of the day says nothing of how far its dates are ahead.
    """
    day = today(source, now)
    if source.window == ALL_DAY:
        return day + timedelta(days=source.ahead)
    last = effective_date(source, day)
    if source.effective == "next-working-day":
        last = effective_date(source, last)
    return min(day + timedelta(days=source.ahead), max(last, day))


def freshness(source: SourceSettings, latest: date, now: datetime) -> Freshness:
    """Return the freshness of a series whose latest publication (not a carry-over) is dated `latest`."""
    if source.is_irregular:
        return Freshness.CURRENT
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
    """Return how many publications have an effective date after `earlier` and up to `later`."""
    if source.window is None:
        return 0
    return sum(1 for _ in takewhile(lambda publication: publication.effective <= later, _after(source, earlier)))


def is_window_open(source: SourceSettings, latest: date | None, now: datetime) -> bool:
    """Return whether a window is open and its publication has not arrived.

    This includes windows on worked weekend days: some banks publish on them, so none is due but one may arrive.
    """
    publication = _possible_today(source, now)
    if publication is None:
        return False
    return publication.opens <= now < publication.closes and (latest is None or latest < publication.effective)


def _possible_today(source: SourceSettings, now: datetime) -> Publication | None:
    """Return the publication that may appear today; None if none can."""
    day = today(source, now)
    return _on(source, day) if source.window and _may_publish(source, day) else None


def publication_of(source: SourceSettings, effective: date) -> Publication | None:
    """Return the publication with an effective date; None if no publication day has it."""
    if source.window is None:
        return None
    step = _DAY if source.effective == "previous-working-day" else -_DAY
    for offset in range(_LOOKBACK.days):
        day = effective + offset * step
        if is_publication_day(source, day) and effective_date(source, day) == effective:
            return _on(source, day)
    return None


def publications_for(source: SourceSettings, first: date, last: date) -> dict[date, Publication]:
    """Return the expected publications with effective dates from `first` to `last`, by these dates."""
    if source.window is None:
        return {}
    expected = dict[date, Publication]()
    end = last + _LOOKBACK if source.effective == "previous-working-day" else last
    for day in takewhile(lambda day: day <= end, _days_from(first - _LOOKBACK)):
        if is_publication_day(source, day) and first <= (effective := effective_date(source, day)) <= last:
            expected[effective] = _on(source, day)
    return expected


def awaited(source: SourceSettings, latest: date, now: datetime) -> Publication | None:
    """Return the first publication that has not arrived and whose window is not closed yet."""
    if source.window is None:
        return None
    start = max(latest, today(source, now) - _LOOKBACK)
    return next(publication for publication in _after(source, start) if publication.closes > now)


def next_due(source: SourceSettings, latest: date, now: datetime) -> datetime | None:
    """Return the next time at which the status of this series may change.

    This is the opening of the next window whose publication has not arrived; within such a window its close, by which
    the publication is due. None for a source that publishes nothing new.
    """
    coming = awaited(source, latest, now)
    if coming is None:
        return None
    return coming.opens if coming.opens > now else coming.closes


def last_missed(source: SourceSettings, latest: date, now: datetime) -> datetime | None:
    """Return when the window of the last missed publication closed; None if none is missed."""
    closed = None
    for publication in _after(source, max(latest, today(source, now) - _LOOKBACK)):
        if publication.closes > now:
            break
        closed = publication.closes
    return closed


def first_missed(source: SourceSettings, latest: date, now: datetime) -> Publication | None:
    """Return the first publication after `latest` if its window has closed; None if none is missed."""
    first = next(_after(source, max(latest, today(source, now) - _LOOKBACK)), None)
    return first if first and first.closes <= now else None


def worsened(source: SourceSettings, latest: date, now: datetime) -> datetime | None:
    """Return since when a series has its freshness: when a window closed; None if it is current, or has no windows."""
    if source.window is None:
        return None
    missed = list[datetime]()
    for publication in _after(source, latest):
        if publication.closes > now or len(missed) == STALE_AFTER:
            break
        missed.append(publication.closes)
    if not missed:
        return None
    return missed[-1] if len(missed) == STALE_AFTER else missed[0]


def next_boundary(source: SourceSettings, now: datetime) -> datetime:
    """Return the next time at which the freshness of a series, or its next update, may change without a publication.

    This is when a window opens or closes, or when the day ends in the source's time zone.
    """
    day = today(source, now)
    times = [datetime.combine(day + _DAY, time(), source.timezone).astimezone(UTC)]
    if source.window:
        publication = _on(source, day)
        times += [publication.opens, publication.closes]
    return min((boundary for boundary in times if boundary > now), default=now)


def pause_end(not_before: datetime | None, now: datetime) -> datetime | None:
    """Return when a demanded pause ends; None if it is over, or longer than a day, which comes from a wrong clock."""
    return not_before if not_before and now < not_before <= now + _DAY else None


def next_poll(
    source: SourceSettings,
    latest: date | None,
    polled: datetime | None,
    now: datetime,
    not_before: datetime | None = None,
    expected: ExpectedArrival | None = None,
    failures: int = 0,
    suspicious: datetime | None = None,
) -> datetime:
    """Return when the leader polls next, after the last poll at `polled` (None: never).

    While a window is open and its publication has not arrived: `every` after the last poll, and more often while the
    publication is `expected`; otherwise when the next window opens. After a window has closed without its publication,
    and while `suspicious` rates wait for a correction (since that time), the intervals grow from `every` to `sweep`;
    after consecutive `failures`, from a minute, or from seconds while the source has no rates. In any case no later
    than `sweep` after the last poll, but not before the end of a pause that the bank has demanded. A last poll in the
    future comes from a wrong clock and counts as now; so does a pause of more than a day.
    """
    polled = min(polled, now) if polled else None
    times = [polled + source.sweep if polled else now]
    retry = timedelta()
    if failures:
        first = _FIRST_RETRY if latest else _FIRST_RETRY_WITHOUT_RATES
        retry = min(source.sweep, first * 2 ** min(failures - 1, _MOST_DOUBLINGS))
    if is_window_open(source, latest, now):
        interval = source.every
        if expected and now < expected.begin:
            times.append(expected.begin)
        elif expected and now <= expected.end:
            interval = expected.polling_interval(source)
        times.append((polled or now) + max(interval, min(retry, source.every)))
    elif due := next_due(source, latest or today(source, now), now):
        times.append(due)
    possible = _possible_today(source, now)
    if possible and now < possible.opens and (latest is None or latest < possible.effective):
        times.append(possible.opens)
    closed = last_missed(source, latest, now) if latest and source.window else None
    if polled:
        overdue = [since for since in (closed, suspicious) if since and since <= polled]
        times += [polled + _overdue_interval(source, polled - since) for since in overdue]
    if polled and failures:
        times.append(polled + retry)
    return max(pause_end(not_before, now) or now, min(times), now)


def _overdue_interval(source: SourceSettings, elapsed: timedelta) -> timedelta:
    """Return the interval between polls for what is overdue for some time: a part of it, from `every` to `sweep`."""
    return min(max(elapsed / max(1, source.budget // _REQUESTS_PER_PART), source.every), source.sweep)


def _after(source: SourceSettings, latest: date) -> Iterator[Publication]:
    """Yield the publications with an effective date after `latest`, in order."""
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
        datetime.combine(day + _DAY, time(), source.timezone).astimezone(UTC),
    )


def _days_from(day: date) -> Iterator[date]:
    for offset in range(_YEAR.days):
        yield day + offset * _DAY
