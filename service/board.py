"""What this instance knows and shows: recent fixings, the state of each source, the snapshots.

All of it is in memory, so readers depend on nothing else. The board is told; it asks nobody.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from fractions import Fraction
from itertools import product

from service import publications
from service.acceptance import Rules, unusable
from service.fixings import Fixing, Series
from service.own_change import Check, check
from service.quarantine import Quarantine, Waiting
from service.settings import Settings, TickerSettings
from service.ticker import Snapshot, snapshot

KEEP = 90
"""Dates of a source that are kept in memory: a sparkline of 30 publications and their carry-overs."""


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


@dataclass
class Board:
    settings: Settings
    states: dict[str, SourceState] = field(default_factory=dict)
    watchers: list[Callable[[Snapshot], None]] = field(default_factory=list)
    """Called with each snapshot that differs from the one before."""
    quarantine: dict[str, Quarantine] = field(default_factory=dict)
    stored_from: dict[str, date] = field(default_factory=dict)
    """The oldest date of a source that was read from the store, where the store has older ones."""
    _series: dict[str, Series] = field(default_factory=dict)
    _snapshots: dict[str, Snapshot] = field(default_factory=dict)

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

    def follow(self, states: Mapping[str, SourceState]) -> None:
        """Take in how polls went that others made since."""
        for key, state in states.items():
            known = self.states.get(key)
            if known and state.polled_at and (known.polled_at is None or known.polled_at < state.polled_at):
                self.states[key] = state

    def known_from(self, source: str) -> date:
        """Return the date since when all that is stored is known here: what is dated before cannot be judged."""
        fixings = self._series[source].fixings
        forgotten = fixings[0].date if len(fixings) >= KEEP else date.min
        return max(forgotten, self.stored_from.get(source, date.min))

    def held_up(self, source: str) -> list[Waiting]:
        """Return what waits and would be news: what has been passed by since holds nothing up."""
        latest = self._series[source].latest
        waiting = self.quarantine[source].waiting
        return [waiting[day] for day in sorted(waiting) if latest is None or day >= latest.date]

    def own_check(self, source: str) -> Check | None:
        """Return what the bank's own changes say of the latest figures; None where there are none."""
        series = self._series[source]
        news = series.news
        return check(news, series.before(news.date), self.settings.polled[source]) if news else None

    def rules(self, source: str, now: datetime) -> Rules:
        """Return by what a fixing of a source is judged: its calendar, and what the other sources say.

        What waits there is a word too: at a true jump two banks wait for each other.
        """
        others = {key: self._said(key) for key in self._series if key != source}
        return rules(self.settings, source, now, others, self.quarantine[source].rejected)

    def _said(self, source: str) -> Series:
        waiting = (one.fixing for one in self.quarantine[source].waiting.values())
        said = self._series[source]
        for fixing in waiting:
            if not unusable(fixing):
                said = said.with_fixing(fixing, KEEP)
        return said

    @property
    def snapshots(self) -> Mapping[str, Snapshot]:
        return self._snapshots

    def refresh(self, now: datetime, *tickers: TickerSettings) -> tuple[Snapshot, ...]:
        """Make the snapshots of these tickers anew, of all where none is named.

        Returns those that differ: a fixing came, or time made one late. A snapshot is never taken away.
        """
        wanted = tickers or self.settings.tickers
        made = (snapshot(ticker, self.settings.polled, self._series, now) for ticker in wanted)
        changed = tuple(new for new in made if new and new != self._snapshots.get(new.id))
        self._snapshots.update((new.id, new) for new in changed)
        for new, watcher in product(changed, self.watchers):
            watcher(new)
        return changed


def rules(
    settings: Settings,
    source: str,
    now: datetime,
    others: Mapping[str, Series],
    rejected: Mapping[date, Collection[Fixing]],
) -> Rules:
    """Return by what a fixing of a source is judged at `now`, beside what `others` have published."""
    limits = settings.acceptance
    return Rules(
        publications.horizon(settings.sources[source], now),
        Fraction(limits.jump) / 100,
        Fraction(limits.tolerance) / 100,
        others,
        settings.wanted(source) if settings.sources[source].provider else None,
        rejected,
    )
