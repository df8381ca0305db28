"""National Bank of Poland."""

from datetime import date
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, RecordingSession, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    day(2, 3): {
        "USD": ("3.6056", 1, None),
        "EUR": ("4.2304", 1, None),
        "GBP": ("4.8215", 1, None),
        "CNY": ("0.5238", 1, None),
        "CZK": ("0.1744", 1, None),
        "HUF": ("0.011155", 1, None),
        "IDR": ("0.00021385", 1, None),
    },
    day(3, 3): {
        "USD": ("3.6820", 1, None),
        "EUR": ("4.2732", 1, None),
        "GBP": ("4.8962", 1, None),
        "CNY": ("0.5336", 1, None),
        "CZK": ("0.1755", 1, None),
        "HUF": ("0.011089", 1, None),
        "IDR": ("0.00021845", 1, None),
    },
}
BODY = document("nbp", "2026-03-02-to-03.json")


def test_response_has_one_fixing_per_day() -> None:
    """JSON numbers keep all digits; every rate is for one unit; each table is a day."""
    fixings = parse("nbp", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("nbp", "PLN", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_weekly_table_is_rejected() -> None:
    """It has the same form and other currencies."""
    with pytest.raises(NotUnderstood, match="has the table 'B' instead of 'A'"):
        parse("nbp", document("nbp", "table-b.json"))


@pytest.mark.parametrize("body", [b"[]", b'[{"table":"A","effectiveDate":"2026-03-02","rates":[]}]'])
def test_document_without_rates_is_rejected(body: bytes) -> None:
    """The bank responds with 404 if it has nothing, so a document without rates is broken."""
    with pytest.raises(NotUnderstood, match="has no rates"):
        parse("nbp", body)


async def test_range_is_one_request() -> None:
    """One request with both ends of the range."""
    assert await requested_paths("nbp", day(31, 3), day(2)) == ["/tables/A/2026-03-31/2026-04-02/?format=json"]


async def test_long_range_is_requested_in_parts() -> None:
    """No part has more than 93 days, and each day is requested once."""
    assert await requested_paths("nbp", date(2026, 1, 1), date(2026, 4, 4)) == [
        "/tables/A/2026-01-01/2026-04-03/?format=json",
        "/tables/A/2026-04-04/2026-04-04/?format=json",
    ]


async def test_range_without_a_table_has_no_fixings() -> None:
    """The bank responds with 404 for a weekend."""
    path = "/tables/A/2026-04-04/2026-04-05/?format=json"
    session = RecordingSession("nbp", not_found=frozenset({path}))
    assert [payload async for payload in SOURCES["nbp"].fetch(session, day(4), day(5))] == []
    assert session.paths == [path]
