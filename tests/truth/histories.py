"""Real histories, and correct witnesses derived from them: the same rates as crosses in another base."""

import csv
import gzip
import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from service.domain.fixing import Quotation, Rate

ROOT: Final = Path(__file__).parents[2]
SUBJECT: Final = "subject"
"""The source with the faults."""
PSEUDO: Final = frozenset({"___"})
"""Codes that are not currencies: settlements with India at the NBU."""
_LARGEST: Final = 1_000_000
"""The largest nominal that any bank uses."""
_EXACT: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)

Rates = Mapping[str, Rate]


class MissingHistoryError(Exception):
    """The histories are not installed."""


@dataclass(frozen=True)
class WitnessForm:
    """How a witness publishes: base, lag in dates, and rounding.

    `decimals`: digits after the decimal point, with a nominal that leaves at least five significant digits; `digits`:
    significant digits instead.
    """

    key: str
    base: str
    lag: int = 0
    decimals: int = 4
    digits: int | None = None

    def rates(self, rates: Rates, base: str, direction: Quotation) -> Rates:
        """Convert the rates of a document quoted in `base` to crosses in the base of this witness."""
        values = {code: in_base(rate, direction) for code, rate in rates.items()} | {base: Decimal(1)}
        own = values.pop(self.base)
        return {code: self._rounded(_EXACT.divide(value, own)) for code, value in values.items()}

    def _rounded(self, value: Decimal) -> Rate:
        if self.digits:
            return Rate(Context(prec=self.digits).plus(value))
        nominal = 1
        while value * nominal < 1 and nominal < _LARGEST:
            nominal *= 10
        rounded = (value * nominal).quantize(Decimal(1).scaleb(-self.decimals))
        return Rate(rounded if rounded >= 1 else Context(prec=self.decimals + 1).plus(value * nominal), nominal)


class Form(NamedTuple):
    """The form of a history: base, direction, the five shown currencies and the correct witnesses."""

    file: str
    source: str
    base: str
    direction: Quotation
    five: tuple[str, ...]
    witnesses: tuple[WitnessForm, ...]


FORMS: Final = {
    "ecb": Form(
        "ecb-1999-2026.csv.gz",
        "ecb",
        "EUR",
        Quotation.INVERSE,
        ("USD", "RUB", "GBP", "CNY", "JPY"),
        (
            WitnessForm("w1", "GBP"),
            WitnessForm("w2", "CHF", lag=1, digits=4),
            WitnessForm("w3", "SEK"),
            WitnessForm("w4", "CHF", digits=5),
        ),
    ),
    "nbu": Form(
        "nbu-2010-2022.csv.gz",
        "nbu",
        "UAH",
        Quotation.DIRECT,
        ("USD", "EUR", "RUB", "GBP", "CNY"),
        (
            WitnessForm("w1", "PLN"),
            WitnessForm("w2", "CZK", lag=1, digits=4),
            WitnessForm("w3", "GBP"),
            WitnessForm("w4", "CZK", digits=5),
        ),
    ),
}


@dataclass
class History:
    """All publications of one bank, and of the witnesses derived from them."""

    name: str
    form: Form
    dates: Sequence[date]
    documents: Sequence[Rates]
    _crosses: dict[tuple[str, int], Rates] = field(default_factory=dict)

    @property
    def five(self) -> tuple[str, ...]:
        return self.form.five

    @cached_property
    def witnesses(self) -> dict[str, WitnessForm]:
        return {witness.key: witness for witness in self.form.witnesses}

    def base(self, source: str) -> str:
        return self.form.base if source == SUBJECT else self.witnesses[source].base

    def direction(self, source: str) -> Quotation:
        return self.form.direction if source == SUBJECT else Quotation.DIRECT

    def at(self, day: date) -> int:
        """Return the index of the last publication up to a day; -1 without one."""
        return bisect_right(self.dates, day) - 1

    def truth(self, source: str, at: int) -> Rates:
        """Return the correct rates of a source for the date with this index."""
        if source == SUBJECT:
            return self.documents[at]
        known = self._crosses.get((source, at))
        if known is None:
            lag = self.witnesses[source].lag
            known = self._crosses[source, at] = self.crosses(source, self.documents[max(0, at - lag)])
        return known

    def crosses(self, source: str, rates: Rates) -> Rates:
        """Convert rates of the subject, correct or not, to those of this witness."""
        return self.witnesses[source].rates(rates, self.form.base, self.form.direction)

    def true_value(self, source: str, at: int, code: str) -> float | None:
        """Return units of the subject's base per unit of `code` by a source's correct document; None without one."""
        rates, base = self.truth(source, at), self.base(source)
        if code not in rates and code != base:
            return None
        direction = self.direction(source)
        value = 1.0 if code == base else float(in_base(rates[code], direction))
        if base == self.form.base:
            return value
        return value / float(in_base(rates[self.form.base], direction))

    def codes(self, first: int, last: int) -> tuple[str, ...]:
        """Return the currencies quoted between two indices, both included."""
        return tuple(sorted({code for rates in self.documents[max(0, first) : last + 1] for code in rates}))


def in_base(rate: Rate, direction: Quotation) -> Decimal:
    """Return units of the base per unit of the currency."""
    if direction is Quotation.INVERSE:
        return _EXACT.divide(Decimal(rate.nominal), rate.value)
    return _EXACT.divide(rate.value, Decimal(rate.nominal))


def folder() -> Path:
    return Path(os.environ.get("HISTORY_DIR") or ROOT.parent / "shared" / "history")


def load(name: str) -> History:
    """Read one history. Raises `MissingHistoryError`."""
    form, path = FORMS[name], folder() / FORMS[name].file
    if not path.is_file():
        raise MissingHistoryError(f"{path} does not exist; set HISTORY_DIR to the folder with the histories")
    documents = defaultdict[date, dict[str, Rate]](dict)
    with gzip.open(path, "rt", encoding="ascii", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["code"] not in PSEUDO:
                rate = Rate(Decimal(row["value"]), int(row["nominal"]))
                documents[date.fromisoformat(row["date"])][row["code"]] = rate
    dates = sorted(documents)
    return History(name, form, dates, [documents[day] for day in dates])
