"""Validate what a source has published, rate by rate: what may be shown, and what is quarantined. Pure.

The unit is one rate on one date. A suspicious rate is held; the others of its document are published. A document is
held whole only for a fault of the document: its date, its form, or that most of its rates are suspicious (scale,
inversion, a wrong base).

What decides about a rate, in this order:

1. Other banks (`cross_check`). A rate that they confirm is published, however far it moved; one that they refute is
   held, however small its step was.
2. Its own past, where no other bank decides: a move beyond the limit, a rate under another currency's name.
3. Its own future, where that is known (a backfill): a move that the next publications keep is true, one that goes back
   is a slip.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from math import exp, log
from statistics import median
from typing import Final

from service.domain.bounds import rate_errors, structural_errors
from service.domain.breaks import Break, conversion
from service.domain.change import half_up, percent_text
from service.domain.fixing import Fixing, Rate, Series
from service.domain.snapshot import Confidence
from service.validation.cross_check import Assessment, CrossCheck, describe, log_value
from service.validation.swap_detection import swapped_currencies

_LONG: Final = timedelta(days=92)
"""After so much time a rate measures no day's move any more, only the order of magnitude."""
_SILENT: Final = timedelta(days=14)
"""After so much time without a publication a source's own past is no evidence against another bank."""
_FAR: Final = 5
"""So many times more or less is a fault of scale after so much time."""
_YEAR: Final = timedelta(days=366)
_KEPT: Final = 3
"""So many further publications that keep a move make it true, where no other bank quotes the currency."""
_KEPT_SCALE: Final = 20
"""So many for a move by a power of ten, which a redenomination makes, and a fault of scale too."""
_SLIP: Final = 15
"""Publications within which a rate that slipped goes back."""
_POWER_OF_TEN: Final = 0.15
"""How near (as a logarithm) to a power of ten a move is taken for one."""
_NOBODY: Final = "no other bank confirms it"
_COMMON: Final = 3
"""Currencies needed to estimate a common move."""


