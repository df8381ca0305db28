"""National Bank of Romania."""

from datetime import date
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, RecordingSession, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    day(18, 8): {
        "USD": ("4.5298", 1, None),
        "EUR": ("5.2442", 1, None),
        "GBP": ("6.1296", 1, None),
        "CNY": ("0.6718", 1, None),
        "RUB": ("0.0534", 1, None),
        "MDL": ("0.2626", 1, None),
        "HUF": ("1.4388", 100, None),
        "JPY": ("2.8378", 100, None),
        "XAU": ("639.8490", 1, None),
    },
    day(19, 8): {
        "USD": ("4.5190", 1, None),
        "EUR": ("5.2452", 1, None),
        "GBP": ("6.1269", 1, None),
        "CNY": ("0.6707", 1, None),
        "RUB": ("0.0530", 1, None),
        "MDL": ("0.2631", 1, None),
        "HUF": ("1.4375", 100, None),
        "JPY": ("2.8404", 100, None),
        "XAU": ("633.3435", 1, None),
    },
}
BODY = document("bnr", "2026.xml")


@pytest.mark.parametrize("namespace", [b"https://www.bnr.ro/xsd", b"http://www.bnr.ro/xsd"])
def test_response_has_one_fixing_per_day(namespace: bytes) -> None:
    """Zeros are kept; the nominal is `multiplier`, 1 by default; the namespace does not matter."""
    body = BODY.replace(b"https://www.bnr.ro/xsd", namespace)
    fixings = parse("bnr", body)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("bnr", "RON", Quotation.DIRECT, URL, FETCHED, sha256(body).hexdigest())


@pytest.mark.parametrize(
    "inside", [b"", b"<Body/>", b'<Body><Cube date="2026-08-18"/></Body>', b"<Rate currency='USD'>4.5298</Rate>"]
)
def test_year_without_rates_is_rejected(inside: bytes) -> None:
    """The file of a year starts with its first fixing, so one without rates is broken."""
    with pytest.raises(NotUnderstood, match="has no rates"):
        parse("bnr", b'<DataSet xmlns="https://www.bnr.ro/xsd">%b</DataSet>' % inside)


async def test_only_requested_dates_of_a_year_are_used() -> None:
    """Dates before the range are dropped, even if none is left, as on New Year's Eve."""
    session = RecordingSession("bnr", responses={"/years/nbrfxrates2026.xml": BODY})
    for since, wanted in ((day(19, 8), [day(19, 8)]), (day(20, 8), [])):
        (year,) = [payload async for payload in SOURCES["bnr"].fetch(session, since, day(20, 8))]
        assert [fixing.date for fixing in SOURCES["bnr"].parse(year)] == wanted


async def test_year_is_one_request() -> None:
    """One request per year in the range."""
    assert await requested_paths("bnr", day(31, 3), day(2)) == ["/years/nbrfxrates2026.xml"]
    assert await requested_paths("bnr", date(2025, 12, 30), date(2026, 1, 2)) == [
        "/years/nbrfxrates2025.xml",
        "/years/nbrfxrates2026.xml",
    ]


HTML = b"<!DOCTYPE html><html><body>Banca Nationala a Romaniei</body></html>"


@pytest.mark.parametrize(
    ("until", "documents"), [(date(2027, 1, 3), 1), (date(2027, 1, 7), 1), (date(2027, 1, 8), 2), (date(2027, 6, 1), 2)]
)
async def test_page_instead_of_the_new_years_document_is_no_error(until: date, documents: int) -> None:
    """In the first days of January the file does not exist yet; later a page means that the URL has changed."""
    session = RecordingSession("bnr", responses={"/years/nbrfxrates2027.xml": HTML})
    urls = [payload.url async for payload in SOURCES["bnr"].fetch(session, date(2026, 12, 30), until)]
    assert len(urls) == documents


async def test_page_instead_of_the_current_document_is_an_error() -> None:
    session = RecordingSession("bnr", responses={"/years/nbrfxrates2026.xml": HTML})
    (payload,) = [payload async for payload in SOURCES["bnr"].fetch(session, date(2026, 12, 20), date(2026, 12, 30))]
    with pytest.raises(NotUnderstood, match="is an HTML page"):
        SOURCES["bnr"].parse(payload)
