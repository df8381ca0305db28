"""What is held and what is published: the unit is one rate on one date."""

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


def of(on: date, figures: RawRates) -> Fixing:
    return replace(fixing(on), rates=rates(figures))


OLD = {"USD": "475.00", "EUR": "551.00", "GBP": "631.00", "CNY": "69.10", "CHF": "590.00", "JPY": "3.10"}
NEW = {"USD": "476.00", "EUR": "552.00", "GBP": "632.00", "CNY": "69.20", "CHF": "591.00", "JPY": "3.11"}
KNOWN = series(of(day(1), {**OLD, "USD": "474.00", "EUR": "550.00"}), of(day(2), OLD))
JUMP = Fraction(15, 100)
NEXT = day(3)


def same_day(effective_date: date) -> date:
    return effective_date


def crosschecked(known: Series, **others: Series) -> CrossCheck:
    return CrossCheck({key: Witness(key, Publications(one, same_day)) for key, one in {"nbk": known, **others}.items()})


def judged(rates: Mapping[str, str], known: Series = KNOWN, on: date = NEXT, **settings: object) -> Judgement:
    context = ValidationContext(on, cross_check=crosschecked(known), **settings)  # type: ignore[arg-type]
    return judge(of(on, rates), known, context)


@pytest.mark.parametrize("code", sorted(NEW))
@pytest.mark.parametrize("value", ["9999.00", "0.01", "0"])
def test_one_suspicious_rate_is_held_alone(code: str, value: str) -> None:
    """The other rates of its document are published; the reason names the currency."""
    made = judged({**NEW, code: value})
    assert made.held is not None
    assert made.publish is not None
    assert made.held.rates.keys() == {code}
    assert made.publish.rates.keys() == NEW.keys() - {code}
    assert [reason[:3] for reason in made.reasons] == [code]
    assert made.verdict is Verdict.NEW


@given(codes=st.sets(st.sampled_from(sorted(NEW))))
def test_published_and_held_rates_are_the_document(codes: set[str]) -> None:
    """Nothing is lost and nothing is in both; with more than half of its rates suspicious a document is held whole."""
    rates = {code: str(Decimal(value) * (7 + number)) if code in codes else value
             for number, (code, value) in enumerate(NEW.items())}  # fmt: skip
    made = judged(rates)
    held = made.held.rates if made.held else {}
    published = made.publish.rates if made.publish else {}
    assert not held.keys() & published.keys()
    assert {**held, **published} == of(day(3), rates).rates
    assert held.keys() == (NEW.keys() if 2 * len(codes) > len(NEW) else codes)
    assert len(made.reasons) == len(held)


def test_missing_currency_holds_nothing() -> None:
    """Neither in a new document nor in a later form of one, which never removes rates."""
    made = judged({"USD": "476.00"})
    assert (made.held, made.reasons, made.verdict) == (None, (), Verdict.NEW)
    assert made.publish == made.fixing
    shorter = replace(later(KNOWN.fixings[-1]), rates=fixing(day(2), USD="475.50").rates)
    revised = judge(shorter, KNOWN, ValidationContext(day(3), cross_check=crosschecked(KNOWN)))
    assert revised.verdict is Verdict.REVISION
    assert revised.publish is not None
    assert revised.publish.rates == {**KNOWN.fixings[-1].rates, **shorter.rates}


def test_suspicious_correction_keeps_the_earlier_form() -> None:
    """What is published of the date stays as it is; only the new form of the rate is held."""
    corrected = later(of(day(2), {**OLD, "USD": "4750.00"}))
    made = judge(corrected, KNOWN, ValidationContext(day(3), cross_check=crosschecked(KNOWN)))
    assert made.publish is None
    assert made.held is not None
    assert made.held.rates.keys() == {"USD"}


def test_released_rate_joins_the_others_of_its_date() -> None:
    """It completes the fixing and is no revision."""
    published = of(day(3), {code: value for code, value in NEW.items() if code != "USD"})
    known = KNOWN.with_fixing(published, 90)
    released = fixing(day(3), USD=NEW["USD"])
    made = judge(released, known, ValidationContext(day(3), cross_check=crosschecked(known)))
    assert made.verdict is Verdict.NEW
    assert made.publish is not None
    assert made.publish.rates.keys() == NEW.keys()
    assert made.publish.revisions == ()


@pytest.mark.parametrize(
    ("factor", "value", "held"),
    [
        (Decimal(1000), "0.476", True),  # in the wrong direction
        (Decimal("0.001"), "0.476", False),
        (Decimal("0.001"), "476.00", False),  # the bank has converted its past itself
        (None, "0.476", False),  # nothing to compare with: the first rate of a new unit
        (None, "476.00", False),
    ],
)
def test_break_explains_a_move_by_its_factor(factor: Decimal | None, value: str, *, held: bool) -> None:
    """A rate is compared in the unit of its own date."""
    made = judged({**NEW, "USD": value}, breaks=(Break("USD", day(3), factor),))
    assert (made.held is not None and made.held.rates.keys() == {"USD"}) is held


def test_break_of_the_base_moves_every_rate() -> None:
    """1,000 old tenge become a new one: all rates are a thousandth, none is held; without the break all are."""
    rates = {code: f"{Decimal(value) / 1000}" for code, value in NEW.items()}
    assert judged(rates, breaks=(Break("KZT", day(3), Decimal(1000)),)).held is None
    assert judged(rates).publish is None


