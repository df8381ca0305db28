"""Read the publications in force on dates that memory does not have."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import date, timedelta
from typing import Final

import msgspec

from service.domain.periods import MAX_AGE, in_force, publications
from service.runtime.background import run_in_thread
from service.state.selection import PeriodStarts
from service.storage.codecs import StoredRates
from service.storage.repository import Store

BEFORE: Final = 2 * MAX_AGE
"""Days that are read before a date: the oldest rate in force may itself repeat an earlier one."""
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


async def read_period_starts(store: Store, source: str, wanted: Collection[tuple[str, str, date]]) -> PeriodStarts:
    """Return the publications in force, by currency, base and date; those that do not exist are missing.

    Raises `StoreError`.
    """
    starts = dict[tuple[str, str, date], StoredRates]()
    for first, last in _spans({day for _, _, day in wanted}):
        tables = await read_rates(store, source, first, last)
        starts |= await run_in_thread(_in_force, tables, [key for key in wanted if first <= key[2] <= last])
    return starts


def _spans(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Yield the first and the last date that must be read for the given days; overlapping spans are joined."""
    spans = list[tuple[date, date]]()
    for day in sorted(days):
        first = date.fromordinal(max(1, day.toordinal() - BEFORE.days))
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], day
        else:
            spans.append((first, day))
    return iter(spans)


def _in_force(
    tables: list[StoredRates], wanted: Iterable[tuple[str, str, date]]
) -> dict[tuple[str, str, date], StoredRates]:
    """Return the publications in force, with no other rates than those that are wanted: they stay in memory."""
    days_by_pair = defaultdict[tuple[str, str], set[date]](set)
    for code, base, day in wanted:
        days_by_pair[code, base].add(day)
    found = dict[tuple[str, str, date], StoredRates]()
    for (code, base), days in days_by_pair.items():
        published = publications(tables, code, base)
        trimmed = dict[date, StoredRates]()
        for day in days:
            if table := in_force(published, day):
                if table.date not in trimmed:
                    rates = {name: table.rates[name] for name in (code, base) if name in table.rates}
                    trimmed[table.date] = msgspec.structs.replace(table, rates=rates)
                found[code, base, day] = trimmed[table.date]
    return found
