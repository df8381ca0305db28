"""Draw `docs/images/validation.svg`: how a devaluation, a single wrong rate and a drift are validated.

`HISTORY_DIR=... python -m tests.truth.picture > docs/images/validation.svg`. All rates are those of the National Bank of
Ukraine in the winter of 2014 and 2015; those of the other bank are crosses of them. The wrong rate and the drift are
simulated in a quiet month.
"""

# ruff: noqa: E501 - lines of SVG

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

from service.domain.fixing import Fixing, Rate, Series
from service.validation.cross_check import CrossCheck, Publications, Tolerance, Witness
from service.validation.rules import ValidationContext, judge
from tests.truth.histories import History, WitnessForm, load

CODE, WARM_UP, SHOWN = "USD", 60, 22
WIDTH, HEIGHT, GAP, LEFT, TOP = 250, 190, 34, 46, 46
FETCHED = datetime(2015, 1, 1, tzinfo=UTC)


class Day(NamedTuple):
    """A validated publication: the bank's rate, another bank's rate, and whether it was published."""

    rate: float
    other: float
    published: bool


class Scene(NamedTuple):
    """One panel of the picture."""

    title: str
    first: date
    distort: Callable[[int, Decimal], Decimal]
    """Return the bank's rate on a day, counted from the first one shown, from the correct rate."""


SCENES = (
    Scene("A devaluation: confirmed, published", date(2015, 1, 22), lambda _, value: value),
    Scene("A single wrong rate: quarantined", date(2014, 12, 1), lambda n, value: value * 13 / 10 if n == 8 else value),
    Scene(
        "A drift of 3 % a day: quarantined at once",
        date(2014, 12, 1),
        lambda n, value: value * Decimal("1.03") ** max(0, n - 7),
    ),
)


def validated(history: History, scene: Scene) -> list[Day]:
    """Return the days of a panel, validated as by the service."""
    witness = WitnessForm("other", "PLN")
    begin = next(index for index, day in enumerate(history.dates) if day >= scene.first)
    known, other, days = Series(), Series(), list[Day]()
    for index in range(begin - WARM_UP, begin + SHOWN):
        on, rates, form = history.dates[index], history.documents[index], history.form
        crosses = witness.rates(rates, form.base, form.direction)
        other = other.with_fixing(fixing("other", "PLN", on, crosses), WARM_UP + SHOWN)
        truth = fixing("nbu", form.base, on, rates)
        new, number = truth, index - begin
        if number >= 0:
            value = Decimal(round(scene.distort(number, rates[CODE].value), 6))
            new = replace(truth, rates={**rates, CODE: Rate(value, rates[CODE].nominal)})
        check = CrossCheck(
            {"nbu": Witness("nbu", Publications(known, _same)), "other": Witness("other", Publications(other, _same))},
            Tolerance(),
        )
        result = judge(new, known, ValidationContext(on, cross_check=check))
        if result.publish:
            known = known.with_fixing(result.publish, WARM_UP + SHOWN)
        if number >= 0:
            shown = result.held is None or CODE not in result.held.rates
            days.append(Day(float(new.value(CODE)), float(other.fixings[-1].cross(CODE, form.base)), shown))
    return days


def fixing(source: str, base: str, on: date, rates: "dict[str, Rate] | object") -> Fixing:
    return Fixing(source, base, on, rates, "", FETCHED, f"{source} {on}")  # type: ignore[arg-type]


def _same(day: date) -> date:
    return day


def panel(scene: Scene, days: Sequence[Day], left: int) -> str:
    """Return one panel as SVG: the band of the other bank, and a mark per publication."""
    low = min(min(day.rate, day.other) for day in days) * 0.96
    high = max(max(day.rate, day.other) for day in days) * 1.04

    def x(number: int) -> float:
        return left + WIDTH * number / (len(days) - 1)

    def y(value: float) -> float:
        return TOP + HEIGHT * (1 - (value - low) / (high - low))

    upper = " ".join(f"{x(at):.1f},{y(day.other * 1.01):.1f}" for at, day in enumerate(days))
    lower = " ".join(f"{x(at):.1f},{y(day.other * 0.99):.1f}" for at, day in reversed(list(enumerate(days))))
    marks = "".join(
        f'<circle class="good" cx="{x(at):.1f}" cy="{y(day.rate):.1f}" r="3"/>'
        if day.published
        else f'<path class="held" d="M{x(at) - 3.5:.1f} {y(day.rate) - 3.5:.1f}l7 7m0-7l-7 7"/>'
        for at, day in enumerate(days)
    )
    ticks = "".join(
        f'<text class="tick" x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>'
        for value in (low * 1.02, (low + high) / 2, high * 0.98)
    )
    return (
        f'<text class="title" x="{left}" y="{TOP - 16}">{scene.title}</text>'
        f'<path class="axis" d="M{left} {TOP}V{TOP + HEIGHT}H{left + WIDTH}"/>{ticks}'
        f'<polygon class="band" points="{upper} {lower}"/>{marks}'
    )


STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #1f2937 }
.title { font-weight: 600; fill: currentColor } .tick, .key { fill: #6b7280; font-size: 11px }
.axis { fill: none; stroke: #9ca3af } .band { fill: #93c5fd; fill-opacity: .55 }
.good { fill: #1d4ed8 } .held { fill: none; stroke: #dc2626; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  svg { background: #111827; color: #f3f4f6 } .tick, .key { fill: #9ca3af } .band { fill: #1e40af }
  .good { fill: #93c5fd } .held { stroke: #f87171 }
}
"""


def main() -> None:
    history = load("nbu")
    step = WIDTH + GAP + LEFT
    panels = "".join(
        panel(scene, validated(history, scene), LEFT + number * step) for number, scene in enumerate(SCENES)
    )
    width, height, below = LEFT + len(SCENES) * step, TOP + HEIGHT + 44, TOP + HEIGHT + 26
    key = (
        f'<circle class="good" cx="{LEFT + 4}" cy="{below}" r="3"/><text class="key" x="{LEFT + 14}" y="{below + 4}">published</text>'
        f'<path class="held" d="M{LEFT + 86} {below - 3.5}l7 7m0-7l-7 7"/><text class="key" x="{LEFT + 100}" y="{below + 4}">quarantined</text>'
        f'<rect class="band" x="{LEFT + 178}" y="{below - 5}" width="18" height="10"/>'
        f'<text class="key" x="{LEFT + 202}" y="{below + 4}">rate of another bank ± 1 % (hryvnias per dollar, one mark a day)</text>'
    )
    sys.stdout.write(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="A devaluation is published, a single wrong rate and a drift are quarantined"><style>{STYLE}</style>{panels}{key}</svg>\n'
    )


if __name__ == "__main__":
    main()
