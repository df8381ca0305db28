"""Figures that stand under another currency's name, or upside down. Pure."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from statistics import median_low

from service.fixings import Fixing

_NEAR = Fraction(1, 100)
"""What a currency drifts in a day, about: figures that are three times as far apart can be told from each other."""
_MANY = 5
"""From so many currencies on, what most of them do is the base's doing."""


def mistaken(new: Fixing, old: Mapping[str, Fraction], days: int) -> Iterator[tuple[str, str]]:
    """Yield the currencies whose figure is another's, or its own upside down; `old` is of so many days ago.

    A figure is another's where both have the same, or where it took the place of one that moved away too, otherwise:
    two that changed places, a row that slipped. What all of them moved by together is the base's and is left out.
    """
    figures = {code: new.value(code) for code in old}
    moves = {code: figures[code] / value for code, value in old.items()}
    near = _NEAR * min(Fraction(3), Fraction(days + 3, 4))  # figures drift apart from those that they are held against
    far = _NEAR * min(Fraction(9), max(Fraction(3), Fraction(days, 3)))  # and in weeks to another's place
    common = median_low(moves.values()) if len(moves) >= _MANY else Fraction(1)
    moved = {code: move / common for code, move in moves.items() if abs(move / common - 1) > _NEAR}
    same = defaultdict[Fraction, list[str]](list)
    for code, figure in figures.items():
        same[figure].append(code)
    places = sorted(old, key=lambda code: old[code])
    order = {code: at for at, code in enumerate(old)}
    for one, move in moved.items():
        apart = 1 / old[one] ** 2
        if abs(apart - 1) > far and abs(moves[one] / apart - 1) <= min(near, abs(apart - 1) / 3):
            yield one, f"1/{one}"
        # All that can have been its figure's place: no other passes what is asked below.
        place = old[one] * move
        begin = bisect_left(places, place / (1 + near), key=lambda code: old[code])
        end = bisect_right(places, place / (1 - near), key=lambda code: old[code])
        for other in sorted({*places[begin:end], *same[figures[one]]}, key=lambda code: order[code]):
            apart = old[other] / old[one]
            close = min(near, abs(apart - 1) / 3)
            left = other in moved and abs(moved[other] - 1) > 2 * close and abs(moved[other] / move - 1) > close
            taken = left and abs(apart - 1) > far and abs(move / apart - 1) <= close
            if taken or (figures[one] == figures[other] and abs(apart - 1) > 3 * _NEAR):
                yield one, other
