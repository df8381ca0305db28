"""Merge what an instance knows with what is stored. Pure.

The store may have more, from other instances; less, after a loss; or another form of the same.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date

from service.domain.fixing import Fixing
from service.state.memory import KEEP
from service.validation.quarantine import Quarantine, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement


def fixings(
    known: Iterable[Fixing], days: list[date], stored: Iterable[Fixing]
) -> tuple[list[Fixing], list[Fixing], bool]:
    """Merge fixings in memory with stored ones.

    `days` are the latest stored dates, `KEEP` at most, `stored` those of them that could be read. Returns what to take
    from the store, what to write to it, and whether the store has lost anything.
    """
    taken = {fixing.date: fixing for fixing in stored}
    written, any_lost = list[Fixing](), False
    for fixing in known:
        there = taken.get(fixing.date)
        lost = fixing.date not in days and (len(days) < KEEP or fixing.date > days[0])
        if lost or (there and fixing.supersedes(there)):
            written.append(fixing)
            taken.pop(fixing.date, None)
        any_lost = any_lost or lost
    return list(taken.values()), written, any_lost


def quarantine(
    known: Quarantine,
    waiting: Iterable[QuarantinedFixing],
    decisions: list[QuarantineDecision],
    *,
    days: Collection[date],
    published: Mapping[date, Fixing],
    ended: Collection[date],
    unwritten: Collection[date],
) -> tuple[Quarantine, list[QuarantinedFixing], list[QuarantineDecision]]:
    """Merge a source's quarantine in memory with the stored one.

    `waiting` and `decisions` (newest first) are stored; `days` have a stored fixing, `published` are the latest of
    these. `ended` and `unwritten` are dates with a pending decision or a pending quarantine. Returns the merged
    quarantine, and what the store has lost of it: quarantined fixings and decisions.
    """
    lost_decisions = [
        decision
        for decision in known.decisions
        if decision.waiting.fixing.date not in days and not any(_of_the_same(decision, other) for other in decisions)
    ]
    merged = Quarantine.of(waiting, [*decisions, *lost_decisions])
    for day in ended:
        merged.waiting.pop(day, None)
    lost = list[QuarantinedFixing]()
    for day, quarantined in known.waiting.items():
        if merged.is_rejected(quarantined.fixing) or _is_decided(quarantined, decisions):
            continue
        if day in unwritten:
            merged.waiting[day] = quarantined
        elif day not in merged.waiting and not _is_published(quarantined.fixing, days, published):
            merged.waiting[day] = quarantined
            lost.append(quarantined)
    # Writing a lost decision ends the stored quarantine of its date: that is written again after it.
    rewritten = {decision.waiting.fixing.date for decision in lost_decisions}
    lost += [one for day, one in merged.waiting.items() if day in rewritten and one not in lost]
    return merged, lost, lost_decisions


def _is_decided(quarantined: QuarantinedFixing, decisions: Iterable[QuarantineDecision]) -> bool:
    return any(
        decision.waiting.since == quarantined.since and decision.waiting.fixing == quarantined.fixing
        for decision in decisions
    )


def still_held(judgement: Judgement, waiting: QuarantinedFixing | None) -> Judgement:
    """Return the judgement of rates that were published before with those of the same date that were held.

    They were left out of what is judged again, or came later than that: this judgement does not end their quarantine.
    """
    if waiting is None:
        return judgement
    again, held = judgement.fixing, judgement.held
    rates = {
        code: rate
        for code, rate in waiting.fixing.rates.items()
        if code not in again.rates or waiting.fixing.fetched_at > again.fetched_at
    }
    if not rates:
        return judgement
    reasons = dict(zip(sorted(waiting.fixing.rates), waiting.reasons, strict=False))
    reasons |= dict(zip(sorted(held.rates), judgement.reasons, strict=False)) if held else {}
    rates |= held.rates if held else {}
    all_reasons = tuple(reasons[code] for code in sorted(rates) if code in reasons)
    return replace(judgement, held=replace(held or waiting.fixing, rates=rates), reasons=all_reasons)


def _is_published(fixing: Fixing, days: Collection[date], published: Mapping[date, Fixing]) -> bool:
    """Whether the store has rates of these currencies for that date: the quarantine has ended somewhere else."""
    stored = published.get(fixing.date)
    return fixing.date in days and (stored is None or fixing.rates.keys() <= stored.rates.keys())


def _of_the_same(one: QuarantineDecision, other: QuarantineDecision) -> bool:
    ours, theirs = one.waiting.fixing, other.waiting.fixing
    return ours.date == theirs.date and ours.same_figures(theirs)
