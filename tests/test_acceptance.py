"""What makes a fixing acceptable."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.acceptance import Rules, Verdict, judge, judge_all, objections
from service.fixings import Direction, Fixing
from tests.figures import day, fixing, series

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
    (reason,) = objections(bad, series(), Rules(day(3)))
    assert told in reason


def test_a_currency_that_the_bank_quoted_before_must_be_there() -> None:
    """The missing ones are named, with the date that had them."""
    (reason,) = objections(fixing(day(4), USD="475.09"), series(FRIDAY), Rules(day(4)))
    assert reason == "RUB missing, quoted on 2026-04-03"


def test_a_revision_drops_no_currency() -> None:
    """What this very date quoted must be in its later form too."""
    (reason,) = objections(fixing(day(3), USD="475.09"), series(FRIDAY), Rules(day(4)))
    assert reason == "RUB missing, quoted on 2026-04-03"


def test_a_new_currency_is_welcome() -> None:
    """More than before is no reason to refuse."""
    assert objections(fixing(day(4), USD="475.09", RUB="5.87", EUR="551.06"), series(FRIDAY), Rules(day(4))) == ()


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
    reasons = objections(nbk(day(3), **scaled(by, *codes)), BEFORE, Rules(day(3)))
    assert [reason.split()[0] for reason in reasons] == sorted(codes)
    assert all(f"moved by +{by - 1}00.00%" in reason for reason in reasons)
    small = {code: str(Decimal(OLD[code]) / by) for code in codes}
    assert len(objections(nbk(day(3), **small), BEFORE, Rules(day(3)))) == len(codes)


def test_an_inverted_feed_waits() -> None:
    """Foreign units for one of ours instead of the other way."""
    inverted = {code: str(round(1 / Decimal(value), 6)) for code, value in OLD.items()}
    assert len(objections(nbk(day(3), **inverted), BEFORE, Rules(day(3)))) == len(OLD)


def test_two_currencies_that_changed_places_wait() -> None:
    """Dollar and euro: both moves are below the limit, the figures are each other's."""
    reasons = objections(nbk(day(3), USD="551.90", EUR="475.80"), BEFORE, Rules(day(3), jump=Fraction(20, 100)))
    assert [reason.partition(", from")[0] for reason in reasons] == [
        "EUR has what is, or was, the figure of USD",
        "USD has what is, or was, the figure of EUR",
    ]


def test_a_currency_with_anothers_figure_waits() -> None:
    """The euro's figure stands beside the dollar too."""
    (reason,) = objections(nbk(day(3), USD="552.00", EUR="552.00"), BEFORE, Rules(day(3), jump=Fraction(20, 100)))
    assert reason.startswith("USD has what is, or was, the figure of EUR, from 475.09 on 2026-04-02 to 552.00; ")


def test_near_currencies_may_meet() -> None:
    """Two that were never far apart may have the same figure."""
    close = series(fixing(day(2), AUD="339.00", CAD="341.00"))
    assert objections(fixing(day(3), AUD="340.12", CAD="340.12"), close, Rules(day(3))) == ()


@pytest.mark.parametrize(("to", "waits"), [("546.35", False), ("546.36", True), ("403.83", False), ("403.82", True)])
def test_the_limit_is_a_limit(to: str, waits: bool) -> None:
    """15 % of 475.09 are 71.2635."""
    assert bool(objections(nbk(day(3), USD=to), BEFORE, Rules(day(3)))) is waits


def test_a_direction_of_quotation_does_not_matter() -> None:
    """An inverse rate moves the other way; the limit is of what a reader sees."""
    known = series(fixing(day(1), "ecb", "EUR", Direction.INVERSE, USD="1.0000"))
    falls = fixing(day(2), "ecb", "EUR", Direction.INVERSE, USD="1.1700")  # the dollar is worth 14.5 % less
    rises = fixing(day(2), "ecb", "EUR", Direction.INVERSE, USD="0.8600")  # and here 16.3 % more
    assert objections(falls, known, Rules(day(2))) == ()
    assert "moved by +16.28%" in objections(rises, known, Rules(day(2)))[0]


