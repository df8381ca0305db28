"""HTTP client for all banks: no cookies, no proxy from the environment, timeouts, a small receive buffer."""

import socket
from typing import Self

import aiohttp

from service.settings import ClientSettings

ACCEPT = "application/xml, application/json, text/xml, text/csv;q=0.9, */*;q=0.1"
RECEIVED = 65_536
"""Receive buffer of a socket, in bytes. It limits how much is parsed in one step of the event loop: with the system's
default, a flood of 1xx responses blocked the loop for seconds."""


class Client:
    """The shared HTTP session as an async context manager."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": self.settings.user_agent, "Accept": ACCEPT, "Accept-Encoding": "gzip"},
            timeout=aiohttp.ClientTimeout(
                total=self.settings.timeout.total_seconds(),
                sock_connect=self.settings.connect_timeout.total_seconds(),
            ),
            connector=aiohttp.TCPConnector(socket_factory=_socket),
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


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    created = socket.socket(family, kind, protocol)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
    return created
