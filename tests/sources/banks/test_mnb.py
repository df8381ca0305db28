"""Magyar Nemzeti Bank."""

import re
from datetime import date
from hashlib import sha256

import pytest
from lxml import etree

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, RecordingSession, digits, document, metadata, parse
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    date(2025, 3, 27): {
        "USD": ("371.80", 1, None),
        "EUR": ("400.47", 1, None),
        "GBP": ("480.40", 1, None),
        "RUB": ("4.44", 1, None),
        "CNY": ("51.17", 1, None),
        "JPY": ("246.34", 100, None),
        "IDR": ("2.25", 100, None),
    },
    date(2025, 3, 28): {
        "USD": ("373.72", 1, None),
        "EUR": ("402.61", 1, None),
        "GBP": ("484.00", 1, None),
        "RUB": ("4.46", 1, None),
        "CNY": ("51.46", 1, None),
        "JPY": ("248.17", 100, None),
        "IDR": ("2.26", 100, None),
    },
}
BODY = document("mnb", "2025-03-27-to-28.xml")
RESULT = re.compile(rb"<GetExchangeRatesResult>.*</GetExchangeRatesResult>", re.DOTALL)
HEAD, TAIL = BODY.split(b"&lt;MNBExchangeRates&gt;")[0], BODY.split(b"&lt;/MNBExchangeRates&gt;")[1]


def test_response_has_one_fixing_per_day() -> None:
    """The document in the envelope: decimal commas keep their zeros, days are sorted, oldest first."""
    fixings = parse("mnb", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("mnb", "HUF", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_range_without_days_has_no_fixings() -> None:
    """A document without days means that nothing is published for the range."""
    assert parse("mnb", document("mnb", "nothing.xml")) == []


@pytest.mark.parametrize(
    "result",
    [
        b"<GetExchangeRatesResult/>",
        b"<GetExchangeRatesResult></GetExchangeRatesResult>",
        b"<GetExchangeRatesResult> \r\n\t</GetExchangeRatesResult>",
    ],
)
def test_blank_result_has_no_fixings(result: bytes) -> None:
    """A valid SOAP envelope with a blank result means that nothing is published for the range."""
    body = document("mnb", "nothing-blank.xml")
    assert parse("mnb", body.replace(b"<GetExchangeRatesResult/>", result)) == []


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (b"", "lacks <GetExchangeRatesResult>"),
        (b"<GetExchangeRatesResult/><GetExchangeRatesResult/>", "has <GetExchangeRatesResult> twice"),
        (b'<GetExchangeRatesResult xmlns="http://elsewhere/"/>', "lacks <GetExchangeRatesResult>"),
        (b"<GetExchangeRatesResult><!-- --></GetExchangeRatesResult>", "has other content than text in"),
        (b"<GetExchangeRatesResult>&#xFEFF;</GetExchangeRatesResult>", "is empty"),
        (b"<GetExchangeRatesResult>maintenance</GetExchangeRatesResult>", "is not well-formed XML"),
    ],
)
def test_result_that_is_not_blank_is_a_document(result: bytes, message: str) -> None:
    """A missing, repeated or foreign result, or one with any content, is not a blank result."""
    with pytest.raises(NotUnderstood, match=f"mnb: the response {message}"):
        parse("mnb", RESULT.sub(result, BODY))


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (b"&lt;html&gt;&lt;/html&gt;", "is an HTML page"),
        (b"&lt;MNBExchangeRates&gt;", "is not well-formed XML"),
        (b"&lt;MNBCurrencies /&gt;", "has the root <MNBCurrencies> instead of <MNBExchangeRates>"),
        (b"<MNBExchangeRates/>", "has other content than text in"),
        (b"&lt;!DOCTYPE MNBExchangeRates&gt;&lt;MNBExchangeRates /&gt;", "has a document type declaration"),
        *(
            (b"&lt;MNBExchangeRates&gt;%b&lt;/MNBExchangeRates&gt;" % content, "has other content than <Day> in")
            for content in (b'&lt;Rate date="2025-03-28" /&gt;', b"&lt;!-- --&gt;", b"maintenance")
        ),
        (
            b'&lt;MNBExchangeRates&gt;&lt;Day date="2025-03-28" /&gt;&lt;/MNBExchangeRates&gt;',
            "has no rates for 2025-03-28",
        ),
    ],
)
def test_inner_document_is_validated(inner: bytes, message: str) -> None:
    """The content of the envelope is a document with the same checks as any other."""
    with pytest.raises(NotUnderstood, match=f"mnb: the response {message}"):
        parse("mnb", HEAD + inner + TAIL)


@pytest.mark.parametrize("inside", [b"&lt;!-- --&gt;", b"&lt;?pi?&gt;", b"&lt;b/&gt;"])
def test_value_of_the_inner_document_is_not_truncated(inside: bytes) -> None:
    """A comment, an instruction or an element inside a rate never truncates it."""
    parsed = parse("mnb", BODY.replace(b"371,80", b"37%b1,80" % inside))
    assert parsed.left_out == ("has other content than text in <Rate>",)
    assert all(rate.value != 37 for fixing in parsed for rate in fixing.rates.values())


async def test_range_is_one_request() -> None:
    """One SOAP request with both ends of the range and the bank's currencies."""
    session = RecordingSession("mnb")
    assert len([payload async for payload in SOURCES["mnb"].fetch(session, day(31, 3), day(2))]) == 1
    assert session.paths == ["/arfolyamok.asmx"]
    ((body, headers),) = session.posts
    assert headers == {
        "Content-Type": "text/xml; charset=utf-8",
        "SOAPAction": "http://www.mnb.hu/webservices/MNBArfolyamServiceSoap/GetExchangeRates",
    }
    (operation,) = etree.fromstring(body.encode()).iterfind("{http://schemas.xmlsoap.org/soap/envelope/}Body/*")
    assert operation.tag == "{http://www.mnb.hu/webservices/}GetExchangeRates"
    *dates, names = ((etree.QName(child).localname, child.text or "") for child in operation)
    assert dates == [("startDate", "2026-03-31"), ("endDate", "2026-04-02")]
    assert names[0] == "currencyNames"
    assert {"USD", "EUR", "RUB", "GBP", "CNY"} < set(names[1].split(","))