class Verdict(StrEnum):
    """What becomes of a document."""

    NEW = "new"
    CARRY_OVER = "carry-over"
    REVISION = "revision"
    KNOWN = "known"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A document with its verdict.

    `publish` is what is to be published for its date: its good rates, and those of an earlier form that it has not or
    whose new form is held. `held` are its suspicious rates, `reasons` say why, one a rate.
    """

    fixing: Fixing
    verdict: Verdict
    publish: Fixing | None = None
    held: Fixing | None = None
    reasons: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.publish is not None


@dataclass(frozen=True, slots=True)
class ValidationContext:
    """What a source's documents are judged by.

    `last_day` is the last effective date that it can have published by now; `jump` the largest move, as a fraction,
    that needs no confirmation. With `backfill`, the publications after the judged one are known.
    """

    last_day: date
    jump: Fraction = Fraction(15, 100)
    cross_check: CrossCheck | None = None
    rejected: Mapping[date, Collection[Fixing]] = field(default_factory=dict)
    """What an operator does not want published, by effective date."""
    breaks: Sequence[Break] = ()
    backfill: bool = False


def judge_all(fixings: Sequence[Fixing], known: Series, context: ValidationContext, keep: int) -> list[Judgement]:
    """Judge documents in their order, each by what was published before it.

    `known` is the series of the source, of which the `keep` latest dates are looked at.
    """
    judgements = []
    for at, fixing in enumerate(fixings):
        judgements.append(judge(fixing, known, context, fixings[at + 1 :]))
        if published := judgements[-1].publish:
            known = known.with_fixing(published, keep)
    return judgements


def judge(fixing: Fixing, known: Series, context: ValidationContext, later: Sequence[Fixing] = ()) -> Judgement:
    """Judge one document by what is known of its source, and by what the source has published `later`."""
    published = known.on(fixing.date)
    if published and _says_nothing_new(fixing, published):
        return Judgement(fixing, Verdict.KNOWN)
    problems = document_errors(fixing, context)
    if problems:
        return Judgement(fixing, Verdict.REFUSED, held=fixing, reasons=problems)
    broken = rate_errors(fixing)
    suspicious = broken | suspicious_rates(fixing.without(broken), known, context, later)
    good = {code: rate for code, rate in fixing.rates.items() if code not in suspicious}
    held = replace(fixing, rates={code: fixing.rates[code] for code in suspicious}) if suspicious else None
    publish = _published(fixing, good, published)
    if publish is None:
        verdict = Verdict.REFUSED if held else Verdict.KNOWN
    elif published:
        changed = any(publish.rates[code] != rate for code, rate in published.rates.items())
        verdict = Verdict.REVISION if changed else Verdict.NEW
    else:
        before = known.before(fixing.date)
        verdict = Verdict.CARRY_OVER if before and fixing.carries_over(before) else Verdict.NEW
    return Judgement(fixing, verdict, publish, held, tuple(suspicious[code] for code in sorted(suspicious)))


def _says_nothing_new(fixing: Fixing, published: Fixing) -> bool:
    return bool(fixing.rates) and fixing.rates.keys() <= published.rates.keys() and fixing.repeats(published)


def _published(fixing: Fixing, good: Mapping[str, Rate], published: Fixing | None) -> Fixing | None:
    """Return what is to be published for the date; None where that changes nothing.

    A later form of a document adds and changes rates, and takes none away: a bank that corrects a date repeats it.
    """
    if not published:
        return replace(fixing, rates=good) if good else None
    rates = {**published.rates, **good}
    if all(code in published.rates and _same(rate, published.rates[code]) for code, rate in rates.items()):
        return None
    if all(_same(rates[code], rate) for code, rate in published.rates.items()):  # held rates that are let in
        latest = max(fixing, published, key=lambda one: one.fetched_at)
        return replace(latest, rates=rates, revisions=published.revisions)
    return replace(fixing, rates=rates).with_revision_of(published)


def _same(one: Rate, other: Rate) -> bool:
    return one.value * other.nominal == other.value * one.nominal


def document_errors(fixing: Fixing, context: ValidationContext) -> tuple[str, ...]:
    """Return why a document must not be published at all; nothing where its rates can be judged one by one."""
    if not rate_errors(fixing).keys() < fixing.rates.keys():
        return structural_errors(fixing)
    if fixing.date > context.last_day:
        return (f"it is dated {fixing.date}, and the bank publishes up to {context.last_day} by now",)
    return ()


def suspicious_rates(
    new: Fixing, known: Series, context: ValidationContext, later: Sequence[Fixing] = ()
) -> dict[str, str]:
    """Return the rates of a sound document that must not be published, each with the reason.

    For a fault of the document these are all that no other bank confirms.
    """
    document = _Document(new, known, context, later)
    suspicious = {code: reason for code in sorted(document.judged) if (reason := document.problem(code))}
    every = len(document.new.rates)
    if len(suspicious) > 1 and 2 * len(suspicious) > every:
        fault = f"held with its document, {len(suspicious)} of {every} rates of which are suspicious"
        doubtful = (code for code in document.judged if code not in suspicious and not document.is_confirmed(code))
        suspicious |= {code: f"{code}: {fault}" for code in doubtful}
    return suspicious


class _Document:
    """One document beside what is known of its source: its moves, what they have in common, and what others say.

    What is published of its date already belongs to it: rates in quarantine are judged again beside those.
    """

    def __init__(self, document: Fixing, known: Series, context: ValidationContext, later: Sequence[Fixing]) -> None:
        published, new = known.on(document.date), known.completed(document)
        self.new = new
        self.known = known
        self.context = context
        self.judged = {
            code
            for code, rate in document.rates.items()
            if published is None or code not in published.rates or not _same(rate, published.rates[code])
        }
        self.previous = _neighbours(new, [one for one in reversed(known.fixings) if one.date < new.date])
        self.following = _neighbours(new, [one for one in known.fixings if one.date > new.date])
        self._later = later
        self.moves = {code: self._move(self.previous[code], new, code) for code in self.previous}
        self.assessments = {code: self._assess(new, code) for code in new.rates}
        moves = [log(move) for code, move in self.moves.items() if move and self._is_recent(code)]
        self.common = median(moves) if len(moves) >= _COMMON else 0.0
        compared = [one for one in self.assessments.values() if one.absolute or one.against]
        self.common_confirmed = 2 * sum(one.supported and one.absolute for one in compared) > len(compared) > 0
        recent = {code: one for code, one in self.previous.items() if self._is_recent(code) and self.moves[code]}
        days = min((abs(new.date - one.date).days for one in recent.values()), default=1)
        forms = context.rejected.get(new.date, ())
        self.rejected = {code for form in forms if form.is_part_of(new) for code in form.rates}
        self.swaps = dict(swapped_currencies(new, {code: one.value(code) for code, one in recent.items()}, days))

    @cached_property
    def later(self) -> tuple[Fixing, ...]:
        """The next publications, as far as they are looked at: weekends and holidays make them half as many."""
        following = islice((one for one in self._later if one.date > self.new.date), 2 * _KEPT_SCALE)
        sound = (self.known.completed(one.without(rate_errors(one))) for one in following)
        return Series((self.new, *sound)).distinct[1 : _KEPT_SCALE + 1]

    def is_confirmed(self, code: str) -> bool:
        """Return whether another bank that quotes the base too has the rate at this level."""
        assessment = self.assessments[code]
        return assessment.supported and assessment.absolute and self._tells(code)

    def problem(self, code: str) -> str | None:
        """Return why a rate must not be published; None where it may be."""
        if code in self.rejected:
            return f"{code}: an operator has rejected it"
        assessment, previous = self.assessments[code], self.previous.get(code)
        if self.is_confirmed(code) or (assessment.supported and self._common_is_plausible() and self._tells(code)):
            return None
        if previous and self._stands_still(code):
            return None
        if assessment.refuted:
            return self._refuted(code, assessment, previous)
        far = (one for one in assessment.awaited if abs(one.deviation) > _limit(self.context))
        awaited = [one for one in far if not one.apart or self._is_silent(previous)]
        if awaited and not assessment.agreeing and not self._always_diverged(code, assessment, previous):
            where = describe(awaited)
            return f"{code} {self._step(code)}; other banks have not published for that day yet ({where})"
        return self._own_past(code)

    def _tells(self, code: str) -> bool:
        """Whether a bank that agrees is nearer to this rate than to the one before, where rates may be swapped."""
        if code not in self.swaps:
            return True
        half = abs(log(self.moves[code] or 1)) / 2
        return any(abs(one.deviation) <= half for one in self.assessments[code].agreeing)

    def _assess(self, fixing: Fixing, code: str) -> Assessment:
        check = self.context.cross_check
        return check.assess(fixing.source, fixing, code) if check else Assessment()

    def _common_is_plausible(self) -> bool:
        return self.common_confirmed or not self._beyond(exp(self.common))

    def _stands_still(self, code: str) -> bool:
        """Whether a rate repeats the one before it: nothing that could be false is published by it."""
        repeats = self.moves[code] == 1 and self.known.on(self.new.date) is None
        following = self.following.get(code)
        return repeats and (following is None or not self._beyond(self._move(self.new, following, code) or 1))

    def _refuted(self, code: str, assessment: Assessment, previous: Fixing | None) -> str | None:
        one_against_one = len(assessment.against) == 1 and assessment.disputing and not assessment.agreeing
        if (one_against_one and not self._is_silent(previous)) or self._always_diverged(code, assessment, previous):
            return self._own_past(code)  # nobody knows which of them is right: both are published, and not shown
        if assessment.discredited:
            return f"{code} {self._step(code)}; other banks refute the rate before it, or most of its document"
        return f"{code} {self._step(code)}; other banks have it elsewhere ({describe(assessment.against)})"

    def _is_silent(self, previous: Fixing | None) -> bool:
        return previous is not None and self.new.date - previous.date > _SILENT

    def _always_diverged(self, code: str, assessment: Assessment, previous: Fixing | None) -> bool:
        """Whether the rate before it was as far from the other banks already: this one makes it no worse."""
        if previous is None or self._beyond(self.moves[code] or 1):
            return False
        before = self._assess(previous, code)
        slack = _limit(self.context) / 20
        return before.confidence is Confidence.DIVERGING and assessment.distance <= before.distance + slack

    def _own_past(self, code: str) -> str | None:
        """Judge by the source alone: the first of the `RULES` that is violated gives the reason."""
        previous = self.previous.get(code)
        if previous is None or self.moves[code] is None:
            return self._first(code)
        if not self._is_recent(code):
            return self._after_years(code, previous) or self._first(code)
        return next((reason for rule in RULES if (reason := rule(self, code))), None)

    def violates_jump(self, code: str) -> str | None:
        """Return a reason if the rate moved beyond the limit, and the next publications do not keep the move."""
        if self._beyond(self._own_move(code)) and not self._persists(code):
            return f"{code} {self._step(code)}; {_NOBODY}"
        return None

    def violates_swap(self, code: str) -> str | None:
        """Return a reason if the rate is another currency's, and the next publications do not keep it."""
        if code in self.swaps and not self._persists(code):
            return f"{code} {self._step(code)} and has what is, or was, the rate of {self.swaps[code]}; {_NOBODY}"
        return None

    def violates_neighbours(self, code: str) -> str | None:
        """Return a reason if a revised or inserted date does not fit between neighbours that fit each other."""
        previous, following = self.previous[code], self.following.get(code)
        if following is None:
            return None
        onward, across = self._move(self.new, following, code), self._move(previous, following, code)
        if onward and across and self._beyond(onward) and not self._beyond(across):
            return f"{code} is {self._beside(code, following)}; {_NOBODY}"
        return None

    def _first(self, code: str) -> str | None:
        """Judge a rate that has none before it by the next known one, or by two more of the same answer."""
        needed, following = 2, [one for one in self.later if code in one.rates][:2]
        if code in self.following:
            needed, following = 1, [self.following[code]]
        odd = [one for one in following if self._beyond(self._move(self.new, one, code) or 1)]
        return f"{code} is {self._beside(code, odd[0])}; {_NOBODY}" if len(odd) == needed else None

    def _after_years(self, code: str, previous: Fixing) -> str | None:
        """Judge a rate that nothing recent measures: within a year only a fault of scale is beyond belief.

        In many years one currency may move so far. What most of them share is a fault of scale.
        """
        moves = {one: move for one, move in self.moves.items() if move and not self._is_recent(one)}
        far = {one for one, move in moves.items() if move > _FAR or move * _FAR < 1}
        most = 2 * len(far) > len(self.moves) and not self.common_confirmed
        if code in far and (most or self.new.date - previous.date <= _YEAR) and not self._persists(code):
            return f"{code} {self._step(code)}; {_NOBODY}"
        return None

    def _own_move(self, code: str) -> Fraction | float:
        """Return the move without what is known to be the base's."""
        move = self.moves[code] or Fraction(1)
        return exp(log(move) - self.common) if self.common_confirmed else move

    def _persists(self, code: str) -> bool:
        """Whether the next publications keep a move, and none of them takes it back."""
        move = abs(log(self.moves[code] or 1))
        scale = _is_scale(move)
        if not self.context.backfill and (scale or len(self.moves) < _COMMON or not self._common_is_plausible()):
            return False
        reached, kept = log_value(self.new, code), 0
        start = reached - log(self.moves[code] or 1)
        last = reached
        for number, fixing in enumerate(one for one in self.later if code in one.rates):
            value = log_value(fixing, code)
            returned = abs(value - start) < abs(value - reached)
            if number < _SLIP and returned and self._beyond(exp(value - last)):
                return False
            kept += not returned
            last = value
        return kept >= (_KEPT_SCALE if scale else _KEPT)

    def _is_recent(self, code: str) -> bool:
        return self.new.date - self.previous[code].date <= _LONG

    def _move(self, earlier: Fixing, later: Fixing, code: str) -> Fraction | None:
        """Return by what factor a rate moved, in the later date's unit; None across a break of unknown size."""
        factor = conversion(self.context.breaks, code, self.new.base, earlier, later)
        return later.value(code) / (earlier.value(code) * factor) if factor else None

    def _beyond(self, move: Fraction | float) -> bool:
        return is_beyond(Fraction(move), self.context.jump)

    def _step(self, code: str) -> str:
        previous, move = self.previous.get(code), self.moves.get(code)
        if previous is None or move is None:
            return f"is {rate_text(self.new, code)}"
        before, now = rate_text(previous, code), rate_text(self.new, code)
        return f"moved by {percent(move)}, from {before} on {previous.date} to {now}"

    def _beside(self, code: str, other: Fixing) -> str:
        return f"{rate_text(self.new, code)}, and {rate_text(other, code)} on {other.date}"


