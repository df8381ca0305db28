"""What makes a fixing acceptable."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
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
    suspicious_rates,
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
    """Return what a fixing of `source` is judged by, beside what `others` have published."""
    every = {source: known or Series(), **(others or {})}
    check = CrossCheck({key: Witness(key, Publications(one, same_day)) for key, one in every.items()})
    return ValidationContext(last_day, cross_check=check, **settings)


def problems(
    new: Fixing,
    known: Series,
    last_day: date | None = None,
    others: Mapping[str, Series] | None = None,
    later: Sequence[Fixing] = (),
    **settings: Any,
) -> tuple[str, ...]:
    """Return all that keeps rates of a fixing from being published."""
    judged_by = context(last_day or new.date, known, others, new.source, **settings)
    return document_errors(new, judged_by) or tuple(suspicious_rates(new, known, judged_by, later).values())


def verdicts(judgements: Iterable[Judgement]) -> list[Verdict]:
    return [one.verdict for one in judgements]


FRIDAY = fixing(day(3), USD="475.09", RUB="5.87")


@pytest.mark.parametrize(
    ("bad", "told"),
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
def test_what_cannot_be_true_is_refused(bad: Fixing, told: str) -> None:
    """Each rule says what is wrong."""
    (reason,) = problems(bad, series(), day(3))
    assert told in reason


def test_a_new_currency_is_welcome() -> None:
    """More than before is no reason to refuse."""
    assert problems(fixing(day(4), USD="475.09", RUB="5.87", EUR="551.06"), series(FRIDAY), day(4)) == ()


OLD = {"USD": "475.09", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12", "JPY": "3.12"}


def nbk(on: date, **figures: str) -> Fixing:
    return fixing(on, **(OLD | figures))  # type: ignore[arg-type]


def scaled(by: int, *codes: str) -> dict[str, str]:
    return {code: str(Decimal(OLD[code]) * by) for code in codes}


BEFORE = series(nbk(day(1), USD="474.00"), nbk(day(2)))


@pytest.mark.parametrize("by", [10, 100, 1000])
@pytest.mark.parametrize("codes", [("USD",), ("JPY",), tuple(OLD)])
def test_a_scale_fault_waits(by: int, codes: tuple[str, ...]) -> None:
    """One currency or all of them, ten, a hundred or a thousand times too large, or too small."""
    reasons = problems(nbk(day(3), **scaled(by, *codes)), BEFORE, day(3))
    assert [reason.split()[0] for reason in reasons] == sorted(codes)
    assert all(f"moved by +{by - 1}00.00%" in reason for reason in reasons)
    small = {code: str(Decimal(OLD[code]) / by) for code in codes}
    assert len(problems(nbk(day(3), **small), BEFORE, day(3))) == len(codes)


def test_an_inverted_feed_waits() -> None:
    """Foreign units for one of ours instead of the other way."""
    inverted = {code: str(round(1 / Decimal(value), 6)) for code, value in OLD.items()}
    assert len(problems(nbk(day(3), **inverted), BEFORE, day(3))) == len(OLD)


def test_two_currencies_that_changed_places_wait() -> None:
    """Dollar and euro: both moves are below the limit, the figures are each other's."""
    reasons = problems(nbk(day(3), USD="551.90", EUR="475.80"), BEFORE, day(3), jump=Fraction(20, 100))
    assert [reason.partition(" and ")[2] for reason in reasons] == [
        "has what is, or was, the rate of USD; no other bank confirms it",
        "has what is, or was, the rate of EUR; no other bank confirms it",
    ]


def test_currency_with_anothers_rate_is_quarantined() -> None:
    """The euro's figure stands beside the dollar too."""
    (reason,) = problems(nbk(day(3), USD="552.00", EUR="552.00"), BEFORE, day(3), jump=Fraction(20, 100))
    assert reason.startswith(
        "USD moved by +16.19%, from 475.09 on 2026-04-02 to 552.00 and has what is, or was, the rate of EUR; "
    )