AUGUST_20, AUGUST_21 = date(2015, 8, 20), date(2015, 8, 21)
PEGGED = fixing(AUGUST_20, USD="188.38", EUR="209.05", AED="51.29", RUB="2.83")
FLOATED = fixing(AUGUST_21, USD="255.26", EUR="284.69", AED="69.50", RUB="3.80")
CBR = (
    fixing(AUGUST_20, "cbr", "RUB", USD="66.0861", EUR="73.1045", KZT=("35.1015", 100)),
    fixing(AUGUST_21, "cbr", "RUB", USD="67.4933", EUR="75.3200", KZT=("26.8100", 100)),
)


def test_the_float_of_2015_waits_without_another_bank() -> None:
    """On 20 August 2015 the tenge was floated: true, and not to be told from a fault by one bank alone."""
    reasons = objections(FLOATED, series(PEGGED), Rules(AUGUST_21))
    assert [reason.split()[0] for reason in reasons] == ["AED", "EUR", "RUB", "USD"]
    assert reasons[-1] == (
        "USD moved by +35.50%, from 188.38 on 2015-08-20 to 255.26; no other bank confirms it (none quotes it)"
    )


def test_the_float_of_2015_passes_with_another_bank() -> None:
    """The Bank of Russia saw the tenge fall too; the dirham, which it does not quote, moved with the dollar."""
    confirmed = judge(FLOATED, series(PEGGED), Rules(AUGUST_21, others={"cbr": series(*CBR)}))
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
    assert objections(FLOATED, series(PEGGED), Rules(AUGUST_21, others={"other": series(*other)}))


def test_a_jump_that_others_contradict_is_not_excused_by_one_that_they_confirm() -> None:
    """The whole float is true; a dollar ten times too large in it is not."""
    wrong = fixing(AUGUST_21, USD="2552.60", EUR="284.69", AED="69.50", RUB="3.80")
    (reason,) = objections(wrong, series(PEGGED), Rules(AUGUST_21, others={"cbr": series(*CBR)}))
    assert reason.startswith("USD moved by +1255.03%, from 188.38 on 2015-08-20 to 2552.60; ")
    assert reason.endswith("(cbr +33.71%)")


def test_a_swap_of_near_figures_is_not_confirmed_by_a_bank_that_stood_still() -> None:
    """Moves of 4 % lie within the tolerance of none at all; a confirmation must have moved itself."""
    known = series(fixing(day(1), CHF="600.00", GBP="624.00"))
    swapped = fixing(day(2), CHF="624.00", GBP="600.00")
    other = series(
        *(fixing(day(n), "cbr", "RUB", CHF="100.0", GBP="104.0", KZT=("16.0", 100)) for n in (1, 2)),
    )
    assert len(objections(swapped, known, Rules(day(2), others={"cbr": other}))) == 2


def test_a_currency_that_has_gone_for_good_is_let_go() -> None:
    """Three further publications without it, known by now: a bank has dropped it. Fewer do not tell."""
    without = [fixing(day(number), USD=f"47{number}.00") for number in (6, 7, 8, 9)]
    assert [one.verdict for one in judge_all(without[:3], series(FRIDAY), Rules(day(9)), 90)] == [Verdict.REFUSED] * 3
    assert [one.verdict for one in judge_all(without, series(FRIDAY), Rules(day(9)), 90)] == [Verdict.NEW] * 4


def test_a_currency_that_comes_back_was_only_missing() -> None:
    """One bad publication among good ones."""
    fixings = [fixing(day(6), USD="476.00"), *(fixing(day(n), USD=f"47{n}.00", RUB="5.87") for n in (7, 8, 9))]
    verdicts = [one.verdict for one in judge_all(fixings, series(FRIDAY), Rules(day(9)), 90)]
    assert verdicts == [Verdict.REFUSED, Verdict.NEW, Verdict.NEW, Verdict.NEW]


