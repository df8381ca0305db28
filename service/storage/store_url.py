"""The URL of an external store: `redis://`, `unix://`, `redis+sentinel://`; with TLS `rediss://`, `rediss+sentinel://`."""

import re
import ssl
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any, Final
from urllib.parse import unquote

from service.errors import SettingsError

_FORMS: Final = (
    "embedded, redis://, rediss://, unix://, redis+sentinel://host:26379,host2:26379/name/0, rediss+sentinel://"
)
_MISPLACED: Final = re.compile(r"#|^(?!unix:///)[^:]*://[^/?]*[/?].*@")
"""Unescaped special characters: the rest of a password would be parsed as a path, and appear in messages."""
_URL: Final = re.compile(
    r"(?P<scheme>unix|redis(?P<tls>s?)(?P<sentinel>\+sentinel)?)://(?:(?P<login>[^/?]*)@)?(?P<hosts>[^/?@]*)"
    r"(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_HOST: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^:\[\],]*))(?::(?P<port>\d{1,5}))?", re.ASCII)
_DB: Final = re.compile(r"\d{1,5}", re.ASCII)
_QUOTABLE: Final = re.compile(r"[A-Za-z_]{1,30}")
"""Names of parameters that a message may contain."""
_SECRETS: Final = ("password", "sentinel_password")
_GENERAL: Final = ("username", "password", "db")
_SENTINEL: Final = ("sentinel_username", "sentinel_password")
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")


@dataclass(frozen=True, repr=False)
class StoreUrl:
    """A parsed URL."""

    where: str
    """The URL without user, password and parameters, for messages."""
    options: dict[str, Any]
    """Arguments of redis-py for a connection to the store."""
    master: str | None = None
    """The name of the master; None without Sentinels."""
    sentinels: list[tuple[str, int]] = field(default_factory=list)
    """Hosts and ports."""
    sentinel_options: dict[str, Any] = field(default_factory=dict)
    """Arguments of redis-py for a connection to a Sentinel."""


def check(url: str) -> None:
    """Raise `SettingsError` if the setting `store.url` is invalid."""
    if url != "embedded":
        parse(url)


def parse(url: str) -> StoreUrl:
    """Parse a URL. Raises `SettingsError`, whose message has no part of the URL that could be of a password."""
    if _MISPLACED.search(url):
        raise _invalid(
            "special characters must be escaped, e.g. in the password: %40 for @, %2F for /, %3F for ?, %23 for #"
        )
    parts = _URL.fullmatch(url)
    if not parts:
        raise _invalid(f"is none of {_FORMS}")
    scheme, hosts, path = parts["scheme"], parts["hosts"], parts["path"] or ""
    given = _parameters(parts["query"] or "", scheme)
    user, _, password = (parts["login"] or "").partition(":")
    login = {"username": given.get("username", unquote(user)), "password": given.get("password", unquote(password))}
    if login["username"] and not login["password"]:
        raise _invalid(
            "has a user without a password; a password alone is written with a colon: redis://:PASSWORD@host"
        )
    tls = _tls(given) if parts["tls"] else {}
    options: dict[str, Any] = {**_set(login), **tls}
    where = f"{scheme}://{hosts}{path}"
    if parts["sentinel"]:
        name, _, db = path.strip("/").partition("/")
        if not name or not hosts:
            raise _invalid(
                "needs the addresses of Sentinels and the name of their master: redis+sentinel://host/name/0"
            )
        options["db"] = _db(given.get("db", db))
        login = {kind: given.get(f"sentinel_{kind}", "") for kind in ("username", "password")}
        if login["username"] and not login["password"]:
            raise _invalid("sentinel_username needs sentinel_password")
        sentinels = [_address(host, 26379) for host in hosts.split(",")]
        return StoreUrl(where, options, unquote(name), sentinels, {**_set(login), **tls})
    if scheme == "unix":
        if hosts or not path:
            raise _invalid("needs an absolute path: unix:///run/valkey.sock")
        return StoreUrl(where, options | {"unix_socket_path": unquote(path), "db": _db(given.get("db", ""))})
    host, port = _address(hosts, 6379) if hosts else ("localhost", 6379)
    return StoreUrl(where, options | {"host": host, "port": port, "db": _db(given.get("db", path.strip("/")))})


def _invalid(problem: str) -> SettingsError:
    return SettingsError(f"store.url: {problem}")


def _set(login: dict[str, str]) -> dict[str, str]:
    return {kind: text for kind, text in login.items() if text}


def _parameters(query: str, scheme: str) -> dict[str, str]:
    """Return the decoded parameters. Everything after a password may belong to it, so no message contains that."""
    allowed = [*_GENERAL, *(_TLS if "rediss" in scheme else ()), *(_SENTINEL if "sentinel" in scheme else ())]
    given = dict[str, str]()
    for pair in filter(None, query.split("&")):
        name, sign, value = pair.partition("=")
        hint = " (in a password, write & as %26)" if any(secret in given for secret in _SECRETS) else ""
        if name in allowed:
            if not value or name in given:
                raise _invalid(f"the parameter {name} {'is given twice' if name in given else 'has no value'}{hint}")
            given[name] = unquote(value)
        elif name in _TLS or name in _SENTINEL:
            needed = "rediss:// or rediss+sentinel://" if name in _TLS else "redis+sentinel:// or rediss+sentinel://"
            raise _invalid(f"the parameter {name} needs {needed}")
        else:
            named = f" {name!r}" if sign and not hint and _QUOTABLE.fullmatch(name) else ""
            raise _invalid(f"unknown parameter{named}{hint}; known: {', '.join(allowed)}")
    return given


def _address(text: str, default_port: int) -> tuple[str, int]:
    """Return the host and port of `host`, `host:port`, `[IPv6]` or `[IPv6]:port`."""
    parts = _HOST.fullmatch(text)
    try:
        ipv6 = parts and parts["ipv6"] and str(IPv6Address(unquote(parts["ipv6"])))
    except ValueError:
        parts = ipv6 = None
    port = int(parts["port"] or default_port) if parts else 0
    if not parts or not 0 < port < 65536 or not (ipv6 or parts["name"]):
        brackets = "; an IPv6 address is written in brackets, [::1]:6379" if text.count(":") > 1 else ""
        raise _invalid(f"an address is not of the form host or host:port{brackets}")
    return ipv6 or unquote(parts["name"]), port


def _db(text: str) -> int:
    if text and not _DB.fullmatch(text):
        raise _invalid("the database must be a number, such as redis://host:6379/0")
    return int(text or 0)


def _tls(given: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of redis-py for TLS; raise `SettingsError` for files that cannot be used."""
    options: dict[str, Any] = {"ssl": True} | {name: given[name] for name in _TLS if name in given}
    if "ssl_check_hostname" in given:
        if given["ssl_check_hostname"] not in ("true", "false"):
            raise _invalid("the parameter ssl_check_hostname must be true or false")
        options["ssl_check_hostname"] = given["ssl_check_hostname"] == "true"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ssl_ca_certs" in given:
        try:
            context.load_verify_locations(given["ssl_ca_certs"])
        except (OSError, ValueError):  # an error of ssl is one of the system
            raise _invalid("ssl_ca_certs cannot be read as a file of certificates (PEM)") from None
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise _invalid("ssl_keyfile needs ssl_certfile")
    if "ssl_certfile" in given:
        try:
            context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"), password="")
        except (OSError, ValueError):
            raise _invalid(
                "ssl_certfile and ssl_keyfile cannot be read as a certificate and its key (PEM, not encrypted)"
            ) from None
    return options
