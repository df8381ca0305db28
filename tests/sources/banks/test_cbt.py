"""Central Bank of Turkmenistan."""

from service.sources.banks import SOURCES
from tests.sources.answers import RecordingSession, digits, document, parse
from tests.support.fixings import day

BODY = document("cbt", "2026-04-02.xml")


def test_multiplier_is_the_nominal() -> None:
    """`rate_usd` is not read."""
    (fixing,) = parse("cbt", BODY)
    assert (fixing.date, fixing.base) == (day(2), "TMT")
    assert digits(fixing) == {
        "USD": ("3.5", 1, None),
        "EUR": ("4.0597", 1, None),
        "GBP": ("4.6550", 1, None),
        "CNY": ("0.5092", 1, None),
        "RUB": ("4.3244", 100, None),
        "KZT": ("0.7367", 100, None),
    }


def test_older_date_is_in_iso_format() -> None:
    """Until 2023 the document has another date format."""
    assert [fixing.date for fixing in parse("cbt", BODY.replace(b"02.04.2026", b"2026-04-02"))] == [day(2)]


async def test_sunday_is_not_found() -> None:
    """One request per day; status 404 means that nothing is published."""
    session = RecordingSession("cbt", not_found=frozenset({"/2026/05042026.xml"}))
    urls = [one.url async for one in SOURCES["cbt"].fetch(session, day(4), day(5))]
    assert urls == ["http://bank.test/2026/04042026.xml"]
