"""Publication schedules: due, late, stale and next publication."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from service.domain import publication_schedule
from service.domain.publication_schedule import Freshness
from service.settings import SourceSettings, load
from tests.support.fixings import day, fixing, series

SOURCES = load(environ={}).sources
NBK, ECB, NBU, CBR, CBU = (SOURCES[key] for key in ("nbk", "ecb", "nbu", "cbr", "cbu"))


def astana(number: int, hour: int, minute: int = 0, month: int = 4) -> datetime:
    return datetime(2026, month, number, hour - 5 if hour >= 5 else 0, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("latest", "now", "expected"),
    [
        (day(2), astana(2, 9), Freshness.CURRENT),  # Thursday morning, today's rates
        (day(2), astana(2, 18, 59), Freshness.CURRENT),  # the window is open: not late yet
        (day(2), astana(2, 19), Freshness.LATE),  # closed without Friday's rates
        (day(3), astana(2, 19), Freshness.CURRENT),
        (day(4), astana(6, 15), Freshness.CURRENT),  # Friday's publication is valid over the weekend
        (day(4), astana(6, 19), Freshness.LATE),  # Monday's is missing
        (day(4), astana(7, 19), Freshness.LATE),  # two missed
        (day(4), astana(8, 18, 59), Freshness.LATE),
        (day(4), astana(8, 19), Freshness.STALE),  # three missed
        (day(4), astana(30, 12), Freshness.STALE),
    ],
)
def test_freshness_counts_publications_not_days(latest: date, now: datetime, expected: Freshness) -> None:
    """No publication is due on a weekend; one or two missed ones are late, three are stale."""
    assert publication_schedule.freshness(NBK, latest, now) is expected


def test_sample_data_is_always_stale() -> None:
    """A source without a publication window publishes nothing new."""
    assert publication_schedule.freshness(SOURCES["recorded"], day(2), astana(2, 9)) is Freshness.STALE
    assert publication_schedule.next_due(SOURCES["recorded"], day(2), astana(2, 9)) is None


def test_effective_dates() -> None:
    """Astana's rates take effect on the next day, Frankfurt's at once, Kyiv's on the next working day."""
    friday = day(3)
    assert publication_schedule.effective_date(NBK, friday) == day(4)
    assert publication_schedule.effective_date(ECB, friday) == friday
    assert publication_schedule.effective_date(NBU, friday) == day(6)


@pytest.mark.parametrize(
    ("key", "effective", "expected"),
    [
        ("nbrb", date(2026, 7, 6), date(2026, 7, 2)),  # 3 July is a holiday: Thursday's rates are valid on Monday
        ("nbrb", date(2026, 7, 7), date(2026, 7, 6)),
        ("cbu", date(2026, 3, 9), date(2026, 3, 6)),  # 8 March is a Sunday
        ("nbk", date(2026, 7, 6), date(2026, 7, 3)),  # valid on the next day, though it is a Sunday
        ("ecb", date(2026, 7, 6), date(2026, 7, 6)),
    ],
)
def test_market_day_is_that_of_the_publication(key: str, effective: date, expected: date) -> None:
    """Also across a holiday: rates of the day before it are not those of the holiday."""
    assert publication_schedule.market_day(SOURCES[key], effective) == expected


def test_day_on_which_most_rates_change_was_worked() -> None:
    """The calendar of Uzbekistan has 20 and 23 March 2026 off, and the bank published; a single rate says nothing."""
    dates = [date(2026, 3, number) for number in (19, 20, 23, 24)]
    all_moved = [fixing(on, USD=f"{on.day}", EUR=f"{on.day}", RUB=f"{on.day}") for on in dates]
    one_moved = [fixing(on, USD=f"{on.day}", EUR="2", RUB="3") for on in dates]
    for documents, worked in ((all_moved, dates[1:3]), (one_moved, [])):
        days = publication_schedule.worked_days(CBU, series(*documents))
        assert sorted(days) == worked
        expected = dates[1:3] if worked else [date(2026, 3, 19)] * 2
        assert [publication_schedule.market_day(CBU, on, days) for on in dates[2:]] == expected
    assert publication_schedule.worked_days(NBK, series(*all_moved)) == frozenset()


