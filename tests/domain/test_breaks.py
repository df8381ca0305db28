"""Breaks: rates are carried exactly over a redenomination, and not at all over one whose factor is unknown."""

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


def old(on: date = BEFORE) -> Fixing:
    """Return a fixing before the break, in old roubles and old tenge."""
    return fixing(on, BYN="0.0170", USD="475.00", EUR="551.00")


def new(on: date = ON, byn: str = "170.51", usd: str = "476.00") -> Fixing:
    return fixing(on, BYN=byn, USD=usd, EUR="552.00")


@pytest.mark.parametrize(
    ("earlier", "later", "factor"),
    [(9, 10, 10000), (1, 30, 10000), (8, 9, 1), (10, 11, 1), (10, 10, 1)],
)
def test_break_lies_after_the_earlier_date_and_up_to_the_later(earlier: int, later: int, factor: int) -> None:
    """The date of a break is the first in the new unit."""
    assert conversion([BYN], "BYN", "KZT", old(day(earlier)), new(day(later))) == factor


def test_break_of_the_base_divides() -> None:
    """One new unit of the base buys as much as many old ones, so every rate in it is that much lower."""
    after = new(byn="0.0000171", usd="0.476")
    assert conversion([TENGE], "USD", "KZT", old(), after) == Fraction(1, 1000)
    both = [TENGE, Break("USD", day(10), Decimal(10))]
    assert conversion(both, "USD", "KZT", old(), new(usd="4.76")) == Fraction(1, 100)
    assert conversion([BYN], "USD", "BYN", old(), new()) == Fraction(1, 10000)


def test_other_currencies_have_no_break() -> None:
    """Neither the currency nor the base has one: nothing is converted, whether the factor is known or not."""
    for one in (BYN, UNKNOWN):
        assert conversion([one], "USD", "KZT", old(), new()) == 1


def test_nothing_is_converted_by_an_unknown_factor() -> None:
    """One unknown factor among known ones makes the whole conversion unknown."""
    assert conversion([UNKNOWN], "BYN", "KZT", old(), new()) is None
    assert conversion([UNKNOWN], "USD", "BYN", old(), new()) is None
    assert conversion([BYN, Break("BYN", day(9))], "BYN", "KZT", old(day(8)), new()) is None
    assert conversion([BYN, Break("BYN", day(9))], "BYN", "KZT", old(day(9)), new()) == 10000


def test_past_that_the_bank_has_converted_stays_as_it_is() -> None:
    """The rates are nearer to each other as they stand: the bank publishes its past in the new unit."""
    assert conversion([BYN], "BYN", "KZT", new(day(9), byn="170.00"), new()) == 1
    assert conversion([BYN], "BYN", "KZT", old(day(9)), new(byn="0.0171")) == 1


@given(
    factor=st.integers(2, 10**9),
    move=st.decimals("0.75", "1.4", places=3),
    value=st.decimals("0.01", "100000", places=2),
)
def test_conversion_is_exact(factor: int, move: Decimal, value: Decimal) -> None:
    """By the factor itself, whatever the rate moved by meanwhile, and by its inverse in the other direction."""
    one = Break("BYN", day(10), Decimal(factor))
    before, after = fixing(day(9), BYN=f"{value}"), fixing(day(10), BYN=f"{value * factor * move:f}")
    assert conversion([one], "BYN", "KZT", before, after) == factor
    assert conversion([one], "KZT", "BYN", before, after) == Fraction(1, factor)


def test_change_across_a_known_break_is_exact() -> None:
    """0.0170 before it is 170 of today's units: the change is that of the rates, not of the units."""
    moved = change("BYN", "KZT", new(), old(), Fraction(10000))
    assert (str(moved.previous), str(moved.change), str(moved.percent)) == ("170", "0.51", "0.30")


def test_configured_break_replaces_the_known_one_of_about_that_date() -> None:
    """A bank may change the unit some days after the country does; breaks of other years stay."""
    (known,) = (one for one in REDENOMINATIONS if one.currency == "BYN")
    later = Break("BYN", known.date + timedelta(days=4), Decimal(10000))
    assert known in breaks_of([])
    assert later in breaks_of([later])
    assert known not in breaks_of([later])
    other = Break("BYN", date(2030, 1, 1), Decimal(1000))
    assert {known, other} <= set(breaks_of([other]))
