"""Select the rates of a ticker by the priority of its sources, their freshness, and the evidence. Pure."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Final

from service.domain.breaks import Break, conversion
from service.domain.change import Change, change, rate, sides
from service.domain.fixing import Fixing, RateTable, Series
from service.domain.periods import LONGER, Changes, Period, PeriodChange, as_period_change, begin, in_force, since
from service.domain.publication_schedule import Freshness, freshness, next_due, today
from service.domain.snapshot import HISTORY, Confidence, Point, PublishedQuotes, Quote, Snapshot, Status, worst
from service.settings import SourceSettings, TickerSettings
from service.validation.cross_check import CrossCheck
from service.validation.rules import TrustedRates, trusted_rates, untrusted_rates

PeriodStarts = Mapping[tuple[str, str, dt.date], RateTable]
"""The publication of a currency in a base that was in force on a date, from the store: those older than memory."""
NO_STARTS: Final[Mapping[str, PeriodStarts]] = {}
_COMPARED: Final = 8
"""Number of latest publications, any of which may be the one shown, whose periods are loaded."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What decides which rates may be published.

    `cross_check` compares the sources, `breaks` are those of each source, `jump` is the largest change accepted without
    confirmation by another source (a fraction).
    """

    cross_check: CrossCheck | None = None
    breaks: Mapping[str, Sequence[Break]] = field(default_factory=dict)
    jump: Fraction = Fraction(15, 100)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The rate of one currency at one source."""

    source: str
    choice: int
    change: Change
    new: Fixing
    old: Fixing | None
    latest: dt.date
    """The date of the latest rate, which may not be in force yet."""
    freshness: Freshness
    recorded: bool
    """Whether it is sample data."""
    confidence: Confidence
    diverges: bool
    """Whether other banks refute a later rate of the source, so that this is an earlier one."""
    published: tuple[Point, ...]
    """The last publications of the rate, carry-overs excluded, oldest first, in the unit of `new`."""
    changes: Changes

    @property
    def status(self) -> Status:
        return Status.RECORDED if self.recorded else Status[self.freshness.name]


def snapshot(
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    series: Mapping[str, Series],
    now: dt.datetime,
    evidence: Evidence | None = None,
    before: Snapshot | None = None,
    starts: Mapping[str, PeriodStarts] = NO_STARTS,
) -> Snapshot | None:
    """Return the snapshot of a ticker at `now`; None if no source has ever quoted any of its currencies.

    If there was a snapshot `before` and no rate may be published any more, that snapshot is returned with empty quotes.
    `starts` has the publications older than `series`, by source.
    """
    evidence = evidence or Evidence()
    chosen = {code: _choose(code, ticker, sources, series, now, evidence, starts) for code in ticker.currencies}
    used = [candidate for candidate, _ in chosen.values() if candidate]
    quotes = tuple(_quote(code, ticker, candidate, reason) for code, (candidate, reason) in chosen.items())
    if not used:
        status = Status.RECORDED if before and before.recorded else Status.STALE
        due = _next_update(ticker, sources, series, [], now)
        return replace(before, status=status, next_update=due, quotes=quotes) if before else None
    status = worst(candidate.status for candidate in used)
    return Snapshot(
        id=ticker.id,
        base=ticker.base,
        status=status,
        recorded=status is Status.RECORDED,
        as_of=max(candidate.new.date for candidate in used),
        updated_at=max(candidate.new.fetched_at for candidate in used),
        next_update=_next_update(ticker, sources, series, used, now),
        quotes=quotes,
    )


def publications(
    snapshot: Snapshot, series: Mapping[str, Series], evidence: Evidence, count: int
) -> tuple[PublishedQuotes, ...]:
    """Return the last `count` publications of the sources of a snapshot's quotes, newest first.

    Each has the quotes that the ticker would have shown by the present evidence: those that other banks refute are
    missing. A publication without any change, the first one that is known, is left out.
    """
    published = defaultdict[dt.date, list[tuple[Quote, dt.datetime]]](list)
    for quote in snapshot.quotes:
        if quote.source and quote.date:
            known = series[quote.source].publications(quote.code, snapshot.base)
            in_force = [fixing for fixing in known if fixing.date <= quote.date]
            for end in range(max(1, len(in_force) - count + 1), len(in_force) + 1):
                fixing = in_force[end - 1]
                earlier = _earlier_quote(quote, snapshot.base, in_force[:end], evidence)
                if earlier:
                    published[fixing.date].append((earlier, fixing.fetched_at))
    found = [
        PublishedQuotes(day, max(fetched_at for _, fetched_at in quotes), tuple(quote for quote, _ in quotes))
        for day, quotes in sorted(published.items(), reverse=True)
        if any(quote.percent is not None for quote, _ in quotes)
    ]
    return tuple(found[:count])