RULES: Final = (_Document.violates_jump, _Document.violates_swap, _Document.violates_neighbours)
"""What a rate of a source must hold against its own recent past, where no other source decides.

Each takes a document and a currency, and returns why the rate is suspicious, or None.
"""


def _is_scale(move: float) -> bool:
    """Return whether a move (as a logarithm) is near a power of ten: a fault of scale, or a redenomination."""
    tens = abs(move) / log(10)
    return tens > 0.5 and abs(tens - round(tens)) * log(10) <= _POWER_OF_TEN


def _neighbours(new: Fixing, fixings: Sequence[Fixing]) -> dict[str, Fixing]:
    """Return for each currency of `new` the first of these that quotes it."""
    found: dict[str, Fixing] = {}
    for fixing in fixings:
        for code in fixing.rates:
            if code in new.rates:
                found.setdefault(code, fixing)
        if len(found) == len(new.rates):
            break
    return found


def _limit(context: ValidationContext) -> float:
    return context.cross_check.tolerance.limit if context.cross_check else 0.0


def is_beyond(move: Fraction, jump: Fraction) -> bool:
    """Return whether a move, as a factor, is larger than may be shown without confirmation."""
    return abs(move - 1) > jump


def percent(move: Fraction) -> str:
    return percent_text(half_up(100 * (move - 1), 2))


