"""Decode stored records; invalid ones (unreadable or out of bounds) are logged and skipped.

Fixings can be decoded without their receipts, for requests that need thousands of them: validating 2,500 fixings of 39
currencies as `Fixing` takes a sixth of a second, decoding their rates only a fifth of that.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Final, Generic, NamedTuple, TypeVar

import structlog
from msgspec import Struct
from msgspec.json import Decoder
from pydantic import TypeAdapter, ValidationError

from service.domain.bounds import (
    LATEST,
    break_errors,
    date_errors,
    format_errors,
    number_errors,
    structural_errors,
    summary,
    table_errors,
    time_errors,
)
from service.domain.fixing import Fixing, Quotation, RateTable
from service.domain.snapshot import Snapshot
from service.errors import LONGEST
from service.settings import wording
from service.state.deliveries import DeliveryState, QueuedEvent
from service.state.events import ReportedSource, ReportedTicker
from service.state.memory import MOST_LEFT_OUT, SourceState
from service.validation.quarantine import QuarantineDecision, QuarantinedFixing

log = structlog.get_logger()
T = TypeVar("T")
Spans = list[tuple[dt.date, dt.date]]
_SHOWN: Final = 200
"""Maximum length of a text in a log entry or a problem, in characters."""
_HEADER_TEXT: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
_MOST_FAILURES: Final = 10**9


class Place(NamedTuple):
    """Location of a record: its key without the prefix, and the field (in a list: the index).

    `latest` is the last possible effective date of a fixing at this location.
    """

    key: str
    field: str
    latest: dt.date = LATEST

    @property
    def owner(self) -> str:
        """The source or the ticker of the record."""
        return self.key.partition(":")[2] or self.field


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of record: its decoder, and a function that returns the errors of a record at a location."""

    name: str
    adapter: TypeAdapter[T]
    errors: Callable[[T, Place], Iterable[str]]

    def read(self, json: str | bytes, place: Place) -> T:
        """Decode and validate a record; raise `ValueError` with the problem in one line."""
        try:
            record = self.adapter.validate_json(json)
        except ValidationError as error:
            raise ValueError(problem(error)) from None
        if errors := list(self.errors(record, place)):
            raise ValueError(summary(errors))
        return record


