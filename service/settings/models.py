"""The settings: one typed, frozen object. Every setting is described here; `make docs` writes the reference from it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from service import __version__
from service.settings.types import (
    ALL_DAY,
    COLUMNS,
    DAYS,
    HTTP,
    LOOPBACK,
    MANUAL,
    SECRET,
    CaFile,
    Calendar,
    Currencies,
    Currency,
    CurrencyCode,
    DateFormat,
    Dates,
    Day,
    DocumentPath,
    Duration,
    Encoding,
    EventType,
    FrameAncestors,
    Headers,
    Interval,
    Key,
    Networks,
    Nominal,
    OptionalAddress,
    OptionalProxy,
    OptionalWindow,
    Retention,
    SecretFile,
    SourceSecret,
    SourceUrl,
    TracesEndpoint,
    WebhookSecrets,
    WebhookUrl,
    Zone,
    after_root,
    is_clear_text,
    placeholders,
)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class HttpSettings(_Table):
    host: str = Field(
        min_length=1,
        default="127.0.0.1",
        description="Address to listen on; `0.0.0.0` exposes `/metrics` to other machines.",
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port to listen on; 0: an unused one, which the log names."
    )
    max_age: Duration = Field(
        default=timedelta(minutes=1),
        description="Maximum `max-age` of responses with rates; it never reaches past the next due publication.",
    )
    variants: int = Field(
        default=256,
        ge=1,
        description="Maximum number of rendered variants cached per ticker (currencies, languages, layouts).",
    )
    response_cache: bool = Field(
        default=True, description="Serve identical requests within the same second from a cache."
    )
    public_url: OptionalAddress = Field(
        default=None,
        description=(
            "Public URL of the service, e.g. `https://ticker.example`; oEmbed and the feed need it behind a reverse "
            "proxy."
        ),
    )
    frame_ancestors: FrameAncestors = Field(
        default=("*",), description="Sites that may embed the ticker in an iframe (CSP `frame-ancestors`)."
    )
    connections: int = Field(
        default=12_000, ge=1, description="Maximum number of open connections, event streams included; more are closed."
    )
    idle_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description=(
            "Keep-alive timeout, and timeout for the headers of a request. A reverse proxy must close its idle "
            "connections earlier; the bundled nginx does so after 20 s."
        ),
    )
    send_timeout: Duration = Field(default=timedelta(seconds=30), description="Write timeout for a stalled client.")
    streams: int = Field(default=10_000, ge=0, description="Maximum number of open event streams (`/v1/stream`).")
    streams_per_address: int = Field(
        default=100,
        ge=0,
        description="Maximum number of open event streams per client: an IPv4 address or an IPv6 /64 network.",
    )
    drain: Retention = Field(
        default=timedelta(0),
        le=timedelta(hours=1),
        description=(
            "How long an instance still serves after SIGTERM or SIGHUP, while `/readyz` returns 503: as long as a load "
            "balancer needs to notice it. A supervisor must wait 5 s longer before it kills. A second signal ends it."
        ),
    )
    surrogate_keys: bool = Field(
        default=False,
        description=(
            "Send `Surrogate-Key` and `Cache-Tag` with rates, so that a webhook can purge them from a CDN; see "
            "docs/webhooks.md."
        ),
    )
    proxies: Networks = Field(
        default=LOOPBACK,
        description="Networks of trusted reverse proxies: the last address in their `X-Forwarded-For` is the client.",
    )


class StoreSettings(_Table):
    url_file: SecretFile = Field(
        default=None,
        description=(
            "File that contains the store's URL and password, such as a mounted secret. `url` must not be set too."
        ),
    )
    url: SecretStr = Field(
        default=SecretStr("embedded"),
        validate_default=True,
        description=(
            "`embedded` starts a Valkey server in `data_dir`; otherwise the URL of a Redis or Valkey server: "
            "`redis://`, `unix://` or `redis+sentinel://host:26379,host2:26379/name/0`; with TLS `rediss://` or "
            "`rediss+sentinel://`. In a password, write `@ / ? # &` as `%40 %2F %3F %23 %26`. For its parameters, see "
            '"Store URL" in docs/operations.md.'
        ),
    )
    data_dir: Path = Field(default=Path(".data"), description="Data directory of the embedded server.")
    prefix: str = Field(default="ticker:", description="Prefix of all keys in the store.")
    keep_raw: Retention = Field(
        default=timedelta(days=90), description="Retention time of the banks' raw responses; 0 stores none."
    )
    raw_bytes: int = Field(
        default=20_000_000,
        ge=0,
        description="Maximum bytes of compressed raw responses per source; the oldest are removed; 0 is unlimited.",
    )

    @field_validator("url")
    @classmethod
    def _of_file(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        of_file = info.data.get("url_file", url)  # missing if the file cannot be read
        if of_file is None:
            return url
        if url != cls.model_fields["url"].default:
            raise ValueError("must not be set together with url_file (TICKER_STORE__URL_FILE): remove one of them")
        return SecretStr(of_file.get_secret_value())


class ClientSettings(_Table):
    """HTTP client that polls the banks."""

    user_agent: str = Field(
        default=f"currency-ticker/{__version__}", description="`User-Agent` of requests to the banks."
    )
    connect_timeout: Duration = Field(
        default=timedelta(seconds=5), description="Timeout for establishing a connection."
    )
    timeout: Duration = Field(default=timedelta(seconds=15), description="Timeout for a complete response.")
    attempts: int = Field(
        default=3,
        ge=1,
        le=10,
        description="Maximum attempts per request; connection errors and 5xx are retried with backoff and jitter.",
    )
    pause: Duration = Field(default=timedelta(seconds=1), description="Pause after each request of a backfill.")
    max_bytes: int = Field(default=2_000_000, ge=1, description="Maximum size of a response in bytes.")
    proxy: OptionalProxy = Field(
        default=None,
        description=(
            "HTTP proxy for requests to the banks: `http://proxy.example:3128`, with a login if it needs one. The "
            "variables `HTTP_PROXY` and `HTTPS_PROXY` are ignored."
        ),
    )
    ca_file: CaFile = Field(
        default=None,
        description="PEM file of certificate authorities that are trusted in addition to those of the system.",
    )


class AcceptanceSettings(_Table):
    """Limits of validation; docs/validation.md describes the rules."""

    jump: Decimal = Field(
        default=Decimal(15),
        gt=0,
        le=1000,
        description="Largest change, in percent, that is published without confirmation by another source.",
    )
    tolerance: Decimal = Field(
        default=Decimal(5),
        gt=0,
        le=100,
        description=(
            "Scale of the tolerance between two sources, in percent. Rates confirm each other within a fifth to four "
            "fifths of it (1 to 4 % by default), depending on how closely the sources agreed in the past."
        ),
    )


class LogSettings(_Table):
    format: Literal["console", "json"] = Field(
        default="console", description='Log format: `"console"` or `"json"` (one object per line).'
    )
    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="info",
        description='Lowest level that is logged: `"debug"`, `"info"`, `"warning"`, `"error"` or `"critical"`.',
    )


class TracingSettings(_Table):
    """Traces by OpenTelemetry, described in [operations.md](operations.md#traces)."""

    endpoint: TracesEndpoint = Field(
        default=None,
        description=(
            "Base URL of an OTLP collector (HTTP), e.g. `http://localhost:4318`, to which traces are sent; by default "
            "none are. Requires the extra `otel`; the variables `OTEL_*` set the rest."
        ),
    )


class RuntimeSettings(_Table):
    """Optimizations of the Python runtime. Disable one only to rule it out as the cause of a problem."""

    gc_tuning: bool = Field(
        default=True, description="Tune garbage collection and thread switching for shorter pauses."
    )
    lazy_imports: bool = Field(
        default=True,
        description="Import only the used parts of two large packages; saves 10 MB of memory and 0.1 s at the start.",
    )


class BreakSettings(_Table):
    """A redenomination: from `date` on, one new unit of `currency` is `factor` old units."""

    currency: Currency = Field(description="Currency code under which the unit changed.")
    date: dt.date = Field(description="First effective date in the new unit.")
    factor: Decimal | None = Field(
        default=None,
        gt=0,
        le=Decimal("1e15"),
        description="Number of old units in a new one; if it is missing, changes across `date` are a dash.",
    )
    ground: str = Field(default="", description="Evidence for the redenomination.")


class DocumentSettings(_Table):
    """The document of a source without code (`adapter = "http"`), see [own-source.md](own-source.md).

    A path is a JMESPath in JSON, an XPath or a CSS selector (`css:td:nth-child(2)`) in XML and HTML, and the name of a
    column in CSV. It begins at the row, or at the root with `$.` in JSON and `/` in XML and HTML.
    """

    format: Literal["json", "xml", "csv", "html"] | None = Field(
        default=None, description='Format of its document: `"json"`, `"xml"`, `"csv"` or `"html"`; required.'
    )
    rows: DocumentPath = Field(
        default="",
        description=(
            "Path to the rows, each of which has one rate; required except for CSV, where it is a JMESPath that "
            "selects from the lines. `items(rates)` makes rows of an object with a member per currency."
        ),
    )
    currency: DocumentPath = Field(
        default="",
        description=(
            'Path to the currency code; required. `"*"` in CSV: each column that is named by a currency has its rates, '
            "for the number of units before the name (`100 JPY`, in a direct quotation), otherwise for `nominal`."
        ),
    )
    codes: dict[str, CurrencyCode] = Field(
        default={},
        description=(
            'Codes of currencies that its document names otherwise: `{ SDR = "XDR" }`. '
            'A name with the code `""` is ignored.'
        ),
    )
    value: DocumentPath = Field(
        default="",
        description=(
            "Path to the rate; required unless `buying` and `selling` are set, whose mean it is then, or `currency` is "
            '`"*"`.'
        ),
    )
    no_rate: str = Field(
        default="",
        max_length=40,
        description='Text in the place of a rate that is not published, e.g. `"N/A"`; by default it is an error.',
    )
    buying: DocumentPath = Field(
        default="",
        description=(
            "Path to the rate at which the bank buys the currency; if `direction` is inverse, it is the higher one."
        ),
    )
    selling: DocumentPath = Field(default="", description="Path to the rate at which the bank sells the currency.")
    nominal: Nominal = Field(default="1", description="Number of units to which the rate applies, or the path to it.")
    power: DocumentPath = Field(
        default="",
        description="Path to the power of ten that the nominal is (`UNIT_MULT` of SDMX), instead of `nominal`.",
    )
    change: DocumentPath = Field(default="", description="Path to its own absolute change, if it publishes one.")
    date: DocumentPath = Field(
        default="",
        description=(
            "Path to the effective date; required if a date is requested. By default it is the day of the request, in "
            "`timezone`."
        ),
    )
    date_format: DateFormat = Field(
        default="%Y-%m-%d",
        description='Format of the date by Python\'s `strptime`, e.g. `"%d.%m.%Y"`, or `"unix"`: seconds since 1970.',
    )
    direction: Literal["direct", "inverse"] = Field(
        default="direct",
        description=(
            '`"direct"`: the rate is units of `base` for the nominal of a currency; `"inverse"`: units of the currency '
            "for the nominal of `base`."
        ),
    )
    decimal_mark: Literal[".", ","] = Field(default=".", description="Decimal separator of its numbers.")
    thousands_mark: Literal["", ",", ".", " ", "'"] = Field(
        default="", description="Separator of thousands in its numbers; a space may also be a no-break one."
    )
    encoding: Encoding | None = Field(
        default=None,
        description=(
            'Encoding of its document, e.g. `"windows-1251"`; by default that which XML declares, otherwise UTF-8.'
        ),
    )
    delimiter: Literal[",", ";", "\t", "|"] = Field(default=",", description="Separator of the columns of CSV.")
    may_be_empty: bool = Field(
        default=False,
        description=(
            "Whether a document without rows means that nothing is published; by default it is an error. XML and HTML "
            "need a `date` that begins at the root, by which the document is recognised."
        ),
    )
    may_be_missing: bool = Field(
        default=False, description="Whether status 404 means that nothing is published; by default it is an error."
    )

    @property
    def has_columns(self) -> bool:
        """Whether the columns of its CSV document are currencies."""
        return self.format == "csv" and self.currency == COLUMNS

    @property
    def paths(self) -> dict[str, str]:
        """The paths to the cells of a row, by the names of their settings."""
        names = ["date", "currency", "value", "buying", "selling", "nominal", "power", "change"]
        paths = {name: str(getattr(self, name)) for name in names if getattr(self, name)}
        if self.power or self.nominal.isdigit():
            del paths["nominal"]
        return paths


class SourceSettings(DocumentSettings):
    """A source: a bank, or a relay of one, with its URL and its publication schedule."""

    name: str = Field(description="Name that visitors see.")
    short_name: str = Field(
        default="",
        max_length=20,
        description="Abbreviation that visitors see beside the date; by default the source's key.",
    )
    names: dict[str, str] = Field(default={}, description="Names in other languages: `{ kk = …, ru = … }`.")
    base: Currency = Field(description="Currency in which it expresses its rates.")
    adapter: Key | None = Field(
        default=None,
        description=(
            "Adapter that fetches and parses its responses: the key of a source in docs/sources.md, "
            '`"frankfurter"`, or `"http"` for a source without code; by default the source\'s own key. `"manual"`: '
            "its rates are entered with `set-rate`, and it is never polled."
        ),
    )
    url: SourceUrl = Field(
        default="",
        description=(
            "Base URL, to which the adapter appends the rest. With the adapter `http`, the whole URL: with "
            "`{date:%d.%m.%Y}`, with `{since:%d.%m.%Y}` and `{until:%d.%m.%Y}`, or without a date if only the latest "
            "rates are published. It is public, except for the value of `{secret}`. Required unless "
            '`adapter = "manual"`.'
        ),
    )
    timezone: Zone = Field(description="IANA time zone of `window` and of its dates, e.g. `Asia/Almaty`.")
    user_agent: str = Field(default="", description="`User-Agent` of requests to it; by default `client.user_agent`.")
    headers: Headers = Field(default={}, description='More headers of requests to it: `{ Authorization = "…" }`.')
    secret: SourceSecret = Field(
        default=None,
        description=(
            "Key of its API, sent where `url` or `headers` have `{secret}`, and never shown: 8 to 200 letters, "
            "digits, `-`, `.`, `_` or `~`. Set it in the environment: `TICKER_SOURCES__KEY__SECRET`."
        ),
    )
    proxy: OptionalProxy = Field(
        default=None, description='HTTP proxy for requests to it, or `"direct"`; by default `client.proxy`.'
    )
    max_bytes: int | None = Field(
        default=None, ge=1, description="Maximum size of a response in bytes; by default `client.max_bytes`."
    )
    terms: str = Field(default="", description="Its terms of use, for `/v1/sources`.")
    quotes: Currencies = Field(
        default=(), description="Currencies in its responses that were recorded for the tests; for information only."
    )
    documented_only: bool = Field(
        default=False,
        description="Whether its format is documented and reported only, not recorded; for information only.",
    )
    since: dt.date | None = Field(default=None, description="First date of its history; for information only.")
    provider: str = Field(
        default="",
        max_length=40,
        pattern=r"^[A-Za-z0-9_-]*$",
        description="Required for a relay: the relay's code for the bank whose rates are requested, e.g. `NBK`.",
    )
    enabled: bool | None = Field(
        default=None,
        description=(
            "`true` polls it even if no ticker names it, so that its rates validate those of other sources; `false` "
            "disables it; by default it is polled if a ticker names it."
        ),
    )
    recorded: bool = Field(
        default=False, description="Whether its rates ship with the project and are shown as sample data."
    )
    days: frozenset[Day] = Field(
        default=frozenset(DAYS[:5]), min_length=1, description="Weekdays on which it publishes."
    )
    not_compared: Currencies = Field(
        default=(),
        description="Currencies that are not compared with other sources, only with their own past.",
    )
    calendar: Calendar = Field(
        default="",
        description=(
            "Calendar of its holidays in the `holidays` library: a country (`KZ`), a subdivision (`GB-ENG`) or a "
            "market (`XECB`); by default it has no holidays."
        ),
    )
    days_off: Dates = Field(
        default=(),
        description="More dates on which it does not publish, e.g. holidays by decree: `[2027-01-05, 2027-01-06]`.",
    )
    working_days: Dates = Field(
        default=(),
        description=(
            "Dates on which it publishes although they are weekends or holidays. On weekend days that the calendar "
            "names as worked, it is polled for a publication, but none is missed."
        ),
    )
    window: OptionalWindow = Field(
        default=None,
        description=(
            'Time of day in which it publishes, e.g. `"15:30-19:00"`; if it is missing, at any time of its `days`, '
            "and it is polled every `sweep`. "
            'With `adapter = "manual"`, rates are never late without one.'
        ),
    )
    effective: Literal["same-day", "next-day", "next-working-day", "previous-working-day"] = Field(
        default="next-day",
        description=(
            "Effective date of a publication, relative to the day on which it appears: "
            '`"same-day"`, `"next-day"`, `"next-working-day"`; `"previous-working-day"` if it publishes those of days '
            'before, such as of a week. Without `window`, or without `date` of `adapter = "http"`, the default is '
            '`"same-day"`.'
        ),
    )
    ahead: int = Field(
        default=1, ge=0, description="Maximum number of days by which an effective date may lie in the future."
    )
    every: Interval = Field(
        default=timedelta(minutes=10), description="Polling interval within the window until the publication arrives."
    )
    sweep: Interval = Field(
        default=timedelta(hours=1), description="Maximum time between two polls at any time of day."
    )
    budget: int = Field(
        default=150,
        ge=10,
        le=100_000,
        description=(
            "Requests per day that it tolerates. Polls are more frequent than `every` while a publication is expected, "
            "as far as the budget allows, and than `sweep` while one is overdue."
        ),
    )
    breaks: tuple[BreakSettings, ...] = Field(
        default=(), description="Its redenominations, see `[[sources.KEY.breaks]]`."
    )

    @model_validator(mode="before")
    @classmethod
    def _publishes_at_any_time(cls, settings: Any) -> Any:  # noqa: ANN401 - as it was read
        """Complete the schedule of a source of which little is said, so that its rates are not late for that.

        Rates that a document does not date are dated by the day of the request.
        """
        if not isinstance(settings, Mapping) or settings.get("adapter") == MANUAL or settings.get("recorded") is True:
            return settings
        if settings.get("window") is None:  # polled as seldom as outside of a window
            sweep = settings.get("sweep", cls.model_fields["sweep"].default)
            return {"effective": "same-day", "every": sweep, **settings, "window": ALL_DAY}
        if settings.get("adapter") == HTTP and not settings.get("date"):
            return {"effective": "same-day", **settings}
        return settings

    @field_validator("url")
    @classmethod
    def _is_base_url(cls, url: str, others: ValidationInfo) -> str:
        adapter = others.data.get("adapter")
        if adapter == MANUAL and "{" in url:
            raise ValueError("must not have a placeholder: it is only shown")
        if adapter not in (HTTP, MANUAL) and {"?", "{"} & set(url):
            raise ValueError("must not have a query or placeholder: it is public, and requests append a path to it")
        return url

    @model_validator(mode="after")
    def _has_no_contradiction(self) -> Self:
        if both := set(self.days_off) & set(self.working_days):
            raise ValueError(f"days_off and working_days both name {min(both)}")
        if not (self.url or self.is_manual):
            raise ValueError("url is required")
        return self

    @property
    def is_manual(self) -> bool:
        """Whether its rates are entered by an operator, so that it is never polled."""
        return self.adapter == MANUAL

    @property
    def has_window(self) -> bool:
        """Whether it is known at which time of day it publishes."""
        return self.window not in (None, ALL_DAY)

    @property
    def is_irregular(self) -> bool:
        """Whether its rates are entered at no set times, so that none is ever missed."""
        return self.is_manual and self.window is None

    @model_validator(mode="after")
    def _has_its_secret(self) -> Self:
        texts = [self.url, *(value.get_secret_value() for value in self.headers.values())]
        is_used = any(SECRET in text for text in texts)
        if is_used and not self.secret:
            raise ValueError("secret is required, since url or headers have {secret}")
        if self.secret and not is_used and self.adapter == HTTP:  # others may have a place for it in their code
            raise ValueError("secret is not used: write {secret} in url or headers")
        if is_used and is_clear_text(self.url):
            raise ValueError("url must begin with https://, since {secret} would be sent unencrypted")
        return self

    @model_validator(mode="after")
    def _has_a_document(self) -> Self:
        if self.adapter != HTTP:
            fields = DocumentSettings.model_fields.items()
            if others := [name for name, field in fields if getattr(self, name) != field.default]:
                raise ValueError(f'{others[0]} is only used with adapter = "{HTTP}"')
            return self
        required = {"format", "currency", *([] if self.format == "csv" else ["rows"])}
        if not (self.has_columns or (self.buying and self.selling)):
            required.add("value")
        if self.requested or (self.may_be_empty and self.format in ("xml", "html")):
            required.add("date")
        if missing := sorted(name for name in required if not getattr(self, name)):
            raise ValueError(f'{missing[0]} is required with adapter = "{HTTP}"')
        if self.decimal_mark == self.thousands_mark:
            raise ValueError("decimal_mark and thousands_mark are the same")
        if self.power and self.nominal != "1":
            raise ValueError("power and nominal exclude each other")
        if self.may_be_empty and self.format in ("xml", "html") and after_root(self.date) is None:
            raise ValueError("may_be_empty requires a date that begins at the root, with /")
        return self

    @model_validator(mode="after")
    def _has_no_column_beside_currencies(self) -> Self:
        if self.has_columns and (others := self.paths.keys() - {"date", "currency"}):
            raise ValueError(f'{min(others)} cannot be a column with currency = "{COLUMNS}"')
        return self

    @property
    def requested(self) -> frozenset[str]:
        """The dates that the URL requests: `date`, or `since` and perhaps `until`; none if it requests the latest."""
        return placeholders(self.url)

    @property
    def base_url(self) -> str:
        """The URL to which requests append a path: for the adapter `http` only its scheme and host."""
        if self.adapter != HTTP:
            return self.url.rstrip("/")
        return "/".join(self.url.split("/")[:3])

    @cached_property
    def weekdays(self) -> frozenset[int]:
        return frozenset(DAYS.index(day) for day in self.days)


def _repeated(values: Sequence[str]) -> str:
    """Return the first value that is named twice; empty if none is."""
    return next((value for index, value in enumerate(values) if value in values[:index]), "")


class TickerSettings(_Table):
    """A ticker: currencies quoted in one base currency. The first ticker is the default one."""

    id: Key = Field(description="Identifier in URLs: `/v1/ticker/ID`, `/embed?ticker=ID`.")
    base: Currency = Field(description="Currency in which the rates are expressed.")
    currencies: tuple[Currency, ...] = Field(
        min_length=1, description="Quoted currencies, in the order in which they are shown."
    )
    sources: tuple[Key, ...] = Field(
        min_length=1,
        description=(
            "Sources by priority; the first that is neither stale nor refuted by other banks provides a quote, unless "
            "the rate of a stale one before it is later."
        ),
    )
    effective: Literal["latest", "today"] = Field(
        default="latest",
        description='`"latest"`: the latest publication, even if dated tomorrow; `"today"`: the one in force today.',
    )

    @model_validator(mode="after")
    def _is_sensible(self) -> Self:
        for name, values in (("currencies", self.currencies), ("sources", self.sources)):
            if repeated := _repeated(values):
                raise ValueError(f"{name} names {repeated} twice")
        if self.base in self.currencies:
            raise ValueError(f"currencies names the base {self.base}")
        return self


class WebhookSettings(_Table):
    """A receiver of events, described in [webhooks.md](webhooks.md)."""

    url: WebhookUrl = Field(
        description="URL to which events are sent; it is treated as a secret, since it may contain a token."
    )
    name: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9._:-]{0,79})?$",
        description="Name in health, metrics and logs; by default the host of the URL. Its queue belongs to the name.",
    )
    events: tuple[EventType, ...] = Field(
        default=("ticker.changed",),
        min_length=1,
        description=(
            "Events to send: `ticker.changed`, `ticker.late`, `ticker.stale`, `fixing.quarantined`, `fixing.revised`."
        ),
    )
    threshold: Decimal = Field(
        default=Decimal(0),
        ge=0,
        le=1000,
        description="Smallest change of a quote, in percent, for which `ticker.changed` is sent; 0 sends every change.",
    )
    secret: WebhookSecrets = Field(
        default=(),
        description=(
            "Secret of the signature, `whsec_` and 24 to 64 random bytes in base64. Several, the newest first: the "
            "request has a signature by each. Required unless `format` is that of a cache."
        ),
    )
    format: Literal["cloudevents", "fastly", "cloudflare", "varnish"] = Field(
        default="cloudevents",
        description=(
            '`"cloudevents"`: the event as signed JSON; `"fastly"`, `"cloudflare"`, `"varnish"`: a request that purges '
            "what the event has changed from that cache."
        ),
    )
    headers: Headers = Field(default={}, description='More headers of its requests: `{ Fastly-Key = "…" }`.')
    allow_private: bool = Field(
        default=False,
        description="Allow private, loopback and link-local addresses, and `http://`.",
    )

    @model_validator(mode="after")
    def _is_protected(self) -> Self:
        if self.format == "cloudevents" and not self.secret:
            raise ValueError("secret is required")
        if not self.allow_private and not self.url.get_secret_value().startswith("https:"):
            raise ValueError("url must begin with https:// unless allow_private is set")
        return self

    @cached_property
    def label(self) -> str:
        """The name, by default the host of the URL with its port."""
        return self.name or urlsplit(self.url.get_secret_value()).netloc.lower()


