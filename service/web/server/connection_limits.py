"""Connection limits: maximum count, idle timeout, send timeout.

aiohttp itself limits the request line (8190 bytes) and pipelining (32 requests), and closes idle connections.
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
"""File descriptors reserved for uses other than client connections: the store, the banks, files read by Python."""
_MAX_HEADERS: Final = 64
_MAX_HEADER_SIZE: Final = 4096
"""Maximum number of headers, and bytes of each, as at the edge. aiohttp would accept 1 MB of headers."""
_LINGER: Final = 1.0
"""Seconds to read and discard an unused request body, so that the client receives the response."""
_SEND_BUFFER: Final = 128 * 1024
"""Kernel send buffer (SO_SNDBUF) of a connection, in bytes; Linux doubles it. The default is 4 MB."""
_BYTES_ACKED: Final = Struct("=Q")
"""`tcpi_bytes_acked` of `struct tcp_info`, at the same offset since Linux 4.1."""
_LOG_INTERVAL: Final = 60.0
"""Minimum seconds between two log entries about too many connections."""


def _bad_request() -> PreparedResponse:
    """Return the response to a malformed request. aiohttp's own repeats the input, and names versions."""
    problem = Problem(400, "Malformed HTTP request.", {"Connection": "close"})
    body = problem.body if isinstance(problem.body, bytes) else b""
    headers = {**problem.headers, "Content-Length": str(len(body))}
    lines = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return PreparedResponse(HTTPStatus.BAD_REQUEST, "\r\n".join(lines).encode(), body, close=True)


_BAD_REQUEST: Final = _bad_request()


class _Connection(web.RequestHandler):
    """One client connection."""

    def data_received(self, data: bytes) -> None:
        """Close after a malformed request: aiohttp would parse, and keep, each further chunk as another error."""
        super().data_received(data)
        if self._messages and not isinstance(message := self._messages[-1][0], RawRequestMessage):
            _drop_traceback(message.exc)
            self.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        for message, _ in self._messages:  # they stay unhandled
            if not isinstance(message, RawRequestMessage):
                _drop_traceback(message.exc)
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
        _drop_traceback(exc)
        return _BAD_REQUEST


def _drop_traceback(error: BaseException | None) -> None:
    """Break the reference cycle between a traceback and its request, which the garbage collector frees late.

    A few hundred requests with headers of 1 MB kept 1 GB in memory.
    """
    if error:
        error.__traceback__ = None


class _RejectedConnection(web.RequestHandler):
    """A connection beyond the maximum: closed before aiohttp creates a task for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        pass


class LimitedServer(web.Server):
    """Apply the limits to the server that aiohttp created for an application."""

    def __init__(self, server: web.Server, http: HttpSettings) -> None:
        """Take the request handler of `server`."""
        super().__init__(server.request_handler, request_factory=server.request_factory)
        self._max_connections = _allowed(http.connections)
        self._send_timeout = http.send_timeout.total_seconds()
        self._common: dict[str, Any] = {"access_log": None}
        self._options: dict[str, Any] = {
            **self._common,
            "keepalive_timeout": http.idle_timeout.total_seconds(),  # also limits the time to receive the headers
            "lingering_time": _LINGER,
            "max_headers": _MAX_HEADERS,
            "max_field_size": _MAX_HEADER_SIZE,
            "auto_decompress": False,  # no handler reads a body; prevents decompression bombs
        }
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}
        self._pending: dict[asyncio.Transport, int] = {}
        """Connections with unsent data at the last check, and their progress (`_progress`) then."""
        self._logged_at = -_LOG_INTERVAL
        self._timer = asyncio.get_running_loop().call_later(self._send_timeout, self._drop_stalled)

    def __call__(self) -> web.RequestHandler:
        loop = asyncio.get_running_loop()
        if len(self._open) < self._max_connections:
            return _Connection(self, loop=loop, **self._options)
        if loop.time() - self._logged_at >= _LOG_INTERVAL:
            self._logged_at = loop.time()
            log.warning("connections.full", most=self._max_connections)
        return _RejectedConnection(self, loop=loop, **self._common)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open[handler] = transport
        with suppress(OSError):  # already closed
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._open.pop(handler, None)
        super().connection_lost(handler, exc)

    def pre_shutdown(self) -> None:
        self._timer.cancel()
        super().pre_shutdown()

    def _drop_stalled(self) -> None:
        """Abort connections that have acknowledged nothing since the last check, closing ones included.

        TCP_USER_TIMEOUT does not do this: the kernel resets its timer with each segment that the client sends. A
        connection that is being closed stays open until all data is sent, so it is checked as well.
        """
        self._timer = asyncio.get_running_loop().call_later(self._send_timeout, self._drop_stalled)
        unsent = [transport for transport in self._open.values() if transport.get_write_buffer_size()]
        pending = {transport: _progress(transport) for transport in unsent}
        for transport, progress in pending.items():
            if self._pending.get(transport) == progress:
                transport.abort()
        self._pending = pending


def _progress(transport: asyncio.Transport) -> int:
    """Return the number of acknowledged bytes; outside Linux and TCP, minus the number of unsent bytes."""
    if sys.platform == "linux" and (peer := transport.get_extra_info("socket")).family != socket.AF_UNIX:
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
        acknowledged: tuple[int] = _BYTES_ACKED.unpack_from(info, 120)
        return acknowledged[0]
    return -transport.get_write_buffer_size()


async def remove_server_header(_: web.Request, response: web.StreamResponse) -> None:
    """Remove the Server header, which names aiohttp's version, and the traceback of a raised response.

    Prepared responses have neither.
    """
    response.headers.popall("Server", None)
    if isinstance(response, BaseException):
        _drop_traceback(response)


def _allowed(wanted: int) -> int:
    """Return the maximum number of connections: `wanted`, or fewer if RLIMIT_NOFILE does not allow as many.

    The soft limit is raised up to the hard limit. `BESIDE` descriptors stay reserved: without them, neither banks nor
    the store could be reached.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and soft < wanted + BESIDE:
        soft = min(wanted + BESIDE, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted + BESIDE:
        return wanted
    log.warning("connections.few_files", wanted=wanted, most=max(1, soft - BESIDE))
    return max(1, soft - BESIDE)
