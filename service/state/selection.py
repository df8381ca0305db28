"""Select the rates of a ticker: by the priority of its sources, their freshness, and what may be shown. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from service.domain.breaks import Break, conversion
from service.domain.change import Change, change, rate
from service.domain.fixing import Fixing, Series
from service.domain.publication_schedule import Freshness, freshness, next_due, today
from service.domain.snapshot import HISTORY, Confidence, Point, Quote, Snapshot, Status
from service.settings import SourceSettings, TickerSettings
from service.validation.cross_check import CrossCheck
from service.validation.rules import TrustedRates, trusted_rates


@dataclass(frozen=True, slots=True)
class Evidence:
    """What decides which rates may be shown: the other banks, the breaks of each source, the largest change that needs
    no confirmation (a fraction).
    """  # noqa: D205 - one sentence

    cross_check: CrossCheck | None = None
    breaks: Mapping[str, Sequence[Break]] = field(default_factory=dict)
    jump: Fraction = Fraction(15, 100)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What one source can say of one currency."""

    source: str
    choice: int
    change: Change
    new: Fixing
    old: Fixing | None
    latest: dt.date
    """The date of its latest rate, which may not be in force yet."""
    freshness: Freshness
    confidence: Confidence
    diverges: bool
    """Whether what it has published since is refuted by other banks, so that this is an earlier rate."""
    published: tuple[Point, ...]
    """Its last publications, carry-overs excluded, oldest first, in the unit of `new`."""


def snapshot(
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    series: Mapping[str, Series],
    now: dt.datetime,
    evidence: Evidence | None = None,
    before: Snapshot | None = None,
) -> Snapshot | None:
    """Return the ticker at `now`; None where no source has ever been able to quote any of its currencies.

    Where a snapshot was shown `before` and none of its rates may be shown any more, all quotes are empty.
    """
    evidence = evidence or Evidence()
    chosen = {code: _choose(code, ticker, sources, series, now, evidence) for code in ticker.currencies}
    used = [candidate for candidate, _ in chosen.values() if candidate]
    quotes = tuple(_quote(code, ticker, candidate, reason) for code, (candidate, reason) in chosen.items())
    if not used:
        status = Status.RECORDED if before and before.recorded else Status.STALE
        due = _next_update(ticker, sources, [], now)
        return replace(before, status=status, next_update=due, quotes=quotes) if before else None
    recorded = any(sources[candidate.source].recorded for candidate in used)
    worst = max(candidate.freshness for candidate in used)
    return Snapshot(
        id=ticker.id,
        base=ticker.base,
        status=Status.RECORDED if recorded else Status[worst.name],
        recorded=recorded,
        as_of=max(candidate.new.date for candidate in used),
        updated_at=max(candidate.new.fetched_at for candidate in used),
        next_update=_next_update(ticker, sources, used, now),
        quotes=quotes,
    )


def _choose(
    code: str,
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    series: Mapping[str, Series],
    now: dt.datetime,
    evidence: Evidence,
) -> tuple[_Candidate | None, str | None]:
    """Return the candidate that is shown, and why the sources before it were passed over.

    It is the first source that is neither stale nor diverging. Where there is none: of those that are not stale the
    first, with its last rate that no other bank refuted; else the one with the latest date.
    """
    diverging, stale, passed = list[_Candidate](), list[_Candidate](), list[str]()
    for choice, key in enumerate(ticker.sources, 1):
        known = series.get(key, Series())
        candidate = _candidate(code, ticker, key, choice, sources[key], known, now, evidence)
        if candidate is None:
            passed.append(_why_not(code, ticker, key, known, evidence.cross_check))
        elif candidate.freshness is Freshness.STALE:
            stale.append(candidate)
            passed.append(f"{key} is stale, its latest rates are of {candidate.new.date}")
        elif candidate.diverges:
            diverging.append(candidate)
            passed.append(f"{key} diverges from other banks since {candidate.new.date}")
        else:
            return candidate, "; ".join(passed) or None
    if diverging:
        return diverging[0], "; ".join(passed)
    if stale:
        return max(stale, key=lambda one: (one.new.date, -one.choice)), "; ".join(passed)
    return None, "; ".join(passed) or None


def _why_not(code: str, ticker: TickerSettings, key: str, known: Series, check: CrossCheck | None) -> str:
    if known.quoting(code, ticker.base).fixings:
        return f"{key} diverges from other banks"
    if check and any(one.quotes(code, ticker.base) for one in check.witnesses[key].held):
        return f"{key}'s rates are quarantined"
    return f"{key} does not quote it" if known.fixings else f"{key} has no rates"


def _candidate(
    code: str,
    ticker: TickerSettings,
    key: str,
    choice: int,
    source: SourceSettings,
    series: Series,
    now: dt.datetime,
    evidence: Evidence,
) -> _Candidate | None:
    breaks = evidence.breaks.get(key, ())

    def trusted(published: Sequence[Fixing]) -> TrustedRates | None:
        return trusted_rates(code, ticker.base, published, evidence.cross_check, breaks, evidence.jump)

    published = series.publications(code, ticker.base)
    found = latest = trusted(published)
    if ticker.effective == "today":
        day = today(source, now)
        published = tuple(one for one in published if one.date <= day)
        found = trusted(published)
    if found is None or latest is None:
        return None
    new, old = found.new, found.old
    factors = {one.date: conversion(breaks, code, ticker.base, one, new) for one in published if one.date <= new.date}
    moved = change(code, ticker.base, new, old, (factors[old.date] or Fraction(1)) if old else Fraction(1))
    fresh = freshness(source, latest.new.date, now)
    history = tuple(
        Point(one.date, rate(code, ticker.base, one, factor))
        for one in published[-HISTORY:]
        if (factor := factors.get(one.date)) is not None
    )
    diverges = found.latest != found.new.date or _held_diverges(code, ticker.base, key, new, evidence.cross_check)
    confidence = Confidence.DIVERGING if diverges else found.confidence
    return _Candidate(key, choice, moved, new, old, latest.new.date, fresh, confidence, diverges, history)


def _held_diverges(code: str, base: str, key: str, new: Fixing, check: CrossCheck | None) -> bool:
    """Return whether the source has published the rate since, and other banks refute that."""
    if check is None:
        return False
    later = (one for one in check.witnesses[key].held if one.date > new.date and one.quotes(code, base))
    return any(check.assess(key, one, code, base).confidence is Confidence.DIVERGING for one in later)


def _quote(code: str, ticker: TickerSettings, candidate: _Candidate | None, reason: str | None) -> Quote:
    if candidate is None:
        return Quote(code, reason=reason)
    moved = candidate.change
    return Quote(
        code=code,
        rate=moved.rate,
        previous=moved.previous,
        change=moved.change,
        percent=moved.percent,
        direction=moved.direction,
        date=candidate.new.date,
        previous_date=candidate.old.date if candidate.old else None,
        source=candidate.source,
        choice=candidate.choice,
        reason=reason,
        cross=candidate.new.base != ticker.base,
        confidence=candidate.confidence,
        history=candidate.published,
    )


def _next_update(
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    used: list[_Candidate],
    now: dt.datetime,
) -> dt.datetime | None:
    """Return when the sources in use publish next; if none of them does, the preferred source that ever does."""
    due = [at for one in used if (at := next_due(sources[one.source], one.latest, now))]
    if due:
        return min(due)
    hoped = (at for key in ticker.sources if (at := next_due(sources[key], today(sources[key], now), now)))
    return next(hoped, None)