@pytest.mark.parametrize(
    ("latest", "now", "expected"),
    [
        (day(2), astana(2, 9), astana(2, 15, 30)),  # the contract's own example, a day earlier
        (day(2), astana(2, 16), astana(2, 19)),  # inside the window: by its close
        (day(3), astana(2, 16), astana(3, 15, 30)),  # already published
        (day(2), astana(2, 20), astana(3, 15, 30)),  # late: the next window
        (day(4), astana(4, 12), astana(6, 15, 30)),  # Saturday: Monday
        (day(2), astana(30, 12), astana(30, 15, 30)),  # outdated for weeks: today's
    ],
)
def test_next_due_is_ahead_of_now(latest: date, now: datetime, expected: datetime) -> None:
    """The next opening of a window with a new publication, or the close of an open one."""
    assert publication_schedule.next_due(NBK, latest, now) == expected


@pytest.mark.parametrize(
    ("latest", "now", "expected"),
    [
        (day(2), astana(2, 15, 29), False),
        (day(2), astana(2, 15, 30), True),
        (None, astana(2, 15, 30), True),
        (day(3), astana(2, 15, 30), False),
        (day(2), astana(2, 19), False),
        (day(4), astana(4, 16), False),  # Saturday
    ],
)
def test_window_is_open_until_the_publication_arrives(latest: date | None, now: datetime, expected: bool) -> None:
    """The window is closed before and after its hours, and once the due fixing is known."""
    assert publication_schedule.is_window_open(NBK, latest, now) is expected


def test_windows_follow_summer_time() -> None:
    """Frankfurt's 15:45 is 14:45 UTC in winter and 13:45 in summer; Astana has no summer time."""
    winter, summer = datetime(2026, 1, 14, 8, tzinfo=UTC), datetime(2026, 7, 15, 8, tzinfo=UTC)
    due = [publication_schedule.next_due(ECB, now.date() - timedelta(days=1), now) for now in (winter, summer)]
    assert [at and (at.hour, at.minute) for at in due] == [(14, 45), (13, 45)]
    due = [publication_schedule.next_due(NBK, now.date(), now) for now in (winter, summer)]
    assert [at and (at.hour, at.minute) for at in due] == [(10, 30), (10, 30)]


@pytest.mark.parametrize(
    ("latest", "now", "expected"),
    [
        (day(21, 3), astana(25, 20, month=3), Freshness.CURRENT),  # Nauryz, 21 to 25 March 2026, two days observed
        (day(21, 3), astana(26, 18, 59, month=3), Freshness.CURRENT),
        (day(21, 3), astana(26, 19, month=3), Freshness.LATE),  # the first working day after it
        (day(21, 3), astana(30, 19, month=3), Freshness.STALE),  # Thursday, Friday and Monday missed
    ],
)
def test_no_publication_is_due_during_nauryz(latest: date, now: datetime, expected: Freshness) -> None:
    """Rates stay current in Astana during the five days of the holiday."""
    assert publication_schedule.freshness(NBK, latest, now) is expected


def test_next_publication_after_nauryz_is_on_the_next_working_day() -> None:
    """From the evening before the holiday, the next update is due on the first day after it."""
    assert publication_schedule.next_due(NBK, day(21, 3), astana(20, 20, month=3)) == astana(26, 15, 30, month=3)
    assert not publication_schedule.is_window_open(NBK, day(21, 3), astana(24, 16, month=3))
    assert publication_schedule.effective_date(CBU, day(20, 3) - timedelta(days=1)) == day(
        24, 3
    )  # Eid, Nauryz, observed


def test_russian_new_year_holidays() -> None:
    """Rates set on 30 December 2025 are in force until the first working day of 2026, Monday the 12th."""
    latest = date(2025, 12, 31)
    assert publication_schedule.next_due(CBR, latest, datetime(2025, 12, 31, 9, tzinfo=UTC)) == datetime(
        2026, 1, 12, 12, 30, tzinfo=UTC
    )
    assert publication_schedule.freshness(CBR, latest, datetime(2026, 1, 12, 14, 59, tzinfo=UTC)) is Freshness.CURRENT
    assert publication_schedule.freshness(CBR, latest, datetime(2026, 1, 12, 15, tzinfo=UTC)) is Freshness.LATE