def test_near_currencies_may_meet() -> None:
    """Two that were never far apart may have the same figure."""
    close = series(fixing(day(2), AUD="339.00", CAD="341.00"))
    assert problems(fixing(day(3), AUD="340.12", CAD="340.12"), close, day(3)) == ()


@pytest.mark.parametrize(("to", "waits"), [("546.35", False), ("546.36", True), ("403.83", False), ("403.82", True)])
def test_the_limit_is_a_limit(to: str, waits: bool) -> None:
    """15 % of 475.09 are 71.2635."""
    assert bool(problems(nbk(day(3), USD=to), BEFORE, day(3))) is waits


def test_a_direction_of_quotation_does_not_matter() -> None:
    """An inverse rate moves the other way; the limit is of what a reader sees."""
    known = series(fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.0000"))
    falls = fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="1.1700")  # the dollar is worth 14.5 % less
    rises = fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="0.8600")  # and here 16.3 % more
    assert problems(falls, known, day(2)) == ()
    assert "moved by +16.28%" in problems(rises, known, day(2))[0]


AUGUST_20, AUGUST_21 = date(2015, 8, 20), date(2015, 8, 21)
PEGGED = fixing(AUGUST_20, USD="188.38", EUR="209.05", AED="51.29", RUB="2.83")
FLOATED = fixing(AUGUST_21, USD="255.26", EUR="284.69", AED="69.50", RUB="3.80")
CBR = (
    fixing(AUGUST_20, "cbr", "RUB", USD="66.0861", EUR="73.1045", KZT=("35.1015", 100)),
    fixing(AUGUST_21, "cbr", "RUB", USD="67.4933", EUR="75.3200", KZT=("26.8100", 100)),
)


def test_the_float_of_2015_waits_without_another_bank() -> None:
    """On 20 August 2015 the tenge was floated: true, and not to be told from a fault by one bank alone."""
    reasons = problems(FLOATED, series(PEGGED), AUGUST_21)
    assert [reason.split()[0] for reason in reasons] == ["AED", "EUR", "RUB", "USD"]
    assert reasons[-1] == ("USD moved by +35.50%, from 188.38 on 2015-08-20 to 255.26; no other bank confirms it")


def test_the_float_of_2015_passes_with_another_bank() -> None:
    """The Bank of Russia saw the tenge fall too; the dirham, which it does not quote, moved with the dollar."""
    confirmed = judge(FLOATED, series(PEGGED), context(AUGUST_21, others={"cbr": series(*CBR)}))
    assert (confirmed.verdict, confirmed.reasons) == (Verdict.NEW, ())


@pytest.mark.parametrize(
    "other",
    [
        (CBR[0],),  # it has not published that day yet
        (CBR[0], fixing(AUGUST_21, "cbr", "RUB", USD="67.4933", EUR="75.3200", KZT=("35.1015", 100))),  # it stood still
        (fixing(AUGUST_20, "relay", USD="188.38"), fixing(AUGUST_21, "relay", USD="255.26")),  # the same bank, relayed
    ],
)
def test_what_does_not_confirm(other: tuple[Fixing, ...]) -> None:
    """A bank without that day, one that saw nothing, and our own bank by another way."""
    assert problems(FLOATED, series(PEGGED), AUGUST_21, others={"other": series(*other)})


def test_a_jump_that_others_contradict_is_not_excused_by_one_that_they_confirm() -> None:
    """The whole float is true; a dollar ten times too large in it is not."""
    wrong = fixing(AUGUST_21, USD="2552.60", EUR="284.69", AED="69.50", RUB="3.80")
    (reason,) = problems(wrong, series(PEGGED), AUGUST_21, others={"cbr": series(*CBR)})
    assert reason.startswith("USD moved by +1255.03%, from 188.38 on 2015-08-20 to 2552.60; ")
    assert reason.endswith("; other banks have it elsewhere (cbr -90.14%)")


