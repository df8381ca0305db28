"""The change between two fixings of one source, exactly, rounded once.

Rates are compared as exact fractions: a cross or an inverse rate has no finite digits, and a
quotient rounded at some precision and then rounded again for display can be off by a hundredth.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from enum import StrEnum
from fractions import Fraction

from service.domain.fixing import RateTable

_ONE = Fraction(1)
DERIVED_DIGITS = 10
"""Significant digits of a rate that nobody published (a cross, an inverse)."""


class Trend(StrEnum):
    """The way a quote moved, as its rounded percentage shows it."""

    UP = "up"
    DOWN = "down"
    FLAT = "flat"


@dataclass(frozen=True, slots=True)
class Change:
    """A rate in a base, and how it moved; all but `rate` are None without a predecessor.

    `rate`, `previous` and `change` are in units of the base for 1 unit of the currency;
    `percent` is 100 x (new - old) / old, two decimals, half up.
    """

    rate: Decimal
    previous: Decimal | None = None
    change: Decimal | None = None
    percent: Decimal | None = None
    direction: Trend | None = None


def change(code: str, base: str, new: RateTable, old: RateTable | None, factor: Fraction = _ONE) -> Change:
    """Return the change of `code` in `base` from `old` to `new`, which both quote it.

    `factor` carries the old rate over to the unit of the new one, where a redenomination lies between.
    """
    if old is None:
        return Change(rate(code, base, new))
    now, then = new.cross(code, base), old.cross(code, base) * factor
    shown, previous = rate(code, base, new), rate(code, base, old, factor)
    percent = half_up(100 * (now - then) / then, 2)
    direction = Trend.UP if percent > 0 else Trend.DOWN if percent < 0 else Trend.FLAT
    return Change(shown, previous, shown - previous, percent, direction)


def rate(code: str, base: str, fixing: RateTable, factor: Fraction = _ONE) -> Decimal:
    """Return the rate of `code` in `base`, times `factor`: the published digits, or `DERIVED_DIGITS` of our own."""
    published = fixing.published(code) if base == fixing.base and factor == 1 else None
    if published is not None:
        return published
    exact = fixing.cross(code, base) * factor
    with localcontext(prec=DERIVED_DIGITS):
        return Decimal(exact.numerator) / Decimal(exact.denominator)


def half_up(number: Fraction, places: int) -> Decimal:
    """Round half away from zero to `places` decimals; zero has no sign."""
    above, below = abs(number.numerator) * 10**places, number.denominator
    units = (2 * above + below) // (2 * below)
    return Decimal(-units if number < 0 else units).scaleb(-places)


def percent_text(percent: Decimal | None) -> str:
    """`+1.35%`, `-0.77%`, `0.00%`; a dash where there is no change."""
    if percent is None:
        return "—"
    return f"{percent:+.2f}%" if percent else "0.00%"
