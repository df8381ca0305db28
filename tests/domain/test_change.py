"""The change between two fixings: computed exactly, rounded once."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.change import change, half_up, percent_text, sides
from service.domain.fixing import Quotation
from tests.support.fixings import day, fixing, rates, with_sides

# National Bank of Kazakhstan, 1 and 2 April 2026.
NBK = {
    "USD": ("478.77", "475.09", "-0.768636", "-0.77", "-3.68"),
    "EUR": ("548.62", "551.06", "0.444752", "0.44", "2.44"),
    "RUB": ("5.87", "5.87", "0", "0.00", "0.00"),
    "GBP": ("631.98", "631.87", "-0.017406", "-0.02", "-0.11"),
    "CNY": ("69.31", "69.12", "-0.274131", "-0.27", "-0.19"),
}


@pytest.mark.parametrize("code", NBK)
def test_changes_of_2_april_2026(code: str) -> None:
    """Percent and absolute change equal the values calculated by hand from the published rates."""
    before, after, exact, percent, absolute = NBK[code]
    moved = change(
        code,
        "KZT",
        replace(fixing(day(2)), rates=rates({code: after})),
        replace(fixing(day(1)), rates=rates({code: before})),
    )
    assert (moved.percent, moved.change) == (Decimal(percent), Decimal(absolute))
    unrounded = 100 * (Fraction(after) - Fraction(before)) / Fraction(before)
    assert half_up(unrounded, 6) == Decimal(exact)


def test_change_is_relative_to_the_old_rate() -> None:
    """From 100 to 150 is +50 %, not the +33.33 % of dividing by the new rate."""
    assert change("USD", "KZT", fixing(day(2), USD="150"), fixing(day(1), USD="100")).percent == Decimal("50.00")


def test_first_fixing_has_no_change() -> None:
    """Without a previous fixing everything but the rate is None."""
    moved = change("USD", "KZT", fixing(day(2), USD="475.09"), None)
    assert (moved.rate, moved.previous, moved.change, moved.percent, moved.direction) == (
        Decimal("475.09"),
        None,
        None,
        None,
        None,
    )


def test_published_digits_are_kept() -> None:
    """Trailing zeros are kept, and a nominal only shifts the decimal point."""
    rate = change("AMD", "KZT", fixing(day(2), AMD=("12.690", 10)), None).rate
    assert str(rate) == "1.2690"
    assert str(change("USD", "KZT", fixing(day(2), USD="26.7960"), None).rate) == "26.7960"


def test_cross_uses_the_sources_own_rate_of_the_base() -> None:
    """Roubles per dollar divided by roubles per tenge, on both days, whatever the nominals."""
    old = fixing(day(1), "cbr", "RUB", USD="77.1734", KZT=("15.5104", 100))
    new = fixing(day(2), "cbr", "RUB", USD="77.6093", KZT=("15.4416", 100))
    moved = change("USD", "KZT", new, old)
    then = Fraction("77.1734") / (Fraction("15.5104") / 100)
    now = Fraction("77.6093") / (Fraction("15.4416") / 100)
    assert moved.percent == half_up(100 * (now - then) / then, 2) == Decimal("1.01")
    assert abs(Fraction(moved.rate) - now) < Fraction(1, 10**6)


def test_own_currency_of_a_source_has_the_rate_one() -> None:
    """The Bank of Russia yields the rouble in tenge although it does not quote the rouble."""
    moved = change("RUB", "KZT", fixing(day(2), "cbr", "RUB", KZT=("15.4416", 100)), None)
    assert moved.rate == Decimal("6.476012848")


def test_inverse_quotation_is_inverted() -> None:
    """The ECB quotes dollars per euro; the dollar in euros rises when that rate falls."""
    old = fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.25")
    new = fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="1.00")
    moved = change("USD", "EUR", new, old)
    assert (moved.rate, moved.previous, moved.percent) == (Decimal(1), Decimal("0.8"), Decimal("25.00"))


@pytest.mark.parametrize(
    ("number", "rounded"),
    [
        ("0.005", "0.01"),
        ("-0.005", "-0.01"),
        ("0.00499999999999999999999999999999999999", "0.00"),
        ("-0.004", "0.00"),
        ("1.345", "1.35"),
        ("2.675", "2.68"),
    ],
)
def test_rounding_is_half_up(number: str, rounded: str) -> None:
    """A half is rounded away from zero, anything below it is not, and zero has no sign."""
    assert str(half_up(Fraction(number), 2)) == rounded


RATE = st.decimals(min_value="0.0001", max_value="99999", places=4)


@given(RATE, RATE)
def test_percent_is_exact_arithmetic_rounded_once(old: Decimal, new: Decimal) -> None:
    """For any two rates the percentage is within half a hundredth of the exact one."""
    moved = change("USD", "KZT", fixing(day(2), USD=str(new)), fixing(day(1), USD=str(old)))
    assert moved.percent is not None
    exact = 100 * (Fraction(new) - Fraction(old)) / Fraction(old)
    assert abs(Fraction(moved.percent) - exact) <= Fraction(1, 200)
    assert (moved.percent > 0, moved.percent < 0) == (moved.direction == "up", moved.direction == "down")


NOMINAL = st.sampled_from([1, 10, 100, 1000])


@given(st.tuples(RATE, NOMINAL), st.tuples(RATE, NOMINAL), st.sampled_from(Quotation))
def test_percent_is_exact_for_any_nominals_and_directions(
    old: tuple[Decimal, int], new: tuple[Decimal, int], direction: Quotation
) -> None:
    """Compare with integer arithmetic independent of the service: half up, of 100 x (new - old) / old."""
    fixings = [
        fixing(day(number), direction=direction, USD=(str(value), nominal))
        for number, (value, nominal) in ((1, old), (2, new))
    ]
    (old_value, old_nominal), (new_value, new_nominal) = ((Fraction(value), nominal) for value, nominal in (old, new))
    ratio = (new_value * old_nominal) / (old_value * new_nominal)  # direct: base for 1 foreign
    if direction is Quotation.INVERSE:
        ratio = 1 / ratio
    hundredths, remainder = divmod(abs(ratio - 1) * 10000, 1)
    rounded = (int(hundredths) + (remainder >= Fraction(1, 2))) * (1 if ratio >= 1 else -1)
    percent = change("USD", "KZT", fixings[1], fixings[0]).percent
    assert percent == Decimal(rounded).scaleb(-2)
    assert percent is not None
    assert percent.as_tuple().exponent == -2
    assert not (percent.is_signed() and percent == 0)


@given(st.lists(st.tuples(RATE, NOMINAL), min_size=3, max_size=3), st.sampled_from(Quotation))
def test_crosses_are_consistent(values: list[tuple[Decimal, int]], direction: Quotation) -> None:
    """Crosses through a third currency, inverse crosses and the source's own currency agree exactly."""
    codes = ("USD", "EUR", "KZT")
    quoted = dict(zip(codes, ((str(value), nominal) for value, nominal in values), strict=True))
    crossed = fixing(day(1), "cbr", "RUB", direction, **quoted)
    for a, b, c in permutations((*codes, "RUB"), 3):
        assert crossed.cross(a, b) * crossed.cross(b, c) == crossed.cross(a, c)
        assert crossed.cross(a, b) * crossed.cross(b, a) == 1


