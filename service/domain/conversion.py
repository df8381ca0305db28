"""Convert amounts by exact rates. Pure."""

from decimal import ROUND_HALF_UP, Decimal, Inexact, localcontext
from fractions import Fraction
from typing import Final, NamedTuple

RESULT_DIGITS: Final = 28
"""Significant digits of a result that has more, or infinitely many."""


class Conversion(NamedTuple):
    """A converted amount; `exact` is False if it was rounded half up to `RESULT_DIGITS` significant digits."""

    result: Decimal
    exact: bool


def convert(amount: Decimal, rate: Fraction) -> Conversion:
    """Return an amount times a rate, computed exactly and rounded once, if at all."""
    product = Fraction(amount) * rate
    with localcontext(prec=RESULT_DIGITS, rounding=ROUND_HALF_UP) as context:
        context.clear_flags()
        result = Decimal(product.numerator) / Decimal(product.denominator)
        return Conversion(result, not context.flags[Inexact])