def test_an_accepted_fixing_is_the_new_measure() -> None:
    """After a jump that was let through the next day is judged by it."""
    far = nbk(day(3), **scaled(10, "USD"))
    assert judge(nbk(day(4), **scaled(10, "USD")), series(*BEFORE.fixings, far), Rules(day(4))).accepted


def test_a_revision_is_judged_by_the_day_before() -> None:
    """A wrong figure may be corrected back, however far; a right one not be spoilt."""
    wrong = nbk(day(3), **scaled(10, "USD"))
    known = series(*BEFORE.fixings, wrong)
    assert judge(nbk(day(3)), known, Rules(day(3))).verdict is Verdict.REVISION
    assert judge(wrong, series(*BEFORE.fixings, nbk(day(3))), Rules(day(3))).verdict is Verdict.REFUSED


@given(
    st.lists(st.decimals("0.01", "9999", places=2), min_size=2, max_size=2),
    st.sampled_from([1, 10, 100, 1000]),
    st.sampled_from(list(Direction)),
)
def test_every_move_beyond_the_limit_waits_and_no_other(
    values: list[Decimal], nominal: int, direction: Direction
) -> None:
    """Exactly: by rational arithmetic, for any digits, nominal and direction."""
    old, new = (
        fixing(day(number), direction=direction, USD=(str(value), nominal))
        for number, value in zip((1, 2), values, strict=True)
    )
    ratio = Fraction(values[1]) / Fraction(values[0])
    moved = (ratio if direction is Direction.DIRECT else 1 / ratio) - 1
    told = any("moved by" in reason for reason in objections(new, series(old), Rules(day(2))))  # or is it upside down?
    assert told is (abs(moved) > Fraction(15, 100))


def test_a_row_that_slipped_waits() -> None:
    """Three figures one line too low: each move is below the limit."""
    known = series(fixing(day(1), USD="475.09", EUR="551.06", CHF="585.00", GBP="631.87", JPY="3.12", CNY="69.12"))
    slipped = fixing(day(2), USD="476.00", EUR="585.50", CHF="631.60", GBP="551.40", JPY="3.13", CNY="69.00")
    reasons = objections(slipped, known, Rules(day(2), jump=Fraction(20, 100)))
    assert [reason.split(",")[0] for reason in reasons] == [
        "CHF has what is", "EUR has what is", "GBP has what is"
    ]  # fmt: skip


def test_a_row_whose_neighbours_are_equally_far_apart_waits_too() -> None:
    """Two of the three moved alike; the third cannot have."""
    known = series(fixing(day(1), USD="475.09", EUR="551.06", CHF="590.00", GBP="631.87", JPY="3.12", CNY="69.12"))
    slipped = fixing(day(2), USD="476.00", EUR="590.50", CHF="631.60", GBP="551.40", JPY="3.13", CNY="69.00")
    reasons = objections(slipped, known, Rules(day(2), jump=Fraction(20, 100)))
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
    assert objections(fixing(day(2), **new), series(fixing(day(1), **old)), Rules(day(2))) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [1, 3, 5, 8])
def test_a_swap_after_days_without_a_word_waits(days: int) -> None:
    """Its figures have drifted from those that they are measured by, the more the longer."""
    drift = 1 + Decimal("0.003") * days
    swapped = nbk(day(2 + days), USD=str(Decimal("551.06") * drift), EUR=str(Decimal("475.09") / drift))
    assert len(objections(swapped, BEFORE, Rules(day(2 + days), jump=Fraction(25, 100)))) == 2


def test_what_the_base_did_is_no_slip() -> None:
    """All of them moved by as much as some are apart: nobody took another's place."""
    old = {"USD": "475.00", "EUR": "551.00", "AUD": "300.00", "CAD": "312.00", "CHF": "324.50", "GBP": "631.00"}
    new = {code: str(Decimal(value) * Decimal("1.04")) for code, value in old.items()}
    assert objections(fixing(day(2), **new), series(fixing(day(1), **old)), Rules(day(2))) == ()  # type: ignore[arg-type]


