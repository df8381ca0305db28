"""Czech National Bank."""

from datetime import date
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import BadAnswer, NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, Asked, asked, digits, document, parse, receipt
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


def test_an_answer_is_a_fixing_a_day_with_the_published_digits_and_its_receipt() -> None:
    """JSON numbers keep their zeros; the nominal is `amount`; rows of a date are its fixing."""
    fixings = parse("cnb", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert receipt(fixing) == ("cnb", "CZK", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_a_year_without_rates_is_nothing() -> None:
    """An array without rows says that nothing is published for the year."""
    assert parse("cnb", document("cnb", "nothing.json")) == []


@pytest.mark.parametrize("body", [b"[]", b"1", b'"rates"', b"null"])
def test_what_is_no_object_is_not_understood(body: bytes) -> None:
    """The bank's document is an object."""
    with pytest.raises(NotUnderstood, match="is not a JSON object"):
        parse("cnb", body)


async def test_year_is_one_request() -> None:
    """One request a year that the range touches."""
    assert await asked("cnb", day(31, 3), day(2)) == ["/daily-year?year=2026&lang=EN"]
    assert await asked("cnb", date(2025, 12, 30), date(2026, 1, 2)) == [
        "/daily-year?year=2025&lang=EN",
        "/daily-year?year=2026&lang=EN",
    ]


async def test_of_a_year_only_what_was_wanted_is_taken() -> None:
    """The year's file says all of it at every poll: dates before the first one that was asked for are left out."""
    feed = Asked("cnb", answers={"/daily-year?year=2026&lang=EN": BODY})
    (year,) = [payload async for payload in SOURCES["cnb"].fetch(feed, day(2), day(2))]
    assert [fixing.date for fixing in SOURCES["cnb"].parse(year)] == [day(2)]
    assert [fixing.date for fixing in parse("cnb", BODY)] == [day(1), day(2)]


async def test_a_year_that_has_just_begun_may_be_missing() -> None:
    """In the first days of a year the bank has nothing for it; the year that the range begins in must be there."""
    feed = Asked("cnb", absent=frozenset({"/daily-year?year=2026&lang=EN"}))
    begun = [payload.url async for payload in SOURCES["cnb"].fetch(feed, date(2025, 12, 31), date(2026, 1, 1))]
    assert begun == ["http://bank.test/daily-year?year=2025&lang=EN"]
    with pytest.raises(BadAnswer):
        [payload async for payload in SOURCES["cnb"].fetch(feed, date(2026, 1, 1), date(2026, 1, 2))]
