"""Validation rules: which rates of a fixing are published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import exp
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.fixing import Fixing, Quotation, Series
from service.domain.snapshot import Confidence
from service.validation.cross_check import CrossCheck, Publications, Witness
from service.validation.rules import (
    Judgement,
    ValidationContext,
    Verdict,
    document_errors,
    judge,
    judge_all,
    slips,
    suspicious_rates,
    untrusted_rates,
)
from tests.support.fixings import day, fixing, series


def same_day(effective_date: date) -> date:
    return effective_date


def context(
    last_day: date,
    known: Series | None = None,
    others: Mapping[str, Series] | None = None,
    source: str = "nbk",
    **settings: Any,
) -> ValidationContext:
    """Return the validation context of a fixing of `source`, with the publications of `others`."""
    all_series = {source: known or Series(), **(others or {})}
    check = CrossCheck({key: Witness(key, Publications(published, same_day)) for key, published in all_series.items()})
    return ValidationContext(last_day, cross_check=check, **settings)


def problems(
    new: Fixing,
    known: Series,
    last_day: date | None = None,
    others: Mapping[str, Series] | None = None,
    later: Sequence[Fixing] = (),
    **settings: Any,
) -> tuple[str, ...]:
    """Return all reasons that keep rates of a fixing from being published."""
    rules = context(last_day or new.date, known, others, new.source, **settings)
    return document_errors(new, rules) or tuple(suspicious_rates(new, known, rules, later).values())


def verdicts(judgements: Iterable[Judgement]) -> list[Verdict]:
    return [judgement.verdict for judgement in judgements]


FRIDAY = fixing(day(3), USD="475.09", RUB="5.87")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (fixing(day(2)), "quotes no currency"),
        (fixing(day(2), USD="0"), "USD is 0"),
        (fixing(day(2), USD="-475.09"), "USD is -475.09"),
        (fixing(day(2), USD="NaN"), "USD is NaN"),
        (fixing(day(2), USD="Infinity"), "USD is Infinity"),
        (fixing(day(2), USD=("475.09", 0)), "USD is 475.09 for 0"),
        (fixing(day(4), USD="475.09"), "dated 2026-04-04, and the bank publishes up to 2026-04-03"),
    ],
)
def test_impossible_rate_is_refused(bad: Fixing, message: str) -> None:
    """The reason of each rule says what is wrong."""
    (reason,) = problems(bad, series(), day(3))
    assert message in reason


def test_new_currency_is_accepted() -> None:
    """More currencies than before are not a reason to refuse."""
    assert problems(fixing(day(4), USD="475.09", RUB="5.87", EUR="551.06"), series(FRIDAY), day(4)) == ()


OLD = {"USD": "475.09", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12", "JPY": "3.12"}


def nbk(on: date, **values: str) -> Fixing:
    return fixing(on, **(OLD | values))  # type: ignore[arg-type]


def scaled(factor: int, *codes: str) -> dict[str, str]:
    return {code: str(Decimal(OLD[code]) * factor) for code in codes}


BEFORE = series(nbk(day(1), USD="474.00"), nbk(day(2)))


@pytest.mark.parametrize("factor", [10, 100, 1000])
@pytest.mark.parametrize("codes", [("USD",), ("JPY",), tuple(OLD)])
def test_scale_error_is_quarantined(factor: int, codes: tuple[str, ...]) -> None:
    """One currency or all of them are ten, a hundred or a thousand times too large or too small."""
    reasons = problems(nbk(day(3), **scaled(factor, *codes)), BEFORE, day(3))
    assert [reason.split()[0] for reason in reasons] == sorted(codes)
    assert all(f"moved by +{factor - 1}00.00%" in reason for reason in reasons)
    small = {code: str(Decimal(OLD[code]) / factor) for code in codes}
    assert len(problems(nbk(day(3), **small), BEFORE, day(3))) == len(codes)


def test_inverted_rates_are_quarantined() -> None:
    """Foreign units per unit of the base instead of the inverse."""
    inverted = {code: str(round(1 / Decimal(value), 6)) for code, value in OLD.items()}
    assert len(problems(nbk(day(3), **inverted), BEFORE, day(3))) == len(OLD)


def test_swapped_rates_are_quarantined() -> None:
    """Dollar and euro: both moves are below the limit, but each has the other's rate."""
    reasons = problems(nbk(day(3), USD="551.90", EUR="475.80"), BEFORE, day(3), jump=Fraction(20, 100))
    assert [reason.partition(" and ")[2] for reason in reasons] == [
        "has what is, or was, the rate of USD; no other bank confirms it",
        "has what is, or was, the rate of EUR; no other bank confirms it",
    ]


