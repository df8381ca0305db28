"""In-memory state of an instance: recent fixings, the state and quarantine of each source, the snapshots.

Requests are served from it and depend on nothing else. Polls and syncs update it; it does no I/O.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import partial
from operator import is_
from typing import Final, NamedTuple

from service.domain import publication_schedule
from service.domain.arrivals import Arrivals, learned
from service.domain.bounds import rate_errors
from service.domain.breaks import Break, breaks_of
from service.domain.fixing import Fixing, Series
from service.domain.publication_days import PublicationDays, publication_days
from service.domain.publication_schedule import ExpectedArrival
from service.domain.snapshot import PublishedQuotes, Snapshot
from service.errors import RateLimited
from service.settings import AcceptanceSettings, Settings, SourceSettings, TickerSettings
from service.state.selection import Evidence, PeriodStarts, publications, snapshot
from service.validation.cross_check import CrossCheck, Publications, Tolerance, Witness, describe
from service.validation.published_change import Check, check
from service.validation.quarantine import Quarantine, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, Untrusted, ValidationContext, rate_text, untrusted_rates

KEEP = 90
"""Dates per source that are kept in memory: enough for a sparkline of 30 publications and their carry-overs."""

MOST_LEFT_OUT = 5
"""Problems of unreadable rates that are kept per source."""

_LATE_WRITE: Final = timedelta(hours=1)
"""A stored state that is older than ours by less is a late write, and ignored; by more, our clock was ahead."""

_CACHED_UNTRUSTED: Final = 1000
"""Maximum number of cached `Untrusted`, of less than 1 KB each."""

CHECKED: Final = 20
"""Latest fixings of a history that are compared with other banks, whatever their changes are."""

MISSED = 10
"""Publications for which a currency is reported as missing; after that it counts as discontinued."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """Result of the last polls of a source; times are in UTC."""

    polled_at: datetime | None = None
    succeeded_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    error: str | None = None
    not_before: datetime | None = None
    """End of the pause that the bank has demanded."""
    left_out: tuple[str, ...] = ()
    """Rates and days of the last responses that could not be read, at most `MOST_LEFT_OUT`."""

    def after_failure(self, now: datetime, error: Exception | str) -> "SourceState":
        return replace(
            self,
            polled_at=now,
            failing_since=self.failing_since or now,
            failures=self.failures + 1,
            error=str(error),
            not_before=error.until
            if isinstance(error, RateLimited)
            else publication_schedule.pause_end(self.not_before, now),
        )


class Applied(NamedTuple):
    """Effect of judgements on a quarantine.

    `changed` are entries to store, `news` those of them that are new or have other rates, `ended` the decisions on
    entries that ended.
    """

    changed: list[QuarantinedFixing]
    news: list[QuarantinedFixing]
    ended: list[QuarantineDecision]


class _Built(NamedTuple):
    """A snapshot with what it was built from: it is valid from `since` until `until`, while the inputs are the same."""

    inputs: Sequence[object]
    since: datetime
    until: datetime
    snapshot: Snapshot | None

    def serves(self, inputs: Sequence[object], now: datetime) -> bool:
        """Return whether the same inputs give the same snapshot now; they are immutable and compared by identity."""
        return self.since <= now < self.until and all(map(is_, self.inputs, inputs))


@dataclass
class MemoryState:
    settings: Settings
    states: dict[str, SourceState] = field(default_factory=dict)
    watchers: list[Callable[[Snapshot], None]] = field(default_factory=list)
    """Callbacks that receive each changed snapshot."""
    quarantine: dict[str, Quarantine] = field(default_factory=dict)
    stored_from: dict[str, date] = field(default_factory=dict)
    """The oldest date of a source that was loaded from the store, if the store has older ones."""
    period_starts: dict[str, PeriodStarts] = field(default_factory=dict)
    """By source: the stored publications with which rates in memory are compared over long periods."""
    _series: dict[str, Series] = field(default_factory=dict)
    _snapshots: dict[str, Snapshot] = field(default_factory=dict)
    _arrivals: dict[str, tuple[Series, Arrivals | None]] = field(default_factory=dict)
    """Cache by source: what was learned from a series."""
    _due_polls: dict[str, tuple[SourceState, Series, datetime | None, datetime | None]] = field(default_factory=dict)
    """Cache by source: when the poll after the last one was due, by what decides on it."""
    _days: dict[str, tuple[Series, frozenset[date], PublicationDays]] = field(default_factory=dict)
    """Cache by source: what became of its last publications."""
    _built: dict[str, _Built] = field(default_factory=dict)
    """Cache by ticker: its last snapshot. Most polls bring nothing new, and followers look every few seconds."""
    _configured_breaks: dict[str, tuple[Break, ...]] = field(default_factory=dict)
    """By source: the breaks that are known without an operator."""
    _cross_check: CrossCheck | None = None
    _untrusted: dict[tuple[str, str, str, tuple[Break, ...]], Untrusted] = field(default_factory=dict)
    """Cache by source, currency, base and breaks; it is valid for the comparison `_untrusted_by`."""
    _untrusted_by: CrossCheck | None = None
    _witnesses: dict[str, tuple[tuple[int, ...], Witness, object]] = field(default_factory=dict)
    """Cache by source: the identities of the witness's inputs, the witness, and references that keep them alive."""

    def __post_init__(self) -> None:
        for key in self.settings.polled:
            self.states.setdefault(key, SourceState())
            self._series.setdefault(key, Series())
            self.quarantine.setdefault(key, Quarantine())
        self._configured_breaks = {key: configured_breaks(source) for key, source in self.settings.sources.items()}

    def series(self, source: str) -> Series:
        return self._series[source]

    def reset(self, source: str, fixings: Iterable[Fixing]) -> None:
        """Replace all fixings of a source; oldest first."""
        self._series[source] = Series(tuple(fixings))

    def add(self, fixing: Fixing) -> None:
        """Add an accepted fixing, or replace the one of its date."""
        self._series[fixing.source] = self._series[fixing.source].with_fixing(fixing, KEEP)

    def apply_judgements(self, source: str, judgements: Sequence[Judgement], now: datetime) -> Applied:
        """Apply judgements: publish the accepted rates, quarantine the suspicious ones."""
        for judgement in judgements:
            if judgement.publish:
                self.add(judgement.publish)
        quarantine = self.quarantine[source]
        previous_entries = dict(quarantine.waiting)
        changed, ended = quarantine.receive(judgements, now)
        news = list[QuarantinedFixing]()
        for entry in changed:
            previous = previous_entries.get(entry.fixing.date)
            if previous is None or not previous.fixing.has_same_rates(entry.fixing):
                news.append(entry)
        return Applied(changed, news, ended)

    def drop_rejected(self, source: str) -> None:
        """Remove the rates that an operator has rejected or retracted."""
        quarantine, kept, is_changed = self.quarantine[source], list[Fixing](), False
        for fixing in self._series[source].fixings:
            remaining = quarantine.without_rejected(fixing)
            if remaining.rates:
                kept.append(remaining)
            if remaining is not fixing:
                is_changed = True
        if is_changed:
            self.reset(source, kept)

    def merge_states(self, stored: Mapping[str, SourceState], now: datetime, unwritten: Collection[str] = ()) -> None:
        """Replace the state of each source by the stored one, unless its own state is newer or still `unwritten`.

        The stored one is older after a partition: an instance wrote late, or an outdated replica was promoted. One that
        is much older, or older than one from the future, replaces it nevertheless: a clock is or was ahead, and the own
        state would hide all later ones.
        """
        for key, state in stored.items():
            own = self.states.get(key)
            if own is None or key in unwritten or state.polled_at is None or state == own:
                continue
            if own.polled_at is None or not state.polled_at < own.polled_at <= min(now, state.polled_at + _LATE_WRITE):
                self.states[key] = state

    def next_poll(self, source: str, now: datetime, polled: datetime | None = None) -> datetime:
        """Return when a source is polled next, without jitter; `polled` is the last poll if it is not recorded yet."""
        latest, state = self._series[source].latest_distinct, self.states[source]
        return publication_schedule.next_poll(
            self.settings.polled[source],
            latest.date if latest else None,
            polled or state.polled_at,
            now,
            state.not_before,
            self.expected_arrival(source, now),
            state.failures,
            self._suspicious_since(source),
        )

    def poll_due(self, source: str) -> datetime | None:
        """Return when the poll after the last one was due, whichever instance polls; None if there was no poll."""
        state, series = self.states[source], self._series[source]
        known_state, known_series, known_since, due = self._due_polls.get(source, (None, None, None, None))
        since = self._suspicious_since(source)
        if known_state is not state or known_series is not series or known_since != since:
            due = self.next_poll(source, state.polled_at) if state.polled_at else None
            self._due_polls[source] = state, series, since, due
        return due

    def _suspicious_since(self, source: str) -> datetime | None:
        return max((entry.since for entry in self.suspicious(source)), default=None)

    def expected_arrival(self, source: str, now: datetime) -> ExpectedArrival | None:
        """Return when the next publication of a source is expected; None if too few were observed."""
        settings, series = self.settings.polled[source], self._series[source]
        known_series, arrivals = self._arrivals.get(source, (None, None))
        if known_series is not series:
            arrivals = learned(settings, series)
            self._arrivals[source] = (series, arrivals)
        if arrivals is None or series.latest_distinct is None:
            return None
        publication = publication_schedule.awaited(settings, series.latest_distinct.date, now)
        return arrivals.of(publication) if publication else None

    def publication_days(self, source: str, now: datetime) -> PublicationDays:
        """Return what became of the last publications of a source; a cache miss takes about a millisecond."""
        series, quarantined = self._series[source], frozenset(self.quarantine[source].waiting)
        known_series, known_quarantined, days = self._days.get(source, (None, None, None))
        if days is None or known_series is not series or known_quarantined != quarantined or now >= days.valid_until:
            days = publication_days(self.settings.polled[source], series, quarantined, now)
            self._days[source] = series, quarantined, days
        return days

    def expected_change(self, snapshot: Snapshot, now: datetime) -> ExpectedArrival | None:
        """Return when a snapshot is expected to change: the next expected publication of a source in use."""
        sources = {quote.source for quote in snapshot.quotes if quote.source in self.settings.polled}
        arrivals = [self.expected_arrival(source, now) for source in sources if source]
        coming = [arrival for arrival in arrivals if arrival and arrival.end > now]
        return min(coming, key=lambda arrival: arrival.begin, default=None)

    def oldest_complete_date(self, source: str) -> date:
        """Return the date from which on memory has all stored fixings; earlier fixings cannot be validated."""
        fixings = self._series[source].fixings
        oldest_kept = fixings[0].date if len(fixings) >= KEEP else date.min
        return max(oldest_kept, self.stored_from.get(source, date.min))

    def pending_quarantine(self, source: str) -> list[QuarantinedFixing]:
        """Return the quarantined fixings that affect current quotes: from the publication before the latest on."""
        published = self._series[source].distinct[-2:]
        waiting = self.quarantine[source].waiting
        return [waiting[day] for day in sorted(waiting) if not published or day >= published[0].date]

    def suspicious(self, source: str) -> list[QuarantinedFixing]:
        """Return the quarantined fixings that affect current quotes and have rates that a ticker needs."""
        return [entry for entry in self.pending_quarantine(source) if self.needed_reasons(source, entry)]

    def own_check(self, source: str) -> Check | None:
        """Compare the latest changes with the bank's own; None if the source has no rates yet."""
        series = self._series[source]
        latest = series.latest_distinct
        return check(latest, series.before(latest.date), self.settings.polled[source]) if latest else None

    def needed(self, source: str) -> frozenset[str]:
        """Return the currencies of a source that tickers need, as quote, base or cross; all if no ticker names it."""
        currencies = self.settings.wanted(source)
        return frozenset(currencies) if currencies else frozenset(self.settings.sources[source].quotes)

    def needed_reasons(self, source: str, entry: QuarantinedFixing) -> tuple[str, ...]:
        """Return the reasons for the quarantine of rates that a ticker needs; empty if it needs none of them."""
        needed, rates = self.needed(source), entry.fixing.rates
        if rates and not needed & rates.keys():
            return ()
        # A reason starts with the code of its currency, unless it concerns the whole document.
        return tuple(reason for reason in entry.reasons if reason[:3] in needed or reason[:3] not in rates)

    def diverging(self, source: str) -> dict[str, str]:
        """Return the needed rates that other banks refute, by currency, as text with the level of those banks.

        The latest rate of each currency counts: of the latest publication, or quarantined since.
        """
        published, check, needed = self._series[source].latest_distinct, self.cross_check, self.needed(source)
        documents = sorted(check.witnesses[source].quarantined, key=lambda fixing: fixing.date)
        if published:
            documents = [published, *(fixing for fixing in documents if fixing.date >= published.date)]
        latest_by_code = dict[str, Fixing]()
        for fixing in documents:
            latest_by_code.update(dict.fromkeys(needed & fixing.rates.keys(), fixing))
        diverging = dict[str, str]()
        for code, fixing in sorted(latest_by_code.items()):
            assessment = check.assess(source, fixing, code)
            if assessment.refuted:
                levels = describe(assessment.disagreeing)
                diverging[code] = f"{code} {rate_text(fixing, code)} on {fixing.date} ({levels})"
        return diverging

    def refuted(self, source: str, fixings: Iterable[Fixing], code: str, base: str) -> set[date]:
        """Return the dates of the fixings whose rate of `code` in `base` other banks refute."""
        check = self.cross_check
        return {fixing.date for fixing in fixings if check.assess(source, fixing, code, base).refuted}

    def untrusted(self, source: str, code: str, base: str) -> Untrusted:
        """Return the dates in memory whose rate of `code` in `base` may not be shown as it is, carry-overs included.

        Cached until what is known changes: histories need it at each request.
        """
        check, breaks = self.cross_check, self.breaks(source)
        if self._untrusted_by is not check or len(self._untrusted) >= _CACHED_UNTRUSTED:
            self._untrusted.clear()
            self._untrusted_by = check
        key = source, code, base, breaks
        if key not in self._untrusted:
            self._untrusted[key] = self._find_untrusted(source, code, base, check, breaks)
        return self._untrusted[key]

    def _find_untrusted(
        self, source: str, code: str, base: str, check: CrossCheck, breaks: Sequence[Break]
    ) -> Untrusted:
        known = self._series[source].fixings
        is_continued = len(known) >= KEEP and known[0].quotes(code, base)  # the store has the publications before
        series = self._series[source].quoting(code, base)
        refuted = self.refuted(source, series.fixings[-CHECKED:], code, base)
        published = [fixing for fixing in series.publications(code, base) if fixing.date not in refuted]
        untrusted = untrusted_rates(code, base, published, check, breaks, self.jump, is_continued=is_continued)
        hidden, first_days, is_hidden = set(refuted), {fixing.date for fixing in published}, False
        for fixing in series.fixings:
            if fixing.date in first_days:
                is_hidden = fixing.date in untrusted.hidden
            if is_hidden:
                hidden.add(fixing.date)
        return Untrusted(frozenset(hidden), untrusted.without_change)

    def missing(self, source: str) -> tuple[str, ...]:
        """Return the needed currencies that the latest publication lacks and one of the `MISSED` before it has.

        Those that are quarantined, or that an operator has rejected or retracted, are not missing.

        Rates that are entered at no set times need not be complete.
        """
        if self.settings.sources[source].is_irregular:
            return ()
        published = self._series[source].distinct[-1 - MISSED :]
        if not published:
            return ()
        *earlier, latest = published
        current_codes = {*latest.rates, *self.quarantine[source].unpublished(latest.date)}
        earlier_codes = set[str]().union(*(fixing.rates for fixing in earlier))
        return tuple(sorted((self.needed(source) & earlier_codes) - current_codes))

    def breaks(self, source: str) -> tuple[Break, ...]:
        """Return the known breaks of a source's currencies, including those declared by an operator."""
        return (*self._configured_breaks[source], *self.quarantine[source].breaks)

    def context(self, source: str, now: datetime, series: Series | None = None) -> ValidationContext:
        """Return the context for the validation of a source's fixings: its calendar, other sources, decisions.

        `series` replaces the source's own series, if it is about to be loaded.
        """
        quarantine, cross_check = self.quarantine[source], self.cross_check.copied()
        if series is not None:
            witnesses = {**cross_check.witnesses, source: witness_of(self.settings.sources[source], source, series)}
            cross_check = CrossCheck(witnesses, cross_check.tolerance, cross_check.accepted)
        return validation_context(self.settings, source, now, cross_check, quarantine.rejected, self.breaks(source))

    @property
    def cross_check(self) -> CrossCheck:
        """The comparison of all sources as currently known; cached until one of them changes."""
        changed = False
        for key, series in self._series.items():
            entries = tuple(self.quarantine[key].waiting.values())
            identities = (id(series), id(self.quarantine[key].accepted), *map(id, entries))
            cached_identities, cached_witness, _ = self._witnesses.get(key, (None, None, None))
            if cached_identities == identities:
                continue
            valid = [entry.fixing.without(rate_errors(entry.fixing)) for entry in entries]
            quarantined = [series.completed(fixing) for fixing in valid if fixing.rates]
            witness = witness_of(self.settings.sources[key], key, series, quarantined)
            if cached_witness and cached_witness.publications.series is series:
                witness = replace(witness, publications=cached_witness.publications)
            self._witnesses[key] = (identities, witness, entries)
            changed = True
        if changed or self._cross_check is None:
            self._cross_check = CrossCheck(
                {key: witness for key, (_, witness, _) in self._witnesses.items()},
                tolerance(self.settings.acceptance),
                {key: quarantine.accepted for key, quarantine in self.quarantine.items()},
                pairings=self._cross_check.pairings if self._cross_check else {},
            )
        return self._cross_check

    def cross_check_of(self, series_by_source: Mapping[str, Series]) -> CrossCheck:
        """Return the comparison of sources by the given series instead of those in memory."""
        sources = self.settings.sources
        witnesses = {key: witness_of(sources[key], key, series) for key, series in series_by_source.items()}
        accepted = {key: quarantine.accepted for key, quarantine in self.quarantine.items()}
        return CrossCheck(witnesses, tolerance(self.settings.acceptance), accepted)

    @property
    def evidence(self) -> Evidence:
        """What decides which rates may be published: the comparison of sources, breaks, the largest change."""
        breaks = {key: self.breaks(key) for key in self._series}
        return Evidence(self.cross_check, breaks, self.jump)

    @property
    def jump(self) -> Fraction:
        """The largest change, as a fraction, that is shown without confirmation."""
        return Fraction(self.settings.acceptance.jump) / 100

    @property
    def snapshots(self) -> Mapping[str, Snapshot]:
        return self._snapshots

    def refresh(self, now: datetime) -> tuple[Snapshot, ...]:
        """Rebuild the snapshots of all tickers and show them; return those that changed."""
        build = self.selection(now)
        shown = [self.show(build(ticker)) for ticker in self.settings.tickers]
        return tuple(changed for changed in shown if changed)

    def selection(self, now: datetime) -> Callable[[TickerSettings], Snapshot | None]:
        """Return a function that builds the snapshot of a ticker from what is known now, in any thread.

        A snapshot changes with a new fixing, or with time (`late`): it is built again only then.
        """
        polled, series, evidence = self.settings.polled, dict(self._series), self.evidence
        snapshots, starts = dict(self._snapshots), dict(self.period_starts)
        declared = {key: quarantine.breaks for key, quarantine in self.quarantine.items()}

        def build(ticker: TickerSettings) -> Snapshot | None:
            before, inputs = snapshots.get(ticker.id), list[object]([evidence.cross_check])
            for key in ticker.sources:
                inputs += [series[key], starts.get(key), declared[key]]
            built = self._built.get(ticker.id)
            if built and built.snapshot is before and built.serves(inputs, now):
                return before
            new = snapshot(ticker, polled, series, now, evidence, before, starts)
            until = min(publication_schedule.next_boundary(polled[key], now) for key in ticker.sources)
            # Equal to the one shown, which stays: it is that which the next call compares.
            self._built[ticker.id] = _Built(inputs, now, until, before if new == before else new)
            return new

        return build

    def publications(self) -> Callable[[Snapshot, int], tuple[PublishedQuotes, ...]]:
        """Return a function that returns the last publications behind a snapshot, newest first, at most so many.

        It uses what is known now, in any thread.
        """
        series, evidence = dict(self._series), self.evidence
        return lambda shown, count: publications(shown, series, evidence, count)

    def show(self, new: Snapshot | None) -> Snapshot | None:
        """Take over a snapshot and notify watchers if it differs from the one shown; return it then.

        A snapshot is never removed: if none of its rates may be published any more, its quotes are empty.
        """
        if new is None or new == self._snapshots.get(new.id):
            return None
        self._snapshots[new.id] = new
        for watcher in self.watchers:
            watcher(new)
        return new


