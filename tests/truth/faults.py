"""Faults: wrong publications of a bank, derived from its correct documents at random with a seed."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

from service.domain.fixing import Rate
from tests.truth.histories import SUBJECT, History, Rates
from tests.truth.replay import WrongRates

_DIGITS: Final = Context(prec=7)
WARM_UP: Final = 60
"""Publications of all sources before a fault."""
LONG: Final = 20
"""Days of a drift or of repeated rates."""
STEP: Final = 0.86
"""A change of 14 %, which is within the limit."""
REVISIONS: Final = 8
WrongResponses = Mapping[str, Sequence[WrongRates]]
"""Wrong rates in the responses of sources on one day, one entry per poll."""


@dataclass(frozen=True)
class Scene:
    """The place of a fault: `start` is the index of its first day; `number` counts the windows of one fault."""

    history: History
    start: int
    rng: Random
    number: int = 0

    def date(self, offset: int) -> date:
        return self.history.dates[self.start + offset]

    def true(self, offset: int) -> Rates:
        return self.history.documents[self.start + offset]

    def length(self) -> int:
        return (1, 3, 10)[self.number % 3]

    def shown(self) -> str:
        """Return one of the five shown currencies."""
        return self.rng.choice(self.quoted(self.history.five))

    def other(self) -> str:
        """Return a currency that is not one of the five."""
        return self.rng.choice(self.quoted(sorted(self.true(0).keys() - set(self.history.five))))

    def quoted(self, codes: Sequence[str]) -> list[str]:
        """Return the currencies that are quoted all the time."""
        return [code for code in codes if code in self.true(0) and code in self.true(LONG)]


@dataclass(frozen=True)
class Plan:
    """The course of a fault: one entry of wrong responses per day, then correct ones.

    `affected` are the currencies with wrong rates; `absent` are dates missing from the subject's known history; `kept`
    are wrong rates of past days in later responses. With `more` the responses contain all wrong dates, however old;
    with `empty` nothing is known of any source before.
    """

    days: Sequence[WrongResponses]
    affected: frozenset[str]
    kept: WrongResponses = field(default_factory=dict)
    absent: Collection[date] = ()
    more: bool = False
    empty: bool = False


Injector = Callable[[Scene], Plan]


class Fault(NamedTuple):
    """`witnesses`: the sets to measure with; all standard ones if empty."""

    name: str
    inject: Injector
    witnesses: tuple[str, ...] = ()


def scaled(rate: Rate, factor: float | Decimal) -> Rate:
    """Return a rate times a factor, with seven digits."""
    return Rate(_DIGITS.multiply(rate.value, Decimal(factor)), rate.nominal)


def inverted(rate: Rate) -> Rate:
    return Rate(_DIGITS.divide(Decimal(rate.nominal**2), rate.value), rate.nominal)


Distortion = Callable[[int, Rates], Rates]
"""Return a wrong document for the day with this offset from a correct one."""


def _distorted(scene: Scene, distort: Distortion, offsets: Sequence[int]) -> dict[date, Rates]:
    return {scene.date(offset): distort(offset, scene.true(offset)) for offset in offsets}


def _temporary(
    scene: Scene, distort: Distortion, length: int, affected: Collection[str], *, corrected: bool | None = None
) -> Plan:
    """Distort rates for some days; afterwards these days are corrected or not, at random by default."""
    wrong_rates = [_distorted(scene, distort, range(length))] * length
    correct = scene.rng.random() < 0.5 if corrected is None else corrected
    days: list[WrongResponses] = [{SUBJECT: [rates]} for rates in wrong_rates]
    return Plan(days, frozenset(affected), {} if correct else {SUBJECT: [wrong_rates[-1]]})


def _changed(codes: Collection[str], change: Callable[[Rate], Rate]) -> Distortion:
    return lambda _, true: {code: change(rate) if code in codes else rate for code, rate in true.items()}


Selection = Callable[[Scene], Collection[str]]


def one_shown(scene: Scene) -> Collection[str]:
    return {scene.shown()}


def one_other(scene: Scene) -> Collection[str]:
    return {scene.other()}


def every(scene: Scene) -> Collection[str]:
    return scene.history.codes(scene.start - 1, scene.start + LONG)


def scale(factor: float, select: Selection) -> Injector:
    def inject(scene: Scene) -> Plan:
        codes = select(scene)
        return _temporary(scene, _changed(codes, lambda rate: scaled(rate, factor)), scene.length(), codes)

    return inject


def inversion(select: Selection) -> Injector:
    def inject(scene: Scene) -> Plan:
        codes = select(scene)
        return _temporary(scene, _changed(codes, inverted), scene.length(), codes)

    return inject


def swap(*, near: bool) -> Injector:
    """Swap the rates of one of the five and another currency, with `near` the one with the closest rate."""

    def inject(scene: Scene) -> Plan:
        first, true = scene.shown(), scene.true(0)
        others = [code for code in scene.quoted(sorted(true)) if code != first]

        def distance(code: str) -> float:
            ratio = _number(true[code]) / _number(true[first])
            return max(ratio, 1 / ratio)

        other = min(others, key=distance) if near else scene.rng.choice(others)

        def distort(_: int, true: Rates) -> Rates:
            return {**true, first: true[other], other: true[first]}

        return _temporary(scene, distort, scene.length(), {first, other})

    return inject


def slipped_row(scene: Scene) -> Plan:
    """From a row on, each currency has the rate of the next row."""
    rows = sorted(scene.true(0))
    begin = scene.rng.randrange(len(rows) - 3)

    def distort(_: int, true: Rates) -> Rates:
        quoted = [code for code in rows[begin:] if code in true]
        moved = {code: true[following] for code, following in pairwise(quoted)}
        return {**true, **moved}

    return _temporary(scene, distort, scene.length(), rows[begin:-1])


def drift(percent: float, select: Selection) -> Injector:
    def inject(scene: Scene) -> Plan:
        codes = select(scene)
        step = (1 + percent / 100) ** scene.rng.choice((1, -1))

        def distort(offset: int, true: Rates) -> Rates:
            factor = step ** (offset + 1)
            return {code: scaled(rate, factor) if code in codes else rate for code, rate in true.items()}

        return _temporary(scene, distort, LONG, codes)

    return inject


def freeze(*, noisy: bool) -> Injector:
    """Repeat the rates of the day before the fault; `noisy`: except for one digit of one currency."""

    def inject(scene: Scene) -> Plan:
        frozen, noisy_code = scene.true(-1), scene.other()
        factors = [scene.rng.choice((0.999, 1.001, 0.998, 1.002)) for _ in range(LONG)]

        def distort(offset: int, _: Rates) -> Rates:
            if not noisy or noisy_code not in frozen:
                return frozen
            return {**frozen, noisy_code: scaled(frozen[noisy_code], factors[offset])}

        return _temporary(scene, distort, LONG, every(scene), corrected=True)

    return inject


def revise_one_by_one(select: Selection) -> Injector:
    """Revise the two previous days in turn, each 14 % below the other, one per poll; today's rates are correct."""

    def inject(scene: Scene) -> Plan:
        codes, wrong_rates = select(scene), dict[date, Rates]()
        polls = list[WrongRates]()
        for number in range(1, REVISIONS + 1):
            offset = -2 if number % 2 else -1
            wrong_rates = {**wrong_rates, scene.date(offset): _lowered(scene, offset, codes, number)}
            polls.append(wrong_rates)
        days: list[WrongResponses] = [{SUBJECT: polls}, *({SUBJECT: [wrong_rates]} for _ in range(4))]
        return Plan(days, frozenset(codes), more=True)

    return inject


