"""Measurements: the error of shown rates, and correct rates that are not published."""

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
"""Publications after a fault within which correct rates must be shown again; later counts as one more."""
_SAME: Final = 1e-4
_SAMPLE: Final = 8
"""Currencies shown besides the affected ones and the five, since showing all of them is slow."""
_AFFECTED: Final = 10
_EXAMPLES: Final = 4


@dataclass(frozen=True)
class Example:
    """A wrong rate that was shown."""

    off: float
    text: str


@dataclass
class Counts:
    """Rate-days of one ticker. `fault`: with a wrong rate; `two`, `five`: shown more than 2 % and 5 % off."""

    fault: int = 0
    two: int = 0
    five: int = 0
    none: int = 0
    fallback: int = 0
    recovery: list[int] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        for name in ("fault", "two", "five", "none", "fallback"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.recovery += other.recovery


@dataclass
class Outcome:
    """Result of one or many windows. `kept_out`: correct rates not published on their day, of `true`, by source."""

    counts: dict[str, Counts] = field(default_factory=lambda: {FIVE: Counts(), ALL: Counts()})
    true: Counter[str] = field(default_factory=Counter)
    kept_out: Counter[str] = field(default_factory=Counter)
    transient: int = 0
    """Rate-days of the five shown more than 5 % off before the witnesses were polled."""
    pending: int = 0
    """Correct rates in quarantine at the end."""
    examples: list[Example] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """A few correct rates that were not published, with the reason."""

    def add(self, other: "Outcome") -> None:
        for name, counts in other.counts.items():
            self.counts[name].add(counts)
        self.true += other.true
        self.kept_out += other.kept_out
        self.transient += other.transient
        self.pending += other.pending
        self.examples = sorted([*self.examples, *other.examples], key=lambda example: -example.off)[:_EXAMPLES]
        self.missing = [*self.missing, *other.missing][:_EXAMPLES]


def deviation(history: History, replay: Replay, quote: Quote) -> float:
    """Return the error of a quote against the correct rates of its dates and source; 0 without a rate.

    This is the larger of the relative error of its rate and the absolute error of its percentage as a fraction.
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
        move = min(true / before, true / before / factor, key=lambda ratio: abs(log(ratio)))
        off = max(off, abs(float(quote.percent) / 100 - (move - 1)))
    return off


def _unit(breaks: Iterable[Break], code: str, earlier: date, later: date) -> float:
    """Return the number of old units per new one, if the unit of a currency changed between two dates."""
    factors = (break_.factor for break_ in breaks if break_.currency == code and earlier < break_.date <= later)
    return prod(float(factor or 1) for factor in factors)


def is_correct(history: History, replay: Replay, at: int, quote: Quote) -> bool:
    """Return whether a quote shows the correct rate of today, by its source, with a correct percentage."""
    true = history.true_value(quote.source or SUBJECT, at, quote.code)
    if quote.rate is None or true is None:
        return False
    return abs(float(quote.rate) / true - 1) <= _SAME and deviation(history, replay, quote) <= TWO


@lru_cache(maxsize=2)
def history(name: str) -> History:
    return load(name)


def window(name: str, fault: Fault, witnesses: str, seed: int, number: int, *, trusting: bool = False) -> Outcome:
    """Inject one fault into a history and measure what is shown."""
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
    """Return the currencies of the ticker that represents all."""
    quoted = scene.history.codes(scene.start, scene.start + LONG)
    random = Random(scene.start)
    some = random.sample(sorted(set(quoted) & set(affected)), min(_AFFECTED, len(set(quoted) & set(affected))))
    others = random.sample(quoted, min(_SAMPLE, len(quoted)))
    return tuple(sorted({*some, *others, *scene.history.five} & set(quoted)))


def _do_nothing() -> None:
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
        unrecovered = {FIVE, ALL}
        for offset in range(len(plan.days) + AFTER):
            at, after = start + offset, offset - len(plan.days) + 1
            responses = plan.days[offset] if after <= 0 else plan.kept
            check = self._before_witnesses if after <= 0 else _do_nothing
            self.replay.day(at, responses, more=plan.more and after <= 0, before_witnesses=check)
            shown = self.replay.quotes()
            for name in (FIVE, ALL):
                self._count(name, at, shown[name], fault=after <= 0)
                if after > 0 and name in unrecovered and self._is_recovered(at, shown[name]):
                    self.outcome.counts[name].recovery.append(after)
                    unrecovered.discard(name)
            self._count_unpublished(at, after)
            if not unrecovered and after >= 2:
                break
        for name in unrecovered:
            self.outcome.counts[name].recovery.append(AFTER + 1)
        self.outcome.pending = self._pending()
        return self.outcome

    def _before_witnesses(self) -> None:
        """Count wrong quotes before the witnesses are polled, if the subject has published a wrong rate."""
        known, latest = self.scene.history, self.replay.memory.series(SUBJECT).fixings[-3:]
        published = {fixing.date: fixing.rates for fixing in latest}
        if any(
            rates[code] != true[code]
            for day, rates in published.items()
            if (true := known.documents[known.at(day)])
            for code in set(known.five) & self.plan.affected & rates.keys() & true.keys()
        ):
            quotes = self.replay.quotes()[FIVE]
            off = sum(deviation(known, self.replay, quote) > FIVE_PERCENT for quote in quotes)
            self.outcome.transient += off

    def _count(self, name: str, at: int, quotes: Iterable[Quote], *, fault: bool) -> None:
        counts, known = self.outcome.counts[name], self.scene.history
        for quote in quotes:
            is_quoted = quote.code in known.documents[at]
            counts.fault += fault and is_quoted and quote.code in self.plan.affected
            counts.none += is_quoted and quote.rate is None
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
            for day, entry in sorted(self.replay.memory.quarantine[key].waiting.items())[-3:]
            for reason in entry.reasons
            if quote.code in reason[:3] or known.form.base in reason[:3]
        ]
        day = at - self.scene.start + 1
        text = (
            f"{self.title}: on {known.dates[at]} (day {day} from the fault, {len(self.plan.days)} days of it) "
            f"{quote.code} {quote.rate} of {quote.date}, {quote.percent} % since {quote.previous_date}, true {true}, "
            f"off {100 * off:.1f} %; source {quote.source}, {quote.confidence}; quarantine: {held[-3:] or 'empty'}"
        )
        examples = sorted([*self.outcome.examples, Example(off, text)], key=lambda example: -example.off)
        self.outcome.examples = examples[:_EXAMPLES]

    def _is_recovered(self, at: int, quotes: Sequence[Quote]) -> bool:
        known = self.scene.history
        affected = [quote for quote in quotes if quote.code in known.documents[at] and quote.code in self.plan.affected]
        return bool(quotes) and all(is_correct(known, self.replay, at, quote) for quote in affected)

    def _count_unpublished(self, at: int, after: int) -> None:
        """Count the correct rates of this day that are not published at its end."""
        known, day = self.scene.history, self.scene.history.dates[at]
        for key in self.replay.sources:
            is_faulty = key == SUBJECT or (key == "w1" and "copier" in self.title)
            if is_faulty and self.plan.empty and after <= 0:
                continue
            published = self.replay.memory.series(key).on(day)
            for code, rate in known.truth(key, at).items():
                base = (
                    code == known.form.base and "all" in self.title
                )  # the base of a witness is as wrong as all its rates
                if is_faulty and after <= 0 and (code in self.plan.affected or base):
                    continue
                self.outcome.true[key] += 1
                if published is None or code not in published.rates or published.rates[code] != rate:
                    self.outcome.kept_out[key] += 1
                    if len(self.outcome.missing) < _EXAMPLES:
                        self.outcome.missing.append(f"{self.title}: {key} {day} {code}: {self._why(key, day, code)}")

    def _why(self, key: str, day: date, code: str) -> str:
        entry = self.replay.memory.quarantine[key].waiting.get(day)
        reasons = [reason for reason in entry.reasons if reason.startswith(code)] if entry else []
        return "; ".join(reasons) or "not in quarantine"

    def _pending(self) -> int:
        """Return the number of correct rates of the last day in quarantine."""
        return sum(
            rate == true[code]
            for day, entry in self.replay.memory.quarantine[SUBJECT].waiting.items()
            if (true := self.scene.history.documents[self.scene.history.at(day)])
            for code, rate in entry.fixing.rates.items()
            if code in true
        )


@dataclass
class Whole:
    """Result of a history without a fault. `late`: rates published late, by the number of publications."""

    true: Counter[str] = field(default_factory=Counter)
    kept_out: Counter[str] = field(default_factory=Counter)
    slips_held: int = 0
    slips_published: int = 0
    late: Counter[int] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    """Rates in quarantine at the end, of the five and of all."""
    witness_true: int = 0
    witness_kept_out: int = 0
    two: int = 0
    none: int = 0
    fallback: int = 0
    first: date | None = None
    last: date | None = None
    examples: list[str] = field(default_factory=list)


def whole(name: str, witnesses: str, share: float = 1.0) -> Whole:
    """Replay a history without a fault, or a share of it from the middle."""
    known = history(name)
    slips = set(slipped(known))
    codes = known.codes(0, len(known.dates))
    length = int((len(known.dates) - WARM_UP) * share)
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
    for pair in [pair for pair in held if pair[0] != at]:
        before, code = pair
        published = series.on(known.dates[before])
        if published and code in published.rates:
            result.late[at - before] += 1
            result.examples.append(f"let in after {at - before}: {held.pop(pair)}")
    for key in replay.sources:
        published = replay.memory.series(key).on(known.dates[at])
        for code, rate in known.truth(key, at).items():
            is_unpublished = published is None or published.rates.get(code) != rate
            if key != SUBJECT:
                result.witness_true += 1
                result.witness_kept_out += is_unpublished
            elif (at, code) in slips:
                result.slips_held += is_unpublished
                result.slips_published += not is_unpublished
            else:
                result.true[ALL] += 1
                result.true[FIVE] += code in known.five
                if is_unpublished:
                    result.kept_out[ALL] += 1
                    result.kept_out[FIVE] += code in known.five
                    waiting = replay.memory.quarantine[SUBJECT].waiting.get(known.dates[at])
                    reasons = [reason for reason in waiting.reasons if reason.startswith(code)] if waiting else []
                    held[at, code] = f"{known.dates[at]} {'; '.join(reasons) or code}"


def _count_shown(known: History, replay: Replay, at: int, result: Whole) -> None:
    for quote in replay.quotes()[FIVE]:
        is_quoted = quote.code in known.documents[at]
        result.none += is_quoted and quote.rate is None
        result.fallback += quote.source not in (SUBJECT, None)
        if (off := deviation(known, replay, quote)) > TWO:
            result.two += 1
            result.examples.append(
                f"shown {100 * off:.1f} % off on {known.dates[at]}: {quote.code} {quote.rate} of {quote.date}"
            )


def slipped(known: History) -> Iterable[tuple[int, str]]:
    """Yield rates that were errors: beyond the limit, and reverted with the next other rate."""
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
        for before, error, after in zip(runs, runs[1:], runs[2:], strict=False):
            out, reverted = error[0][1] / before[0][1], after[0][1] / before[0][1]
            if not 1 / 1.15 < out < 1.15 and 0.95 < reverted < 1.05 and len(error) <= 3:
                yield from ((at, code) for at, _ in error)