@pytest.mark.parametrize(
    ("percent", "text"), [("1.35", "+1.35%"), ("-0.77", "-0.77%"), ("0.00", "0.00%"), ("-0.00", "0.00%"), (None, "—")]
)
def test_percent_text(percent: str | None, text: str) -> None:
    """A rise has a plus sign, zero has no sign, an unknown change is a dash."""
    assert percent_text(Decimal(percent) if percent else None) == text


@pytest.mark.parametrize(
    ("nominal", "direction", "published", "expected"),
    [
        (1, Quotation.DIRECT, ("474.50", "475.60"), ("474.50", "475.60")),
        (100, Quotation.DIRECT, ("474.50", "475.60"), ("4.7450", "4.7560")),
        (7, Quotation.DIRECT, ("474.50", "475.60"), ("67.78571429", "67.94285714")),
        (1, Quotation.INVERSE, ("0.0022", "0.0021"), ("454.5454545", "476.1904762")),
    ],
)
def test_sides_are_for_one_unit(
    nominal: int, direction: Quotation, published: tuple[str, str], expected: tuple[str, str]
) -> None:
    """As published, or derived; the lower one is the buying rate in either direction."""
    rate = (published[0], nominal)
    found = sides("USD", "KZT", with_sides(fixing(day(2), direction=direction, USD=rate), USD=published))
    assert (str(found.buying), str(found.selling)) == expected


def test_only_both_published_sides_are_shown() -> None:
    """A cross has none: nobody buys or sells at the quotient of two such rates."""
    both = with_sides(fixing(day(2), USD="475", EUR="551"), USD=("474", "476"))
    assert sides("USD", "KZT", both) == (Decimal(474), Decimal(476))
    assert sides("EUR", "KZT", both) == sides("GBP", "KZT", both) == sides("USD", "EUR", both) == (None, None)
    one = replace(both, rates={"USD": replace(both.rates["USD"], selling=None)})
    assert sides("USD", "KZT", one) == (None, None)