def test_easter_holidays_of_the_ecb() -> None:
    """Good Friday and Easter Monday, 3 and 6 April 2026, are not TARGET days but working days in Astana."""
    tuesday = datetime(2026, 4, 7, 15, 29, tzinfo=UTC)
    assert publication_schedule.freshness(ECB, day(2), tuesday) is Freshness.CURRENT
    assert publication_schedule.freshness(ECB, day(2), tuesday + timedelta(minutes=1)) is Freshness.LATE
    assert publication_schedule.is_publication_day(NBK, day(3))
    assert not publication_schedule.is_publication_day(ECB, day(3))


@pytest.mark.parametrize(
    ("friday", "horizon"),
    [
        (day(3), day(7)),  # Kyiv sets Monday's, or Tuesday's if Monday is a holiday missing from the calendar
        (day(2), day(6)),
        (day(4), day(7)),
    ],
)
def test_horizon_follows_the_calendar(friday: date, horizon: date) -> None:
    """One extra working day is allowed for holidays set by decree; any later date is invalid."""
    assert publication_schedule.latest_possible_date(NBU, datetime(2026, 4, friday.day, 12, tzinfo=UTC)) == horizon


def test_days_off_by_decree() -> None:
    """Kazakhstan joins New Year and Christmas of 2027: nothing is published between 31 December and 11 January."""
    published = [day for day in days_of(date(2026, 12, 28), 16) if publication_schedule.is_publication_day(NBK, day)]
    assert published == [*days_of(date(2026, 12, 28), 4), *days_of(date(2027, 1, 11), 2)]
    after_christmas = datetime(2027, 1, 9, 12, tzinfo=UTC)
    assert publication_schedule.freshness(NBK, date(2027, 1, 1), after_christmas) is Freshness.CURRENT


def test_operator_sets_days_off_and_working_days() -> None:
    source = SourceSettings.model_validate(
        NBK.model_dump() | {"days_off": "2026-06-10, 2026-06-11", "working_days": [date(2026, 6, 13)]}
    )
    week = [day for day in days_of(date(2026, 6, 8), 7) if publication_schedule.is_publication_day(source, day)]
    assert week == [date(2026, 6, 8), date(2026, 6, 9), date(2026, 6, 12), date(2026, 6, 13)]
    evening = datetime(2026, 6, 13, 15, tzinfo=UTC)
    assert publication_schedule.freshness(source, date(2026, 6, 13), evening) is Freshness.LATE


def test_worked_weekend_day_may_have_a_publication() -> None:
    """In Uzbekistan, Saturday 12 December 2026 is worked: it is polled as on any other day, but nothing is missed."""
    source, saturday = CBU.model_copy(update={"sweep": timedelta(days=1)}), date(2026, 12, 12)
    assert source.window is not None
    opens = datetime.combine(saturday, source.window.start, source.timezone)
    latest = publication_schedule.effective_date(source, date(2026, 12, 11))
    assert latest == saturday
    polled = opens - timedelta(hours=3)
    assert publication_schedule.next_poll(source, latest, polled, polled) == opens
    assert publication_schedule.is_window_open(source, latest, opens)
    assert not publication_schedule.is_window_open(source, latest, opens - timedelta(days=7))
    assert publication_schedule.freshness(source, latest, opens + timedelta(hours=12)) is Freshness.CURRENT
    closed = source.model_copy(update={"days_off": (saturday,)})
    assert not publication_schedule.is_window_open(closed, latest, opens)


@pytest.mark.parametrize("key", [key for key, source in SOURCES.items() if source.window])
def test_bank_that_is_down_all_day_is_polled_within_its_budget(key: str) -> None:
    source, start = SOURCES[key], datetime(2026, 6, 3, tzinfo=UTC)
    latest, now, polls = publication_schedule.today(source, start), start, 0
    while now < start + ONE_DAY:
        polls += 1
        now = max(publication_schedule.next_poll(source, latest, now, now, failures=polls), now + timedelta(seconds=1))
    assert polls <= source.budget


