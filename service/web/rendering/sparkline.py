"""The geometry of a sparkline: the last publications of a quote as one small line, for all forms alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

FEWEST: Final = 3
"""Publications that make a line: two are the change, which the percentage shows already."""
WIDTH, HEIGHT = 240, 64
"""The box of the line, in units of a quarter of a pixel, so that its coordinates are whole numbers."""
STROKE: Final = 6
_EDGE: Final = 4
"""Keeps the stroke inside the box."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A sparkline: its path, and what it shows in words."""

    path: str
    label: str


def path(rates: Sequence[Decimal]) -> str | None:
    """Return the path (SVG's `d`) of rates, oldest first; None for fewer than `FEWEST`.

    The publications stand at equal distances, from edge to edge; the lowest rate is at the bottom, the highest at
    the top, and rates that are all the same are a line in the middle. Time runs from left to right also where text
    does not: most line charts in Arabic and Hebrew do so (https://mapmeld.com/rtl-guide/), those of markets above all.
    """
    if len(rates) < FEWEST:
        return None
    low, high = min(rates), max(rates)
    across, down = WIDTH - 2 * _EDGE, HEIGHT - 2 * _EDGE
    xs = (_EDGE + round(Decimal(across * number) / (len(rates) - 1)) for number in range(len(rates)))
    ys = (_EDGE + round(down * (high - rate) / (high - low)) if high > low else HEIGHT // 2 for rate in rates)
    return "M" + " ".join(f"{x} {y}" for x, y in zip(xs, ys, strict=True))
