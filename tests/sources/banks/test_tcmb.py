"""Central Bank of the Republic of Türkiye."""

from datetime import date

import pytest

from service.domain.bounds import rate_errors
from service.errors import BadAnswer
from service.sources.banks import SOURCES
from tests.sources.answers import RecordingSession, digits, document, parse
from tests.support.fixings import day

OLD = document("tcmb", "2016-03-15.xml")


def test_rate_is_the_mean_of_buying_and_selling() -> None:
    """The mean is exact, with one more digit where necessary; the special drawing right has one rate only."""
    (fixing,) = parse("tcmb", OLD)
    assert (fixing.date, fixing.base) == (date(2016, 3, 15), "TRY")
    assert digits(fixing) == {
        "USD": ("2.8878", 1, None),
        "EUR": ("3.2054", 1, None),
        "DKK": ("0.429835", 1, None),
        "GBP": ("4.09815", 1, None),
        "JPY": ("2.55565", 100, None),
        "RUB": ("0.040735", 1, None),
        "XDR": ("4.0259", 1, None),
    }


def test_newer_document_is_in_utf_8() -> None:
    """Both encodings have the same form."""
    (fixing,) = parse("tcmb", document("tcmb", "2026-03-02.xml"))
    assert (fixing.date, digits(fixing)["AZN"]) == (day(2, 3), ("25.7879", 1, None))


@pytest.mark.parametrize("missing", ["ForexBuying", "ForexSelling"])
def test_rate_of_one_side_is_left_out(missing: str) -> None:
    """A rate without the other one is not a mean."""
    number = {"ForexBuying": b"2.8852", "ForexSelling": b"2.8904"}[missing]
    parsed = parse("tcmb", OLD.replace(number, b""))
    assert "USD" not in parsed[0].rates
    assert parsed.left_out[0].startswith(f"lacks <{missing}> in <Currency>")


async def test_day_without_rates_is_not_found() -> None:
    """One request per day; status 404 is a holiday, another error is raised after the other days."""
    sunday = "/202603/01032026.xml"
    session = RecordingSession("tcmb", not_found=frozenset({sunday}))
    urls = [one.url async for one in SOURCES["tcmb"].fetch(session, day(28, 2), day(2, 3))]
    assert urls == ["http://bank.test/202602/28022026.xml", "http://bank.test/202603/02032026.xml"]
    assert session.paths == ["/202602/28022026.xml", sunday, "/202603/02032026.xml"]


async def test_missing_day_of_another_bank_is_an_error() -> None:
    """For banks that always have rates, status 404 is an error."""
    session = RecordingSession("nbk", not_found=frozenset({"/get_rates.cfm?fdate=01.04.2026"}))
    with pytest.raises(BadAnswer):
        [one async for one in SOURCES["nbk"].fetch(session, day(1), day(1))]


def test_both_rates_are_kept() -> None:
    """With their digits; the special drawing right has none."""
    (fixing,) = parse("tcmb", OLD)
    rates = {code: (str(rate.buying), str(rate.selling)) for code, rate in fixing.rates.items()}
    assert (rates["USD"], rates["JPY"], rates["XDR"]) == (("2.8852", "2.8904"), ("2.5472", "2.5641"), ("None", "None"))


def test_rates_in_the_wrong_order_are_not_published() -> None:
    """One of the two is wrong, and so is their mean."""
    turned = OLD.replace(b"2.8852", b"9.9").replace(b"2.8904", b"2.8852").replace(b"9.9", b"2.8904")
    (fixing,) = parse("tcmb", turned)
    assert rate_errors(fixing).keys() == {"USD"}