def test_source_without_rates_is_polled_again_within_seconds() -> None:
    """At a first start the network may come up later; a bank that is down for long is polled less and less often."""
    source, now = SOURCES["nbk"], datetime(2026, 6, 3, 3, tzinfo=UTC)
    delays = [
        publication_schedule.next_poll(source, None, now, now, failures=failures) - now for failures in (1, 2, 3, 4, 60)
    ]
    assert [delay.total_seconds() for delay in delays[:4]] == [5, 10, 20, 40]
    assert timedelta(minutes=10) <= delays[4] <= source.sweep
    assert publication_schedule.next_poll(source, now.date(), now, now, failures=1) - now == timedelta(minutes=1)


def days_of(first: date, count: int) -> list[date]:
    return [first + timedelta(days=number) for number in range(count)]


def test_every_bank_has_a_calendar() -> None:
    """1 January 2026 is a holiday of every bank but Ukraine's, which has none during the war, Israel's and India's."""
    for key, source in SOURCES.items():
        if source.window and key not in ("nbu", "boi", "fbil"):
            assert not publication_schedule.is_publication_day(source, date(2026, 1, 1)), key


@pytest.mark.parametrize(
    ("latest", "polled_at", "now", "expected"),
    [
        (day(2), None, astana(2, 15), astana(2, 15)),  # never polled: at once
        (day(2), astana(2, 15), astana(2, 15), astana(2, 15, 30)),  # before the window: its opening
        (day(2), astana(2, 15, 25), astana(2, 15, 31), astana(2, 15, 35)),  # inside: a step after the last poll
        (day(2), astana(2, 15, 5), astana(2, 15, 31), astana(2, 15, 31)),  # inside, and that step is over
        (day(3), astana(2, 15, 40), astana(2, 15, 40), astana(2, 16, 40)),  # already published
        (day(2), astana(2, 18, 55), astana(2, 18, 55), astana(2, 19, 5)),
        (day(2), astana(2, 19, 5), astana(2, 19, 5), astana(2, 19, 15)),  # missed: growing intervals
        (day(2), astana(2, 22), astana(2, 22), astana(2, 22, 30)),  # a sixth of three hours
        (day(2), astana(3, 6), astana(3, 6), astana(3, 7)),  # and then the sweep
        (day(2), astana(9, 15), astana(2, 15, 31), astana(2, 15, 41)),  # polled by a clock that was ahead
    ],
)
def test_next_poll(latest: date, polled_at: datetime | None, now: datetime, expected: datetime) -> None:
    source = NBK.model_copy(update={"sweep": timedelta(hours=1)})
    assert publication_schedule.next_poll(source, latest, polled_at, now) == expected


@pytest.mark.parametrize(("budget", "minutes"), [(1000, 10), (150, 20), (100, 30), (40, 120), (10, 120)])
def test_interval_while_rates_are_quarantined(budget: int, minutes: int) -> None:
    """Two hours after that: a part of the time since, by the budget, from `every` to the sweep."""
    source = NBK.model_copy(update={"sweep": timedelta(hours=3), "budget": budget})
    now = astana(2, 12)
    due = publication_schedule.next_poll(source, day(2), now, now, suspicious=now - timedelta(hours=2))
    assert due - now == timedelta(minutes=minutes)
    later = now + timedelta(minutes=5)  # another instance, or a report, computes the same
    assert publication_schedule.next_poll(source, day(2), now, later, suspicious=now - timedelta(hours=2)) == due


def test_quarantine_of_a_clock_that_is_ahead_is_no_reason_to_poll() -> None:
    now = astana(2, 12)
    ahead = publication_schedule.next_poll(NBK, day(2), now, now, suspicious=now + timedelta(hours=5))
    assert ahead == publication_schedule.next_poll(NBK, day(2), now, now)


