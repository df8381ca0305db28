"""The first rates of a source: they are believed if they agree with other banks, as soon as one of these has rates."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest

from service.domain.fixing import Fixing, Quotation, Series
from service.domain.snapshot import Confidence
from service.validation.cross_check import CrossCheck, Publications, Witness
from tests.support.fixings import fixing

FIRST = date(2026, 3, 1)
MOVES = (0, 7, -4, 9, 2, -8, 5, -3, 11, -6, 4, -9, 8, 1, -5)
"""Daily moves of the dollar in thousandths; other currencies have the same in another order."""


def check(own: Sequence[Fixing], other: Sequence[Fixing]) -> CrossCheck:
    def witness(key: str, fixings: Sequence[Fixing]) -> Witness:
        return Witness(key, Publications(Series(tuple(fixings)), lambda day: day))

    return CrossCheck({"nbk": witness("nbk", own), "cbr": witness("cbr", other)})


def level(start: float, day: int, shift: int) -> float:
    """Return the level of a currency on a day."""
    for number in range(day + 1):
        start *= 1 + MOVES[(number * (shift + 1) + shift) % len(MOVES)] / 1000
    return start


def rates(day: int) -> dict[str, float]:
    starts = {"USD": 480.0, "EUR": 550.0, "GBP": 630.0, "CNY": 69.0, "CHF": 590.0}
    return {code: level(start, day, shift) for shift, (code, start) in enumerate(starts.items())}


def of_nbk(day: int, factor: float = 1) -> Fixing:
    quoted = {code: f"{factor * value:.4f}" for code, value in rates(day).items()}
    return fixing(FIRST + timedelta(days=day), "nbk", "KZT", Quotation.DIRECT, **quoted)


def of_cbr(day: int, dated: int | None = None) -> Fixing:
    """Return the rates of a day in roubles, of six tenge each, under its date or another."""
    quoted = {code: f"{value / 6:.6f}" for code, value in rates(day).items()}
    on = FIRST + timedelta(days=day if dated is None else dated)
    return fixing(on, "cbr", "RUB", Quotation.DIRECT, KZT=f"{1 / 6:.8f}", **quoted)


@pytest.mark.parametrize(
    ("factor", "confidence"),
    [
        (1, Confidence.UNCONFIRMED),
        (1.03, Confidence.UNCONFIRMED),
        (1.3, Confidence.DIVERGING),
        (1000, Confidence.DIVERGING),
    ],
)
def test_first_rate_far_from_the_last_of_another_bank_is_not_believed(factor: float, confidence: Confidence) -> None:
    """The other bank has not published for that day yet: a small difference may be today's move."""
    first = of_nbk(8, factor)
    assert check([first], [of_cbr(day) for day in range(8)]).assess("nbk", first, "USD").confidence is confidence


def test_later_rate_far_from_the_last_of_another_bank_is_not_refuted() -> None:
    """With a past of its own it may have jumped: whether that is published is decided by the limit of jumps."""
    past, latest = [of_nbk(day) for day in range(8)], of_nbk(8, 1.3)
    assessment = check([*past, latest], [of_cbr(day) for day in range(8)]).assess("nbk", latest, "USD")
    assert assessment.confidence is Confidence.UNCONFIRMED


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("factor", [1.3, 1000])
def test_level_that_was_wrong_from_the_start_is_not_believed(factor: float, lag: int) -> None:
    """Also if the only other bank is a publication behind, so that the latest rate cannot be compared yet."""
    own = [of_nbk(day, factor) for day in range(14)]
    other = [of_cbr(day, dated=day + lag) for day in range(14 - lag)]
    cross_check = check(own, other)
    for code in ("USD", "EUR"):
        assert cross_check.assess("nbk", own[-1], code).confidence is Confidence.DIVERGING


@pytest.mark.parametrize("lag", [0, 1])
def test_true_level_from_the_start_is_believed(lag: int) -> None:
    own = [of_nbk(day) for day in range(14)]
    other = [of_cbr(day, dated=day + lag) for day in range(14 - lag)]
    assert check(own, other).assess("nbk", own[-1], "USD").confidence is not Confidence.DIVERGING
