"""The snapshot of a ticker: its quotes and its status."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from service.domain.change import Trend

HISTORY: Final = 30
"""Publications of a quote that are remembered with it."""


class Status(StrEnum):
    """The age of a ticker, as visitors see it; worst last."""

    CURRENT = "current"
    LATE = "late"
    STALE = "stale"
    RECORDED = "recorded"


class Confidence(StrEnum):
    """How a rate stands beside the other banks' rates.

    `confirmed`: at least one other bank has it at this level and none of equal weight contradicts. `unconfirmed`: no
    other bank quotes it, or none has published for that day yet. `diverging`: the other banks have it elsewhere.
    """

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    DIVERGING = "diverging"


class Point(NamedTuple):
    """What a rate was from a date on."""

    date: dt.date
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """One currency's line. Whole from one source; all but `code` and `reason` None where no source quotes it.

    `date` and `previous_date` are the first days of their rates; `choice` is the source's place
    in the ticker's list, from 1; `reason` says why the ones before it were passed over; `cross` marks a rate
    through the source's own rate of the base; `confidence` is what other banks say of the rate. `history`
    has the source's last publications of it, oldest first, this one included: `HISTORY` at most.
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
    confidence: Confidence | None = None
    history: tuple[Point, ...] = ()


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
