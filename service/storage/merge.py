"""What an instance knows beside what is stored: which of both holds, and what the store is to be told. Pure.

The store may have more, by others; less, after a loss; or another form of the same.
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
    """Return what to take from the store and what to write, and whether the store has lost anything.

    `days` are the latest dates that are stored, `KEEP` at most, `stored` those of them that could be read.
    """
    taken = {fixing.date: fixing for fixing in stored}
    written, lost = list[Fixing](), False
    for fixing in known:
        there = taken.get(fixing.date)
        gone = fixing.date not in days and (len(days) < KEEP or fixing.date > days[0])
        if gone or (there and fixing.replaces(there)):
            written.append(fixing)
            taken.pop(fixing.date, None)
        lost = lost or gone
    return list(taken.values()), written, lost


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
    """Return what waits, and of that what to write: waits and rejections that the store has lost.

    `decisions` are newest first; `days` have a fixing by now, `published` the latest of them; `ended` and `unwritten`
    are those of whose quarantine the store has still to be told that it is over, or that it is.
    """
    forgotten = [
        one
        for one in known.decisions
        if one.waiting.fixing.date not in days and not any(_of_the_same(one, other) for other in decisions)
    ]
    made = Quarantine.of(waiting, [*decisions, *forgotten])
    for day in ended:
        made.waiting.pop(day, None)
    lost = []
    for day, one in known.waiting.items():
        over = any(other.waiting.since == one.since and other.waiting.fixing == one.fixing for other in decisions)
        if made.is_rejected(one.fixing) or over:
            continue
        if day in unwritten:
            made.waiting[day] = one
        elif day not in made.waiting and not _is_published(one.fixing, days, published):
            made.waiting[day] = one
            lost.append(one)
    rewritten = {one.waiting.fixing.date for one in forgotten}
    lost += [one for day, one in made.waiting.items() if day in rewritten and one not in lost]
    return made, lost, forgotten


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
    told = tuple(reasons[code] for code in sorted(rates) if code in reasons)
    return replace(judgement, held=replace(held or waiting.fixing, rates=rates), reasons=told)


def _is_published(fixing: Fixing, days: Collection[date], published: Mapping[date, Fixing]) -> bool:
    """Whether the store has rates of these currencies for that date: the quarantine has ended somewhere else."""
    stored = published.get(fixing.date)
    return fixing.date in days and (stored is None or fixing.rates.keys() <= stored.rates.keys())


def _of_the_same(one: QuarantineDecision, other: QuarantineDecision) -> bool:
    ours, theirs = one.waiting.fixing, other.waiting.fixing
    return ours.date == theirs.date and ours.same_figures(theirs)
