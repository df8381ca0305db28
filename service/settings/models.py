"""The settings: one typed, frozen object. Every setting is described here; `make docs` writes the reference from it."""

import datetime as dt
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from service import __version__
from service.settings.types import (
    DAYS,
    LOOPBACK,
    Address,
    Calendar,
    Currencies,
    Currency,
    Day,
    Duration,
    FrameAncestors,
    Interval,
    Key,
    Networks,
    OptionalAddress,
    OptionalWindow,
    Retention,
    Zone,
)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class HttpSettings(_Table):
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on.")
    max_age: Duration = Field(
        default=timedelta(minutes=1),
        description="Longest `max-age` of a response; shorter before a publication is due.",
    )
    variants: int = Field(
        default=256, ge=1, description="Rendered variants cached for each ticker (currencies, languages, layouts)."
    )
    response_cache: bool = Field(
        default=True, description="Serve identical requests within a second from a cache before the router."
    )
    public_url: OptionalAddress = Field(
        default=None,
        description='Public URL of the service ("https://ticker.example"), for oEmbed; by default the request\'s host.',
    )
    frame_ancestors: FrameAncestors = Field(
        default=("*",), description="Sites that may embed the strip in a frame (CSP `frame-ancestors`)."
    )
    connections: int = Field(default=12_000, ge=1, description="Open connections, streams included; more are closed.")
    idle_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="Keep-alive timeout, also for the headers of a request; longer than the edge's (20 s).",
    )
    send_timeout: Duration = Field(default=timedelta(seconds=30), description="Write timeout for a stalled client.")
    streams: int = Field(default=10_000, ge=0, description="Open event streams (`/v1/stream`).")
    streams_per_address: int = Field(default=100, ge=0, description="Open event streams from one address.")
    proxies: Networks = Field(
        default=LOOPBACK,
        description="Networks of reverse proxies whose `X-Forwarded-For` is trusted (its last address).",
    )


class StoreSettings(_Table):
    url: SecretStr = Field(
        default=SecretStr("embedded"),
        description=(
            "Redis URL: `redis://`, `rediss://`, `unix://` or `redis+sentinel://host:26379,host2:26379/name/0`; "
            "`embedded` starts a Valkey server in `data_dir`. Write `@ / ? #` in a password as `%40 %2F %3F %23`."
        ),
    )
    data_dir: Path = Field(default=Path(".data"), description="Directory of the embedded server's files.")
    prefix: str = Field(default="ticker:", description="Prefix of all keys.")
    keep_raw: Retention = Field(
        default=timedelta(days=90), description="How long the banks' raw responses are kept; 0: not at all."
    )
    raw_bytes: int = Field(
        default=20_000_000,
        ge=0,
        description="Bytes of compressed raw responses kept for each source, oldest removed first; 0: unlimited.",
    )


class ClientSettings(_Table):
    """HTTP client for the banks."""

    user_agent: str = Field(
        default=f"currency-ticker/{__version__}", description="`User-Agent` of requests to the banks."
    )
    connect_timeout: Duration = Field(default=timedelta(seconds=5), description="Timeout for a connection.")
    timeout: Duration = Field(default=timedelta(seconds=15), description="Timeout for a whole response.")
    attempts: int = Field(
        default=3, ge=1, le=10, description="Attempts, with backoff and jitter, on connection errors and 5xx."
    )
    pause: Duration = Field(default=timedelta(seconds=1), description="Pause after each request of a backfill.")
    max_bytes: int = Field(default=2_000_000, ge=1, description="Largest response that is accepted, in bytes.")


class AcceptanceSettings(_Table):
    """Validation: a rate beyond these limits is quarantined."""

    jump: Decimal = Field(
        default=Decimal(15),
        gt=0,
        le=1000,
        description="Largest change, in percent, accepted without confirmation by another source.",
    )
    tolerance: Decimal = Field(
        default=Decimal(5),
        gt=0,
        le=100,
        description="Largest difference, in percent, at which two sources confirm each other.",
    )


class LogSettings(_Table):
    format: Literal["console", "json"] = Field(default="console", description='"console" or "json".')
    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="info", description="Lowest level that is logged."
    )


class RuntimeSettings(_Table):
    """Adjustments of the Python interpreter; see `service/runtime`."""

    gc_tuning: bool = Field(default=True, description="Tune garbage collection and thread switching for short pauses.")
    lazy_imports: bool = Field(
        default=True, description="Import only the needed parts of two large packages: saves 10 MB and 0.1 s."
    )


