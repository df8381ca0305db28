"""Bank of Russia."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    "GBP": ("102.0374", 1, None),
    "BYN": ("26.7960", 1, None),
    "VND": ("30.0750", 10000, None),
    "USD": ("75.5273", 1, None),
    "EUR": ("88.2826", 1, None),
    "KZT": ("16.3172", 100, None),
    "CNY": ("11.0270", 1, None),
}


def test_response_is_one_fixing() -> None:
    """Decimal commas keep their zeros; nominal, date and metadata are those of the document in windows-1251."""
    body = document("cbr", "2026-04-25.xml")
    assert "Тенге".encode("windows-1251") in body
    (fixing,) = parse("cbr", body)
    assert fixing.date == day(25)
    assert digits(fixing) == PUBLISHED
    assert metadata(fixing) == ("cbr", "RUB", Quotation.DIRECT, URL, FETCHED, sha256(body).hexdigest())


def test_document_without_rates_is_rejected() -> None:
    """The bank responds with its last fixing if it has no new one, so a document without rates is broken."""
    with pytest.raises(NotUnderstood, match="has a date but no rates"):
        parse("cbr", b'<ValCurs Date="26.04.2026" name="Foreign Currency Market"/>')


async def test_every_date_is_requested_separately() -> None:
    """One request per date from the first to the last, both included, across the end of a month."""
    assert await requested_paths("cbr", day(31, 3), day(2)) == [
        "/XML_daily.asp?date_req=31/03/2026",
        "/XML_daily.asp?date_req=01/04/2026",
        "/XML_daily.asp?date_req=02/04/2026",
    ]
