"""Linear trend of measurements, with its standard error."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import NormalDist, linear_regression
from typing import Final

_HALF_WIDTH: Final = NormalDist().inv_cdf(0.975)
"""Half-width of a 95 % confidence interval, in standard errors."""
MIN_MEASUREMENTS: Final = 10
"""Smallest number of measurements for a trend."""


@dataclass(frozen=True)
class Slope:
    """Growth per unit of time, with its standard error."""

    value: float
    error: float

    def within(self) -> tuple[float, float]:
        """Return the bounds of the 95 % confidence interval."""
        return self.value - _HALF_WIDTH * self.error, self.value + _HALF_WIDTH * self.error

    def grows(self, bound: float) -> bool:
        """Return whether it grows significantly, and by more than the bound."""
        return self.within()[0] > 0 and self.value > bound


def slope(at: Sequence[float], measured: Sequence[float]) -> Slope:
    """Fit by least squares.

    Successive measurements are correlated: allocated memory stays allocated for a while. The usual error assumes that
    they are independent and is too small, so it is widened by the autocorrelation of the residuals.
    """
    count = len(at)
    if count < MIN_MEASUREMENTS:
        raise ValueError(f"{count} measurements are too few for a trend: at least {MIN_MEASUREMENTS} are needed")
    line = linear_regression(at, measured)
    residuals = [value - line.slope * time - line.intercept for time, value in zip(at, measured, strict=True)]
    mean = sum(at) / count
    squares = sum(residual * residual for residual in residuals)
    spread = sum((time - mean) ** 2 for time in at)
    correlation = max(0.0, sum(first * second for first, second in pairwise(residuals)) / squares) if squares else 0.0
    return Slope(line.slope, sqrt(squares / (count - 2) / spread) * sqrt((1 + correlation) / (1 - correlation)))
