"""Geometry of sparklines: the last publications of a quote as a small line, the same for all output formats."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

FEWEST: Final = 3
"""Minimum number of publications of a sparkline: two would only show the change, as the percentage does."""
WIDTH, HEIGHT = 240, 64
"""Size of the box, in units of a quarter of a pixel, so that coordinates are integers."""
STROKE: Final = 6
_EDGE: Final = 4
"""Padding, so that the stroke stays inside the box."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A sparkline: its SVG path, and a text alternative."""

    path: str
    label: str


def path(rates: Sequence[Decimal]) -> str | None:
    """Return the path (attribute `d` in SVG) of rates, oldest first; None for fewer than `FEWEST`.

    Publications are spaced evenly from edge to edge. The lowest rate is at the bottom, the highest at the top; equal
    rates are a line in the middle. Time runs from left to right also in right-to-left languages, as in most line charts
    in Arabic and Hebrew (https://mapmeld.com/rtl-guide/), above all those of markets.
    """
    if len(rates) < FEWEST:
        return None
    low, high = min(rates), max(rates)
    inner_width, inner_height = WIDTH - 2 * _EDGE, HEIGHT - 2 * _EDGE
    xs = (_EDGE + round(Decimal(inner_width * index) / (len(rates) - 1)) for index in range(len(rates)))
    ys = (_EDGE + round(inner_height * (high - rate) / (high - low)) if high > low else HEIGHT // 2 for rate in rates)
    return "M" + " ".join(f"{x} {y}" for x, y in zip(xs, ys, strict=True))