def revise_at_once(select: Selection) -> Injector:
    """Revise all earlier days in one response, each 14 % below the previous one; today's rates are correct."""

    def inject(scene: Scene) -> Plan:
        codes = select(scene)
        wrong_rates = {
            scene.date(-back): _lowered(scene, -back, codes, REVISIONS + 1 - back) for back in range(REVISIONS, 0, -1)
        }
        return Plan([{SUBJECT: [wrong_rates]}] * 5, frozenset(codes), more=True)

    return inject


def insert(factors: Sequence[float], select: Selection) -> Injector:
    """Insert a date between the two latest, then revise it, with one factor per poll."""

    def inject(scene: Scene) -> Plan:
        codes, inserted_date = select(scene), scene.date(-1)
        polls: list[WrongRates] = [{inserted_date: None}]
        for factor in factors:
            distort = _changed(codes, lambda rate, factor=factor: scaled(rate, factor))  # type: ignore[misc]
            polls.append({inserted_date: distort(-1, scene.true(-1))})
        days: list[WrongResponses] = [{SUBJECT: polls}, *({SUBJECT: [polls[-1]]} for _ in range(4))]
        return Plan(days, frozenset(codes), absent=(inserted_date,), more=True)

    return inject


def first_start(factor: float, step: float, select: Selection) -> Injector:
    """With an empty store, multiply the rates of the past weeks by a factor, and by a step per day, for five days."""

    def inject(scene: Scene) -> Plan:
        codes = select(scene)

        def distort(offset: int, true: Rates) -> Rates:
            multiplier = factor * step ** max(0, offset + 5)
            return {code: scaled(rate, multiplier) if code in codes else rate for code, rate in true.items()}

        wrong_rates = _distorted(scene, distort, range(-20, 5))
        return Plan([{SUBJECT: [wrong_rates]}] * 5, frozenset(codes), empty=True)

    return inject


