"""Models of the JSON responses: responses are encoded, and `openapi.json` is generated from them.

An optional field that is omitted is `UNSET`.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from service.domain import fixing
from service.domain.change import Trend
from service.domain.publication_days import DayState
from service.domain.snapshot import Confidence, Status
from service.validation import published_change
from service.web.i18n.formatting import QuoteText, TickerText

Moment = Annotated[dt.datetime, Meta(tz=True)]


def receipt_path(source: str, day: dt.date) -> str:
    """Return the path of the receipt of a fixing."""
    return f"/v1/fixings/{source}/{day}"


def receipt_page_path(source: str, day: dt.date) -> str:
    """Return the path of the page that shows the receipt of a fixing."""
    return f"/fixings/{source}/{day}"


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """An error (RFC 9457). `available` lists the valid values, if there is a list of them."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    available: Sequence[str] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class QuoteWords(QuoteText):
    """The texts of a quote in one language. `sentence` is for screen readers.

    `note` names a fallback source or a cross rate. `direction` is that of the change over the period, `receipts` are
    the paths of the pages of both publications that it compares. With `spark=1`, `spark` is the SVG path of a sparkline
    in a box of 240 by 64, and `spark_label` its text alternative; both are null with fewer than three publications.
    """

    direction: Trend | None = None
    receipts: Sequence[str] = ()
    spark: str | UnsetType | None = UNSET
    spark_label: str | UnsetType | None = UNSET


class PeriodChangeDocument(Struct, frozen=True, kw_only=True):
    """The change of a rate over a period, compared with the publication in force when it began.

    `previous` is the rate of that publication, in the present unit of the currency, and `date` the first day of that
    rate. `percent` is rounded to two decimals.
    """

    percent: Decimal
    change: Decimal
    direction: Trend
    previous: Decimal
    date: dt.date


class Changes(Struct, frozen=True, kw_only=True):
    """The changes of a rate by period; null where history does not reach, or the unit changed by an unknown factor.

    `day` is the change since the previous publication. The other periods end on the date of the quote. They begin:
    `week` seven days before, `month` and `year` on the same day of the previous month or year (or the last day of that
    month, if it is shorter), `ytd` on 31 December.
    """

    day: PeriodChangeDocument | None
    week: PeriodChangeDocument | None
    month: PeriodChangeDocument | None
    year: PeriodChangeDocument | None
    ytd: PeriodChangeDocument | None