def test_swap_of_similar_rates_is_not_confirmed_by_an_unchanged_bank() -> None:
    """Moves of 4 % lie within the tolerance of none at all; a confirmation must have moved itself."""
    known = series(fixing(day(1), CHF="600.00", GBP="624.00"))
    swapped = fixing(day(2), CHF="624.00", GBP="600.00")
    other = series(
        *(fixing(day(n), "cbr", "RUB", CHF="96.0", GBP="99.84", KZT=("16.0", 100)) for n in (1, 2)),
    )
    assert len(problems(swapped, known, day(2), others={"cbr": other})) == 2


def test_an_accepted_fixing_is_the_new_measure() -> None:
    """After a jump that was let through the next day is judged by it."""
    far = nbk(day(3), **scaled(10, "USD"))
    assert judge(nbk(day(4), **scaled(10, "USD")), series(*BEFORE.fixings, far), context(day(4))).accepted


def test_a_revision_is_judged_by_the_day_before() -> None:
    """A wrong figure may be corrected back, however far; a right one not be spoilt."""
    wrong = nbk(day(3), **scaled(10, "USD"))
    known = series(*BEFORE.fixings, wrong)
    assert judge(nbk(day(3)), known, context(day(3))).verdict is Verdict.REVISION
    assert judge(wrong, series(*BEFORE.fixings, nbk(day(3))), context(day(3))).verdict is Verdict.REFUSED


@given(
    st.lists(st.decimals("0.01", "9999", places=2), min_size=2, max_size=2),
    st.sampled_from([1, 10, 100, 1000]),
    st.sampled_from(list(Quotation)),
)
def test_every_move_beyond_the_limit_waits_and_no_other(
    values: list[Decimal], nominal: int, direction: Quotation
) -> None:
    """Exactly: by rational arithmetic, for any digits, nominal and direction."""
    old, new = (
        fixing(day(number), direction=direction, USD=(str(value), nominal))
        for number, value in zip((1, 2), values, strict=True)
    )
    ratio = Fraction(values[1]) / Fraction(values[0])
    moved = (ratio if direction is Quotation.DIRECT else 1 / ratio) - 1
    told = any("moved by" in reason for reason in problems(new, series(old), day(2)))  # or is it upside down?
    assert told is (abs(moved) > Fraction(15, 100))


def test_a_row_that_slipped_waits() -> None:
    """Three figures one line too low: each move is below the limit."""
    known = series(fixing(day(1), USD="475.09", EUR="551.06", CHF="585.00", GBP="631.87", JPY="3.12", CNY="69.12"))
    slipped = fixing(day(2), USD="476.00", EUR="585.50", CHF="631.60", GBP="551.40", JPY="3.13", CNY="69.00")
    reasons = problems(slipped, known, day(2), jump=Fraction(20, 100))
    assert [(reason[:3], "has what is, or was, the rate of" in reason) for reason in reasons] == [
        ("CHF", True), ("EUR", True), ("GBP", True)
    ]  # fmt: skip


def test_a_row_whose_neighbours_are_equally_far_apart_waits_too() -> None:
    """Two of the three moved alike; the third cannot have."""
    known = series(fixing(day(1), USD="475.09", EUR="551.06", CHF="590.00", GBP="631.87", JPY="3.12", CNY="69.12"))
    slipped = fixing(day(2), USD="476.00", EUR="590.50", CHF="631.60", GBP="551.40", JPY="3.13", CNY="69.00")
    reasons = problems(slipped, known, day(2), jump=Fraction(20, 100))
    assert [reason.split()[0] for reason in reasons] == ["CHF", "GBP"]


BLOC = {"SAR": ("126.6", "130.4"), "QAR": ("130.4", "134.3"), "AED": ("129.2", "133.1")}
STILL = {code: (value, value) for code, value in (OLD | {"CHF": "590.00", "TRY": "12.00"}).items()}