def temporary_scale(factor: float, select: Selection, *, corrected: bool) -> Injector:
    def inject(scene: Scene) -> Plan:
        codes = select(scene)
        distort = _changed(codes, lambda rate: scaled(rate, factor))
        length = scene.rng.choice((1, 2, 3, 5, 8, 13, 20))
        return _temporary(scene, distort, length, codes, corrected=corrected)

    return inject


def copy_to_witness(inject: Injector) -> Injector:
    """Let W1 publish the same wrong rates, as crosses."""

    def inject_both(scene: Scene) -> Plan:
        plan = inject(scene)
        days = [_copy(scene, responses) for responses in plan.days]
        return Plan(days, plan.affected, _copy(scene, plan.kept), plan.absent, plan.more, plan.empty)

    return inject_both


def _copy(scene: Scene, responses: WrongResponses) -> WrongResponses:
    wrong_rates = [
        {day: rates and scene.history.crosses(COPIER, rates) for day, rates in rates_of_poll.items()}
        for rates_of_poll in responses.get(SUBJECT, ())
    ]
    return {**responses, COPIER: wrong_rates} if wrong_rates else responses


def _lowered(scene: Scene, offset: int, codes: Collection[str], times: int) -> Rates:
    return _changed(codes, lambda rate: scaled(rate, STEP**times))(offset, scene.true(offset))


def _number(rate: Rate) -> float:
    return float(rate.value) / rate.nominal


COPIER: Final = "w1"
SETS: Final[Mapping[str, tuple[str, ...]]] = {"none": (), "w1": ("w1",), "w2 lagging": ("w2",), "w1+w2": ("w1", "w2")}
"""Sets of correct witnesses."""
COPIED: Final[Mapping[str, tuple[str, ...]]] = {"copier+w3": ("w1", "w3"), "copier+w3+w4": ("w1", "w3", "w4")}
"""Sets of witnesses of which the first copies the wrong rates."""
ALL_SETS: Final = {**SETS, **COPIED}


_SELECTIONS: Final[Mapping[str, Selection]] = {"one of the five": one_shown, "one other": one_other, "all": every}


def _faults_of_one_day() -> Iterator[Fault]:
    for times, factor in {"x10": 10, "x100": 100, "x1000": 1000, "/10": 0.1}.items():
        for label, select in _SELECTIONS.items():
            yield Fault(f"scale {times}, {label}", scale(factor, select))
    for label in ("one of the five", "all"):
        yield Fault(f"inversion, {label}", inversion(_SELECTIONS[label]))
    yield Fault("swap", swap(near=False))
    yield Fault("swap with the nearest", swap(near=True))
    yield Fault("slipped row", slipped_row)


def _faults_of_many_days() -> Iterator[Fault]:
    for percent in (1, 3, 5, 10, 14):
        for label in ("one of the five", "all"):
            yield Fault(f"drift {percent} % a day, {label}", drift(percent, _SELECTIONS[label]))
    yield Fault("freeze", freeze(noisy=False))
    yield Fault("freeze with a noisy digit", freeze(noisy=True))
    for factor in (1.3, 0.8, 1.1):
        for corrected in (True, False):
            after = "corrected" if corrected else "not corrected"
            yield Fault(f"lie x{factor}, then {after}", temporary_scale(factor, one_shown, corrected=corrected))
    yield Fault("lie x1.1, all, then corrected", temporary_scale(1.1, every, corrected=True))


def _faults_of_the_past() -> Iterator[Fault]:
    for label in ("one of the five", "all"):
        yield Fault(f"past revised one by one, {label}", revise_one_by_one(_SELECTIONS[label]))
        yield Fault(f"past revised at once, {label}", revise_at_once(_SELECTIONS[label]))
    chain = [STEP**number for number in range(1, REVISIONS + 1)]
    yield Fault("inserted date x0.86", insert([STEP], one_shown))
    yield Fault("inserted date x3", insert([3], one_shown))
    yield Fault("inserted date, revised on", insert(chain, one_shown))


def _faults_at_first_start() -> Iterator[Fault]:
    for label in ("one of the five", "all"):
        select = _SELECTIONS[label]
        yield Fault(f"first start x1000, {label}", first_start(1000, 1, select))
        yield Fault(f"first start x1.3, {label}", first_start(1.3, 1, select))
        yield Fault(f"first start +14.9 % a day, {label}", first_start(1, 1.149, select))


def _copied_faults() -> Iterator[Fault]:
    injectors = {
        "x1.3": temporary_scale(1.3, one_shown, corrected=True),
        "drift 5 %": drift(5, one_shown),
        "x10, all": scale(10, every),
    }
    for name, inject in injectors.items():
        yield Fault(f"copied: {name}", copy_to_witness(inject), tuple(COPIED))


FAULTS: Final = (
    *_faults_of_one_day(),
    *_faults_of_many_days(),
    *_faults_of_the_past(),
    *_faults_at_first_start(),
    *_copied_faults(),
)
