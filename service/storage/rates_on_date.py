"""Find the rates of a ticker that were in force on a date, in memory and in the store."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial

from service.domain.breaks import Break, conversion
from service.domain.change import change, rate, sides
from service.domain.fixing import RateTable, RateTables
from service.domain.periods import LONGER, MAX_AGE, Period, as_period_change, begin, in_force, since
from service.domain.publication_schedule import Freshness, freshness, today
from service.domain.snapshot import HISTORY, Point, Quote, Snapshot, Status, worst
from service.runtime.background import run_in_thread
from service.settings import SourceSettings, TickerSettings
from service.state.memory import CHECKED, MemoryState
from service.storage.older_rates import days_before, read_period_starts, read_rates
from service.storage.repository import Store
from service.validation.rules import Untrusted

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RateInForce:
    """The rate of a currency on a date, of one source.

    `published` are the last publications of the rate, oldest first; the last one is in force. `choice` is the priority
    of the source in the ticker, from 1. A change that spans a date of `without_change` must not be shown, nor any
    rate of one of the `hidden` dates.
    """

    code: str
    base: str
    source: str
    choice: int
    published: Sequence[RateTable]
    freshness: Freshness = Freshness.CURRENT
    """At the beginning of the date."""
    recorded: bool = False
    hidden: Collection[date] = ()
    without_change: Collection[date] = ()

    @property
    def status(self) -> Status:
        """Never late: a publication that was out by the date may take effect after it, e.g. after a weekend."""
        if self.recorded:
            return Status.RECORDED
        return Status.STALE if self.freshness is Freshness.STALE else Status.CURRENT

    @property
    def table(self) -> RateTable:
        """The rates of the publication that is in force."""
        return self.published[-1]

    @property
    def previous(self) -> RateTable | None:
        return self.published[-2] if len(self.published) > 1 else None

    def is_comparable(self, old: RateTable) -> bool:
        """Return whether the change since an earlier publication may be shown."""
        return not any(old.date < day <= self.table.date for day in self.without_change)

    @property
    def rate(self) -> Decimal:
        """Units of the base for 1 unit of the currency, as published or derived."""
        return rate(self.code, self.base, self.table)

    @property
    def exact(self) -> Fraction:
        return self.table.cross(self.code, self.base)


@dataclass(frozen=True, slots=True)
class RatesOnDate:
    """Reads the rates of tickers on dates. All methods raise `StoreError` if older rates cannot be read."""

    memory: MemoryState
    store: Store

    def last_date(self, ticker: TickerSettings, now: datetime) -> date:
        """Return the last date that may be requested: today, or the date of the latest publication."""
        polled = self.memory.settings.polled
        latest = [self.memory.series(key).latest for key in ticker.sources]
        todays = [today(polled[key], now) for key in ticker.sources]
        return max([*todays, *(fixing.date for fixing in latest if fixing)])

    async def span(self, ticker: TickerSettings) -> tuple[date, date] | None:
        """Return the first and the last date with rates of the ticker's sources; None if there are none."""
        dates = list[date]()
        for key in ticker.sources:
            known = [fixing.date for fixing in self.memory.series(key).fixings]
            stored = await self.store.dates(key) if self.memory.oldest_complete_date(key) > date.min else []
            dates += [*stored[:1], *known[:1], *known[-1:]]
        return (min(dates), max(dates)) if dates else None

    async def rates(self, ticker: TickerSettings, codes: Iterable[str], day: date) -> Mapping[str, RateInForce | None]:
        """Return the rates in force on a date by currency: None if no source had one.

        As in a ticker, a rate comes from the first source that was not stale on that date, unless a stale one before it
        has a later rate; otherwise from the one with the latest date.
        """
        chosen: dict[str, RateInForce | None] = dict.fromkeys(codes)
        stale = list[RateInForce]()
        for choice, key in enumerate(ticker.sources, 1):
            missing = [code for code, found in chosen.items() if found is None]
            if not missing:
                break
            source = self.memory.settings.polled[key]
            tables = RateTables(await self._tables(key, await self._first_date(key, source, day), day))
            untrusted = dict[str, Untrusted]()
            for code in missing:
                untrusted[code] = self._untrusted(key, code, ticker.base, day)
                await asyncio.sleep(0)  # some 0.7 ms if it is not cached
            find = partial(_in_force, tables, untrusted, ticker.base, day, key, choice, source)
            for found in await run_in_thread(find):
                if found.freshness is Freshness.STALE:
                    stale.append(found)
                elif source.is_irregular or not any(
                    earlier.code == found.code and earlier.table.date > found.table.date for earlier in stale
                ):
                    chosen[found.code] = found
        fallbacks = {found.code: found for found in sorted(stale, key=lambda found: (found.table.date, -found.choice))}
        return {code: found or fallbacks.get(code) for code, found in chosen.items()}

    async def snapshot(self, ticker: TickerSettings, day: date) -> Snapshot | None:
        """Return the snapshot of a ticker with the rates in force on a date; None if there were none."""
        rates = await self.rates(ticker, ticker.currencies, day)
        used = [found for found in rates.values() if found]
        if not used:
            return None
        starts = {key: await self._starts(key, used) for key in {found.source for found in used}}
        quotes = tuple(
            _quote(found, starts[found.source], self.memory.breaks(found.source)) if found else Quote(code)
            for code, found in rates.items()
        )
        status = worst(found.status for found in used)
        return Snapshot(
            id=ticker.id,
            base=ticker.base,
            status=status,
            recorded=status is Status.RECORDED,
            as_of=max(found.table.date for found in used),
            updated_at=await self._fetched_at(used),
            next_update=None,
            quotes=quotes,
        )

    async def _fetched_at(self, used: Iterable[RateInForce]) -> datetime:
        """Return when the last of some rates was fetched."""
        times = list[datetime]()
        for source, day in {(found.source, found.table.date) for found in used}:
            fixing = self.memory.series(source).on(day) or await self.store.fixing(source, day)
            times.append(fixing.fetched_at if fixing else datetime.combine(day, time(), UTC))
        return max(times)

    async def _starts(self, key: str, used: Iterable[RateInForce]) -> Mapping[tuple[str, str, date], RateTable]:
        """Return the publications of a source that were in force when the periods of its rates began."""
        own = [found for found in used if found.source == key]
        wanted = {(found.code, found.base, begin(period, found.table.date)) for found in own for period in LONGER}
        known_from = self.memory.oldest_complete_date(key)
        hidden = {(found.code, found.base): found.hidden for found in own}
        return await read_period_starts(partial(self._tables, key), wanted, self.memory.jump, known_from, hidden)

    def _untrusted(self, key: str, code: str, base: str, day: date) -> Untrusted:
        """Return the dates in memory whose rate may not be shown as it is, with what other banks refute up to `day`."""
        untrusted = self.memory.untrusted(key, code, base)
        fixings = self.memory.series(key).until(day).quoting(code, base).fixings
        refuted = self.memory.refuted(key, fixings[-CHECKED:], code, base)
        return untrusted._replace(hidden=untrusted.hidden | refuted)

    async def _first_date(self, key: str, source: SourceSettings, day: date) -> date:
        """Return the first date to read for the rates on a date: rates of no set times hold until the next ones.

        All in memory are used, as in a ticker, and of the older ones in the store the last up to the date.
        """
        first, complete_from = days_before(day), self.memory.oldest_complete_date(key)
        if not source.is_irregular:
            return first
        stored = await self.store.dates(key) if complete_from > date.min else []
        dates = [known for known in stored if known <= day]
        return min([first, complete_from, *dates[-1 - HISTORY :]])

    async def _tables(self, key: str, first: date, last: date) -> Sequence[RateTable]:
        """Return the rates of a source from `first` to `last`, oldest first: from memory, older ones from the store."""
        complete_from = self.memory.oldest_complete_date(key)
        known = self.memory.series(key).within(max(first, complete_from), last)
        if complete_from <= first:
            return known
        return [*await read_rates(self.store, key, first, min(last, complete_from - _DAY)), *known]


