"""Settings and fixings in, a snapshot out: preference, crosses, status. Pure."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from service.change import Change, Direction, change, rate
from service.fixings import Fixing, Series
from service.publications import Freshness, freshness, next_due, today
from service.settings import SourceSettings, TickerSettings

HISTORY: Final = 30
"""Publications of a quote that are remembered with it."""


class Status(StrEnum):
    """What a reader must know of a ticker's age; worst last."""

    CURRENT = "current"
    LATE = "late"
    STALE = "stale"
    RECORDED = "recorded"


class Point(NamedTuple):
    """What a rate was from a date on."""

    date: dt.date
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """One currency's line. Whole from one source; all but `code` None where no source quotes it.

    `date` and `previous_date` are the first days of their figures; `choice` is the source's place
    in the ticker's list, from 1; `reason` says why the ones before it were passed over; `cross` tells a rate
    through the source's own rate of the base. `history` has the source's last publications of it, oldest
    first, this one included: `HISTORY` at most.
    """

    code: str
    rate: Decimal | None = None
    previous: Decimal | None = None
    change: Decimal | None = None
    percent: Decimal | None = None
    direction: Direction | None = None
    date: dt.date | None = None
    previous_date: dt.date | None = None
    source: str | None = None
    choice: int | None = None
    reason: str | None = None
    cross: bool = False
    history: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The current state of a ticker. `as_of` is its latest effective date; times are in UTC."""

    id: str
    base: str
    status: Status
    recorded: bool
    as_of: dt.date
    updated_at: dt.datetime
    next_update: dt.datetime | None
    quotes: tuple[Quote, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What one source can say of one currency."""

    source: str
    choice: int
    change: Change
    new: Fixing
    old: Fixing | None
    latest: dt.date
    """The date of its latest figures, which may not be in force yet."""
    freshness: Freshness
    published: tuple[Fixing, ...]
    """Its last publications, carry-overs excluded, oldest first."""
    reason: str | None = None


def snapshot(
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    series: Mapping[str, Series],
    now: dt.datetime,
) -> Snapshot | None:
    """Return the ticker at `now`; None where no source can quote any of its currencies."""
    chosen = {code: _choose(code, ticker, sources, series, now) for code in ticker.currencies}
    used = [candidate for candidate in chosen.values() if candidate]
    if not used:
        return None
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
        quotes=tuple(_quote(code, ticker, candidate) for code, candidate in chosen.items()),
    )


def _choose(
    code: str,
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    series: Mapping[str, Series],
    now: dt.datetime,
) -> _Candidate | None:
    """Return the first source whose series is not stale; where all are, the one with the latest date."""
    stale: list[_Candidate] = []
    passed: list[str] = []
    for choice, key in enumerate(ticker.sources, 1):
        candidate = _candidate(code, ticker, key, choice, sources[key], series.get(key, Series()), now)
        if candidate is None:
            passed.append(f"{key} does not quote it" if series.get(key, Series()).fixings else f"{key} has no figures")
        elif candidate.freshness is not Freshness.STALE:
            return replace(candidate, reason="; ".join(passed) or None)
        else:
            stale.append(candidate)
            passed.append(f"{key} is stale, its latest figures are of {candidate.new.date}")
    if not stale:
        return None
    best = max(stale, key=lambda one: (one.new.date, -one.choice))
    return replace(best, reason="; ".join(passed))


def _candidate(
    code: str,
    ticker: TickerSettings,
    key: str,
    choice: int,
    source: SourceSettings,
    series: Series,
    now: dt.datetime,
) -> _Candidate | None:
    quoting = series.quoting(code, ticker.base)
    latest = quoting.news
    if ticker.effective == "today":
        quoting = quoting.until(today(source, now))
    new = quoting.news
    if new is None or latest is None:
        return None
    old = quoting.distinct[-2] if len(quoting.distinct) > 1 else None
    moved, fresh = change(code, ticker.base, new, old), freshness(source, latest.date, now)
    return _Candidate(key, choice, moved, new, old, latest.date, fresh, quoting.distinct[-HISTORY:])


def _quote(code: str, ticker: TickerSettings, candidate: _Candidate | None) -> Quote:
    if candidate is None:
        return Quote(code)
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
        reason=candidate.reason,
        cross=candidate.new.base != ticker.base,
        history=tuple(Point(one.date, rate(code, ticker.base, one)) for one in candidate.published),
    )


def _next_update(
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    used: list[_Candidate],
    now: dt.datetime,
) -> dt.datetime | None:
    """Return when the sources in use publish next; the first choice that ever does, where none of them does."""
    due = [at for one in used if (at := next_due(sources[one.source], one.latest, now))]
    if due:
        return min(due)
    hoped = (at for key in ticker.sources if (at := next_due(sources[key], today(sources[key], now), now)))
    return next(hoped, None)
