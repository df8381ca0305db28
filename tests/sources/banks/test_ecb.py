"""European Central Bank."""

from fractions import Fraction
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
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


def test_response_has_one_fixing_per_day() -> None:
    """Rows sorted by currency become one fixing per day, oldest first, quoted inversely."""
    fixings = parse("ecb", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("ecb", "EUR", Quotation.INVERSE, URL, FETCHED, sha256(BODY).hexdigest())


def test_rate_in_euro_is_the_exact_inverse() -> None:
    """The bank quotes currency per euro: the dollar at 1.15 is worth 20/23 of a euro."""
    assert parse("ecb", BODY)[-1].value("USD") == Fraction(20, 23)


def test_trailing_zeros_are_kept() -> None:
    """A rate has the digits of the document."""
    (_, latest) = parse("ecb", BODY.replace(b",1.15,", b",1.1500,"))
    assert str(latest.rates["USD"].value) == "1.1500"


def test_line_endings_and_byte_order_mark_are_ignored() -> None:
    """Columns are found by name, after a mark, in any order, with the line endings of RFC 4180."""
    (fixing,) = parse("ecb", b"\xef\xbb\xbfCURRENCY,OBS_VALUE,TIME_PERIOD\r\nUSD,1.15,2026-03-18\r\n")
    assert fixing.date == day(18, 3)
    assert digits(fixing) == {"USD": ("1.15", 1, None)}


@pytest.mark.parametrize("row", [b"USD,2026-03-18\n", b"USD,2026-03-18,1.15,A\n", b'USD,2026-03-18,"1.15\n'])
def test_row_that_does_not_match_the_header_is_rejected(row: bytes) -> None:
    """Missing and extra fields and unterminated quotes are errors."""
    with pytest.raises(NotUnderstood, match=r"another number of fields than the header, in line 2|is not CSV"):
        parse("ecb", b"CURRENCY,TIME_PERIOD,OBS_VALUE\n" + row)


def test_header_without_rows_has_no_fixings() -> None:
    """A document with columns and no rows means that nothing is published for the range."""
    assert parse("ecb", document("ecb", "nothing.csv")) == []


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\t "])
def test_empty_body_has_no_fixings(body: bytes) -> None:
    """A range without an observation (a Sunday, a holiday) returns status 200 and an empty body."""
    assert parse("ecb", body) == []


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf", b"\0", b'""\n', b"<html></html>\n", b"No results found.\n"])
def test_body_that_is_neither_csv_nor_empty_is_rejected(body: bytes) -> None:
    """Only a body without any content means that nothing is published."""
    with pytest.raises(NotUnderstood, match=r"ecb: the response (is empty|is an HTML page|contains a null byte|lacks)"):
        parse("ecb", body)


async def test_range_is_one_request() -> None:
    """Up to today the request has no end date, since the bank publishes nothing ahead."""
    assert await requested_paths("ecb", day(31, 3), day(2)) == ["/D..EUR.SP00.A?format=csvdata&startPeriod=2026-03-31"]
    assert await requested_paths("ecb", day(1, 3), day(31, 3)) == [
        "/D..EUR.SP00.A?format=csvdata&startPeriod=2026-03-01&endPeriod=2026-03-31"
    ]


@pytest.mark.parametrize("missing", [b"", b"NaN"])
def test_missing_value_is_not_quoted(missing: bytes) -> None:
    """A day without any value has no fixing; a currency without a value is missing from its day."""
    header = b"CURRENCY,TIME_PERIOD,OBS_VALUE\n"
    good = b"USD,2026-04-02,1.1525\nGBP,2026-04-02,0.8700\n"
    holiday = b"USD,2026-04-03,%b\nGBP,2026-04-03,%b\n" % (missing, missing)
    (fixing,) = parse("ecb", header + good + holiday)
    assert fixing.date == day(2)
    known, incomplete = parse("ecb", header + good + b"USD,2026-04-07,%b\nGBP,2026-04-07,0.8701\n" % missing)
    assert known.rates.keys() - incomplete.rates.keys() == {"USD"}
