"""Central Bank of the UAE."""

import pytest

from service.errors import NotUnderstood
from service.settings.currencies import CODES
from service.sources.banks.cbuae import NAMES
from tests.sources.answers import digits, document, parse, requested_paths
from tests.support.fixings import day

BODY = document("cbuae", "2026-04-02.html")


def test_names_are_currencies_and_the_update_is_the_date() -> None:
    """Rates are dirhams for one unit."""
    (fixing,) = parse("cbuae", BODY)
    assert (fixing.date, fixing.base) == (day(2), "AED")
    assert digits(fixing) == {
        "USD": ("3.6725", 1, None),
        "EUR": ("4.259757", 1, None),
        "GBP": ("4.884427", 1, None),
        "CNY": ("0.534306", 1, None),
        "RUB": ("0.045376", 1, None),
        "KZT": ("0.007730", 1, None),
    }
    assert set(NAMES.values()) <= CODES


@pytest.mark.parametrize(("written", "value"), [("2E-06", "0.000002"), ("4.25E-05", "0.0000425")])
def test_small_rate_has_an_exponent(written: str, value: str) -> None:
    """Others with an exponent are left out: see the contract."""
    parsed = parse("cbuae", BODY.replace(b">3.6725<", f">{written}<".encode()))
    assert (str(parsed[0].rates["USD"].value), parsed.left_out) == (value, ())


def test_unknown_or_repeated_name_is_left_out() -> None:
    """The other rates are used."""
    parsed = parse("cbuae", BODY.replace(b"Euro", b"Lunar Crown"))
    assert parsed.left_out == ("has the unknown currency 'Lunar Crown'",)
    assert set(parsed[0].rates) == {"USD", "GBP", "CNY", "RUB", "KZT"}
    parsed = parse("cbuae", BODY.replace(b"Euro", b"US  DOLLAR"))
    assert parsed.left_out == ("quotes USD twice for 2026-04-02",)
    assert set(parsed[0].rates) == {"GBP", "CNY", "RUB", "KZT"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"Last updated:", b"Updated:", "lacks a paragraph that begins with 'Last updated:'"),
        (b"Exchange rates of", b"Last updated: Exchange rates of", "lacks a paragraph that begins with"),
        (b"</table>", b"</table><table></table>", "lacks a table of rates, or has several: 2"),
        (b"</td>", b"", "is truncated: a <td> is not closed"),
    ],
)
def test_ambiguous_document_is_rejected(old: bytes, new: bytes, problem: str) -> None:
    with pytest.raises(NotUnderstood, match=problem):
        parse("cbuae", BODY.replace(old, new, 1))


@pytest.mark.parametrize(
    "body", [b"<!-- closed -->", b"<!-- <table></table> -->", b"<?php?>", b"\x01", b"<p>Last updated:"]
)
def test_document_without_elements_is_rejected(body: bytes) -> None:
    with pytest.raises(NotUnderstood, match="lacks a table of rates"):
        parse("cbuae", body)


async def test_one_request_for_the_latest_rates() -> None:
    assert await requested_paths("cbuae", day(1), day(3)) == ["/GetExchangeRateAllCurrency"]
