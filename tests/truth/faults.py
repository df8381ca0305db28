"""Faults: what a bank publishes other than the truth, made from its true documents, at random but seeded."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

from service.domain.fixing import Rate
from tests.truth.histories import SUBJECT, History, Rates
from tests.truth.replay import Said

_DIGITS: Final = Context(prec=7)
WARM_UP: Final = 60
"""Publications of all sources that are known before a fault."""
LONG: Final = 20
"""Days of a drift or of a frozen bank."""
STEP: Final = 0.86
"""A change of 14 %, which is within the limit."""
REVISIONS: Final = 8
Answers = Mapping[str, Sequence[Said]]
"""What sources say on one day other than the truth, one a poll."""


@dataclass(frozen=True)
class Scene:
    """Where a fault happens: `start` is the index of its first day; `number` counts the windows of one fault."""

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
        """Return one of the five."""
        return self.rng.choice(self.quoted(self.history.five))

    def other(self) -> str:
        """Return a currency that is not one of the five."""
        return self.rng.choice(self.quoted(sorted(self.true(0).keys() - set(self.history.five))))

    def quoted(self, codes: Sequence[str]) -> list[str]:
        """Return those that are quoted all the time."""
        return [code for code in codes if code in self.true(0) and code in self.true(LONG)]


@dataclass(frozen=True)
class Plan:
    """What happens: a day of answers after the other, then the truth.

    `affected` are currencies that are false; `absent` dates that the subject has left out of what is known before;
    `kept`: what it says afterwards of the days of the fault. With `more` it answers with all that, however old; with
    `empty` nothing is known of any source before.
    """

    days: Sequence[Answers]
    affected: frozenset[str]
    kept: Answers = field(default_factory=dict)
    absent: Collection[date] = ()
    more: bool = False
    empty: bool = False


Injector = Callable[[Scene], Plan]


class Fault(NamedTuple):
    """`witnesses`: sets that it is tried with; all standard ones where empty."""

    name: str
    inject: Injector
    witnesses: tuple[str, ...] = ()


def scaled(rate: Rate, factor: float | Decimal) -> Rate:
    """Return a rate times a factor, in seven digits."""
    return Rate(_DIGITS.multiply(rate.value, Decimal(factor)), rate.nominal)


def inverted(rate: Rate) -> Rate:
    return Rate(_DIGITS.divide(Decimal(rate.nominal**2), rate.value), rate.nominal)


Lie = Callable[[int, Rates], Rates]
"""Make a false document for the day with this offset from a true one."""


def _told(scene: Scene, lie: Lie, offsets: Sequence[int]) -> dict[date, Rates]:
    return {scene.date(offset): lie(offset, scene.true(offset)) for offset in offsets}


def _lasting(scene: Scene, lie: Lie, length: int, affected: Collection[str], *, corrected: bool | None = None) -> Plan:
    """Tell a lie for some days; afterwards its days are corrected or not, at random where that is not said."""
    said = [_told(scene, lie, range(length))] * length
    correct = scene.rng.random() < 0.5 if corrected is None else corrected
    days: list[Answers] = [{SUBJECT: [one]} for one in said]
    return Plan(days, frozenset(affected), {} if correct else {SUBJECT: [said[-1]]})


def _changed(codes: Collection[str], change: Callable[[Rate], Rate]) -> Lie:
    return lambda _, true: {code: change(rate) if code in codes else rate for code, rate in true.items()}


Choice = Callable[[Scene], Collection[str]]


def one_shown(scene: Scene) -> Collection[str]:
    return {scene.shown()}


def one_other(scene: Scene) -> Collection[str]:
    return {scene.other()}


def every(scene: Scene) -> Collection[str]:
    return scene.history.codes(scene.start - 1, scene.start + LONG)


def scale(factor: float, choose: Choice) -> Injector:
    def inject(scene: Scene) -> Plan:
        codes = choose(scene)
        return _lasting(scene, _changed(codes, lambda rate: scaled(rate, factor)), scene.length(), codes)

    return inject


def inversion(choose: Choice) -> Injector:
    def inject(scene: Scene) -> Plan:
        codes = choose(scene)
        return _lasting(scene, _changed(codes, inverted), scene.length(), codes)

    return inject


def swap(*, near: bool) -> Injector:
    """One of the five and another currency, with `near` the one with the nearest rate, take each other's rate."""

    def inject(scene: Scene) -> Plan:
        one, true = scene.shown(), scene.true(0)
        others = [code for code in scene.quoted(sorted(true)) if code != one]

        def distance(code: str) -> float:
            ratio = _number(true[code]) / _number(true[one])
            return max(ratio, 1 / ratio)

        other = min(others, key=distance) if near else scene.rng.choice(others)

        def lie(_: int, true: Rates) -> Rates:
            return {**true, one: true[other], other: true[one]}

        return _lasting(scene, lie, scene.length(), {one, other})

    return inject


