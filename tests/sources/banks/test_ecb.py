"""European Central Bank."""

from fractions import Fraction
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, asked, digits, document, parse, receipt
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    day(17, 3): {
        "CNY": ("7.9412", 1, None),
        "GBP": ("0.8643", 1, None),
        "HUF": ("388.33", 1, None),
        "IDR": ("19554.27", 1, None),
        "JPY": ("183.29", 1, None),
        "USD": ("1.1531", 1, None),
    },
    day(18, 3): {
        "CNY": ("7.9214", 1, None),
        "GBP": ("0.86393", 1, None),
        "HUF": ("392.83", 1, None),
        "IDR": ("19543.1", 1, None),
        "JPY": ("183.49", 1, None),
        "USD": ("1.15", 1, None),
    },
}
BODY = document("ecb", "2026-03-17-to-18.csv")


def test_an_answer_is_a_fixing_a_day_with_the_published_digits_and_its_receipt() -> None:
    """Rows sorted by currency become one fixing a day, oldest first, quoted the inverse way."""
    fixings = parse("ecb", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert receipt(fixing) == ("ecb", "EUR", Quotation.INVERSE, URL, FETCHED, sha256(BODY).hexdigest())


def test_a_rate_in_euro_is_the_exact_inverse() -> None:
    """The bank says what one euro buys: the dollar of 1.15 is worth 20/23 of a euro."""
    assert parse("ecb", BODY)[-1].value("USD") == Fraction(20, 23)


def test_trailing_zeros_are_kept() -> None:
    """A figure is what the bank wrote, also where it wrote a zero more."""
    (_, latest) = parse("ecb", BODY.replace(b",1.15,", b",1.1500,"))
    assert str(latest.rates["USD"].value) == "1.1500"


def test_line_ends_and_a_byte_order_mark_do_not_matter() -> None:
    """Columns are found by name, also behind a mark, in another order, and with the line ends of RFC 4180."""
    (fixing,) = parse("ecb", b"\xef\xbb\xbfCURRENCY,OBS_VALUE,TIME_PERIOD\r\nUSD,1.15,2026-03-18\r\n")
    assert fixing.date == day(18, 3)
    assert digits(fixing) == {"USD": ("1.15", 1, None)}


@pytest.mark.parametrize("row", [b"USD,2026-03-18\n", b"USD,2026-03-18,1.15,A\n", b'USD,2026-03-18,"1.15\n'])
def test_a_row_of_another_shape_than_the_header_is_not_understood(row: bytes) -> None:
    """A field too few or too many, or a quotation without its end, is no row of this document."""
    with pytest.raises(NotUnderstood, match=r"another number of fields than the header, in line 2|is not CSV"):
        parse("ecb", b"CURRENCY,TIME_PERIOD,OBS_VALUE\n" + row)


def test_a_header_without_rows_is_nothing() -> None:
    """A document with its columns and no rows says that nothing is published for the range."""
    assert parse("ecb", document("ecb", "nothing.csv")) == []


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\t "])
def test_empty_body_is_nothing(body: bytes) -> None:
    """A range without an observation (a Sunday, a holiday) returns status 200 and an empty body."""
    assert parse("ecb", body) == []


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf", b"\0", b'""\n', b"<html></html>\n", b"No results found.\n"])
def test_anything_else_than_csv_or_an_empty_body_is_rejected(body: bytes) -> None:
    """Only a body without any content says that nothing is published."""
    with pytest.raises(NotUnderstood, match=r"ecb: the response (is empty|is an HTML page|contains a null byte|lacks)"):
        parse("ecb", body)


async def test_range_is_one_request() -> None:
    """One request from the first date on; the bank publishes nothing ahead, so no end is said."""
    assert await asked("ecb", day(31, 3), day(2)) == ["/D..EUR.SP00.A?format=csvdata&startPeriod=2026-03-31"]
    assert await asked("ecb", day(1, 3), day(31, 3)) == [
        "/D..EUR.SP00.A?format=csvdata&startPeriod=2026-03-01&endPeriod=2026-03-31"
    ]


@pytest.mark.parametrize("nothing", [b"", b"NaN"])
def test_a_value_that_is_not_there_was_not_quoted(nothing: bytes) -> None:
    """A holiday without any value is no fixing; one currency without a value is missing from its day."""
    head = b"CURRENCY,TIME_PERIOD,OBS_VALUE\n"
    good = b"USD,2026-04-02,1.1525\nGBP,2026-04-02,0.8700\n"
    holiday = b"USD,2026-04-03,%b\nGBP,2026-04-03,%b\n" % (nothing, nothing)
    (fixing,) = parse("ecb", head + good + holiday)
    assert fixing.date == day(2)
    known, lacking = parse("ecb", head + good + b"USD,2026-04-07,%b\nGBP,2026-04-07,0.8701\n" % nothing)
    assert known.rates.keys() - lacking.rates.keys() == {"USD"}
