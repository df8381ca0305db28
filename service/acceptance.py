"""What makes a fixing acceptable: the rules that keep a false figure from being published. Pure.

A fixing that breaks one waits in quarantine, whole: for a correction by the bank, for another bank that
says the same, or for an operator.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction

from service import witnesses
from service.change import half_up, percent_text
from service.fixings import Fixing, Series
from service.mistaken import mistaken

DROPPED_AFTER = 3
"""A currency that is missing from so many further publications, carry-overs not counted, was given up by the bank."""
_LONG = timedelta(days=92)
"""After so much time a figure measures no day's move any more, only the order of magnitude."""
_FAR, _YEAR = 5, timedelta(days=366)
"""So many times more or less is a fault of scale, within so much time whatever else moved."""


class Verdict(StrEnum):
    """What becomes of a fixing."""

    NEW = "new"
    CARRY_OVER = "carry-over"
    REVISION = "revision"
    KNOWN = "known"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judged:
    """A fixing with its verdict; `reasons` say why it was refused."""

    fixing: Fixing
    verdict: Verdict
    reasons: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.verdict in (Verdict.NEW, Verdict.CARRY_OVER, Verdict.REVISION)


@dataclass(frozen=True, slots=True)
class Rules:
    """By what a source's fixings are judged.

    `last_day` is the last effective date that it can have published by now; `jump` the largest move, as a
    fraction, that needs no other bank's word; `tolerance` how far another bank's move may differ and still
    confirm ours; `others` what the other sources have published.
    """

    last_day: date
    jump: Fraction = Fraction(15, 100)
    tolerance: Fraction = Fraction(5, 100)
    others: Mapping[str, Series] = field(default_factory=dict)
    wanted: Collection[str] | None = None
    """The currencies that a relay is asked for: one that is wanted no more is not missing."""
    rejected: Mapping[date, Collection[Fixing]] = field(default_factory=dict)
    """What an operator will not see published, by effective date."""


def judge_all(fixings: Sequence[Fixing], known: Series, rules: Rules, keep: int) -> list[Judged]:
    """Judge what one answer or several held, in its order, each by what was accepted before it.

    `known` is the series of the source, of which the `keep` latest dates are looked at.
    """
    judged = []
    for at, fixing in enumerate(fixings):
        judged.append(judge(fixing, known, rules, fixings[at + 1 :]))
        if judged[-1].accepted:
            known = known.with_fixing(judged[-1].fixing, keep)
    return judged


def judge(fixing: Fixing, known: Series, rules: Rules, later: Sequence[Fixing] = ()) -> Judged:
    """Judge one fixing by what is known of its source, and by what the bank has published `later`.

    A revision comes back with what it replaces.
    """
    replaced = known.on(fixing.date)
    if replaced and replaced.same_figures(fixing):
        return Judged(fixing, Verdict.KNOWN)
    if any(one.same_figures(fixing) for one in rules.rejected.get(fixing.date, ())):
        return Judged(fixing, Verdict.REFUSED, ("an operator has rejected it",))
    if reasons := objections(fixing, known, rules, later):
        return Judged(fixing, Verdict.REFUSED, reasons)
    if replaced:
        return Judged(fixing.revising(replaced), Verdict.REVISION)
    before = known.before(fixing.date)
    return Judged(fixing, Verdict.CARRY_OVER if before and fixing.repeats(before) else Verdict.NEW)


def objections(new: Fixing, known: Series, rules: Rules, later: Sequence[Fixing] = ()) -> tuple[str, ...]:
    """Return why `new` must not be published; nothing where it may be."""
    if found := unusable(new):
        return found
    found = ()
    if new.date > rules.last_day:
        found = (f"it is dated {new.date}, and the bank publishes up to {rules.last_day} by now",)
    before = known.before(new.date)
    near = before if before and new.date - before.date <= _LONG else None
    if earlier := known.on(new.date) or near:
        found = (*found, *_missing(new, earlier, rules, later))
    if doubts := tuple(_doubts(new, _measures(new, known), rules)):
        return (*found, *doubts)
    return found if near else (*found, *_doubts_of_the_first(new, known, rules, later))


def unusable(new: Fixing) -> tuple[str, ...]:
    """Return what makes a fixing worthless, whoever confirms it: no figures, or such as are no rates."""
    if not new.rates:
        return ("it quotes no currency",)
    return tuple(
        f"{code} is {rate.value} for {rate.nominal}, not a positive finite rate"
        for code, rate in sorted(new.rates.items())
        if not (rate.value.is_finite() and rate.value > 0 and rate.nominal > 0)
    )


def _missing(new: Fixing, earlier: Fixing, rules: Rules, later: Sequence[Fixing]) -> Iterator[str]:
    """Tell which currencies have gone, unless it is known by now that they have gone for good."""
    missing = earlier.rates.keys() - new.rates.keys()
    if rules.wanted is not None:
        missing &= set(rules.wanted)
    after = _after(new, later)
    if known_by := [one for one in after.distinct if not one.repeats(new)][DROPPED_AFTER - 1 : DROPPED_AFTER]:
        following = after.until(known_by[0].date)
        missing = {code for code in missing if any(code in one.rates for one in following.fixings)}
    if missing:
        yield f"{', '.join(sorted(missing))} missing, quoted on {earlier.date}"