def test_currency_with_anothers_rate_is_quarantined() -> None:
    """The rate of the euro is repeated as that of the dollar."""
    (reason,) = problems(nbk(day(3), USD="552.00", EUR="552.00"), BEFORE, day(3), jump=Fraction(20, 100))
    assert reason.startswith(
        "USD moved by +16.19%, from 475.09 on 2026-04-02 to 552.00 and has what is, or was, the rate of EUR; "
    )


def test_close_currencies_may_have_equal_rates() -> None:
    """Two currencies that were always close may have the same rate."""
    close = series(fixing(day(2), AUD="339.00", CAD="341.00"))
    assert problems(fixing(day(3), AUD="340.12", CAD="340.12"), close, day(3)) == ()


@pytest.mark.parametrize(
    ("new_value", "quarantined"), [("546.35", False), ("546.36", True), ("403.83", False), ("403.82", True)]
)
def test_limit_is_exact(new_value: str, quarantined: bool) -> None:
    """15 % of 475.09 is 71.2635."""
    assert bool(problems(nbk(day(3), USD=new_value), BEFORE, day(3))) is quarantined


def test_limit_applies_to_the_shown_change() -> None:
    """An inverse rate moves in the other direction; the limit is applied to the inverted one."""
    known = series(fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.0000"))
    falls = fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="1.1700")  # the dollar is worth 14.5 % less
    rises = fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="0.8600")  # the dollar is worth 16.3 % more
    assert problems(falls, known, day(2)) == ()
    assert "moved by +16.28%" in problems(rises, known, day(2))[0]


AUGUST_20, AUGUST_21 = date(2015, 8, 20), date(2015, 8, 21)
PEGGED = fixing(AUGUST_20, USD="188.38", EUR="209.05", AED="51.29", RUB="2.83")
FLOATED = fixing(AUGUST_21, USD="255.26", EUR="284.69", AED="69.50", RUB="3.80")
CBR = (
    fixing(AUGUST_20, "cbr", "RUB", USD="66.0861", EUR="73.1045", KZT=("35.1015", 100)),
    fixing(AUGUST_21, "cbr", "RUB", USD="67.4933", EUR="75.3200", KZT=("26.8100", 100)),
)


def test_devaluation_of_2015_is_quarantined_without_confirmation() -> None:
    """The tenge was floated on 20 August 2015: one bank alone cannot be distinguished from an error."""
    reasons = problems(FLOATED, series(PEGGED), AUGUST_21)
    assert [reason.split()[0] for reason in reasons] == ["AED", "EUR", "RUB", "USD"]
    assert reasons[-1] == ("USD moved by +35.50%, from 188.38 on 2015-08-20 to 255.26; no other bank confirms it")


def test_devaluation_of_2015_is_confirmed_by_another_bank() -> None:
    """The Bank of Russia has the fall too; the dirham, which it does not quote, moved with the dollar."""
    confirmed = judge(FLOATED, series(PEGGED), context(AUGUST_21, others={"cbr": series(*CBR)}))
    assert (confirmed.verdict, confirmed.reasons) == (Verdict.NEW, ())


@pytest.mark.parametrize(
    "other",
    [
        (CBR[0],),  # not published for that day yet
        (CBR[0], fixing(AUGUST_21, "cbr", "RUB", USD="67.4933", EUR="75.3200", KZT=("35.1015", 100))),  # unchanged
        (fixing(AUGUST_20, "relay", USD="188.38"), fixing(AUGUST_21, "relay", USD="255.26")),  # the same bank, relayed
    ],
)
def test_jump_is_not_confirmed(other: tuple[Fixing, ...]) -> None:
    """By a bank without that day, by one without a move, or by a relay of the same bank."""
    assert problems(FLOATED, series(PEGGED), AUGUST_21, others={"other": series(*other)})


def test_contradicted_jump_is_quarantined_among_confirmed_ones() -> None:
    """The devaluation is real, but a dollar ten times too large in it is not."""
    wrong = fixing(AUGUST_21, USD="2552.60", EUR="284.69", AED="69.50", RUB="3.80")
    (reason,) = problems(wrong, series(PEGGED), AUGUST_21, others={"cbr": series(*CBR)})
    assert reason.startswith("USD moved by +1255.03%, from 188.38 on 2015-08-20 to 2552.60; ")
    assert reason.endswith("; other banks have it elsewhere (cbr -90.14%)")


