"""Central Bank of Uzbekistan."""

from dataclasses import replace
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    "USD": ("12142.10", 1, "-52.11"),
    "EUR": ("14079.98", 1, "95.66"),
    "RUB": ("150.53", 1, "0.56"),
    "GBP": ("16140.49", 1, "27.06"),
    "CNY": ("1766.20", 1, "0.87"),
    "KGS": ("138.80", 1, "-0.6"),
    "IRR": ("0.09", 10, "0"),
}
BODY = document("cbu", "2026-04-02.json")


def test_response_is_one_fixing() -> None:
    """Numbers in strings keep their zeros; `Diff` is the published change, absolute and per nominal."""
    (fixing,) = parse("cbu", BODY)
    assert fixing.date == day(2)
    assert digits(fixing) == PUBLISHED
    assert metadata(fixing) == ("cbu", "UZS", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


@pytest.mark.parametrize("missing", [b"", b',"Diff":null', b',"Diff":""'])
def test_missing_change_is_none(missing: bytes) -> None:
    """A missing change is not a change of zero."""
    (fixing,) = parse("cbu", BODY.replace(b',"Diff":"-52.11"', missing))
    assert fixing.rates["USD"].change is None


@pytest.mark.parametrize(
    "diff",
    [
        b'"n/a"',
        b'"1e3"',
        b"true",
        b"false",
        b"[1]",
        b'{"a":1}',
    ],
)
def test_invalid_change_is_left_out(diff: bytes) -> None:
    """The rate is used without the bank's own change."""
    (whole,), odd = parse("cbu", BODY), parse("cbu", BODY.replace(b'"Diff":"-52.11"', b'"Diff":' + diff))
    assert odd[0].rates["USD"] == replace(whole.rates["USD"], change=None)
    assert odd[0].rates.keys() == whole.rates.keys()
    assert len(odd.left_out) == 1


def test_empty_array_has_no_fixings() -> None:
    """An empty array means that nothing is published for the date."""
    assert parse("cbu", document("cbu", "nothing.json")) == []


async def test_every_date_is_requested_separately() -> None:
    """One request per date from the first to the last, both included, across the end of a month."""
    assert await requested_paths("cbu", day(31, 3), day(2)) == [
        "/all/2026-03-31/",
        "/all/2026-04-01/",
        "/all/2026-04-02/",
    ]
