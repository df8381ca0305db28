"""What can be set: one typed, frozen object, read from the layers of the configuration."""

from datetime import date, timedelta
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


class Http(_Table):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    max_age: Duration = timedelta(minutes=1)
    """The longest time that a reader's cache may keep an answer."""
    variants: int = Field(default=256, ge=1)
    """How many variants of a ticker (`?currencies=`, `?lang=` and so on) are kept ready."""
    public_url: OptionalAddress = None
    """Where readers see the service, for oEmbed; what a request says of it where not set."""
    frame_ancestors: FrameAncestors = ("*",)
    """Which sites may frame `/embed`."""
    connections: int = Field(default=12_000, ge=1)
    """How many connections may be open, streams among them; more are closed at once."""
    idle_timeout: Duration = timedelta(seconds=30)
    """How long a connection may take until its next request is there, whole but for a body."""
    send_timeout: Duration = timedelta(seconds=30)
    """How long a reader may take in nothing of what is sent."""
    streams: int = Field(default=10_000, ge=0)
    """How many readers may hold `/v1/stream` open."""
    streams_per_address: int = Field(default=100, ge=0)
    """How many of them from one address."""
    proxies: Networks = LOOPBACK
    """Whose word on a reader's address (X-Forwarded-For, its last) is believed: that of proxies before the service."""


class StoreSettings(_Table):
    url: SecretStr = SecretStr("embedded")
    data_dir: Path = Path(".data")
    prefix: str = "ticker:"
    keep_raw: Retention = timedelta(days=90)
    """How long the banks' own answers are kept; 0: not at all."""
    raw_bytes: int = Field(default=20_000_000, ge=0)
    """How many bytes of them (compressed) are kept a source: the oldest are removed first; 0: no limit."""


class ClientSettings(_Table):
    """The one HTTP client towards the banks."""

    user_agent: str = f"currency-ticker/{__version__}"
    connect_timeout: Duration = timedelta(seconds=5)
    timeout: Duration = timedelta(seconds=15)
    attempts: int = Field(default=3, ge=1, le=10)
    pause: Duration = timedelta(seconds=1)
    """How long a backfill waits after each request."""
    max_bytes: int = Field(default=2_000_000, ge=1)


class AcceptanceSettings(_Table):
    """When a rate is held in quarantine. In percent."""

    jump: Decimal = Field(default=Decimal(15), gt=0, le=1000)
    """The largest change of a rate that is accepted without confirmation by another bank."""
    tolerance: Decimal = Field(default=Decimal(5), gt=0, le=100)
    """The largest difference between two banks that counts as the same rate."""


class LogSettings(_Table):
    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class BreakSettings(_Table):
    """From `date` on, 1 unit of `currency` is what `factor` units were before; no factor: it is not known."""

    currency: Currency
    date: date
    factor: Decimal | None = Field(default=None, gt=0, le=Decimal("1e15"))
    ground: str = ""
    """Where that is documented."""


class SourceSettings(_Table):
    """Who a source is and when it publishes. No `window`: it never publishes anything new."""

    name: str
    names: dict[str, str] = {}
    """The name in other languages: `kk`, `ru`."""
    base: Currency
    url: Address
    timezone: Zone
    terms: str = ""
    quotes: Currencies = ()
    """Its currencies, as they were recorded: told, not depended on, since banks take some in and drop some."""
    since: date | None = None
    """The first date that its feed is known to answer for."""
    adapter: Key | None = None
    """What asks it and reads its answers; its own key where nothing is said."""
    provider: str = Field(default="", max_length=40, pattern=r"^[A-Za-z0-9_-]*$")
    """Whose rates a relay is asked for, in the relay's own code."""
    enabled: bool | None = None
    """Polled or not; where nothing is said, it is if a ticker names it."""
    recorded: bool = False
    """Its publications ship with the project: always told as such."""
    days: frozenset[Day] = Field(default=frozenset(DAYS[:5]), min_length=1)
    breaks: tuple[BreakSettings, ...] = ()
    """Redenominations: dates from which a currency is another unit."""
    not_compared: Currencies = ()
    """Currencies whose rate here lastingly differs from that of other banks: judged by their own past alone."""
    calendar: Calendar = ""
    """Whose holidays it keeps: a country (`KZ`), a part of one (`GB-ENG`) or a market (`XECB`); none where empty."""
    window: OptionalWindow = None
    effective: Literal["same-day", "next-day", "next-working-day"] = "next-day"
    """The date that a publication carries, counted from the day on which it appears."""
    ahead: int = Field(default=1, ge=0)
    """How many days ahead of the source's own today a date may lie."""
    every: Interval = timedelta(minutes=10)
    sweep: Interval = timedelta(hours=1)

    @cached_property
    def weekdays(self) -> frozenset[int]:
        return frozenset(DAYS.index(day) for day in self.days)


class TickerSettings(_Table):
    id: Key
    base: Currency
    currencies: tuple[Currency, ...] = Field(min_length=1)
    sources: tuple[Key, ...] = Field(min_length=1)
    effective: Literal["latest", "today"] = "latest"
    """Show the latest published fixing, or the one in force today."""

    @model_validator(mode="after")
    def _is_sensible(self) -> Self:
        for what, values in (("currencies", self.currencies), ("sources", self.sources)):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} names something twice")
        if self.base in self.currencies:
            raise ValueError(f"currencies names the base {self.base}")
        return self


class Settings(_Table):
    http: Http = Http()
    store: StoreSettings = StoreSettings()
    client: ClientSettings = ClientSettings()
    acceptance: AcceptanceSettings = AcceptanceSettings()
    log: LogSettings = LogSettings()
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
                    raise ValueError(
                        f"tickers.{ticker.id}.sources: {key!r} is no enabled source; there are {', '.join(self.polled)}"
                    )
        return self

    def adapter(self, key: str) -> str:
        return self.sources[key].adapter or key

    def wanted(self, key: str) -> tuple[str, ...]:
        """Return the currencies that tickers want of a source, their bases too where it quotes in another one."""
        codes = [code for one in self.tickers if key in one.sources for code in (*one.currencies, one.base)]
        return tuple(dict.fromkeys(code for code in codes if code != self.sources[key].base))

    @cached_property
    def polled(self) -> dict[str, SourceSettings]:
        named = {key for ticker in self.tickers for key in ticker.sources}
        return {
            key: source
            for key, source in self.sources.items()
            if source.enabled or (source.enabled is None and key in named)
        }
