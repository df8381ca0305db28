"""Sveriges Riksbank."""

import pytest

from service.errors import NotUnderstood
from tests.sources.answers import digits, document, parse, requested_paths
from tests.support.fixings import day

BODY = document("rb", "2026-03-26-to-27.json")


def test_response_has_one_fixing_per_day() -> None:
    """Rates are per unit; the krona itself is not a rate."""
    fixing, later = parse("rb", BODY)
    assert (fixing.date, later.date, fixing.base) == (day(26, 3), day(27, 3), "SEK")
    assert digits(later) == {
        "USD": ("9.44517", 1, None),
        "EUR": ("10.878", 1, None),
        "GBP": ("12.54382", 1, None),
        "NOK": ("0.97225", 1, None),
        "JPY": ("0.05907", 1, None),
        "IDR": ("0.00056", 1, None),
    }


def test_other_series_is_left_out() -> None:
    """A series that is not a rate in kronor, for example an interest rate."""
    parsed = parse("rb", BODY.replace(b"SEKUSDPMI", b"SECBREPOEFF", 1))
    assert parsed.left_out == ("has the series 'SECBREPOEFF', which is not a rate in SEK",)


def test_empty_array_is_an_error() -> None:
    """How the bank reports a range without rates is unknown."""
    with pytest.raises(NotUnderstood, match="has no rates"):
        parse("rb", b"[]")


async def test_range_is_one_request() -> None:
    """Group 130 has all currencies."""
    assert await requested_paths("rb", day(26, 3), day(27, 3)) == ["/Observations/ByGroup/130/2026-03-26/2026-03-27"]