def test_late_publication_is_found_soon() -> None:
    """At any delay up to half a day after the window: at most a sixth of it later, or `every`."""
    closed = now = astana(2, 19)
    while now < closed + timedelta(hours=12):
        before, now = now, publication_schedule.next_poll(NBK, day(2), now, now)
        assert now - before <= max(NBK.every, (now - closed) / 6)


def test_window_follows_summer_time() -> None:
    """Frankfurt's 15:45 is 14:45 UTC in winter and 13:45 in summer."""
    source = ECB.model_copy(update={"sweep": timedelta(days=30)})
    for month, hour in ((1, 14), (7, 13)):
        morning = datetime(2026, month, 14, 6, tzinfo=UTC)
        latest = publication_schedule.today(source, morning) - timedelta(days=1)
        assert publication_schedule.next_poll(source, latest, morning, morning) == morning.replace(hour=hour, minute=45)


ZONES = {"Europe/Berlin", "Europe/Kyiv", "Europe/Chisinau", "America/Toronto", "Australia/Sydney"}
CLOCK_CHANGES = [
    date(2026, 3, 29),
    date(2026, 10, 25),
    date(2026, 3, 8),
    date(2026, 11, 1),
    date(2026, 4, 5),
    date(2026, 10, 4),
]
"""Nights in which the clocks change in Europe, Canada and Australia."""
ALWAYS_OPEN = {
    "window": "00:00-23:59",
    "every": "PT10M",
    "days": ("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
    "calendar": "",
}


def poll_times(source: SourceSettings, start: datetime, end: datetime) -> list[datetime]:
    """Return the times of all polls of a source that publishes nothing new."""
    times, now = [start], start
    while now < end:
        now = publication_schedule.next_poll(source, publication_schedule.today(source, start) - ONE_DAY, now, now)
        times.append(now)
        assert len(times) < 10_000
    return times


ONE_DAY = timedelta(days=1)
ALWAYS_OPEN_SOURCES = [
    SourceSettings.model_validate(NBK.model_dump() | ALWAYS_OPEN | {"timezone": zone}) for zone in sorted(ZONES)
]


@pytest.mark.parametrize("night", CLOCK_CHANGES)
@pytest.mark.parametrize("source", [*SOURCES.values(), *ALWAYS_OPEN_SOURCES], ids=[*SOURCES, *sorted(ZONES)])
def test_polls_stay_apart_when_clocks_change(source: SourceSettings, night: date) -> None:
    """Each poll is later than the previous one, and no later than the sweep after it."""
    start = datetime(night.year, night.month, night.day, tzinfo=UTC) - ONE_DAY
    times = poll_times(source, start, start + 3 * ONE_DAY)
    intervals = [later - earlier for earlier, later in pairwise(times)]
    assert min(intervals) > timedelta(0)
    assert max(intervals) <= source.sweep
    if source in ALWAYS_OPEN_SOURCES:
        irregular = [interval for interval in intervals if interval != source.every]
        assert len(irregular) <= 8  # one minute before each midnight
        assert len(times) >= 3 * 24 * 6


def test_weekly_publication_has_the_rates_of_the_week_before() -> None:
    """On Monday up to Friday, or to Thursday if Friday was a holiday; until the next Monday nothing is missed."""
    source, zone = SOURCES["fred"], SOURCES["fred"].timezone
    assert publication_schedule.effective_date(source, date(2026, 4, 6)) == date(2026, 4, 3)
    assert publication_schedule.effective_date(source, date(2026, 7, 6)) == date(2026, 7, 2)  # 3 July is observed
    friday, monday = date(2026, 4, 3), datetime(2026, 4, 13, tzinfo=zone)
    assert publication_schedule.freshness(source, friday, monday.replace(hour=19)) is Freshness.CURRENT
    assert publication_schedule.freshness(source, friday, monday.replace(hour=21)) is Freshness.LATE
    assert publication_schedule.is_window_open(source, friday, monday.replace(hour=17))
    assert not publication_schedule.is_window_open(source, date(2026, 4, 10), monday.replace(hour=17))
    assert publication_schedule.latest_possible_date(source, monday) == monday.date()
    assert publication_schedule.market_day(source, friday) == friday
