"""The HTTP client for all banks: no cookies, no proxy from the environment, timeouts, a small receive buffer."""

import socket
from typing import Self

import aiohttp

from service.settings import ClientSettings

ACCEPT = "application/xml, application/json, text/xml, text/csv;q=0.9, */*;q=0.1"
RECEIVED = 65_536
"""Bytes that the system receives of an answer before we have looked at them. As many as a bank could send at once
would be parsed at once, while nobody else is served: a flood of 1xx heads held the loop for seconds."""


class Client:
    """The HTTP session for all banks: no cookies, no proxy from the environment, timeouts."""

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
            raise RuntimeError("the client is not open: use it as a context manager")
        return self._session


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
    return made
