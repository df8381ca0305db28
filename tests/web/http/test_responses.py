"""Pre-encoded responses, served by aiohttp over a raw socket."""

import asyncio
import resource
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.domain.publication_schedule import ExpectedArrival
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


async def exchange(server: TestServer, request: bytes, expected: int = 1) -> list[bytes]:
    """Send bytes and return the responses, once as many as expected have arrived or the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request)
    received = b""
    while received.count(b"HTTP/1.1 ") < expected or (BODY not in received and b"304" not in received):
        chunk = await asyncio.wait_for(reader.read(65536), 60)
        if not chunk:
            break
        received += chunk
    writer.close()
    await writer.wait_closed()
    return [b"HTTP/1.1 " + response for response in received.split(b"HTTP/1.1 ")[1:]]


async def test_pipelined_requests_are_served_in_order(server: TestServer) -> None:
    """Three requests at once on one connection get three whole responses."""
    responses = await exchange(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3, expected=3)
    assert len(responses) == 3
    assert all(response.endswith(BODY) and b"Connection:" not in response for response in responses)


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
async def test_connection_is_closed_on_request(server: TestServer, request_: bytes) -> None:
    """The response has `Connection: close`, and the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request_)
    received = await asyncio.wait_for(reader.read(), 60)
    assert b"\r\nConnection: close\r\n" in received
    assert received.endswith(BODY)
    writer.close()
    await writer.wait_closed()


async def test_head_has_no_body(server: TestServer) -> None:
    """The response to a GET that follows on the same connection starts at the right byte."""
    head, get = await exchange(
        server, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", expected=2
    )
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
    """Accept-Encoding is parsed as in RFC 9110."""
    request = f"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAccept-Encoding: {header}\r\n\r\n"
    (response,) = await exchange(server, request.encode())
    assert (b"Content-Encoding: gzip" in response) is compressed


async def test_client_that_does_not_read_cannot_exhaust_memory(server: TestServer) -> None:
    """Pipelined requests are not served once the buffers are full."""
    _, writer = await asyncio.open_connection(server.host, server.port)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    requests = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 1000
    sent = 0
    try:
        for _ in range(400):
            writer.write(requests)
            await asyncio.wait_for(writer.drain(), 0.2)
            sent += 1000
    except TimeoutError:
        pass
    assert sent < 400_000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 30
    writer.transport.abort()


def test_incompressible_body_is_not_compressed() -> None:
    """It has one representation and no Vary header."""
    page = Representation(b"usd -0.77%\n", "text/plain", cache_for(60))
    assert list(page._encoded) == [""]
    assert "Vary" not in page._headers


@pytest.mark.parametrize(
    ("second", "max_age"),
    [
        (0, 60),  # two minutes before
        (90, 30),  # not past the beginning
        (118, 5),
        (120, 5),  # it may arrive at any moment
        (300, 5),
        (301, 60),  # it is late, until the close of the window
        (590, 10),
        (700, 0),
    ],
)
def test_max_age_is_short_while_a_publication_is_expected(second: int, max_age: int) -> None:
    begin = datetime(2026, 4, 2, 11, tzinfo=UTC)
    expected = ExpectedArrival(begin + timedelta(minutes=2), begin + timedelta(minutes=5))
    caching = cache_for(60, begin + timedelta(minutes=10), expected)
    assert caching(int(begin.timestamp()) + second).split(", ")[1] == f"max-age={max_age}"