@pytest.mark.parametrize(
    "moved",
    [
        {"USD": ("476", "500"), "EUR": ("500", "525.5"), "GBP": ("600", "630")},  # the base fell
        BLOC,
        STILL | BLOC,
    ],
)
def test_currencies_that_move_together_take_nobodys_place(moved: dict[str, tuple[str, str]]) -> None:
    """One comes to stand where the other was, which went on by as much: a bloc, or all of a few."""
    old, new = ({code: pair[at] for code, pair in moved.items()} for at in (0, 1))
    assert problems(fixing(day(2), **new), series(fixing(day(1), **old)), day(2)) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [1, 3, 5, 8])
def test_a_swap_after_days_without_a_word_waits(days: int) -> None:
    """Its figures have drifted from those that they are measured by, the more the longer."""
    drift = 1 + Decimal("0.003") * days
    swapped = nbk(day(2 + days), USD=str(Decimal("551.06") * drift), EUR=str(Decimal("475.09") / drift))
    assert len(problems(swapped, BEFORE, day(2 + days), jump=Fraction(25, 100))) == 2


def test_what_the_base_did_is_no_slip() -> None:
    """All of them moved by as much as some are apart: nobody took another's place."""
    old = {"USD": "475.00", "EUR": "551.00", "AUD": "300.00", "CAD": "312.00", "CHF": "324.50", "GBP": "631.00"}
    new = {code: str(Decimal(value) * Decimal("1.04")) for code, value in old.items()}
    assert problems(fixing(day(2), **new), series(fixing(day(1), **old)), day(2)) == ()  # type: ignore[arg-type]


def test_a_rate_near_one_upside_down_waits() -> None:
    """1.08 and its inverse are less than the limit apart."""
    known = series(fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.0800", GBP="0.8500"))
    (reason,) = problems(
        fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="0.9259", GBP="0.8510"),
        known,
        day(2),
        jump=Fraction(20, 100),
    )
    assert "has what is, or was, the rate of 1/USD" in reason


def test_returning_currency_is_compared_with_its_last_rate() -> None:
    """A gap hides no jump."""
    known = series(fixing(day(1), USD="475.00", GBP="631.00"), fixing(day(2), USD="475.10"))
    (reason,) = problems(fixing(day(3), USD="475.20", GBP="6310.00"), known, day(3))
    assert reason.startswith("GBP moved by +900.00%, from 631.00 on 2026-04-01 to 6310.00")


def test_the_first_of_all_is_measured_by_those_after_it() -> None:
    """By the next that is known; in one answer by two more, of which one alone would not tell who is wrong."""
    wrong, *right = nbk(day(1), **scaled(10, *OLD)), nbk(day(2), USD="474.00"), nbk(day(3))
    verdicts = [one.verdict for one in judge_all([wrong, *right], series(), context(day(3)), 90)]
    assert verdicts == [Verdict.REFUSED, Verdict.NEW, Verdict.NEW]
    verdicts = [
        one.verdict for one in judge_all([right[0], nbk(day(3), **scaled(10, *OLD))], series(), context(day(3)), 90)
    ]
    assert verdicts == [Verdict.NEW, Verdict.REFUSED]
    assert problems(wrong, series(*right), day(3))
    assert problems(nbk(day(1), USD="474.10"), series(*right), day(3)) == ()


def test_what_an_operator_rejected_is_never_let_in() -> None:
    """Also when its day has come, or another bank says the same."""
    one = nbk(day(3))
    assert judge(one, BEFORE, context(day(3))).accepted
    assert not judge(one, BEFORE, context(day(3), rejected={day(3): (one,)})).accepted
    assert judge(nbk(day(3), USD="475.10"), BEFORE, context(day(3), rejected={day(3): (one,)})).accepted


