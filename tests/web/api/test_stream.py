"""`/v1/stream` over a real socket: events, their timing, limits and slow clients."""

import asyncio
import json
import re
import signal
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from service.settings import Settings, load
from service.state.memory import MemoryState
from service.web.api import stream, ticker
from service.web.api.stream import HEARTBEAT, EventStreamHub, EventStreamResponse
from service.web.http.responses import Representation
from service.web.rendering.page_cache import PageCache
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day, fixing
from tests.support.http import body, until_ready
from tests.support.pollers import polling
from tests.support.process import NEW, OLD, local, offline, running
from tests.support.snapshots import NBK
from tests.support.standin import Banks, serving
from tests.support.wait import until, until_true

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
RETRY = re.compile(r"retry: (\d+)")
VARIANTS = ("", "?lang=kk", "?lang=kk&currencies=usd", "?ticker=kzt&currencies=cny,eur")


@dataclass
class ManualSleep:
    """A sleep that ends when it is woken; `requested_delays` are the arguments of its calls."""

    requested_delays: list[float] = field(default_factory=list)
    _wakes: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    async def __call__(self, seconds: float) -> None:
        self.requested_delays.append(seconds)
        await self._wakes.get()

    def wake(self) -> None:
        self._wakes.put_nowait(None)


@dataclass
class StreamClient:
    """A client of an open stream."""

    head: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def block(self) -> str:
        """Return the text up to the next blank line."""
        return (await asyncio.wait_for(self.reader.readuntil(b"\n\n"), 60)).decode().removesuffix("\n\n")

    async def event(self) -> dict[str, str]:
        """Return the fields of the next event, skipping comments and heartbeats."""
        while (block := await self.block()) == ":" or RETRY.fullmatch(block) or "heartbeat" in block:
            pass
        return dict(line.split(": ", 1) for line in block.split("\n"))

    async def rest(self) -> str:
        """Return the text up to the end of the stream."""
        return (await asyncio.wait_for(self.reader.read(), 60)).decode()


