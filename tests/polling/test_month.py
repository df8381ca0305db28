"""Simulate March 2026 by the real calendar: weekends, Nauryz, an outage of a bank, wrong rates of every kind.

The National Bank of Kazakhstan is the preferred source, the Bank of Russia the fallback. Astana works on all
weekdays but the 9th and 23rd to 25th, Moscow on all but the 9th.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from structlog.testing import capture_logs

from service.cluster.leader_election import LeaderElection
from service.domain.snapshot import Confidence, Snapshot
from service.polling.poller import Poller
from service.settings import Settings, TickerSettings
from service.web.models import Choice
from service.web.ops.health import HealthReport, report
from tests.conftest import Clock
from tests.support.instances import follower as follower_of
from tests.support.pollers import polling
from tests.support.standin import Banks, RawRates, nbk

FIRST, LAST = date(2026, 2, 26), date(2026, 3, 31)
HOLIDAYS = {"nbk": (9, 23, 24, 25), "cbr": (9,)}
SET_AT = {"nbk": (10, 31), "cbr": (12, 31)}
"""In UTC: 15:31 in Astana and in Moscow."""
STEPS = ((3, 0), (10, 35), (12, 35), (14, 5), (15, 5), (20, 0))
"""Times (UTC) of the polls of all banks; Astana's window closes at 14:00 UTC, Moscow's at 15:00."""
DAY = timedelta(days=1)


def is_working_day(bank: str, day: date) -> bool:
    return day.weekday() < 5 and not (day.month == 3 and day.day in HOLIDAYS[bank])


def publications_of(bank: str) -> dict[date, tuple[datetime, RawRates]]:
    """Return a bank's correct publications by effective date, with their time (UTC), carry-overs included."""
    publications: dict[date, tuple[datetime, RawRates]] = {}
    number = 0
    for offset in range((LAST - FIRST).days + 1):
        day = FIRST + offset * DAY
        if is_working_day(bank, day):
            number += 1
            rates = rates_of(bank, number)
            at = datetime(day.year, day.month, day.day, *SET_AT[bank], tzinfo=UTC)
            publications[day + DAY] = (at, rates)
            carried = day + 2 * DAY
            while bank == "nbk" and not is_working_day(bank, carried - DAY):
                publications[carried] = (at, rates)
                carried += DAY
    return publications


def rates_of(bank: str, number: int) -> RawRates:
    step = Decimal(number % 7) - 3
    if bank == "nbk":
        return {
            "USD": f"{475 + step * Decimal('1.27'):.2f}", "EUR": f"{551 - step * Decimal('0.83'):.2f}",
            "RUB": f"{Decimal('5.87') + step / 100:.2f}", "GBP": f"{631 + step * Decimal('1.91'):.2f}",
            "CNY": f"{69 + step * Decimal('0.11'):.2f}",
        }  # fmt: skip
    return {
        "USD": f"{81 + step / 10:.4f}", "EUR": f"{94 - step / 9:.4f}", "GBP": f"{107 + step / 8:.4f}",
        "CNY": f"{Decimal('11.8') + step / 50:.4f}", "KZT": (f"{17 - step / 20:.4f}", 100),
    }  # fmt: skip


PUBLICATIONS = {bank: publications_of(bank) for bank in SET_AT}
REVISED = date(2026, 3, 7)
FIRST_VERSION = {**PUBLICATIONS["nbk"][REVISED][1], "USD": "479.99"}
"""What the bank published on 6 March, for two hours."""
FROZEN_FROM = date(2026, 3, 27)


def published_by(bank: str, now: datetime) -> dict[date, RawRates]:
    """Return the rates that a bank has published by `now`, errors included."""
    published = {day: rates for day, (at, rates) in PUBLICATIONS[bank].items() if at <= now}
    if bank == "nbk":
        if date(2026, 3, 6) in published and now < datetime(2026, 3, 5, 14, tzinfo=UTC):
            published[date(2026, 3, 6)] = {
                code: str(Decimal(str(value)) * 100) for code, value in published[date(2026, 3, 6)].items()
            }
        if REVISED in published and now < datetime(2026, 3, 6, 14, tzinfo=UTC):
            published[REVISED] = FIRST_VERSION
        for day in [day for day in published if day >= FROZEN_FROM]:
            published[day] = published[FROZEN_FROM - DAY]
    return published


