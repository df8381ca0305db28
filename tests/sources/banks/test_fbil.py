"""Financial Benchmarks India."""

import pytest

from service.errors import NotUnderstood
from tests.sources.answers import digits, document, parse, requested_paths
from tests.support.fixings import day

BODY = document("fbil", "2026-03-18-to-20.json")


def test_name_of_a_pair_has_its_nominal() -> None:
    """`INR / 100 JPY` is the price of a hundred yen; the newest day is first in the document."""
    older, newer = parse("fbil", BODY)
    assert (older.date, newer.date, newer.base) == (day(18, 3), day(20, 3), "INR")
    assert digits(newer) == {
        "USD": ("93.348300", 1, None),
        "GBP": ("125.156400", 1, None),
        "EUR": ("107.943600", 1, None),
        "JPY": ("58.940000", 100, None),
        "AED": ("25.413500", 1, None),
        "IDR": ("55.107900", 10000, None),
    }


@pytest.mark.parametrize("pair", ["USD / 1 EUR", "INR / USD", "INR 1 USD", "INR / 1 USD bid", ""])
def test_other_pair_is_left_out(pair: str) -> None:
    """A pair that is not the price of a currency in rupees."""
    parsed = parse("fbil", BODY.replace(b"INR / 1 USD", pair.encode(), 1))
    assert parsed.left_out == (f"has the pair {pair!r}, which is not a rate in INR",)


def test_empty_array_is_an_error() -> None:
    """How FBIL reports a range without rates is unknown."""
    with pytest.raises(NotUnderstood, match="has no rates"):
        parse("fbil", b"[]")


async def test_range_is_one_request() -> None:
    """Both ends are included."""
    steps = await requested_paths("fbil", day(18, 3), day(20, 3))
    assert steps == ["/fetchfiltered?fromDate=2026-03-18&toDate=2026-03-20&authenticated=false"]
