"""Comparison of two sources: lag, offset and spread."""

from datetime import date, timedelta
from typing import Any

import pytest

from service.domain.fixing import Quotation
from service.validation.cross_check import (
    CrossCheck,
    Lag,
    Pairing,
    Publications,
    Witness,
    _absolute_difference,
    _relative_difference,
)
from tests.support.fixings import fixing, series

FIRST = date(2026, 3, 1)


def same_day(day: date) -> date:
    return day


def pairing() -> Pairing:
    """Return two banks; the witness has the dollar 1 % and the tenge 2 % higher, and all other rates equal."""
    subject, witness = [], []
    for number in range(12):
        on, rates = FIRST + timedelta(days=number), {"EUR": "550.00", "GBP": "630.00", "CNY": "69.00", "CHF": "590.00"}
        moved = {code: f"{float(value) + number:.2f}" for code, value in rates.items()}
        subject.append(fixing(on, "nbk", "KZT", Quotation.DIRECT, USD=f"{480 + number}.00", **moved))
        witness.append(
            fixing(on, "cbr", "RUB", Quotation.DIRECT, USD=f"{(480 + number) * 1.01:.4f}", KZT="1.02", **moved)
        )
    return Pairing(Publications(series(*subject), same_day), Publications(series(*witness), same_day))


def test_absolute_and_relative_offsets_are_kept_apart() -> None:
    """A rate is compared both ways if the witness quotes its base on some dates only."""
    pair, before = pairing(), FIRST + timedelta(days=20)
    absolute = pair.fit("USD", "KZT", _absolute_difference, Lag.NONE, before)
    relative = pair.fit("USD", "KZT", _relative_difference, Lag.NONE, before)
    assert absolute is not None
    assert relative is not None
    assert absolute[0] == pytest.approx(0.0099, abs=1e-4)  # ln(1.02) - ln(1.01)
    assert relative[0] == pytest.approx(-0.00995, abs=1e-4)  # -ln(1.01)
    assert pair.fit("USD", "KZT", _absolute_difference, Lag.NONE, before) == absolute


def banks(last: str = "1.02") -> dict[str, Witness]:
    """Return three banks that agree; `last` is the last rate of the tenge at the third one."""
    levels = {"nbk": ("KZT", 480.0), "cbr": ("RUB", 80.0), "nbu": ("UAH", 41.0)}
    found = dict[str, Witness]()
    for key, (base, dollar) in levels.items():
        fixings = []
        for number in range(12):
            tenge = {} if key == "nbk" else {"KZT": f"{dollar / 480:.6f}"}
            if key == "nbu" and number == 11:
                tenge = {"KZT": f"{float(last) * dollar / 480:.6f}"}
            fixings.append(fixing(FIRST + timedelta(days=number), key, base, USD=f"{dollar:.2f}", **tenge))  # type: ignore[arg-type]
        found[key] = Witness(key, Publications(series(*fixings), same_day))
    return found


def test_cross_with_an_accepted_rate_is_not_refuted() -> None:
    """An operator has accepted the tenge of a bank of another country: its dollar in tenge follows."""
    dollars = [480 + number for number in range(12)]
    tenge = [*(f"{41 / dollar:.6f}" for dollar in dollars[:-1]), f"{1.2 * 41 / dollars[-1]:.6f}"]
    days = [FIRST + timedelta(days=number) for number in range(12)]
    nbk = [fixing(on, "nbk", USD=f"{dollar}.00") for on, dollar in zip(days, dollars, strict=True)]
    nbu = [fixing(on, "nbu", "UAH", USD="41.00", KZT=rate) for on, rate in zip(days, tenge, strict=True)]
    witnesses = {
        key: Witness(key, Publications(series(*known), same_day)) for key, known in (("nbk", nbk), ("nbu", nbu))
    }
    latest = nbu[-1]
    for accepted, is_refuted in (((), True), ((latest.without({"KZT"}),), False), ((latest.without({"USD"}),), False)):
        check = CrossCheck(witnesses, accepted={"nbu": accepted})
        assert check.assess("nbu", latest, "USD", "KZT").refuted is is_refuted
        assert not check.assess("nbu", latest, "KZT").refuted


def test_only_what_is_compared_with_a_new_publication_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The assessments are those of a comparison without anything known before."""
    compared = list[tuple[str, str]]()
    compare = CrossCheck._compare_anew

    def counted(check: CrossCheck, rate: Any, witness: Witness) -> Any:
        compared.append((rate.subject.key, witness.key))
        return compare(check, rate, witness)

    monkeypatch.setattr(CrossCheck, "_compare_anew", counted)

    def assessments(check: CrossCheck) -> dict[str, list[tuple[str, float]]]:
        latest = {key: witness.publications.series.fixings[-1] for key, witness in check.witnesses.items()}
        of = {key: check.assess(key, each, "USD") for key, each in latest.items()}
        return {
            key: [(one.source, one.deviation) for one in (*each.agreeing, *each.disagreeing)]
            for key, each in of.items()
        }

    first = CrossCheck(banks())
    before = assessments(first)
    assert {("nbk", "cbr"), ("cbr", "nbk"), ("nbk", "nbu")} <= set(compared)
    compared.clear()
    witnesses = {**first.witnesses, "nbu": banks(last="1.5")["nbu"]}
    second = CrossCheck(witnesses, pairings=first.pairings)
    after = assessments(second)
    assert compared
    assert all("nbu" in pair for pair in compared)
    assert after == assessments(CrossCheck(witnesses))
    assert after != before
    compared.clear()
    quarantined = Witness("nbu", witnesses["nbu"].publications, (witnesses["nbu"].publications.series.fixings[-1],))
    assessments(CrossCheck({**witnesses, "nbu": quarantined}, pairings=second.pairings))
    # Not what it is compared with: its publications are the same.
    assert {witness for _, witness in compared} == {"nbu"}


def test_cached_comparisons_are_bounded() -> None:
    """Each poll parses a new fixing, also while its rates wait in quarantine."""
    check = CrossCheck(banks())
    for number in range(400):
        check.assess("nbk", fixing(FIRST + timedelta(days=12), "nbk", USD=f"{500 + number}"), "USD")
    kept = [len(pairing._comparisons or ()) for pairing in check.pairings.values()]
    assert 0 < max(kept) <= 150
