"""`/v1/stream`: Server-Sent Events, the snapshots of one or more tickers on each change.

Each event is encoded once for all clients of a variant, and written directly to their transports. Clients that do not
read are disconnected, so that they do not slow down others. Resuming is a comparison: the ID of an event lists the
ETags of the snapshots that the client has by then, and those in Last-Event-ID are not sent again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from random import randint
from typing import Final, Self

import structlog
from aiohttp import web

from service.domain.snapshot import Snapshot
from service.runtime.background import cancel_and_wait
from service.web.http.client_address import client_address
from service.web.http.problems import OPEN, Problem, handle_errors
from service.web.http.responses import PreparedResponse, Representation
from service.web.rendering.options import Options
from service.web.rendering.page_cache import PageCache

log = structlog.get_logger()

HEARTBEAT: Final = 15.0
"""Seconds between two heartbeats, by which client and server detect broken connections."""
_MOST_TICKERS: Final = 16
"""Maximum number of tickers in one stream."""
_BATCH: Final = 25
"""Connections that are written to per turn of the event loop: a request takes several turns."""
_MAX_UNSENT: Final = 64 * 1024
"""Bytes in the write buffer of a client above which it is disconnected; at least twice its first events."""
_LATER: Final = {"Retry-After": "60"}
_COMMENT: Final = b":\n\n"
_HEARTBEAT: Final = _COMMENT + b"event: heartbeat\ndata: {}\n\n"
"""Also an event, since scripts in browsers cannot see comments."""
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "Connection": "close",
    **OPEN,
}
_HEAD: Final = "\r\n".join(["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in _HEADERS.items()), "", ""])

Variant = tuple[tuple[str, Options], ...]
"""The tickers of a stream, each with its options."""


class EventStreamResponse(PreparedResponse):
    """An open event stream: a response that ends when `close` is called."""

    def __init__(self, first: bytes, variant: Variant, address: str = "") -> None:
        super().__init__(HTTPStatus.OK, _HEAD.encode(), first, close=True)
        self.variant = variant
        self.address = address
        self._max_unsent = max(_MAX_UNSENT, 2 * len(first))
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.Event()

    async def prepare(self, request: web.BaseRequest) -> None:
        self._transport = request.transport
        if request.method == "HEAD" or self._transport is None:
            self._ended.set()
        try:
            await super().prepare(request)
        finally:
            self._whole = b""  # not shared with other requests: frees 2 KB for as long as the stream is open

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's
        """Wait until the stream ends; until then `send` writes events."""
        await self._ended.wait()

    @property
    def alive(self) -> bool:
        """Whether the client is connected, and receives its data."""
        is_reading = self._transport is None or self._transport.get_write_buffer_size() <= self._max_unsent
        return self.connected and is_reading

    @property
    def connected(self) -> bool:
        if self._transport is None:  # not prepared yet
            return not self._ended.is_set()
        return not self._transport.is_closing()

    def send(self, frame: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport and not self.alive:
            self._transport.abort()  # a stalled client will not receive the rest
        self._ended.set()


@dataclass
class EventStreamHub:
    """All open streams. As an async context manager, it sends changes and heartbeats to them."""

    pages: PageCache
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    variants: int = 1024
    """Maximum number of variants (ticker, language, currencies): an event is encoded for each when rates change."""
    variants_per_address: int = 16
    """Maximum number of variants that one client may use, so that a few cannot use all."""
    _open: dict[Variant, set[EventStreamResponse]] = field(default_factory=dict)
    _by_address: dict[str, set[EventStreamResponse]] = field(default_factory=dict)
    _changed_tickers: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self._open.values()))

    def answer(self, request: web.Request) -> web.StreamResponse:
        """Open a stream. Raises `Problem`: 429 or 503 if too many are open."""
        http = self.pages.memory.settings.http
        address = client_address(request, http)
        if address and self._connected(address) >= http.streams_per_address:
            raise Problem(429, "Too many open streams from your address; poll /v1/ticker instead.", _LATER)
        if self.count >= http.streams:
            raise Problem(503, "Too many open streams; poll /v1/ticker instead.", _LATER)
        variant = self._variant(request)
        if variant not in self._open and len(self._open) >= self.variants:
            self._drop_closed()
        if variant not in self._open and len(self._open) >= self.variants:
            raise Problem(503, "Too many variants of open streams; poll /v1/ticker instead.", _LATER)
        own_variants = {stream.variant for stream in self._by_address.get(address, ()) if stream.connected}
        if variant not in own_variants and len(own_variants) >= self.variants_per_address:
            detail = "Too many different streams are open from your address; poll /v1/ticker instead."
            raise Problem(429, detail, _LATER)
        known = request.headers.get("Last-Event-ID", "").split(",")
        frames = self._frames(variant, lambda _, page: page.tag not in known)
        first = b"" if request.method == "HEAD" else _retry() + (frames or _COMMENT)
        connection = EventStreamResponse(first, variant, address)
        if request.method != "HEAD":
            self._open.setdefault(variant, set()).add(connection)
            if address:
                self._by_address.setdefault(address, set()).add(connection)
        return connection

    def _variant(self, request: web.Request) -> Variant:
        """Return the tickers of a request, without duplicates; an empty id is the default one. Raises `Problem`."""
        default = self.pages.memory.settings.tickers[0].id
        tickers = dict.fromkeys(ticker or default for ticker in request.query.getall("ticker", [""]))
        if len(tickers) > _MOST_TICKERS:
            raise Problem(400, f"Too many tickers; a stream has at most {_MOST_TICKERS}.")
        return tuple((ticker, self.pages.options(request, ticker, "json")) for ticker in tickers)

    def _frames(self, variant: Variant, is_sent: Callable[[str, Representation], bool]) -> bytes:
        """Return an event for each ticker of a variant that is sent, by its id and page. Raises `Problem`.

        The ID of an event has the tags of what the client then knows: not of tickers whose events follow.
        """
        pages = {ticker: self.pages.page(ticker, "json", options) for ticker, options in variant}
        sent = [ticker for ticker, page in pages.items() if is_sent(ticker, page)]
        following = {*sent, *self._changed_tickers}
        tags, frames = [page.tag for ticker, page in pages.items() if ticker not in following], list[bytes]()
        for ticker in sent:
            tags.append(pages[ticker].tag)
            frames.append(_frame(",".join(tags).encode(), pages[ticker]))
        return b"".join(frames)

    def _connected(self, address: str) -> int:
        """Return the number of streams of an IP address; disconnected ones do not count."""
        return sum(connection.connected for connection in self._by_address.get(address, ()))

    async def __aenter__(self) -> Self:
        self.pages.memory.watchers.append(self._changed)
        self._tasks = [asyncio.create_task(self._send_changes()), asyncio.create_task(self._send_heartbeats())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.pages.memory.watchers.remove(self._changed)
        await cancel_and_wait(*self._tasks)

    async def close(self, _: web.Application) -> None:
        """End all streams; each client receives a random delay, so that they do not all reconnect at once."""
        for connections in self._open.values():
            for connection in connections:
                connection.send(_retry())
                connection.close()
        self._open.clear()
        self._by_address.clear()

    def _changed(self, snapshot: Snapshot) -> None:
        self._changed_tickers.add(snapshot.id)
        self._wake.set()

    async def _send_changes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed_tickers = self._changed_tickers, set()
            for variant in list(self._open):
                tickers = [ticker for ticker, _ in variant if ticker in changed]
                if not tickers:
                    continue
                try:
                    frames = self._frames(variant, lambda ticker, _: ticker in changed)  # noqa: B023 - called at once
                except Exception:
                    log.exception("stream.crashed", ticker=tickers[0])
                    continue
                await self._write(variant, frames)
                await asyncio.sleep(0)

    async def _send_heartbeats(self) -> None:
        while True:
            await self.sleep(HEARTBEAT)
            for variant in list(self._open):
                await self._write(variant, _HEARTBEAT)

    async def _write(self, variant: Variant, frame: bytes) -> None:
        connections = self._open.get(variant, set())
        for number, connection in enumerate(list(connections), 1):
            if connection.alive:
                connection.send(frame)
            else:
                connection.close()
                connections.discard(connection)
                self._forget(connection)
            if number % _BATCH == 0:
                await asyncio.sleep(0)
        if not connections:
            self._open.pop(variant, None)

    def _drop_closed(self) -> None:
        """Forget the variants of which every client has disconnected since the last heartbeat."""
        for variant, connections in list(self._open.items()):
            if not any(connection.alive for connection in connections):
                for connection in connections:
                    connection.close()
                    self._forget(connection)
                del self._open[variant]

    def _forget(self, connection: EventStreamResponse) -> None:
        others = self._by_address.get(connection.address, set())
        others.discard(connection)
        if not others:
            self._by_address.pop(connection.address, None)


def routes(streams: EventStreamHub) -> list[web.RouteDef]:
    return [web.get("/v1/stream", handle_errors(streams.answer))]


def _frame(event_id: bytes, page: Representation) -> bytes:
    return b"id: %s\nevent: ticker\ndata: %s\n\n" % (event_id, page.body)


def _retry() -> bytes:
    """Return the reconnection delay in milliseconds."""
    return b"retry: %d\n\n" % randint(2000, 6000)  # noqa: S311 - spread, not secrecy