def test_a_rate_near_one_upside_down_waits() -> None:
    """1.08 and its inverse are less than the limit apart."""
    known = series(fixing(day(1), "ecb", "EUR", Direction.INVERSE, USD="1.0800", GBP="0.8500"))
    (reason,) = objections(
        fixing(day(2), "ecb", "EUR", Direction.INVERSE, USD="0.9259", GBP="0.8510"),
        known,
        Rules(day(2), Fraction(20, 100)),
    )
    assert reason.startswith("USD has what is, or was, the figure of 1/USD")


def test_a_currency_that_comes_back_is_measured_by_its_last_figure() -> None:
    """A gap hides no jump."""
    known = series(fixing(day(1), USD="475.00", GBP="631.00"), fixing(day(2), USD="475.10"))
    (reason,) = objections(fixing(day(3), USD="475.20", GBP="6310.00"), known, Rules(day(3)))
    assert reason.startswith("GBP moved by +900.00%, from 631.00 on 2026-04-01 to 6310.00")


def test_the_first_of_all_is_measured_by_those_after_it() -> None:
    """By the next that is known; in one answer by two more, of which one alone would not tell who is wrong."""
    wrong, *right = nbk(day(1), **scaled(10, *OLD)), nbk(day(2), USD="474.00"), nbk(day(3))
    verdicts = [one.verdict for one in judge_all([wrong, *right], series(), Rules(day(3)), 90)]
    assert verdicts == [Verdict.REFUSED, Verdict.NEW, Verdict.NEW]
    verdicts = [
        one.verdict for one in judge_all([right[0], nbk(day(3), **scaled(10, *OLD))], series(), Rules(day(3)), 90)
    ]
    assert verdicts == [Verdict.NEW, Verdict.REFUSED]
    assert objections(wrong, series(*right), Rules(day(3)))
    assert objections(nbk(day(1), USD="474.10"), series(*right), Rules(day(3))) == ()


def test_what_an_operator_rejected_is_never_let_in() -> None:
    """Also when its day has come, or another bank says the same."""
    one = nbk(day(3))
    assert judge(one, BEFORE, Rules(day(3))).accepted
    assert not judge(one, BEFORE, Rules(day(3), rejected={day(3): (one,)})).accepted
    assert judge(nbk(day(3), USD="475.10"), BEFORE, Rules(day(3), rejected={day(3): (one,)})).accepted


def test_a_relay_misses_only_what_is_wanted_of_it() -> None:
    """A currency that a ticker has given up is not missing."""
    new = fixing(day(4), USD="475.19")
    assert objections(new, series(FRIDAY), Rules(day(4), wanted=("USD",))) == ()
    assert objections(new, series(FRIDAY), Rules(day(4), wanted=("USD", "RUB")))


@pytest.mark.parametrize("bad", ["0", "NaN", "Infinity", "-1"])
def test_what_is_no_rate_is_no_measure(bad: str) -> None:
    """A broken figure among the first of all spoils no other."""
    fixings = [nbk(day(1)), nbk(day(2), USD=bad), nbk(day(3), USD="475.50"), nbk(day(6), USD="476.00")]
    verdicts = [one.verdict for one in judge_all(fixings, series(), Rules(day(6)), 90)]
    assert verdicts == [Verdict.NEW, Verdict.REFUSED, Verdict.NEW, Verdict.NEW]


@pytest.mark.parametrize("first_is_bad", [True, False])
def test_carry_overs_are_one_word_and_not_several(first_is_bad: bool) -> None:
    """A fault that the weekend repeats, at the beginning or right behind a true day: the true ones are let in."""
    weekend = [nbk(day(number), **scaled(10, *OLD)) for number in (4, 5, 6)]
    true = [nbk(day(number), USD=f"47{number % 10}.00") for number in (7, 8, 9, 10)]
    before = [] if first_is_bad else [nbk(day(3), USD="474.50")]
    verdicts = [one.verdict for one in judge_all([*before, *weekend, *true], series(), Rules(day(10)), 90)]
    assert verdicts == [Verdict.NEW] * len(before) + [Verdict.REFUSED] * 3 + [Verdict.NEW] * 4


