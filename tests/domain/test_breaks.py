"""Breaks: rates are converted exactly across a redenomination, and not at all if its factor is unknown."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.breaks import REDENOMINATIONS, Break, breaks_of, conversion
from service.domain.change import change
from service.domain.fixing import Fixing
from tests.support.fixings import day, fixing

BEFORE, ON = day(9), day(10)
BYN = Break("BYN", day(10), Decimal(10000))
UNKNOWN = Break("BYN", day(10))
TENGE = Break("KZT", day(10), Decimal(1000))


def fixing_before(on: date = BEFORE) -> Fixing:
    """Return a fixing before the break, in old roubles and old tenge."""
    return fixing(on, BYN="0.0170", USD="475.00", EUR="551.00")


def fixing_after(on: date = ON, byn: str = "170.51", usd: str = "476.00") -> Fixing:
    return fixing(on, BYN=byn, USD=usd, EUR="552.00")


@pytest.mark.parametrize(
    ("earlier", "later", "factor"),
    [(9, 10, 10000), (1, 30, 10000), (8, 9, 1), (10, 11, 1), (10, 10, 1)],
)
def test_break_applies_from_its_date(earlier: int, later: int, factor: int) -> None:
    """The date of a break is the first one in the new unit: later than `earlier`, up to and including `later`."""
    assert conversion([BYN], "BYN", "KZT", fixing_before(day(earlier)), fixing_after(day(later))) == factor


def test_break_of_the_base_divides_rates() -> None:
    """One new unit of the base is worth many old ones, so every rate in it is lower by that factor."""
    after = fixing_after(byn="0.0000171", usd="0.476")
    assert conversion([TENGE], "USD", "KZT", fixing_before(), after) == Fraction(1, 1000)
    both = [TENGE, Break("USD", day(10), Decimal(10))]
    assert conversion(both, "USD", "KZT", fixing_before(), fixing_after(usd="4.76")) == Fraction(1, 100)
    assert conversion([BYN], "USD", "BYN", fixing_before(), fixing_after()) == Fraction(1, 10000)


def test_break_does_not_affect_other_currencies() -> None:
    """If neither the currency nor the base has a break, nothing is converted."""
    for break_ in (BYN, UNKNOWN):
        assert conversion([break_], "USD", "KZT", fixing_before(), fixing_after()) == 1


def test_unknown_factor_makes_the_conversion_unknown() -> None:
    """One unknown factor among known ones makes the whole conversion unknown."""
    assert conversion([UNKNOWN], "BYN", "KZT", fixing_before(), fixing_after()) is None
    assert conversion([UNKNOWN], "USD", "BYN", fixing_before(), fixing_after()) is None
    assert conversion([BYN, Break("BYN", day(9))], "BYN", "KZT", fixing_before(day(8)), fixing_after()) is None
    assert conversion([BYN, Break("BYN", day(9))], "BYN", "KZT", fixing_before(day(9)), fixing_after()) == 10000


def test_history_converted_by_the_bank_is_not_converted_again() -> None:
    """Rates already close to each other show that the bank publishes its history in the new unit."""
    assert conversion([BYN], "BYN", "KZT", fixing_after(day(9), byn="170.00"), fixing_after()) == 1
    assert conversion([BYN], "BYN", "KZT", fixing_before(day(9)), fixing_after(byn="0.0171")) == 1


@given(
    factor=st.integers(2, 10**9),
    move=st.decimals("0.75", "1.4", places=3),
    value=st.decimals("0.01", "100000", places=2),
)
def test_conversion_is_exact(factor: int, move: Decimal, value: Decimal) -> None:
    """The conversion is the factor itself, whatever the rate moved by, and its inverse in the other direction."""
    redenomination = Break("BYN", day(10), Decimal(factor))
    before, after = fixing(day(9), BYN=f"{value}"), fixing(day(10), BYN=f"{value * factor * move:f}")
    assert conversion([redenomination], "BYN", "KZT", before, after) == factor
    assert conversion([redenomination], "KZT", "BYN", before, after) == Fraction(1, factor)


def test_change_across_a_known_break_is_exact() -> None:
    """0.0170 before the break is 170 in today's unit: the change is that of the rates, not of the units."""
    moved = change("BYN", "KZT", fixing_after(), fixing_before(), Fraction(10000))
    assert (str(moved.previous), str(moved.change), str(moved.percent)) == ("170", "0.51", "0.30")


def test_configured_break_replaces_a_known_one_nearby() -> None:
    """A bank may change the unit some days after the country does; breaks of other years are kept."""
    (known,) = (known_break for known_break in REDENOMINATIONS if known_break.currency == "BYN")
    later = Break("BYN", known.date + timedelta(days=4), Decimal(10000))
    assert known in breaks_of([])
    assert later in breaks_of([later])
    assert known not in breaks_of([later])
    other = Break("BYN", date(2030, 1, 1), Decimal(1000))
    assert {known, other} <= set(breaks_of([other]))
