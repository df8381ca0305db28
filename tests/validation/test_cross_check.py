"""Comparison of two sources: lag, offset and spread."""

from datetime import date, timedelta

import pytest

from service.domain.fixing import Quotation
from service.validation.cross_check import Lag, Pairing, Publications, _absolute_difference, _relative_difference
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