def test_one_other_word_does_not_tell_who_is_wrong() -> None:
    """Carry-overs of the same figures are no second word either."""
    later = [nbk(day(number), **scaled(10, *OLD)) for number in (4, 5, 6)]
    assert judge_all([nbk(day(3)), *later], series(), Rules(day(6)), 90)[0].accepted


LONG_AGO = nbk(date(2017, 3, 3), USD="318.00", EUR="336.00", RUB="5.50", GBP="390.00", TRY="86.00")


def test_years_without_a_publication_are_no_jump() -> None:
    """A past that ends years ago measures today by its order of magnitude alone, and has no say in what is quoted."""
    fixings = [nbk(day(number), USD=f"47{number}.00") for number in (1, 2, 3)]
    verdicts = [one.verdict for one in judge_all(fixings, series(LONG_AGO), Rules(day(3)), 90)]
    assert verdicts == [Verdict.NEW] * 3


@pytest.mark.parametrize("by", [Decimal(10), Decimal("0.1")])
def test_a_scale_fault_waits_after_years_too(by: Decimal) -> None:
    """Ten times too much or too little, also where the whole answer is so."""
    figures = {code: str(Decimal(value) * by) for code, value in OLD.items()}
    fixings = [nbk(day(number), **figures) for number in (1, 2, 3)]
    assert not any(one.accepted for one in judge_all(fixings, series(LONG_AGO), Rules(day(3)), 90))


def test_a_quarter_is_not_yet_long_ago() -> None:
    """A bank that was dead for two months is measured by what it said before."""
    known = series(nbk(date(2026, 1, 31)))
    assert objections(nbk(day(2), USD="560.00"), known, Rules(day(2)))
    assert objections(nbk(day(2), USD="560.00"), series(nbk(date(2025, 12, 1))), Rules(day(2))) == ()


def test_every_form_that_was_rejected_stays_out() -> None:
    """Of one day there may be several."""
    one, two = nbk(day(3)), nbk(day(3), USD="475.10")
    rules = Rules(day(3), rejected={day(3): (one, two)})
    assert not judge(one, BEFORE, rules).accepted
    assert not judge(two, BEFORE, rules).accepted


MANY = OLD | {"AUD": "330.00", "CAD": "342.00", "KGS": "5.43", "SEK": "50.10", "CHF": "585.00"}


def after(days: int, **figures: str) -> tuple[str, ...]:
    """Return what is objected to a fixing that comes after some days without a word."""
    known = series(fixing(day(1), **MANY))  # type: ignore[arg-type]
    new = fixing(day(1) + timedelta(days), **(MANY | figures))  # type: ignore[arg-type]
    return objections(new, known, Rules(new.date))


@pytest.mark.parametrize(
    ("days", "one", "other"), [(1, "AUD", "CAD"), (3, "AUD", "CAD"), (6, "EUR", "CHF"), (10, "RUB", "KGS")]
)
def test_near_currencies_that_changed_places_wait_after_days_too(days: int, one: str, other: str) -> None:
    """A weekend, Easter, the New Year: they are 3.6 %, 6.2 % and 8.1 % apart, and were before."""
    assert len(after(days, **{one: MANY[other], other: MANY[one]})) == 2


@pytest.mark.parametrize(
    ("days", "one", "other"), [(1, "CAD", "AUD"), (3, "CAD", "AUD"), (6, "CHF", "EUR"), (60, "CAD", "AUD")]
)
def test_a_currency_with_anothers_very_figure_waits_after_days_too(days: int, one: str, other: str) -> None:
    """Time makes no two figures equal."""
    (reason,) = after(days, **{one: MANY[other]})
    assert reason.startswith(f"{one} has what is, or was, the figure of {other}, ")


