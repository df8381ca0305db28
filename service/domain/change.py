"""Compute the change between two fixings of one source: exact, rounded once.

Rates are exact fractions: a cross or an inverse rate has no finite decimal representation, and a quotient rounded at
some precision and again for display can be off by 0.01.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from service.domain.fixing import EXACT, Quotation, RateTable

_ONE = Fraction(1)
DERIVED_DIGITS = 10
"""Significant digits of a derived rate (a cross, an inverse)."""


class Trend(StrEnum):
    """Direction of a change, by its rounded percentage."""

    UP = "up"
    DOWN = "down"
    FLAT = "flat"


@dataclass(frozen=True, slots=True)
class Change:
    """A rate and its change; all fields but `rate` are None without a previous rate.

    `rate`, `previous` and `change` are in units of the base for 1 unit of the currency. `percent` is
    100 x (new - old) / old, rounded half up to two decimals.
    """

    rate: Decimal
    previous: Decimal | None = None
    change: Decimal | None = None
    percent: Decimal | None = None
    direction: Trend | None = None


def change(code: str, base: str, new: RateTable, old: RateTable | None, factor: Fraction = _ONE) -> Change:
    """Return the change of `code` in `base` from `old` to `new`; both must quote it.

    `factor` converts the old rate to the unit of the new one, if there was a redenomination between them.
    """
    if old is None:
        return Change(rate(code, base, new))
    exact, exact_previous = new.cross(code, base), old.cross(code, base) * factor
    current, previous = rate(code, base, new), rate(code, base, old, factor)
    percent = half_up(100 * (exact - exact_previous) / exact_previous, 2)
    direction = Trend.UP if percent > 0 else Trend.DOWN if percent < 0 else Trend.FLAT
    return Change(current, previous, EXACT.subtract(current, previous), percent, direction)


def rate(code: str, base: str, fixing: RateTable, factor: Fraction = _ONE) -> Decimal:
    """Return the rate of `code` in `base`, times `factor`: as published, or derived with `DERIVED_DIGITS` digits."""
    published = fixing.published(code) if base == fixing.base and factor == 1 else None
    if published is not None:
        return published
    exact = fixing.cross(code, base) * factor
    with localcontext(prec=DERIVED_DIGITS):
        return Decimal(exact.numerator) / Decimal(exact.denominator)


class Sides(NamedTuple):
    """The rates at which a source buys and sells a currency: units of the base for 1 unit, `buying` the lower one."""

    buying: Decimal | None = None
    selling: Decimal | None = None


def sides(code: str, base: str, table: RateTable) -> Sides:
    """Return the buying and the selling rate of `code`, as published or derived with `DERIVED_DIGITS` digits.

    Both are None if the source does not publish both, and for a cross: nobody buys or sells at the quotient of two
    rates.
    """
    published = table.rates.get(code) if base == table.base else None
    if published is None or published.buying is None or published.selling is None:
        return Sides()
    nominal = published.nominal
    return Sides(_per_unit(table, published.buying, nominal), _per_unit(table, published.selling, nominal))


def _per_unit(table: RateTable, value: Decimal, nominal: int) -> Decimal:
    published = table.per_unit(value, nominal)
    if published is not None:
        return published
    with localcontext(prec=DERIVED_DIGITS):
        return nominal / value if table.direction is Quotation.INVERSE else value / nominal


def half_up(number: Fraction, places: int) -> Decimal:
    """Round a number half away from zero to `places` decimals; zero has no sign."""
    numerator, denominator = abs(number.numerator) * 10**places, number.denominator
    units = (2 * numerator + denominator) // (2 * denominator)
    return Decimal(-units if number < 0 else units).scaleb(-places)


def percent_text(percent: Decimal | None) -> str:
    """Format a percentage: `+1.35%`, `-0.77%`, `0.00%`; a dash for None."""
    if percent is None:
        return "—"
    return f"{percent:+.2f}%" if percent else "0.00%"
