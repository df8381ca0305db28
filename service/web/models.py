"""What JSON replies say, as models: they are encoded as they stand here, and `openapi.json` is written from them.

So what is sent and what is described are one thing. A field that may be left out is `UNSET` where it is.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from service.domain import fixing
from service.domain.change import Trend
from service.domain.snapshot import Confidence, Status
from service.validation import published_change
from service.web.i18n.formatting import QuoteText, TickerText

Moment = Annotated[dt.datetime, Meta(tz=True)]


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """What went wrong (RFC 9457); `available` says what there is instead."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    available: Sequence[str] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class QuoteWords(QuoteText):
    """One quote in the words and figures of a language, ready to be shown; `sentence` is what is spoken.

    `note` says where its source is not the obvious one. With `spark=1`: `spark` is the path (SVG) of a line of its
    last publications, in a box of 240 by 64, and `spark_label` its text; null where there are too few.
    """

    spark: str | UnsetType | None = UNSET
    spark_label: str | UnsetType | None = UNSET


class QuoteDocument(Struct, frozen=True, kw_only=True):
    """One currency's line, whole from one source; all but the code and the name null where no source quotes it.

    Figures are in units of the base for 1 unit of the currency. `date` and `previous_date` are the first days of
    their figures; `choice` is the source's place in the ticker's list, from 1, and `reason` says why the ones before
    it were passed over; `cross` tells a rate through the source's own rate of the base. `confidence` is `confirmed`
    where another bank has the rate at this level, `unconfirmed` where none quotes it or has published yet, `diverging`
    where other banks refute what the source has published since: then this is its last rate before that. `receipts`
    lead to the fixings behind it. `text` comes with `lang`.
    """

    code: str
    name: str
    rate: Decimal | None
    previous: Decimal | None
    change: Decimal | None
    percent: Decimal | None
    direction: Trend | None
    date: dt.date | None
    previous_date: dt.date | None
    source: str | None
    choice: int | None
    reason: str | None
    cross: bool
    confidence: Confidence | None
    receipts: list[str]
    text: QuoteWords | UnsetType = UNSET


class Ticker(Struct, frozen=True, kw_only=True):
    """The current state of a ticker. `as_of` is its latest effective date; `text` comes with `lang`."""

    id: str
    base: str
    status: Status
    recorded: bool
    as_of: dt.date
    updated_at: Moment
    next_update: Moment | None
    quotes: list[QuoteDocument]
    text: TickerText | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class PointDocument:
    """One publication, and how the rate moved since the one before; `date` is the first day of its figures."""

    date: dt.date
    rate: Decimal
    previous: Decimal | None
    change: Decimal | None
    percent: Decimal | None


class History(Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """The publications of one currency by one source (`name` says whose), oldest first, both days included."""

    ticker: str
    base: str
    currency: str
    source: str
    name: str
    cross: bool
    since: dt.date
    until: dt.date
    history: tuple[PointDocument, ...]


class FixingDocument(Struct, frozen=True, kw_only=True):
    """What one source published for one date: digits, nominal and direction as published; `digest` is the SHA-256 of
    the answer.

    `revisions` are what it said of this date before, newest first.
    """  # noqa: D205 - read as it stands by those who read the interface

    source: str
    base: str
    date: dt.date
    rates: Mapping[str, fixing.Rate]
    url: str
    fetched_at: Moment
    digest: str
    direction: fixing.Quotation
    revisions: tuple["FixingDocument", ...]


class Receipt(FixingDocument, frozen=True, kw_only=True):
    """A fixing with all that is needed to check it: where, when, how its rates stand beside other banks' (`confidence`,
    see quotes), the bank's own changes, and (`raw`) the answer itself.
    """  # noqa: D205 - read as it stands by those who read the interface

    name: str
    confidence: Mapping[str, Confidence]
    check: published_change.Check
    raw: str


State = Literal["failing", "empty", "recorded", "current", "late", "stale"]


class SourceDocument(Struct, frozen=True, kw_only=True):
    """Who a source is, how current, how the polls go. `last_change` is the first day of its latest figures."""

    key: str
    name: str
    base: str
    terms: str
    state: State
    error: str | None
    last_fixing: dt.date | None
    last_change: dt.date | None
    last_poll: Moment | None
    last_success: Moment | None
    next_poll: Moment | None


class Sources(Struct, frozen=True, kw_only=True):
    """Every source that is polled."""

    sources: list[SourceDocument]


class Embed(Struct, frozen=True, kw_only=True):
    """A strip for those who embed (https://oembed.com)."""

    version: Literal["1.0"] = "1.0"
    type: Literal["rich"] = "rich"
    provider_name: str
    provider_url: str
    title: str
    cache_age: int
    width: int
    height: int
    html: str


Verdict = Literal["pass", "warn", "fail"]


class Choice(Struct, frozen=True, kw_only=True):
    """Whose quote of a currency is shown, and why it is not the first choice's."""

    source: str | None
    choice: int | None
    reason: str | None
    confidence: Confidence | None


class Held(Struct, frozen=True, kw_only=True):
    """A fixing that waits in quarantine, since when and why."""

    date: dt.date
    since: Moment
    reasons: tuple[str, ...]


# msgspec describes no union of a text and a decimal, of which it reads each as a string; it writes them as they are.
Observed = Annotated[Any, Meta(extra_json_schema={"type": ["string", "number"]})]


class Component(Struct, frozen=True, kw_only=True, rename="camel"):
    """One part of the service, as draft-inadarei-api-health-check has it; ages are in seconds.

    A ticker has `asOf` to `choices`, a source `lastFixing` to `quarantine`.
    """

    component_id: str | UnsetType = UNSET
    component_type: Literal["component", "datastore", "system"] = "component"
    status: Verdict
    observed_value: Observed | UnsetType = UNSET
    observed_unit: str | UnsetType = UNSET
    time: Moment | UnsetType | None = UNSET
    as_of: dt.date | UnsetType = UNSET
    next_update: Moment | UnsetType | None = UNSET
    age: int | UnsetType | None = UNSET
    choices: Mapping[str, Choice] | UnsetType = UNSET
    last_fixing: dt.date | UnsetType | None = UNSET
    last_fixing_age: int | UnsetType | None = UNSET
    last_success: Moment | UnsetType | None = UNSET
    last_success_age: int | UnsetType | None = UNSET
    failing_since: Moment | UnsetType | None = UNSET
    consecutive_failures: int | UnsetType = UNSET
    next_poll: Moment | UnsetType | None = UNSET
    quarantine: list[Held] | UnsetType = UNSET
    output: str | UnsetType = UNSET


class HealthDocument(Struct, frozen=True, kw_only=True):
    """How the service is, and each part of it; `notes` are what is wrong."""

    status: Verdict
    version: str
    description: str
    time: Moment
    notes: list[str]
    checks: Mapping[str, list[Component]]


class Alive(Struct, frozen=True, kw_only=True):
    """Yes."""

    status: Literal["pass"] = "pass"