def _earlier_quote(quote: Quote, base: str, published: Sequence[Fixing], evidence: Evidence) -> Quote | None:
    """Return a quote as of the last of the given publications; None if its rate may not be shown."""
    breaks = evidence.breaks.get(published[-1].source, ())
    trusted = trusted_rates(quote.code, base, published, evidence.cross_check, breaks, evidence.jump)
    if trusted is None or trusted.new is not published[-1]:
        return None
    new, old = trusted.new, trusted.old
    factor = conversion(breaks, quote.code, base, old, new) if old else None
    earlier = change(quote.code, base, new, old, factor or Fraction(1))
    buying, selling = sides(quote.code, base, new)
    return replace(
        quote,
        rate=earlier.rate,
        previous=earlier.previous,
        change=earlier.change,
        percent=earlier.percent,
        direction=earlier.direction,
        date=new.date,
        previous_date=old.date if old else None,
        confidence=trusted.confidence,
        history=(),
        changes={},
        buying=buying,
        selling=selling,
    )


def _choose(
    code: str,
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    series: Mapping[str, Series],
    now: dt.datetime,
    evidence: Evidence,
    starts: Mapping[str, PeriodStarts],
) -> tuple[_Candidate | None, str | None]:
    """Return the candidate to publish, and why the sources before it were skipped.

    It is the first source that is neither stale nor diverging. If none is: the first that is not stale, with its last
    rate that no other bank refutes; otherwise the one with the latest date. A source whose rates are older than those
    of a stale one before it does not replace that: both are closed on a holiday, which only one calendar may have. It
    does if its rates are entered at no set times: they are in force until the next ones.
    """
    diverging, stale, skipped, is_older_skipped = list[_Candidate](), list[_Candidate](), list[str](), False
    for choice, key in enumerate(ticker.sources, 1):
        source_series = series.get(key, Series())
        older = starts.get(key, {})
        candidate = _candidate(code, ticker, key, choice, sources[key], source_series, now, evidence, older)
        if candidate is None:
            check = evidence.cross_check
            skipped.append(_reason_without_candidate(code, ticker, key, sources[key], source_series, now, check))
        elif candidate.freshness is Freshness.STALE:
            stale.append(candidate)
            skipped.append(_stale_reason(key, sources[key], source_series, candidate, now))
        elif newer := _newer(stale, candidate, sources[key]):
            is_older_skipped = True
            skipped.append(f"{key} is older than {newer.source}, its latest rates are of {candidate.new.date}")
        elif candidate.diverges:
            diverging.append(candidate)
            skipped.append(f"{key} diverges from other banks since {candidate.new.date}")
        else:
            return candidate, "; ".join(skipped) or None
    if diverging and not is_older_skipped:
        return diverging[0], "; ".join(skipped)
    if stale:
        return max(stale, key=lambda candidate: (candidate.new.date, -candidate.choice)), "; ".join(skipped)
    return None, "; ".join(skipped) or None


def _newer(stale: Sequence[_Candidate], candidate: _Candidate, source: SourceSettings) -> _Candidate | None:
    """Return the stale candidate that is not replaced by another one, because its rates are later."""
    if source.is_irregular:
        return None
    return next((earlier for earlier in stale if earlier.new.date > candidate.new.date), None)


def _stale_reason(key: str, source: SourceSettings, series: Series, candidate: _Candidate, now: dt.datetime) -> str:
    latest = series.latest_distinct
    if latest and latest.date > candidate.latest and freshness(source, latest.date, now) is not Freshness.STALE:
        return f"{key} has not quoted it since {candidate.latest}"
    return f"{key} is stale, its latest rates are of {candidate.new.date}"


