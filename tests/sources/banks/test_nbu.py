"""National Bank of Ukraine."""

from datetime import date
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

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
OCTOBER_2016 = {
    date(2016, 10, 2): {
        "USD": ("25.911879", 1, None),
        "EUR": ("29.075719", 1, None),
        "GBP": ("33.754811", 1, None),
        "KZT": ("0.077365", 1, None),
        "INR": ("0.3882629", 1, None),
    },
    date(2016, 10, 3): {
        "USD": ("25.936893", 1, None),
        "EUR": ("28.948166", 1, None),
        "GBP": ("33.620392", 1, None),
        "KZT": ("0.077317", 1, None),
        "INR": ("0.3882629", 1, None),
    },
}
WITH_PSEUDO_CURRENCY = document("nbu", "2016-10-02-to-03.json")


def test_response_has_one_fixing_per_day() -> None:
    """JSON numbers keep their digits; rates are for `units`; the date is the effective one."""
    fixings = parse("nbu", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("nbu", "UAH", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


@pytest.mark.parametrize("number", ["44.1600", "44.0", "44", "1234567.123456789012345", "0.0025834567890123456"])
def test_json_number_keeps_its_digits(number: str) -> None:
    """Trailing zeros and more digits than a float holds are kept."""
    first, *_ = parse("nbu", BODY.replace(b'"rate":44.1636,', f'"rate":{number},'.encode()))
    assert str(first.rates["USD"].value) == number


def test_saturday_is_a_carry_over() -> None:
    """The rows of the weekend repeat Friday's, those of Monday do not."""
    friday, saturday, monday = parse("nbu", BODY)
    assert saturday.repeats(friday)
    assert not monday.repeats(saturday)


def test_empty_array_has_no_fixings() -> None:
    """An empty array means that nothing is published for the range."""
    assert parse("nbu", document("nbu", "nothing.json")) == []


def test_pseudo_currency_row_is_ignored() -> None:
    """The row `___` (settlements with India) is dropped whatever it holds; all other rows are used."""
    without_rate = WITH_PSEUDO_CURRENCY.replace(b'"rate":20.749514,"units":1,', b'"rate":null,')
    assert without_rate != WITH_PSEUDO_CURRENCY
    for body in (WITH_PSEUDO_CURRENCY, without_rate):
        assert {fixing.date: digits(fixing) for fixing in parse("nbu", body)} == OCTOBER_2016


@pytest.mark.parametrize("code", ["", "_", "__", "____", "___A", "US_", "---", "255"])
def test_other_invalid_code_is_left_out(code: str) -> None:
    """Only the exact code `___` is the pseudo-currency, of which nothing is said."""
    parsed = parse("nbu", WITH_PSEUDO_CURRENCY.replace(b'"cc":"___"', f'"cc":"{code}"'.encode()))
    assert set(parsed.left_out) == {f"has '{code}' where a currency code is expected"}
    assert list(parsed) != []


async def test_range_is_one_request() -> None:
    """One request with both ends of the range, oldest first."""
    assert await requested_paths("nbu", day(31, 3), day(2)) == [
        "/exchange_site?start=20260331&end=20260402&sort=exchangedate&order=asc&json"
    ]