def test_after_a_month_near_currencies_may_have_changed_places() -> None:
    """What is 6 % apart drifts as far by itself."""
    assert after(30, EUR=MANY["CHF"], CHF=MANY["EUR"]) == ()


@pytest.mark.parametrize("days", [29, 90])
@pytest.mark.parametrize(("usd", "eur", "waits"), [("562.08", "465.59", True), ("527.35", "490.44", False)])
def test_a_swap_of_far_figures_is_told_from_drift_after_months(days: int, usd: str, eur: str, waits: bool) -> None:
    """Dollar and euro are 16 % apart: within 3 % of the other's place they are taken for it, with 4 % they are not."""
    known = series(fixing(date(2026, 1, 1), **OLD))  # type: ignore[arg-type]
    new = nbk(date(2026, 1, 1) + timedelta(days), USD=usd, EUR=eur)
    assert bool(objections(new, known, Rules(new.date, jump=Fraction(25, 100)))) is waits


def test_a_rate_near_one_may_cross_it() -> None:
    """From 1.01 to 0.99 is upside down, and an ordinary move."""
    known = series(fixing(day(1), "ecb", "EUR", Direction.INVERSE, USD="1.0100", GBP="0.8500"))
    new = fixing(day(2), "ecb", "EUR", Direction.INVERSE, USD="0.9901", GBP="0.8510")
    assert objections(new, known, Rules(day(2))) == ()


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
    rules = Rules(date(2015, 8, 22), others={"cbr": series(*FLOAT_BY_CBR)})
    assert objections(FLOAT[0], series(*FLOAT[1:]), rules) == ()
    assert all(one.accepted for one in judge_all(FLOAT, series(), rules, 90))
    assert objections(FLOAT[0], series(*FLOAT[1:]), Rules(date(2015, 8, 22)))


def test_another_bank_excuses_no_fault_backwards() -> None:
    """It saw the tenge fall by a third, and not to a tenth."""
    wrong = fixing(FLOAT[0].date, USD="1883.80", EUR="208.03")
    rules = Rules(date(2015, 8, 22), others={"cbr": series(*FLOAT_BY_CBR)})
    (reason,) = objections(wrong, series(*FLOAT[1:]), rules)
    assert reason.startswith("USD moved by +637.99%, from 255.26 on 2015-08-20 to 1883.80; ")
    assert reason.endswith("(cbr -25.37%)")


def test_what_lies_before_the_first_of_an_answer_is_no_word_on_it() -> None:
    """Also where the answer has its days in disorder."""
    earlier = [nbk(day(1), **scaled(10, *OLD)), nbk(day(2), **scaled(11, *OLD))]
    assert objections(nbk(day(3)), series(), Rules(day(3)), earlier) == ()


def test_the_first_after_years_is_measured_by_those_after_it_too() -> None:
    """Three times too much is no matter of scale, and yet wrong."""
    fixings = [nbk(day(1), USD="1425.00"), nbk(day(2), USD="475.50"), nbk(day(3))]
    verdicts = [one.verdict for one in judge_all(fixings, series(LONG_AGO), Rules(day(3)), 90)]
    assert verdicts == [Verdict.REFUSED, Verdict.NEW, Verdict.NEW]


def test_carry_overs_do_not_tell_that_a_currency_was_given_up() -> None:
    """Missing on Saturday, which Sunday and Monday repeat; and where a carry-over has it, it was only missing."""
    gone = [fixing(day(6), USD="476.00"), *(fixing(day(number), USD="477.00") for number in (7, 8, 9))]
    verdicts = [one.verdict for one in judge_all(gone, series(FRIDAY), Rules(day(9)), 90)]
    assert verdicts == [Verdict.REFUSED] * 4
    back = fixing(day(8), USD="477.00", RUB="5.87")
    later = [gone[1], back, *(fixing(day(number), USD=f"48{number % 10}.00") for number in (9, 10, 11))]
    assert objections(gone[0], series(FRIDAY), Rules(day(11)), later) == ("RUB missing, quoted on 2026-04-03",)