def test_swap_of_similar_rates_is_not_confirmed_by_an_unchanged_bank() -> None:
    """Moves of 4 % are within the tolerance of no move; a confirming rate must have moved itself."""
    known = series(fixing(day(1), CHF="600.00", GBP="624.00"))
    swapped = fixing(day(2), CHF="624.00", GBP="600.00")
    other = series(
        *(fixing(day(n), "cbr", "RUB", CHF="96.0", GBP="99.84", KZT=("16.0", 100)) for n in (1, 2)),
    )
    assert len(problems(swapped, known, day(2), others={"cbr": other})) == 2


def test_rates_are_compared_with_the_last_accepted_fixing() -> None:
    """The day after an accepted jump is compared with that jump."""
    jump = nbk(day(3), **scaled(10, "USD"))
    assert judge(nbk(day(4), **scaled(10, "USD")), series(*BEFORE.fixings, jump), context(day(4))).accepted


def test_revision_is_compared_with_the_previous_day() -> None:
    """A wrong rate may be corrected by any amount; a right one may not be replaced by a wrong one."""
    wrong = nbk(day(3), **scaled(10, "USD"))
    known = series(*BEFORE.fixings, wrong)
    assert judge(nbk(day(3)), known, context(day(3))).verdict is Verdict.REVISION
    assert judge(wrong, series(*BEFORE.fixings, nbk(day(3))), context(day(3))).verdict is Verdict.REFUSED


@given(
    st.lists(st.decimals("0.01", "9999", places=2), min_size=2, max_size=2),
    st.sampled_from([1, 10, 100, 1000]),
    st.sampled_from(list(Quotation)),
)
def test_exactly_the_moves_beyond_the_limit_are_quarantined(
    values: list[Decimal], nominal: int, direction: Quotation
) -> None:
    """Checked with rational arithmetic for any digits, nominal and direction."""
    old, new = (
        fixing(day(number), direction=direction, USD=(str(value), nominal))
        for number, value in zip((1, 2), values, strict=True)
    )
    ratio = Fraction(values[1]) / Fraction(values[0])
    moved = (ratio if direction is Quotation.DIRECT else 1 / ratio) - 1
    is_quarantined = any("moved by" in reason for reason in problems(new, series(old), day(2)))  # or an inverted rate?
    assert is_quarantined is (abs(moved) > Fraction(15, 100))


def test_shifted_rows_are_quarantined() -> None:
    """Three rates are in the row of the next currency: each move is below the limit."""
    known = series(fixing(day(1), USD="475.09", EUR="551.06", CHF="585.00", GBP="631.87", JPY="3.12", CNY="69.12"))
    shifted = fixing(day(2), USD="476.00", EUR="585.50", CHF="631.60", GBP="551.40", JPY="3.13", CNY="69.00")
    reasons = problems(shifted, known, day(2), jump=Fraction(20, 100))
    assert [(reason[:3], "has what is, or was, the rate of" in reason) for reason in reasons] == [
        ("CHF", True), ("EUR", True), ("GBP", True)
    ]  # fmt: skip


def test_shifted_rows_at_equal_distances_are_quarantined() -> None:
    """Two of the three moved alike; the third cannot have."""
    known = series(fixing(day(1), USD="475.09", EUR="551.06", CHF="590.00", GBP="631.87", JPY="3.12", CNY="69.12"))
    shifted = fixing(day(2), USD="476.00", EUR="590.50", CHF="631.60", GBP="551.40", JPY="3.13", CNY="69.00")
    reasons = problems(shifted, known, day(2), jump=Fraction(20, 100))
    assert [reason.split()[0] for reason in reasons] == ["CHF", "GBP"]


BLOC = {"SAR": ("126.6", "130.4"), "QAR": ("130.4", "134.3"), "AED": ("129.2", "133.1")}
UNCHANGED = {code: (value, value) for code, value in (OLD | {"CHF": "590.00", "TRY": "12.00"}).items()}


@pytest.mark.parametrize(
    "moved",
    [
        {"USD": ("476", "500"), "EUR": ("500", "525.5"), "GBP": ("600", "630")},  # the base fell
        BLOC,
        UNCHANGED | BLOC,
    ],
)
def test_common_move_is_not_a_swap(moved: dict[str, tuple[str, str]]) -> None:
    """One currency reaches the former rate of another, which moved by as much: a bloc, or all of a few."""
    old, new = ({code: pair[at] for code, pair in moved.items()} for at in (0, 1))
    assert problems(fixing(day(2), **new), series(fixing(day(1), **old)), day(2)) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [1, 3, 5, 8])
def test_swap_after_days_without_publication_is_quarantined(days: int) -> None:
    """The rates have drifted from their last known values, more with each day."""
    drift = 1 + Decimal("0.003") * days
    swapped = nbk(day(2 + days), USD=str(Decimal("551.06") * drift), EUR=str(Decimal("475.09") / drift))
    assert len(problems(swapped, BEFORE, day(2 + days), jump=Fraction(25, 100))) == 2


