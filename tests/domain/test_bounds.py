"""Bounds of fixings, dates and breaks, checked wherever data enters the service."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

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
from service.domain.fixing import REVISIONS, Fixing, Quotation, Rate
from service.errors import NotUnderstood
from service.settings import load
from service.sources.adapter import RawResponse
from service.sources.rate_table import MOST_CURRENCIES, RateTableBuilder
from tests.support.fixings import FETCHED, day, fixing

_LETTERS = str.maketrans("0123456789", "ABCDEFGHIJ")
VALID = fixing(day(1), USD="478.77", IRR=("0.36", 1000), XDR="1E-15")


def with_usd_rate(**rate: object) -> Fixing:
    """Return a valid fixing whose USD rate has other values."""
    return replace(VALID, rates={"USD": replace(Rate(Decimal("478.77")), **rate)})  # type: ignore[arg-type]


def test_published_fixing_is_within_bounds() -> None:
    """Nominals, small values, published changes and revisions are valid."""
    assert structural_errors(VALID) == ()
    assert (
        structural_errors(with_usd_rate(change=Decimal("-3.68")))
        == structural_errors(with_usd_rate(change=Decimal("0.00")))
        == ()
    )
    assert structural_errors(replace(VALID, digest="new").with_revision_of(VALID)) == ()


def test_fixing_accepted_by_a_parser_is_within_bounds() -> None:
    """Check the longest numbers, the largest nominal and the largest number of currencies."""
    largest, smallest = "9" * 15 + "." + "9" * 15, "0." + "0" * 14 + "1"
    table = RateTableBuilder(RawResponse("nbk", "KZT", "http://bank", b"", FETCHED))
    table.add(day(1), "USD", largest, "9999999", f"-{largest}")
    table.add(day(1), "EUR", smallest, "1", "0." + "0" * 15)
    assert structural_errors(table.fixings()[0]) == ()
    assert MOST_CURRENCIES == bounds.MOST_CURRENCIES


@pytest.mark.parametrize(
    "number",
    ["0.0025834567890123456", "123456789012345.123456789012345", "0." + "0" * 14 + "1" * 30, "000042.50", "9" * 16],
)
def test_number_of_up_to_30_digits_is_read_as_published(number: str) -> None:
    """Leading zeros are not counted, before and after the point. The numbers can be stored."""
    table = RateTableBuilder(RawResponse("nbk", "KZT", "http://bank", b"", FETCHED))
    table.add(day(1), "USD", number, change="-" + number)
    table.add(day(1), "EUR", "1.5", "1", "0.0000000000000000001", buying=number, selling="1.6")
    (found,) = parsed = table.fixings()
    usd, eur = found.rates["USD"], found.rates["EUR"]
    assert (usd.value, usd.change, eur.buying) == (Decimal(number), Decimal("-" + number), Decimal(number))
    assert (eur.change, parsed.left_out) == (Decimal("1E-19"), ())
    assert format_errors(found) == ()
    assert found.published("USD") == Decimal(number)
    assert str(found.published("USD")) == str(Decimal(number))


@pytest.mark.parametrize(
    ("number", "error"),
    [
        ("0." + "1" * 31, "has 31 digits, at most 30 are allowed"),
        ("1." + "0" * 30, "has 31 digits, at most 30 are allowed"),
        ("1" * 64, "has 64 digits, at most 30 are allowed"),
        ("1" + "0" * 16, "is 10000000000000000, outside 1E-15 to 1E+16"),
        ("0." + "0" * 15 + "9", "is 9E-16, outside 1E-15 to 1E+16"),
        ("0." + "0" * 62, "is 0E-62, outside 1E-15 to 1E+16"),
    ],
)
def test_error_of_a_number_beyond_the_limits_names_the_limit(number: str, error: str) -> None:
    table = RateTableBuilder(RawResponse("nbk", "KZT", "http://bank", b"", FETCHED))
    with pytest.raises(NotUnderstood) as caught:
        table.add(day(1), "USD", number)
    expected = f"has {number[:40]!r} where a number is expected for USD on 2026-04-01: it {error}"
    assert caught.value.problem.endswith(expected)


def test_parser_rejects_a_date_beyond_the_last_possible_one() -> None:
    """Such a date could not be read from the store again."""
    table = RateTableBuilder(RawResponse("nbk", "KZT", "http://bank", b"", FETCHED))
    with pytest.raises(NotUnderstood, match="has rates of 9999-12-31, after 2199-12-31, the last possible date"):
        table.add(date.max, "USD", "1")


@pytest.mark.parametrize(
("invalid", "problem"),
    [
        (with_usd_rate(value=Decimal("1E+2000000")), "USD is 1E+2000000, outside 1E-15 to 1E+16"),
        (with_usd_rate(value=Decimal("1E+16")), "USD is 1E+16, outside 1E-15 to 1E+16"),
        (with_usd_rate(value=Decimal("9E-16")), "USD is 9E-16, outside 1E-15 to 1E+16"),
        (with_usd_rate(value=Decimal("1E-2000000")), "USD is 1E-2000000, outside 1E-15 to 1E+16"),
        (with_usd_rate(value=Decimal("1." + "0" * 30)), "USD has 31 digits, at most 30 are allowed"),
        (with_usd_rate(value=Decimal("NaN")), "USD is NaN for 1, not a positive finite rate"),
        (with_usd_rate(value=Decimal("sNaN")), "USD is sNaN for 1, not a positive finite rate"),
        (with_usd_rate(value=Decimal("-Infinity")), "USD is -Infinity for 1, not a positive finite rate"),
        (with_usd_rate(nominal=10_000_000), "USD is quoted for 10000000 units, at most 9999999 are allowed"),
        (with_usd_rate(nominal=10**50), "USD is quoted for 1000"),
        (with_usd_rate(change=Decimal("1E+16")), "the change of USD is 1E+16, outside 1E-15 to 1E+16"),
        (with_usd_rate(change=Decimal("0E+2000000")), "the change of USD is 0E+2000000, outside 1E-15 to 1E+16"),
        (with_usd_rate(change=Decimal("NaN")), "the change of USD is NaN, not a finite number"),
        (replace(VALID, rates={"usd": Rate(Decimal(1))}), "'usd' is not a currency code"),
        (replace(VALID, rates={"U,D": Rate(Decimal(1)), "X" * 99: Rate(Decimal(1))}), "'U,D' is not a currency code"),
        (replace(VALID, rates={"ÜSD": Rate(Decimal(1))}), "'ÜSD' is not a currency code"),
        (replace(VALID, base="kzt"), "the base 'kzt' is not a currency code"),
        (replace(VALID, source="../nbk"), "'../nbk' is not a source key"),
        (replace(VALID, fetched_at=FETCHED.replace(tzinfo=None)), "fetched_at 2026-04-01 11:05:12 has no time zone"),
        (
            replace(VALID, fetched_at=datetime.max.replace(microsecond=0, tzinfo=UTC)),
            "fetched_at 9999-12-31 23:59:59+00:00 is outside 1990-01-01 to 2199-12-31",
        ),
        (
            replace(VALID, rates={f"{number:03}".translate(_LETTERS): Rate(Decimal(1)) for number in range(201)}),
            "it quotes 201 currencies, at most 200 are allowed",
        ),
        (replace(VALID, revisions=(VALID,) * (REVISIONS + 1)), "it has 11 revisions, at most 10 are allowed"),
        (replace(VALID, revisions=(with_usd_rate(value=Decimal("1E+99")),)), "revision 1: USD is 1E+99, outside"),
        (replace(VALID, revisions=(fixing(day(2), USD="1"),)), "revision 1 is of another fixing"),
        (replace(VALID, revisions=(replace(VALID, revisions=(VALID,)),)), "revision 1 has revisions"),
    ],
)  # fmt: skip
def test_out_of_bounds_fixing_is_reported(invalid: Fixing, problem: str) -> None:
    """Published or quarantined: the error names the currency and the limit, and is short."""
    for errors in (structural_errors(invalid), format_errors(invalid)):
        assert errors[0].startswith(problem)
        assert len(errors[0]) < 150


@pytest.mark.parametrize(
    ("unpublishable", "problem"),
    [
        (replace(VALID, rates={}), "it quotes no currency"),
        (with_usd_rate(value=Decimal(0)), "USD is 0 for 1, not a positive finite rate"),
        (with_usd_rate(value=Decimal("-1.5")), "USD is -1.5 for 1, not a positive finite rate"),
        (with_usd_rate(nominal=0), "USD is 478.77 for 0, not a positive finite rate"),
        (fixing(day(1), KZT="2"), "the base KZT is quoted in itself at 2 for 1"),
    ],
)
def test_unpublishable_fixing_may_be_quarantined(unpublishable: Fixing, problem: str) -> None:
    """It has structural errors and is never published, but its format is valid."""
    assert structural_errors(unpublishable) == (problem,)
    assert format_errors(unpublishable) == ()


def test_base_quoted_at_one_is_allowed() -> None:
    """No bank does so today, but the rate is correct."""
    assert structural_errors(fixing(day(1), KZT="1.00", USD="478.77")) == ()
    assert structural_errors(fixing(day(1), KZT=("100", 100))) == ()


def test_rate_errors_are_distinguished_from_document_errors() -> None:
    """One rate can be quarantined while the rest of its document is published."""
    invalid = replace(VALID, base="kzt", rates={**VALID.rates, "EUR": Rate(Decimal(0)), "eur": Rate(Decimal(1))})
    assert rate_errors(invalid) == {
        "EUR": "EUR is 0 for 1, not a positive finite rate",
        "eur": "'eur' is not a currency code",
    }
    assert structural_errors(invalid) == ("the base 'kzt' is not a currency code", *rate_errors(invalid).values())


def test_rates_without_metadata_have_the_same_bounds() -> None:
    """Bases, codes and values are checked."""
    assert table_errors(VALID) == ()
    assert table_errors(with_usd_rate(value=Decimal("1E+2000000"))) == ("USD is 1E+2000000, outside 1E-15 to 1E+16",)


def test_dates_have_bounds() -> None:
    """The first and the last possible date are allowed."""
    assert date_errors(date(1949, 1, 1)) == date_errors(date(2199, 12, 31)) == ()
    assert date_errors(day(2), latest=day(2)) == ()
    assert date_errors(date.max) == ("it is dated 9999-12-31, after 2199-12-31, the last possible date",)
    assert date_errors(day(3), latest=day(2)) == ("it is dated 2026-04-03, after 2026-04-02, the last possible date",)
    assert date_errors(date.min) == ("it is dated 0001-01-01, before 1949-01-01, the first possible date",)


def test_latest_date_of_a_source_is_its_horizon() -> None:
    """A known source has its own horizon, an unknown one a week."""
    now = datetime(2026, 4, 2, 4, tzinfo=UTC)
    latest = last_dates(load(environ={}), lambda: now)
    assert (latest("nbk"), latest("ecb"), latest("another")) == (day(3), day(2), day(9))
    now += timedelta(days=1)
    assert latest("another") == day(10)


@pytest.mark.parametrize("factor", ["0", "-1", "NaN", "1E+99", "1" * 31])
def test_breaks_have_bounds(factor: str) -> None:
    """A break needs a currency code and a factor within bounds, or an unknown factor."""
    assert not list(break_errors(Break("BYN", day(1), Decimal("1E+4"))))
    assert not list(break_errors(Break("BYN", day(1))))
    assert list(break_errors(Break("byn", day(1)))) == ["'byn' is not a currency code"]
    assert list(break_errors(Break("BYN", day(1), Decimal(factor))))


TWO_SIDED = with_usd_rate(buying=Decimal(470), selling=Decimal("480.5"))


@pytest.mark.parametrize(
    ("sides", "problem"),
    [
        ({"selling": Decimal("469.99")}, "the buying and the selling rate of USD are in the wrong order: buying"),
        ({"buying": Decimal("239.38")}, "the buying rate of USD is 239.38, beyond half or double its rate of 478.77"),
        ({"selling": Decimal(47850)}, "the selling rate of USD is 47850, beyond half or double its rate of 478.77"),
        ({"buying": Decimal(0), "selling": None}, "the buying rate of USD is 0, beyond half or double"),
        ({"buying": Decimal(-470)}, "the buying rate of USD is -470, beyond half or double"),
    ],
)  # fmt: skip
def test_wrong_buying_or_selling_rate_is_not_published(sides: dict[str, Any], problem: str) -> None:
    """A rate with such sides may be quarantined; the other rates of the document are published."""
    wrong = replace(VALID, rates={**VALID.rates, "USD": replace(TWO_SIDED.rates["USD"], **sides)})
    assert rate_errors(wrong).keys() == {"USD"}
    assert rate_errors(wrong)["USD"].startswith(problem)
    assert format_errors(wrong) == ()


def test_sides_of_an_inverse_quotation_are_in_inverse_order() -> None:
    """A source that pays 454 KZT for a dollar publishes 0.0022 USD for 1 KZT, and 0.0020 USD if it sells it for 500."""
    buying, selling = Decimal("0.0022"), Decimal("0.0020")
    inverse = replace(
        VALID, direction=Quotation.INVERSE, rates={"USD": Rate(Decimal("0.0021"), 1, None, buying, selling)}
    )
    assert structural_errors(inverse) == ()
    turned = replace(inverse, rates={"USD": Rate(Decimal("0.0021"), 1, None, selling, buying)})
    assert structural_errors(turned)[0].startswith("the buying and the selling rate of USD are in the wrong order")
    assert structural_errors(replace(turned, direction=Quotation.DIRECT)) == ()


@pytest.mark.parametrize(
    ("number", "problem"), [("1E+99", "is 1E+99, outside 1E-15 to 1E+16"), ("NaN", "is NaN, not a finite number")]
)
def test_out_of_bounds_side_is_reported(number: str, problem: str) -> None:
    invalid = with_usd_rate(selling=Decimal(number))
    expected = (f"the selling rate of USD {problem}",)
    assert structural_errors(invalid) == format_errors(invalid) == table_errors(invalid) == expected
    assert structural_errors(TWO_SIDED) == ()


def test_mean_of_two_rates_is_exact() -> None:
    """The rate of a bank that publishes only buying and selling rates, also with as many digits as are allowed."""
    low, high = "9" * 15 + "." + "9" * 13 + "8", "9" * 15 + "." + "9" * 14
    table = RateTableBuilder(RawResponse("nbk", "KZT", "http://bank", b"", FETCHED))
    table.add(day(1), "USD", buying="470.10", selling="470.15")
    table.add(day(1), "EUR", buying=low, selling=high)
    table.add(day(1), "RUB", "5.87", "10", "0.01", buying="5.80", selling="5.9x")
    (found,) = parsed = table.fixings()
    assert found.rates["USD"] == Rate(Decimal("470.125"), 1, None, Decimal("470.10"), Decimal("470.15"))
    assert Fraction(found.rates["EUR"].value) == (Fraction(low) + Fraction(high)) / 2
    assert format_errors(found) == ()
    assert found.rates["RUB"] == Rate(Decimal("5.87"), 10, Decimal("0.01"), Decimal("5.80"))
    assert parsed.left_out == ("has '5.9x' where a number is expected for the selling rate of RUB on 2026-04-01",)


@pytest.mark.parametrize("sides", [{}, {"buying": "470"}, {"selling": "470"}])
def test_rate_of_one_side_is_not_a_mean(sides: dict[str, str]) -> None:
    table = RateTableBuilder(RawResponse("nbk", "KZT", "http://bank", b"", FETCHED))
    with pytest.raises(NotUnderstood, match="has '' where a number is expected for USD on 2026-04-01"):
        table.add(day(1), "USD", **sides)