def _in_force(
    tables: RateTables[RateTable],
    untrusted: Mapping[str, Untrusted],
    base: str,
    day: date,
    key: str,
    choice: int,
    source: SourceSettings,
) -> list[RateInForce]:
    """Return the rates of a source that were in force on a date, for the currencies of `untrusted`."""
    found, begin_of_day = list[RateInForce](), datetime.combine(day, time(), source.timezone)
    for code, (hidden, without_change) in untrusted.items():
        published = [
            table for table in tables.publications(code, base) if table.date <= day and table.date not in hidden
        ]
        table = in_force(published, day, None if source.is_irregular else MAX_AGE)
        if table:
            age = freshness(source, table.date, begin_of_day)
            recent = published[-HISTORY:]
            found.append(RateInForce(code, base, key, choice, recent, age, source.recorded, hidden, without_change))
    return found


def _quote(found: RateInForce, starts: Mapping[tuple[str, str, date], RateTable], breaks: Sequence[Break]) -> Quote:
    """Return the quote of a rate in force; `starts` are the publications at the beginning of its periods."""
    code, base, new, old = found.code, found.base, found.table, found.previous
    factor = conversion(breaks, code, base, old, new) if old and found.is_comparable(old) else None
    moved = change(code, base, new, old if factor else None, factor or Fraction(1))
    previous_date = old.date if old and factor else None
    changes = {Period.DAY: as_period_change(moved, previous_date)}
    buying, selling = sides(code, base, new)
    for period in LONGER:
        start = starts.get((code, base, begin(period, new.date)))
        changes[period] = since(code, base, new, start if start and found.is_comparable(start) else None, breaks)
    factors = [(table, conversion(breaks, code, base, table, new)) for table in found.published]
    return Quote(
        code=code,
        rate=moved.rate,
        previous=moved.previous,
        change=moved.change,
        percent=moved.percent,
        direction=moved.direction,
        date=new.date,
        previous_date=previous_date,
        source=found.source,
        choice=found.choice,
        cross=new.base != base,
        status=found.status,
        history=tuple(Point(table.date, rate(code, base, table, factor)) for table, factor in factors if factor),
        changes=changes,
        buying=buying,
        selling=selling,
    )