def test_move_of_the_base_is_not_a_swap() -> None:
    """All rates moved by the distance between some of them."""
    old = {"USD": "475.00", "EUR": "551.00", "AUD": "300.00", "CAD": "312.00", "CHF": "324.50", "GBP": "631.00"}
    new = {code: str(Decimal(value) * Decimal("1.04")) for code, value in old.items()}
    assert problems(fixing(day(2), **new), series(fixing(day(1), **old)), day(2)) == ()  # type: ignore[arg-type]


def test_inverted_rate_near_one_is_quarantined() -> None:
    """1.08 and its inverse differ by less than the limit."""
    known = series(fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.0800", GBP="0.8500"))
    (reason,) = problems(
        fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="0.9259", GBP="0.8510"),
        known,
        day(2),
        jump=Fraction(20, 100),
    )
    assert "has what is, or was, the rate of 1/USD" in reason


def test_returning_currency_is_compared_with_its_last_rate() -> None:
    """A gap does not hide a jump."""
    known = series(fixing(day(1), USD="475.00", GBP="631.00"), fixing(day(2), USD="475.10"))
    (reason,) = problems(fixing(day(3), USD="475.20", GBP="6310.00"), known, day(3))
    assert reason.startswith("GBP moved by +900.00%, from 631.00 on 2026-04-01 to 6310.00")


def test_first_fixing_is_compared_with_later_ones() -> None:
    """With the next known one, or with two later ones in the same response: one alone does not show which is wrong."""
    wrong, *correct = nbk(day(1), **scaled(10, *OLD)), nbk(day(2), USD="474.00"), nbk(day(3))
    verdicts = [judgement.verdict for judgement in judge_all([wrong, *correct], series(), context(day(3)), 90)]
    assert verdicts == [Verdict.REFUSED, Verdict.NEW, Verdict.NEW]
    verdicts = [
        judgement.verdict
        for judgement in judge_all([correct[0], nbk(day(3), **scaled(10, *OLD))], series(), context(day(3)), 90)
    ]
    assert verdicts == [Verdict.NEW, Verdict.REFUSED]
    assert problems(wrong, series(*correct), day(3))
    assert problems(nbk(day(1), USD="474.10"), series(*correct), day(3)) == ()


def test_rejected_fixing_is_never_published() -> None:
    """Only the rejected rate; another one of the same day is published."""
    rejected = nbk(day(3))
    assert judge(rejected, BEFORE, context(day(3))).accepted
    assert not judge(rejected, BEFORE, context(day(3), rejected={day(3): (rejected,)})).accepted
    assert judge(nbk(day(3), USD="475.10"), BEFORE, context(day(3), rejected={day(3): (rejected,)})).accepted


@pytest.mark.parametrize("bad", ["0", "NaN", "Infinity", "-1"])
def test_invalid_rate_is_quarantined_alone(bad: str) -> None:
    """It is not compared with other rates either: those before and after it are published."""
    fixings = [nbk(day(1)), nbk(day(2), USD=bad), nbk(day(3), USD="475.50"), nbk(day(6), USD="476.00")]
    judged = judge_all(fixings, series(), context(day(6)), 90)
    held = {item.fixing.date: list(item.held.rates) for item in judged if item.held}
    assert held == {day(2): ["USD"]}
    assert [item.publish.rates.keys() if item.publish else None for item in judged] == [
        OLD.keys(), OLD.keys() - {"USD"}, OLD.keys(), OLD.keys()
    ]  # fmt: skip


@pytest.mark.parametrize("first_is_bad", [True, False])
def test_carry_overs_count_as_one_publication(first_is_bad: bool) -> None:
    """An error repeated over a weekend, first or after a correct day: the correct ones are published."""
    weekend = [nbk(day(number), **scaled(10, *OLD)) for number in (4, 5, 6)]
    correct = [nbk(day(number), USD=f"47{number % 10}.00") for number in (7, 8, 9, 10)]
    before = [] if first_is_bad else [nbk(day(3), USD="474.50")]
    verdicts = [
        judgement.verdict for judgement in judge_all([*before, *weekend, *correct], series(), context(day(10)), 90)
    ]
    assert verdicts == [Verdict.NEW] * len(before) + [Verdict.REFUSED] * 3 + [Verdict.NEW] * 4


def test_one_later_publication_does_not_decide_which_is_wrong() -> None:
    """Its carry-overs do not count as further publications."""
    later = [nbk(day(number), **scaled(10, *OLD)) for number in (4, 5, 6)]
    assert judge_all([nbk(day(3)), *later], series(), context(day(6)), 90)[0].accepted


