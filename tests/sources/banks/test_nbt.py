"""National Bank of Tajikistan."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, answer, asked, digits, document, parse, receipt
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    "USD": ("9.3371", 1, None),
    "EUR": ("10.8600", 1, None),
    "RUB": ("0.1289", 1, None),
    "GBP": ("12.4716", 1, None),
    "CNY": ("1.3721", 1, None),
    "KZT": ("0.1986", 10, None),
    "UZS": ("0.0777", 100, None),
}
BODY = document("nbt", "2026-05-19.xml")


def test_an_answer_is_one_fixing_with_the_published_digits_and_its_receipt() -> None:
    """Point decimals keep their zeros; nominal, date and receipt are those of the document."""
    (fixing,) = parse("nbt", BODY)
    assert fixing.date == day(19, 5)
    assert digits(fixing) == PUBLISHED
    assert receipt(fixing) == ("nbt", "TJS", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_todays_rates_in_answer_to_another_date_stay_todays() -> None:
    """A date that the bank does not have is answered with today's document, whose own date counts."""
    tomorrow = answer("nbt", BODY, "http://bank.test/export_xml.php?date=2026-05-20&export=xmlout")
    assert [fixing.date for fixing in SOURCES["nbt"].parse(tomorrow)] == [day(19, 5)]


def test_a_date_without_rates_is_no_answer() -> None:
    """The bank answers with today's rates where it has no others, so a document without rates is broken."""
    with pytest.raises(NotUnderstood, match="has a date but no rates"):
        parse("nbt", b'<ValCurs Date="2026-05-19" name="Foreign Currency Market"/>')


async def test_every_date_is_requested_separately() -> None:
    """The bank is asked for each date from the first to the last, both included, across the month's end."""
    assert await asked("nbt", day(31, 3), day(2)) == [
        "/export_xml.php?date=2026-03-31&export=xmlout",
        "/export_xml.php?date=2026-04-01&export=xmlout",
        "/export_xml.php?date=2026-04-02&export=xmlout",
    ]
