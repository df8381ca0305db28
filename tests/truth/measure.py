"""What is measured: how far what is shown lies from the truth, and what true rates are not published."""

# ruff: noqa: S311 - chance is no secret

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from math import log, prod
from random import Random
from typing import Final

from service.domain.breaks import Break
from service.domain.snapshot import Quote
from tests.truth.faults import ALL_SETS, LONG, WARM_UP, Fault, Plan, Scene
from tests.truth.histories import SUBJECT, History, in_base, load
from tests.truth.replay import ALL, FIVE, Replay

TWO, FIVE_PERCENT = 0.02, 0.05
AFTER: Final = 8
"""Publications after a fault in which the truth may return; more count as this and one."""
_SAME: Final = 1e-4
_SAMPLE: Final = 8
"""Currencies that are shown beside the affected ones and the five: to show all takes most of the time."""
_AFFECTED: Final = 10
_EXAMPLES: Final = 4


@dataclass(frozen=True)
class Example:
    """A rate that was shown and is false."""

    off: float
    text: str


@dataclass
class Counts:
    """Rate-days of one ticker. `fault`: with a false rate; `two`, `five`: shown more than 2 % and 5 % off."""

    shown: int = 0
    fault: int = 0
    two: int = 0
    five: int = 0
    none: int = 0
    fallback: int = 0
    recovery: list[int] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        for name in ("shown", "fault", "two", "five", "none", "fallback"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.recovery += other.recovery


@dataclass
class Outcome:
    """What came of one window, or of many. `kept_out`: true rates not published on their day, of `true`, by source."""

    counts: dict[str, Counts] = field(default_factory=lambda: {FIVE: Counts(), ALL: Counts()})
    true: Counter[str] = field(default_factory=Counter)
    kept_out: Counter[str] = field(default_factory=Counter)
    transient: int = 0
    """Rate-days of the five shown more than 5 % off before the witnesses were polled."""
    pending: int = 0
    """Rates in quarantine at the end that are true."""
    examples: list[Example] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """True rates that were kept out, with the reason: a few."""

    def add(self, other: "Outcome") -> None:
        for name, counts in other.counts.items():
            self.counts[name].add(counts)
        self.true += other.true
        self.kept_out += other.kept_out
        self.transient += other.transient
        self.pending += other.pending
        self.examples = sorted([*self.examples, *other.examples], key=lambda one: -one.off)[:_EXAMPLES]
        self.missing = [*self.missing, *other.missing][:_EXAMPLES]


def deviation(history: History, replay: Replay, quote: Quote) -> float:
    """Return how far a quote lies from the truth of its own dates, by its own source; 0 for none.

    That is the larger one of the error of its rate, as a fraction, and of its percentage, in points by a hundred.
    """
    if quote.rate is None or quote.date is None or quote.source is None:
        return 0.0
    true = history.true_value(quote.source, history.at(quote.date), quote.code)
    if true is None:
        return 1.0
    off = abs(float(quote.rate) / true - 1)
    if quote.percent is not None and quote.previous_date is not None:
        before = history.true_value(quote.source, history.at(quote.previous_date), quote.code)
        if before is None:
            return 1.0
        factor = _unit(replay.memory.breaks(quote.source), quote.code, quote.previous_date, quote.date)
        move = min(true / before, true / before / factor, key=lambda one: abs(log(one)))
        off = max(off, abs(float(quote.percent) / 100 - (move - 1)))
    return off


def _unit(breaks: Iterable[Break], code: str, earlier: date, later: date) -> float:
    """Return how many old units a new one is, where the unit of a currency changed between two dates."""
    factors = (one.factor for one in breaks if one.currency == code and earlier < one.date <= later)
    return prod(float(one or 1) for one in factors)


def is_right(history: History, replay: Replay, at: int, quote: Quote) -> bool:
    """Return whether a quote shows today's true rate, of its source, and its percentage is true."""
    true = history.true_value(quote.source or SUBJECT, at, quote.code)
    if quote.rate is None or true is None:
        return False
    return abs(float(quote.rate) / true - 1) <= _SAME and deviation(history, replay, quote) <= TWO


@lru_cache(maxsize=2)
def history(name: str) -> History:
    return load(name)


def window(name: str, fault: Fault, witnesses: str, seed: int, number: int, *, trusting: bool = False) -> Outcome:
    """Let one fault happen somewhere in a history, and measure what is shown."""
    known = history(name)
    rng = Random(f"{seed} {name} {fault.name} {number}")  # the same for all sets of witnesses
    start = rng.randrange(WARM_UP + LONG, len(known.dates) - LONG - AFTER - 2)
    scene = Scene(known, start, rng, number)
    plan = fault.inject(scene)
    replay = Replay(known, ALL_SETS[witnesses], _sample(scene, plan.affected), trusting)
    if not plan.empty:
        replay.warm_up(start - WARM_UP, start - 1, plan.absent)
    return _Window(replay, scene, plan, f"{name}, {fault.name}, {witnesses}, window {number}").run()


def _sample(scene: Scene, affected: Collection[str]) -> tuple[str, ...]:
    """Return the currencies of the ticker that stands for all."""
    quoted = scene.history.codes(scene.start, scene.start + LONG)
    chosen = Random(scene.start)
    some = chosen.sample(sorted(set(quoted) & set(affected)), min(_AFFECTED, len(set(quoted) & set(affected))))
    others = chosen.sample(quoted, min(_SAMPLE, len(quoted)))
    return tuple(sorted({*some, *others, *scene.history.five} & set(quoted)))


def _nothing() -> None:
    pass


@dataclass
class _Window:
    replay: Replay
    scene: Scene
    plan: Plan
    title: str
    outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Outcome:
        plan, start = self.plan, self.scene.start
        waiting = {FIVE, ALL}
        for offset in range(len(plan.days) + AFTER):
            at, after = start + offset, offset - len(plan.days) + 1
            answers = plan.days[offset] if after <= 0 else plan.kept
            check = self._before_witnesses if after <= 0 else _nothing
            self.replay.day(at, answers, more=plan.more and after <= 0, before_witnesses=check)
            shown = self.replay.quotes()
            for name in (FIVE, ALL):
                self._count(name, at, shown[name], fault=after <= 0)
                if after > 0 and name in waiting and self._right(at, shown[name]):
                    self.outcome.counts[name].recovery.append(after)
                    waiting.discard(name)
            self._published(at, after)
            if not waiting and after >= 2:
                break
        for name in waiting:
            self.outcome.counts[name].recovery.append(AFTER + 1)
        self.outcome.pending = self._pending()
        return self.outcome

    def _before_witnesses(self) -> None:
        """Count what is shown before the witnesses are polled, where the subject has published something false."""
        known, latest = self.scene.history, self.replay.memory.series(SUBJECT).fixings[-3:]
        told = {one.date: one.rates for one in latest}
        if any(
            rates[code] != true[code]
            for day, rates in told.items()
            if (true := known.documents[known.at(day)])
            for code in set(known.five) & self.plan.affected & rates.keys() & true.keys()
        ):
            quotes = self.replay.quotes()[FIVE]
            off = sum(deviation(known, self.replay, one) > FIVE_PERCENT for one in quotes)
            self.outcome.transient += off

    def _count(self, name: str, at: int, quotes: Iterable[Quote], *, fault: bool) -> None:
        counts, known = self.outcome.counts[name], self.scene.history
        for quote in quotes:
            there = quote.code in known.documents[at]
            counts.shown += 1
            counts.fault += fault and there and quote.code in self.plan.affected
            counts.none += there and quote.rate is None
            counts.fallback += quote.source not in (SUBJECT, None)
            off = deviation(known, self.replay, quote)
            counts.two += off > TWO
            counts.five += off > FIVE_PERCENT
            if off > TWO and name == ALL:
                self._example(at, quote, off)

    def _example(self, at: int, quote: Quote, off: float) -> None:
        known = self.scene.history
        true = quote.date and known.true_value(quote.source or SUBJECT, known.at(quote.date), quote.code)
        held = [
            f"{key} {day}: {reason}"
            for key in self.replay.sources
            for day, one in sorted(self.replay.memory.quarantine[key].waiting.items())[-3:]
            for reason in one.reasons
            if quote.code in reason[:3] or known.form.base in reason[:3]
        ]
        day = at - self.scene.start + 1
        text = (
            f"{self.title}: on {known.dates[at]} (day {day} from the fault, {len(self.plan.days)} days of it) "
            f"{quote.code} {quote.rate} of {quote.date}, {quote.percent} % since {quote.previous_date}, true {true}, "
            f"off {100 * off:.1f} %; source {quote.source}, {quote.confidence}; quarantine: {held[-3:] or 'empty'}"
        )
        examples = sorted([*self.outcome.examples, Example(off, text)], key=lambda one: -one.off)
        self.outcome.examples = examples[:_EXAMPLES]

    def _right(self, at: int, quotes: Sequence[Quote]) -> bool:
        known = self.scene.history
        concerned = [one for one in quotes if one.code in known.documents[at] and one.code in self.plan.affected]
        return bool(quotes) and all(is_right(known, self.replay, at, one) for one in concerned)

    def _published(self, at: int, after: int) -> None:
        """Count the true rates of this day that are not published at its end."""
        known, day = self.scene.history, self.scene.history.dates[at]
        for key in self.replay.sources:
            liar = key == SUBJECT or (key == "w1" and "copier" in self.title)
            if liar and self.plan.empty and after <= 0:
                continue
            there = self.replay.memory.series(key).on(day)
            for code, rate in known.truth(key, at).items():
                base = code == known.form.base and "all" in self.title  # of a witness: as false as all others
                if liar and after <= 0 and (code in self.plan.affected or base):
                    continue
                self.outcome.true[key] += 1
                if there is None or code not in there.rates or there.rates[code] != rate:
                    self.outcome.kept_out[key] += 1
                    if len(self.outcome.missing) < _EXAMPLES:
                        self.outcome.missing.append(f"{self.title}: {key} {day} {code}: {self._why(key, day, code)}")

    def _why(self, key: str, day: date, code: str) -> str:
        held = self.replay.memory.quarantine[key].waiting.get(day)
        reasons = [one for one in held.reasons if one.startswith(code)] if held else []
        return "; ".join(reasons) or "not in quarantine"

    def _pending(self) -> int:
        """Return how many true rates of the last day are in quarantine."""
        return sum(
            rate == true[code]
            for day, one in self.replay.memory.quarantine[SUBJECT].waiting.items()
            if (true := self.scene.history.documents[self.scene.history.at(day)])
            for code, rate in one.fixing.rates.items()
            if code in true
        )


@dataclass
class Whole:
    """What came of a history without a fault. `late`: how many were published after so many publications."""

    true: Counter[str] = field(default_factory=Counter)
    kept_out: Counter[str] = field(default_factory=Counter)
    slips_held: int = 0
    slips_published: int = 0
    late: Counter[int] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    """Rates that are in quarantine at the end, of the five and of all."""
    witness_true: int = 0
    witness_kept_out: int = 0
    shown: int = 0
    two: int = 0
    none: int = 0
    fallback: int = 0
    first: date | None = None
    last: date | None = None
    examples: list[str] = field(default_factory=list)


def whole(name: str, witnesses: str, part: float = 1.0) -> Whole:
    """Replay a history without a fault; `part` of it, from the middle."""
    known = history(name)
    slips = set(slipped(known))
    codes = known.codes(0, len(known.dates))
    length = int((len(known.dates) - WARM_UP) * part)
    first = WARM_UP + (len(known.dates) - WARM_UP - length) // 2
    replay = Replay(known, ALL_SETS[witnesses], tuple(codes[:1]))
    replay.warm_up(first - WARM_UP, first - 1)
    result, held = Whole(first=known.dates[first], last=known.dates[first + length - 1]), dict[tuple[int, str], str]()
    for at in range(first, first + length):
        replay.day(at, {})
        _count_day(known, replay, at, result, held, slips)
        if at % 5 == 0:
            _count_shown(known, replay, at, result)
    for (_, code), reason in held.items():
        result.decisions[ALL] += 1
        result.decisions[FIVE] += code in known.five
        result.examples.append(f"never let in: {reason}")
    return result


def _count_day(
    known: History,
    replay: Replay,
    at: int,
    result: Whole,
    held: dict[tuple[int, str], str],
    slips: set[tuple[int, str]],
) -> None:
    series = replay.memory.series(SUBJECT)
    for one in [one for one in held if one[0] != at]:
        before, code = one
        there = series.on(known.dates[before])
        if there and code in there.rates:
            result.late[at - before] += 1
            result.examples.append(f"let in after {at - before}: {held.pop(one)}")
    for key in replay.sources:
        there = replay.memory.series(key).on(known.dates[at])
        for code, rate in known.truth(key, at).items():
            out = there is None or there.rates.get(code) != rate
            if key != SUBJECT:
                result.witness_true += 1
                result.witness_kept_out += out
            elif (at, code) in slips:
                result.slips_held += out
                result.slips_published += not out
            else:
                result.true[ALL] += 1
                result.true[FIVE] += code in known.five
                if out:
                    result.kept_out[ALL] += 1
                    result.kept_out[FIVE] += code in known.five
                    waiting = replay.memory.quarantine[SUBJECT].waiting.get(known.dates[at])
                    reasons = [one for one in waiting.reasons if one.startswith(code)] if waiting else []
                    held[at, code] = f"{known.dates[at]} {'; '.join(reasons) or code}"


def _count_shown(known: History, replay: Replay, at: int, result: Whole) -> None:
    for quote in replay.quotes()[FIVE]:
        there = quote.code in known.documents[at]
        result.shown += there
        result.none += there and quote.rate is None
        result.fallback += quote.source not in (SUBJECT, None)
        if (off := deviation(known, replay, quote)) > TWO:
            result.two += 1
            result.examples.append(
                f"shown {100 * off:.1f} % off on {known.dates[at]}: {quote.code} {quote.rate} of {quote.date}"
            )


def slipped(known: History) -> Iterable[tuple[int, str]]:
    """Yield what was no true rate: it moved beyond the limit, and went back with the next other rate."""
    for code in known.codes(0, len(known.dates)):
        rows = [
            (at, float(in_base(rates[code], known.form.direction)))
            for at, rates in enumerate(known.documents)
            if code in rates
        ]
        runs = [rows[:1]]
        for row in rows[1:]:
            if row[1] == runs[-1][-1][1]:
                runs[-1].append(row)
            else:
                runs.append([row])
        for before, slip, after in zip(runs, runs[1:], runs[2:], strict=False):
            out, back = slip[0][1] / before[0][1], after[0][1] / before[0][1]
            if not 1 / 1.15 < out < 1.15 and 0.95 < back < 1.05 and len(slip) <= 3:
                yield from ((at, code) for at, _ in slip)
