"""The simulated year (`make year`) itself, and some days of it: around New Year, and a night when clocks change."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from unittest.mock import Mock

import pytest

from service.domain.snapshot import Quote, Snapshot, Status
from tests.support.promtool import PROMTOOL, firing
from tests.year.measure import IS_MEASURABLE, Alerts, Memory, Statuses
from tests.year.truth import Calendar, Truth, fail_routinely, settle
from tests.year.year import HISTORY, Year, settings, simulate

NBK = Quote("USD", rate=Decimal(475), date=date(2026, 6, 30), source="nbk")
KEYS = ("nbk", "cbr", "nbu", "cbu", "ecb")
"""Few banks, since every rate is compared with those of all others."""


@pytest.fixture(scope="module")
def truth() -> Truth:
    truth = Truth(settings(), 1, date(2026, 7, 1), date(2027, 6, 30))
    fail_routinely(truth)
    settle(truth)
    return truth


def test_banks_publish_by_their_calendars(truth: Truth) -> None:
    """Also transferred days off and worked Saturdays; a day off by decree has no publication."""
    days = {key: {publication.day for publication in bank.publications} for key, bank in truth.banks.items()}
    assert not days["cbr"] & {date(2026, 12, 31), date(2027, 1, 8)}
    assert not days["nbk"] & {date(2027, 1, 5), date(2027, 1, 6), date(2027, 1, 8)}
    assert date(2026, 12, 12) in days["cbu"]
    assert truth.banks["nbk"].decreed
    assert not days["nbk"] & truth.banks["nbk"].decreed
    assert all(len(published) > 240 for published in days.values())


def test_documents_have_what_was_published_by_now(truth: Truth) -> None:
    """Friday's rates repeat on weekends where the bank does that; nothing is served before it is published."""
    publication = next(each for each in truth.banks["nbk"].publications if each.day == date(2026, 7, 10))
    before = publication.versions[0].at - timedelta(seconds=1)
    query = "rss/get_rates.cfm?fdate="
    assert b"<item>" not in (truth.respond("nbk", f"{query}11.07.2026", before) or b"")
    for day in ("11", "12", "13"):
        assert b"<item>" in (truth.respond("nbk", f"{query}{day}.07.2026", publication.versions[-1].at) or b"")
    assert truth.respond("nbp", "tables/A/2026-07-11/2026-07-12/", datetime(2026, 7, 12, 12, tzinfo=UTC)) is None


@pytest.mark.skipif(not IS_MEASURABLE, reason="the memory in use can only be read with glibc 2.33 and pymalloc")
def test_memory_in_use_is_what_objects_and_libraries_use() -> None:
    """It grows with small objects and large ones, and what is free again does not count."""
    now = datetime(2026, 7, 1, tzinfo=UTC)
    before = Memory.measure(now)
    kept: list[object] = [[number] for number in range(100_000)]
    kept.append(bytes(50_000_000))
    during = Memory.measure(now)
    kept.clear()
    after = Memory.measure(now)
    assert during.in_use - before.in_use > 50 + 100_000 * 64 / 1e6
    assert during.objects - before.objects > 99_000  # some older ones may be gone
    assert after.in_use - before.in_use < 1


@pytest.mark.parametrize(("last", "is_flat"), [(102.9, True), (103.1, False)])
def test_memory_is_compared_by_the_medians_of_the_first_and_the_last_weeks(
    truth: Truth, tmp_path: Path, last: float, *, is_flat: bool
) -> None:
    """A peak of one week does not count, nor do the weeks at the start."""
    year = Year(truth, Statuses(truth), Alerts(tmp_path, settings(), Calendar(), datetime(2026, 7, 1, tzinfo=UTC)))
    in_use = [80.0] * 4 + [100.0] * 8 + [300.0] * 5 + [last] * 5 + [500.0, last, last]
    year.memory = [Memory(datetime(2026, 7, 1, tzinfo=UTC), 1000, megabytes, 200.0) for megabytes in in_use]
    assert year.growth
    assert year.growth[1] == pytest.approx(last / 100 - 1)
    assert year.is_flat is is_flat


@pytest.mark.parametrize(
    ("status", "quotes", "is_excused"),
    [
        (Status.LATE, (NBK,), True),
        (Status.CURRENT, (NBK,), False),
        (Status.LATE, (NBK, Quote("EUR", reason="nbk has no rates")), False),
    ],
)
def test_day_off_by_decree_excuses_only_a_late_ticker(
    truth: Truth, monkeypatch: pytest.MonkeyPatch, status: Status, quotes: tuple[Quote, ...], *, is_excused: bool
) -> None:
    statuses, now = Statuses(truth), datetime(2026, 7, 2, tzinfo=UTC)
    monkeypatch.setattr(truth.banks["nbk"], "decreed", frozenset({date(2026, 7, 1)}))
    shown = Snapshot("kzt", "KZT", status, False, date(2026, 6, 30), now, None, quotes)
    statuses._blame(shown, Mock(), now, 900, "it is late")
    assert statuses.by_decree == ({"kzt": 900} if is_excused else {})
    assert statuses.false == ({} if is_excused else {("kzt", status): 900})


@pytest.mark.slow
@pytest.mark.skipif(PROMTOOL is None, reason="NO TESTS OF ALERTS: promtool is not installed (Debian: prometheus)")
def test_alerts_are_found_with_their_hours(tmp_path: Path) -> None:
    series = {
        'up{job="ticker",instance="a"}': "1x600",
        'up{job="ticker",instance="b"}': "1x600",
        'ticker_leader{job="ticker",instance="a"}': "1x600",
        'ticker_status{ticker="kzt",status="current",instance="a"}': "1x50 0x100 1x448",
        'ticker_status{ticker="kzt",status="late",instance="a"}': "0x50 1x100 0x448",
    }
    found = firing(tmp_path, series, 5, 40, 0)
    assert {labels["alertname"] for _, labels in found} == {"TickerLate"}
    assert [hour for hour, _ in found] == [9, 10, 11, 12, 13]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a busy machine
@pytest.mark.parametrize(
    ("first", "days", "history"),
    [(date(2026, 12, 30), 8, timedelta()), (date(2026, 10, 24), 3, HISTORY)],
    ids=["New Year", "change night"],
)
async def test_no_false_status_and_no_needless_alert(
    tmp_path: Path, first: date, days: int, history: timedelta
) -> None:
    year = await simulate(tmp_path, 3, first, first + timedelta(days=days - 1), KEYS, history=history)
    statuses = year.statuses
    assert statuses.examples == []
    assert statuses.wrong_rates == []
    assert [str(firing) for firing in year.alerts.fired if firing.incident is None] == []
    shown = {ticker.id for ticker in settings(keys=KEYS).tickers}
    assert shown == {"kzt", "uzs"}
    for ticker in shown:  # two instances
        assert sum(seconds for (key, _), seconds in statuses.spent.items() if key == ticker) > 1.9 * 86400 * (days - 1)
