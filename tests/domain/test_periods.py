"""Periods, publications in force and their changes, compared with exact arithmetic on the history of the ECB."""

from bisect import bisect_right
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from random import Random

import pytest

from service.domain.breaks import Break, breaks_of
from service.domain.change import Trend
from service.domain.fixing import Fixing, Quotation, Series
from service.domain.periods import LONGER, MAX_AGE, Period, begin, in_force, since
from tests.support.fixings import FETCHED, day, fixing, rates, series
from tests.truth import histories
from tests.truth.histories import History, MissingHistoryError

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def ecb() -> History:
    try:
        return histories.load("ecb")
    except MissingHistoryError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def documents(ecb: History) -> list[Fixing]:
    return [
        Fixing("ecb", "EUR", on, quoted, "http://ecb/", FETCHED, str(on), Quotation.INVERSE)
        for on, quoted in zip(ecb.dates, ecb.documents, strict=True)
    ]


@pytest.mark.parametrize(
    ("period", "day", "first"),
    [
        (Period.WEEK, "2026-04-02", "2026-03-26"),
        (Period.WEEK, "2026-01-03", "2025-12-27"),
        (Period.MONTH, "2026-04-02", "2026-03-02"),
        (Period.MONTH, "2026-01-31", "2025-12-31"),
        (Period.MONTH, "2026-03-31", "2026-02-28"),
        (Period.MONTH, "2024-03-30", "2024-02-29"),
        (Period.YEAR, "2026-04-02", "2025-04-02"),
        (Period.YEAR, "2024-02-29", "2023-02-28"),
        (Period.YTD, "2026-04-02", "2025-12-31"),
        (Period.YTD, "2026-01-01", "2025-12-31"),
        (Period.YTD, "2025-12-31", "2024-12-31"),
        (Period.MONTH, "0001-01-15", "0001-01-01"),
        (Period.YEAR, "9999-12-31", "9998-12-31"),
    ],
)
def test_period_begins_on_a_calendar_day(period: Period, day: str, first: str) -> None:
    assert begin(period, date.fromisoformat(day)) == date.fromisoformat(first)


@pytest.mark.parametrize("period", LONGER)
def test_period_begins_before_its_last_day(period: Period) -> None:
    for ordinal in range(date(2019, 12, 1).toordinal(), date(2025, 2, 1).toordinal()):
        last = date.fromordinal(ordinal)
        assert last - timedelta(days=366) <= begin(period, last) < last


def exact(document: Fixing, code: str, base: str) -> Fraction:
    """Return units of `base` for 1 unit of `code`; the ECB quotes units of a currency for 1 euro."""
    in_euros = {name: 1 / Fraction(rate.value) for name, rate in document.rates.items()} | {"EUR": Fraction(1)}
    return in_euros[code] / in_euros[base]


