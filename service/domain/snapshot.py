"""The snapshot of a ticker: its quotes and its status."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from service.domain.change import Trend
from service.domain.fixing import OptionalNumber
from service.domain.periods import Changes, Period

HISTORY: Final = 30
"""Publications in the history of a quote."""


class Status(StrEnum):
    """Freshness of a ticker as clients see it; worst last."""

    CURRENT = "current"
    LATE = "late"
    STALE = "stale"
    RECORDED = "recorded"


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of some statuses, of which there is at least one."""
    return max(statuses, key=list(Status).index)


class Confidence(StrEnum):
    """How a rate compares with the rates of other banks.

    `confirmed`: at least one other bank has this level, and none of equal weight contradicts it. `unconfirmed`: no
    other bank quotes the currency, or none has published for that day yet. `diverging`: other banks have another level.
    """

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    DIVERGING = "diverging"


class Point(NamedTuple):
    """One publication in the history of a quote: the rate from a date on."""

    date: dt.date
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """The quote of one currency, entirely from one source; all but `code` and `reason` are None if no source has it.

    `date` and `previous_date` are the first days of their rates. `choice` is the source's position in the ticker's
    list, from 1; `reason` says why the sources before it were skipped. `cross` marks a rate computed through the
    source's own rate of the base. `status` is that of this rate alone; snapshots that were stored by earlier versions
    lack it. `confidence` is the result of the comparison with other banks. `history` has the
    source's last publications of the rate, oldest first, including this one: at most `HISTORY`. `changes` are those
    over each period up to `date`. `buying` and `selling` are the source's own, in the units of `rate`; None unless it
    publishes both, and for a cross.
    """

    code: str
    rate: Decimal | None = None
    previous: Decimal | None = None
    change: Decimal | None = None
    percent: Decimal | None = None
    direction: Trend | None = None
    date: dt.date | None = None
    previous_date: dt.date | None = None
    source: str | None = None
    choice: int | None = None
    reason: str | None = None
    cross: bool = False
    status: Status | None = None
    confidence: Confidence | None = None
    history: tuple[Point, ...] = ()
    changes: Changes = field(default_factory=dict)
    buying: OptionalNumber = None
    selling: OptionalNumber = None

    def over(self, period: Period) -> "Quote":
        """Return this quote with the change over a period in place of that since the previous publication."""
        if period is Period.DAY:
            return self
        past = self.changes.get(period)
        if past is None:
            return replace(self, previous=None, change=None, percent=None, direction=None, previous_date=None)
        return replace(
            self,
            previous=past.previous,
            change=past.change,
            percent=past.percent,
            direction=past.direction,
            previous_date=past.date,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The current state of a ticker. `as_of` is its latest effective date; times are in UTC."""

    id: str
    base: str
    status: Status
    recorded: bool
    as_of: dt.date
    updated_at: dt.datetime
    next_update: dt.datetime | None
    quotes: tuple[Quote, ...]

    def select(self, codes: Iterable[str]) -> "Snapshot":
        """Return the snapshot of some of its currencies, in their order, with the status of these.

        `as_of` stays that of the ticker: a quote that is older shows its own date.
        """
        by_code = {quote.code: quote for quote in self.quotes}
        quotes = tuple(by_code[code] for code in codes)
        statuses = [quote.status for quote in quotes if quote.status]
        status = worst(statuses) if statuses else self.status
        return replace(self, status=status, recorded=status is Status.RECORDED, quotes=quotes)


@dataclass(frozen=True, slots=True)
class PublishedQuotes:
    """The quotes of a ticker that were published for one date, with the changes since the publications before.

    `updated_at` is when the last of their rates was fetched, in UTC.
    """

    date: dt.date
    updated_at: dt.datetime
    quotes: tuple[Quote, ...]
