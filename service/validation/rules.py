"""Validate what a source has published, rate by rate: what may be shown, and what is quarantined. Pure.

The unit is one rate on one date. A suspicious rate is quarantined; the others of its document are published. A whole
document is quarantined only for a fault of the document: its date, its form, or that most of its rates are suspicious
(scale, inversion, a wrong base).

A rate is judged in this order:

1. By other banks (`cross_check`). A rate that they confirm is published, however far it moved; one that they refute is
   quarantined, however small its move was.
2. By its own history, where no other bank decides: a move beyond the limit, a rate under another currency's name.
3. By later publications, where they are known (a backfill): a move that they keep is true, one that they reverse is an
   error.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from math import exp, log
from statistics import median
from typing import Final, NamedTuple

from service.domain.bounds import rate_errors, structural_errors
from service.domain.breaks import Break, conversion
from service.domain.change import half_up, percent_text
from service.domain.fixing import Fixing, Rate, Series, same_rate
from service.domain.snapshot import Confidence
from service.validation.cross_check import Assessment, CrossCheck, describe, log_value
from service.validation.swap_detection import swapped_currencies

_MAX_RECENT_AGE: Final = timedelta(days=92)
"""Maximum age of the previous rate to which the limit of moves applies; an older one only shows the magnitude."""
_SILENCE: Final = timedelta(days=14)
"""After so much time without a publication a source's own history is no evidence against another bank."""
_SCALE_FACTOR: Final = 5
"""A larger move, up or down, since a rate that is not recent is a fault of scale."""
_YEAR: Final = timedelta(days=366)
_CONFIRMING: Final = 3
"""Later publications that must keep a move to confirm it, where no other bank quotes the currency."""
_CONFIRMING_SCALE: Final = 20
"""Those for a move by a power of ten: the cause may be a redenomination, or a fault of scale."""
_REVERSAL_WINDOW: Final = 15
"""Number of publications within which a false rate is reversed."""
_POWER_OF_TEN_TOLERANCE: Final = 0.15
"""Maximum difference (as a logarithm) of a move to a power of ten to count as one."""
_UNCONFIRMED: Final = "no other bank confirms it"
_MIN_COMMON: Final = 3
"""Minimum number of currencies to estimate a common move."""
_CANDIDATES: Final = 10
"""Number of latest publications among which two are searched for that may be shown."""


class Verdict(StrEnum):
    """How a document is treated."""

    NEW = "new"
    CARRY_OVER = "carry-over"
    REVISION = "revision"
    KNOWN = "known"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A document with its verdict.

    `publish` is what is to be published for its date: its valid rates, and those of an earlier form that it lacks or
    whose new form is quarantined. `held` are its suspicious rates; `reasons` has one per rate, in the order of their
    codes, or those for which the whole document is quarantined.
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
    """What the documents of a source are judged by.

    `last_day` is the last effective date that it can have published by now; `jump` the largest move, as a fraction,
    that needs no confirmation. With `backfill`, the publications after the judged one are known.
    """

    last_day: date
    jump: Fraction = Fraction(15, 100)
    cross_check: CrossCheck | None = None
    rejected: Mapping[date, Collection[Fixing]] = field(default_factory=dict)
    """Rates that an operator has rejected, by effective date."""
    breaks: Sequence[Break] = ()
    backfill: bool = False


def judge_all(fixings: Sequence[Fixing], known: Series, context: ValidationContext, keep: int) -> list[Judgement]:
    """Judge documents in their order, each by what was published before it.

    `known` is the series of the source, of which the `keep` latest dates are used.
    """
    judgements = []
    for index, fixing in enumerate(fixings):
        judgement = judge(fixing, known, context, later=fixings[index + 1 :])
        judgements.append(judgement)
        if judgement.publish:
            known = known.with_fixing(judgement.publish, keep)
    return judgements


