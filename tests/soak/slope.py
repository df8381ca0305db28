"""A straight line through what was measured: how fast it grows, and how well that is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import NormalDist, linear_regression
from typing import Final

_SURE: Final = NormalDist().inv_cdf(0.975)
"""Standard errors on each side of a slope that hold it in 95 of 100 cases."""
LEAST: Final = 10
"""Measurements below which nothing is said."""


@dataclass(frozen=True)
class Slope:
    """Growth for each unit of time, with its standard error."""

    value: float
    error: float

    def within(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval."""
        return self.value - _SURE * self.error, self.value + _SURE * self.error

    def grows(self, bound: float) -> bool:
        """Whether it surely grows, and by more than the bound."""
        return self.within()[0] > 0 and self.value > bound


def slope(at: Sequence[float], measured: Sequence[float]) -> Slope:
    """Fit by least squares.

    Neighbours resemble each other: memory that was taken stays taken for a while. The textbook's error takes each for
    news and is too small by that, so it is widened by the correlation of neighbours in what the line leaves over.
    """
    count = len(at)
    if count < LEAST:
        raise ValueError(f"{count} measurements are too few to say anything: {LEAST} at least")
    line = linear_regression(at, measured)
    left = [value - line.slope * time - line.intercept for time, value in zip(at, measured, strict=True)]
    middle = sum(at) / count
    squares = sum(one * one for one in left)
    spread = sum((time - middle) ** 2 for time in at)
    alike = max(0.0, sum(one * two for one, two in pairwise(left)) / squares) if squares else 0.0
    return Slope(line.slope, sqrt(squares / (count - 2) / spread) * sqrt((1 + alike) / (1 - alike)))