@pytest.mark.parametrize("bad", ["0", "NaN", "Infinity", "-1"])
def test_unusable_rate_is_held_alone(bad: str) -> None:
    """It is no rate to compare others with either: those before and after it are published."""
    fixings = [nbk(day(1)), nbk(day(2), USD=bad), nbk(day(3), USD="475.50"), nbk(day(6), USD="476.00")]
    judged = judge_all(fixings, series(), context(day(6)), 90)
    held = {one.fixing.date: list(one.held.rates) for one in judged if one.held}
    assert held == {day(2): ["USD"]}
    assert [one.publish.rates.keys() if one.publish else None for one in judged] == [
        OLD.keys(), OLD.keys() - {"USD"}, OLD.keys(), OLD.keys()
    ]  # fmt: skip


@pytest.mark.parametrize("first_is_bad", [True, False])
def test_carry_overs_are_one_word_and_not_several(first_is_bad: bool) -> None:
    """A fault that the weekend repeats, at the beginning or right behind a true day: the true ones are let in."""
    weekend = [nbk(day(number), **scaled(10, *OLD)) for number in (4, 5, 6)]
    true = [nbk(day(number), USD=f"47{number % 10}.00") for number in (7, 8, 9, 10)]
    before = [] if first_is_bad else [nbk(day(3), USD="474.50")]
    verdicts = [one.verdict for one in judge_all([*before, *weekend, *true], series(), context(day(10)), 90)]
    assert verdicts == [Verdict.NEW] * len(before) + [Verdict.REFUSED] * 3 + [Verdict.NEW] * 4


def test_one_other_source_does_not_decide_who_is_wrong() -> None:
    """Carry-overs of the same figures are no second word either."""
    later = [nbk(day(number), **scaled(10, *OLD)) for number in (4, 5, 6)]
    assert judge_all([nbk(day(3)), *later], series(), context(day(6)), 90)[0].accepted


LONG_AGO = nbk(date(2017, 3, 3), USD="318.00", EUR="336.00", RUB="5.50", GBP="390.00", TRY="86.00")


def test_years_without_a_publication_are_no_jump() -> None:
    """A past that ends years ago measures today by its order of magnitude alone, and has no say in what is quoted."""
    fixings = [nbk(day(number), USD=f"47{number}.00") for number in (1, 2, 3)]
    verdicts = [one.verdict for one in judge_all(fixings, series(LONG_AGO), context(day(3)), 90)]
    assert verdicts == [Verdict.NEW] * 3


@pytest.mark.parametrize("by", [Decimal(10), Decimal("0.1")])
def test_a_scale_fault_waits_after_years_too(by: Decimal) -> None:
    """Ten times too much or too little, also where the whole answer is so."""
    figures = {code: str(Decimal(value) * by) for code, value in OLD.items()}
    fixings = [nbk(day(number), **figures) for number in (1, 2, 3)]
    assert not any(one.accepted for one in judge_all(fixings, series(LONG_AGO), context(day(3)), 90))


def test_a_quarter_is_not_yet_long_ago() -> None:
    """A bank that was dead for two months is measured by what it said before."""
    known = series(nbk(date(2026, 1, 31)))
    assert problems(nbk(day(2), USD="560.00"), known, day(2))
    assert problems(nbk(day(2), USD="560.00"), series(nbk(date(2025, 12, 1))), day(2)) == ()


def test_every_form_that_was_rejected_stays_out() -> None:
    """Of one day there may be several."""
    one, two = nbk(day(3)), nbk(day(3), USD="475.10")
    rules = context(day(3), rejected={day(3): (one, two)})
    assert not judge(one, BEFORE, rules).accepted
    assert not judge(two, BEFORE, rules).accepted


MANY = OLD | {"AUD": "330.00", "CAD": "342.00", "KGS": "5.43", "SEK": "50.10", "CHF": "585.00"}


def after(days: int, **figures: str) -> tuple[str, ...]:
    """Return what is objected to a fixing that comes after some days without a word."""
    known = series(fixing(day(1), **MANY))  # type: ignore[arg-type]
    new = fixing(day(1) + timedelta(days), **(MANY | figures))  # type: ignore[arg-type]
    return problems(new, known, new.date)


