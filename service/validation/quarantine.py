"""Quarantine: suspicious rates that are kept but not published, and the decisions on them. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from service.domain.breaks import Break
from service.domain.fixing import Fixing, Rate, same_rate
from service.validation.rules import Judgement, rejected_codes

KEPT_DECISIONS: Final = 1000
"""Number of the latest decisions per source that the store keeps."""
KEEP = 400
"""Maximum number of quarantined dates per source; the oldest are withdrawn."""


@dataclass(frozen=True, slots=True)
class QuarantinedFixing:
    """The quarantined rates of one date. `since` is the time of quarantine (UTC).

    `reasons` has one per rate, in the order of their codes, or those for which the whole document is quarantined.
    """

    fixing: Fixing
    reasons: tuple[str, ...]
    since: datetime


class Outcome(StrEnum):
    """How a quarantine ended.

    `accepted` and `rejected`: by an operator. `confirmed`: by another bank or the calendar. `withdrawn`: by the bank's
    correction. `retracted`: an operator retracted a published rate.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETRACTED = "retracted"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class QuarantineDecision:
    """The end of a quarantine, and its time (UTC); `breaks` are those that an operator declared with it."""

    waiting: QuarantinedFixing
    outcome: Outcome
    at: datetime
    breaks: tuple[Break, ...] = ()


@dataclass
class Quarantine:
    """The quarantine of one source: quarantined fixings by effective date, and the decisions of operators."""

    waiting: dict[date, QuarantinedFixing] = field(default_factory=dict)
    rejected: dict[date, tuple[Fixing, ...]] = field(default_factory=dict)
    """Rates that an operator has rejected or retracted."""
    accepted: tuple[Fixing, ...] = ()
    """Rates that an operator has accepted."""
    breaks: tuple[Break, ...] = ()
    """Redenominations that an operator has declared."""
    decisions: tuple[QuarantineDecision, ...] = ()
    """Effective decisions of operators, newest first."""

    @classmethod
    def of(cls, waiting: Iterable[QuarantinedFixing], decisions: Iterable[QuarantineDecision]) -> "Quarantine":
        """Build a quarantine from stored records; `decisions` newest first. The newest decision on a rate applies.

        Rates are the same whatever their nominals, digits and buying and selling rates, as where they are rejected.
        """
        quarantine = cls()
        decided_rates = defaultdict[tuple[date, str], list[Rate]](list)
        for decision in decisions:
            fixing, undecided_rates = decision.waiting.fixing, dict[str, Rate]()
            for code, rate in fixing.rates.items():
                decided = decided_rates[fixing.date, code]
                if not any(same_rate(rate, other) for other in decided):
                    decided.append(rate)
                    undecided_rates[code] = rate
            if not undecided_rates:
                continue
            decided_part = replace(fixing, rates=undecided_rates)
            if decision.outcome in (Outcome.REJECTED, Outcome.RETRACTED):
                quarantine.rejected[fixing.date] = (*quarantine.rejected.get(fixing.date, ()), decided_part)
            elif decision.outcome is Outcome.ACCEPTED:
                quarantine.accepted = (*quarantine.accepted, decided_part)
                quarantine.breaks = (*quarantine.breaks, *decision.breaks)
            else:
                continue
            quarantine.decisions = (*quarantine.decisions, decision)
        quarantine.waiting = {entry.fixing.date: entry for entry in waiting if not quarantine.is_rejected(entry.fixing)}
        return quarantine

    def is_rejected(self, fixing: Fixing) -> bool:
        """Return whether an operator has rejected or retracted all rates of a fixing."""
        return bool(fixing.rates) and not self.without_rejected(fixing).rates

    def without_rejected(self, fixing: Fixing) -> Fixing:
        """Return the fixing without the rates that an operator has rejected or retracted."""
        codes = rejected_codes(fixing, self.rejected.get(fixing.date, ()))
        return fixing.without(codes) if codes else fixing

    def unpublished(self, day: date) -> set[str]:
        """Return the currencies of a date that are quarantined, or that an operator has rejected or retracted."""
        entry = self.waiting.get(day)
        fixings = [*([entry.fixing] if entry else []), *self.rejected.get(day, ())]
        return {code for fixing in fixings for code in fixing.rates}

    def receive(
        self, judgements: Sequence[Judgement], now: datetime
    ) -> tuple[list[QuarantinedFixing], list[QuarantineDecision]]:
        """Apply the judgements of one poll; return new and changed entries, and the decisions that ended others."""
        changed, ended = dict[date, QuarantinedFixing](), list[QuarantineDecision]()
        for judgement in judgements:
            day, reasons = judgement.fixing.date, judgement.reasons
            entry, published = self.waiting.get(day), judgement.publish or judgement.fixing
            held = self.without_rejected(judgement.held) if judgement.held else None
            if judgement.held and held and len(reasons) == len(judgement.held.rates):
                by_code = zip(sorted(judgement.held.rates), reasons, strict=True)
                reasons = tuple(reason for code, reason in by_code if code in held.rates)
            if held is None or not held.rates:
                if entry:
                    ended.append(self._end(entry, _outcome(entry.fixing, published), now))
                continue
            if entry and held.is_part_of(entry.fixing):
                released = entry.fixing.without(held.rates)
                if released.rates:
                    released_entry = replace(entry, fixing=released)
                    ended.append(QuarantineDecision(released_entry, _outcome(released, published), now))
                if released.rates or entry.reasons != reasons:
                    changed[day] = QuarantinedFixing(replace(entry.fixing, rates=held.rates), reasons, entry.since)
                    self.waiting[day] = changed[day]
            else:
                changed[day] = self.waiting[day] = QuarantinedFixing(held, reasons, now)
        while len(self.waiting) > KEEP:
            ended.append(self._end(self.waiting[min(self.waiting)], Outcome.WITHDRAWN, now))
        still_quarantined = [entry for day, entry in changed.items() if day in self.waiting]
        return still_quarantined, ended

    def withdraw(self, since: date, published: Iterable[date], now: datetime) -> list[QuarantineDecision]:
        """End the quarantine of dates from `since` on that the bank no longer publishes."""
        days = set(published)
        withdrawn = [entry for day, entry in self.waiting.items() if day >= since and day not in days]
        return [self._end(entry, Outcome.WITHDRAWN, now) for entry in withdrawn]

    def _end(self, waiting: QuarantinedFixing, outcome: Outcome, now: datetime) -> QuarantineDecision:
        del self.waiting[waiting.fixing.date]
        return QuarantineDecision(waiting, outcome, now)


