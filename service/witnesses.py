"""What other banks say of a figure. Pure.

Another bank is one with another base: a relay of the same bank confirms nothing.
"""

from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction

from service.fixings import Fixing, Series

_EARLIER, _LATER = timedelta(days=4), timedelta(days=3)
"""How far the dates of two banks lie apart for the same days of the market, weekends included."""


def moves(code: str, new: Fixing, before: Fixing, others: Mapping[str, Series]) -> Mapping[str, Fraction]:
    """Return how other banks saw `code` move against our base over the same days: of each the move most like ours.

    `before` may lie after `new`: then the move is one backwards.
    """
    first, last = sorted((before, new), key=lambda one: one.date)
    ours = last.value(code) / first.value(code)
    found = {}
    for key, series in others.items():
        quoting = [one for one in series.fixings if one.base != new.base and one.quotes(code, new.base)]
        olds = [one for one in quoting if first.date - _EARLIER <= one.date <= first.date]
        news = [one for one in quoting if last.date - timedelta(days=1) <= one.date <= last.date + _LATER]
        seen = [
            late.cross(code, new.base) / early.cross(code, new.base)
            for early in olds
            for late in news
            if early.date < late.date
        ]
        if seen:
            move = min(seen, key=lambda move: abs(move / ours - 1))
            found[key] = move if last is new else 1 / move
    return found


def alike(witness: Fraction, ours: Fraction, tolerance: Fraction) -> bool:
    """Whether a move confirms ours: within the tolerance, and more like it than like standing still."""
    return abs(witness / ours - 1) <= min(tolerance, abs(ours - 1) / 2)