LONG_AGO = nbk(date(2017, 3, 3), USD="318.00", EUR="336.00", RUB="5.50", GBP="390.00", TRY="86.00")


def test_years_without_publication_are_not_a_jump() -> None:
    """Rates from years ago are compared by order of magnitude only and do not define the quoted currencies."""
    fixings = [nbk(day(number), USD=f"47{number}.00") for number in (1, 2, 3)]
    verdicts = [judgement.verdict for judgement in judge_all(fixings, series(LONG_AGO), context(day(3)), 90)]
    assert verdicts == [Verdict.NEW] * 3


@pytest.mark.parametrize("factor", [Decimal(10), Decimal("0.1")])
def test_scale_error_after_years_is_quarantined(factor: Decimal) -> None:
    """Ten times too large or too small, even if the whole response is."""
    rates = {code: str(Decimal(value) * factor) for code, value in OLD.items()}
    fixings = [nbk(day(number), **rates) for number in (1, 2, 3)]
    assert not any(judgement.accepted for judgement in judge_all(fixings, series(LONG_AGO), context(day(3)), 90))


def test_limit_applies_after_two_months() -> None:
    """A bank that was down for two months is compared with its last rates; after four months it is not."""
    known = series(nbk(date(2026, 1, 31)))
    assert problems(nbk(day(2), USD="560.00"), known, day(2))
    assert problems(nbk(day(2), USD="560.00"), series(nbk(date(2025, 12, 1))), day(2)) == ()


def test_every_rejected_version_stays_unpublished() -> None:
    """Several versions of one day may be rejected."""
    first, second = nbk(day(3)), nbk(day(3), USD="475.10")
    rules = context(day(3), rejected={day(3): (first, second)})
    assert not judge(first, BEFORE, rules).accepted
    assert not judge(second, BEFORE, rules).accepted


MANY = OLD | {"AUD": "330.00", "CAD": "342.00", "KGS": "5.43", "SEK": "50.10", "CHF": "585.00"}


def problems_after(days: int, **values: str) -> tuple[str, ...]:
    """Return the problems of a fixing published after some days without a publication."""
    known = series(fixing(day(1), **MANY))  # type: ignore[arg-type]
    new = fixing(day(1) + timedelta(days), **(MANY | values))  # type: ignore[arg-type]
    return problems(new, known, new.date)


@pytest.mark.parametrize(
    ("days", "first", "second"), [(1, "AUD", "CAD"), (3, "AUD", "CAD"), (6, "EUR", "CHF"), (10, "RUB", "KGS")]
)
def test_swap_of_close_rates_after_days_is_quarantined(days: int, first: str, second: str) -> None:
    """After a weekend, Easter or New Year; the rates are 3.6 %, 6.2 % and 8.1 % apart."""
    assert len(problems_after(days, **{first: MANY[second], second: MANY[first]})) == 2


@pytest.mark.parametrize(
    ("days", "first", "second"), [(1, "CAD", "AUD"), (3, "CAD", "AUD"), (6, "CHF", "EUR"), (60, "CAD", "AUD")]
)
def test_equal_rate_after_days_is_quarantined(days: int, first: str, second: str) -> None:
    """Rates do not become exactly equal with time."""
    (reason,) = problems_after(days, **{first: MANY[second]})
    assert reason.startswith(f"{first} moved by ")
    assert f"has what is, or was, the rate of {second}; " in reason


def test_close_rates_may_swap_within_a_month() -> None:
    """Rates 6 % apart may drift that far by themselves."""
    assert problems_after(30, EUR=MANY["CHF"], CHF=MANY["EUR"]) == ()


@pytest.mark.parametrize("days", [29, 90])
@pytest.mark.parametrize(("usd", "eur", "quarantined"), [("562.08", "465.59", True), ("527.35", "490.44", False)])
def test_swap_of_distant_rates_is_distinguished_from_drift(days: int, usd: str, eur: str, quarantined: bool) -> None:
    """Dollar and euro are 16 % apart: within 3 % of the other's rate they are a swap, at 4 % they are not."""
    known = series(fixing(date(2026, 1, 1), **OLD))  # type: ignore[arg-type]
    new = nbk(date(2026, 1, 1) + timedelta(days), USD=usd, EUR=eur)
    assert bool(problems(new, known, new.date, jump=Fraction(25, 100))) is quarantined


def test_rate_near_one_may_cross_it() -> None:
    """From 1.01 to 0.99 is an inversion and an ordinary move."""
    known = series(fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.0100", GBP="0.8500"))
    new = fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="0.9901", GBP="0.8510")
    assert problems(new, known, day(2)) == ()