class Response(NamedTuple):
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class StreamApp:
    """The stream routes on a real socket, beside the ticker."""

    memory: MemoryState
    streams: EventStreamHub
    server: TestServer
    heartbeat_sleep: ManualSleep

    @asynccontextmanager
    async def connect(
        self, query: str = "", method: str = "GET", last: str | None = None, forwarded_for: str | None = None
    ) -> AsyncIterator[StreamClient]:
        async with open_stream(self.server, query, method, last, forwarded_for=forwarded_for) as reader:
            yield reader

    def publish(self, dollar: str) -> None:
        """Add a fixing with another dollar rate."""
        self.memory.add(fixing(day(2), USD=dollar, EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12"))
        assert self.memory.refresh(NOW)

    async def get(self, path: str) -> Response:
        """Request another path."""
        async with ClientSession() as client, client.get(self.server.make_url(path)) as response:
            return Response(response.status, response.headers, await response.text())

    async def ticker(self, query: str = "") -> tuple[str, str]:
        """Return the ticker and its ETag."""
        response = await self.get(f"/v1/ticker{query}")
        return response.text, response.headers["ETag"].strip('"').removesuffix("-gzip")

    async def until_open(self, expected: int) -> None:
        """Send heartbeats until so many streams are open: closed connections are detected with a delay."""

        def count_matches() -> bool:
            self.heartbeat_sleep.wake()
            return self.streams.count == expected

        await until_true(count_matches)


@asynccontextmanager
async def open_stream(
    server: TestServer,
    query: str = "",
    method: str = "GET",
    last: str | None = None,
    buffer: int | None = None,
    forwarded_for: str | None = None,
) -> AsyncIterator[StreamClient]:
    """Open a stream; `buffer` limits the receive buffer of its socket."""
    connection = socket.socket()
    connection.setblocking(False)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(connection, (server.host, server.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=buffer or 2**20)
    try:
        last_event_id = f"Last-Event-ID: {last}\r\n" if last else ""
        forwarded = f"X-Forwarded-For: {forwarded_for}\r\n" if forwarded_for else ""
        writer.write(f"{method} /v1/stream{query} HTTP/1.1\r\nHost: h\r\n{last_event_id}{forwarded}\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        yield StreamClient(head.decode(), reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def listener_with_small_buffers(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """Return a listening socket whose connections buffer little unread data."""
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening.bind((host, port))
    return listening


@asynccontextmanager
async def serve(memory: MemoryState, variants: int = 64, **options: Any) -> AsyncIterator[StreamApp]:
    """Serve the streams as `create_app` does."""
    heartbeat_sleep, pages = ManualSleep(), PageCache(memory, Clock(NOW))
    streams = EventStreamHub(pages, heartbeat_sleep, variants)

    async def lifespan(_: web.Application) -> AsyncIterator[None]:
        async with streams:
            yield

    app = web.Application()
    app.add_routes(stream.routes(streams))
    app.add_routes(ticker.routes(pages))
    app.on_shutdown.append(streams.close)
    app.cleanup_ctx.append(lifespan)
    server = TestServer(app, **options)
    async with server:
        yield StreamApp(memory, streams, server, heartbeat_sleep)


def memory_with_rates(**http: int | str) -> MemoryState:
    """Return in-memory state with the rates of 1 and 2 April 2026."""
    memory = MemoryState(load(environ={}, overrides={"http": http}))
    for item in NBK.fixings:
        memory.add(item)
    memory.refresh(NOW)
    return memory


def memory_with_two_tickers() -> MemoryState:
    """Return the same rates for a second ticker, which has two of the currencies."""
    memory = memory_with_rates()
    first = memory.settings.tickers[0]
    second = first.model_copy(update={"id": "two", "currencies": ("CNY", "USD")})
    memory = MemoryState(memory.settings.model_copy(update={"tickers": (first, second)}))
    for item in NBK.fixings:
        memory.add(item)
    memory.refresh(NOW)
    return memory


@pytest.mark.parametrize("query", VARIANTS)
async def test_first_event_is_sent_at_once(query: str) -> None:
    """The retry time, then the snapshot: the bytes of `/v1/ticker` with the same query, its ETag as the id."""
    async with serve(memory_with_rates()) as app, app.connect(query) as client:
        retry = RETRY.fullmatch(await client.block())
        event = await client.event()
        data, tag = await app.ticker(query)
    assert retry is not None
    assert 2000 <= int(retry[1]) <= 6000
    assert event == {"id": tag, "event": "ticker", "data": data}


async def test_stream_has_event_stream_headers() -> None:
    """No cache stores it, no proxy buffers it, and any site may read it."""
    async with serve(memory_with_rates()) as app, app.connect() as client:
        status, *lines = client.head.removesuffix("\r\n\r\n").split("\r\n")
    assert status == "HTTP/1.1 200 OK"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Connection"] == "close"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Content-Length" not in headers


async def test_clients_do_not_reconnect_all_at_once() -> None:
    """Each gets a different retry time."""
    times = set()
    async with serve(memory_with_rates()) as app:
        for _ in range(10):
            async with app.connect() as client:
                times.add(await client.block())
    assert len(times) > 5


async def test_publication_reaches_every_client(settings: Settings, clock: Clock, banks: Banks) -> None:
    """A poll with new rates is one event in each open stream, in the requested language and selection."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
        async with (
            serve(poller.memory) as app,
            app.connect() as first,
            app.connect() as second,
            app.connect("?lang=kk") as kazakh,
            app.connect("?lang=kk&currencies=usd") as kazakh_dollar,
        ):
            queries = {"": (first, second), "?lang=kk": (kazakh,), "?lang=kk&currencies=usd": (kazakh_dollar,)}
            before = [(await client.event())["id"] for clients in queries.values() for client in clients]
            await poller.poll("nbk")  # unchanged rates send no event
            banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "470.00"}
            await poller.poll("nbk")
            for query, clients in queries.items():
                data, tag = await app.ticker(query)
                for client in clients:
                    assert await client.event() == {"id": tag, "event": "ticker", "data": data}
                assert json.loads(data)["as_of"] == "2026-04-03"
                assert tag not in before
    assert len(set(before)) == 3


async def test_status_change_is_sent() -> None:
    """A ticker becomes late although no rate has changed."""
    async with serve(memory_with_rates()) as app, app.connect() as client:
        assert json.loads((await client.event())["data"])["status"] == "current"
        app.memory.refresh(NOW + timedelta(hours=11))
        assert json.loads((await client.event())["data"])["status"] == "late"


@pytest.mark.parametrize("query", VARIANTS)
async def test_resumed_stream_sends_only_newer_events(query: str) -> None:
    """With the latest id as Last-Event-ID only the retry time is sent until something changes."""
    async with serve(memory_with_rates()) as app:
        _, tag = await app.ticker(query)
        async with app.connect(query, last=tag) as client:
            assert RETRY.fullmatch(await client.block())
            assert await client.block() == ":"
            app.memory.refresh(NOW + timedelta(hours=11))
            data, newer = await app.ticker(query)
            assert newer != tag
            assert await client.event() == {"id": newer, "event": "ticker", "data": data}


async def test_stream_of_several_tickers() -> None:
    """Each ticker has its own events; the id names the versions of all, so a resumed stream sends what is newer."""
    async with serve(memory_with_two_tickers()) as app, app.connect("?ticker=kzt&ticker=two&ticker=") as client:
        first, second = [await client.event() for _ in range(2)]
        assert [json.loads(event["data"])["id"] for event in (first, second)] == ["kzt", "two"]
        tags = [(await app.ticker(path))[1] for path in ("/kzt", "/two")]
        assert (first["id"], second["id"]) == (tags[0], ",".join(tags))  # the second is not known with the first
        async with app.connect("?ticker=kzt&ticker=two", last=first["id"]) as resumed:
            assert json.loads((await resumed.event())["data"])["id"] == "two"
        app.publish("500.00")
        changed = [await client.event() for _ in range(2)]
        assert [json.loads(event["data"])["quotes"][0]["rate"] for event in changed] == [500, 69.12]
        newer = changed[-1]["id"]
        assert newer == ",".join([(await app.ticker(path))[1] for path in ("/kzt", "/two")])
        async with app.connect("?ticker=kzt&ticker=two", last=f"{newer.split(',')[0]},{tags[1]}") as resumed:
            assert json.loads((await resumed.event())["data"])["id"] == "two"


async def test_number_of_tickers_in_a_stream_is_limited() -> None:
    async with serve(memory_with_rates()) as app:
        query = "&".join(f"ticker=t{number}" for number in range(17))
        assert (await app.get(f"/v1/stream?{query}")).status == 400


@pytest.mark.parametrize("last", ["0123456789abcdef0123", "x", "latin: \xe9", "-1", "{other}"])
async def test_unknown_last_event_id_gets_the_latest(last: str) -> None:
    """An id of an earlier snapshot, of another variant, or an invalid one."""
    async with serve(memory_with_rates()) as app:
        _, other = await app.ticker("?lang=kk")
        async with app.connect(last=last.replace("{other}", other)) as client:
            assert (await client.event())["id"] == (await app.ticker())[1]


async def test_heartbeat_is_a_comment_and_an_event() -> None:
    """Every client gets both, and nothing else; scripts in browsers see the event."""
    async with serve(memory_with_rates()) as app, app.connect() as first, app.connect("?lang=kk") as second:
        for client in (first, second):
            await client.event()
        for number in (1, 2):
            app.heartbeat_sleep.wake()
            for client in (first, second):
                assert [await client.block(), await client.block()] == [":", "event: heartbeat\ndata: {}"]
            assert app.heartbeat_sleep.requested_delays == [HEARTBEAT] * (number + 1)
    assert HEARTBEAT == 15


async def test_closed_connection_is_dropped() -> None:
    """At the latest at the next heartbeat; other clients still get data."""
    async with serve(memory_with_rates()) as app, app.connect() as staying:
        await staying.event()
        async with app.connect() as leaving, app.connect("?lang=kk") as also_leaving:
            await leaving.event()
            await also_leaving.event()
            assert app.streams.count == 3
        await app.until_open(1)
        assert await staying.block() == ":"


async def test_streams_per_address_are_limited() -> None:
    """Further ones get 429, other addresses are served; a closed stream frees its slot; proxies are not limited."""
    async with serve(memory_with_rates(streams_per_address=2)) as app, AsyncExitStack() as stack:
        first, *others = [
            await stack.enter_async_context(app.connect(forwarded_for=f"203.0.113.{n}")) for n in (1, 1, 2)
        ]
        for client in (first, *others):
            await client.event()
        async with app.connect(forwarded_for="198.51.100.9, 203.0.113.1") as refused:
            assert "429 Too Many Requests" in refused.head
            assert "Retry-After: 60" in refused.head
        for _ in range(3):
            await (await stack.enter_async_context(app.connect())).event()
        first.writer.close()
        await first.writer.wait_closed()

        async def can_connect() -> bool:
            async with app.connect(forwarded_for="203.0.113.1") as another:
                return "200 OK" in another.head

        await until(can_connect)
        await app.until_open(5)
        assert set(app.streams._by_address) == {"203.0.113.1", "203.0.113.2"}


async def test_forwarded_address_of_untrusted_client_is_ignored() -> None:
    """X-Forwarded-For of other clients can be forged: their own address counts."""
    async with (
        serve(memory_with_rates(streams_per_address=1, proxies="192.0.2.0/24")) as app,
        app.connect(forwarded_for="203.0.113.1") as accepted,
        app.connect(forwarded_for="203.0.113.2") as refused,
    ):
        await accepted.event()
        assert "429" in refused.head


async def test_early_disconnects_are_not_counted() -> None:
    """Connections are reset at different moments of their request."""
    async with serve(memory_with_rates()) as app:
        loop = asyncio.get_running_loop()
        for number in range(100):
            with socket.socket() as connection:
                connection.setblocking(False)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await loop.sock_connect(connection, (app.server.host, app.server.port))
                await loop.sock_sendall(connection, b"GET /v1/stream HTTP/1.1\r\nHost: h\r\n\r\n")
                for _ in range(number % 5):
                    await asyncio.sleep(0)
        async with app.connect() as client:
            await client.event()
            await app.until_open(1)
            assert await client.block() == ":"


async def test_stalled_client_is_disconnected_without_affecting_others() -> None:
    """Its connection is closed once its buffer is full; the active client gets every event."""
    async with (
        serve(memory_with_rates(), socket_factory=listener_with_small_buffers) as app,
        open_stream(app.server, buffer=4096) as stalled,
        app.connect() as active,
    ):
        await active.event()
        ids = []
        for number in range(300):
            app.publish(f"{425 + Decimal(number) / 4:.2f}")
            ids.append((await active.event())["id"])
            if app.streams.count == 1:
                break
        assert 10 < len(set(ids)) == len(ids) < 300
        assert app.streams.count == 1
        received = b""
        with suppress(ConnectionResetError):
            while chunk := await asyncio.wait_for(stalled.reader.read(65536), 60):
                received += chunk
        assert len(received) < 64 * 1024
        app.publish("500.00")
        assert '"rate":500.00' in (await active.event())["data"]


async def test_stalled_stream_counts_in_the_limit_of_its_address() -> None:
    """A client that reads nothing gets no further streams until its stream is closed."""
    address = "203.0.113.1"
    async with (
        serve(memory_with_rates(streams_per_address=1), socket_factory=listener_with_small_buffers) as app,
        open_stream(app.server, buffer=4096, forwarded_for=address),
        app.connect() as active,
    ):
        await active.event()
        (stalled,) = app.streams._by_address[address]
        for number in range(300):
            app.publish(f"{425 + Decimal(number) / 4:.2f}")
            await active.event()
            if not stalled.alive:
                break
        assert stalled.connected
        async with app.connect(forwarded_for=address) as refused:
            assert "429 Too Many Requests" in refused.head
        await app.until_open(1)
        async with app.connect(forwarded_for=address) as accepted:
            assert (await accepted.event())["event"] == "ticker"


async def test_streams_beyond_the_limit_are_refused() -> None:
    """503 as a problem with Retry-After; a closed stream frees its slot."""
    async with serve(memory_with_rates(streams=2)) as app:
        async with app.connect() as first, app.connect("?lang=kk") as second:
            for client in (first, second):
                await client.event()
            refused = await app.get("/v1/stream")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
            assert refused.headers["Content-Type"].startswith("application/problem+json")
            assert refused.headers["Cache-Control"] == "no-store"
            assert "/v1/ticker" in json.loads(refused.text)["detail"]
            assert (await app.get("/v1/ticker")).status == 200
        await app.until_open(0)
        async with app.connect() as client:
            assert (await client.event())["event"] == "ticker"


async def test_stream_variants_are_limited() -> None:
    """Each variant costs a rendering per event: a new one is refused beyond the limit, a known one is not."""
    async with serve(memory_with_rates(), variants=2) as app, app.connect() as first, app.connect("?lang=kk") as second:
        for client in (first, second):
            await client.event()
        refused = await app.get("/v1/stream?lang=ru")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
        assert "variants" in json.loads(refused.text)["detail"]
        async with app.connect("?lang=kk") as known:
            assert (await known.event())["event"] == "ticker"


async def test_variants_of_closed_streams_do_not_count() -> None:
    """A client that opens and closes streams of many variants denies them to nobody."""
    async with serve(memory_with_rates(), variants=3) as app:
        for query in ("?lang=kk", "?lang=ru", "?lang=de"):
            async with app.connect(query, forwarded_for="192.0.2.7") as client:
                await client.event()
        await until_true(lambda: not any(each.alive for streams in app.streams._open.values() for each in streams))
        async with app.connect("?lang=fr", forwarded_for="192.0.2.8") as other:
            assert (await other.event())["event"] == "ticker"


async def test_one_client_cannot_use_all_variants() -> None:
    """A client with too many different streams gets 429; it may open the same again, and others any."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(serve(memory_with_rates()))
        app.streams.variants_per_address = 2
        for query in ("?currencies=usd,eur", "?currencies=eur,usd"):
            client = await stack.enter_async_context(app.connect(query, forwarded_for="192.0.2.7"))
            await client.event()
        for address, query, status in (
            ("192.0.2.7", "?currencies=eur", "429"),
            ("192.0.2.7", "?currencies=eur,usd", "200"),
            ("192.0.2.8", "?currencies=eur", "200"),
        ):
            client = await stack.enter_async_context(app.connect(query, forwarded_for=address))
            assert client.head.split()[1] == status


async def test_event_loop_runs_between_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering all variants at once would block other requests."""
    iterations, iterations_of_frames = 0, []
    frame = stream._frame

    def record_frame(event_id: bytes, page: Representation) -> bytes:
        iterations_of_frames.append(iterations)
        return frame(event_id, page)

    async def count_iterations() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(serve(memory_with_rates()))
        queries = ("", "?lang=kk", "?lang=ru", "?lang=en", "?currencies=usd")
        clients = [await stack.enter_async_context(app.connect(query)) for query in queries]
        for client in clients:
            await client.event()
        monkeypatch.setattr(stream, "_frame", record_frame)
        counter = asyncio.create_task(count_iterations())
        app.publish("500.00")
        for client in clients:
            assert '"rate":500.00' in (await client.event())["data"]
        counter.cancel()
    assert len(set(iterations_of_frames)) == len(iterations_of_frames) == len(queries)


async def test_events_to_many_clients_do_not_block_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each iteration of the event loop writes to a few clients only."""
    iterations = 0
    written = Counter[int]()
    send = EventStreamResponse.send

    def count_send(self: EventStreamResponse, frame: bytes) -> None:
        written[iterations] += 1
        send(self, frame)

    async def count_iterations() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(serve(memory_with_rates()))
        clients = [await stack.enter_async_context(app.connect()) for _ in range(80)]
        for client in clients:
            await client.event()
        monkeypatch.setattr(EventStreamResponse, "send", count_send)
        counter = asyncio.create_task(count_iterations())
        app.publish("500.00")
        for client in clients:
            assert '"rate":500.00' in (await client.event())["data"]
        counter.cancel()
        assert written.total() == len(clients)
        assert max(written.values()) <= 25


async def test_streams_can_be_disabled() -> None:
    """A limit of 0 refuses all."""
    async with serve(memory_with_rates(streams=0)) as app:
        assert (await app.get("/v1/stream")).status == 503


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [("?ticker=zzz", 404, "Unknown ticker 'zzz'"), ("?currencies=zzz", 400, "Unknown currency 'ZZZ'")],
)
async def test_invalid_stream_is_a_problem(query: str, status: int, detail: str) -> None:
    """Errors are those of `/v1/ticker`, and the stream is not counted."""
    async with serve(memory_with_rates()) as app:
        response = await app.get(f"/v1/stream{query}")
        assert response.status == status
        assert detail in json.loads(response.text)["detail"]
        assert app.streams.count == 0


async def test_head_returns_the_headers_of_get() -> None:
    """HEAD has no body, and no stream stays open."""
    async with serve(memory_with_rates()) as app:
        async with app.connect(method="HEAD") as head:
            assert await head.rest() == ""
        async with app.connect() as get:
            assert head.head == get.head
            assert app.streams.count == 1


async def test_rendering_error_does_not_stop_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the next snapshot is sent."""
    async with serve(memory_with_rates()) as app, app.connect() as client:
        await client.event()
        attempted = asyncio.Event()

        def fail(*_: object) -> Representation:
            attempted.set()
            raise ZeroDivisionError

        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr("service.web.rendering.page_cache.PageCache.page", fail)
            app.publish("480.00")
            await asyncio.wait_for(attempted.wait(), 60)
        assert [log["event"] for log in logs] == ["stream.crashed"]
        app.publish("490.00")
        assert '"rate":490.00' in (await client.event())["data"]


async def test_shutdown_sends_a_retry_time() -> None:
    """Each client gets a new retry time, and its stream ends."""
    async with serve(memory_with_rates()) as app, app.connect() as first, app.connect("?lang=kk") as second:
        before = [await client.block() for client in (first, second)]
        for client in (first, second):
            await client.event()
        await app.server.close()
        last = [await client.rest() for client in (first, second)]
        assert app.streams.count == 0
    for text in (*before, *last):
        assert RETRY.fullmatch(text.removesuffix("\n\n"))
    assert all(text.endswith("\n\n") for text in last)


async def test_service_streams_the_ticker(start: Started, banks: Banks) -> None:
    """The event has the bytes of the ticker; HEAD and shutdown work."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    async with client.head("/v1/stream") as head:
        assert (head.status, head.content_type, await head.read()) == (200, "text/event-stream", b"")
    server = client.server
    assert isinstance(server, TestServer)
    async with open_stream(server) as stream_client, client.get("/v1/ticker") as response:
        assert (await stream_client.event())["data"] == await body(response)
        await client.close()
        assert RETRY.fullmatch((await stream_client.rest()).removesuffix("\n\n"))


def connect_to_stream(port: int | None) -> socket.socket:
    """Open a stream of a service in another process, and return it once its first event arrives."""
    connection = socket.create_connection(("127.0.0.1", port or 0), timeout=60)
    connection.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: h\r\n\r\n")
    receive_until(connection, "event: ticker")
    return connection


def receive_until(connection: socket.socket, text: str = "") -> str:
    """Return the data up to a text, or to the end."""
    data = b""
    while not text or text.encode() not in data:
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    return data.decode()


def test_sigterm_ends_open_streams(tmp_path: Path) -> None:
    """With reading clients and a stalled one: exit status 0, and a retry time."""
    with running(offline(tmp_path)) as service:
        service.wait_for("/v1/ticker.txt", "cny")
        with (
            connect_to_stream(service.port) as first,
            connect_to_stream(service.port) as second,
            connect_to_stream(service.port),
        ):
            service.process.send_signal(signal.SIGTERM)
            for connection in (first, second):
                assert RETRY.search(receive_until(connection).rpartition("}")[2])
            status, log = service.ended(within=60)
        assert (status, "Traceback" in log) == (0, False), log


async def test_service_process_streams_a_publication(tmp_path: Path) -> None:
    """From the bank to the client, without any request of the ticker."""
    today = local("Asia/Almaty")
    async with serving(Banks()) as banks:
        banks.published["nbk"] = {today - timedelta(days=1): OLD, today: {**OLD, "USD": "401.00"}}
        environ = banks.environ() | {
            "TICKER_STORE__DATA_DIR": str(tmp_path / "d"),
            "TICKER_SOURCES__NBK__SWEEP": "1",
        }

        def check() -> None:
            with running(environ) as service:
                service.wait_for("/v1/ticker.txt", "usd +0.25%")
                with connect_to_stream(service.port) as connection:
                    banks.published["nbk"][today] = NEW
                    assert '"rate":405.40' in receive_until(connection, '"rate":405.40')

        await asyncio.to_thread(check)