@pytest.mark.parametrize(
    ("days", "one", "other"), [(1, "AUD", "CAD"), (3, "AUD", "CAD"), (6, "EUR", "CHF"), (10, "RUB", "KGS")]
)
def test_near_currencies_that_changed_places_wait_after_days_too(days: int, one: str, other: str) -> None:
    """A weekend, Easter, the New Year: they are 3.6 %, 6.2 % and 8.1 % apart, and were before."""
    assert len(after(days, **{one: MANY[other], other: MANY[one]})) == 2


@pytest.mark.parametrize(
    ("days", "one", "other"), [(1, "CAD", "AUD"), (3, "CAD", "AUD"), (6, "CHF", "EUR"), (60, "CAD", "AUD")]
)
def test_currency_with_anothers_exact_rate_is_quarantined_after_days_too(days: int, one: str, other: str) -> None:
    """Time makes no two figures equal."""
    (reason,) = after(days, **{one: MANY[other]})
    assert reason.startswith(f"{one} moved by ")
    assert f"has what is, or was, the rate of {other}; " in reason


def test_after_a_month_near_currencies_may_have_changed_places() -> None:
    """What is 6 % apart drifts as far by itself."""
    assert after(30, EUR=MANY["CHF"], CHF=MANY["EUR"]) == ()


@pytest.mark.parametrize("days", [29, 90])
@pytest.mark.parametrize(("usd", "eur", "waits"), [("562.08", "465.59", True), ("527.35", "490.44", False)])
def test_swap_of_distant_rates_is_distinguished_from_drift_after_months(
    days: int, usd: str, eur: str, waits: bool
) -> None:
    """Dollar and euro are 16 % apart: within 3 % of the other's place they are taken for it, with 4 % they are not."""
    known = series(fixing(date(2026, 1, 1), **OLD))  # type: ignore[arg-type]
    new = nbk(date(2026, 1, 1) + timedelta(days), USD=usd, EUR=eur)
    assert bool(problems(new, known, new.date, jump=Fraction(25, 100))) is waits


def test_a_rate_near_one_may_cross_it() -> None:
    """From 1.01 to 0.99 is upside down, and an ordinary move."""
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


def test_another_bank_confirms_a_move_backwards_too() -> None:
    """The day before the float, measured by the day after it: the next known, or later in the same answer."""
    moscow = {"cbr": series(*FLOAT_BY_CBR)}
    assert problems(FLOAT[0], series(*FLOAT[1:]), date(2015, 8, 22), moscow) == ()
    assert all(one.accepted for one in judge_all(FLOAT, series(), context(date(2015, 8, 22), None, moscow), 90))
    assert problems(FLOAT[0], series(*FLOAT[1:]), date(2015, 8, 22))


def test_fault_of_scale_before_a_confirmed_move_is_held() -> None:
    """The other bank saw the tenge fall by a third, not to a tenth."""
    wrong = fixing(FLOAT[0].date, USD="1883.80", EUR="208.03")
    moscow = {"cbr": series(*FLOAT_BY_CBR)}
    (reason,) = problems(wrong, series(*FLOAT[1:]), date(2015, 8, 22), moscow)
    assert reason == "USD is 1883.80, and 255.26 on 2015-08-20; no other bank confirms it"


def test_what_lies_before_the_first_of_an_answer_is_no_word_on_it() -> None:
    """Also where the answer has its days in disorder."""
    earlier = [nbk(day(1), **scaled(10, *OLD)), nbk(day(2), **scaled(11, *OLD))]
    assert problems(nbk(day(3)), series(), day(3), later=earlier) == ()


def test_the_first_after_years_is_measured_by_those_after_it_too() -> None:
    """Three times too much is no matter of scale, and yet wrong."""
    fixings = [nbk(day(1), USD="1425.00"), nbk(day(2), USD="475.50"), nbk(day(3))]
    judged = judge_all(fixings, series(LONG_AGO), context(day(3)), 90)
    assert [sorted(one.held.rates) if one.held else [] for one in judged] == [["USD"], [], []]


