"""Connection limits: maximum count, idle timeout, send timeout.

aiohttp bounds what it takes of a request (8190 bytes of its first line, 32 requests read ahead) and ends what is idle.
"""

import asyncio
import resource
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from struct import Struct
from typing import Any, Final, cast

import structlog
from aiohttp import web
from aiohttp.http import RawRequestMessage

from service.settings import HttpSettings
from service.web.http.problems import Problem
from service.web.http.responses import PreparedResponse

log = structlog.get_logger()

BESIDE: Final = 200
"""Open files of the process besides connections: the store, the banks, what Python reads."""
_HEADERS: Final = 64
_HEADER: Final = 4096
"""How many there may be, and bytes of each, as at the edge; aiohttp would take a megabyte of them."""
_LINGER: Final = 1.0
"""Seconds for which a body that nobody wants is read on, so that its sender gets to see the answer."""
_UNSENT: Final = 128 * 1024
"""Send buffer of a connection in the kernel, in bytes, which doubles it; the default is 4 MB."""
_ACKED: Final = Struct("=Q")
"""`tcpi_bytes_acked` of `struct tcp_info`, at its place since Linux 4.1."""
_TELL: Final = 60.0
"""Seconds between two log entries about too many connections."""


def _refusal() -> PreparedResponse:
    """Return what answers that which is no request. aiohttp's own answer repeats what came, and names versions."""
    problem = Problem(400, "This cannot be read as a request.", {"Connection": "close"})
    body = problem.body if isinstance(problem.body, bytes) else b""
    headers = {**problem.headers, "Content-Length": str(len(body))}
    lines = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return PreparedResponse(HTTPStatus.BAD_REQUEST, "\r\n".join(lines).encode(), body, close=True)


_REFUSAL: Final = _refusal()


class _Connection(web.RequestHandler):
    """One client connection."""

    def data_received(self, data: bytes) -> None:
        """Take no more after what cannot be read: each piece of it would be read, and kept, as another fault."""
        super().data_received(data)
        if self._messages and not isinstance(message := self._messages[-1][0], RawRequestMessage):
            _forget(message.exc)
            self.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        for message, _ in self._messages:  # which nobody will answer
            if not isinstance(message, RawRequestMessage):
                _forget(message.exc)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status != 400:
            return super().handle_error(request, status, exc, message)
        _forget(exc)
        return _REFUSAL


def _forget(fault: BaseException | None) -> None:
    """Release the request: a traceback refers to it and back to itself, which the collector finds late.

    A few hundred headers of 1 MB held a gigabyte.
    """
    if fault:
        fault.__traceback__ = None


class _TurnedAway(web.RequestHandler):
    """A connection too many: closed before aiohttp makes a task for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        pass


class LimitedServer(web.Server):
    """Takes the connections of the server that aiohttp made for an application."""

    def __init__(self, made: web.Server, http: HttpSettings) -> None:
        super().__init__(made.request_handler, request_factory=made.request_factory)
        self._most = _allowed(http.connections)
        self._patience = http.send_timeout.total_seconds()
        self._bare: dict[str, Any] = {"access_log": None}
        self._given: dict[str, Any] = {
            **self._bare,
            "keepalive_timeout": http.idle_timeout.total_seconds(),  # for a request's headers, too
            "lingering_time": _LINGER,
            "max_headers": _HEADERS,
            "max_field_size": _HEADER,
            "auto_decompress": False,  # no handler reads a body; a small one must not become a large one
        }
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}
        self._behind: dict[asyncio.Transport, int] = {}
        """Connections with something unsent at the last look, and how much they had taken in by then."""
        self._told = -_TELL
        self._next = asyncio.get_running_loop().call_later(self._patience, self._look)

    def __call__(self) -> web.RequestHandler:
        loop = asyncio.get_running_loop()
        if len(self._open) < self._most:
            return _Connection(self, loop=loop, **self._given)
        if loop.time() - self._told >= _TELL:
            self._told = loop.time()
            log.warning("connections.full", most=self._most)
        return _TurnedAway(self, loop=loop, **self._bare)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open[handler] = transport
        with suppress(OSError):  # it is closed already
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._open.pop(handler, None)
        super().connection_lost(handler, exc)

    def pre_shutdown(self) -> None:
        self._next.cancel()
        super().pre_shutdown()

    def _look(self) -> None:
        """Drop those who have taken in nothing since the last look.

        The kernel's own clock (TCP_USER_TIMEOUT) is reset by whatever such a client sends. And a connection that is
        closed stays until all is sent, so these are among them.
        """
        self._next = asyncio.get_running_loop().call_later(self._patience, self._look)
        behind = {one: _taken(one) for one in self._open.values() if one.get_write_buffer_size()}
        for one, taken in behind.items():
            if self._behind.get(one) == taken:
                one.abort()
        self._behind = behind


def _taken(transport: asyncio.Transport) -> int:
    """Return how many bytes the other side has acknowledged; where the system does not say, how many are left."""
    if sys.platform == "linux" and (peer := transport.get_extra_info("socket")).family != socket.AF_UNIX:
        acknowledged: tuple[int] = _ACKED.unpack_from(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128), 120)
        return acknowledged[0]
    return -transport.get_write_buffer_size()


async def before_it_goes(_: web.Request, response: web.StreamResponse) -> None:
    """Take away what aiohttp says of its version, and what a raised one holds; ready replies have neither."""
    response.headers.popall("Server", None)
    if isinstance(response, BaseException):
        _forget(response)


def _allowed(wanted: int) -> int:
    """Return how many connections there may be: as many as are `wanted`, if so many files may be open.

    The limit that a process begins with is raised where it may be: without files left, no bank and no store could be
    reached.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and soft < wanted + BESIDE:
        soft = min(wanted + BESIDE, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted + BESIDE:
        return wanted
    log.warning("connections.few_files", wanted=wanted, most=max(1, soft - BESIDE))
    return max(1, soft - BESIDE)
