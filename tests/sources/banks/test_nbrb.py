"""National Bank of the Republic of Belarus."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, asked, digits, document, parse, receipt
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    "USD": ("2.9463", 1, None),
    "EUR": ("3.3741", 1, None),
    "RUB": ("3.6709", 100, None),
    "GBP": ("3.9037", 1, None),
    "CNY": ("4.3059", 10, None),
    "KZT": ("6.0761", 1000, None),
    "BRL": ("5.5390", 10, None),
}
BODY = document("nbrb", "2026-03-17.json")


def test_an_answer_is_one_fixing_with_the_published_digits_and_its_receipt() -> None:
    """JSON numbers keep their zeros; the nominal is `Cur_Scale`, the date that of the rows."""
    (fixing,) = parse("nbrb", BODY)
    assert fixing.date == day(17, 3)
    assert digits(fixing) == PUBLISHED
    assert receipt(fixing) == ("nbrb", "BYN", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_a_range_without_scale_is_refused() -> None:
    """A row of `/rates/dynamics` says neither which currency it is nor for how many."""
    with pytest.raises(NotUnderstood, match="lacks Cur_Abbreviation in a row"):
        parse("nbrb", b'[{"Cur_ID":431,"Date":"2026-03-17T00:00:00","Cur_OfficialRate":2.9463}]')


def test_an_empty_array_is_nothing() -> None:
    """An array without rows says that nothing is published for the date."""
    assert parse("nbrb", document("nbrb", "nothing.json")) == []


async def test_every_date_is_requested_separately() -> None:
    """The bank is asked for each date from the first to the last, both included, across the month's end."""
    assert await asked("nbrb", day(31, 3), day(2)) == [
        "/rates?periodicity=0&ondate=2026-03-31",
        "/rates?periodicity=0&ondate=2026-04-01",
        "/rates?periodicity=0&ondate=2026-04-02",
    ]