FLOAT = [
    fixing(date(2015, 8, number), USD=usd, EUR=eur)
    for number, usd, eur in ((19, "188.38", "208.03"), (20, "255.26", "284.02"), (21, "252.47", "283.00"))
]
FLOAT_BY_CBR = [
    fixing(date(2015, 8, number), "cbr", "RUB", USD=usd, EUR=eur, KZT=(tenge, 100))
    for number, usd, eur, tenge in (
        (19, "65.60", "72.44", "34.82"), (20, "66.00", "73.44", "25.86"), (21, "67.10", "75.21", "26.58"),
    )
]  # fmt: skip


def test_move_back_in_time_is_confirmed_by_another_bank() -> None:
    """The day before the devaluation is compared with the day after it, known or in the same response."""
    moscow = {"cbr": series(*FLOAT_BY_CBR)}
    assert problems(FLOAT[0], series(*FLOAT[1:]), date(2015, 8, 22), moscow) == ()
    assert all(
        judgement.accepted for judgement in judge_all(FLOAT, series(), context(date(2015, 8, 22), None, moscow), 90)
    )
    assert problems(FLOAT[0], series(*FLOAT[1:]), date(2015, 8, 22))


def test_scale_error_before_a_confirmed_move_is_quarantined() -> None:
    """The other bank has a fall by a third, not to a tenth."""
    wrong = fixing(FLOAT[0].date, USD="1883.80", EUR="208.03")
    moscow = {"cbr": series(*FLOAT_BY_CBR)}
    (reason,) = problems(wrong, series(*FLOAT[1:]), date(2015, 8, 22), moscow)
    assert reason == "USD is 1883.80, and 255.26 on 2015-08-20; no other bank confirms it"


def test_earlier_dates_in_a_response_are_not_later_publications() -> None:
    """Also if the dates of the response are unordered."""
    earlier = [nbk(day(1), **scaled(10, *OLD)), nbk(day(2), **scaled(11, *OLD))]
    assert problems(nbk(day(3)), series(), day(3), later=earlier) == ()


def test_first_fixing_after_years_is_compared_with_later_ones() -> None:
    """Three times too large has the right order of magnitude, but is wrong."""
    fixings = [nbk(day(1), USD="1425.00"), nbk(day(2), USD="475.50"), nbk(day(3))]
    judged = judge_all(fixings, series(LONG_AGO), context(day(3)), 90)
    assert [sorted(item.held.rates) if item.held else [] for item in judged] == [["USD"], [], []]


def test_half_move_is_not_a_swap() -> None:
    """Of two close currencies one drifted towards the former rate of the other, which moved away."""
    assert problems_after(9, AUD="335.00", CAD="316.00") == ()


YEARS_AGO = date(2014, 6, 3)
OLD_FIXING = fixing(YEARS_AGO, USD="183.51", EUR="249.70", GBP="307.43", RUB="5.25", CNY="29.37", TRY="87.30")
MOSCOW = [
    fixing(day(number), "cbr", "RUB", USD="81.0000", EUR="93.9000", GBP="107.6000", KZT=("17.0500", 100))
    for number in (1, 2)
]


def others_of(*others: Fixing) -> dict[str, Series]:
    """Return the publications of two other banks."""
    return {key: series(*(item for item in others if item.source == key)) for key in ("cbr", "other")}


def test_currency_that_fell_for_years_is_accepted() -> None:
    """The lira is worth an eighth of its value twelve years ago, and no other bank quotes it."""
    fixings = [nbk(day(number), USD=f"47{number}.00", TRY="10.68") for number in (1, 2, 3)]
    assert all(judgement.accepted for judgement in judge_all(fixings, series(OLD_FIXING), context(day(3)), 90))
    returned = nbk(day(3), TRY="10.68")
    assert problems(returned, series(OLD_FIXING, *BEFORE.fixings), day(3)) == ()


def test_scale_move_within_a_year_is_quarantined() -> None:
    """After more than a year the currency may have fallen that far."""
    for last_date, quarantined in ((date(2025, 4, 2), True), (date(2025, 4, 1), False)):
        known = series(nbk(last_date, JPY="31.20"))
        assert bool(problems(nbk(day(3)), known, day(3))) is quarantined


@pytest.mark.parametrize("fallen", ["5.5", "0.15"])
def test_base_that_fell_for_years_is_confirmed_by_another_bank(fallen: str) -> None:
    """All currencies moved as in a scale error; another bank has them at the same level."""
    known = series(nbk(YEARS_AGO, **{code: str(Decimal(value) / Decimal(fallen)) for code, value in OLD.items()}))
    assert len(problems(nbk(day(2)), known, others=others_of())) == len(OLD)
    assert problems(nbk(day(2)), known, others=others_of(*MOSCOW)) == ()
    assert len(problems(nbk(day(2), **scaled(10, *OLD)), known, others=others_of(*MOSCOW))) >= 3