def rounded(percent: Fraction) -> Decimal:
    """Return a percentage as `decimal` rounds it, from 60 digits."""
    units = Decimal(percent.numerator * 10**40 // abs(percent.denominator)).scaleb(-40)
    return units.quantize(Decimal("0.01"), ROUND_HALF_UP)


def naive_in_force(documents: list[Fixing], code: str, base: str, on: date) -> Fixing | None:
    """Return the last document up to a date that quotes both, by going back from one document to the next."""
    for document in reversed(documents):
        if document.date <= on and {code, base} <= {*document.rates, "EUR"}:
            return document if on - document.date <= MAX_AGE else None
    return None


def test_changes_over_periods_are_exact_on_real_history(documents: list[Fixing]) -> None:
    """200 random dates, currencies and bases, all periods: no redenomination kept its code at the ECB."""
    chance, counts = Random(19), dict.fromkeys(LONGER, 0)  # noqa: S311 - chance is no secret
    for _ in range(200):
        index = chance.randrange(len(documents))
        new, known = documents[index], documents[max(0, index - 400) : index + 1]
        code, base = chance.sample([*sorted(new.rates), "EUR"], 2)
        published = Series(tuple(known)).publications(code, base)
        for period in LONGER:
            first = begin(period, new.date)
            old, start = naive_in_force(known, code, base, first), in_force(published, first)
            change = since(code, base, new, start, breaks_of(()))
            if old is None:
                assert change is None
                continue
            assert change is not None
            counts[period] += 1
            assert change.percent == rounded(100 * (exact(new, code, base) / exact(old, code, base) - 1))
            assert change.date == old.date or exact(old, code, base) == exact(start or old, code, base)
    assert min(counts.values()) > 150, "few of the random dates have a period"


def test_rate_in_force_equals_a_scan_of_real_history(documents: list[Fixing]) -> None:
    """2,000 random dates, weekends and days before the first publication included."""
    chance = Random(3)  # noqa: S311 - chance is no secret
    known = Series(tuple(documents))
    published = {code: known.publications(code, "EUR") for code in ("USD", "ISK", "RUB", "JPY", "TRY")}
    by_code = {code: [document for document in documents if code in document.rates] for code in published}
    dates = {code: [document.date for document in found] for code, found in by_code.items()}
    missing, weekends = 0, 0
    for _ in range(2000):
        on = date(1998, 6, 1) + timedelta(days=chance.randrange(10_200))
        code = chance.choice(sorted(published))
        index = bisect_right(dates[code], on)
        scanned = by_code[code][index - 1] if index else None
        if scanned and on - scanned.date > MAX_AGE:
            scanned = None
        table = in_force(published[code], on)
        weekends += on.weekday() > 4
        if scanned is None:
            missing += 1
            assert table is None
        else:
            assert table is not None
            assert table.rates[code] == scanned.rates[code]
            # A document that repeats the one before is no new publication.
            assert table.date == scanned.date or all(
                document.carries_over(table) for document in by_code[code][dates[code].index(table.date) + 1 : index]
            )
    assert weekends > 400
    assert missing > 20


def test_carry_over_is_no_publication() -> None:
    """The date of a rate is the first day of it, also if a weekend repeats it."""
    friday, saturday, sunday = (fixing(day(number), USD="475.09", EUR="551.06") for number in (3, 4, 5))
    monday = fixing(day(6), USD="475.09", EUR="552.00")
    assert series(friday, saturday, sunday, monday).publications("USD", "KZT") == (friday, monday)
    assert in_force(series(friday, saturday, sunday).publications("USD", "KZT"), day(5)) == friday


def test_old_rate_is_not_in_force() -> None:
    first = fixing(day(1), USD="475.09")
    assert in_force([first], first.date + MAX_AGE) is first
    assert in_force([first], first.date + MAX_AGE + DAY) is None
    assert in_force([first], first.date - DAY) is None
    assert in_force([], day(1)) is None


def test_change_is_converted_at_a_break() -> None:
    """On 1 July 2016, 10,000 old Belarusian roubles became 1 new rouble."""
    old = fixing(date(2016, 6, 30), BYN=("0.17", 10))
    new = fixing(date(2016, 7, 30), BYN="171.70")
    change = since("BYN", "KZT", new, old, breaks_of(()))
    assert change is not None
    assert (change.percent, change.previous, change.date) == (Decimal("1.00"), Decimal(170), old.date)
    assert change.direction is Trend.UP


def test_no_change_across_a_break_with_an_unknown_factor() -> None:
    old, new = fixing(day(1), USD="475.09"), fixing(day(30), USD="4.7")
    assert since("USD", "KZT", new, old, [Break("USD", day(10))]) is None
    assert since("USD", "KZT", new, old, [Break("USD", day(1))]) is not None
    assert since("USD", "KZT", new, None, []) is None


def test_inverse_and_cross_rates_have_changes() -> None:
    """Through the rates of both currencies at the bank."""
    old = Fixing("ecb", "EUR", day(1), rates({"USD": "1.10", "GBP": "0.88"}), "", FETCHED, "", Quotation.INVERSE)
    new = Fixing("ecb", "EUR", day(8), rates({"USD": "1.21", "GBP": "0.88"}), "", FETCHED, "", Quotation.INVERSE)
    dollar, pound = (since(code, base, new, old, []) for code, base in (("USD", "GBP"), ("GBP", "USD")))
    assert dollar is not None
    assert pound is not None
    assert (dollar.percent, pound.percent) == (Decimal("-9.09"), Decimal("10.00"))
