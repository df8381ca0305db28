"""HTTP client for banks and webhooks: no cookies, no proxy from the environment, timeouts, a small receive buffer."""

import socket
import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import aiohttp
from pydantic import SecretStr
from yarl import URL

from service.settings import ClientSettings, SourceSettings
from service.settings.types import DIRECT, SECRET

ACCEPT = "application/xml, application/json, text/xml, text/csv;q=0.9, */*;q=0.1"
RECEIVED = 65_536
"""Receive buffer of a socket, in bytes. It limits how much is parsed in one step of the event loop: with the system's
default, a flood of 1xx responses blocked the loop for seconds."""


class Proxy(NamedTuple):
    """A proxy and the headers with its login, which is kept apart: errors of aiohttp show the URL."""

    url: URL | None
    headers: dict[str, str] | None


class Client:
    """The shared HTTP session as an async context manager."""

    def __init__(
        self, settings: ClientSettings, new_socket: Callable[[aiohttp.AddrInfoType], socket.socket] | None = None
    ) -> None:
        """Create the client; `new_socket` creates the socket for a connection to an address, or raises `OSError`."""
        self.settings = settings
        self._new_socket = new_socket or new_client_socket
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": self.settings.user_agent, "Accept": ACCEPT, "Accept-Encoding": "gzip"},
            timeout=aiohttp.ClientTimeout(
                total=self.settings.timeout.total_seconds(),
                sock_connect=self.settings.connect_timeout.total_seconds(),
            ),
            connector=aiohttp.TCPConnector(socket_factory=self._new_socket, ssl=_tls(self.settings)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open; use it as an async context manager")
        return self._session

    def headers(self, source: SourceSettings) -> Mapping[str, str]:
        """Return the headers that a source has in addition to those of all requests, or instead of them."""
        own_agent = {"User-Agent": source.user_agent} if source.user_agent else {}
        secret = source.secret.get_secret_value() if source.secret else SECRET
        headers = {name: value.get_secret_value().replace(SECRET, secret) for name, value in source.headers.items()}
        return own_agent | headers

    def proxy(self, source: SourceSettings) -> Proxy:
        """Return the proxy for requests to a source; its URL is None for a direct connection."""
        return proxy_of(source.proxy or self.settings.proxy)


def proxy_of(setting: SecretStr | None) -> Proxy:
    """Return the proxy that a setting names; its URL is None for a direct connection."""
    address = setting.get_secret_value() if setting else DIRECT
    if address == DIRECT:
        return Proxy(None, None)
    url = URL(address)
    # aiohttp renames it to Proxy-Authorization.
    login = {"Authorization": aiohttp.encode_basic_auth(url.user, url.password or "")} if url.user else None
    return Proxy(url.with_user(None), login)


def _tls(settings: ClientSettings) -> ssl.SSLContext | bool:
    """Return the TLS context that also trusts `ca_file`; True for that of aiohttp."""
    if settings.ca_file is None:
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(settings.ca_file)
    return context


def new_client_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket for a connection to an address, with the receive buffer `RECEIVED`."""
    family, kind, protocol, *_ = address
    created = socket.socket(family, kind, protocol)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
    return created
