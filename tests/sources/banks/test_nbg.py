"""National Bank of Georgia."""

from datetime import date
from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    day(28, 2): {
        "USD": ("2.6759", 1, "0.0018"),
        "EUR": ("3.1581", 1, "0.0037"),
        "GBP": ("3.6066", 1, "-0.0125"),
        "RUB": ("3.4619", 100, "-0.0119"),
        "CNY": ("3.9010", 10, "-0.0076"),
        "KZT": ("0.5374", 100, "0.0024"),
        "AMD": ("7.0960", 1000, "0.0083"),
    },
    day(3, 3): {
        "USD": ("2.6922", 1, "0.0163"),
        "EUR": ("3.1606", 1, "0.0025"),
        "GBP": ("3.6065", 1, "-0.0001"),
        "RUB": ("3.4826", 100, "0.0207"),
        "CNY": ("3.9121", 10, "0.0111"),
        "KZT": ("0.5381", 100, "0.0007"),
        "AMD": ("7.1407", 1000, "0.0447"),
    },
}


@pytest.mark.parametrize("on", PUBLISHED)
def test_response_is_one_fixing(on: date) -> None:
    """Zeros are kept; the nominal is `quantity`; the change is signed; the date is the effective one."""
    body = document("nbg", f"{on}.json")
    (fixing,) = parse("nbg", body)
    assert fixing.date == on
    assert digits(fixing) == PUBLISHED[on]
    assert metadata(fixing) == ("nbg", "GEL", Quotation.DIRECT, URL, FETCHED, sha256(body).hexdigest())


def test_published_change_is_the_difference_of_rates() -> None:
    """`diff` is absolute and per quantity: new minus old, from set to set."""
    (old,), (new,) = (parse("nbg", document("nbg", f"{on}.json")) for on in PUBLISHED)
    assert {code: rate.value - old.rates[code].value for code, rate in new.rates.items()} == {
        code: rate.change for code, rate in new.rates.items()
    }


@pytest.mark.parametrize("missing", [b"", b'"diff":null,'])
def test_missing_change_is_none(missing: bytes) -> None:
    """A missing change is not a change of zero."""
    (fixing,) = parse("nbg", document("nbg", "2026-03-03.json").replace(b'"diff":0.0163,', missing))
    assert fixing.rates["USD"].change is None


def test_empty_array_has_no_fixings() -> None:
    """The bank responds with an empty array before its coverage begins."""
    assert parse("nbg", document("nbg", "nothing.json")) == []


def test_set_without_rates_is_left_out() -> None:
    """The bank responds with its last set if it has no new one, so a set without rates is broken."""
    empty = b'[{"date":"2026-03-02T00:00:00.000Z","currencies":[]}]'
    with pytest.raises(NotUnderstood, match="has no rates for 2026-03-02"):
        parse("nbg", empty)
    other = document("nbg", "2026-03-03.json")
    parsed = parse("nbg", other.replace(b"[", empty[:-1] + b",", 1))
    assert [fixing.date for fixing in parsed] == [fixing.date for fixing in parse("nbg", other)]
    assert parsed.left_out == ("has no rates for 2026-03-02",)


@pytest.mark.parametrize("currencies", [b"", b',"currencies":{}', b',"currencies":[1]'])
def test_set_without_its_array_is_rejected(currencies: bytes) -> None:
    """Rates under another name or of another type are not a document of this bank."""
    with pytest.raises(NotUnderstood, match="lacks currencies, an array of objects"):
        parse("nbg", b'[{"date":"2026-03-03T00:00:00.000Z"%b}]' % currencies)


async def test_every_date_is_requested_separately() -> None:
    """One request per date from the first to the last, both included, across the end of a month."""
    assert await requested_paths("nbg", day(31, 3), day(2)) == [
        "/currencies/?date=2026-03-31",
        "/currencies/?date=2026-04-01",
        "/currencies/?date=2026-04-02",
    ]
