"""Quarantine and publication of single rates: the unit is one rate on one date."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.breaks import Break
from service.domain.fixing import Fixing, Series
from service.domain.snapshot import Confidence
from service.validation.cross_check import CrossCheck, Publications, Witness
from service.validation.rules import Judgement, ValidationContext, Verdict, judge, trusted_rates
from tests.support.fixings import day, fixing, later, rates, series
from tests.support.standin import RawRates


def document(on: date, values: RawRates) -> Fixing:
    return replace(fixing(on), rates=rates(values))


OLD = {"USD": "475.00", "EUR": "551.00", "GBP": "631.00", "CNY": "69.10", "CHF": "590.00", "JPY": "3.10"}
NEW = {"USD": "476.00", "EUR": "552.00", "GBP": "632.00", "CNY": "69.20", "CHF": "591.00", "JPY": "3.11"}
KNOWN = series(document(day(1), {**OLD, "USD": "474.00", "EUR": "550.00"}), document(day(2), OLD))
JUMP = Fraction(15, 100)
NEXT = day(3)


def same_day(effective_date: date) -> date:
    return effective_date


def cross_check_of(known: Series, **others: Series) -> CrossCheck:
    return CrossCheck(
        {key: Witness(key, Publications(published, same_day)) for key, published in {"nbk": known, **others}.items()}
    )


def judgement_of(rates: Mapping[str, str], known: Series = KNOWN, on: date = NEXT, **settings: object) -> Judgement:
    context = ValidationContext(on, cross_check=cross_check_of(known), **settings)  # type: ignore[arg-type]
    return judge(document(on, rates), known, context)


@pytest.mark.parametrize("code", sorted(NEW))
@pytest.mark.parametrize("value", ["9999.00", "0.01", "0"])
def test_suspicious_rate_is_quarantined_alone(code: str, value: str) -> None:
    """The other rates of its document are published; the reason names the currency."""
    judgement = judgement_of({**NEW, code: value})
    assert judgement.held is not None
    assert judgement.publish is not None
    assert judgement.held.rates.keys() == {code}
    assert judgement.publish.rates.keys() == NEW.keys() - {code}
    assert [reason[:3] for reason in judgement.reasons] == [code]
    assert judgement.verdict is Verdict.NEW


@given(codes=st.sets(st.sampled_from(sorted(NEW))))
def test_every_rate_is_either_published_or_quarantined(codes: set[str]) -> None:
    """A document with more than half of its rates suspicious is quarantined as a whole."""
    rates = {code: str(Decimal(value) * (7 + number)) if code in codes else value
             for number, (code, value) in enumerate(NEW.items())}  # fmt: skip
    judgement = judgement_of(rates)
    held = judgement.held.rates if judgement.held else {}
    published = judgement.publish.rates if judgement.publish else {}
    assert not held.keys() & published.keys()
    assert {**held, **published} == document(day(3), rates).rates
    assert held.keys() == (NEW.keys() if 2 * len(codes) > len(NEW) else codes)
    assert len(judgement.reasons) == len(held)


def test_missing_currency_does_not_delay_others() -> None:
    """Neither in a new document nor in a revision, which never removes rates."""
    judgement = judgement_of({"USD": "476.00"})
    assert (judgement.held, judgement.reasons, judgement.verdict) == (None, (), Verdict.NEW)
    assert judgement.publish == judgement.fixing
    shorter = replace(later(KNOWN.fixings[-1]), rates=fixing(day(2), USD="475.50").rates)
    revised = judge(shorter, KNOWN, ValidationContext(day(3), cross_check=cross_check_of(KNOWN)))
    assert revised.verdict is Verdict.REVISION
    assert revised.publish is not None
    assert revised.publish.rates == {**KNOWN.fixings[-1].rates, **shorter.rates}


def test_suspicious_correction_keeps_the_published_rate() -> None:
    """Only the new version of the rate is quarantined."""
    corrected = later(document(day(2), {**OLD, "USD": "4750.00"}))
    judgement = judge(corrected, KNOWN, ValidationContext(day(3), cross_check=cross_check_of(KNOWN)))
    assert judgement.publish is None
    assert judgement.held is not None
    assert judgement.held.rates.keys() == {"USD"}


def test_released_rate_joins_the_others_of_its_date() -> None:
    """It completes the fixing and is not a revision."""
    published = document(day(3), {code: value for code, value in NEW.items() if code != "USD"})
    known = KNOWN.with_fixing(published, 90)
    released = fixing(day(3), USD=NEW["USD"])
    judgement = judge(released, known, ValidationContext(day(3), cross_check=cross_check_of(known)))
    assert judgement.verdict is Verdict.NEW
    assert judgement.publish is not None
    assert judgement.publish.rates.keys() == NEW.keys()
    assert judgement.publish.revisions == ()


@pytest.mark.parametrize(
    ("factor", "value", "held"),
    [
        (Decimal(1000), "0.476", True),  # in the wrong direction
        (Decimal("0.001"), "0.476", False),
        (Decimal("0.001"), "476.00", False),  # the bank has converted its history itself
        (None, "0.476", False),  # the first rate in a new unit cannot be compared
        (None, "476.00", False),
    ],
)
def test_break_explains_a_move_by_its_factor(factor: Decimal | None, value: str, *, held: bool) -> None:
    """A rate is compared in the unit of its own date."""
    judgement = judgement_of({**NEW, "USD": value}, breaks=(Break("USD", day(3), factor),))
    assert (judgement.held is not None and judgement.held.rates.keys() == {"USD"}) is held


def test_break_of_the_base_applies_to_every_rate() -> None:
    """1,000 old tenge become a new one: no rate is quarantined; without the break all of them are."""
    rates = {code: f"{Decimal(value) / 1000}" for code, value in NEW.items()}
    assert judgement_of(rates, breaks=(Break("KZT", day(3), Decimal(1000)),)).held is None
    assert judgement_of(rates).publish is None


def trusted_dates(known: Series, check: CrossCheck | None = None, *breaks: Break) -> tuple[date, date | None] | None:
    """Return the dates of the two USD rates that may be shown together."""
    check = check or cross_check_of(known)
    found = trusted_rates("USD", "KZT", known.publications("USD", "KZT"), check, breaks, JUMP)
    return (found.new.date, found.old.date if found.old else None) if found else None


def usd_series(*values: str, source: str = "nbk") -> Series:
    """Return daily publications of the dollar in tenge; the bank's base depends on the source."""
    if source == "nbk":
        return series(*(fixing(day(n), USD=value, EUR=f"55{n}.00") for n, value in enumerate(values, 1)))
    return series(
        *(fixing(day(n), source, "RUB", USD="80.0000", EUR=f"9{n}.00", KZT=f"{Decimal(80) / Decimal(value):.6f}")
          for n, value in enumerate(values, 1))
    )  # fmt: skip


