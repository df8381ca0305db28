"""Converted amounts are exact, or rounded once."""

from decimal import Decimal
from fractions import Fraction

import pytest

from service.domain.conversion import convert


@pytest.mark.parametrize(
    ("amount", "rate", "result", "exact"),
    [
        ("100", Fraction("475.09"), "47509", True),
        ("0.1", Fraction("475.09"), "47.509", True),
        ("0", Fraction("475.09"), "0", True),
        ("1", Fraction(1, 8), "0.125", True),
        ("100", 1 / Fraction("475.09"), "0.21048643414931907638", False),
        ("1", Fraction(2, 3), "0.6666666666666666666666666667", False),
        ("123456789012345.67", Fraction("475.09"), "58653085891875304.3603", True),
        ("999999999999999.9999999999", Fraction("475.0912"), "475091199999999999.9999999525", False),
    ],
)
def test_amount_is_converted_exactly(amount: str, rate: Fraction, result: str, exact: bool) -> None:
    """Without rounding where the result has at most 28 significant digits."""
    converted = convert(Decimal(amount), rate)
    assert converted.exact is exact
    if exact:
        assert Fraction(converted.result) == Fraction(amount) * rate == Fraction(result)
    else:
        assert str(converted.result).startswith(result)
        assert len(converted.result.as_tuple().digits) <= 28
        error = abs(Fraction(converted.result) - Fraction(amount) * rate)
        assert error <= Fraction(Decimal(5).scaleb(converted.result.adjusted() - 28))


def test_half_is_rounded_up_once() -> None:
    """29 digits, the last one a five."""
    assert str(convert(Decimal("1.0000000000000000000000000005"), Fraction(1)).result) == f"1.{'0' * 26}1"
