"""Bank of Israel."""

import pytest

from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import RecordingSession, digits, document, parse, requested_paths
from tests.support.fixings import day

BODY = document("boi", "2026-03-05-to-06.csv")
STEP = "/?c%5BDATA_TYPE%5D=OF00&startperiod=2026-03-05&endperiod=2026-03-06&format=csv"


def test_power_of_ten_is_the_nominal() -> None:
    """`UNIT_MULT` 1 means per ten, 2 per hundred."""
    fixing, later = parse("boi", BODY)
    assert (fixing.date, later.date, fixing.base) == (day(5, 3), day(6, 3), "ILS")
    assert digits(later) == {
        "USD": ("3.077", 1, None),
        "EUR": ("3.5499", 1, None),
        "GBP": ("4.1667", 1, None),
        "JPY": ("1.966", 100, None),
        "LBP": ("0.0003", 10, None),
    }


def test_rate_of_another_meaning_is_rejected() -> None:
    """A rate in another currency, or of another kind."""
    for old, new in ((b"ILS,ILS,OF00", b"ILS,USD,OF00"), (b"OF00", b"OF01")):
        with pytest.raises(NotUnderstood, match="instead of"):
            parse("boi", BODY.replace(old, new, 1))


async def test_range_without_rates_is_not_found() -> None:
    """Status 404 means that nothing is published; otherwise a range is one request."""
    assert await requested_paths("boi", day(5, 3), day(6, 3)) == [STEP]
    session = RecordingSession("boi", not_found=frozenset({STEP}))
    assert [one async for one in SOURCES["boi"].fetch(session, day(5, 3), day(6, 3))] == []