def test_change_within_the_limit_is_shown() -> None:
    """No confirmation is needed."""
    assert trusted_dates(usd_series("475.00", "480.00")) == (day(2), day(1))
    assert trusted_dates(usd_series("475.00")) == (day(1), None)
    assert trusted_dates(series()) is None


@pytest.mark.parametrize("values", [("475.00", "600.00"), ("475.00", "0.01"), ("475.00", "480.00", "900.00")])
def test_change_beyond_the_limit_is_not_shown(values: tuple[str, ...]) -> None:
    """Without confirmation the last two consistent rates are shown."""
    shown = trusted_dates(usd_series(*values))
    assert shown == (day(len(values) - 1), day(len(values) - 2) if len(values) > 2 else None)


def test_confirmed_change_beyond_the_limit_is_shown() -> None:
    """Another bank has both rates."""
    known, other = usd_series("475.00", "600.00"), usd_series("475.00", "600.00", source="cbr")
    assert trusted_dates(known, cross_check_of(known, cbr=other)) == (day(2), day(1))


def test_confirmed_rate_after_a_wrong_one_has_no_change() -> None:
    """The previous rate is refuted, so a percentage based on it would be wrong."""
    known, other = usd_series("300.00", "480.00"), usd_series("475.00", "480.00", source="cbr")
    found = trusted_rates("USD", "KZT", known.publications("USD", "KZT"), cross_check_of(known, cbr=other), (), JUMP)
    assert found is not None
    assert (found.new.date, found.old, found.confidence) == (day(2), None, Confidence.CONFIRMED)