def _reason_without_candidate(
    code: str,
    ticker: TickerSettings,
    key: str,
    source: SourceSettings,
    series: Series,
    now: dt.datetime,
    check: CrossCheck | None,
) -> str:
    if quoting := series.quoting(code, ticker.base).fixings:
        if ticker.effective == "today" and quoting[0].date > today(source, now):
            return f"{key}'s rates are not in force yet"
        return f"{key} diverges from other banks"
    if check and any(fixing.quotes(code, ticker.base) for fixing in check.witnesses[key].quarantined):
        return f"{key}'s rates are quarantined"
    return f"{key} does not quote it" if series.fixings else f"{key} has no rates"


def _candidate(
    code: str,
    ticker: TickerSettings,
    key: str,
    choice: int,
    source: SourceSettings,
    series: Series,
    now: dt.datetime,
    evidence: Evidence,
    starts: PeriodStarts,
) -> _Candidate | None:
    breaks = [known for known in evidence.breaks.get(key, ()) if known.currency in (code, ticker.base)]

    def trusted(published: Sequence[Fixing]) -> TrustedRates | None:
        return trusted_rates(code, ticker.base, published, evidence.cross_check, breaks, evidence.jump)

    published = series.publications(code, ticker.base)
    in_force = latest = trusted(published)
    if ticker.effective == "today":
        day = today(source, now)
        published = tuple(fixing for fixing in published if fixing.date <= day)
        in_force = trusted(published)
    if in_force is None or latest is None:
        return None
    new, old = in_force.new, in_force.old
    factors = {
        fixing.date: conversion(breaks, code, ticker.base, fixing, new)
        for fixing in published
        if fixing.date <= new.date
    }
    old_factor = (factors[old.date] if old else None) or Fraction(1)
    history = list[Point]()
    for fixing in published[-HISTORY:]:
        factor = factors.get(fixing.date)
        if factor is not None:
            history.append(Point(fixing.date, rate(code, ticker.base, fixing, factor)))
    if _has_jump(history, evidence.jump):
        hidden = untrusted_rates(code, ticker.base, published, evidence.cross_check, breaks, evidence.jump).hidden
        history = [point for point in history if point.date not in hidden or point.date == new.date]
    diverges = in_force.latest != new.date or _quarantined_diverges(code, ticker.base, key, new, evidence.cross_check)
    latest_change = change(code, ticker.base, new, old, old_factor)
    changes = {Period.DAY: as_period_change(latest_change, old.date if old else None)}
    changes |= _longer_changes(code, ticker.base, new, series, published, starts, evidence)
    return _Candidate(
        source=key,
        choice=choice,
        change=latest_change,
        new=new,
        old=old,
        latest=latest.new.date,
        freshness=freshness(source, latest.new.date, now),
        recorded=source.recorded,
        confidence=Confidence.DIVERGING if diverges else in_force.confidence,
        diverges=diverges,
        published=tuple(history),
        changes=changes,
    )


def _has_jump(history: Sequence[Point], jump: Fraction) -> bool:
    limit = Decimal(jump.numerator) / jump.denominator
    return any(abs(later.rate - earlier.rate) > limit * earlier.rate for earlier, later in pairwise(history))


def _longer_changes(
    code: str,
    base: str,
    new: Fixing,
    series: Series,
    published: Sequence[Fixing],
    starts: PeriodStarts,
    evidence: Evidence,
) -> dict[Period, PeriodChange | None]:
    """Return the changes over the periods that begin on a calendar day; rates that other banks refute are skipped."""
    changes, breaks = dict[Period, PeriodChange | None](), evidence.breaks.get(new.source, ())
    comparable, is_interrupted = _comparable(
        code, base, [fixing for fixing in published if fixing.date <= new.date], evidence
    )
    for period in LONGER:
        day = begin(period, new.date)
        earlier = [fixing for fixing in comparable if fixing.date <= day]
        while earlier and _is_refuted(code, base, earlier[-1], evidence):
            earlier.pop()
        start: RateTable | None = in_force(earlier, day)
        if not is_interrupted and (start is None or start is series.fixings[0]):
            start = starts.get((code, base, day)) or start  # only the store knows the first day of the first rate
        changes[period] = since(code, base, new, start, breaks)
    return changes