class Settings(_Table):
    http: HttpSettings = HttpSettings()
    store: StoreSettings = StoreSettings()
    client: ClientSettings = ClientSettings()
    acceptance: AcceptanceSettings = AcceptanceSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    tickers: tuple[TickerSettings, ...] = Field(min_length=1)
    sources: dict[Key, SourceSettings] = Field(min_length=1)
    webhooks: tuple[WebhookSettings, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if repeated := _repeated([ticker.id for ticker in self.tickers]):
            raise ValueError(f"tickers: two have the same id {repeated!r}")
        if repeated := _repeated([webhook.label for webhook in self.webhooks]):
            raise ValueError(f"webhooks: two have the same name or host {repeated!r}; set name")
        for ticker in self.tickers:
            for key in ticker.sources:
                if key not in self.polled:
                    enabled = ", ".join(self.polled)
                    where = f"tickers.{ticker.id}.sources"
                    raise ValueError(f"{where}: unknown or disabled source {key!r} (enabled: {enabled})")
        return self

    def adapter(self, key: str) -> str:
        return self.sources[key].adapter or key

    def entered_source(self, ticker_id: str) -> str | None:
        """Return the first source of a ticker if the rates of all its sources are entered by hand; else None."""
        keys = next(ticker.sources for ticker in self.tickers if ticker.id == ticker_id)
        return keys[0] if all(self.sources[key].is_manual for key in keys) else None

    def wanted(self, key: str) -> tuple[str, ...]:
        """Return the currencies that tickers want of a source, their bases too where it quotes in another one."""
        codes = list[str]()
        for ticker in self.tickers:
            if key in ticker.sources:
                codes += [*ticker.currencies, ticker.base]
        return tuple(dict.fromkeys(code for code in codes if code != self.sources[key].base))

    @cached_property
    def polled(self) -> dict[str, SourceSettings]:
        named = {key for ticker in self.tickers for key in ticker.sources}
        return {
            key: source
            for key, source in self.sources.items()
            if source.enabled or (source.enabled is None and key in named)
        }

    @cached_property
    def scheduled(self) -> dict[str, SourceSettings]:
        """The sources of `polled` that are really polled: all but those with rates entered by hand."""
        return {key: source for key, source in self.polled.items() if not source.is_manual}
