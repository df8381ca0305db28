"""The validation benchmark (`make truth`) itself, and a few windows of it."""

import math
from random import Random

import pytest

from service.domain.fixing import Quotation, Rate, RateTable
from tests.truth import faults, measure
from tests.truth.histories import SUBJECT, History, MissingHistoryError, in_base
from tests.truth.replay import ALL, FIVE, remember_carry_overs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def known() -> History:
    """Return the history that `measure` reads."""
    try:
        return measure.history("ecb")
    except MissingHistoryError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _cache_carry_overs(monkeypatch: pytest.MonkeyPatch, known: History) -> None:
    monkeypatch.setattr(RateTable, "carries_over", RateTable.carries_over)  # so that it is restored afterwards
    remember_carry_overs()


def fault(name: str) -> faults.Fault:
    return next(fault for fault in faults.FAULTS if fault.name == name)


def scene(known: History) -> faults.Scene:
    return faults.Scene(known, 4000, Random(1), 1)  # noqa: S311 - chance is no secret


def test_crosses_are_the_same_rates_in_another_base(known: History) -> None:
    true, crosses = known.truth(SUBJECT, 4000), known.truth("w1", 4000)
    pound = in_base(true["GBP"], Quotation.INVERSE)
    for code, rate in crosses.items():
        euros = in_base(true[code], Quotation.INVERSE) if code in true else 1
        assert float(rate.value) / rate.nominal == pytest.approx(float(euros / pound), rel=5e-5)
        assert len(rate.value.as_tuple().digits) >= 5
    assert crosses.keys() == (true.keys() | {"EUR"}) - {"GBP"}


def test_lagging_witness_has_the_rates_of_the_date_before(known: History) -> None:
    assert known.truth("w2", 4000) == known.crosses("w2", known.documents[3999])
    assert known.truth("w4", 4000) == known.crosses("w4", known.documents[4000])


def test_true_value_of_a_cross_is_in_the_base_of_the_subject(known: History) -> None:
    direct, cross = known.true_value(SUBJECT, 4000, "USD"), known.true_value("w1", 4000, "USD")
    assert direct
    assert cross
    assert math.isclose(direct, cross, rel_tol=1e-4)


@pytest.mark.parametrize("injected", faults.FAULTS, ids=lambda fault: fault.name)
def test_every_fault_changes_what_is_published(injected: faults.Fault, known: History) -> None:
    plan, noise = injected.inject(scene(known)), set[str]()
    if injected.name == "freeze with a noisy digit":
        noise = set(known.codes(4000, 4020))
    changed = {
        code
        for answers in plan.days
        for document in answers[SUBJECT]
        for day, rates in document.items()
        for code in rates or ()
        if rates and rates[code] != known.documents[known.at(day)][code]
    }
    assert changed, "the published rates are true"
    assert changed <= plan.affected | noise


def test_fault_is_the_same_for_the_same_seed(known: History) -> None:
    drift = fault("drift 5 % a day, one of the five")
    assert drift.inject(scene(known)) == drift.inject(scene(known))


def test_inverted_rate_inverted_again_is_the_rate(known: History) -> None:
    rate = Rate(known.documents[4000]["JPY"].value, 100)
    assert float(faults.inverted(faults.inverted(rate)).value) == pytest.approx(float(rate.value), rel=1e-6)


def test_copier_repeats_the_false_rate_of_the_subject(known: History) -> None:
    plan = fault("copied: x10, all").inject(scene(known))
    published, copy = plan.days[0][SUBJECT][0], plan.days[0][faults.COPIER][0]
    false_rates, copied = published[known.dates[4000]], copy[known.dates[4000]]
    assert false_rates
    assert copied == known.crosses(faults.COPIER, false_rates)
    assert copied != known.truth(faults.COPIER, 4000)


def test_false_rates_are_counted_without_validation() -> None:
    outcome = measure.window("ecb", fault("scale x10, all"), "w1", 1, 1, trusting=True)
    counts = outcome.counts[FIVE]
    assert counts.fault > 0
    assert counts.five >= counts.fault
    assert outcome.examples[0].off > 5


def test_true_rates_are_not_counted() -> None:
    honest = faults.Fault("nothing", lambda scene: faults.Plan([{}] * 3, frozenset(scene.history.five)))
    outcome = measure.window("ecb", honest, "w1", 1, 0)
    for name in (FIVE, ALL):
        assert outcome.counts[name].two == 0
        assert outcome.counts[name].recovery == [1]
    assert outcome.kept_out.total() == 0 < outcome.true.total()


def test_history_of_the_ecb_has_no_slips(known: History) -> None:
    slips = list(measure.slipped(known))
    assert slips == []


@pytest.mark.parametrize(
    "name",
    [
        "scale x1000, one of the five",
        "scale x10, all",
        "inversion, one of the five",
        "drift 10 % a day, one of the five",
    ],
)
def test_false_rate_is_not_shown_with_a_witness(name: str) -> None:
    for number in range(2):
        outcome = measure.window("ecb", fault(name), "w1", 1, number)
        for shown in (FIVE, ALL):
            assert outcome.counts[shown].five == 0, outcome.examples[0].text
            assert outcome.counts[shown].recovery == [1]


def test_true_history_is_published() -> None:
    result = measure.whole("ecb", "w1", 0.01)
    assert result.kept_out.total() == 0, result.examples
