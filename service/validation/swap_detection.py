"""Detect swapped and inverted rates. Pure.

Rates are compared as decimals, with a tolerance of 1 %: with exact fractions, a document of more than a hundred rates
would take seconds.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from statistics import median_low
from typing import Final

from service.domain.fixing import Fixing

_NEAR: Final = Decimal("0.01")
"""Typical daily move of a currency: rates that are three times as far apart can be distinguished."""
_MANY: Final = 5
"""Minimum number of currencies for which a common move is attributed to the base."""


def swapped_currencies(new: Fixing, old: Mapping[str, Fraction], days: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of a currency and the one whose rate it seems to have (`1/USD`: its own rate, inverted).

    `old` are the rates of `days` ago. A rate is suspected to be swapped if it equals another currency's rate, or moved
    to its former level while that rate moved away by another factor, as in two swapped rates or a shifted row. The
    common move of all rates is a move of the base, and is removed first.
    """
    before = {code: _as_decimal(value) for code, value in old.items()}
    rates = _Moves(before, {code: _as_decimal(new.value(code)) for code in old}, days)
    for code in rates.moved:
        if rates.is_inverted(code):
            yield code, f"1/{code}"
        for other in rates.candidates(code):
            if rates.took_place_of(code, other) or rates.repeats(code, other):
                yield code, other


@dataclass(frozen=True)
class _Moves:
    """The rates of two documents that are `days` apart, by currency."""

    before: Mapping[str, Decimal]
    now: Mapping[str, Decimal]
    days: int

    @cached_property
    def moves(self) -> dict[str, Decimal]:
        """The move of each rate, as a factor."""
        return {code: self.now[code] / value for code, value in self.before.items()}

    @cached_property
    def moved(self) -> dict[str, Decimal]:
        """The moves without that of the base, of the currencies that moved more than usual in a day."""
        common = median_low(self.moves.values()) if len(self.moves) >= _MANY else Decimal(1)
        own = {code: move / common for code, move in self.moves.items()}
        return {code: move for code, move in own.items() if abs(move - 1) > _NEAR}

    @cached_property
    def near(self) -> Decimal:
        """Maximum relative distance of a rate to another's former level; it grows with time, since rates drift."""
        return _NEAR * min(Decimal(3), (self.days + 3) / Decimal(4))

    @cached_property
    def far(self) -> Decimal:
        """Minimum relative distance of two rates that do not drift to each other's level in that time."""
        return _NEAR * min(Decimal(9), max(Decimal(3), self.days / Decimal(3)))

    def is_inverted(self, code: str) -> bool:
        """Return whether a rate moved to the inverse of its former level."""
        inverse = 1 / self.before[code] ** 2
        near = min(self.near, abs(inverse - 1) / 3)
        return abs(inverse - 1) > self.far and abs(self.moves[code] / inverse - 1) <= near

    def took_place_of(self, code: str, other: str) -> bool:
        """Return whether a rate moved to the former level of another one, which moved away."""
        if other not in self.moved:
            return False
        distance = self.before[other] / self.before[code]
        near = min(self.near, abs(distance - 1) / 3)
        move, others_move = self.moved[code], self.moved[other]
        other_left = abs(others_move - 1) > 2 * near and abs(others_move / move - 1) > near
        return other_left and abs(distance - 1) > self.far and abs(move / distance - 1) <= near

    def repeats(self, code: str, other: str) -> bool:
        """Return whether two rates are equal that were different before."""
        distance = self.before[other] / self.before[code]
        return self.now[code] == self.now[other] and abs(distance - 1) > 3 * _NEAR

    def candidates(self, code: str) -> list[str]:
        """Return the currencies whose former level or current rate this one may have, in document order."""
        level = self.before[code] * self.moved[code]
        first = bisect_left(self._by_level, level / (1 + self.near), key=self.before.__getitem__)
        last = bisect_right(self._by_level, level / (1 - self.near), key=self.before.__getitem__)
        others = {*self._by_level[first:last], *self._by_rate[self.now[code]]}
        return sorted(others, key=self._order.__getitem__)

    @cached_property
    def _by_level(self) -> list[str]:
        return sorted(self.before, key=self.before.__getitem__)

    @cached_property
    def _by_rate(self) -> dict[Decimal, list[str]]:
        codes = defaultdict[Decimal, list[str]](list)
        for code, rate in self.now.items():
            codes[rate].append(code)
        return codes

    @cached_property
    def _order(self) -> dict[str, int]:
        return {code: index for index, code in enumerate(self.before)}


def _as_decimal(value: Fraction) -> Decimal:
    return value.numerator / Decimal(value.denominator)
