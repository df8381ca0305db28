"""National Bank of Tajikistan."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths, response_of
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


def test_response_is_one_fixing() -> None:
    """Decimal points keep their zeros; nominal, date and metadata are those of the document."""
    (fixing,) = parse("nbt", BODY)
    assert fixing.date == day(19, 5)
    assert digits(fixing) == PUBLISHED
    assert metadata(fixing) == ("nbt", "TJS", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_date_of_the_document_is_used() -> None:
    """For an unknown date the bank responds with today's document, which has its own date."""
    tomorrow = response_of("nbt", BODY, "http://bank.test/export_xml.php?date=2026-05-20&export=xmlout")
    assert [fixing.date for fixing in SOURCES["nbt"].parse(tomorrow)] == [day(19, 5)]


def test_document_without_rates_is_rejected() -> None:
    """The bank responds with today's rates if it has no others, so a document without rates is broken."""
    with pytest.raises(NotUnderstood, match="has a date but no rates"):
        parse("nbt", b'<ValCurs Date="2026-05-19" name="Foreign Currency Market"/>')


async def test_every_date_is_requested_separately() -> None:
    """One request per date from the first to the last, both included, across the end of a month."""
    assert await requested_paths("nbt", day(31, 3), day(2)) == [
        "/export_xml.php?date=2026-03-31&export=xmlout",
        "/export_xml.php?date=2026-04-01&export=xmlout",
        "/export_xml.php?date=2026-04-02&export=xmlout",
    ]