def trusted(known: Series, check: CrossCheck | None = None, *breaks: Break) -> tuple[date, date | None] | None:
    """Return the dates of the two rates of the dollar that may be shown together."""
    check = check or crosschecked(known)
    found = trusted_rates("USD", "KZT", known.publications("USD", "KZT"), check, breaks, JUMP)
    return (found.new.date, found.old.date if found.old else None) if found else None


def dollars(*values: str, source: str = "nbk") -> Series:
    """Return a publication a day of a dollar in tenge, by a bank whose base depends on the source."""
    if source == "nbk":
        return series(*(fixing(day(at), USD=value, EUR=f"55{at}.00") for at, value in enumerate(values, 1)))
    return series(
        *(fixing(day(at), source, "RUB", USD="80.0000", EUR=f"9{at}.00", KZT=f"{Decimal(80) / Decimal(value):.6f}")
          for at, value in enumerate(values, 1))
    )  # fmt: skip


def test_two_rates_within_the_limit_are_shown_together() -> None:
    """Nothing else is needed."""
    assert trusted(dollars("475.00", "480.00")) == (day(2), day(1))
    assert trusted(dollars("475.00")) == (day(1), None)
    assert trusted(series()) is None


@pytest.mark.parametrize("values", [("475.00", "600.00"), ("475.00", "0.01"), ("475.00", "480.00", "900.00")])
def test_change_beyond_the_limit_is_not_shown(values: tuple[str, ...]) -> None:
    """Whatever way the rate came: without confirmation the last two rates that fit each other are shown."""
    shown = trusted(dollars(*values))
    assert shown == (day(len(values) - 1), day(len(values) - 2) if len(values) > 2 else None)


def test_confirmed_change_beyond_the_limit_is_shown() -> None:
    """Another bank has both rates."""
    known, other = dollars("475.00", "600.00"), dollars("475.00", "600.00", source="cbr")
    assert trusted(known, crosschecked(known, cbr=other)) == (day(2), day(1))


def test_confirmed_rate_after_a_false_one_is_shown_without_a_change() -> None:
    """The rate before it is refuted: a percentage from it would be false."""
    known, other = dollars("300.00", "480.00"), dollars("475.00", "480.00", source="cbr")
    found = trusted_rates("USD", "KZT", known.publications("USD", "KZT"), crosschecked(known, cbr=other), (), JUMP)
    assert found is not None
    assert (found.new.date, found.old, found.confidence) == (day(2), None, Confidence.CONFIRMED)


def test_accepted_change_beyond_the_limit_is_shown() -> None:
    """An operator has accepted the new rate; another one of the same date is not covered by that."""
    known = dollars("475.00", "600.00")
    accepted = known.fixings[-1].without(["EUR"])
    check = replace(crosschecked(known), accepted={"nbk": (accepted,)})
    assert trusted(known, check) == (day(2), day(1))
    other = dollars("475.00", "900.00")
    assert trusted(other, replace(crosschecked(other), accepted={"nbk": (accepted,)})) == (day(1), None)


def test_known_break_explains_a_change_beyond_the_limit() -> None:
    """By its factor alone; over a break of unknown size no percentage is shown."""
    known = dollars("475.00", "0.48")
    assert trusted(known, None, Break("USD", day(2), Decimal("0.001"))) == (day(2), day(1))
    assert trusted(known, None, Break("USD", day(2), Decimal("0.01"))) == (day(1), None)
    shown = trusted(known, None, Break("USD", day(2)))
    assert shown is None or shown[1] is None


MANY = {f"A{letter}A": "10.00" for letter in "BCDEFGHIJK"}


def test_one_moved_rate_in_ten_makes_no_publication() -> None:
    """A noisy digit in a frozen document: it stays a carry-over, so the source becomes stale."""
    frozen, noisy = of(day(1), MANY), of(day(2), {**MANY, "ABA": "10.01"})
    assert noisy.carries_over(frozen)
    assert of(day(3), {**MANY, "ABA": "10.01", "ACA": "10.02"}).carries_over(noisy)
    assert not of(day(3), {**MANY, "ABA": "10.02", "ACA": "10.02"}).carries_over(frozen)
    nine = dict(list(MANY.items())[:9])
    assert not of(day(2), {**nine, "ABA": "10.01"}).carries_over(of(day(1), nine))
    assert not fixing(day(2), ZZZ="1").carries_over(frozen)  # nothing in common
    assert series(frozen, noisy).distinct == (frozen,)


def test_a_currency_has_its_own_publications() -> None:
    """A rate that moves in a carry-over is published by it; the others are not. All are by a publication."""
    frozen, noisy = of(day(1), MANY), of(day(2), {**MANY, "ABA": "10.01"})
    moved = of(day(3), {**dict.fromkeys(MANY, "10.05"), "ACA": "10.00"})
    known = series(frozen, noisy, moved)
    assert [one.date for one in known.publications("ABA", "KZT")] == [day(1), day(2), day(3)]
    assert [one.date for one in known.publications("ADA", "KZT")] == [day(1), day(3)]
    assert [one.date for one in known.publications("ACA", "KZT")] == [day(1), day(3)]  # it stands still: published anew
    assert [one.date for one in known.publications("ACA", "ABA")] == [day(1), day(2), day(3)]  # the base moved


def test_publications_of_a_currency_leave_out_documents_without_it() -> None:
    """A held or missing rate has no place there, whatever else the document says."""
    known = series(
        fixing(day(1), USD="475.00", EUR="551.00"),
        fixing(day(2), EUR="552.00"),
        fixing(day(3), USD="476.00", EUR="553.00"),
    )  # fmt: skip
    assert [one.date for one in known.publications("USD", "KZT")] == [day(1), day(3)]
    assert series().publications("USD", "KZT") == ()
