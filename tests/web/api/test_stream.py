"""`/v1/stream` over a real socket: what comes, when, and what becomes of readers that do not read."""

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
class Pulse:
    """A sleep that ends when it is told to; `asked` is how long it should have been, each time."""

    asked: list[float] = field(default_factory=list)
    _beats: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._beats.get()

    def beat(self) -> None:
        self._beats.put_nowait(None)


@dataclass
class Reader:
    """An open stream, as its reader has it."""

    head: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def block(self) -> str:
        """Return what comes up to the next blank line."""
        return (await asyncio.wait_for(self.reader.readuntil(b"\n\n"), 60)).decode().removesuffix("\n\n")

    async def event(self) -> dict[str, str]:
        """Return the fields of the next event; comments before it are passed over."""
        while (block := await self.block()) == ":" or RETRY.fullmatch(block):
            pass
        return dict(line.split(": ", 1) for line in block.split("\n"))

    async def rest(self) -> str:
        """Return all that comes until the end."""
        return (await asyncio.wait_for(self.reader.read(), 60)).decode()


class Answer(NamedTuple):
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class House:
    """The streams of a board on a real socket, and the ticker beside them."""

    memory: MemoryState
    streams: EventStreamHub
    server: TestServer
    pulse: Pulse

    @asynccontextmanager
    async def reading(
        self, query: str = "", method: str = "GET", last: str | None = None, address: str | None = None
    ) -> AsyncIterator[Reader]:
        async with reading(self.server, query, method, last, address=address) as reader:
            yield reader

    def publish(self, dollar: str) -> None:
        """Let the bank have published another dollar."""
        self.memory.add(fixing(day(2), USD=dollar, EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12"))
        assert self.memory.refresh(NOW)

    async def answer(self, path: str) -> Answer:
        """Ask for something by the way."""
        async with ClientSession() as client, client.get(self.server.make_url(path)) as response:
            return Answer(response.status, response.headers, await response.text())

    async def ticker(self, query: str = "") -> tuple[str, str]:
        """Return the ticker and its tag."""
        answer = await self.answer(f"/v1/ticker{query}")
        return answer.text, answer.headers["ETag"].strip('"').removesuffix("-gzip")

    async def until_open(self, number: int) -> None:
        """Let hearts beat until so many streams are open: the ends of connections take their time to be seen."""

        def open_now() -> bool:
            self.pulse.beat()
            return self.streams.count == number

        await until_true(open_now)


@asynccontextmanager
async def reading(
    server: TestServer,
    query: str = "",
    method: str = "GET",
    last: str | None = None,
    buffer: int | None = None,
    address: str | None = None,
) -> AsyncIterator[Reader]:
    """Open a stream; `buffer` makes what its socket takes in unread small."""
    connection = socket.socket()
    connection.setblocking(False)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(connection, (server.host, server.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=buffer or 2**20)
    try:
        resumed = f"Last-Event-ID: {last}\r\n" if last else ""
        forwarded = f"X-Forwarded-For: {address}\r\n" if address else ""
        writer.write(f"{method} /v1/stream{query} HTTP/1.1\r\nHost: h\r\n{resumed}{forwarded}\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        yield Reader(head.decode(), reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def small_buffers(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """Return a listening socket whose connections hold little of what their readers do not read."""
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening.bind((host, port))
    return listening


@asynccontextmanager
async def house(memory: MemoryState, variants: int = 64, **options: Any) -> AsyncIterator[House]:
    """Serve the streams of a board as `create_app` does."""
    pulse, pages = Pulse(), PageCache(memory, Clock(NOW))
    streams = EventStreamHub(pages, pulse, variants)

    async def opened(_: web.Application) -> AsyncIterator[None]:
        async with streams:
            yield

    app = web.Application()
    app.add_routes(stream.routes(streams))
    app.add_routes(ticker.routes(pages))
    app.on_shutdown.append(streams.close)
    app.cleanup_ctx.append(opened)
    server = TestServer(app, **options)
    async with server:
        yield House(memory, streams, server, pulse)


def filled(**http: int | str) -> MemoryState:
    """Return a board that has the figures of 1 and 2 April 2026."""
    memory = MemoryState(load(environ={}, overrides={"http": http}))
    for one in NBK.fixings:
        memory.add(one)
    memory.refresh(NOW)
    return memory


@pytest.mark.parametrize("query", VARIANTS)
async def test_the_first_event_comes_at_once(query: str) -> None:
    """When to come back, then the snapshot: the bytes of `/v1/ticker` with the same query, its tag as the id."""
    async with house(filled()) as served, served.reading(query) as reader:
        told = RETRY.fullmatch(await reader.block())
        event = await reader.event()
        data, tag = await served.ticker(query)
    assert told is not None
    assert 2000 <= int(told[1]) <= 6000
    assert event == {"id": tag, "event": "ticker", "data": data}


async def test_stream_is_described_as_event_stream() -> None:
    """No cache keeps it, no proxy holds it back, anybody may read it."""
    async with house(filled()) as served, served.reading() as reader:
        status, *lines = reader.head.removesuffix("\r\n\r\n").split("\r\n")
    assert status == "HTTP/1.1 200 OK"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Connection"] == "close"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Content-Length" not in headers


async def test_clients_do_not_reconnect_all_at_once() -> None:
    """Each is told a time of its own."""
    times = set()
    async with house(filled()) as served:
        for _ in range(10):
            async with served.reading() as reader:
                times.add(await reader.block())
    assert len(times) > 5


async def test_publication_reaches_every_client(settings: Settings, clock: Clock, banks: Banks) -> None:
    """A poll that brings new figures is one event in each open stream, in the form that it asked for."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
        async with (
            house(poller.memory) as served,
            served.reading() as first,
            served.reading() as second,
            served.reading("?lang=kk") as kazakh,
            served.reading("?lang=kk&currencies=usd") as one,
        ):
            queries = {"": (first, second), "?lang=kk": (kazakh,), "?lang=kk&currencies=usd": (one,)}
            before = [(await reader.event())["id"] for readers in queries.values() for reader in readers]
            await poller.poll("nbk")  # the same figures again are no news
            banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "470.00"}
            await poller.poll("nbk")
            for query, readers in queries.items():
                data, tag = await served.ticker(query)
                for reader in readers:
                    assert await reader.event() == {"id": tag, "event": "ticker", "data": data}
                assert json.loads(data)["as_of"] == "2026-04-03"
                assert tag not in before
    assert len(set(before)) == 3


async def test_time_alone_is_news_too() -> None:
    """A ticker that becomes late is told, though no figure has changed."""
    async with house(filled()) as served, served.reading() as reader:
        assert json.loads((await reader.event())["data"])["status"] == "current"
        served.memory.refresh(NOW + timedelta(hours=11))
        assert json.loads((await reader.event())["data"])["status"] == "late"


@pytest.mark.parametrize("query", VARIANTS)
async def test_who_knows_the_latest_is_sent_only_news(query: str) -> None:
    """With its id as Last-Event-ID nothing comes but the time to come back, until something changes."""
    async with house(filled()) as served:
        _, tag = await served.ticker(query)
        async with served.reading(query, last=tag) as reader:
            assert RETRY.fullmatch(await reader.block())
            assert await reader.block() == ":"
            served.memory.refresh(NOW + timedelta(hours=11))
            data, newer = await served.ticker(query)
            assert newer != tag
            assert await reader.event() == {"id": newer, "event": "ticker", "data": data}


@pytest.mark.parametrize("last", ["0123456789abcdef0123", "x", "latin: \xe9", "-1", "{other}"])
async def test_who_knows_something_else_is_sent_the_latest(last: str) -> None:
    """An id of an earlier snapshot, of another form, or of nobody."""
    async with house(filled()) as served:
        _, other = await served.ticker("?lang=kk")
        async with served.reading(last=last.replace("{other}", other)) as reader:
            assert (await reader.event())["id"] == (await served.ticker())[1]


async def test_a_comment_shows_that_somebody_is_there() -> None:
    """At every heartbeat, to every reader, and nothing but that."""
    async with house(filled()) as served, served.reading() as reader, served.reading("?lang=kk") as other:
        for one in (reader, other):
            await one.event()
        for number in (1, 2):
            served.pulse.beat()
            assert [await one.block() for one in (reader, other)] == [":", ":"]
            assert served.pulse.asked == [HEARTBEAT] * (number + 1)
    assert HEARTBEAT == 15


async def test_closed_connection_is_dropped() -> None:
    """At the latest with the next heartbeat; those that stay are written to."""
    async with house(filled()) as served, served.reading() as staying:
        await staying.event()
        async with served.reading() as going, served.reading("?lang=kk") as too:
            await going.event()
            await too.event()
            assert served.streams.count == 3
        await served.until_open(1)
        assert await staying.block() == ":"


async def test_one_address_cannot_take_all() -> None:
    """Beyond its number it is told so, another is served; who has gone leaves room at once; a proxy is not limited."""
    async with house(filled(streams_per_address=2)) as served, AsyncExitStack() as stack:
        first, *others = [await stack.enter_async_context(served.reading(address=f"203.0.113.{n}")) for n in (1, 1, 2)]
        for reader in (first, *others):
            await reader.event()
        async with served.reading(address="198.51.100.9, 203.0.113.1") as refused:
            assert "429 Too Many Requests" in refused.head
            assert "Retry-After: 60" in refused.head
        for _ in range(3):
            await (await stack.enter_async_context(served.reading())).event()
        first.writer.close()
        await first.writer.wait_closed()

        async def opens() -> bool:
            async with served.reading(address="203.0.113.1") as another:
                return "200 OK" in another.head

        await until(opens)
        await served.until_open(5)
        assert set(served.streams._by_address) == {"203.0.113.1", "203.0.113.2"}


async def test_only_a_proxy_is_believed() -> None:
    """Anybody else may write what he likes into X-Forwarded-For: his own address counts."""
    async with (
        house(filled(streams_per_address=1, proxies="192.0.2.0/24")) as served,
        served.reading(address="203.0.113.1") as reader,
        served.reading(address="203.0.113.2") as refused,
    ):
        await reader.event()
        assert "429" in refused.head


async def test_client_that_disconnects_early_leaves_nothing_behind() -> None:
    """Connections that are reset at once, in any moment of their request, are not counted for ever."""
    async with house(filled()) as served:
        loop = asyncio.get_running_loop()
        for number in range(100):
            with socket.socket() as connection:
                connection.setblocking(False)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await loop.sock_connect(connection, (served.server.host, served.server.port))
                await loop.sock_sendall(connection, b"GET /v1/stream HTTP/1.1\r\nHost: h\r\n\r\n")
                for _ in range(number % 5):
                    await asyncio.sleep(0)
        async with served.reading() as reader:
            await reader.event()
            await served.until_open(1)
            assert await reader.block() == ":"


async def test_stalled_client_is_disconnected_without_affecting_another() -> None:
    """Beyond what may wait for it its connection is cut; who reads gets every event meanwhile."""
    async with (
        house(filled(), socket_factory=small_buffers) as served,
        reading(served.server, buffer=4096) as lazy,
        served.reading() as eager,
    ):
        await eager.event()
        ids = []
        for number in range(300):
            served.publish(f"{425 + Decimal(number) / 4:.2f}")
            ids.append((await eager.event())["id"])
            if served.streams.count == 1:
                break
        assert 10 < len(set(ids)) == len(ids) < 300
        assert served.streams.count == 1
        cut = b""
        with suppress(ConnectionResetError):
            while chunk := await asyncio.wait_for(lazy.reader.read(65536), 60):
                cut += chunk
        assert len(cut) < 64 * 1024
        served.publish("500.00")
        assert '"rate":500.00' in (await eager.event())["data"]


async def test_streams_beyond_the_limit_are_refused() -> None:
    """503 as a problem with Retry-After; when one has gone there is room again."""
    async with house(filled(streams=2)) as served:
        async with served.reading() as first, served.reading("?lang=kk") as second:
            for reader in (first, second):
                await reader.event()
            refused = await served.answer("/v1/stream")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
            assert refused.headers["Content-Type"].startswith("application/problem+json")
            assert refused.headers["Cache-Control"] == "no-store"
            assert "/v1/ticker" in json.loads(refused.text)["detail"]
            assert (await served.answer("/v1/ticker")).status == 200
        await served.until_open(0)
        async with served.reading() as reader:
            assert (await reader.event())["event"] == "ticker"


async def test_different_streams_are_bounded() -> None:
    """Each variant is a frame to make at news: beyond the bound a new one is refused, a known one is not."""
    async with house(filled(), variants=2) as served, served.reading() as first, served.reading("?lang=kk") as second:
        for reader in (first, second):
            await reader.event()
        refused = await served.answer("/v1/stream?lang=ru")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
        assert "variants" in json.loads(refused.text)["detail"]
        async with served.reading("?lang=kk") as known:
            assert (await known.event())["event"] == "ticker"


async def test_news_of_many_variants_let_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the frames of two variants the event loop goes round: a publication blocks nobody for their sum."""
    turns, made = 0, []
    frame = stream._frame

    def counted(page: Representation) -> bytes:
        made.append(turns)
        return frame(page)

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(house(filled()))
        queries = ("", "?lang=kk", "?lang=ru", "?lang=en", "?currencies=usd")
        readers = [await stack.enter_async_context(served.reading(query)) for query in queries]
        for reader in readers:
            await reader.event()
        monkeypatch.setattr(stream, "_frame", counted)
        other = asyncio.create_task(turning())
        served.publish("500.00")
        for reader in readers:
            assert '"rate":500.00' in (await reader.event())["data"]
        other.cancel()
    assert len(set(made)) == len(made) == len(queries)


async def test_events_to_many_clients_do_not_block_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request takes some turns of the event loop: each is as short as the writing to a few readers."""
    turns = 0
    written = Counter[int]()
    send = EventStreamResponse.send

    def counted(self: EventStreamResponse, frame: bytes) -> None:
        written[turns] += 1
        send(self, frame)

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(house(filled()))
        readers = [await stack.enter_async_context(served.reading()) for _ in range(80)]
        for reader in readers:
            await reader.event()
        monkeypatch.setattr(EventStreamResponse, "send", counted)
        other = asyncio.create_task(turning())
        served.publish("500.00")
        for reader in readers:
            assert '"rate":500.00' in (await reader.event())["data"]
        other.cancel()
        assert written.total() == len(readers)
        assert max(written.values()) <= 25


async def test_streams_can_be_switched_off() -> None:
    """A limit of none refuses all."""
    async with house(filled(streams=0)) as served:
        assert (await served.answer("/v1/stream")).status == 503


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [("?ticker=zzz", 404, "Unknown ticker 'zzz'"), ("?currencies=zzz", 400, "Unknown currency 'ZZZ'")],
)
async def test_a_stream_of_nothing_is_a_problem(query: str, status: int, told: str) -> None:
    """What `/v1/ticker` answers with an error is no stream, and counts as none."""
    async with house(filled()) as served:
        answer = await served.answer(f"/v1/stream{query}")
        assert answer.status == status
        assert told in json.loads(answer.text)["detail"]
        assert served.streams.count == 0


async def test_head_returns_the_headers_of_get() -> None:
    """The head of a stream, no body, and the end; nothing stays open."""
    async with house(filled()) as served:
        async with served.reading(method="HEAD") as head:
            assert await head.rest() == ""
        async with served.reading() as get:
            assert head.head == get.head
            assert served.streams.count == 1


async def test_a_fault_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that cannot be written is logged, and the next one is sent."""
    async with house(filled()) as served, served.reading() as reader:
        await reader.event()
        tried = asyncio.Event()

        def broken(*_: object) -> Representation:
            tried.set()
            raise ZeroDivisionError

        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr("service.web.rendering.page_cache.PageCache.page", broken)
            served.publish("480.00")
            await asyncio.wait_for(tried.wait(), 60)
        assert [log["event"] for log in logs] == ["stream.crashed"]
        served.publish("490.00")
        assert '"rate":490.00' in (await reader.event())["data"]


async def test_shutdown_is_logged() -> None:
    """At shutdown each reader is told another time to come back, and its stream ends."""
    async with house(filled()) as served, served.reading() as first, served.reading("?lang=kk") as second:
        before = [await reader.block() for reader in (first, second)]
        for reader in (first, second):
            await reader.event()
        await served.server.close()
        last = [await reader.rest() for reader in (first, second)]
        assert served.streams.count == 0
    for text in (*before, *last):
        assert RETRY.fullmatch(text.removesuffix("\n\n"))
    assert all(text.endswith("\n\n") for text in last)


async def test_the_service_streams(start: Started, banks: Banks) -> None:
    """As it is wired: the ticker's bytes, HEAD, and an end."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    async with client.head("/v1/stream") as head:
        assert (head.status, head.content_type, await head.read()) == (200, "text/event-stream", b"")
    server = client.server
    assert isinstance(server, TestServer)
    async with reading(server) as reader, client.get("/v1/ticker") as response:
        assert (await reader.event())["data"] == await body(response)
        await client.close()
        assert RETRY.fullmatch((await reader.rest()).removesuffix("\n\n"))


def connected(port: int | None) -> socket.socket:
    """Open a stream of a service in another process and return it once its first event has begun to come."""
    connection = socket.create_connection(("127.0.0.1", port or 0), timeout=60)
    connection.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: h\r\n\r\n")
    received(connection, "event: ticker")
    return connection


def received(connection: socket.socket, text: str = "") -> str:
    """Return what comes up to a text, or to the end."""
    got = b""
    while not text or text.encode() not in got:
        chunk = connection.recv(65536)
        if not chunk:
            break
        got += chunk
    return got.decode()


def test_sigterm_ends_open_streams(tmp_path: Path) -> None:
    """Of readers that read, and of one that does not: status 0 while they are connected, and a time to come back."""
    with running(offline(tmp_path)) as service:
        service.wait_for("/v1/ticker.txt", "cny")
        with connected(service.port) as first, connected(service.port) as second, connected(service.port):
            service.process.send_signal(signal.SIGTERM)
            for connection in (first, second):
                assert RETRY.search(received(connection).rpartition("}")[2])
            status, log = service.ended(within=60)
        assert (status, "Traceback" in log) == (0, False), log


async def test_a_publication_comes_by_the_stream_of_a_process(tmp_path: Path) -> None:
    """From the bank to the reader, without anybody asking the ticker."""
    today = local("Asia/Almaty")
    async with serving(Banks()) as banks:
        banks.published["nbk"] = {today - timedelta(days=1): OLD, today: {**OLD, "USD": "401.00"}}
        variables = banks.environ() | {
            "TICKER_STORE__DATA_DIR": str(tmp_path / "d"),
            "TICKER_SOURCES__NBK__SWEEP": "1",
        }

        def check() -> None:
            with running(variables) as service:
                service.wait_for("/v1/ticker.txt", "usd +0.25%")
                with connected(service.port) as connection:
                    banks.published["nbk"][today] = NEW
                    assert '"rate":405.40' in received(connection, '"rate":405.40')

        await asyncio.to_thread(check)
