"""Quarantine: rates that were not published and are not lost, and what became of them. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum

from service.domain.breaks import Break
from service.domain.fixing import Fixing, Rate
from service.validation.rules import Judgement

KEEP = 400
"""Dates of a source that are kept in quarantine at most; the oldest give way."""


@dataclass(frozen=True, slots=True)
class QuarantinedFixing:
    """The rates of one date that are in quarantine; `reasons` has one a rate. `since` is when they came (UTC)."""

    fixing: Fixing
    reasons: tuple[str, ...]
    since: datetime


class Outcome(StrEnum):
    """How a quarantine ended: by an operator; by another bank or the calendar; by the bank's correction.

    `retracted`: an operator took a published rate back.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETRACTED = "retracted"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class QuarantineDecision:
    """The end of a quarantine, and when it came (UTC); `breaks` are those that an operator declared with it."""

    waiting: QuarantinedFixing
    outcome: Outcome
    at: datetime
    breaks: tuple[Break, ...] = ()


@dataclass
class Quarantine:
    """Of one source: what is in quarantine, and what an operator has decided, by effective date."""

    waiting: dict[date, QuarantinedFixing] = field(default_factory=dict)
    rejected: dict[date, tuple[Fixing, ...]] = field(default_factory=dict)
    """Rates that an operator does not want published."""
    accepted: tuple[Fixing, ...] = ()
    """Rates that an operator has accepted."""
    breaks: tuple[Break, ...] = ()
    decisions: tuple[QuarantineDecision, ...] = ()
    """An operator's decisions that still hold, newest first."""

    @classmethod
    def of(cls, waiting: Iterable[QuarantinedFixing], decisions: Iterable[QuarantineDecision]) -> "Quarantine":
        """Return it as it was stored; `decisions` newest first. Of several about one rate the newest holds."""
        found = cls()
        decided = set[tuple[date, str, Rate]]()
        for one in decisions:
            fixing = one.waiting.fixing
            rates = {
                code: rate for code, rate in fixing.rates.items() if (fixing.date, code, _figure(rate)) not in decided
            }
            decided |= {(fixing.date, code, _figure(rate)) for code, rate in rates.items()}
            if not rates:
                continue
            part = replace(fixing, rates=rates)
            if one.outcome in (Outcome.REJECTED, Outcome.RETRACTED):
                found.rejected[fixing.date] = (*found.rejected.get(fixing.date, ()), part)
            elif one.outcome is Outcome.ACCEPTED:
                found.accepted = (*found.accepted, part)
                found.breaks = (*found.breaks, *one.breaks)
            else:
                continue
            found.decisions = (*found.decisions, one)
        found.waiting = {one.fixing.date: one for one in waiting if not found.is_rejected(one.fixing)}
        return found

    def is_rejected(self, fixing: Fixing) -> bool:
        """Return whether an operator wants none of these rates published for that day."""
        return bool(fixing.rates) and not self.without_rejected(fixing).rates

    def without_rejected(self, fixing: Fixing) -> Fixing:
        """Return the fixing without the rates that an operator does not want published.

        Rates that were rejected together are rejected as they were: where the bank has corrected one of them, the
        others are judged again.
        """
        forms = self.rejected.get(fixing.date, ())
        codes = {code for form in forms if form.is_part_of(fixing) for code in form.rates}
        return fixing.without(codes) if codes else fixing

    def receive(
        self, judgements: Sequence[Judgement], now: datetime
    ) -> tuple[list[QuarantinedFixing], list[QuarantineDecision]]:
        """Apply the judgements of one poll; return what is in quarantine anew or changed, and what ended."""
        changed, ended = dict[date, QuarantinedFixing](), list[QuarantineDecision]()
        for one in judgements:
            day, known = one.fixing.date, self.waiting.get(one.fixing.date)
            held = self.without_rejected(one.held) if one.held else None
            if held is None or not held.rates:
                if known:
                    published = one.publish or one.fixing
                    ended.append(self._end(known, _outcome(known.fixing, published), now))
                continue
            if known and held.is_part_of(known.fixing):
                released = known.fixing.without(held.rates)
                if released.rates:
                    part = replace(known, fixing=released)
                    ended.append(QuarantineDecision(part, _outcome(released, one.publish or one.fixing), now))
                if released.rates or known.reasons != one.reasons:
                    changed[day] = QuarantinedFixing(replace(known.fixing, rates=held.rates), one.reasons, known.since)
                    self.waiting[day] = changed[day]
            else:
                changed[day] = self.waiting[day] = QuarantinedFixing(held, one.reasons, now)
        while len(self.waiting) > KEEP:
            ended.append(self._end(self.waiting[min(self.waiting)], Outcome.WITHDRAWN, now))
        return [one for day, one in changed.items() if day in self.waiting], ended

    def withdraw(self, since: date, published: Iterable[date], now: datetime) -> list[QuarantineDecision]:
        """End the quarantine of what the bank, polled from `since` on, publishes no more."""
        said = set(published)
        gone = [one for day, one in self.waiting.items() if day >= since and day not in said]
        return [self._end(one, Outcome.WITHDRAWN, now) for one in gone]

    def _end(self, waiting: QuarantinedFixing, outcome: Outcome, now: datetime) -> QuarantineDecision:
        del self.waiting[waiting.fixing.date]
        return QuarantineDecision(waiting, outcome, now)


def _outcome(held: Fixing, published: Fixing) -> Outcome:
    """Return how a quarantine ended whose date has this fixing now."""
    return Outcome.CONFIRMED if held.is_part_of(published) else Outcome.WITHDRAWN


def _figure(rate: Rate) -> Rate:
    """Return a rate as far as it matters here: not the bank's own change."""
    return Rate(rate.value.normalize(), rate.nominal)