@pytest.mark.parametrize("fallen", [1, 6])
def test_one_confirmed_currency_confirms_the_scale_of_all(fallen: int) -> None:
    """The other bank quotes only the dollar: at the same level, or off by ten with all others."""
    known = series(nbk(YEARS_AGO, **{code: str(Decimal(value) / fallen) for code, value in OLD.items()}))
    dollar = fixing(day(2), "cbr", "UZS", USD="12142.10", KZT="25.5600")
    assert bool(problems(nbk(day(2)), known, others=others_of())) is (fallen > 1)
    assert problems(nbk(day(2)), known, others=others_of(dollar)) == ()
    assert len(problems(nbk(day(2), **scaled(10, *OLD)), known, others=others_of(dollar))) == len(OLD)


def test_redenominated_currency_is_confirmed_by_another_bank() -> None:
    """It was redenominated within the year."""
    known = series(nbk(date(2025, 12, 1), JPY="31200.00"))
    tokyo = fixing(day(2), "other", "RUB", JPY="0.5320", KZT=("17.0500", 100))
    assert problems(nbk(day(2)), known, others=others_of())
    assert problems(nbk(day(2)), known, others=others_of(tokyo)) == ()


OUTDATED = series(fixing(date(2025, 12, 29), USD="475.09", EUR="551.06", GBP="631.87"))


def test_outdated_rates_are_compared_with_another_bank() -> None:
    """By order of magnitude alone two swapped rates and one four times too large would be accepted."""
    wrong = fixing(day(2), USD="551.06", EUR="475.09", GBP="2527.00")
    assert problems(wrong, OUTDATED, others=others_of()) == ()
    moved = [*MOSCOW, fixing(day(3), "cbr", "RUB", USD="81.0500", EUR="93.9100", GBP="107.6500", KZT=("17.0500", 100))]
    reasons = problems(wrong, OUTDATED, others=others_of(*moved))
    assert [reason.partition("; ")[2].partition(" (")[0] for reason in reasons] == ["other banks have it elsewhere"] * 3
    assert problems(fixing(day(2), USD="560.00", EUR="650.00", GBP="745.00"), OUTDATED, others=others_of()) == ()


@pytest.mark.parametrize(
    "other",
    [
        replace(MOSCOW[0], date=date(2026, 3, 17)),  # more than two weeks before
        replace(MOSCOW[0], date=day(8)),  # six days after
        fixing(day(2), "other", USD="475.09", EUR="551.06", GBP="631.87"),  # the same bank, relayed
    ],
)
def test_other_bank_is_not_comparable(other: Fixing) -> None:
    """Rates of other dates, or of a relay of the same bank."""
    assert problems(fixing(day(2), USD="560.00", EUR="551.06", GBP="631.87"), OUTDATED, others=others_of(other)) == ()


@pytest.mark.parametrize("on", [date(2026, 3, 29), day(5)])
def test_other_bank_is_comparable_within_days(on: date) -> None:
    """Two banks date the same rates differently, with a weekend in between."""
    new = fixing(day(2), USD="560.00", EUR="551.06", GBP="631.87")
    assert len(problems(new, OUTDATED, others=others_of(replace(MOSCOW[0], date=on)))) == 1


def test_metals_are_not_compared_with_another_bank() -> None:
    """It may quote them per ounce instead of per gram."""
    known = series(fixing(date(2025, 12, 29), USD="475.09", XAU="66000.00"))
    other = fixing(day(2), "cbr", "RUB", USD="81.0000", XAU="365000.00", KZT=("17.0500", 100))
    assert problems(fixing(day(2), USD="475.09", XAU="70000.00"), known, others=others_of(other)) == ()


def test_rate_near_one_may_approach_its_inverse() -> None:
    """By 3 % in a week; an inverted rate would differ by 5 %."""
    known = series(fixing(day(1), XFA="0.9742"))
    assert problems(fixing(day(9), XFA="1.0049"), known, day(9)) == ()
    assert problems(fixing(day(9), XFA="1.0200"), known, day(9))
    known = series(fixing(day(1), XFA="1.0800"))
    assert problems(fixing(day(2), XFA="0.9550"), known, day(2)) == ()
    assert problems(fixing(day(2), XFA="0.9300"), known, day(2))


CODES = ("USD", "EUR", "GBP", "CNY", "CHF", "TRY", "JPY", "PLN", "MXN")


def in_base(on: date, source: str, base: str, prices: Mapping[str, float]) -> Fixing:
    return fixing(
        on,
        source,
        base,
        Quotation.DIRECT,
        **{code: f"{price / prices[base]:.6f}" for code, price in prices.items() if code != base},
    )


