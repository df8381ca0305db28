"""What this instance knows and shows: recent fixings, the state of each source, the snapshots.

All of it is in memory, so requests depend on nothing else. It is updated by polls and syncs, and does no I/O.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from fractions import Fraction
from functools import partial
from itertools import product
from typing import NamedTuple

from service.domain import publication_schedule
from service.domain.bounds import rate_errors
from service.domain.breaks import Break, breaks_of
from service.domain.fixing import Fixing, Series
from service.domain.snapshot import Snapshot
from service.settings import AcceptanceSettings, Settings, SourceSettings, TickerSettings
from service.state.selection import Evidence, snapshot
from service.validation.cross_check import CrossCheck, Tolerance, Witness, describe
from service.validation.published_change import Check, check
from service.validation.quarantine import Quarantine, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, ValidationContext, rate_text

KEEP = 90
"""Dates of a source that are kept in memory: a sparkline of 30 publications and their carry-overs."""

MISSED = 10
"""Publications for which a currency is reported as missing; after that the source has dropped it."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """How polling a source went; times are in UTC."""

    polled_at: datetime | None = None
    succeeded_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    error: str | None = None

    def after_failure(self, now: datetime, error: str) -> "SourceState":
        return replace(
            self, polled_at=now, failing_since=self.failing_since or now, failures=self.failures + 1, error=error
        )


class Applied(NamedTuple):
    """What judgements changed in quarantine: entries to store, those of them that are new, and those that ended."""

    changed: list[QuarantinedFixing]
    news: list[QuarantinedFixing]
    ended: list[QuarantineDecision]


@dataclass
class MemoryState:
    settings: Settings
    states: dict[str, SourceState] = field(default_factory=dict)
    watchers: list[Callable[[Snapshot], None]] = field(default_factory=list)
    """Called with each snapshot that differs from the one before."""
    quarantine: dict[str, Quarantine] = field(default_factory=dict)
    stored_from: dict[str, date] = field(default_factory=dict)
    """The oldest date of a source that was read from the store, where the store has older ones."""
    _series: dict[str, Series] = field(default_factory=dict)
    _snapshots: dict[str, Snapshot] = field(default_factory=dict)
    _cross_check: CrossCheck | None = None
    _witnesses: dict[str, tuple[tuple[int, ...], Witness, object]] = field(default_factory=dict)
    """By source: the identities of what its witness was made of, the witness, and what keeps these identities."""

    def __post_init__(self) -> None:
        for key in self.settings.polled:
            self.states.setdefault(key, SourceState())
            self._series.setdefault(key, Series())
            self.quarantine.setdefault(key, Quarantine())

    def series(self, source: str) -> Series:
        return self._series[source]

    def reset(self, source: str, fixings: Iterable[Fixing]) -> None:
        """Take these fixings for all that is known of a source, oldest first."""
        self._series[source] = Series(tuple(fixings))

    def add(self, fixing: Fixing) -> None:
        """Take in an accepted fixing, in place of what was known for its date."""
        self._series[fixing.source] = self._series[fixing.source].with_fixing(fixing, KEEP)

    def apply_judgements(self, source: str, judgements: Sequence[Judgement], now: datetime) -> Applied:
        """Take in what was judged: the good rates into the series, the suspicious ones into quarantine."""
        for one in judgements:
            if one.publish:
                self.add(one.publish)
        quarantine = self.quarantine[source]
        before = dict(quarantine.waiting)
        changed, ended = quarantine.receive(judgements, now)
        news = [
            one
            for one in changed
            if not (known := before.get(one.fixing.date)) or not known.fixing.same_figures(one.fixing)
        ]
        return Applied(changed, news, ended)

    def drop_rejected(self, source: str) -> None:
        """Take back the rates that an operator does not want published."""
        quarantine, known = self.quarantine[source], self._series[source].fixings
        kept = [left for fixing in known if (left := quarantine.without_rejected(fixing)).rates]
        if len(kept) < len(known) or any(one is not other for one, other in zip(kept, known, strict=True)):
            self.reset(source, kept)

    def merge_states(self, states: Mapping[str, SourceState]) -> None:
        """Take in how polls went that others made since."""
        for key, state in states.items():
            known = self.states.get(key)
            if known and state.polled_at and (known.polled_at is None or known.polled_at < state.polled_at):
                self.states[key] = state

    def oldest_complete_date(self, source: str) -> date:
        """Return the date since when all that is stored is known here: what is dated before cannot be judged."""
        fixings = self._series[source].fixings
        forgotten = fixings[0].date if len(fixings) >= KEEP else date.min
        return max(forgotten, self.stored_from.get(source, date.min))

    def pending_quarantine(self, source: str) -> list[QuarantinedFixing]:
        """Return what is in quarantine and matters to what is shown: from the publication before the latest on."""
        published = self._series[source].distinct[-2:]
        waiting = self.quarantine[source].waiting
        return [waiting[day] for day in sorted(waiting) if not published or day >= published[0].date]

    def own_check(self, source: str) -> Check | None:
        """Compare the latest rates with the bank's own changes; None where it publishes none."""
        series = self._series[source]
        news = series.latest_distinct
        return check(news, series.before(news.date), self.settings.polled[source]) if news else None

    def needed(self, source: str) -> frozenset[str]:
        """Return the currencies of a source that a ticker needs, as quote, base or cross; all where none names it."""
        wanted = self.settings.wanted(source)
        return frozenset(wanted) if wanted else frozenset(self.settings.sources[source].quotes)

    def needed_reasons(self, source: str, held: QuarantinedFixing) -> tuple[str, ...]:
        """Return why rates are in quarantine that a ticker needs; nothing where it needs none of them."""
        needed = self.needed(source)
        if held.fixing.rates and not needed & held.fixing.rates.keys():
            return ()
        return tuple(one for one in held.reasons if one[:3] in needed or one[:3] not in held.fixing.rates)

    def diverging(self, source: str) -> dict[str, str]:
        """Return the needed rates that other banks refute, each with where they have it.

        Of each currency the latest rate counts: that of the latest publication, or one in quarantine since.
        """
        news, check = self._series[source].latest_distinct, self.cross_check
        held = [one for one in check.witnesses[source].held if news is None or one.date >= news.date]
        documents = [*([news] if news else []), *sorted(held, key=lambda one: one.date)]
        latest = {code: one for one in documents for code in sorted(self.needed(source) & one.rates.keys())}
        assessed = {code: (one, check.assess(source, one, code)) for code, one in sorted(latest.items())}
        return {
            code: f"{code} {rate_text(one, code)} on {one.date} ({describe(assessment.against)})"
            for code, (one, assessment) in assessed.items()
            if assessment.refuted
        }

    def refuted(self, source: str, fixings: Iterable[Fixing], code: str, base: str) -> set[date]:
        """Return of which dates other banks refute the published rate of `code` in `base`."""
        check = self.cross_check
        return {one.date for one in fixings if check.assess(source, one, code, base).refuted}

    def missing(self, source: str) -> tuple[str, ...]:
        """Return the needed currencies that the latest publication lacks and one of the `MISSED` before it quotes."""
        published = self._series[source].distinct[-1 - MISSED :]
        if not published:
            return ()
        *before, latest = published
        held = self.quarantine[source].waiting.get(latest.date)
        known = latest.rates.keys() | (held.fixing.rates.keys() if held else set())
        quoted = {code for one in before for code in one.rates}
        return tuple(sorted((self.needed(source) & quoted) - known))

    def breaks(self, source: str) -> tuple[Break, ...]:
        """Return the known breaks of a source's currencies, those that an operator declared included."""
        return (*configured_breaks(self.settings.sources[source]), *self.quarantine[source].breaks)

    def context(self, source: str, now: datetime) -> ValidationContext:
        """Return what a fixing of a source is judged by: its calendar, and what the other sources say."""
        quarantine = self.quarantine[source]
        return validation_context(
            self.settings, source, now, self.cross_check, quarantine.rejected, self.breaks(source)
        )

    @property
    def cross_check(self) -> CrossCheck:
        """All sources beside each other, as they are known now; the same object until one of them changes."""
        changed = False
        for key, series in self._series.items():
            held = tuple(self.quarantine[key].waiting.values())
            state = (id(series), id(self.quarantine[key].accepted), *map(id, held))
            known = self._witnesses.get(key)
            if known is None or known[0] != state:
                sound = [one.fixing.without(rate_errors(one.fixing)) for one in held]
                documents = [series.completed(one) for one in sound if one.rates]
                witness = witness_of(self.settings.sources[key], key, series, documents)
                self._witnesses[key] = (state, witness, held)
                changed = True
        if changed or self._cross_check is None:
            self._cross_check = CrossCheck(
                {key: witness for key, (_, witness, _) in self._witnesses.items()},
                tolerance(self.settings.acceptance),
                {key: quarantine.accepted for key, quarantine in self.quarantine.items()},
            )
        return self._cross_check

    def cross_check_of(self, known: Mapping[str, Series]) -> CrossCheck:
        """Return sources beside each other by other fixings than those in memory."""
        sources = self.settings.sources
        witnesses = {key: witness_of(sources[key], key, series) for key, series in known.items()}
        accepted = {key: quarantine.accepted for key, quarantine in self.quarantine.items()}
        return CrossCheck(witnesses, tolerance(self.settings.acceptance), accepted)

    @property
    def evidence(self) -> Evidence:
        """What decides which rates may be shown."""
        breaks = {key: self.breaks(key) for key in self._series}
        return Evidence(self.cross_check, breaks, Fraction(self.settings.acceptance.jump) / 100)

    @property
    def snapshots(self) -> Mapping[str, Snapshot]:
        return self._snapshots

    def refresh(self, now: datetime, *tickers: TickerSettings) -> tuple[Snapshot, ...]:
        """Make the snapshots of these tickers anew, of all where none is named.

        Returns those that differ: a fixing came, or time made one late. A snapshot is never taken away; where none of
        its rates may be shown any more, its quotes are empty.
        """
        wanted, evidence = tickers or self.settings.tickers, self.evidence
        known = self._snapshots
        made = (snapshot(one, self.settings.polled, self._series, now, evidence, known.get(one.id)) for one in wanted)
        changed = tuple(new for new in made if new and new != self._snapshots.get(new.id))
        self._snapshots.update((new.id, new) for new in changed)
        for new, watcher in product(changed, self.watchers):
            watcher(new)
        return changed


def witness_of(source: SourceSettings, key: str, series: Series, held: Sequence[Fixing] = ()) -> Witness:
    """Return a source as it is compared with others."""
    return Witness(key, series, partial(publication_schedule.market_day, source), held, frozenset(source.not_compared))


def configured_breaks(source: SourceSettings) -> tuple[Break, ...]:
    return breaks_of([Break(one.currency, one.date, one.factor) for one in source.breaks])


def tolerance(settings: AcceptanceSettings) -> Tolerance:
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
    """Return what a fixing of a source is judged by at `now`."""
    return ValidationContext(
        publication_schedule.latest_possible_date(settings.sources[source], now),
        Fraction(settings.acceptance.jump) / 100,
        cross_check,
        rejected,
        breaks,
        backfill,
    )
