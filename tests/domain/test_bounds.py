"""Bounds that hold at every entrance."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from service.domain import bounds
from service.domain.bounds import (
    break_errors,
    date_errors,
    format_errors,
    last_dates,
    rate_errors,
    structural_errors,
    table_errors,
)
from service.domain.breaks import Break
from service.domain.fixing import REVISIONS, Fixing, Rate
from service.errors import NotUnderstood
from service.settings import load
from service.sources.adapter import RawResponse
from service.sources.rate_table import MOST_CURRENCIES, RateTableBuilder
from tests.support.fixings import FETCHED, day, fixing

_LETTERS = str.maketrans("0123456789", "ABCDEFGHIJ")
SOUND = fixing(day(1), USD="478.77", IRR=("0.36", 1000), XDR="1E-15")


def rated(**rate: object) -> Fixing:
    """Return a fixing whose dollar has other values."""
    return replace(SOUND, rates={"USD": replace(Rate(Decimal("478.77")), **rate)})  # type: ignore[arg-type]


def test_what_banks_publish_is_within_the_bounds() -> None:
    """Nominals, small values, own changes, revisions."""
    assert structural_errors(SOUND) == ()
    assert structural_errors(rated(change=Decimal("-3.68"))) == structural_errors(rated(change=Decimal("0.00"))) == ()
    assert structural_errors(replace(SOUND, digest="new").with_revision_of(SOUND)) == ()


def test_what_a_parser_lets_through_is_within_the_bounds() -> None:
    """The longest numbers and nominals, the largest number of currencies."""
    largest, smallest = "9" * 15 + "." + "9" * 15, "0." + "0" * 14 + "1"
    table = RateTableBuilder(RawResponse("nbk", "KZT", "http://bank", b"", FETCHED))
    table.add(day(1), "USD", largest, "9999999", f"-{largest}")
    table.add(day(1), "EUR", smallest, "1", "0." + "0" * 15)
    assert structural_errors(table.fixings()[0]) == ()
    assert MOST_CURRENCIES == bounds.MOST_CURRENCIES


def test_a_parser_rejects_a_date_that_cannot_be_computed_with() -> None:
    """It would not come back from the store."""
    table = RateTableBuilder(RawResponse("nbk", "KZT", "http://bank", b"", FETCHED))
    with pytest.raises(NotUnderstood, match="has rates of 9999-12-31, after 2199-12-31, the last possible date"):
        table.add(date.max, "USD", "1")


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (rated(value=Decimal("1E+2000000")), "USD is 1E+2000000, outside 1E-15 to 1E+16"),
        (rated(value=Decimal("1E+16")), "USD is 1E+16, outside 1E-15 to 1E+16"),
        (rated(value=Decimal("9E-16")), "USD is 9E-16, outside 1E-15 to 1E+16"),
        (rated(value=Decimal("1E-2000000")), "USD is 1E-2000000, outside 1E-15 to 1E+16"),
        (rated(value=Decimal("1." + "0" * 30)), "USD has 31 digits, at most 30 are allowed"),
        (rated(value=Decimal("NaN")), "USD is NaN for 1, not a positive finite rate"),
        (rated(value=Decimal("sNaN")), "USD is sNaN for 1, not a positive finite rate"),
        (rated(value=Decimal("-Infinity")), "USD is -Infinity for 1, not a positive finite rate"),
        (rated(nominal=10_000_000), "USD is quoted for 10000000 units, at most 9999999 are allowed"),
        (rated(nominal=10**50), "USD is quoted for 1000"),
        (rated(change=Decimal("1E+16")), "the change of USD is 1E+16, outside 1E-15 to 1E+16"),
        (rated(change=Decimal("0E+2000000")), "the change of USD is 0E+2000000, outside 1E-15 to 1E+16"),
        (rated(change=Decimal("NaN")), "the change of USD is NaN, not a finite number"),
        (replace(SOUND, rates={"usd": Rate(Decimal(1))}), "'usd' is not a currency code"),
        (replace(SOUND, rates={"U,D": Rate(Decimal(1)), "X" * 99: Rate(Decimal(1))}), "'U,D' is not a currency code"),
        (replace(SOUND, rates={"ÜSD": Rate(Decimal(1))}), "'ÜSD' is not a currency code"),
        (replace(SOUND, base="kzt"), "the base 'kzt' is not a currency code"),
        (replace(SOUND, source="../nbk"), "'../nbk' is not a source key"),
        (replace(SOUND, fetched_at=FETCHED.replace(tzinfo=None)), "fetched_at 2026-04-01 11:05:12 has no time zone"),
        (
            replace(SOUND, fetched_at=datetime.max.replace(microsecond=0, tzinfo=UTC)),
            "fetched_at 9999-12-31 23:59:59+00:00 is outside 1990-01-01 to 2199-12-31",
        ),
        (
            replace(SOUND, rates={f"{one:03}".translate(_LETTERS): Rate(Decimal(1)) for one in range(201)}),
            "it quotes 201 currencies, at most 200 are allowed",
        ),
        (replace(SOUND, revisions=(SOUND,) * (REVISIONS + 1)), "it has 11 revisions, at most 10 are allowed"),
        (replace(SOUND, revisions=(rated(value=Decimal("1E+99")),)), "revision 1: USD is 1E+99, outside"),
        (replace(SOUND, revisions=(fixing(day(2), USD="1"),)), "revision 1 is of another fixing"),
        (replace(SOUND, revisions=(replace(SOUND, revisions=(SOUND,)),)), "revision 1 has revisions"),
    ],
)  # fmt: skip
def test_what_no_program_can_compute_with_is_named(broken: Fixing, problem: str) -> None:
    """Published or in quarantine; the text names the currency and the limit, and stays short."""
    for errors in (structural_errors(broken), format_errors(broken)):
        assert errors[0].startswith(problem)
        assert len(errors[0]) < 150


@pytest.mark.parametrize(
    ("worthless", "problem"),
    [
        (replace(SOUND, rates={}), "it quotes no currency"),
        (rated(value=Decimal(0)), "USD is 0 for 1, not a positive finite rate"),
        (rated(value=Decimal("-1.5")), "USD is -1.5 for 1, not a positive finite rate"),
        (rated(nominal=0), "USD is 478.77 for 0, not a positive finite rate"),
        (fixing(day(1), KZT="2"), "the base KZT is quoted in itself at 2 for 1"),
    ],
)
def test_what_is_worthless_may_be_in_quarantine(worthless: Fixing, problem: str) -> None:
    """It is never published, and can be computed with all the same."""
    assert structural_errors(worthless) == (problem,)
    assert format_errors(worthless) == ()


def test_a_base_quoted_as_one_is_allowed() -> None:
    """No bank does it today; it is true."""
    assert structural_errors(fixing(day(1), KZT="1.00", USD="478.77")) == ()
    assert structural_errors(fixing(day(1), KZT=("100", 100))) == ()


def test_rate_errors_are_distinguished_from_document_errors() -> None:
    """So that one rate can be held, and the rest of its document published."""
    broken = replace(SOUND, base="kzt", rates={**SOUND.rates, "EUR": Rate(Decimal(0)), "eur": Rate(Decimal(1))})
    assert rate_errors(broken) == {
        "EUR": "EUR is 0 for 1, not a positive finite rate",
        "eur": "'eur' is not a currency code",
    }
    assert structural_errors(broken) == ("the base 'kzt' is not a currency code", *rate_errors(broken).values())


def test_rates_without_receipts_have_the_same_bounds() -> None:
    """Bases, codes, values."""
    assert table_errors(SOUND) == ()
    assert table_errors(rated(value=Decimal("1E+2000000"))) == ("USD is 1E+2000000, outside 1E-15 to 1E+16",)


def test_dates_have_bounds() -> None:
    """The first and the last possible one are allowed."""
    assert date_errors(date(1949, 1, 1)) == date_errors(date(2199, 12, 31)) == ()
    assert date_errors(day(2), latest=day(2)) == ()
    assert date_errors(date.max) == ("it is dated 9999-12-31, after 2199-12-31, the last possible date",)
    assert date_errors(day(3), latest=day(2)) == ("it is dated 2026-04-03, after 2026-04-02, the last possible date",)
    assert date_errors(date.min) == ("it is dated 0001-01-01, before 1949-01-01, the first possible date",)


def test_a_source_is_never_dated_beyond_its_horizon() -> None:
    """Of a known source as far as it publishes ahead; of another one a week."""
    now = datetime(2026, 4, 2, 4, tzinfo=UTC)
    latest = last_dates(load(environ={}), lambda: now)
    assert (latest("nbk"), latest("ecb"), latest("another")) == (day(3), day(2), day(9))
    now += timedelta(days=1)
    assert latest("another") == day(10)


@pytest.mark.parametrize("factor", ["0", "-1", "NaN", "1E+99", "1" * 31])
def test_breaks_have_bounds(factor: str) -> None:
    """Of a currency, by a factor that can be computed with, or by an unknown one."""
    assert not list(break_errors(Break("BYN", day(1), Decimal("1E+4"))))
    assert not list(break_errors(Break("BYN", day(1))))
    assert list(break_errors(Break("byn", day(1)))) == ["'byn' is not a currency code"]
    assert list(break_errors(Break("BYN", day(1), Decimal(factor))))
