"""Types of settings: durations, windows, time zones, currency codes, URLs, headers."""

import binascii
import re
import ssl
from base64 import b64decode
from datetime import UTC, date, datetime, time, timedelta
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, StringConstraints

from service.settings.currencies import CODES

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS = get_args(Day)
EventType = Literal["ticker.changed", "ticker.late", "ticker.stale", "fixing.quarantined", "fixing.revised"]
SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with, by the Standard Webhooks specification

DIRECT = "direct"
"""No proxy, where a setting expects one."""
HTTP = "http"
"""The adapter of sources without code."""
MANUAL = "manual"
"""The adapter of sources whose rates are entered: their URL is only shown."""
UNIX = "unix"
"""The date format of seconds since 1970."""
COLUMNS = "*"
"""The `currency` of a CSV document whose columns are currencies."""
SECRET = "{secret}"  # noqa: S105 - its placeholder
"""The place of a source's secret in its URL and headers."""
LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


class Window(NamedTuple):
    """The part of a publication day in which a source publishes, in its own time zone."""

    start: time
    end: time


ALL_DAY = Window(time(0), time(23, 59))
"""That of a source of which nothing is said."""


def _window(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        start, end = (time.fromisoformat(part.strip()) for part in value.split("-"))
    except ValueError:
        raise ValueError('must look like "15:30-19:00"') from None
    if start.tzinfo or end.tzinfo:
        raise ValueError("must not have a zone; set timezone")
    if start >= end:
        raise ValueError("must end after it starts, on the same day")
    return Window(start, end)


def _zone(value: object) -> object:
    try:
        # Never pydantic's own, which would quote what is no text.
        return value if isinstance(value, ZoneInfo) else ZoneInfo(str(value))
    except (KeyError, ValueError, OSError):
        raise ValueError("must be an IANA time zone, like Asia/Almaty") from None


def _parts(url: str, example: str) -> SplitResult:
    """Return the parts of a URL of HTTP or HTTPS; raise `ValueError` with an example for anything else."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:  # the port is not a number, or a bracket is missing
        is_valid = False
    if not is_valid:
        raise ValueError(f"must be a URL like {example}")
    return parts


def _ascii_parts(url: str, example: str) -> SplitResult:
    """Return the parts of a URL that can be sent as it is."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"must be a URL like {example}")
    return _parts(url, example)


def _address(value: str) -> str:
    parts = _parts(value, "https://bank.example/rates")
    if "@" in parts.netloc:
        raise ValueError("must not contain a login: it is public")
    if "?" in value or "#" in value:  # a key would be in every receipt
        raise ValueError("must not have a query or fragment: it is public, and requests append a path to it")
    return value


_PLACEHOLDER = re.compile(r"\{(date|since|until)(?::([^{}]+))?\}|\{secret\}")


def placeholders(url: str) -> frozenset[str]:
    """Return the dates that a URL has a place for: `date`, `since`, `until`."""
    return frozenset(found[1] for found in _PLACEHOLDER.finditer(url) if found[1])


_FROM_ROOT = re.compile(r"(?:[a-z-]*\(\s*)*/+")


def after_root(path: str) -> str | None:
    """Return the rest of an XPath that begins at the root, perhaps within functions; None if it begins at the row."""
    found = _FROM_ROOT.match(path)
    return path[found.end() :] if found else None


def fill(url: str, **dates: date) -> str:
    """Return a URL with dates in their places; that of the secret stays."""
    return _PLACEHOLDER.sub(lambda found: f"{dates[found[1]]:{found[2] or '%Y-%m-%d'}}" if found[1] else found[0], url)


def is_clear_text(url: str) -> bool:
    """Return whether a network can read requests to a URL: without TLS, to another machine."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname == "localhost":
        return False
    try:
        address = ip_address(parts.hostname or "")
    except ValueError:  # a name
        return True
    return not any(address in network for network in LOOPBACK)


def _source_url(value: str) -> str:
    if {"{", "}"} & set(_PLACEHOLDER.sub("", value)):
        raise ValueError("has an unknown placeholder; known are {date:%d.%m.%Y}, {since:…}, {until:…} and {secret}")
    if placeholders(value) not in ({"date"}, {"since"}, {"since", "until"}, set()):
        raise ValueError("must have either {date:…}, or {since:…} and {until:…}")
    sample = date(2026, 11, 29)
    filled = fill(value, date=sample, since=sample, until=sample).replace(SECRET, "")
    if not (filled.isascii() and filled.isprintable() and " " not in filled):
        raise ValueError("must be printable ASCII without spaces; write others as %20")
    _address(filled.partition("?")[0])
    if "#" in filled:
        raise ValueError("must not have a fragment")
    if "{" in "".join(value.split("/")[:3]):
        raise ValueError("must not have a placeholder in its host")
    return value


def _date_format(value: str) -> str:
    sample = datetime(2026, 11, 29, tzinfo=UTC)
    try:
        text = f"{sample:{value}}"
        has_year = text != f"{sample.replace(year=2037):{value}}"  # 2037 has the same weekdays
        is_date = value == UNIX or (has_year and datetime.strptime(text, value).date() == sample.date())  # noqa: DTZ007 - a date has no zone
    except (ValueError, re.error):  # the latter for a repeated directive
        is_date = False
    if not is_date:
        raise ValueError("must be the format of a whole date, like %d.%m.%Y")
    return value


def _nominal(value: object) -> object:
    """Accept a number; text that is no number is a path."""
    if not isinstance(value, int | str) or isinstance(value, bool):
        return value
    text = str(value).strip()
    if re.fullmatch(r"[+-]?[0-9.,]*", text) and not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise ValueError("must be a whole number from 1 to 9999999, or a path")
    return text


def _proxy(value: SecretStr) -> SecretStr:
    if (address := value.get_secret_value()) == DIRECT:
        return value
    parts = _parts(address, example := "http://proxy.example:3128")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"must be a URL like {example}")
    return value


def _header_names(value: object) -> object:
    """Check the names of headers here: an error of a key would quote it, and it may be a whole header by mistake."""
    for name in value if isinstance(value, dict) else ():
        if not re.fullmatch(r"[A-Za-z0-9-]{1,60}", str(name)):
            raise ValueError("has an invalid header name: letters, digits and hyphens are allowed")
        if name.title() in ("Host", "Connection", "Content-Length", "Transfer-Encoding", "Accept-Encoding"):
            raise ValueError(f"must not have {name.title()}, which is set by the client")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("must be printable ASCII")
    return value


def _source_secret(value: SecretStr) -> SecretStr:
    """Allow only what has one form in URLs, JSON and XML, so that it is found wherever a bank repeats it."""
    if not re.fullmatch(r"[A-Za-z0-9._~-]{8,200}", value.get_secret_value()):
        raise ValueError("must have 8 to 200 letters, digits, -, ., _ or ~; set headers for another secret")
    return value


def _webhook_url(value: SecretStr) -> SecretStr:
    parts = _ascii_parts(value.get_secret_value(), "https://receiver.example/events")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("must not contain a login or a fragment; set headers")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        length = len(b64decode(text.removeprefix(SECRET_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if not text.startswith(SECRET_PREFIX) or not 24 <= length <= 64:
        raise ValueError(f"must be {SECRET_PREFIX} and 24 to 64 random bytes in base64")
    return value


def _traces_endpoint(value: str) -> str:
    parts = _ascii_parts(value, "http://localhost:4318")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("must not have a login, query or fragment; set the variable OTEL_EXPORTER_OTLP_HEADERS")
    try:
        is_installed = find_spec("opentelemetry.exporter.otlp.proto.http") and find_spec("opentelemetry.sdk.trace")
    except ModuleNotFoundError:  # of a parent package
        is_installed = None
    if not is_installed:
        raise ValueError(
            "requires OpenTelemetry, which is not installed: pip install 'currency-ticker[otel]', or in a checkout: "
            "pip install --require-hashes -r requirements-otel.lock"
        )
    return value


def _ca_file(value: Path) -> Path:
    try:
        ssl.create_default_context(cafile=value)
    except (OSError, ValueError):  # an error of ssl is one of the system
        raise ValueError("cannot be read as a file of certificates (PEM)") from None
    return value


def _secret_file(value: object) -> object:
    """Read the file that a text names; no text names none."""
    try:
        return Path(value).read_text(encoding="utf-8").strip() if isinstance(value, str) and value else value or None
    except (OSError, ValueError):  # that of a wrong encoding is a value error
        raise ValueError("cannot be read as a text file") from None


def _currency(value: str) -> str:
    if value not in CODES:
        raise ValueError("is not a currency code of ISO 4217")
    return value


def _network(value: object) -> object:
    """Read a network of IP addresses; a single address is a network too."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        network = ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        raise ValueError("must be an IP address or network like 10.0.0.0/8") from None
    if ip_address(str(value).split("/")[0]) != network.network_address:
        hint = f"; did you mean {network}?" if network.prefixlen else ""  # not the network of all addresses
        raise ValueError(f"is an address within a network{hint}")
    return network


def _code(value: str) -> str:
    return value and _currency(value)


def _listed(value: object) -> object:
    """Split a text at spaces and commas."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _duration(value: object) -> object:
    """Read seconds, also from the text of an environment variable."""
    return float(value) if isinstance(value, str) and value.replace(".", "", 1).isdigit() else value


Calendar = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}(-[A-Z0-9]{1,6})?|[A-Z]{4})?$")]
Currency = Annotated[str, StringConstraints(to_upper=True), AfterValidator(_currency)]
CurrencyCode = Annotated[str, StringConstraints(to_upper=True), AfterValidator(_code)]
"""The code of a name, which is ignored if it is empty."""
Currencies = Annotated[tuple[Currency, ...], BeforeValidator(_listed)]
Dates = Annotated[tuple[date, ...], BeforeValidator(_listed)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Duration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0), le=timedelta(days=366))]
Retention = Annotated[timedelta, BeforeValidator(_duration), Field(ge=timedelta(0), le=timedelta(days=3660))]
Interval = Annotated[Duration, Field(ge=timedelta(seconds=1))]
Address = Annotated[str, AfterValidator(_address)]
SourceUrl = Annotated[str, AfterValidator(_source_url)]
"""May have places for dates and a secret."""
SourceSecret = Annotated[
    Annotated[SecretStr, AfterValidator(_source_secret)] | None, BeforeValidator(lambda value: value or None)
]
DocumentPath = Annotated[str, StringConstraints(max_length=400, strip_whitespace=True)]
"""A JMESPath, an XPath, a CSS selector or the name of a column; compiled by `service.sources.paths`."""
Nominal = Annotated[DocumentPath, BeforeValidator(_nominal)]
DateFormat = Annotated[str, StringConstraints(max_length=60), AfterValidator(_date_format)]
Encoding = Literal[
    "utf-8", "windows-1250", "windows-1251", "windows-1252", "windows-1254", "iso-8859-1", "iso-8859-2", "iso-8859-9"
]
"""Encodings in which ASCII is itself: others (UTF-7, EBCDIC) can hide content from a parser."""
OptionalAddress = Annotated[Address | None, BeforeValidator(lambda value: value or None)]
OptionalProxy = Annotated[
    Annotated[SecretStr, AfterValidator(_proxy)] | None, BeforeValidator(lambda value: value or None)
]
"""May contain a login."""
Headers = Annotated[dict[str, Annotated[SecretStr, AfterValidator(_header_value)]], BeforeValidator(_header_names)]
WebhookUrl = Annotated[SecretStr, AfterValidator(_webhook_url)]
"""May contain a token in its path or query."""
WebhookSecrets = Annotated[tuple[Annotated[SecretStr, AfterValidator(_webhook_secret)], ...], BeforeValidator(_listed)]
SecretFile = Annotated[SecretStr | None, BeforeValidator(_secret_file)]
"""The content of the file that the setting names."""
TracesEndpoint = Annotated[
    Annotated[str, AfterValidator(_traces_endpoint)] | None, BeforeValidator(lambda value: value or None)
]
CaFile = Annotated[Annotated[Path, AfterValidator(_ca_file)] | None, BeforeValidator(lambda value: value or None)]
FrameAncestor = Annotated[
    str, StringConstraints(pattern=r"^(\*|'self'|'none'|https?:|(https?://)?[A-Za-z0-9*][A-Za-z0-9.*-]*(:[0-9*]+)?)$")
]
"""One source expression of the Content-Security-Policy directive of that name."""
FrameAncestors = Annotated[tuple[FrameAncestor, ...], BeforeValidator(_listed), Field(min_length=1)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_listed)]
OptionalWindow = Annotated[Window | None, BeforeValidator(_window)]
Zone = Annotated[ZoneInfo, BeforeValidator(_zone), PlainSerializer(str)]