def is_entered_again(decision: QuarantineDecision, stored: Fixing | None) -> bool:
    """Return whether an operator has entered rates again since they were retracted; `stored` is that of their date.

    A decision that is restored after a loss must not undo that.
    """
    if stored is None or decision.outcome is not Outcome.RETRACTED or not stored.entered_by:
        return False
    return stored.fetched_at > decision.at and decision.waiting.fixing.is_part_of(stored)


def with_lost(stored: Iterable[QuarantineDecision], lost: Iterable[QuarantineDecision]) -> list[QuarantineDecision]:
    """Insert lost decisions by their times; all are newest first.

    The order of the stored ones stays: it is that in which they were made, whatever the clocks of the machines were.
    """
    decisions = list(stored)
    for decision in lost:
        decisions.insert(index_by_time([other.at for other in decisions], decision.at), decision)
    return decisions


def index_by_time(times: Sequence[datetime], at: datetime) -> int:
    """Return the index for a decision among others, newest first, which may not be in the order of their times."""
    return next((index for index, other in enumerate(times) if other < at), len(times))


def _outcome(held: Fixing, published: Fixing) -> Outcome:
    """Return how the quarantine of `held` ended if `published` is the fixing of its date now."""
    return Outcome.CONFIRMED if held.is_part_of(published) else Outcome.WITHDRAWN


def rates_digest(fixing: Fixing) -> str:
    """Return a digest that identifies the source, date and rates of a fixing: 12 hex digits.

    With it an operator decides on exactly the rates that were printed.
    """
    rates = [[code, f"{rate.value:f}", rate.nominal, *_sides(rate)] for code, rate in sorted(fixing.rates.items())]
    return sha256(json.dumps([fixing.source, str(fixing.date), rates]).encode()).hexdigest()[:12]


def _sides(rate: Rate) -> list[str | None]:
    """Return the digits of the buying and the selling rate; nothing if the rate has neither."""
    sides = [side if side is None else f"{side:f}" for side in (rate.buying, rate.selling)]
    return sides if any(sides) else []