def judge(fixing: Fixing, known: Series, context: ValidationContext, later: Sequence[Fixing] = ()) -> Judgement:
    """Judge one document by what is known of its source, and by what the source has published `later`."""
    published = known.on(fixing.date)
    if published and _is_repetition(fixing, published):
        return Judgement(fixing, Verdict.KNOWN)
    errors = document_errors(fixing, context)
    if errors:
        return Judgement(fixing, Verdict.REFUSED, held=fixing, reasons=errors)
    invalid = rate_errors(fixing)
    suspicious = invalid | suspicious_rates(fixing.without(invalid), known, context, later)
    valid_rates = {code: rate for code, rate in fixing.rates.items() if code not in suspicious}
    held = replace(fixing, rates={code: fixing.rates[code] for code in suspicious}) if suspicious else None
    publish = fixing_to_publish(fixing, valid_rates, published)
    if publish is None:
        verdict = Verdict.REFUSED if held else Verdict.KNOWN
    elif published:
        changed = any(publish.rates[code] != rate for code, rate in published.rates.items())
        verdict = Verdict.REVISION if changed else Verdict.NEW
    else:
        before = known.before(fixing.date)
        verdict = Verdict.CARRY_OVER if before and fixing.carries_over(before) else Verdict.NEW
    return Judgement(fixing, verdict, publish, held, tuple(suspicious[code] for code in sorted(suspicious)))


def _is_repetition(fixing: Fixing, published: Fixing) -> bool:
    """Return whether a document has only rates that are published for its date already."""
    return bool(fixing.rates) and fixing.rates.keys() <= published.rates.keys() and fixing.repeats(published)


def fixing_to_publish(fixing: Fixing, valid_rates: Mapping[str, Rate], published: Fixing | None) -> Fixing | None:
    """Return what is to be published for the date; None if that changes nothing.

    A later form of a document adds and changes rates, and removes none: a bank that corrects a date repeats it.
    """
    if not published:
        return replace(fixing, rates=valid_rates) if valid_rates else None
    new = replace(fixing, rates=valid_rates)
    if valid_rates.keys() <= published.rates.keys() and all(new.has_rate_of(published, code) for code in valid_rates):
        return None
    return published.updated_with(new)


def document_errors(fixing: Fixing, context: ValidationContext) -> tuple[str, ...]:
    """Return why a document must not be published at all; empty if its rates can be judged one by one."""
    if not rate_errors(fixing).keys() < fixing.rates.keys():
        return structural_errors(fixing)
    if fixing.date > context.last_day:
        return (f"it is dated {fixing.date}, and the bank publishes up to {context.last_day} by now",)
    return ()


def suspicious_rates(
    new: Fixing, known: Series, context: ValidationContext, later: Sequence[Fixing] = ()
) -> dict[str, str]:
    """Return the rates of a valid document that must not be published, each with the reason.

    If most rates are suspicious, these are all that no other bank confirms.
    """
    document = _Document(new, known, context, later)
    suspicious = dict[str, str]()
    for code in sorted(document.judged):
        reason = document.problem(code)
        if reason:
            suspicious[code] = reason
    count, total = len(suspicious), len(document.new.rates)
    if count > 1 and 2 * count > total:
        for code in sorted(document.judged - suspicious.keys()):
            if not document.is_confirmed(code):
                suspicious[code] = f"{code}: held with its document, {count} of {total} rates of which are suspicious"
    return suspicious


def rejected_codes(fixing: Fixing, rejected: Iterable[Fixing]) -> set[str]:
    """Return the currencies whose rates an operator has rejected or retracted; `rejected` are those of its date.

    Rates that were rejected together count only together: if the bank corrects one of them, the others are validated
    again.
    """
    return {code for part in rejected if part.is_part_of(fixing) for code in part.rates}


