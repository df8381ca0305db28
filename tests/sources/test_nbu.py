"""National Bank of Ukraine."""

from hashlib import sha256

import pytest

from service.fixings import Direction
from tests.figures import FETCHED, day
from tests.sources.answers import URL, asked, digits, document, parse, receipt

FRIDAY = {
    "USD": ("44.1636", 1, None),
    "EUR": ("50.956", 1, None),
    "GBP": ("59.0799", 1, None),
    "CNY": ("6.4302", 1, None),
    "KZT": ("9.02", 100, None),
    "VND": ("1.681", 1000, None),
}
MONDAY = {
    "USD": ("44.1381", 1, None),
    "EUR": ("50.6661", 1, None),
    "GBP": ("58.5779", 1, None),
    "CNY": ("6.4065", 1, None),
    "KZT": ("9.0172", 100, None),
    "VND": ("1.6789", 1000, None),
}
PUBLISHED = {day(13, 3): FRIDAY, day(14, 3): FRIDAY, day(16, 3): MONDAY}
BODY = document("nbu", "2026-03-13-to-16.json")


def test_an_answer_is_a_fixing_a_day_with_the_published_digits_and_its_receipt() -> None:
    """JSON numbers keep their digits; rates are for `units`; the day is the effective one, not the day of setting."""
    fixings = parse("nbu", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert receipt(fixing) == ("nbu", "UAH", Direction.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


@pytest.mark.parametrize("figure", ["44.1600", "44.0", "44", "1234567.123456789012345"])
def test_a_json_number_never_becomes_a_float(figure: str) -> None:
    """Zeros at its end and more digits than a float holds stay as they were published."""
    first, *_ = parse("nbu", BODY.replace(b'"rate":44.1636,', f'"rate":{figure},'.encode()))
    assert str(first.rates["USD"].value) == figure


def test_a_saturday_repeats_friday() -> None:
    """The weekend's rows are a carry-over of Friday's, and Monday's are not."""
    friday, saturday, monday = parse("nbu", BODY)
    assert saturday.repeats(friday)
    assert not monday.repeats(saturday)


def test_an_empty_array_is_nothing() -> None:
    """An array without rows says that nothing is published for the range."""
    assert parse("nbu", document("nbu", "nothing.json")) == []


async def test_the_range_is_asked_for_at_once() -> None:
    """One request with both ends of the range, oldest first."""
    assert await asked("nbu", day(31, 3), day(2)) == [
        "/exchange_site?start=20260331&end=20260402&sort=exchangedate&order=asc&json"
    ]