@pytest.mark.parametrize(("published", "confidence"), [(False, Confidence.CONFIRMED), (True, Confidence.DIVERGING)])
def test_lagging_bank_is_compared_on_its_latest_date(published: bool, confidence: Confidence) -> None:
    """A rate 2 % off matches that of the day before by chance: not once the bank has published that day."""
    random, prices = Random(1), [dict.fromkeys((*CODES, "RUB", "UAH", "KZT"), 100.0)]  # noqa: S311 - no secret
    for _ in range(20):
        prices.append({code: price * exp(random.gauss(0, 0.004)) for code, price in prices[-1].items()})
    prices[-1] |= {"MXN": prices[-2]["MXN"] / prices[-2]["KZT"] * prices[-1]["KZT"] * 1.017}
    days = [day(1) + timedelta(days=number) for number in range(len(prices) + 1)]
    prompt = series(*(in_base(on, "cbr", "RUB", daily) for on, daily in zip(days, prices, strict=False)))
    lagging = series(
        *(
            in_base(on, "nbu", "UAH", daily)
            for on, daily in zip(days[1 : None if published else -1], prices, strict=False)
        )
    )
    wrong = in_base(days[-2], "nbk", "KZT", {**prices[-1], "KZT": prices[-1]["KZT"] * 1.02})
    correct = [in_base(on, "nbk", "KZT", daily) for on, daily in zip(days[:-2], prices, strict=False)]
    check = context(days[-1], series(*correct, wrong), {"cbr": prompt, "nbu": lagging}).cross_check
    assert check
    assert check.assess("nbk", wrong, "MXN").confidence is confidence


JUMP = Fraction(15, 100)
FRANC = (
    "1.201 1.201 1.201 1.201 1.028 1.0128 1.012 1.0087 0.9997 0.9943 0.9816 1.0014 1.017 1.0242 1.0372 1.0468 1.0519 "
    "1.0526 1.0602 1.0587 1.0534 1.0428 1.0457"
)
"""Swiss francs for a euro, as the ECB published them from 2015-01-12 on; the end of the minimum rate is the fifth."""


def francs(values: Iterable[str]) -> list[Fixing]:
    """Return a fixing per day with the rate of the franc."""
    first = date(2015, 1, 12)
    return [
        fixing(first + timedelta(days=number), "ecb", "EUR", Quotation.INVERSE, CHF=value)
        for number, value in enumerate(values)
    ]


def test_true_jump_that_drifts_back_stays_in_history() -> None:
    """Eleven days after the minimum rate ended, the franc was within the limit of its rate before."""
    published = francs(FRANC.split())
    for count in range(8, len(published) + 1):
        untrusted = untrusted_rates("CHF", "EUR", published[:count], None, (), JUMP)
        assert untrusted == (frozenset(), frozenset()), count
    assert slips([each.cross("CHF", "EUR") for each in published], JUMP) == set()


@pytest.mark.parametrize("wrong", [["1.028"], ["1.028", "1.0128", "1.012"], ["0.1201", "0.1203"]], ids=len)
def test_wrong_rates_are_reversed_by_one_step(wrong: list[str]) -> None:
    """Whatever few days they last, and however little they are beyond the limit."""
    published = francs([*["1.201"] * 4, *wrong, *["1.19"] * 8])
    dates = frozenset(each.date for each in published[4 : 4 + len(wrong)])
    assert untrusted_rates("CHF", "EUR", published, None, (), JUMP) == (dates, frozenset())
    values = [each.cross("CHF", "EUR") for each in published]
    assert slips(values, JUMP) == set(range(4, 4 + len(wrong)))


@given(
    st.lists(st.integers(85, 116), min_size=4, max_size=20),
    st.lists(st.integers(30, 300), max_size=3),
    st.lists(st.integers(95, 105), min_size=4, max_size=20),
)
def test_shown_changes_are_within_the_limit_or_kept(before: list[int], wrong: list[int], after: list[int]) -> None:
    """A larger one follows three publications, and three follow it."""
    published = francs(f"{value / 100:.2f}" for value in (*before, *wrong, *after))
    hidden, without_change = untrusted_rates("CHF", "EUR", published, None, (), JUMP)
    shown = [each for each in published if each.date not in hidden]
    assert shown[0] is published[0]
    for index, (old, new) in enumerate(pairwise(shown), 1):
        move = new.cross("CHF", "EUR") / old.cross("CHF", "EUR") - 1
        if abs(move) > JUMP and new.date not in without_change:
            assert index >= 3
            assert published.index(new) + 3 < len(published)
