"""What other banks say of a figure. Pure.

Another bank is one with another base: a relay of the same bank confirms nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from fractions import Fraction

from service.fixings import Fixing, Series

EARLIER, LATER = timedelta(days=4), timedelta(days=3)
"""How far the dates of two banks lie apart for the same days of the market, weekends included."""

_METALS = {"XAU", "XAG", "XPT", "XPD"}
"""Some banks tell them by the ounce and some by the gram: moves are the same, levels are not."""


def moves(code: str, new: Fixing, before: Fixing, others: Mapping[str, Series]) -> Mapping[str, Fraction]:
    """Return how other banks saw `code` move against our base over the same days: of each the move most like ours.

    `before` may lie after `new`: then the move is one backwards.
    """
    first, last = sorted((before, new), key=lambda one: one.date)
    ours = last.value(code) / first.value(code)
    found = {}
    for key, series in others.items():
        olds = _crosses(code, new.base, series.within(first.date - EARLIER, first.date))
        news = _crosses(code, new.base, series.within(last.date - timedelta(days=1), last.date + LATER))
        seen = [late / early for day, early in olds for later, late in news if day < later]
        if seen:
            move = min(seen, key=lambda move: abs(move / ours - 1))
            found[key] = move if last is new else 1 / move
    return found


def level(code: str, new: Fixing, others: Mapping[str, Series]) -> tuple[str, Fraction] | None:
    """Return which other bank has `code` in our base in these days most like us, and how; None where none has it."""
    seen = [
        (key, cross)
        for key, series in others.items()
        if code not in _METALS
        for _, cross in _crosses(code, new.base, series.within(new.date - EARLIER, new.date + LATER))
    ]
    return min(seen, key=lambda one: abs(one[1] / new.value(code) - 1), default=None)


def _crosses(code: str, base: str, fixings: Iterable[Fixing]) -> list[tuple[date, Fraction]]:
    """Return how those of another base that quote both have `code` in `base`."""
    return [(one.date, one.cross(code, base)) for one in fixings if one.base != base and one.quotes(code, base)]


def alike(witness: Fraction, ours: Fraction, tolerance: Fraction) -> bool:
    """Whether a move confirms ours: within the tolerance, and more like it than like standing still."""
    return abs(witness / ours - 1) <= min(tolerance, abs(ours - 1) / 2)