def rate_text(fixing: Fixing, code: str) -> str:
    """Return a rate as it was published, in words."""
    rate = fixing.rates[code]
    return f"{rate.value}" if rate.nominal == 1 else f"{rate.value} for {rate.nominal}"


@dataclass(frozen=True, slots=True)
class TrustedRates:
    """What may be shown of one currency of one source.

    `new` is its latest rate that no other bank refutes, `old` the one to compare it with: None where there is none, or
    where the change is beyond the limit and nothing confirms it. `latest` is the date of its last publication.
    """

    new: Fixing
    old: Fixing | None
    confidence: Confidence
    latest: date


def trusted_rates(
    code: str,
    base: str,
    publications: Sequence[Fixing],
    check: CrossCheck | None,
    breaks: Sequence[Break],
    jump: Fraction,
) -> TrustedRates | None:
    """Return which two publications of a currency may be shown together; None where none may be.

    This is the last check before anything is shown, whatever way a rate came: a percentage beyond the limit is only
    shown where another bank confirms both rates, an operator has accepted the new one, or the factor of a break
    explains it.
    """

    def shown(new: Fixing, old: Fixing) -> bool:
        return _may_be_shown(code, base, new, old, check, breaks, jump)

    candidates: Iterator[Fixing] = (
        one
        for one in reversed(publications[-_LOOKED_AT:])
        if _confidence(code, base, one, check) is not Confidence.DIVERGING
    )
    new, latest = next(candidates, None), publications[-1].date if publications else date.min
    while new is not None:
        old, confidence = next(candidates, None), _confidence(code, base, new, check)
        if old is None or shown(new, old):
            return TrustedRates(new, old, confidence, latest)
        if conversion(breaks, code, base, old, new) is None:
            return TrustedRates(new, None, confidence, latest)
        older = next(candidates, None)
        if older and shown(new, older) and not _settled(code, base, old, check):
            return TrustedRates(new, older, confidence, latest)
        if confidence is Confidence.CONFIRMED:
            return TrustedRates(new, None, confidence, latest)
        candidates, new = chain([older] if older else [], candidates), old
    return None


_LOOKED_AT: Final = 10
"""Publications among which two are looked for that may be shown."""


def _confidence(code: str, base: str, fixing: Fixing, check: CrossCheck | None) -> Confidence:
    return check.assess(fixing.source, fixing, code, base).confidence if check else Confidence.UNCONFIRMED


def _settled(code: str, base: str, fixing: Fixing, check: CrossCheck | None) -> bool:
    return _confidence(code, base, fixing, check) is Confidence.CONFIRMED


def _may_be_shown(
    code: str,
    base: str,
    new: Fixing,
    old: Fixing,
    check: CrossCheck | None,
    breaks: Sequence[Break],
    jump: Fraction,
) -> bool:
    factor = conversion(breaks, code, base, old, new)
    if factor is None:
        return False
    move = new.cross(code, base) / (old.cross(code, base) * factor)
    if not is_beyond(move, jump):
        return True
    if check and any(check.vouched(new.source, new, one, old.date) for one in (code, base)):
        return True
    return not _is_scale(log(move)) and _settled(code, base, new, check) and _settled(code, base, old, check)
