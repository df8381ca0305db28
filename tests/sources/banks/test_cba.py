"""Central Bank of Armenia."""

from hashlib import sha256

import pytest
from lxml import etree

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, RecordingSession, digits, document, metadata, parse
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    day(17, 3): {
        "USD": ("377.46", 1, "0.05"),
        "GBP": ("502.89", 1, "2.1"),
        "EUR": ("434.27", 1, "1.31"),
        "IRR": ("0.028598", 100, "-0.000013"),
        "JPY": ("23.72", 10, "0.019"),
        "CNY": ("54.792", 1, "0.031"),
        "KZT": ("7.8562", 10, "0.0551"),
        "RUB": ("4.5869", 1, "-0.0702"),
    },
    day(18, 3): {
        "USD": ("377.39", 1, "-0.07"),
        "GBP": ("504.04", 1, "1.15"),
        "EUR": ("435.55", 1, "1.28"),
        "IRR": ("0.028677", 100, "0.000079"),
        "JPY": ("23.735", 10, "0.015"),
        "CNY": ("54.905", 1, "0.113"),
        "KZT": ("7.8183", 10, "-0.0379"),
        "RUB": ("4.5256", 1, "-0.0613"),
    },
}
BODY = document("cba", "2026-03-17-to-18.xml")


def test_response_has_one_fixing_per_day() -> None:
    """Digits, `Amount`, `Diff` and the date in Armenia are those of the rows in the envelope."""
    fixings = parse("cba", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("cba", "AMD", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_published_change_is_the_difference_of_rates() -> None:
    """`Diff` is absolute and per amount: new minus old, not a percentage."""
    old, new = parse("cba", BODY)
    assert {code: rate.value - old.rates[code].value for code, rate in new.rates.items()} == {
        code: rate.change for code, rate in new.rates.items()
    }


def test_missing_change_is_none() -> None:
    """A missing change is not a change of zero."""
    first, _ = parse("cba", BODY.replace(b"<Diff>0.05</Diff>", b"").replace(b"<Diff>2.1</Diff>", b"<Diff/>"))
    assert [first.rates[code].change for code in ("USD", "GBP")] == [None, None]


def test_range_without_rows_has_no_fixings() -> None:
    """An empty result means that nothing is published for the range."""
    assert parse("cba", document("cba", "nothing.xml")) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ByISOResult", b"Result", "lacks <ExchangeRatesByDateRangeByISOResult>"),
        (b"http://www.cba.am/", b"http://elsewhere/", "lacks <ExchangeRatesByDateRangeByISOResult>"),
        (b"diffgr:diffgram", b"diffgr:other", "lacks <diffgram>"),
    ],
)
def test_other_content_of_an_envelope_is_rejected(old: bytes, new: bytes, message: str) -> None:
    """Any SOAP service responds with an envelope: only its content identifies the operation."""
    with pytest.raises(NotUnderstood, match=message):
        parse("cba", document("cba", "nothing.xml").replace(old, new))


async def test_range_is_one_request() -> None:
    """One SOAP request with both ends of the range and the bank's currencies."""
    session = RecordingSession("cba")
    assert len([payload async for payload in SOURCES["cba"].fetch(session, day(31, 3), day(2))]) == 1
    assert session.paths == ["/exchangerates.asmx"]
    ((body, headers),) = session.posts
    assert headers == {
        "Content-Type": "text/xml; charset=utf-8",
        "SOAPAction": '"http://www.cba.am/ExchangeRatesByDateRangeByISO"',
    }
    request = etree.fromstring(body.encode())
    assert request.tag == "{http://schemas.xmlsoap.org/soap/envelope/}Envelope"
    (operation,) = request.iterfind("{http://schemas.xmlsoap.org/soap/envelope/}Body/*")
    assert operation.tag == "{http://www.cba.am/}ExchangeRatesByDateRangeByISO"
    codes, *dates = ((child.tag, child.text or "") for child in operation)
    assert codes[0] == "{http://www.cba.am/}ISOCodes"
    assert {"USD", "EUR", "RUB", "GBP", "CNY", "KZT"} < set(codes[1].split(","))
    assert dates == [("{http://www.cba.am/}DateFrom", "2026-03-31"), ("{http://www.cba.am/}DateTo", "2026-04-02")]
