"""Models of the JSON responses: they are encoded as defined here, and `openapi.json` is generated from them.

A field that may be omitted is `UNSET` then.
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
    """An error (RFC 9457); `available` lists the valid values."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    available: Sequence[str] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class QuoteWords(QuoteText):
    """The texts of a quote in one language, ready to be shown; `sentence` is for screen readers.

    `note` names a fallback source or a cross rate. With `spark=1`, `spark` is the SVG path of a line of its last
    publications, in a box of 240 by 64, and `spark_label` its text; both null with fewer than three publications.
    """

    spark: str | UnsetType | None = UNSET
    spark_label: str | UnsetType | None = UNSET


class QuoteDocument(Struct, frozen=True, kw_only=True):
    """The quote of one currency, from one source; if no source quotes it, all but code and name are null.

    Rates are in units of the base for 1 unit of the currency. `date` and `previous_date` are the first days of their
    rates. `choice` is the source's position in the ticker's list, from 1; `reason` says why the ones before it were
    not used. `cross` marks a cross rate through the source's own rate of the base. `confidence`: `confirmed` if another
    bank has the rate at this level; `unconfirmed` if none quotes it or has published yet; `diverging` if other banks
    refute what the source has published since, so that this is its last rate before. `receipts` are the URLs of both
    fixings. `text` is present with `lang`.
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
    """The current state of a ticker. `as_of` is its latest effective date; `text` is present with `lang`."""

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
    """A publication and its change since the previous one; `date` is the first day of its rate."""

    date: dt.date
    rate: Decimal
    previous: Decimal | None
    change: Decimal | None
    percent: Decimal | None


class History(Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """The publications of a currency by one source (`name`), oldest first, both days included."""

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
    """What a source published for a date: digits, nominal and direction as published.

    `digest` is the SHA-256 of the response; `revisions` are its earlier forms of that date, newest first.
    """

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
    """A fixing with what is needed to check it: URL, time, `confidence`, own changes, raw response."""

    name: str
    confidence: Mapping[str, Confidence]
    check: published_change.Check
    raw: str


State = Literal["failing", "empty", "recorded", "current", "late", "stale"]


class SourceDocument(Struct, frozen=True, kw_only=True):
    """A source with its state and polls. `last_change` is the first day of its latest rates."""

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
    """All polled sources."""

    sources: list[SourceDocument]


class Embed(Struct, frozen=True, kw_only=True):
    """An oEmbed response (https://oembed.com)."""

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
    """The source of a shown quote, and why it is not the preferred one."""

    source: str | None
    choice: int | None
    reason: str | None
    confidence: Confidence | None


class Held(Struct, frozen=True, kw_only=True):
    """Quarantined rates of a date, with time and reasons."""

    date: dt.date
    since: Moment
    reasons: tuple[str, ...]


# msgspec describes no union of a text and a decimal, of which it reads each as a string; it writes them as they are.
Observed = Annotated[Any, Meta(extra_json_schema={"type": ["string", "number"]})]


class Component(Struct, frozen=True, kw_only=True, rename="camel"):
    """A component of the service (draft-inadarei-api-health-check); ages are in seconds.

    `asOf` to `choices` are of a ticker, `lastFixing` to `quarantine` of a source.
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
    """Health of the service and of its components; `notes` are the problems."""

    status: Verdict
    version: str
    description: str
    time: Moment
    notes: list[str]
    checks: Mapping[str, list[Component]]


class Alive(Struct, frozen=True, kw_only=True):
    """The service is alive or ready."""

    status: Literal["pass"] = "pass"
