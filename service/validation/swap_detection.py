"""Detect rates that stand under another currency's name, or upside down. Pure.

Rates are compared as decimals, within a hundredth: with exact fractions a document of a hundred odd rates would take
seconds.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from statistics import median_low

from service.domain.fixing import Fixing

_NEAR = Decimal("0.01")
"""What a currency moves in a day, about: rates that are three times as far apart can be told from each other."""
_MANY = 5
"""From so many currencies on, a move that most of them share is a move of the base."""


def swapped_currencies(new: Fixing, old: Mapping[str, Fraction], days: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of a currency and the one whose rate it has (`1/USD`: its own, inverted).

    `old` are the rates of `days` ago. A rate is suspected to be swapped if it equals, or moved to the former level of,
    another currency's rate that moved away too, by another factor: two that changed places, a row that slipped. The
    move that all share is the base's, and is removed first.
    """
    olds = {code: _near_enough(value) for code, value in old.items()}
    news = {code: _near_enough(new.value(code)) for code in old}
    moves = {code: news[code] / value for code, value in olds.items()}
    near = _NEAR * min(Decimal(3), (days + 3) / Decimal(4))  # figures drift apart from those that they are held against
    far = _NEAR * min(Decimal(9), max(Decimal(3), days / Decimal(3)))  # and in weeks to another's place
    common = median_low(moves.values()) if len(moves) >= _MANY else Decimal(1)
    moved = {code: move / common for code, move in moves.items() if abs(move / common - 1) > _NEAR}
    same = defaultdict[Decimal, list[str]](list)
    for code, figure in news.items():
        same[figure].append(code)
    places = sorted(olds, key=olds.__getitem__)
    order = {code: at for at, code in enumerate(olds)}
    for one, move in moved.items():
        apart = 1 / olds[one] ** 2
        if abs(apart - 1) > far and abs(moves[one] / apart - 1) <= min(near, abs(apart - 1) / 3):
            yield one, f"1/{one}"
        # All that can have been its figure's place: no other passes what is asked below.
        place = olds[one] * move
        begin = bisect_left(places, place / (1 + near), key=olds.__getitem__)
        end = bisect_right(places, place / (1 - near), key=olds.__getitem__)
        for other in sorted({*places[begin:end], *same[news[one]]}, key=order.__getitem__):
            apart = olds[other] / olds[one]
            close = min(near, abs(apart - 1) / 3)
            left = other in moved and abs(moved[other] - 1) > 2 * close and abs(moved[other] / move - 1) > close
            taken = left and abs(apart - 1) > far and abs(move / apart - 1) <= close
            if taken or (news[one] == news[other] and abs(apart - 1) > 3 * _NEAR):
                yield one, other


def _near_enough(value: Fraction) -> Decimal:
    return value.numerator / Decimal(value.denominator)
