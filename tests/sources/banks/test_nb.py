"""Norges Bank."""

from datetime import date

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import RecordingSession, digits, document, parse, requested_paths
from tests.support.fixings import day

BODY = document("nb", "2026-03-23-to-24.csv")
STEP = "/B..NOK.SP?format=csvdata&startPeriod=2026-03-23&endPeriod=2026-03-24"


def test_power_of_ten_is_the_nominal() -> None:
    """`UNIT_MULT` 2 means per hundred; indices of the krone are not rates."""
    fixing, later = parse("nb", BODY)
    assert (fixing.date, later.date, fixing.base) == (day(23, 3), day(24, 3), "NOK")
    assert fixing.direction is Quotation.DIRECT
    assert digits(fixing) == {
        "USD": ("9.7318", 1, None),
        "EUR": ("11.285", 1, None),
        "GBP": ("13.0583", 1, None),
        "SEK": ("104.17", 100, None),
        "JPY": ("6.1378", 100, None),
    }


@pytest.mark.parametrize("exponent", ["-2", "7", "2.0", "", "٢"])
def test_odd_power_of_ten_is_left_out(exponent: str) -> None:
    """Its rate is not read with another nominal."""
    parsed = parse("nb", BODY.replace(b",2,C,2026-03-23,6.1378", f",{exponent},C,2026-03-23,6.1378".encode()))
    assert parsed.left_out == (f"has {exponent!r} where a power of ten is expected",)
    assert "JPY" not in parsed[0].rates


def test_rate_of_another_meaning_is_rejected() -> None:
    """A monthly rate, one in another currency, or a document without rates."""
    for old, new in ((b"\nB,USD", b"\nM,USD"), (b"NOK,SP", b"DKK,SP")):
        with pytest.raises(NotUnderstood, match="instead of"):
            parse("nb", BODY.replace(old, new, 1))
    with pytest.raises(NotUnderstood, match="has no rates"):
        parse("nb", BODY.splitlines(keepends=True)[0])


async def test_range_without_rates_is_not_found() -> None:
    """Status 404 means that nothing is published; otherwise a range is one request."""
    assert await requested_paths("nb", day(23, 3), day(24, 3)) == [STEP]
    session = RecordingSession("nb", not_found=frozenset({STEP}))
    assert [one async for one in SOURCES["nb"].fetch(session, date(2026, 3, 23), date(2026, 3, 24))] == []