class BreakSettings(_Table):
    """A redenomination: from `date` on, one unit of `currency` is `factor` units of before."""

    currency: Currency = Field(description="Currency whose unit changed.")
    date: dt.date = Field(description="First date in the new unit.")
    factor: Decimal | None = Field(
        default=None, gt=0, le=Decimal("1e15"), description="Old units in a new one; without it, it is unknown."
    )
    ground: str = Field(default="", description="Where that is documented.")


class SourceSettings(_Table):
    """A source: who it is, where its rates are, and when it publishes. Without `window` it publishes nothing new."""

    name: str = Field(description="Name, as shown to visitors.")
    names: dict[str, str] = Field(default={}, description="Name in other languages: `{ kk = …, ru = … }`.")
    base: Currency = Field(description="Base currency of its rates.")
    url: Address = Field(description="Base URL; the adapter appends the rest.")
    timezone: Zone = Field(description="Its time zone, for `window` and dates.")
    terms: str = Field(default="", description="Terms of use.")
    quotes: Currencies = Field(
        default=(), description="Currencies it was recorded to publish; informative, since banks change them."
    )
    since: dt.date | None = Field(default=None, description="First date of its history.")
    adapter: Key | None = Field(
        default=None, description="Adapter that fetches and parses; by default the source's key."
    )
    provider: str = Field(
        default="",
        max_length=40,
        pattern=r"^[A-Za-z0-9_-]*$",
        description="Bank whose rates a relay is requested for, in the relay's own code.",
    )
    enabled: bool | None = Field(default=None, description="Whether it is polled; by default, if a ticker names it.")
    recorded: bool = Field(default=False, description="Ships with the project; shown as sample data.")
    days: frozenset[Day] = Field(
        default=frozenset(DAYS[:5]), min_length=1, description="Weekdays on which it publishes."
    )
    not_compared: Currencies = Field(
        default=(),
        description="Currencies that lastingly differ from other sources; validated by their own past alone.",
    )
    calendar: Calendar = Field(
        default="",
        description="Its holidays: a country (`KZ`), a part of one (`GB-ENG`) or a market (`XECB`).",
    )
    window: OptionalWindow = Field(default=None, description='Time of day in which it publishes: `"15:30-19:00"`.')
    effective: Literal["same-day", "next-day", "next-working-day"] = Field(
        default="next-day", description="Date of a publication, counted from the day on which it appears."
    )
    ahead: int = Field(default=1, ge=0, description="Days that a date may lie ahead of its own today.")
    every: Interval = Field(
        default=timedelta(minutes=10), description="Polling interval in the window until the publication arrives."
    )
    sweep: Interval = Field(default=timedelta(hours=1), description="Polling interval at all other times.")
    breaks: tuple[BreakSettings, ...] = Field(default=(), description="Its redenominations, see below.")

    @cached_property
    def weekdays(self) -> frozenset[int]:
        return frozenset(DAYS.index(day) for day in self.days)


class TickerSettings(_Table):
    """A ticker: a strip with a base currency of its own. The first one is the default."""

    id: Key = Field(description="Its name in URLs (`?ticker=`).")
    base: Currency = Field(description="Base currency.")
    currencies: tuple[Currency, ...] = Field(min_length=1, description="Quoted currencies, in their order.")
    sources: tuple[Key, ...] = Field(
        min_length=1, description="Sources by priority: a quote comes from the first one that is not stale."
    )
    effective: Literal["latest", "today"] = Field(
        default="latest", description="Show the latest publication, or the one in force today."
    )

    @model_validator(mode="after")
    def _is_sensible(self) -> Self:
        for name, values in (("currencies", self.currencies), ("sources", self.sources)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names something twice")
        if self.base in self.currencies:
            raise ValueError(f"currencies names the base {self.base}")
        return self


class Settings(_Table):
    http: HttpSettings = HttpSettings()
    store: StoreSettings = StoreSettings()
    client: ClientSettings = ClientSettings()
    acceptance: AcceptanceSettings = AcceptanceSettings()
    log: LogSettings = LogSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    tickers: tuple[TickerSettings, ...] = Field(min_length=1)
    sources: dict[Key, SourceSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        ids = [ticker.id for ticker in self.tickers]
        if len(set(ids)) < len(ids):
            raise ValueError("tickers: two have the same id")
        for ticker in self.tickers:
            for key in ticker.sources:
                if key not in self.polled:
                    enabled = ", ".join(self.polled)
                    where = f"tickers.{ticker.id}.sources"
                    raise ValueError(f"{where}: unknown or disabled source {key!r} (enabled: {enabled})")
        return self

    def adapter(self, key: str) -> str:
        return self.sources[key].adapter or key

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
