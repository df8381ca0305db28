"""Bank of England."""

from fractions import Fraction
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks.boe import SERIES
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    day(17, 3): {
        "USD": ("1.3343", 1, None),
        "EUR": ("1.1577", 1, None),
        "CNY": ("9.1865", 1, None),
        "CAD": ("1.829", 1, None),
        "JPY": ("212.1937", 1, None),
        "HUF": ("450.2329", 1, None),
    },
    day(18, 3): {
        "USD": ("1.3323", 1, None),
        "EUR": ("1.1572", 1, None),
        "CNY": ("9.1752", 1, None),
        "CAD": ("1.8248", 1, None),
        "JPY": ("212.4739", 1, None),
        "HUF": ("453.5645", 1, None),
    },
}
BODY = document("boe", "2026-03-17-to-18.csv")


def test_response_has_one_fixing_per_day() -> None:
    """Each row is a day and each column a currency, quoted inversely."""
    fixings = parse("boe", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("boe", "GBP", Quotation.INVERSE, URL, FETCHED, sha256(BODY).hexdigest())


def test_rate_in_pounds_is_the_exact_inverse() -> None:
    """The bank quotes currency per pound: the dollar at 1.3323 is worth 10000/13323 of a pound."""
    assert parse("boe", BODY)[-1].value("USD") == Fraction(10000, 13323)


def test_empty_cell_is_not_quoted() -> None:
    """A day without any value has no fixing; a currency without a value is missing from its day."""
    header, good = b"DATE,XUDLUSS,XUDLERS\r\n", b"02 Apr 2026,1.3221,1.1466\r\n"
    (fixing,) = parse("boe", header + good + b"03 Apr 2026,,\r\n")
    assert fixing.date == day(2)
    known, incomplete = parse("boe", header + good + b"07 Apr 2026,,1.1471\r\n")
    assert known.rates.keys() - incomplete.rates.keys() == {"USD"}


def test_unrequested_series_is_refused() -> None:
    """Each column must be a known series, even if it is empty."""
    with pytest.raises(NotUnderstood, match="has the unknown series 'XUDLGBD'"):
        parse("boe", b"DATE,XUDLUSS,XUDLGBD\r\n02 Apr 2026,1.3221,\r\n")


def test_header_without_rows_has_no_fixings() -> None:
    """A document with columns and no rows means that nothing is published for the range."""
    assert parse("boe", document("boe", "nothing.csv")) == []


async def test_range_is_one_request() -> None:
    """One request with both ends of the range and the codes of all known series."""
    (step,) = await requested_paths("boe", day(31, 3), day(2))
    path, query = step.split("?")
    assert path == "/_iadb-fromshowcolumns.asp"
    assert query == (
        f"CSVF=TN&Datefrom=31/Mar/2026&Dateto=02/Apr/2026&SeriesCodes={','.join(SERIES)}&UsingCodes=Y&csv.x=yes"
    )
    assert len(set(SERIES.values())) == len(SERIES) == 26