class _Document:
    """One document with what it is judged by: the moves of its rates, their common move, and other banks.

    Rates that are published for its date already are part of it: quarantined rates are judged again together with them.
    """

    def __init__(self, document: Fixing, known: Series, context: ValidationContext, later: Sequence[Fixing]) -> None:
        published, new = known.on(document.date), known.completed(document)
        self.new = new
        self.known = known
        self.context = context
        self.judged = {
            code
            for code, rate in document.rates.items()
            if published is None or code not in published.rates or not same_rate(rate, published.rates[code])
        }
        self.previous = _neighbours(new, [fixing for fixing in reversed(known.fixings) if fixing.date < new.date])
        self.following = _neighbours(new, [fixing for fixing in known.fixings if fixing.date > new.date])
        self._later = later
        self.moves = {code: self._move(self.previous[code], new, code) for code in self.previous}
        self.assessments = {code: self._assess(new, code) for code in new.rates}
        moves = [log(move) for code, move in self.moves.items() if move and self._is_recent(code)]
        self.common_move = median(moves) if len(moves) >= _MIN_COMMON else 0.0
        """The median move of the recent rates, as a logarithm."""
        compared = [result for result in self.assessments.values() if result.absolute or result.disagreeing]
        confirmed = [result for result in compared if result.supported and result.absolute]
        self.is_common_move_confirmed = 2 * len(confirmed) > len(compared)
        recent = {code: fixing for code, fixing in self.previous.items() if self._is_recent(code) and self.moves[code]}
        days = min((abs(new.date - fixing.date).days for fixing in recent.values()), default=1)
        self.rejected = rejected_codes(new, context.rejected.get(new.date, ()))
        self.swaps = dict(swapped_currencies(new, {code: fixing.value(code) for code, fixing in recent.items()}, days))

    @cached_property
    def later(self) -> tuple[Fixing, ...]:
        """The next publications that are used. Twice as many dates are read: on weekends and holidays rates repeat."""
        following = (fixing for fixing in self._later if fixing.date > self.new.date)
        read = islice(following, 2 * _CONFIRMING_SCALE)
        completed = [self.known.completed(fixing.without(rate_errors(fixing))) for fixing in read]
        distinct = Series((self.new, *completed)).distinct
        return distinct[1 : 1 + _CONFIRMING_SCALE]  # the first is the document itself

    def is_confirmed(self, code: str) -> bool:
        """Return whether another bank that quotes the base too has the rate at this level."""
        assessment = self.assessments[code]
        return assessment.supported and assessment.absolute and self._rules_out_swap(code)

    def problem(self, code: str) -> str | None:
        """Return why a rate must not be published; None where it may be."""
        if code in self.rejected:
            return f"{code}: an operator has rejected it"
        assessment, previous = self.assessments[code], self.previous.get(code)
        if self.is_confirmed(code) or (previous and self._is_unchanged(code)):
            return None
        if assessment.supported and self._is_common_move_plausible() and self._rules_out_swap(code):
            return None
        if assessment.refuted:
            return self._judge_refuted(code, assessment, previous)
        differing = [awaited for awaited in assessment.awaited if abs(awaited.deviation) > _limit(self.context)]
        if not self._is_silent(previous):
            differing = [awaited for awaited in differing if not awaited.mover_unknown]
        if differing and not assessment.agreeing and not self._diverged_before(code, assessment, previous):
            levels = describe(differing)
            return f"{code} {self._move_text(code)}; other banks have not published for that day yet ({levels})"
        return self._judge_by_history(code)

    def _rules_out_swap(self, code: str) -> bool:
        """Return whether an agreeing bank is nearer to this rate than to the one before, if rates may be swapped."""
        if code not in self.swaps:
            return True
        half_move = abs(log(self.moves[code] or 1)) / 2
        return any(abs(agreeing.deviation) <= half_move for agreeing in self.assessments[code].agreeing)

    def _assess(self, fixing: Fixing, code: str) -> Assessment:
        check = self.context.cross_check
        return check.assess(fixing.source, fixing, code) if check else Assessment()

    def _is_common_move_plausible(self) -> bool:
        return self.is_common_move_confirmed or not self._exceeds_limit(exp(self.common_move))

    def _is_unchanged(self, code: str) -> bool:
        """Return whether a rate repeats the one before it, so that it publishes nothing that could be false."""
        if self.moves[code] != 1 or self.known.on(self.new.date) is not None:
            return False
        following = self.following.get(code)
        return following is None or not self._exceeds_limit(self._move(self.new, following, code) or 1)

    def _judge_refuted(self, code: str, assessment: Assessment, previous: Fixing | None) -> str | None:
        has_others = assessment.agreeing or assessment.contradicting
        is_one_against_one = len(assessment.disputing) == 1 and not has_others
        is_undecided = is_one_against_one and not self._is_silent(previous)
        if is_undecided or self._diverged_before(code, assessment, previous):
            return self._judge_by_history(code)  # it is unknown which bank is right: both are published, and not shown
        if assessment.discredited:
            return f"{code} {self._move_text(code)}; other banks refute the rate before it, or most of its document"
        return f"{code} {self._move_text(code)}; other banks have it elsewhere ({describe(assessment.disagreeing)})"

    def _is_silent(self, previous: Fixing | None) -> bool:
        """Return whether the source had not published for some time before this document."""
        return previous is not None and self.new.date - previous.date > _SILENCE

    def _diverged_before(self, code: str, assessment: Assessment, previous: Fixing | None) -> bool:
        """Return whether the rate before it differed as much from the other banks already."""
        if previous is None or self._exceeds_limit(self.moves[code] or 1):
            return False
        previous_assessment = self._assess(previous, code)
        if previous_assessment.confidence is not Confidence.DIVERGING:
            return False
        slack = _limit(self.context) / 20
        return assessment.distance <= previous_assessment.distance + slack

    def _judge_by_history(self, code: str) -> str | None:
        """Judge by the source alone: the first of the `RULES` that is violated returns the reason."""
        previous = self.previous.get(code)
        if previous is None or self.moves[code] is None:
            return self._judge_first_rate(code)
        if not self._is_recent(code):
            return self._judge_after_gap(code, previous) or self._judge_first_rate(code)
        for rule in RULES:
            reason = rule(self, code)
            if reason:
                return reason
        return None

    def violates_jump(self, code: str) -> str | None:
        """Return a reason if the rate moved beyond the limit, and the next publications do not keep the move."""
        if self._exceeds_limit(self._own_move(code)) and not self._persists(code):
            return f"{code} {self._move_text(code)}; {_UNCONFIRMED}"
        return None

    def violates_swap(self, code: str) -> str | None:
        """Return a reason if the rate is another currency's, and the next publications do not keep it."""
        if code in self.swaps and not self._persists(code):
            similarity = f"and has what is, or was, the rate of {self.swaps[code]}"
            return f"{code} {self._move_text(code)} {similarity}; {_UNCONFIRMED}"
        return None

    def violates_neighbours(self, code: str) -> str | None:
        """Return a reason if a revised or inserted date does not fit between neighbours that fit each other."""
        previous, following = self.previous[code], self.following.get(code)
        if following is None:
            return None
        move_to_following = self._move(self.new, following, code)
        move_between_neighbours = self._move(previous, following, code)
        if not move_to_following or not move_between_neighbours:
            return None
        if self._exceeds_limit(move_to_following) and not self._exceeds_limit(move_between_neighbours):
            return f"{code} is {self._comparison_text(code, following)}; {_UNCONFIRMED}"
        return None

    def _judge_first_rate(self, code: str) -> str | None:
        """Judge a rate without one before it by the next known one, or by the next two of the same response."""
        if code in self.following:
            following, required = [self.following[code]], 1
        else:
            following, required = [fixing for fixing in self.later if code in fixing.rates][:2], 2
        distant = [fixing for fixing in following if self._exceeds_limit(self._move(self.new, fixing, code) or 1)]
        if len(distant) < required:
            return None
        return f"{code} is {self._comparison_text(code, distant[0])}; {_UNCONFIRMED}"

    def _judge_after_gap(self, code: str, previous: Fixing) -> str | None:
        """Judge a rate without a recent one before it: only a fault of scale is suspicious.

        After more than a year a single currency may have moved that far; most of them together may not.
        """
        scaled = set[str]()
        for other, move in self.moves.items():
            if move and not self._is_recent(other) and (move > _SCALE_FACTOR or move * _SCALE_FACTOR < 1):
                scaled.add(other)
        most_are_scaled = 2 * len(scaled) > len(self.moves) and not self.is_common_move_confirmed
        is_within_a_year = self.new.date - previous.date <= _YEAR
        if code in scaled and (most_are_scaled or is_within_a_year) and not self._persists(code):
            return f"{code} {self._move_text(code)}; {_UNCONFIRMED}"
        return None

    def _own_move(self, code: str) -> Fraction | float:
        """Return the move without a confirmed move of the base."""
        move = self.moves[code] or Fraction(1)
        return exp(log(move) - self.common_move) if self.is_common_move_confirmed else move

    def _persists(self, code: str) -> bool:
        """Return whether the next publications keep a move, and none of them reverses it.

        Only a step beyond the limit reverses it. `_is_reversed` takes smaller steps too, by which seven more rates of
        the NBU's twelve years would be quarantined, and wait for an operator.
        """
        move = log(self.moves[code] or 1)
        is_scale = _is_scale(move)
        if not self.context.backfill:
            is_estimate_possible = len(self.moves) >= _MIN_COMMON
            if is_scale or not is_estimate_possible or not self._is_common_move_plausible():
                return False
        level_after, kept_count = log_value(self.new, code), 0
        level_before = level_after - move
        last_level = level_after
        quoting = (fixing for fixing in self.later if code in fixing.rates)
        for index, fixing in enumerate(quoting):
            level = log_value(fixing, code)
            is_reversed = abs(level - level_before) < abs(level - level_after)
            if index < _REVERSAL_WINDOW and is_reversed and self._exceeds_limit(exp(level - last_level)):
                return False
            kept_count += not is_reversed
            last_level = level
        return kept_count >= (_CONFIRMING_SCALE if is_scale else _CONFIRMING)

    def _is_recent(self, code: str) -> bool:
        return self.new.date - self.previous[code].date <= _MAX_RECENT_AGE

    def _move(self, earlier: Fixing, later: Fixing, code: str) -> Fraction | None:
        """Return by what factor a rate moved, in the later date's unit; None across a break of unknown size."""
        factor = conversion(self.context.breaks, code, self.new.base, earlier, later)
        return later.value(code) / (earlier.value(code) * factor) if factor else None

    def _exceeds_limit(self, move: Fraction | float) -> bool:
        return is_beyond(Fraction(move), self.context.jump)

    def _move_text(self, code: str) -> str:
        previous, move = self.previous.get(code), self.moves.get(code)
        if previous is None or move is None:
            return f"is {rate_text(self.new, code)}"
        before, now = rate_text(previous, code), rate_text(self.new, code)
        return f"moved by {percent(move)}, from {before} on {previous.date} to {now}"

    def _comparison_text(self, code: str, other: Fixing) -> str:
        return f"{rate_text(self.new, code)}, and {rate_text(other, code)} on {other.date}"


