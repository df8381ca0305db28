"""Replies made of ready bytes: what aiohttp does with them, on a raw socket."""

import asyncio
import resource
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.web.http.responses import Representation, cache_for

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
BODY = b"usd -0.77%\n" * 50


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    page = Representation(BODY, "text/plain; charset=utf-8", cache_for(60))

    async def handler(request: web.Request) -> web.StreamResponse:
        return page.reply(request, NOW.timestamp())

    app = web.Application()
    app.router.add_get("/", handler)
    server = TestServer(app)
    async with server:
        yield server


async def talk(server: TestServer, request: bytes, answers: int = 1) -> list[bytes]:
    """Send bytes and return what comes until so many bodies have come, or the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request)
    got = b""
    while got.count(b"HTTP/1.1 ") < answers or (BODY not in got and b"304" not in got):
        chunk = await asyncio.wait_for(reader.read(65536), 60)
        if not chunk:
            break
        got += chunk
    writer.close()
    await writer.wait_closed()
    return [b"HTTP/1.1 " + one for one in got.split(b"HTTP/1.1 ")[1:]]


async def test_a_connection_is_used_again(server: TestServer) -> None:
    """Three requests at once on one connection get three whole answers in order."""
    answers = await talk(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3, answers=3)
    assert len(answers) == 3
    assert all(one.endswith(BODY) and b"Connection:" not in one for one in answers)


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
async def test_a_client_that_wants_the_end_gets_it(server: TestServer, request_: bytes) -> None:
    """The head says close, and the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request_)
    got = await asyncio.wait_for(reader.read(), 60)
    assert b"\r\nConnection: close\r\n" in got
    assert got.endswith(BODY)
    writer.close()
    await writer.wait_closed()


async def test_head_has_no_body(server: TestServer) -> None:
    """A GET on the same connection after a HEAD is answered by itself: no byte too many."""
    head, get = await talk(server, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", answers=2)
    assert head.endswith(b"\r\n\r\n")
    assert get.endswith(BODY)


@pytest.mark.parametrize(
    ("header", "compressed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("gzip;q=oops", False),
        ("x-gzip-not", False),
        ("br", False),
        ("", False),
        (";;,", False),
    ],
)
async def test_compression_is_used_where_it_is_accepted(server: TestServer, header: str, compressed: bool) -> None:
    """Accept-Encoding is read as RFC 9110 says."""
    request = f"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAccept-Encoding: {header}\r\n\r\n"
    (answer,) = await talk(server, request.encode())
    assert (b"Content-Encoding: gzip" in answer) is compressed


async def test_a_client_that_never_reads_does_not_make_us_grow(server: TestServer) -> None:
    """Pipelining without reading stops being served when its buffers are full."""
    _, writer = await asyncio.open_connection(server.host, server.port)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    burst = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 1000
    sent = 0
    try:
        for _ in range(400):
            writer.write(burst)
            await asyncio.wait_for(writer.drain(), 0.2)
            sent += 1000
    except TimeoutError:
        pass
    assert sent < 400_000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 30
    writer.transport.abort()


def test_what_does_not_shrink_is_not_compressed() -> None:
    """A short text has one form, so nothing varies."""
    page = Representation(b"usd -0.77%\n", "text/plain", cache_for(60))
    assert list(page._encoded) == [""]
    assert "Vary" not in page._headers
