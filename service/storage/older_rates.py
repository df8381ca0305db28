"""Read the publications in force on dates that memory does not have."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec

from service.domain.fixing import RateTable, RateTables
from service.domain.periods import MAX_AGE, in_force
from service.runtime.background import run_in_thread
from service.state.selection import PeriodStarts
from service.storage.codecs import StoredRates
from service.storage.repository import Store
from service.validation.rules import slips

T = TypeVar("T", bound=RateTable)

NOTHING_HIDDEN: Final[Mapping[tuple[str, str], Collection[date]]] = MappingProxyType({})

BEFORE: Final = MAX_AGE + timedelta(days=14)
"""Days that are read before a date: a rate may be as old as `MAX_AGE`, and repeat an earlier one."""
_AFTER: Final = timedelta(days=31)
"""Days that are read after a date: enough publications to see that a wrong rate was reversed."""
_CHUNK: Final = timedelta(days=64)
"""Days that are decoded without yielding to other tasks: some 2 ms with 39 currencies a day."""


async def read_rates(store: Store, source: str, first: date, last: date) -> list[StoredRates]:
    """Return the stored rates of a source from `first` to `last`, oldest first. Raises `StoreError`."""
    tables, day = list[StoredRates](), first
    while day <= last:
        end = min(day + _CHUNK, last)
        tables += await store.rates(source, day, end)
        day = end + timedelta(days=1)
    return tables


async def read_period_starts(
    read: Callable[[date, date], Awaitable[Sequence[T]]],
    wanted: Collection[tuple[str, str, date]],
    jump: Fraction,
    known_from: date = date.max,
    hidden: Mapping[tuple[str, str], Collection[date]] = NOTHING_HIDDEN,
) -> dict[tuple[str, str, date], T]:
    """Return the publications in force, by currency, base and date; those that do not exist are missing.

    `read` returns the rates of the source from a date to another, oldest first, and may raise `StoreError`. Rates that
    moved by more than `jump` and were reversed soon are left out: they may have been imported or edited by hand. From
    `known_from` on, other banks have decided which are left out: those on the `hidden` dates of a currency in a base.
    """
    starts = dict[tuple[str, str, date], T]()
    for first, last in _spans({day for _, _, day in wanted}):
        tables = RateTables(await read(first, last))
        covered = [key for key in wanted if first <= key[2] <= last]
        starts |= await run_in_thread(_in_force, tables, covered, jump, known_from, hidden)
    return starts


def days_before(day: date) -> date:
    """Return the first date that must be read to know which rates were in force on `day`."""
    return date.fromordinal(max(1, day.toordinal() - BEFORE.days))


def _spans(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Yield the first and the last date that must be read for the given days; overlapping spans are joined."""
    spans = list[tuple[date, date]]()
    for day in sorted(days):
        first = days_before(day)
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], day + _AFTER
        else:
            spans.append((first, day + _AFTER))
    return iter(spans)


def _in_force(
    tables: RateTables[T],
    wanted: Iterable[tuple[str, str, date]],
    jump: Fraction,
    known_from: date,
    hidden: Mapping[tuple[str, str], Collection[date]],
) -> dict[tuple[str, str, date], T]:
    days_by_pair = defaultdict[tuple[str, str], set[date]](set)
    for code, base, day in wanted:
        days_by_pair[code, base].add(day)
    found = dict[tuple[str, str, date], T]()
    for (code, base), days in days_by_pair.items():
        published = tables.publications(code, base)
        reversed_indices = slips([table.cross(code, base) for table in published], jump)
        wrong = {published[index].date for index in reversed_indices if published[index].date < known_from}
        wrong |= {*hidden.get((code, base), ())}
        published = tuple(table for table in published if table.date not in wrong)
        for day in days:
            if table := in_force(published, day):
                found[code, base, day] = table
    return found


def trimmed(starts: Mapping[tuple[str, str, date], StoredRates]) -> PeriodStarts:
    """Return the publications without the rates that are not compared: they stay in memory."""
    needed = {name for code, base, _ in starts for name in (code, base)}
    tables = {table.date: table for table in starts.values()}
    small = {
        day: msgspec.structs.replace(table, rates={name: table.rates[name] for name in needed & table.rates.keys()})
        for day, table in tables.items()
    }
    return {key: small[table.date] for key, table in starts.items()}
