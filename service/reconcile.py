"""What an instance knows beside what is stored: which of both holds, and what the store is to be told. Pure.

The store may have more, by others; less, after a loss; or another form of the same.
"""

from collections.abc import Collection, Iterable
from datetime import date

from service.board import KEEP
from service.fixings import Fixing
from service.quarantine import Decision, Quarantine, Waiting


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
    waiting: Iterable[Waiting],
    decisions: list[Decision],
    *,
    days: Collection[date],
    ended: Collection[date],
    unwritten: Collection[date],
) -> tuple[Quarantine, list[Waiting], list[Decision]]:
    """Return what waits, and of that what to write: waits and rejections that the store has lost.

    `decisions` are newest first; `days` have a fixing by now; `ended` and `unwritten` are those of whose wait the
    store has still to be told that it is over, or that it is.
    """
    forgotten = [
        one
        for one in known.rejections
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
        elif day not in made.waiting and day not in days:
            made.waiting[day] = one
            lost.append(one)
    rewritten = {one.waiting.fixing.date for one in forgotten}
    lost += [one for day, one in made.waiting.items() if day in rewritten and one not in lost]
    return made, lost, forgotten


def _of_the_same(one: Decision, other: Decision) -> bool:
    ours, theirs = one.waiting.fixing, other.waiting.fixing
    return ours.date == theirs.date and ours.same_figures(theirs)
