"""National Bank of Moldova."""

from hashlib import sha256

from service.domain.fixing import Quotation
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    "USD": ("17.5303", 1, None),
    "EUR": ("20.2457", 1, None),
    "RUB": ("0.2224", 1, None),
    "GBP": ("23.2205", 1, None),
    "CNY": ("2.5485", 1, None),
    "CAD": ("12.5900", 1, None),
    "KZT": ("0.3766", 10, None),
    "UZS": ("0.1443", 100, None),
}
BODY = document("nbm", "2026-04-07.xml")


def test_response_is_one_fixing() -> None:
    """Decimal points keep their zeros; nominal, date and metadata are those of the document."""
    (fixing,) = parse("nbm", BODY)
    assert fixing.date == day(7)
    assert digits(fixing) == PUBLISHED
    assert metadata(fixing) == ("nbm", "MDL", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_date_without_rates_has_no_fixings() -> None:
    """A document with a date and no rates means that nothing is published for it."""
    assert parse("nbm", document("nbm", "nothing.xml")) == []


async def test_every_date_is_requested_separately() -> None:
    """One request per date from the first to the last, both included, across the end of a month."""
    assert await requested_paths("nbm", day(31, 3), day(2)) == [
        "/official_exchange_rates?get_xml=1&date=31.03.2026",
        "/official_exchange_rates?get_xml=1&date=01.04.2026",
        "/official_exchange_rates?get_xml=1&date=02.04.2026",
    ]
