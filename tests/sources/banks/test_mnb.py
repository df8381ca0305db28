"""Magyar Nemzeti Bank."""

import re
from datetime import date
from hashlib import sha256

import pytest
from lxml import etree

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import URL, Asked, digits, document, parse, receipt
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


def test_an_answer_is_a_fixing_a_day_with_the_published_digits_and_its_receipt() -> None:
    """The document within the envelope: comma decimals keep their zeros, days come oldest first."""
    fixings = parse("mnb", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert receipt(fixing) == ("mnb", "HUF", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


def test_a_range_without_days_is_nothing() -> None:
    """A document without days says that nothing is published for the range."""
    assert parse("mnb", document("mnb", "nothing.xml")) == []


@pytest.mark.parametrize(
    "result",
    [
        b"<GetExchangeRatesResult/>",
        b"<GetExchangeRatesResult></GetExchangeRatesResult>",
        b"<GetExchangeRatesResult> \r\n\t</GetExchangeRatesResult>",
    ],
)
def test_blank_result_is_nothing(result: bytes) -> None:
    """A proper SOAP envelope with a blank result says that nothing is published for the range."""
    body = document("mnb", "nothing-blank.xml")
    assert parse("mnb", body.replace(b"<GetExchangeRatesResult/>", result)) == []


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (b"", "lacks <GetExchangeRatesResult>"),
        (b"<GetExchangeRatesResult/><GetExchangeRatesResult/>", "has <GetExchangeRatesResult> twice"),
        (b'<GetExchangeRatesResult xmlns="http://elsewhere/"/>', "lacks <GetExchangeRatesResult>"),
        (b"<GetExchangeRatesResult><!-- --></GetExchangeRatesResult>", "has other content than text in"),
        (b"<GetExchangeRatesResult>&#xFEFF;</GetExchangeRatesResult>", "is empty"),
        (b"<GetExchangeRatesResult>maintenance</GetExchangeRatesResult>", "is not well-formed XML"),
    ],
)
def test_result_that_is_not_blank_is_a_document(result: bytes, told: str) -> None:
    """A missing, repeated or foreign result, or one with any content, is not a blank result."""
    with pytest.raises(NotUnderstood, match=f"mnb: the response {told}"):
        parse("mnb", RESULT.sub(result, BODY))


@pytest.mark.parametrize(
    ("inner", "told"),
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
def test_the_document_within_is_read_as_strictly(inner: bytes, told: str) -> None:
    """What stands in the envelope is a document of its own, and refused like one."""
    with pytest.raises(NotUnderstood, match=f"mnb: the response {told}"):
        parse("mnb", HEAD + inner + TAIL)


@pytest.mark.parametrize("inside", [b"&lt;!-- --&gt;", b"&lt;?pi?&gt;", b"&lt;b/&gt;"])
def test_value_of_the_inner_document_is_parsed_whole_or_refused(inside: bytes) -> None:
    """A comment, an instruction or an element inside a figure never cuts it to a smaller one."""
    with pytest.raises(NotUnderstood, match="has other content than text in <Rate>"):
        parse("mnb", BODY.replace(b"371,80", b"37%b1,80" % inside))


async def test_range_is_one_request() -> None:
    """One SOAP request with both ends of the range, for the bank's currencies, under the action it is known by."""
    feed = Asked("mnb")
    assert len([payload async for payload in SOURCES["mnb"].fetch(feed, day(31, 3), day(2))]) == 1
    assert feed.steps == ["/arfolyamok.asmx"]
    ((body, headers),) = feed.posts
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
