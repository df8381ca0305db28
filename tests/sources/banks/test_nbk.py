"""National Bank of Kazakhstan."""

from datetime import date
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.sources.published import PUBLISHED
from tests.support.fixings import FETCHED, day


@pytest.mark.parametrize("on", PUBLISHED)
def test_response_is_one_fixing(on: date) -> None:
    """Digits, nominals, published changes, date and metadata are those of the document."""
    body = document("nbk", f"{on}.xml")
    (fixing,) = parse("nbk", body)
    assert fixing.date == on
    assert digits(fixing) == PUBLISHED[on]
    assert metadata(fixing) == ("nbk", "KZT", Quotation.DIRECT, URL, FETCHED, sha256(body).hexdigest())


def test_published_change_is_the_difference_of_rates() -> None:
    """The change is absolute and per nominal: new minus old, not a percentage."""
    (old,), (new,) = (parse("nbk", document("nbk", f"{on}.xml")) for on in PUBLISHED)
    assert {code: rate.value - old.rates[code].value for code, rate in new.rates.items()} == {
        code: rate.change for code, rate in new.rates.items()
    }


@pytest.mark.parametrize(
    "body",
    [
        document("nbk", "not-set.xml"),
        b"<rates><date>03.04.2026</date></rates>",
    ],
)
def test_unpublished_date_has_no_fixings(body: bytes) -> None:
    """A document with a date and no items, with or without a note, means that nothing is published."""
    assert parse("nbk", body) == []


def test_missing_change_is_none() -> None:
    """A missing change is not a change of zero."""
    body = document("nbk", "2026-04-02.xml").replace(b"<change>-3.68</change>", b"")
    body = body.replace(b"<change>+2.44</change>", b"<change/>")
    (fixing,) = parse("nbk", body)
    assert [fixing.rates[code].change for code in ("USD", "EUR")] == [None, None]


async def test_every_date_is_requested_separately() -> None:
    """One request per date from the first to the last, both included, across the end of a month."""
    assert await requested_paths("nbk", day(31, 3), day(2)) == [
        "/get_rates.cfm?fdate=31.03.2026",
        "/get_rates.cfm?fdate=01.04.2026",
        "/get_rates.cfm?fdate=02.04.2026",
    ]
