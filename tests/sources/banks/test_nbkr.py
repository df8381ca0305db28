"""National Bank of the Kyrgyz Republic."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    "USD": ("87.4500", 1, None),
    "EUR": ("101.5076", 1, None),
    "CNY": ("12.8707", 1, None),
    "KZT": ("0.1859", 1, None),
    "RUB": ("1.2263", 1, None),
}
BODY = document("nbkr", "2026-05-24.xml")


def test_response_is_one_fixing() -> None:
    """Decimal commas keep their zeros; the currency is an attribute; the date is that of the document."""
    (fixing,) = parse("nbkr", BODY)
    assert fixing.date == day(24, 5)
    assert digits(fixing) == PUBLISHED
    assert metadata(fixing) == ("nbkr", "KGS", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_weekly_list_is_rejected() -> None:
    """It has the same form and another date: as a fixing it would lack every currency of the daily list."""
    with pytest.raises(NotUnderstood, match="has the name 'Weekly Exchange Rates' instead of 'Daily Exchange Rates'"):
        parse("nbkr", document("nbkr", "weekly.xml"))


def test_document_without_rates_is_rejected() -> None:
    """The file always has the latest rates, so one without rates is broken."""
    with pytest.raises(NotUnderstood, match="has a date but no rates"):
        parse("nbkr", b'<CurrencyRates Name="Daily Exchange Rates" Date="24.05.2026"/>')


async def test_only_the_latest_rates_are_requested() -> None:
    """Any range is one request."""
    assert await requested_paths("nbkr", day(31, 3), day(2)) == ["/daily.xml"]