@dataclass
class Month:
    """A simulated month and the snapshots shown in it."""

    poller: Poller
    banks: Banks
    clock: Clock
    shown: list[tuple[datetime, Snapshot]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.poller.memory.watchers.append(lambda snapshot: self.shown.append((self.clock(), snapshot)))

    async def run(self) -> None:
        day = date(2026, 3, 2)
        while day <= LAST:
            for step in STEPS:
                self.clock.time = datetime(day.year, day.month, day.day, *step, tzinfo=UTC)
                await self.poll_all()
            day += DAY

    async def poll_all(self) -> None:
        now = self.clock()
        for bank in SET_AT:
            self.banks.published[bank] = published_by(bank, now)
        self.banks.faults.clear()
        if date(2026, 3, 10) <= now.date() <= date(2026, 3, 13):
            self.banks.faults["nbk"] = 500
        if now.date() == date(2026, 3, 3) and now.hour < 10:  # the request for tomorrow returns rates of May
            self.banks.faults["fdate=04.03.2026"] = nbk(date(2026, 5, 1), PUBLICATIONS["nbk"][date(2026, 3, 3)][1])
        for bank in SET_AT:
            await self.poller.poll(bank)

    def shown_lines(self) -> list[str]:
        """Return each snapshot as a line: time, status, source, dates, and the dollar's rate, change and confidence."""
        lines = []
        for at, snapshot in self.shown:
            dollar = snapshot.quotes[0]
            sources = "+".join(dict.fromkeys(str(quote.source) for quote in snapshot.quotes))
            dates = f"{snapshot.as_of:%d} {dollar.previous_date:%d}"
            dollar_text = f"{dollar.rate:.2f} {dollar.percent} {dollar.confidence}"
            lines.append(f"{at:%d %H:%M} {snapshot.status} {sources} {dates} {dollar_text}")
        return lines


@pytest.fixture
def two_banks(settings: Settings) -> Settings:
    """Return the settings with these two banks alone."""
    ticker = TickerSettings(
        id="kzt", base="KZT", currencies=("USD", "EUR", "RUB", "GBP", "CNY"), sources=("nbk", "cbr")
    )
    sources = {key: settings.sources[key] for key in SET_AT}
    return Settings(store=settings.store, client=settings.client, tickers=(ticker,), sources=sources)


def rate_per_unit(rates: RawRates, code: str) -> Fraction:
    value = rates[code]
    return Fraction(value[0]) / value[1] if isinstance(value, tuple) else Fraction(value)


def in_tenge(bank: str, rates: RawRates, code: str) -> Fraction:
    if bank == "nbk":
        return rate_per_unit(rates, code)
    return (Fraction(1) if code == "RUB" else rate_per_unit(rates, code)) / rate_per_unit(rates, "KZT")


def correct_rates(bank: str, day: date, at: datetime) -> list[Mapping[str, str | tuple[str, int]]]:
    """Return what may be shown for a date: what the bank had correctly published at `at`."""
    published_at, rates = PUBLICATIONS[bank][day]
    assert published_at <= at
    return [rates, FIRST_VERSION] if (bank, day) == ("nbk", REVISED) else [rates]


@pytest.mark.slow
async def test_snapshots_of_a_month_with_every_kind_of_error(two_banks: Settings, clock: Clock, banks: Banks) -> None:
    """Exactly the expected snapshots are shown, and no wrong rate is among them."""
    clock.time = datetime(2026, 3, 2, 3, tzinfo=UTC)
    async with polling(two_banks, clock) as poller:
        month = Month(poller, banks, clock)
        with capture_logs() as logs:
            await month.run()
        decisions = [
            (str(decision.waiting.fixing.date), str(decision.outcome))
            for decision in await poller.store_sync.store.decisions("nbk")
        ]
        store_sync = poller.store_sync
        election, follower = LeaderElection(store_sync.store.coordination, own=True), follower_of(store_sync, clock)
        health = report(HealthReport(poller.memory, store_sync, election, follower, NoScheduler(), clock, clock.time))
    assert month.shown_lines() == EXPECTED
    for at, snapshot in month.shown:
        for quote in snapshot.quotes:
            assert quote.source is not None
            assert quote.date is not None
            assert quote.previous_date is not None
            new_rates = [
                in_tenge(quote.source, rates, quote.code) for rates in correct_rates(quote.source, quote.date, at)
            ]
            old_rates = [
                in_tenge(quote.source, rates, quote.code)
                for rates in correct_rates(quote.source, quote.previous_date, at)
            ]
            percents = {rounded(100 * (new - old) / old) for new in new_rates for old in old_rates}
            assert quote.percent in percents, (at, quote)
    assert decisions == [("2026-03-06", "withdrawn"), ("2026-05-01", "withdrawn")]
    events = [log["event"] for log in logs if log["event"] != "ticker.changed"]
    assert events == [
        "fixing.quarantined", "quarantine.ended",  # 1 May
        "fixing.quarantined", "ticker.source_changed",  # a hundred times too much
        "quarantine.ended", "ticker.source_changed",
        "fixing.revised",
        "source.failing", "ticker.source_changed", "source.recovered", "ticker.source_changed",
        "ticker.source_changed",  # repeated rates
    ]  # fmt: skip
    assert health.notes == ["nbk: stale, rates up to 2026-04-01 repeat those of 2026-03-21"]
    choices = health.checks["ticker:kzt"][0].choices
    assert choices
    reason = "nbk is stale, its latest rates are of 2026-03-21"
    assert choices["USD"] == Choice(source="cbr", choice=2, reason=reason, confidence=Confidence.UNCONFIRMED)


class NoScheduler:
    """The attributes of a scheduler that the health report reads."""

    stopped = False

    def next_poll(self, _: str) -> datetime:
        return datetime.max.replace(tzinfo=UTC)


def rounded(percent: Fraction) -> Decimal:
    """Round half up with forty decimal digits, independently of the service."""
    exact = Decimal(percent.numerator) / Decimal(percent.denominator)
    return exact.quantize(Decimal("0.01"), ROUND_HALF_UP) + 0


EXPECTED = [
    "02 03:00 current nbk 28 27 473.73 0.27 unconfirmed",  # Friday's rate against Thursday's
    "02 03:00 current nbk 28 27 473.73 0.27 confirmed",  # Moscow has it at the same level
    "02 10:35 current nbk 03 28 475.00 0.27 unconfirmed",  # Monday's, against Saturday's: the weekend is no publication
    "02 12:35 current nbk 03 28 475.00 0.27 confirmed",
    "03 10:35 current nbk 04 03 476.27 0.27 unconfirmed",
    "03 12:35 current nbk 04 03 476.27 0.27 confirmed",
    "04 10:35 current nbk 05 04 477.54 0.27 unconfirmed",
    "04 12:35 current nbk 05 04 477.54 0.27 confirmed",
    "05 10:35 current nbk 05 04 477.54 0.27 confirmed",  # a hundred times too much: quarantined, window open
    "05 12:35 current cbr 06 05 482.49 0.42 unconfirmed",  # refuted by Moscow, so the next source
    "05 14:05 current nbk 06 05 478.81 0.27 confirmed",  # corrected
    "06 10:35 current nbk 07 06 479.99 0.25 unconfirmed",  # the first version
    "06 12:35 current nbk 07 06 479.99 0.25 confirmed",
    "06 14:05 current nbk 07 06 471.19 -1.59 confirmed",  # revised; the 9th is a holiday, nothing is late
    "10 10:35 current nbk 07 06 471.19 -1.59 confirmed",  # the window opens, the bank is down
    "10 14:05 late nbk 07 06 471.19 -1.59 confirmed",  # the first missed
    "11 10:35 late nbk 07 06 471.19 -1.59 confirmed",
    "11 14:05 late nbk 07 06 471.19 -1.59 confirmed",  # the second
    "12 10:35 late nbk 07 06 471.19 -1.59 confirmed",
    "12 14:05 current cbr 13 12 476.47 0.42 unconfirmed",  # the third: stale, and the next source
    "13 12:35 current cbr 13 12 476.47 0.42 unconfirmed",
    "13 12:35 current cbr 14 13 478.47 0.42 unconfirmed",
    "14 03:00 current nbk 14 13 476.27 0.27 confirmed",  # recovered, with all missed rates
    "16 10:35 current nbk 17 14 477.54 0.27 unconfirmed",
    "16 12:35 current nbk 17 14 477.54 0.27 confirmed",
    "17 10:35 current nbk 18 17 478.81 0.27 unconfirmed",
    "17 12:35 current nbk 18 17 478.81 0.27 confirmed",
    "18 10:35 current nbk 19 18 471.19 -1.59 unconfirmed",
    "18 12:35 current nbk 19 18 471.19 -1.59 confirmed",
    "19 10:35 current nbk 20 19 472.46 0.27 unconfirmed",
    "19 12:35 current nbk 20 19 472.46 0.27 confirmed",
    "20 10:35 current nbk 21 20 473.73 0.27 unconfirmed",  # five days of Nauryz follow
    "20 12:35 current nbk 21 20 473.73 0.27 confirmed",
    "26 10:35 current nbk 21 20 473.73 0.27 confirmed",  # the window opens, the rates are repeated
    "26 14:05 late nbk 21 20 473.73 0.27 confirmed",  # the first missed
    "27 10:35 late nbk 21 20 473.73 0.27 confirmed",
    "27 14:05 late nbk 21 20 473.73 0.27 confirmed",  # the second
    "30 10:35 late nbk 21 20 473.73 0.27 confirmed",
    "30 14:05 current cbr 31 28 472.51 0.42 unconfirmed",  # the third
    "31 12:35 current cbr 31 28 472.51 0.42 unconfirmed",
    "31 12:35 current cbr 01 31 474.49 0.42 unconfirmed",
]
"""Time, status, source, date and previous date, the dollar's rate, change and confidence.

Some snapshots differ in `next_update` alone.
"""