def test_half_the_way_to_anothers_place_is_none() -> None:
    """Two that are near, of which one drifted towards where the other was, and that one away."""
    assert after(9, AUD="335.00", CAD="316.00") == ()


THEN = date(2014, 6, 3)
BEFORE_YEARS = fixing(THEN, USD="183.51", EUR="249.70", GBP="307.43", RUB="5.25", CNY="29.37", TRY="87.30")
MOSCOW = [
    fixing(day(number), "cbr", "RUB", USD="81.0000", EUR="93.9000", GBP="107.6000", KZT=("17.0500", 100))
    for number in (1, 2)
]


def by(*others: Fixing) -> dict[str, Series]:
    """Return what two other banks have published."""
    return {key: series(*(one for one in others if one.source == key)) for key in ("cbr", "other")}


def test_a_currency_that_fell_for_years_keeps_nothing_out() -> None:
    """The lira is worth an eighth of what it was twelve years ago, and nobody else quotes it."""
    fixings = [nbk(day(number), USD=f"47{number}.00", TRY="10.68") for number in (1, 2, 3)]
    assert all(one.accepted for one in judge_all(fixings, series(BEFORE_YEARS), context(day(3)), 90))
    back = nbk(day(3), TRY="10.68")
    assert problems(back, series(BEFORE_YEARS, *BEFORE.fixings), day(3)) == ()


def test_within_a_year_a_fault_of_scale_is_none_of_the_markets() -> None:
    """One currency alone waits then; after more than that it may have fallen so far."""
    for then, waits in ((date(2025, 4, 2), True), (date(2025, 4, 1), False)):
        known = series(nbk(then, JPY="31.20"))
        assert bool(problems(nbk(day(3)), known, day(3))) is waits


@pytest.mark.parametrize("fallen", ["5.5", "0.15"])
def test_a_base_that_fell_for_years_is_believed_with_another_bank(fallen: str) -> None:
    """All currencies are dear, or cheap, as in a fault of scale; another bank has them at the same place."""
    known = series(nbk(THEN, **{code: str(Decimal(value) / Decimal(fallen)) for code, value in OLD.items()}))
    assert len(problems(nbk(day(2)), known, others=by())) == len(OLD)
    assert problems(nbk(day(2)), known, others=by(*MOSCOW)) == ()
    assert len(problems(nbk(day(2), **scaled(10, *OLD)), known, others=by(*MOSCOW))) >= 3


@pytest.mark.parametrize("fallen", [1, 6])
def test_one_confirmed_currency_confirms_the_scale_of_all(fallen: int) -> None:
    """The dollar alone is quoted there: at its place, or ten times too large with all others."""
    known = series(nbk(THEN, **{code: str(Decimal(value) / fallen) for code, value in OLD.items()}))
    dollar = fixing(day(2), "cbr", "UZS", USD="12142.10", KZT="25.5600")
    assert bool(problems(nbk(day(2)), known, others=by())) is (fallen > 1)
    assert problems(nbk(day(2)), known, others=by(dollar)) == ()
    assert len(problems(nbk(day(2), **scaled(10, *OLD)), known, others=by(dollar))) == len(OLD)


def test_a_currency_with_new_money_is_believed_with_another_bank() -> None:
    """Noughts were struck off within the year."""
    known = series(nbk(date(2025, 12, 1), JPY="31200.00"))
    tokyo = fixing(day(2), "other", "RUB", JPY="0.5320", KZT=("17.0500", 100))
    assert problems(nbk(day(2)), known, others=by())
    assert problems(nbk(day(2)), known, others=by(tokyo)) == ()


QUIET = series(fixing(date(2025, 12, 29), USD="475.09", EUR="551.06", GBP="631.87"))


