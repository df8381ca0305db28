"""Czech National Bank."""

from datetime import date
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import BadAnswer, NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, RecordingSession, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    day(1): {
        "USD": ("21.129", 1, None),
        "EUR": ("24.520", 1, None),
        "GBP": ("28.147", 1, None),
        "CNY": ("3.074", 1, None),
        "HUF": ("6.414", 100, None),
        "IDR": ("1.244", 1000, None),
        "TRY": ("47.506", 100, None),
    },
    day(2): {
        "USD": ("21.291", 1, None),
        "EUR": ("24.540", 1, None),
        "GBP": ("28.125", 1, None),
        "CNY": ("3.087", 1, None),
        "HUF": ("6.392", 100, None),
        "IDR": ("1.253", 1000, None),
        "TRY": ("47.850", 100, None),
    },
}
BODY = document("cnb", "2026.json")


def test_response_has_one_fixing_per_day() -> None:
    """JSON numbers keep their zeros; the nominal is `amount`; the rows of a date are its fixing."""
    fixings = parse("cnb", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("cnb", "CZK", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_year_without_rates_has_no_fixings() -> None:
    """An empty array means that nothing is published for the year."""
    assert parse("cnb", document("cnb", "nothing.json")) == []


@pytest.mark.parametrize("body", [b"[]", b"1", b'"rates"', b"null"])
def test_document_must_be_an_object(body: bytes) -> None:
    """The bank's document is an object."""
    with pytest.raises(NotUnderstood, match="is not a JSON object"):
        parse("cnb", body)


async def test_year_is_one_request() -> None:
    """One request per year in the range."""
    assert await requested_paths("cnb", day(31, 3), day(2)) == ["/daily-year?year=2026&lang=EN"]
    assert await requested_paths("cnb", date(2025, 12, 30), date(2026, 1, 2)) == [
        "/daily-year?year=2025&lang=EN",
        "/daily-year?year=2026&lang=EN",
    ]


async def test_only_requested_dates_of_a_year_are_used() -> None:
    """Each poll returns the whole year: dates before the range are dropped."""
    session = RecordingSession("cnb", responses={"/daily-year?year=2026&lang=EN": BODY})
    (year,) = [payload async for payload in SOURCES["cnb"].fetch(session, day(2), day(2))]
    assert [fixing.date for fixing in SOURCES["cnb"].parse(year)] == [day(2)]
    assert [fixing.date for fixing in parse("cnb", BODY)] == [day(1), day(2)]


async def test_new_year_may_be_missing() -> None:
    """In the first days of a year its file may not exist; later the year in which the range starts must."""
    session = RecordingSession("cnb", not_found=frozenset({"/daily-year?year=2026&lang=EN"}))
    urls = [payload.url async for payload in SOURCES["cnb"].fetch(session, date(2025, 12, 31), date(2026, 1, 1))]
    assert urls == ["http://bank.test/daily-year?year=2025&lang=EN"]
    assert [payload async for payload in SOURCES["cnb"].fetch(session, date(2026, 1, 1), date(2026, 1, 2))] == []
    with pytest.raises(BadAnswer):
        [payload async for payload in SOURCES["cnb"].fetch(session, date(2026, 1, 8), date(2026, 1, 9))]