class QuoteDocument(Struct, frozen=True, kw_only=True):
    """The quote of one currency, from one source. If no source has it, its values, dates and source are null.

    `rate`, `previous` and `change` are in units of the base for 1 unit of the currency; `percent` is the change in
    percent, rounded to two decimals. `date` and `previous_date` are the first days of their rates. `choice` is the
    priority of the source in the ticker, from 1; `reason` says why sources with a higher priority were not used.
    `cross` marks a cross rate, computed with the source's own rate of the base. `status` is that of this rate alone.
    `confidence` is `confirmed` if another bank's rate agrees, `unconfirmed` if no other bank quotes the currency or has
    published yet, and `diverging` if other banks contradict a newer rate of the source, so that this is the one before
    it. `receipts` are the paths of the receipts of both publications. `text` is present if `lang` is given; its change
    is that of `period`. `buying` and `selling` are the rates at which the source buys and sells the currency, in the
    units of `rate`; present if it publishes both, and never for a cross rate.
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
    status: Status | None
    confidence: Confidence | None
    receipts: list[str]
    changes: Changes
    buying: Decimal | UnsetType = UNSET
    selling: Decimal | UnsetType = UNSET
    text: QuoteWords | UnsetType = UNSET


class Ticker(Struct, frozen=True, kw_only=True):
    """The current state of a ticker.

    `as_of` is its latest effective date, `updated_at` when its latest publication was fetched, `next_update` when the
    next one is due, or a known rate takes effect. `status` is the worst of its quotes. `recorded` marks sample data.
    `text` is present if `lang` is given. `on` is present if it was requested: the quotes are those of the rates in
    force on that date.
    """

    id: str
    base: str
    status: Status
    recorded: bool
    as_of: dt.date
    updated_at: Moment
    next_update: Moment | None
    quotes: list[QuoteDocument]
    on: dt.date | UnsetType = UNSET
    text: TickerText | UnsetType = UNSET


class RateOnDate(Struct, frozen=True, kw_only=True):
    """The rate of a currency in force on a date; null if no source had one.

    `rate` is in units of the base for 1 unit of the currency, as published, or derived with ten significant digits.
    `date` is the first day of that rate: the effective date of the last publication up to the date requested. `cross`
    marks a cross rate, computed with the source's own rate of the base. `receipt` is the path of the receipt. `buying`
    and `selling` are present if the source publishes both; never for a cross rate.
    """

    code: str
    name: str
    rate: Decimal | None
    date: dt.date | None
    source: str | None
    cross: bool
    receipt: str | None
    buying: Decimal | UnsetType = UNSET
    selling: Decimal | UnsetType = UNSET


class Rates(Struct, frozen=True, kw_only=True):
    """The rates of a ticker in force on a date."""

    ticker: str
    base: str
    on: dt.date
    rates: list[RateOnDate]


class Converted(Struct, frozen=True, kw_only=True, rename={"source_currency": "from", "target_currency": "to"}):
    """An amount converted from one currency to another by the rates of a ticker.

    `result` is the amount times the exact quotient of both rates. It is `exact` if it has at most 28 significant
    digits; otherwise it is rounded once, half up, to 28. `rate` is in units of `to` for 1 unit of `from`: as
    published, or derived with ten significant digits. `rates` are the rates used, of `from` and of `to`, in units of
    the base; none for the base itself. `on` is null for the latest rates.
    """

    ticker: str
    base: str
    on: dt.date | None
    source_currency: str
    target_currency: str
    amount: Decimal
    result: Decimal
    exact: bool
    rate: Decimal
    rates: list[RateOnDate]


@dataclass(frozen=True, slots=True)
class PointDocument:
    """A publication, and its change since the previous one. `date` is the first day of the rate."""

    date: dt.date
    rate: Decimal
    previous: Decimal | None
    change: Decimal | None
    percent: Decimal | None


class History(Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """The publications of a currency by one source, from `from` to `to` inclusive, oldest first.

    `name` is the name of the source, `source` its key.
    """

    ticker: str
    base: str
    currency: str
    source: str
    name: str
    cross: bool
    since: dt.date
    until: dt.date
    history: tuple[PointDocument, ...]


class RateDocument(Struct, frozen=True, kw_only=True):
    """One published rate, digits as published.

    `change` is the bank's own *absolute* change per nominal, if it publishes one. `buying` and `selling` are the rates
    at which it buys and sells the currency, per the same nominal; present if it publishes them. If it publishes only
    these two, `value` is their exact mean.
    """

    value: Decimal
    nominal: int
    change: Decimal | None
    buying: Decimal | UnsetType = UNSET
    selling: Decimal | UnsetType = UNSET

    @classmethod
    def of(cls, rate: fixing.Rate) -> "RateDocument":
        return cls(
            value=rate.value,
            nominal=rate.nominal,
            change=rate.change,
            buying=UNSET if rate.buying is None else rate.buying,
            selling=UNSET if rate.selling is None else rate.selling,
        )


class FixingDocument(Struct, frozen=True, kw_only=True):
    """The publication of a source for a date: digits, nominal and direction as published.

    `digest` is the SHA-256 of the source's response. `revisions` are earlier versions of the publication, newest first.
    `entered_by` is the operator who entered the rates by hand, and is missing for those of a bank's response;
    `fetched_at` is then the time of the entry, `digest` that of the entered text, and `url` may be empty.
    """

    source: str
    base: str
    date: dt.date
    rates: Mapping[str, RateDocument]
    url: str
    fetched_at: Moment
    digest: str
    direction: fixing.Quotation
    revisions: tuple["FixingDocument", ...]
    entered_by: str | UnsetType = UNSET


class Receipt(FixingDocument, frozen=True, kw_only=True):
    """A publication with everything needed to verify it: URL, fetch time, digest, and raw response.

    `confidence` compares each rate with those of other banks; `check` compares the changes that the bank published with
    the computed ones; `raw` is the path of the raw response.
    """

    name: str
    confidence: Mapping[str, Confidence]
    check: published_change.Check
    raw: str


class ChartNumbers(Struct, frozen=True, kw_only=True):
    """How numbers are formatted: `sizes` are those of the last group of digits and of the others."""

    decimal: str
    group: str
    sizes: tuple[int, int]
    plus: str
    minus: str
    percent: str


class ChartRange(Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    """A range that ends with the latest publication; `summary` is its text alternative.

    `from` is the date of its first publication: the one that was in force when the range began.
    """

    id: str
    label: str
    name: str
    since: dt.date
    summary: str


class ChartText(Struct, frozen=True, kw_only=True):
    """The texts of a chart in one language; `words` is the language of its messages.

    `day`, `short` and `month` are the patterns of dates for each month, with `{d}`, `{dd}` and `{y}`; `year` is that of
    a year.
    """

    lang: str
    dir: str
    words: str
    ranges: Sequence[ChartRange]
    number: ChartNumbers
    day: Sequence[str]
    short: Sequence[str]
    month: Sequence[str]
    year: str
    range: str
    table: str
    date: str
    change: str
    indexed: str
    logarithmic: str
    revised: str
    unit: str
    away: str


class Chart(Struct, frozen=True, kw_only=True):
    """All publications of a currency, in columns; each has an entry in `days`, `rates` and `percents`.

    `days` are the days since the publication before; the first one is of the date `first`. `percents` are the changes
    against the publication before. `starts`, `units` and `revised` are positions: of publications that are not joined
    with the one before (after a gap, or with a new unit), of those with a new unit after a redenomination, and of those
    that the source has corrected. `quarantined` are days with a suspicious rate, which is not published.
    """

    ticker: str
    base: str
    currency: str
    name: str
    source: str
    cross: bool
    decimals: int
    first: dt.date
    days: Sequence[int]
    rates: Sequence[Decimal]
    percents: Sequence[Decimal | None]
    starts: Sequence[int]
    units: Sequence[int]
    revised: Sequence[int]
    quarantined: Sequence[dt.date]
    text: ChartText


State = Literal["failing", "empty", "recorded", "partial", "current", "late", "stale"]


class DaysDocument(Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    """What became of the publications for the last effective dates of a source: one state for each date from `from` on.

    `on_time`: it was first seen before its window closed; `late`: after that, also because the service was down;
    `published`: when it arrived is not known (a backfill, or an unexpected publication); `quarantined`: rates of it
    are; `missed`: its window has closed without it, or it repeats older rates; `due`: its window has not closed;
    `none`: none is expected; `unknown`: it is older than the known history.
    """

    since: dt.date
    states: Sequence[DayState]


class SourceDocument(Struct, frozen=True, kw_only=True):
    """A source with its state and its polls.

    `last_fixing` is the date of its latest publication, `last_change` the first day of its latest rates: earlier if
    publications since, as on weekends, repeat them. `error` is that of the last poll; null if the poll succeeded.
    `partial` is the state of a current source of which some rates could not be read: `left_out` says which. The next
    publication is expected between `expected_from` and `expected_until`: as the last ones were first seen or, until
    enough of them were, in its publication window. `days` is what became of the last ones.
    """

    key: str
    name: str
    base: str
    terms: str
    state: State
    error: str | None
    left_out: Sequence[str]
    last_fixing: dt.date | None
    last_change: dt.date | None
    last_poll: Moment | None
    last_success: Moment | None
    next_poll: Moment | None
    expected_from: Moment | None
    expected_until: Moment | None
    days: DaysDocument | UnsetType = UNSET


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
    """The source of a quote. `choice` is its priority, from 1; `reason` says why it is not the preferred source."""

    source: str | None
    choice: int | None
    reason: str | None
    confidence: Confidence | None


class HeldRate(Struct, frozen=True, kw_only=True):
    """A quarantined rate and the last published one: values as published, with the nominal unless it is 1."""

    code: str
    rate: str
    previous: str | None
    previous_date: dt.date | None


class Held(Struct, frozen=True, kw_only=True):
    """The quarantined rates of a date, since when they are quarantined, and why.

    `rates` are those that a ticker needs; `digest` identifies all of them, for the command that decides.
    """

    date: dt.date
    since: Moment
    reasons: tuple[str, ...]
    digest: str
    rates: list[HeldRate]


class InstanceDocument(Struct, frozen=True, kw_only=True):
    """An instance of the service: a random id, its role and version, its start, and when it last used the store."""

    id: str
    role: str
    version: str
    started: Moment
    seen: Moment


# msgspec does not support the union of str and Decimal, both of which it decodes from strings; it encodes either.
Observed = Annotated[Any, Meta(extra_json_schema={"type": ["string", "number"]})]


Persistence = Literal["append-only file", "none", "unknown"]
PERSISTENCE: Final[Mapping[bool | None, Persistence]] = {True: "append-only file", False: "none", None: "unknown"}
"""By whether the append-only file of the store is on."""


class Component(Struct, frozen=True, kw_only=True, rename="camel"):
    """The health of a component (draft-inadarei-api-health-check). Ages are in seconds.

    Tickers have the fields from `since` to `choices`, sources those from `lastFixing` to `quarantine`, webhooks
    `failingSince` and `consecutiveFailures`, the store `persistence` and `eviction` (its `maxmemory-policy`). The
    leader election's check has the `instances` that share the store; its `componentId` is the instance that responds.
    `output` describes the problem.
    """

    component_id: str | UnsetType = UNSET
    component_type: Literal["component", "datastore", "system"] = "component"
    status: Verdict
    observed_value: Observed | UnsetType = UNSET
    observed_unit: str | UnsetType = UNSET
    time: Moment | UnsetType | None = UNSET
    since: Moment | UnsetType | None = UNSET
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
    persistence: Persistence | UnsetType = UNSET
    eviction: str | UnsetType = UNSET
    instances: list[InstanceDocument] | UnsetType = UNSET
    output: str | UnsetType = UNSET


class HealthDocument(Struct, frozen=True, kw_only=True):
    """The health of the service and of its components. `notes` lists the problems."""

    status: Verdict
    version: str
    description: str
    time: Moment
    notes: list[str]
    checks: Mapping[str, list[Component]]


class Alive(Struct, frozen=True, kw_only=True):
    """The service is running, or ready."""

    status: Literal["pass"] = "pass"