def _comparable(code: str, base: str, published: Sequence[Fixing], evidence: Evidence) -> tuple[list[Fixing], bool]:
    """Return the last publications without a jump that must not be shown, and whether there is one before them.

    A change over a longer period must not contain what would not be shown as the change of a day.
    """
    comparable, ratio = [published[-1]], published[-1].cross_ratio(code, base)
    jump_numerator, jump_denominator = evidence.jump.as_integer_ratio()
    for fixing in reversed(published[:-1]):
        later, later_ratio, ratio = comparable[-1], ratio, fixing.cross_ratio(code, base)
        later_value, value = later_ratio[0] * ratio[1], ratio[0] * later_ratio[1]  # with a common denominator
        if abs(later_value - value) * jump_denominator > jump_numerator * value:
            if _is_refuted(code, base, fixing, evidence):
                ratio = later_ratio
                continue
            breaks = evidence.breaks.get(fixing.source, ())
            trusted = trusted_rates(code, base, (fixing, later), evidence.cross_check, breaks, evidence.jump)
            if trusted is None or trusted.old is not fixing:
                return comparable[::-1], True
        comparable.append(fixing)
    return comparable[::-1], False


def _is_refuted(code: str, base: str, fixing: Fixing, evidence: Evidence) -> bool:
    check = evidence.cross_check
    return check is not None and check.assess(fixing.source, fixing, code, base).refuted


def missing_starts(series: Series, pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str, dt.date]]:
    """Return the beginnings of periods that a series does not reach, for pairs of a currency and its base."""
    missing = set[tuple[str, str, dt.date]]()
    for code, base in pairs:
        published = series.publications(code, base)
        for new in published[-_COMPARED:]:
            for day in (begin(period, new.date) for period in LONGER):
                found = in_force(published, day)
                if found is None or found is series.fixings[0]:
                    missing.add((code, base, day))
    return missing


def _quarantined_diverges(code: str, base: str, key: str, new: Fixing, check: CrossCheck | None) -> bool:
    """Return whether the source has a later, quarantined rate that other banks refute."""
    if check is None:
        return False
    for fixing in check.witnesses[key].quarantined:
        if fixing.date > new.date and fixing.quotes(code, base):
            assessment = check.assess(key, fixing, code, base)
            if assessment.confidence is Confidence.DIVERGING:
                return True
    return False


def _quote(code: str, ticker: TickerSettings, candidate: _Candidate | None, reason: str | None) -> Quote:
    if candidate is None:
        return Quote(code, reason=reason)
    latest_change = candidate.change
    buying, selling = sides(code, ticker.base, candidate.new)
    return Quote(
        code=code,
        rate=latest_change.rate,
        previous=latest_change.previous,
        change=latest_change.change,
        percent=latest_change.percent,
        direction=latest_change.direction,
        date=candidate.new.date,
        previous_date=candidate.old.date if candidate.old else None,
        source=candidate.source,
        choice=candidate.choice,
        reason=reason,
        cross=candidate.new.base != ticker.base,
        status=candidate.status,
        confidence=candidate.confidence,
        history=candidate.published,
        changes=candidate.changes,
        buying=buying,
        selling=selling,
    )


def _next_update(
    ticker: TickerSettings,
    sources: Mapping[str, SourceSettings],
    series: Mapping[str, Series],
    used: list[_Candidate],
    now: dt.datetime,
) -> dt.datetime | None:
    """Return when the sources in use publish next; if none of them ever does, when the first source that does.

    In a ticker of the rates in force it is when a known publication takes effect, if that is before: of a source in
    use, or of one that has a higher priority.
    """
    due_times = [next_due(sources[candidate.source], candidate.latest, now) for candidate in used]
    if ticker.effective == "today":
        last_choice = max((candidate.choice for candidate in used), default=0)
        for key in ticker.sources[:last_choice]:
            day, known = today(sources[key], now), series.get(key, Series()).distinct
            coming = next((fixing.date for fixing in known if fixing.date > day), None)
            if coming:
                due_times.append(dt.datetime.combine(coming, dt.time(), sources[key].timezone).astimezone(dt.UTC))
    known_times = [due for due in due_times if due]
    if known_times:
        return min(known_times)
    for key in ticker.sources:
        due = next_due(sources[key], today(sources[key], now), now)
        if due:
            return due
    return None