def slipped_row(scene: Scene) -> Plan:
    """From a row on, each currency has the rate of the next row."""
    rows = sorted(scene.true(0))
    begin = scene.rng.randrange(len(rows) - 3)

    def lie(_: int, true: Rates) -> Rates:
        there = [code for code in rows[begin:] if code in true]
        moved = {code: true[following] for code, following in pairwise(there)}
        return {**true, **moved}

    return _lasting(scene, lie, scene.length(), rows[begin:-1])


def drift(percent: float, choose: Choice) -> Injector:
    def inject(scene: Scene) -> Plan:
        codes = choose(scene)
        step = (1 + percent / 100) ** scene.rng.choice((1, -1))

        def lie(offset: int, true: Rates) -> Rates:
            factor = step ** (offset + 1)
            return {code: scaled(rate, factor) if code in codes else rate for code, rate in true.items()}

        return _lasting(scene, lie, LONG, codes)

    return inject


def freeze(*, noisy: bool) -> Injector:
    """Repeat the rates of the day before the fault for all days of it; `noisy`: but for a digit of one currency."""

    def inject(scene: Scene) -> Plan:
        frozen, noise = scene.true(-1), scene.other()
        wobble = [scene.rng.choice((0.999, 1.001, 0.998, 1.002)) for _ in range(LONG)]

        def lie(offset: int, _: Rates) -> Rates:
            if not noisy or noise not in frozen:
                return frozen
            return {**frozen, noise: scaled(frozen[noise], wobble[offset])}

        return _lasting(scene, lie, LONG, every(scene), corrected=True)

    return inject


def revised_one_by_one(choose: Choice) -> Injector:
    """Revise the two days before today in turn, each 14 % below the other, one a poll; today's rates are true."""

    def inject(scene: Scene) -> Plan:
        codes, said = choose(scene), dict[date, Rates]()
        polls = list[Said]()
        for number in range(1, REVISIONS + 1):
            offset = -2 if number % 2 else -1
            said = {**said, scene.date(offset): _lowered(scene, offset, codes, number)}
            polls.append(said)
        days: list[Answers] = [{SUBJECT: polls}, *({SUBJECT: [said]} for _ in range(4))]
        return Plan(days, frozenset(codes), more=True)

    return inject


def revised_at_once(choose: Choice) -> Injector:
    """One answer has all earlier days revised, each 14 % below the one before; today's rates are true."""

    def inject(scene: Scene) -> Plan:
        codes = choose(scene)
        said = {
            scene.date(-back): _lowered(scene, -back, codes, REVISIONS + 1 - back) for back in range(REVISIONS, 0, -1)
        }
        return Plan([{SUBJECT: [said]}] * 5, frozenset(codes), more=True)

    return inject


def inserted(factors: Sequence[float], choose: Choice) -> Injector:
    """Insert a date between the two latest, then revise it, one factor a poll."""

    def inject(scene: Scene) -> Plan:
        codes, between = choose(scene), scene.date(-1)
        polls: list[Said] = [{between: None}]
        for factor in factors:
            lie = _changed(codes, lambda rate, factor=factor: scaled(rate, factor))  # type: ignore[misc]
            polls.append({between: lie(-1, scene.true(-1))})
        days: list[Answers] = [{SUBJECT: polls}, *({SUBJECT: [polls[-1]]} for _ in range(4))]
        return Plan(days, frozenset(codes), absent=(between,), more=True)

    return inject


def first_start(factor: float, step: float, choose: Choice) -> Injector:
    """With an empty store: all rates of the past weeks times a factor, and a step more every day; for five days."""

    def inject(scene: Scene) -> Plan:
        codes = choose(scene)

        def lie(offset: int, true: Rates) -> Rates:
            times = factor * step ** max(0, offset + 5)
            return {code: scaled(rate, times) if code in codes else rate for code, rate in true.items()}

        said = _told(scene, lie, range(-20, 5))
        return Plan([{SUBJECT: [said]}] * 5, frozenset(codes), empty=True)

    return inject


