"""Merge in-memory and stored fixings and quarantines. Pure.

The store may have more records (from other instances), fewer (after data loss), or other versions of the same.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from service.domain.fixing import Fixing
from service.state.memory import KEEP
from service.validation.quarantine import (
    KEPT_DECISIONS,
    Outcome,
    Quarantine,
    QuarantineDecision,
    QuarantinedFixing,
    is_entered_again,
    with_lost,
)
from service.validation.rules import Judgement


def fixings(
    in_memory: Iterable[Fixing], days: list[date], stored: Iterable[Fixing]
) -> tuple[list[Fixing], list[Fixing], bool]:
    """Merge fixings in memory with stored ones.

    `days` are the latest stored dates, at most `KEEP`; `stored` are their readable fixings. Returns the fixings to load
    into memory, those to write to the store, and whether the store has lost any.
    """
    loaded = {fixing.date: fixing for fixing in stored}
    written, any_lost = list[Fixing](), False
    for fixing in in_memory:
        stored_version = loaded.get(fixing.date)
        is_lost = fixing.date not in days and (len(days) < KEEP or fixing.date > days[0])
        if is_lost or (stored_version and fixing.supersedes(stored_version)):
            written.append(fixing)
            loaded.pop(fixing.date, None)
        any_lost = any_lost or is_lost
    return list(loaded.values()), written, any_lost


def quarantine(
    in_memory: Quarantine,
    waiting: Iterable[QuarantinedFixing],
    decisions: list[QuarantineDecision],
    *,
    days: Collection[date],
    published: Mapping[date, Fixing],
    known: Mapping[date, Fixing],
    ended: Collection[date],
    unwritten: Collection[date],
) -> tuple[Quarantine, list[QuarantinedFixing], list[QuarantineDecision]]:
    """Merge a source's quarantine in memory with the stored one.

    `waiting` and `decisions` (newest first) are the stored ones. `days` are all dates with a stored fixing, `published`
    the latest of these fixings, and `known` those in memory. `ended` and `unwritten` are dates with a pending write of
    a decision or a quarantined fixing. Returns the merged quarantine, and the quarantined fixings and decisions that
    the store has lost.
    """
    lost_decisions = [decision for decision in in_memory.decisions if _is_lost(decision, decisions, published)]
    if lost_decisions:
        decisions = with_lost(decisions, lost_decisions)
    merged = Quarantine.of(waiting, decisions)
    for day in ended:
        merged.waiting.pop(day, None)
    lost = list[QuarantinedFixing]()
    for day, quarantined in in_memory.waiting.items():
        if merged.is_rejected(quarantined.fixing) or _is_decided(quarantined, decisions):
            continue
        if day in unwritten:
            merged.waiting[day] = quarantined
        elif day not in merged.waiting and not _is_published(quarantined.fixing, days, published, known):
            merged.waiting[day] = quarantined
            lost.append(quarantined)
    return merged, lost, lost_decisions


def _is_decided(quarantined: QuarantinedFixing, decisions: Iterable[QuarantineDecision]) -> bool:
    """Return whether decisions ended the quarantine of all these rates, also in parts or after it was replaced."""
    fixing, decided = quarantined.fixing, set[str]()
    for decision in decisions:
        if decision.waiting.fixing.date == fixing.date and decision.waiting.since >= quarantined.since:
            decided.update(decision.waiting.fixing.rates)
    return fixing.rates.keys() <= decided


def still_held(judgement: Judgement, waiting: QuarantinedFixing | None) -> Judgement:
    """Return the judgement of a published fixing, extended by the quarantined rates of its date that it does not cover.

    These rates were not part of the judged fixing, or were fetched later: the judgement must not end their quarantine.
    """
    if waiting is None:
        return judgement
    judged, held = judgement.fixing, judgement.held
    rates = {
        code: rate
        for code, rate in waiting.fixing.rates.items()
        if code not in judged.rates or waiting.fixing.fetched_at > judged.fetched_at
    }
    if not rates:
        return judgement
    reasons = dict(zip(sorted(waiting.fixing.rates), waiting.reasons, strict=False))
    reasons |= dict(zip(sorted(held.rates), judgement.reasons, strict=False)) if held else {}
    rates |= held.rates if held else {}
    all_reasons = tuple(reasons[code] for code in sorted(rates) if code in reasons)
    return replace(judgement, held=replace(held or waiting.fixing, rates=rates), reasons=all_reasons)


def _is_published(
    fixing: Fixing, days: Collection[date], published: Mapping[date, Fixing], known: Mapping[date, Fixing]
) -> bool:
    """Return whether another instance ended the quarantine: it has published these rates, or a correction of them.

    `known` are the rates that this instance has published. A correction differs from them, unless the bank returns to
    them, which a decision records.
    """
    stored, own = published.get(fixing.date), known.get(fixing.date)
    if stored is None:
        return fixing.date in days
    if fixing.is_part_of(stored) or not fixing.rates.keys() <= stored.rates.keys():
        return fixing.is_part_of(stored)
    return own is None or any(code not in own.rates or not stored.has_rate_of(own, code) for code in fixing.rates)


def _is_lost(
    decision: QuarantineDecision, stored: Sequence[QuarantineDecision], published: Mapping[date, Fixing]
) -> bool:
    """Return whether the store has lost an operator's decision: it has no other one on the same rates.

    It has dropped it if it has only later ones, as many as it keeps. A rejected rate that is published was accepted
    since; a retracted one may be back because its removal was lost too, unless it was entered again.
    """
    if any(_is_on_same(decision, other) for other in stored):
        return False
    if len(stored) >= KEPT_DECISIONS and decision.at <= min(other.at for other in stored):
        return False
    fixing = published.get(decision.waiting.fixing.date)
    if is_entered_again(decision, fixing):
        return False
    is_published = fixing is not None and decision.waiting.fixing.is_part_of(fixing)
    return decision.outcome is not Outcome.REJECTED or not is_published


def _is_on_same(decision: QuarantineDecision, other: QuarantineDecision) -> bool:
    """Return whether two decisions are on the same rates of the same date."""
    fixing, other_fixing = decision.waiting.fixing, other.waiting.fixing
    return fixing.date == other_fixing.date and fixing.has_same_rates(other_fixing)