RULES: Final = (_Document.violates_jump, _Document.violates_swap, _Document.violates_neighbours)
"""Rules that compare a rate with its source's own recent history, where no other source decides.

Each takes a document and a currency, and returns why the rate is suspicious, or None.
"""


def _is_scale(move: float) -> bool:
    """Return whether a move (as a logarithm) is near a power of ten: a fault of scale, or a redenomination."""
    tens = abs(move) / log(10)
    return tens > 0.5 and abs(tens - round(tens)) * log(10) <= _POWER_OF_TEN_TOLERANCE


def _neighbours(new: Fixing, fixings: Sequence[Fixing]) -> dict[str, Fixing]:
    """Return for each currency of `new` the first of the fixings that quotes it."""
    neighbours = dict[str, Fixing]()
    for fixing in fixings:
        for code in fixing.rates:
            if code in new.rates:
                neighbours.setdefault(code, fixing)
        if len(neighbours) == len(new.rates):
            break
    return neighbours


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
    """The rates of one currency of one source that may be shown.

    `new` is its latest rate that no other bank refutes, `old` the one to compare it with: None without one, or if the
    change is beyond the limit and nothing confirms it. `latest` is the date of its last publication.
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
    """Return which two publications of a currency may be shown together; None if none may be shown.

    This is the last check before anything is shown, however a rate was stored: a percentage beyond the limit is only
    shown if another bank confirms both rates, an operator has accepted the new one, or the factor of a break explains
    it.
    """

    def may_be_shown(new: Fixing, old: Fixing) -> bool:
        return _may_be_shown(code, base, new, old, check, breaks, jump)

    candidates: Iterator[Fixing] = (
        fixing
        for fixing in reversed(publications[-_CANDIDATES:])
        if _confidence(code, base, fixing, check) is not Confidence.DIVERGING
    )
    new, latest = next(candidates, None), publications[-1].date if publications else date.min
    while new is not None:
        old, confidence = next(candidates, None), _confidence(code, base, new, check)
        if old is None or may_be_shown(new, old):
            return TrustedRates(new, old, confidence, latest)
        if conversion(breaks, code, base, old, new) is None:
            return TrustedRates(new, None, confidence, latest)
        older = next(candidates, None)
        if older and may_be_shown(new, older) and not _is_confirmed(code, base, old, check):
            return TrustedRates(new, older, confidence, latest)
        if confidence is Confidence.CONFIRMED:
            return TrustedRates(new, None, confidence, latest)
        candidates, new = chain([older] if older else [], candidates), old
    return None


class Untrusted(NamedTuple):
    """The publications of a rate that a history leaves out (`hidden`), and those that it shows `without_change`."""

    hidden: frozenset[date]
    without_change: frozenset[date]


def untrusted_rates(
    code: str,
    base: str,
    publications: Sequence[Fixing],
    check: CrossCheck | None,
    breaks: Sequence[Break],
    jump: Fraction,
    *,
    is_continued: bool = False,
) -> Untrusted:
    """Return which of the consecutive publications of a rate may not be shown as they are, in a history or on a date.

    As in a ticker, a change beyond the limit is only shown if another bank, an operator or a break justifies it; of
    earlier publications, also if enough publications before and after keep to it. The rate is left out if a later one
    reverses the change, or if it is the latest and no other bank confirms it. `is_continued`: there are enough
    publications before these, which are not given.
    """
    hidden, without_change = set[date](), set[date]()
    shown, values = list[Fixing](), [fixing.cross(code, base) for fixing in publications]
    last_value = values[0] if values else Fraction(1)
    for index, (new, value) in enumerate(zip(publications, values, strict=True)):
        old, last_value = last_value, value
        if not shown or abs(value - old) <= jump * old:
            shown.append(new)
            continue
        factor = conversion(breaks, code, base, shown[-1], new)
        if factor is None or _may_be_shown(code, base, new, shown[-1], check, breaks, jump):
            shown.append(new)
            continue
        later, old_in_unit = values[index + 1 :][:_REVERSAL_WINDOW], old * factor
        if _is_reversed(old_in_unit, value, later, jump) or not (later or _is_confirmed(code, base, new, check)):
            hidden.add(new.date)
            last_value = old
            continue
        before_count = _CONFIRMING if is_continued else len(shown)
        if _is_scale(log(value / old_in_unit)) or min(len(later), before_count) < _CONFIRMING:
            without_change.add(new.date)
        shown.append(new)
    return Untrusted(frozenset(hidden), frozenset(without_change))


def slips(values: Sequence[Fraction], jump: Fraction) -> set[int]:
    """Return the indices of consecutive values of a rate that moved beyond the limit, and that a later one reverses.

    It needs no other bank: it is for stored rates that are older than those in memory.
    """
    found, last = set[int](), values[0] if values else Fraction(1)
    for index, value in enumerate(values):
        later = values[index + 1 :][:_REVERSAL_WINDOW]
        if is_beyond(value / last, jump) and _is_reversed(last, value, later, jump):
            found.add(index)
        else:
            last = value
    return found


def _is_reversed(old: Fraction, new: Fraction, later: Sequence[Fraction], jump: Fraction) -> bool:
    """Return whether a later value reverses a move from `old` to `new`, within the limit of `old` and nearer to it.

    It does so in one step of at least half the move. A true rate drifts back in many, like the Swiss franc in 2015.
    """
    move = level = log(new / old)
    for value in later:
        last_level, level = level, log(value / old)
        is_nearer = abs(level) < abs(level - move) and not is_beyond(value / old, jump)
        if is_nearer and 2 * abs(level - last_level) >= abs(move):
            return True
    return False


def _confidence(code: str, base: str, fixing: Fixing, check: CrossCheck | None) -> Confidence:
    return check.assess(fixing.source, fixing, code, base).confidence if check else Confidence.UNCONFIRMED


def _is_confirmed(code: str, base: str, fixing: Fixing, check: CrossCheck | None) -> bool:
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
    if check and any(check.is_accepted(new.source, new, currency, old.date) for currency in (code, base)):
        return True
    return not _is_scale(log(move)) and _is_confirmed(code, base, new, check) and _is_confirmed(code, base, old, check)
