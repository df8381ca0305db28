"""Central Bank of Uzbekistan."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, asked, digits, document, parse, receipt
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    "USD": ("12142.10", 1, "-52.11"),
    "EUR": ("14079.98", 1, "95.66"),
    "RUB": ("150.53", 1, "0.56"),
    "GBP": ("16140.49", 1, "27.06"),
    "CNY": ("1766.20", 1, "0.87"),
    "KGS": ("138.80", 1, "-0.6"),
    "IRR": ("0.09", 10, "0"),
}
BODY = document("cbu", "2026-04-02.json")


def test_an_answer_is_one_fixing_with_the_published_digits_and_its_receipt() -> None:
    """String numbers keep their zeros; `Diff` is the bank's own change, absolute and per nominal."""
    (fixing,) = parse("cbu", BODY)
    assert fixing.date == day(2)
    assert digits(fixing) == PUBLISHED
    assert receipt(fixing) == ("cbu", "UZS", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


@pytest.mark.parametrize("absent", [b"", b',"Diff":null', b',"Diff":""'])
def test_an_absent_change_is_none(absent: bytes) -> None:
    """Where the bank gives no change there is none, which is not a change of zero."""
    (fixing,) = parse("cbu", BODY.replace(b',"Diff":"-52.11"', absent))
    assert fixing.rates["USD"].change is None


@pytest.mark.parametrize(
    "diff",
    [
        b'"n/a"',
        b'"1e3"',
        b"true",
        b"false",
        b"[1]",
        b'{"a":1}',
    ],
)
def test_a_change_that_is_no_number_is_not_understood(diff: bytes) -> None:
    """A `Diff` of another form is a document that the bank does not publish, and no fault of ours."""
    with pytest.raises(NotUnderstood):
        parse("cbu", BODY.replace(b'"Diff":"-52.11"', b'"Diff":' + diff))


def test_an_empty_array_is_nothing() -> None:
    """An array without rows says that nothing is published for the date."""
    assert parse("cbu", document("cbu", "nothing.json")) == []


async def test_every_date_is_requested_separately() -> None:
    """The bank is asked for each date from the first to the last, both included, across the month's end."""
    assert await asked("cbu", day(31, 3), day(2)) == ["/all/2026-03-31/", "/all/2026-04-01/", "/all/2026-04-02/"]
