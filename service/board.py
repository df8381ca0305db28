"""What this instance knows and shows: recent fixings, the state of each source, the snapshots.

All of it is in memory, so readers depend on nothing else. The board is told; it asks nobody.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import product

from service.fixings import Fixing, Series
from service.settings import Settings
from service.ticker import Snapshot, snapshot

KEEP = 90
"""Dates of a source that are kept in memory: a sparkline of 30 publications and their carry-overs."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A fixing that was not published, and why."""

    date: date
    reasons: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class SourceState:
    """How polling a source went; times are in UTC. `refused` is what the last answer had that we do not publish."""

    polled_at: datetime | None = None
    succeeded_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    error: str | None = None
    refused: tuple[Refusal, ...] = ()

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
    _series: dict[str, Series] = field(default_factory=dict)
    _snapshots: dict[str, Snapshot] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.settings.polled:
            self.states.setdefault(key, SourceState())
            self._series.setdefault(key, Series())

    def series(self, source: str) -> Series:
        return self._series[source]

    def add(self, fixing: Fixing) -> None:
        """Take in an accepted fixing, in place of what was known for its date."""
        self._series[fixing.source] = self._series[fixing.source].with_fixing(fixing, KEEP)

    @property
    def snapshots(self) -> Mapping[str, Snapshot]:
        return self._snapshots

    def refresh(self, now: datetime) -> tuple[Snapshot, ...]:
        """Make the snapshots anew and return those that differ: a fixing came, or time made one late.

        A snapshot is never taken away.
        """
        made = (snapshot(ticker, self.settings.polled, self._series, now) for ticker in self.settings.tickers)
        changed = tuple(new for new in made if new and new != self._snapshots.get(new.id))
        self._snapshots.update((new.id, new) for new in changed)
        for new, watcher in product(changed, self.watchers):
            watcher(new)
        return changed