def _after(new: Fixing, later: Sequence[Fixing]) -> Series:
    """Return what the bank has published of later days, as far as it is usable."""
    return Series(tuple(one for one in later if one.date > new.date and not unusable(one)))


def _measures(new: Fixing, known: Series) -> dict[str, Fixing]:
    """Return by which fixing each currency is measured: the latest before `new` that quotes it."""
    found: dict[str, Fixing] = {}
    for fixing in reversed(known.fixings):
        if fixing.date < new.date:
            found = {code: fixing for code in fixing.rates if code in new.rates} | found
            if len(found) == len(new.rates):
                break
    return found


def _doubts_of_the_first(new: Fixing, known: Series, rules: Rules, later: Sequence[Fixing]) -> Iterator[str]:
    """Tell what is odd about a fixing that has none shortly before it: by the next known, or by two more of the answer.

    Two, since of one other nobody knows which is wrong; a carry-over is no other.
    """
    following = [fixing for fixing in known.fixings if fixing.date > new.date][:1]
    if not following:
        following = [one for one in _after(new, later).distinct if not one.repeats(new)][:2]
        if len(following) < 2:
            return
    doubts = [list(_doubts(new, dict.fromkeys(new.rates.keys() & one.rates.keys(), one), rules)) for one in following]
    if all(doubts):
        yield from doubts[0]


def _doubts(new: Fixing, measures: Mapping[str, Fixing], rules: Rules) -> Iterator[str]:
    """Tell what is odd about the figures, by what each of them is measured by."""
    recent = {code: one for code, one in sorted(measures.items()) if abs(new.date - one.date) <= _LONG}
    yield from _moves(new, recent, rules)
    yield from _levels(new, {code: measures[code] for code in sorted(measures.keys() - recent)}, rules, len(measures))


def _moves(new: Fixing, measures: Mapping[str, Fixing], rules: Rules) -> Iterator[str]:
    """Tell which moves no other bank confirms: jumps, and figures under another currency's name."""
    days = min((abs(new.date - one.date).days for one in measures.values()), default=1)
    old = {code: one.value(code) for code, one in measures.items()}
    moves = {code: new.value(code) / value for code, value in old.items()}
    doubted = _odd(new, old, days, rules.jump, "moved by")
    words = {code: witnesses.moves(code, new, measures[code], rules.others) for code in doubted}
    confirmed = {
        code
        for code, moved in words.items()
        if any(witnesses.alike(one, moves[code], rules.tolerance) for one in moved.values())
    }
    for code, doubt in doubted.items():
        # A currency that nobody else quotes is believed if it moved with one that is: then it was the base that moved.
        along = not words[code] and any(witnesses.alike(moves[one], moves[code], rules.tolerance) for one in confirmed)
        if code not in confirmed and not along:
            told = ", ".join(f"{key} {_percent(move)}" for key, move in words[code].items()) or "none quotes it"
            yield f"{code} {doubt}, {_way(code, measures[code], new)}; no other bank confirms it ({told})"


def _levels(new: Fixing, measures: Mapping[str, Fixing], rules: Rules, count: int) -> Iterator[str]:
    """Tell which of `count` figures are not where they should be, of those that nothing recent measures.

    Another bank's figures of these days do that as well; where none has one, only its order of magnitude is looked at.
    """
    shown = {code: found for code in measures if (found := witnesses.level(code, new, rules.others))}
    levels = {code: level for code, (_, level) in shown.items()}
    for code, doubt in _odd(new, levels, witnesses.EARLIER.days, rules.jump, "differs by").items():
        yield f"{code} {doubt}: {figure(new, code)}, beside the figures of {shown[code][0]} in these days"
    moves = {code: new.value(code) / one.value(code) for code, one in measures.items() if code not in shown}
    far = [code for code, move in moves.items() if max(move, 1 / move) > _FAR]
    # In a year no currency moves so far unnoticed, in ten some do: one alone must not keep out all that the bank says
    # from then on. What most of them share is a fault of scale, or the base's fall; where another bank has one of them
    # at its place, it is none.
    right = any(abs(new.value(code) / level - 1) <= rules.tolerance for code, level in levels.items())
    most = 2 * len(far) > count and not right
    for code in far:
        if most or abs(new.date - measures[code].date) <= _YEAR:
            way = _way(code, measures[code], new)
            yield f"{code} moved by {_percent(moves[code])}, {way}; no other bank confirms it (none quotes it)"


def _odd(new: Fixing, old: Mapping[str, Fraction], days: int, jump: Fraction, word: str) -> dict[str, str]:
    """Return what is odd beside the figures of so many days ago: moves beyond the limit, and mistaken figures."""
    moves = {code: new.value(code) / value for code, value in old.items()}
    odd = {code: f"{word} {_percent(move)}" for code, move in moves.items() if abs(move - 1) > jump}
    for code, other in mistaken(new, old, days):
        odd.setdefault(code, f"has what is, or was, the figure of {other}")
    return odd


def _percent(move: Fraction) -> str:
    return percent_text(half_up(100 * (move - 1), 2))


def _way(code: str, old: Fixing, new: Fixing) -> str:
    return f"from {figure(old, code)} on {old.date} to {figure(new, code)}"


def figure(fixing: Fixing, code: str) -> str:
    """Return a figure as it was published, in words."""
    rate = fixing.rates[code]
    return f"{rate.value}" if rate.nominal == 1 else f"{rate.value} for {rate.nominal}"