def test_accepted_change_beyond_the_limit_is_shown() -> None:
    """An operator's decision covers this rate, but not another one of the same date."""
    known = usd_series("475.00", "600.00")
    accepted = known.fixings[-1].without(["EUR"])
    check = replace(cross_check_of(known), accepted={"nbk": (accepted,)})
    assert trusted_dates(known, check) == (day(2), day(1))
    other = usd_series("475.00", "900.00")
    assert trusted_dates(other, replace(cross_check_of(other), accepted={"nbk": (accepted,)})) == (day(1), None)


def test_known_break_explains_a_change_beyond_the_limit() -> None:
    """Only by its factor; no percentage is shown across a break of unknown size."""
    known = usd_series("475.00", "0.48")
    assert trusted_dates(known, None, Break("USD", day(2), Decimal("0.001"))) == (day(2), day(1))
    assert trusted_dates(known, None, Break("USD", day(2), Decimal("0.01"))) == (day(1), None)
    shown = trusted_dates(known, None, Break("USD", day(2)))
    assert shown is None or shown[1] is None


MANY = {f"A{letter}A": "10.00" for letter in "BCDEFGHIJK"}


def test_one_moved_rate_in_ten_is_a_carry_over() -> None:
    """A noisy digit in repeated rates is not a new publication, so the source becomes stale."""
    repeated, noisy = document(day(1), MANY), document(day(2), {**MANY, "ABA": "10.01"})
    assert noisy.carries_over(repeated)
    assert document(day(3), {**MANY, "ABA": "10.01", "ACA": "10.02"}).carries_over(noisy)
    assert not document(day(3), {**MANY, "ABA": "10.02", "ACA": "10.02"}).carries_over(repeated)
    nine = dict(list(MANY.items())[:9])
    assert not document(day(2), {**nine, "ABA": "10.01"}).carries_over(document(day(1), nine))
    assert not fixing(day(2), ZZZ="1").carries_over(repeated)  # no common currency
    assert series(repeated, noisy).distinct == (repeated,)


def test_publications_are_determined_per_currency() -> None:
    """A rate that moves in a carry-over is published by it; unchanged ones are not."""
    repeated, noisy = document(day(1), MANY), document(day(2), {**MANY, "ABA": "10.01"})
    moved = document(day(3), {**dict.fromkeys(MANY, "10.05"), "ACA": "10.00"})
    known = series(repeated, noisy, moved)
    assert [item.date for item in known.publications("ABA", "KZT")] == [day(1), day(2), day(3)]
    assert [item.date for item in known.publications("ADA", "KZT")] == [day(1), day(3)]
    assert [item.date for item in known.publications("ACA", "KZT")] == [
        day(1),
        day(3),
    ]  # unchanged, but published again
    assert [item.date for item in known.publications("ACA", "ABA")] == [day(1), day(2), day(3)]  # the base moved


def test_publications_skip_documents_without_the_currency() -> None:
    """Quarantined and missing rates are not publications."""
    known = series(
        fixing(day(1), USD="475.00", EUR="551.00"),
        fixing(day(2), EUR="552.00"),
        fixing(day(3), USD="476.00", EUR="553.00"),
    )  # fmt: skip
    assert [item.date for item in known.publications("USD", "KZT")] == [day(1), day(3)]
    assert series().publications("USD", "KZT") == ()
