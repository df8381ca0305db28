"""What waits: fixings that were not published and are not lost, and what became of them. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from service.acceptance import Judged, Verdict
from service.fixings import Fixing

KEEP = 100
"""Fixings of a source that wait at most; the oldest dates give way."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A fixing in quarantine, whole. `since` is when it came (UTC)."""

    fixing: Fixing
    reasons: tuple[str, ...]
    since: datetime


class Outcome(StrEnum):
    """How a wait ended: by an operator's word; by another bank's or the calendar's; by the bank's correction."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of a wait, and when it came (UTC)."""

    waiting: Waiting
    outcome: Outcome
    at: datetime


@dataclass
class Quarantine:
    """Of one source: what waits, and what an operator will not see published, by effective date."""

    waiting: dict[date, Waiting] = field(default_factory=dict)
    rejected: dict[date, tuple[Fixing, ...]] = field(default_factory=dict)
    rejections: tuple[Decision, ...] = ()
    """How that came, newest first."""

    @classmethod
    def of(cls, waiting: Iterable[Waiting], decisions: Iterable[Decision]) -> "Quarantine":
        """Return it as it was stored; `decisions` newest first."""
        found = cls()
        decided = list[Fixing]()
        for one in decisions:
            fixing = one.waiting.fixing
            if not any(other.date == fixing.date and other.same_figures(fixing) for other in decided):
                decided.append(fixing)
                if one.outcome is Outcome.REJECTED:
                    found.rejected[fixing.date] = (*found.rejected.get(fixing.date, ()), fixing)
                    found.rejections = (*found.rejections, one)
        found.waiting = {one.fixing.date: one for one in waiting if not found.is_rejected(one.fixing)}
        return found

    def is_rejected(self, fixing: Fixing) -> bool:
        """Whether an operator will not see these figures published for that day."""
        return any(one.same_figures(fixing) for one in self.rejected.get(fixing.date, ()))

    def receive(self, judged: Sequence[Judged], now: datetime) -> tuple[list[Waiting], list[Decision]]:
        """Take in what an answer held; return what waits anew or for other reasons, and the waits that ended."""
        changed, ended = dict[date, Waiting](), []
        for one in judged:
            day, known = one.fixing.date, self.waiting.get(one.fixing.date)
            same = known is not None and known.fixing.same_figures(one.fixing)
            if one.verdict is not Verdict.REFUSED or self.is_rejected(one.fixing):
                if known:
                    ended.append(self._end(known, Outcome.CONFIRMED if same else Outcome.WITHDRAWN, now))
            else:
                if not (known and same):
                    known = Waiting(one.fixing, one.reasons, now)
                    changed[day] = known
                elif known.reasons != one.reasons:
                    known = Waiting(known.fixing, one.reasons, known.since)
                    changed[day] = known
                self.waiting[day] = known
        while len(self.waiting) > KEEP:
            ended.append(self._end(self.waiting[min(self.waiting)], Outcome.WITHDRAWN, now))
        return [one for day, one in changed.items() if day in self.waiting], ended

    def withdraw(self, since: date, published: Iterable[date], now: datetime) -> list[Decision]:
        """End the waits of what the bank, asked from `since` on, publishes no more."""
        said = set(published)
        gone = [one for day, one in self.waiting.items() if day >= since and day not in said]
        return [self._end(one, Outcome.WITHDRAWN, now) for one in gone]

    def _end(self, waiting: Waiting, outcome: Outcome, now: datetime) -> Decision:
        del self.waiting[waiting.fixing.date]
        return Decision(waiting, outcome, now)