def witness_of(source: SourceSettings, key: str, series: Series, quarantined: Sequence[Fixing] = ()) -> Witness:
    """Return a source as input for the comparison with others."""
    worked = publication_schedule.worked_days(source, series)
    publications = Publications(series, partial(publication_schedule.market_day, source, worked=worked))
    return Witness(key, publications, quarantined, frozenset(source.not_compared))


def configured_breaks(source: SourceSettings) -> tuple[Break, ...]:
    """Return the breaks of a source: known redenominations, and those of its settings."""
    return breaks_of([Break(declared.currency, declared.date, declared.factor) for declared in source.breaks])


def tolerance(settings: AcceptanceSettings) -> Tolerance:
    """Return the tolerance of the comparison of sources."""
    return Tolerance(float(settings.tolerance) / 100)


def validation_context(
    settings: Settings,
    source: str,
    now: datetime,
    cross_check: CrossCheck | None,
    rejected: Mapping[date, Collection[Fixing]],
    breaks: Sequence[Break],
    *,
    backfill: bool = False,
) -> ValidationContext:
    """Return the context for the validation of a source's fixings at `now`."""
    return ValidationContext(
        publication_schedule.latest_possible_date(settings.sources[source], now),
        Fraction(settings.acceptance.jump) / 100,
        cross_check,
        rejected,
        breaks,
        backfill,
    )
