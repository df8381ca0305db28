"""Inventory of the store: which effective dates it has, and which it has lost. Pure.

An instance knows what it has seen in the store. What is missing later was lost, unless an operator removed it: by a
server without persistence that was restarted, FLUSHALL, eviction, or an older backup.
"""

from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

_ORDINALS = "I"
"""Dates are kept as ordinals in arrays: 27 years of 17 sources take half a megabyte."""


class Loss(NamedTuple):
    """Dates that were found to be lost, oldest first; `held` are those still in memory, which are written again."""

    dates: list[date]
    held: list[date]


@dataclass
class Inventory:
    """The stored dates of each source, as of the last sync."""

    _known: dict[str, "array[int]"] = field(default_factory=dict)
    """By source: all dates that were ever seen in the store, oldest first."""
    _lost: dict[str, frozenset[int]] = field(default_factory=dict)

    def update(self, source: str, stored: Iterable[date], removed: Collection[date], held: Iterable[date]) -> Loss:
        """Take over the stored dates of a source; return those that were lost since the last update.

        `removed` are dates that may be missing: an operator retracted them, or moved them aside. `held` are the dates
        in memory.
        """
        present = {day.toordinal() for day in stored}
        known = present.union(self._known.get(source, ()))
        known -= {day.toordinal() for day in removed} - present
        missing, before = known - present, self._lost.get(source, frozenset())
        self._known[source], self._lost[source] = array(_ORDINALS, sorted(known)), frozenset(missing)
        in_memory = {day.toordinal() for day in held}
        news = sorted(missing - before)
        return Loss([*map(date.fromordinal, news)], [date.fromordinal(day) for day in news if day in in_memory])

    def add(self, source: str, day: date) -> None:
        """Take over a date that was written."""
        ordinal, known = day.toordinal(), self._known.get(source, array(_ORDINALS))
        if ordinal not in known:
            self._known[source] = array(_ORDINALS, sorted([*known, ordinal]))
        if ordinal in self._lost.get(source, ()):
            self._lost[source] -= {ordinal}

    def known(self, source: str) -> list[date]:
        """Return all dates of a source that were seen in the store, oldest first."""
        return [*map(date.fromordinal, self._known.get(source, ()))]

    def count(self, source: str) -> int | None:
        """Return the number of stored dates of a source; None if they are unknown."""
        return len(self._known[source]) - len(self._lost[source]) if source in self._lost else None

    def oldest(self, source: str) -> date | None:
        """Return the oldest stored date of a source; None if there is none, or if it is unknown."""
        lost = self._lost.get(source, frozenset())
        return next((date.fromordinal(day) for day in self._known.get(source, ()) if day not in lost), None)

    def lost(self, source: str) -> list[date]:
        """Return the dates of a source that the store has lost and that were not restored, oldest first."""
        return [*map(date.fromordinal, sorted(self._lost.get(source, ())))]