def test_what_is_no_publication_does_not_tell_that_a_currency_was_given_up() -> None:
    """Without a figure, or with one that is none."""
    later = [fixing(day(7)), fixing(day(8), USD="0"), fixing(day(9), USD="478.00")]
    assert objections(fixing(day(6), USD="476.00"), series(FRIDAY), Rules(day(9)), later)


def test_half_the_way_to_anothers_place_is_none() -> None:
    """Two that are near, of which one drifted towards where the other was, and that one away."""
    assert after(9, AUD="335.00", CAD="316.00") == ()


THEN = date(2014, 6, 3)
BEFORE_YEARS = fixing(THEN, USD="183.51", EUR="249.70", GBP="307.43", RUB="5.25", CNY="29.37", TRY="87.30")
MOSCOW = [
    fixing(day(number), "cbr", "RUB", USD="81.0000", EUR="93.9000", GBP="107.6000", KZT=("17.0500", 100))
    for number in (1, 2)
]


def by(*others: Fixing) -> Rules:
    return Rules(
        day(3), others={key: series(*(one for one in others if one.source == key)) for key in ("cbr", "other")}
    )


def test_a_currency_that_fell_for_years_keeps_nothing_out() -> None:
    """The lira is worth an eighth of what it was twelve years ago, and nobody else quotes it."""
    fixings = [nbk(day(number), USD=f"47{number}.00", TRY="10.68") for number in (1, 2, 3)]
    assert all(one.accepted for one in judge_all(fixings, series(BEFORE_YEARS), Rules(day(3)), 90))
    back = nbk(day(3), TRY="10.68")
    assert objections(back, series(BEFORE_YEARS, *BEFORE.fixings), Rules(day(3))) == ()


def test_within_a_year_a_fault_of_scale_is_none_of_the_markets() -> None:
    """One currency alone waits then; after more than that it may have fallen so far."""
    for then, waits in ((date(2025, 4, 2), True), (date(2025, 4, 1), False)):
        known = series(nbk(then, JPY="31.20"))
        assert bool(objections(nbk(day(3)), known, Rules(day(3)))) is waits


@pytest.mark.parametrize("fallen", ["5.5", "0.15"])
def test_a_base_that_fell_for_years_is_believed_with_another_bank(fallen: str) -> None:
    """All currencies are dear, or cheap, as in a fault of scale; another bank has them at the same place."""
    known = series(nbk(THEN, **{code: str(Decimal(value) / Decimal(fallen)) for code, value in OLD.items()}))
    assert len(objections(nbk(day(2)), known, by())) == len(OLD)
    assert objections(nbk(day(2)), known, by(*MOSCOW)) == ()
    assert len(objections(nbk(day(2), **scaled(10, *OLD)), known, by(*MOSCOW))) >= 3


@pytest.mark.parametrize("fallen", [1, 6])
def test_one_currency_by_another_bank_tells_the_scale_of_all(fallen: int) -> None:
    """The dollar alone is quoted there: at its place, or ten times too large with all others."""
    known = series(nbk(THEN, **{code: str(Decimal(value) / fallen) for code, value in OLD.items()}))
    dollar = fixing(day(2), "cbr", "UZS", USD="12142.10", KZT="25.5600")
    assert bool(objections(nbk(day(2)), known, by())) is (fallen > 1)
    assert objections(nbk(day(2)), known, by(dollar)) == ()
    assert len(objections(nbk(day(2), **scaled(10, *OLD)), known, by(dollar))) == len(OLD)


def test_a_currency_with_new_money_is_believed_with_another_bank() -> None:
    """Noughts were struck off within the year."""
    known = series(nbk(date(2025, 12, 1), JPY="31200.00"))
    tokyo = fixing(day(2), "other", "RUB", JPY="0.5320", KZT=("17.0500", 100))
    assert objections(nbk(day(2)), known, by())
    assert objections(nbk(day(2)), known, by(tokyo)) == ()


