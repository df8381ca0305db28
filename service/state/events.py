"""Detect events: compare the state in memory with what was reported before. Pure.

What was reported is stored, so that an instance that becomes the leader continues where the one before it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from service.domain.event import Event, event_id
from service.domain.fixing import Fixing, Rate, same_rate
from service.domain.publication_schedule import pause_end
from service.domain.snapshot import Quote, Snapshot, Status
from service.settings import TickerSettings
from service.settings.types import EventType
from service.state.memory import MemoryState
from service.validation.quarantine import QuarantinedFixing

_UNPOLLED: Final = timedelta(minutes=10)
"""Shortest time without a poll after which it is unknown whether a source has published."""


@dataclass(frozen=True, slots=True)
class ReportedTicker:
    """What was reported of a ticker.

    `number` counts its `ticker.changed` events, `quotes` describes each quote as of the last one. `late` and `stale`
    are the `as_of` of the last events of these types.
    """

    number: int = 0
    quotes: Mapping[str, str] = field(default_factory=dict)
    late: date | None = None
    stale: date | None = None


@dataclass(frozen=True, slots=True)
class ReportedSource:
    """What was reported of a source: descriptions of its quarantined rates and of its revisions."""

    quarantined: tuple[str, ...] = ()
    revised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reported:
    """What was reported of each ticker and source."""

    tickers: Mapping[str, ReportedTicker] = field(default_factory=dict)
    sources: Mapping[str, ReportedSource] = field(default_factory=dict)


class Detected(NamedTuple):
    """New events, oldest first, and what is reported with them."""

    events: list[Event]
    reported: Reported


def detect(memory: MemoryState, before: Reported, now: datetime) -> Detected:
    """Return the events since `before`.

    Of a ticker or source that was never reported, the present rates and revisions are recorded without an event.
    """
    events, sources, tickers = list[Event](), dict(before.sources), dict(before.tickers)
    for key in memory.settings.polled:
        if memory.series(key).latest or memory.quarantine[key].waiting:
            sources[key], news = _source(memory, key, before.sources.get(key), now)
            events += news
    for ticker in memory.settings.tickers:
        snapshot, known = memory.snapshots.get(ticker.id), before.tickers.get(ticker.id)
        is_polled = _is_polled(memory, ticker, now)
        if snapshot and (known or is_polled):
            tickers[ticker.id], news = _ticker(snapshot, known, is_polled=is_polled, now=now)
            events += news
    return Detected(events, Reported(tickers, sources))


def _ticker(
    snapshot: Snapshot, before: ReportedTicker | None, *, is_polled: bool, now: datetime
) -> tuple[ReportedTicker, list[Event]]:
    """Return what is reported of a ticker, and its events: late or stale only if its sources were polled lately."""
    quotes = {quote.code: _described(quote) for quote in snapshot.quotes}
    before = before or ReportedTicker(quotes=quotes)
    after, events = replace(before, quotes=quotes), list[Event]()
    # A currency that was added to the settings has not changed.
    changed = [quote for quote in snapshot.quotes if before.quotes.get(quote.code, "") not in ("", quotes[quote.code])]
    if changed:
        after = replace(after, number=before.number + 1)
        data = _state(snapshot) | {
            "updated_at": snapshot.updated_at,
            "changed": [quote.code for quote in changed],
            "quotes": [_quote(quote) for quote in snapshot.quotes],
        }
        content = (after.number, *sorted(quotes.items()))
        reach = max(abs(quote.percent or Decimal(0)) for quote in changed)
        events.append(_event("ticker.changed", snapshot.id, now, data, content, reach))
    status, as_of = snapshot.status, snapshot.as_of
    overdue = _state(snapshot) | {"next_update": snapshot.next_update}
    if is_polled and status is Status.LATE and as_of not in (before.late, before.stale):
        after = replace(after, late=as_of)
        events.append(_event("ticker.late", snapshot.id, now, overdue, (as_of,)))
    if is_polled and status is Status.STALE and as_of != before.stale:
        after = replace(after, stale=as_of)
        events.append(_event("ticker.stale", snapshot.id, now, overdue, (as_of,)))
    return after, events


def _event(
    kind: EventType,
    subject: str,
    now: datetime,
    data: Mapping[str, Any],
    content: Sequence[object],
    reach: Decimal | None = None,
) -> Event:
    return Event(event_id(kind, subject, *content), kind, subject, now, data, reach)


def _described(quote: Quote) -> str:
    return f"{quote.rate} {quote.previous} {quote.date} {quote.source}"


def _state(snapshot: Snapshot) -> dict[str, Any]:
    names = ("base", "status", "recorded", "as_of")
    return {"ticker": snapshot.id} | {name: getattr(snapshot, name) for name in names}


def _quote(quote: Quote) -> dict[str, Any]:
    names = ("code", "rate", "previous", "change", "percent", "direction", "date", "previous_date", "source")
    return {name: getattr(quote, name) for name in names}


def _is_polled(memory: MemoryState, ticker: TickerSettings, now: datetime) -> bool:
    """Return whether the state of a ticker is that of the banks: each was polled lately, or has demanded a pause.

    Rates that are entered by hand are as they are stored.

    After a start it is that of the store, which may be old.
    """
    for key in ticker.sources:
        if memory.settings.polled[key].is_manual:
            continue
        state, longest = memory.states[key], max(_UNPOLLED, 2 * memory.settings.polled[key].sweep)
        is_recent = state.polled_at is not None and now - state.polled_at <= longest
        if not is_recent and not pause_end(state.not_before, now):
            return False
    return True


def _source(
    memory: MemoryState, key: str, before: ReportedSource | None, now: datetime
) -> tuple[ReportedSource, list[Event]]:
    """Return what is reported of a source, and its events."""
    known, events, quarantined = before or ReportedSource(), list[Event](), list[str]()
    for entry in memory.pending_quarantine(key):
        if memory.needed_reasons(key, entry):
            rates = [f"{entry.fixing.date} {entry.since} {rate}" for rate in ("", *_rates(entry.fixing))]
            quarantined += rates
            if not set(rates) <= set(known.quarantined):
                events.append(_quarantined(key, entry, rates, now))
    fixings = memory.series(key).fixings
    revised = {_revision(fixing): fixing for fixing in fixings if fixing.revisions}
    if before is not None:
        new = [fixing for name, fixing in revised.items() if name not in before.revised]
        events += [_revised(fixing, changed, now) for fixing in new if (changed := _changed(fixing))]
    # Those of dates that memory lacks, e.g. because the store was lost, stay reported for as long as it keeps a date.
    oldest = str(fixings[0].date) if fixings else ""
    revisions = sorted({*revised, *(name for name in known.revised if name >= oldest)})
    return ReportedSource(tuple(quarantined), tuple(revisions)), events


def _values(rate: Rate) -> dict[str, Decimal | int]:
    """Return what an event says of a rate; its buying and selling rates if the bank publishes them."""
    values: dict[str, Decimal | int | None] = {
        "value": rate.value,
        "nominal": rate.nominal,
        "buying": rate.buying,
        "selling": rate.selling,
    }
    return {name: value for name, value in values.items() if value is not None}


def _rates(fixing: Fixing) -> list[str]:
    return [f"{code} {rate.value}/{rate.nominal}" for code, rate in sorted(fixing.rates.items())]


def _revision(fixing: Fixing) -> str:
    """Return a name of the latest revision of a fixing that begins with its date."""
    return f"{fixing.date} {len(fixing.revisions)} {fixing.revisions[0].digest[:16]}"


def _quarantined(key: str, entry: QuarantinedFixing, rates: Sequence[str], now: datetime) -> Event:
    fixing = entry.fixing
    data = {
        "source": key,
        "date": fixing.date,
        "base": fixing.base,
        "since": entry.since,
        "rates": {code: _values(rate) for code, rate in sorted(fixing.rates.items())},
        "reasons": entry.reasons,
    }
    return _event("fixing.quarantined", f"{key}/{fixing.date}", now, data, rates)


def _changed(fixing: Fixing) -> dict[str, Any]:
    """Return the rates that a revision has changed; none if it only adds some."""
    earlier = fixing.revisions[0]
    return {
        code: _values(rate) | {"before": earlier.rates[code].value}
        for code, rate in sorted(fixing.rates.items())
        if code in earlier.rates and not same_rate(rate, earlier.rates[code])
    }


def _revised(fixing: Fixing, changed: Mapping[str, Any], now: datetime) -> Event:
    data = {
        "source": fixing.source,
        "date": fixing.date,
        "base": fixing.base,
        "fetched_at": fixing.fetched_at,
        "digest": fixing.digest,
        "rates": changed,
    }
    return _event("fixing.revised", f"{fixing.source}/{fixing.date}", now, data, (_revision(fixing), fixing.digest))