def lie_then_truth(factor: float, choose: Choice, *, corrected: bool) -> Injector:
    def inject(scene: Scene) -> Plan:
        codes = choose(scene)
        lie = _changed(codes, lambda rate: scaled(rate, factor))
        length = scene.rng.choice((1, 2, 3, 5, 8, 13, 20))
        return _lasting(scene, lie, length, codes, corrected=corrected)

    return inject


def copied(inject: Injector) -> Injector:
    """Let W1 publish the same lies, as crosses."""

    def both(scene: Scene) -> Plan:
        plan = inject(scene)
        days = [_copy(scene, one) for one in plan.days]
        return Plan(days, plan.affected, _copy(scene, plan.kept), plan.absent, plan.more, plan.empty)

    return both


def _copy(scene: Scene, answers: Answers) -> Answers:
    said = [
        {day: rates and scene.history.crosses(COPIER, rates) for day, rates in one.items()}
        for one in answers.get(SUBJECT, ())
    ]
    return {**answers, COPIER: said} if said else answers


def _lowered(scene: Scene, offset: int, codes: Collection[str], times: int) -> Rates:
    return _changed(codes, lambda rate: scaled(rate, STEP**times))(offset, scene.true(offset))


def _number(rate: Rate) -> float:
    return float(rate.value) / rate.nominal


COPIER: Final = "w1"
SETS: Final[Mapping[str, tuple[str, ...]]] = {"none": (), "w1": ("w1",), "w2 lagging": ("w2",), "w1+w2": ("w1", "w2")}
"""Honest witnesses."""
COPIED: Final[Mapping[str, tuple[str, ...]]] = {"copier+w3": ("w1", "w3"), "copier+w3+w4": ("w1", "w3", "w4")}
"""Witnesses of which the first copies the lie."""
ALL_SETS: Final = {**SETS, **COPIED}


_CHOICES: Final[Mapping[str, Choice]] = {"one of the five": one_shown, "one other": one_other, "all": every}


def _of_one_day() -> Iterator[Fault]:
    for times, factor in {"x10": 10, "x100": 100, "x1000": 1000, "/10": 0.1}.items():
        for which, choose in _CHOICES.items():
            yield Fault(f"scale {times}, {which}", scale(factor, choose))
    for which in ("one of the five", "all"):
        yield Fault(f"inversion, {which}", inversion(_CHOICES[which]))
    yield Fault("swap", swap(near=False))
    yield Fault("swap with the nearest", swap(near=True))
    yield Fault("slipped row", slipped_row)


def _of_many_days() -> Iterator[Fault]:
    for percent in (1, 3, 5, 10, 14):
        for which in ("one of the five", "all"):
            yield Fault(f"drift {percent} % a day, {which}", drift(percent, _CHOICES[which]))
    yield Fault("freeze", freeze(noisy=False))
    yield Fault("freeze with a noisy digit", freeze(noisy=True))
    for factor in (1.3, 0.8, 1.1):
        for corrected in (True, False):
            after = "corrected" if corrected else "not corrected"
            yield Fault(f"lie x{factor}, then {after}", lie_then_truth(factor, one_shown, corrected=corrected))
    yield Fault("lie x1.1, all, then corrected", lie_then_truth(1.1, every, corrected=True))


def _of_the_past() -> Iterator[Fault]:
    for which in ("one of the five", "all"):
        yield Fault(f"past revised one by one, {which}", revised_one_by_one(_CHOICES[which]))
        yield Fault(f"past revised at once, {which}", revised_at_once(_CHOICES[which]))
    chain = [STEP**number for number in range(1, REVISIONS + 1)]
    yield Fault("inserted date x0.86", inserted([STEP], one_shown))
    yield Fault("inserted date x3", inserted([3], one_shown))
    yield Fault("inserted date, revised on", inserted(chain, one_shown))


def _at_first_start() -> Iterator[Fault]:
    for which in ("one of the five", "all"):
        choose = _CHOICES[which]
        yield Fault(f"first start x1000, {which}", first_start(1000, 1, choose))
        yield Fault(f"first start x1.3, {which}", first_start(1.3, 1, choose))
        yield Fault(f"first start +14.9 % a day, {which}", first_start(1, 1.149, choose))


def _copied() -> Iterator[Fault]:
    pairs = {
        "x1.3": lie_then_truth(1.3, one_shown, corrected=True),
        "drift 5 %": drift(5, one_shown),
        "x10, all": scale(10, every),
    }
    for name, inject in pairs.items():
        yield Fault(f"copied: {name}", copied(inject), tuple(COPIED))


FAULTS: Final = (*_of_one_day(), *_of_many_days(), *_of_the_past(), *_at_first_start(), *_copied())