QUIET = series(fixing(date(2025, 12, 29), USD="475.09", EUR="551.06", GBP="631.87"))


def test_after_a_quarter_another_bank_measures() -> None:
    """Two that changed places and one four times too large would be in their order of magnitude."""
    bad = fixing(day(2), USD="551.06", EUR="475.09", GBP="2527.00")
    assert objections(bad, QUIET, by()) == ()
    assert objections(bad, QUIET, by(*MOSCOW)) == (
        "GBP differs by +300.42%: 2527.00, beside the figures of cbr in these days",
        "USD differs by +15.99%: 551.06, beside the figures of cbr in these days",
        "EUR has what is, or was, the figure of USD: 475.09, beside the figures of cbr in these days",
    )
    assert objections(fixing(day(2), USD="560.00", EUR="650.00", GBP="745.00"), QUIET, by()) == ()


def test_of_other_banks_the_one_that_is_most_like_us_measures() -> None:
    """One that is wrong, or of another opinion, keeps nothing out."""
    true = fixing(day(2), USD="475.09", EUR="551.06", GBP="631.87")
    odd = fixing(day(2), "other", "UZS", USD="12142.10", EUR="14000.00", GBP="160.00", KZT="25.5000")
    assert len(objections(true, QUIET, by(odd))) == 1
    assert objections(true, QUIET, by(odd, *MOSCOW)) == ()


@pytest.mark.parametrize(("value", "waits"), [("545.00", False), ("547.00", True)])
def test_banks_may_differ_within_the_limit(value: str, waits: bool) -> None:
    """Some have a currency of several rates 13 % apart; 15 % of 475.07 are 71.26."""
    assert bool(objections(fixing(day(2), USD=value), series(fixing(THEN, USD="183.51")), by(*MOSCOW))) is waits


@pytest.mark.parametrize(
    "other",
    [
        replace(MOSCOW[0], date=date(2026, 3, 28)),  # five days before
        replace(MOSCOW[0], date=day(6)),  # four days after
        fixing(day(2), "other", USD="475.09", EUR="551.06", GBP="631.87"),  # the same bank, relayed
    ],
)
def test_what_does_not_measure(other: Fixing) -> None:
    """Another bank's figures of other days, and our own bank's by another way."""
    assert objections(fixing(day(2), USD="560.00", EUR="551.06", GBP="631.87"), QUIET, by(other)) == ()


@pytest.mark.parametrize("on", [date(2026, 3, 29), day(5)])
def test_what_measures_still(on: date) -> None:
    """The dates of two banks for the same days lie apart, with a weekend between."""
    new = fixing(day(2), USD="560.00", EUR="551.06", GBP="631.87")
    assert len(objections(new, QUIET, by(replace(MOSCOW[0], date=on)))) == 1


def test_metals_are_not_measured_by_another_bank() -> None:
    """It may tell them by the ounce, and we by the gram."""
    known = series(fixing(date(2025, 12, 29), USD="475.09", XAU="66000.00"))
    other = fixing(day(2), "cbr", "RUB", USD="81.0000", XAU="365000.00", KZT=("17.0500", 100))
    assert objections(fixing(day(2), USD="475.09", XAU="70000.00"), known, by(other)) == ()


def test_a_rate_near_one_may_come_near_to_its_inverse() -> None:
    """By 3 % in a week: upside down it would have been 5 %."""
    known = series(fixing(day(1), XFA="0.9742"))
    assert objections(fixing(day(9), XFA="1.0049"), known, Rules(day(9))) == ()
    assert objections(fixing(day(9), XFA="1.0200"), known, Rules(day(9)))
    known = series(fixing(day(1), XFA="1.0800"))
    assert objections(fixing(day(2), XFA="0.9550"), known, Rules(day(2))) == ()
    assert objections(fixing(day(2), XFA="0.9300"), known, Rules(day(2)))