def test_after_a_quarter_another_bank_measures() -> None:
    """Two that changed places and one four times too large would be in their order of magnitude."""
    bad = fixing(day(2), USD="551.06", EUR="475.09", GBP="2527.00")
    assert problems(bad, QUIET, others=by()) == ()
    moved = [*MOSCOW, fixing(day(3), "cbr", "RUB", USD="81.0500", EUR="93.9100", GBP="107.6500", KZT=("17.0500", 100))]
    reasons = problems(bad, QUIET, others=by(*moved))
    assert [reason.partition("; ")[2].partition(" (")[0] for reason in reasons] == ["other banks have it elsewhere"] * 3
    assert problems(fixing(day(2), USD="560.00", EUR="650.00", GBP="745.00"), QUIET, others=by()) == ()


@pytest.mark.parametrize(
    "other",
    [
        replace(MOSCOW[0], date=date(2026, 3, 17)),  # more than two weeks before
        replace(MOSCOW[0], date=day(8)),  # six days after
        fixing(day(2), "other", USD="475.09", EUR="551.06", GBP="631.87"),  # the same bank, relayed
    ],
)
def test_what_does_not_measure(other: Fixing) -> None:
    """Another bank's rates of other days, and our own bank's by another way."""
    assert problems(fixing(day(2), USD="560.00", EUR="551.06", GBP="631.87"), QUIET, others=by(other)) == ()


@pytest.mark.parametrize("on", [date(2026, 3, 29), day(5)])
def test_what_measures_still(on: date) -> None:
    """The dates of two banks for the same days lie apart, with a weekend between."""
    new = fixing(day(2), USD="560.00", EUR="551.06", GBP="631.87")
    assert len(problems(new, QUIET, others=by(replace(MOSCOW[0], date=on)))) == 1


def test_metals_are_not_measured_by_another_bank() -> None:
    """It may tell them by the ounce, and we by the gram."""
    known = series(fixing(date(2025, 12, 29), USD="475.09", XAU="66000.00"))
    other = fixing(day(2), "cbr", "RUB", USD="81.0000", XAU="365000.00", KZT=("17.0500", 100))
    assert problems(fixing(day(2), USD="475.09", XAU="70000.00"), known, others=by(other)) == ()


def test_a_rate_near_one_may_come_near_to_its_inverse() -> None:
    """By 3 % in a week: upside down it would have been 5 %."""
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
        **{code: f"{one / prices[base]:.6f}" for code, one in prices.items() if code != base},
    )


@pytest.mark.parametrize(("published", "shown"), [(False, Confidence.CONFIRMED), (True, Confidence.DIVERGING)])
def test_a_bank_that_is_behind_speaks_by_its_own_day(published: bool, shown: Confidence) -> None:
    """A rate 2 % off is near to that of the day before by chance: it counts no more once the bank has that very day."""
    random, prices = Random(1), [dict.fromkeys((*CODES, "RUB", "UAH", "KZT"), 100.0)]  # noqa: S311 - no secret
    for _ in range(20):
        prices.append({code: one * exp(random.gauss(0, 0.004)) for code, one in prices[-1].items()})
    prices[-1] |= {"MXN": prices[-2]["MXN"] / prices[-2]["KZT"] * prices[-1]["KZT"] * 1.017}
    days = [day(1) + timedelta(days=at) for at in range(len(prices) + 1)]
    prompt = series(*(in_base(on, "cbr", "RUB", one) for on, one in zip(days, prices, strict=False)))
    behind = series(
        *(in_base(on, "nbu", "UAH", one) for on, one in zip(days[1 : None if published else -1], prices, strict=False))
    )
    false = in_base(days[-2], "nbk", "KZT", {**prices[-1], "KZT": prices[-1]["KZT"] * 1.02})
    true = [in_base(on, "nbk", "KZT", one) for on, one in zip(days[:-2], prices, strict=False)]
    check = context(days[-1], series(*true, false), {"cbr": prompt, "nbu": behind}).cross_check
    assert check
    assert check.assess("nbk", false, "MXN").confidence is shown
