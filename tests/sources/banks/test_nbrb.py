"""National Bank of the Republic of Belarus."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
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


def test_response_is_one_fixing() -> None:
    """JSON numbers keep their zeros; the nominal is `Cur_Scale`, the date that of the rows."""
    (fixing,) = parse("nbrb", BODY)
    assert fixing.date == day(17, 3)
    assert digits(fixing) == PUBLISHED
    assert metadata(fixing) == ("nbrb", "BYN", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_row_without_a_currency_is_rejected() -> None:
    """A row of `/rates/dynamics` has neither the currency nor the nominal."""
    with pytest.raises(NotUnderstood, match="lacks Cur_Abbreviation in a row"):
        parse("nbrb", b'[{"Cur_ID":431,"Date":"2026-03-17T00:00:00","Cur_OfficialRate":2.9463}]')


def test_empty_array_has_no_fixings() -> None:
    """An empty array means that nothing is published for the date."""
    assert parse("nbrb", document("nbrb", "nothing.json")) == []


async def test_every_date_is_requested_separately() -> None:
    """One request per date from the first to the last, both included, across the end of a month."""
    assert await requested_paths("nbrb", day(31, 3), day(2)) == [
        "/rates?periodicity=0&ondate=2026-03-31",
        "/rates?periodicity=0&ondate=2026-04-01",
        "/rates?periodicity=0&ondate=2026-04-02",
    ]