def problem(error: ValidationError) -> str:
    """Return the first error of a failed validation as one line: the field and the message."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), wording.problem(first))))


def _misplaced(fixing: Fixing, place: Place) -> Iterator[str]:
    if fixing.source != place.owner:
        yield f"it is of source {fixing.source[:_SHOWN]!r}"
    if str(fixing.date) != place.field:
        yield f"it is dated {fixing.date}"


def _fixing(fixing: Fixing, place: Place) -> Iterator[str]:
    return chain(_misplaced(fixing, place), date_errors(fixing.date, place.latest), structural_errors(fixing))


def _waiting(entry: QuarantinedFixing, place: Place) -> Iterator[str]:
    # Without `place.latest`: a date beyond what the source publishes ahead is a reason for quarantine.
    return chain(_misplaced(entry.fixing, place), _quarantined(entry))


def _quarantined(entry: QuarantinedFixing) -> Iterator[str]:
    return chain(date_errors(entry.fixing.date), format_errors(entry.fixing), time_errors("since", entry.since))


def _decision(decision: QuarantineDecision, place: Place) -> Iterator[str]:
    if decision.waiting.fixing.source != place.owner:
        yield f"it is of source {decision.waiting.fixing.source[:_SHOWN]!r}"
    yield from _quarantined(decision.waiting)
    yield from time_errors("at", decision.at)
    for declared in decision.breaks:
        yield from break_errors(declared)


def _state(state: SourceState, place: Place) -> Iterator[str]:
    # The day after the last possible date, in any time zone. A pause ends a day later at most. The source would not be
    # polled until then.
    for name, days in (("polled_at", 1), ("succeeded_at", 1), ("failing_since", 1), ("not_before", 2)):
        moment: dt.datetime | None = getattr(state, name)
        yield from time_errors(name, moment)
        if moment and moment.date() > place.latest + dt.timedelta(days=days):
            yield f"{name} {moment} is in the future"
    if len(state.left_out) > MOST_LEFT_OUT or any(len(problem) > LONGEST for problem in state.left_out):
        yield "left_out is too long"
    if not 0 <= state.failures <= _MOST_FAILURES:
        yield f"failures is outside 0 to {_MOST_FAILURES}"


def _snapshot(snapshot: Snapshot, _: Place) -> Iterator[str]:
    yield from date_errors(snapshot.as_of)
    yield from time_errors("updated_at", snapshot.updated_at)
    yield from time_errors("next_update", snapshot.next_update)
    for quote in snapshot.quotes:
        for name in ("rate", "previous", "change", "percent", "buying", "selling"):
            number = getattr(quote, name)
            if number is not None:
                errors = number_errors(number, is_difference=name == "change")
                yield from (f"the {name} of {quote.code[:_SHOWN]} {error}" for error in errors)


def _spans(spans: Spans, _: Place) -> Iterator[str]:
    for first, last in spans:
        if not first <= last <= LATEST:
            yield f"{first} to {last} is not a span of dates up to {LATEST}"


def _delivery(state: DeliveryState, _: Place) -> Iterator[str]:
    for name in ("failing_since", "not_before", "delivered_at", "dropped_at", "stopped_at"):
        yield from time_errors(name, getattr(state, name))


def _queued(event: QueuedEvent, _: Place) -> Iterator[str]:
    yield from time_errors("time", event.time)
    for name, text in (("id", event.id), ("subject", event.subject)):
        if not _HEADER_TEXT.fullmatch(text):
            yield f"{name} cannot be sent in a header"


def _nothing(_: object, __: Place) -> Iterator[str]:
    yield from ()


FIXING: Final = Kind("Fixing", TypeAdapter(Fixing), _fixing)
WAITING: Final = Kind("QuarantinedFixing", TypeAdapter(QuarantinedFixing), _waiting)
DECISION: Final = Kind("QuarantineDecision", TypeAdapter(QuarantineDecision), _decision)
STATE: Final = Kind("SourceState", TypeAdapter(SourceState), _state)
SNAPSHOT: Final = Kind("Snapshot", TypeAdapter(Snapshot), _snapshot)
SPANS: Final = Kind("Spans", TypeAdapter(Spans), _spans)
DELIVERIES: Final = Kind("DeliveryState", TypeAdapter(DeliveryState), _delivery)
QUEUED_EVENT: Final = Kind("QueuedEvent", TypeAdapter(QueuedEvent), _queued)
REPORTED_TICKER: Final = Kind("ReportedTicker", TypeAdapter(ReportedTicker), _nothing)
REPORTED_SOURCE: Final = Kind("ReportedSource", TypeAdapter(ReportedSource), _nothing)


class StoredRate(Struct, frozen=True, gc=False):
    """One rate of `StoredRates`, digits as published."""

    value: Decimal
    nominal: int
    buying: Decimal | None = None
    selling: Decimal | None = None


class StoredRates(RateTable, Struct, frozen=True):
    """The rates of a stored fixing and of its earlier versions, without their receipts."""

    date: dt.date
    base: str
    direction: Quotation
    rates: dict[str, StoredRate]
    revisions: tuple["StoredRates", ...] = ()


RECORD = Decoder(StoredRates)


def readable(
    kind: Kind[T], fields: Iterable[tuple[str, str | bytes | None]], key: str, latest: dt.date = LATEST
) -> Iterator[T]:
    """Yield the valid records of `key`, given as pairs of field and JSON; None is skipped."""
    for field, json in fields:
        if json is None:
            continue
        place = Place(key, field, latest)
        try:
            record = kind.read(json, place)
        except ValueError as error:
            report(kind.name, place, str(error), json)
        else:
            yield record


def readable_rates(fields: Iterable[tuple[str, str | bytes | None]], key: str) -> Iterator[StoredRates]:
    """Yield the rates of the valid fixings of `key`, given as pairs of effective date and JSON; None is skipped."""
    for field, json in fields:
        if json is None:
            continue
        try:
            record = RECORD.decode(json)
            errors = [f"it is dated {record.date}"] if str(record.date) != field else table_errors(record)
        except (ValueError, RecursionError) as error:
            errors = [str(error)]
        if errors:
            report(FIXING.name, Place(key, field), summary(errors), json)
        else:
            yield record


def report(kind: str, place: Place, problem: str, json: str | bytes) -> None:
    """Log a record that is skipped."""
    details = {"source": place.owner, "kind": kind, "key": place.key, "field": place.field}
    details |= {"problem": problem, "beginning": str(json)}
    log.warning("store.unreadable", **{name: printable(text) for name, text in details.items()})


def printable(text: str) -> str:
    """Return the beginning of an untrusted text, safe to print in one line of a log or a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:_SHOWN])
