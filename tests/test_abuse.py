"""Malicious clients: responses are defined, costs are bounded, and other clients are not affected."""

import asyncio
import json
import re
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from service.settings.loader import ROOT
from service.web.server.connection_limits import BESIDE
from tests.abuse.shapes import HOST, SHAPES, SMUGGLED, SMUGGLING, Shape, get
from tests.abuse.talk import ADDRESS, Exchange, connect, send_raw
from tests.support.edge import Edge, run_edge
from tests.support.ports import unused_port
from tests.support.process import Service, offline, running
from tests.support.wait import until, until_true

pytestmark = pytest.mark.slow

MAX_GROWTH = 100.0
"""Limit of the memory that an attack takes, in MB: 15 on an idle machine, 50 on a busy one, where more is in flight.

Unlimited buffers, or none that is freed, take several hundred.
"""
SILENCE = 1.0
"""Seconds of silence after which a response counts as complete."""


@contextmanager
def run_service(folder: Path, **http: int) -> Iterator[Service]:
    """Run a service with these settings of its table `http`."""
    variables = {f"TICKER_HTTP__{name.upper()}": str(value) for name, value in http.items()}
    with running(offline(folder) | variables) as service:
        service.wait_for("/v1/ticker.txt", "cny")
        yield service


async def send_all(port: int, shapes: Sequence[Shape]) -> list[Exchange]:
    return await asyncio.gather(*(send_raw(port, shape.sent, SILENCE) for shape in shapes))


async def send_all_directly(port: int, shapes: Sequence[Shape]) -> list[Exchange]:
    """Send shapes to a service, and wait until each has as many responses as expected."""
    return await asyncio.gather(
        *(
            send_raw(port, shape.sent, SILENCE, responses=len(shape.direct), closes=shape.direct == (400,))
            for shape in shapes
        )
    )


async def until_files_closed(service: Service, level: int) -> None:
    """Wait until the service has at most `level` open files."""
    process = psutil.Process(service.process.pid)
    await until_true(lambda: process.num_fds() <= level)


async def until_connected(service: Service, number: int) -> None:
    """Wait until a service has exactly `number` connections."""
    process = psutil.Process(service.process.pid)

    def counted() -> bool:
        ports = [item.laddr.port for item in process.net_connections("tcp") if item.status == psutil.CONN_ESTABLISHED]
        return ports.count(service.port) == number

    await until_true(counted)


def resident(service: Service) -> float:
    return float(psutil.Process(service.process.pid).memory_info().rss) / 1e6


async def test_service_has_a_defined_response_to_every_shape(tmp_path: Path) -> None:
    """No server error, no echo, no version; no file stays open, and the log has no traceback and no address."""
    with run_service(tmp_path) as service:
        level = psutil.Process(service.process.pid).num_fds()
        exchanges = dict(zip(SHAPES, await send_all_directly(service.port or 0, SHAPES), strict=True))
        assert {shape.name: got.statuses for shape, got in exchanges.items() if got.statuses != shape.direct} == {}
        for shape, exchange in exchanges.items():
            for leak in (b"aiohttp", b"Python", b"evil.example", b"<script>x"):
                assert leak not in exchange.received, shape.name
            head, _, body = exchange.received.partition(b"\r\n\r\n")
            if exchange.statuses == (400,):
                assert exchange.closed, shape.name
                assert b"\r\nContent-Type: application/problem+json" in head, shape.name
                assert json.loads(body)["detail"] == "Malformed HTTP request."
        await until_files_closed(service, level)
        service.process.terminate()
        status, log = service.ended()
    assert status == 0
    assert "Traceback" not in log
    assert ADDRESS not in log


async def test_edge_has_a_defined_response_to_every_shape(tmp_path: Path) -> None:
    """In front of a real service: the same, and 501 and 505 only where the protocol requires them."""
    with run_service(tmp_path) as service, run_edge([service.port or 0]) as edge:
        exchanges = dict(zip(SHAPES, await send_all(edge.port, SHAPES), strict=True))
        assert {
            shape.name: got.statuses for shape, got in exchanges.items() if not {*got.statuses} <= {*shape.edge}
        } == {}
        for shape, exchange in exchanges.items():
            for leak in (b"aiohttp", b"nginx/", b"evil.example", b"<script>x"):
                assert leak not in exchange.received, shape.name
        metrics = service.get("/metrics")[1]
        assert re.findall(r'ticker_http_\w+\{[^}]*status="5\d\d"[^}]*\} [1-9].*', metrics) == []
        service.process.terminate()
        assert "Traceback" not in service.ended()[1]


class Mirror:
    """A stand-in for an instance that returns and records what it receives."""

    def __init__(self) -> None:
        self.port = unused_port()
        self.requests: list[str] = []

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.raw_path}")
        body = [self.requests[-1], *sorted(f"{name}: {value}" for name, value in request.headers.items())]
        body.append((await request.read()).hex())
        headers = {"Cache-Control": "public, max-age=60", "ETag": '"mirror"'}
        return web.Response(text="\n".join(body), headers=headers)


@pytest.fixture
async def mirrored_edge() -> AsyncIterator[tuple[Edge, Mirror]]:
    """Yield an edge and the mirror behind it."""
    mirror = Mirror()
    app = web.Application()
    app.router.add_route("*", r"/{path:[\s\S]*}", mirror.respond)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", mirror.port).start()
    with run_edge([mirror.port]) as edge:
        yield edge, mirror
    await runner.cleanup()


async def test_smuggled_request_gets_no_response(mirrored_edge: tuple[Edge, Mirror]) -> None:
    """A request to the edge is at most one to an instance, and no client gets a response to another's request."""
    edge, mirror = mirrored_edge

    async def honest(number: int) -> None:
        for turn in range(20):
            path = f"/v1/ticker/honest-{number}-{turn}"
            exchange = await send_raw(
                edge.port, get(path.encode(), HOST.strip(), b"Connection: close"), 2, f"127.0.5.{number}"
            )
            assert exchange.received.partition(b"\r\n\r\n")[2].startswith(f"GET {path}\n".encode())

    async def attack(shape: Shape) -> None:
        # Nothing is cached, so that each reaches the instance, over connections that honest clients use as well.
        sent = shape.sent.replace(b"/v1/ticker ", b"/attack/" + shape.name.replace(" ", "-").encode() + b" ")
        exchange = await send_raw(edge.port, sent, SILENCE)
        assert b"/smuggled" not in exchange.received, shape.name
        forwarded = [path for path in mirror.requests if path.endswith("/attack/" + shape.name.replace(" ", "-"))]
        assert len(forwarded) == exchange.statuses.count(200) <= 1, shape.name

    async with asyncio.TaskGroup() as group:
        for number in range(1, 6):
            group.create_task(honest(number))
        for shape in SMUGGLING:
            group.create_task(attack(shape))
    assert not [path for path in mirror.requests if "smuggled" in path]
    assert Counter(path.split("/")[1] for path in mirror.requests)["v1"] == 100
    exchange = await send_raw(edge.port, get(b"/one", HOST.strip()) + SMUGGLED, SILENCE)
    assert exchange.statuses == (200, 200)  # two real requests get two responses: the tests above can fail
    assert mirror.requests[-1] == "GET /smuggled"


POISONS = {
    "headers of proxies": (b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: evil", b"Forwarded: host=evil"),
    "rewriting headers": (b"X-Original-URL: /evil", b"X-Rewrite-URL: /evil", b"X-HTTP-Method-Override: DELETE"),
    "another host": (b"Host: evil.example",),
    "a host with markup": (b'Host: "><script>x</script>',),
    "no cache": (b"Cache-Control: no-cache", b"Pragma: no-cache"),
    "a range": (b"Range: bytes=0-3",),
    "ranges": (b"Range: bytes=0-3,5-6", b"If-Range: x"),
    "conditions": (b'If-None-Match: "evil"', b"If-Modified-Since: x", b"If-Unmodified-Since: x", b'If-Match: "evil"'),
    "codings": (b"Accept-Encoding: evil", b"TE: trailers", b"Accept: text/evil"),
    "a language": (b"Accept-Language: kk-evil",),
    "a cookie": (b"Cookie: evil=1", b"Authorization: evil"),
    "an origin": (b"Origin: http://evil.example", b"Referer: http://evil.example"),
    "a body": (b"Content-Length: 4\r\n\r\nevil",),
    "a connection's headers": (b"Connection: close, Host, X-Forwarded-For", b"Upgrade: h2c"),
    "an id": (b"X-Request-ID: evil-evil", b"X-Correlation-ID: evil-evil", b"Traceparent: evil"),
    "an address": (b"X-Forwarded-For: 6.6.6.6", b"X-Real-IP: 6.6.6.6", b"True-Client-IP: 6.6.6.6"),
}  # fmt: skip


PAGES = ("/v1/ticker?lang={}", "/v1/ticker.svg?lang={}", "/embed?lang={}", "/oembed?url={}", "/v1/history/usd?from={}")


async def test_cache_cannot_be_poisoned(mirrored_edge: tuple[Edge, Mirror]) -> None:
    """A poisoned first request does not change the response that the next client gets."""
    edge, mirror = mirrored_edge

    async def page(target: str, *headers: bytes, method: bytes = b"GET", address: str = ADDRESS) -> bytes:
        usual = [
            header
            for header in (HOST.strip(), b"Connection: close")
            if not any(given[:5] == header[:5] for given in headers)
        ]
        exchange = await send_raw(edge.port, get(target.encode(), *usual, *headers, method=method), SILENCE, address)
        return exchange.received.partition(b"\r\n\r\n")[2]

    def common(mirrored_request: bytes) -> list[bytes]:
        """Return the mirrored request without its URL, client address and the edge's own id."""
        own = re.compile(rb"X-Forwarded-For: 127\..*|X-Request-ID: [0-9a-f]{32}")
        return [line for line in mirrored_request.split(b"\n")[1:] if not own.fullmatch(line)]

    async def poison(number: int, *headers: bytes, method: bytes = b"GET", target: str = "{}") -> None:
        async def poison_page(template: str) -> None:
            client = f"127.0.6.{number + 1}"
            expected = await page(template.format(f"fresh{number}"), address=client)
            await page(target.format(template.format(number)), *headers, method=method)
            got = await page(template.format(number), address=client)
            assert got.split(b"\n")[0] == f"GET {template.format(number)}".replace("?", "?&").encode()
            assert common(got) == common(expected) != []

        await asyncio.gather(*map(poison_page, PAGES))

    async with asyncio.TaskGroup() as group:
        for number, headers in enumerate(POISONS.values()):
            group.create_task(poison(number, *headers))
        group.create_task(poison(100, method=b"HEAD"))
        group.create_task(poison(101, method=b"OPTIONS"))
        group.create_task(poison(102, target="http://evil.example{}"))
        group.create_task(poison(103, target="{}&evil=1&x[]=evil"))
        group.create_task(poison(104, target="{}#evil"))
    cached = Counter(path for path in mirror.requests if path.startswith("GET /v1/ticker?") and "fresh" not in path)
    assert cached["GET /v1/ticker?&lang=100"] == 1  # cached for others: the test above can fail


async def hold_open(port: int, first: bytes, more: bytes, receive: int | None) -> str:
    """Send, keep sending and never read; return how the connection ended."""
    loop = asyncio.get_running_loop()
    connection = await connect(port, receive=receive)
    try:
        await loop.sock_sendall(connection, first)
        while True:
            await asyncio.sleep(0.1)
            if more:
                await loop.sock_sendall(connection, more)
            elif not await loop.sock_recv(connection, 1):
                return "closed"
    except ConnectionError:
        return "reset"
    finally:
        connection.close()


HELD_OPEN = {
    "idle": (b"", b"", None),
    "headers byte by byte": (b"GET /v1/ticker HTTP/1.1\r\nHost: h\r\nX: ", b"a", None),
    "keeps sending and never reads": (get(b"/", HOST.strip()) * 200, get(b"/", HOST.strip()) * 50, 4096),
    "an endless body": (get(b"/v1/ticker", HOST.strip(), b"Content-Length: 1000000000"), bytes(100_000), None),
}


async def hold_many_open(service: Service) -> float:
    """Hold 100 connections of each kind open until they are closed; return the largest resident memory, in MB."""
    port, memory = service.port or 0, list[float]()
    held = {
        kind: [asyncio.create_task(hold_open(port, *arguments)) for _ in range(100)]
        for kind, arguments in HELD_OPEN.items()
    }

    async def all_ended() -> bool:
        memory.append(resident(service))
        exchange = await send_raw(port, get(b"/v1/ticker", HOST.strip(), b"Connection: close"), 2)
        assert exchange.statuses == (200,)
        return all(task.done() for tasks in held.values() for task in tasks)

    await until(all_ended)
    for kind, tasks in held.items():
        assert {*await asyncio.gather(*tasks)} <= {"closed", "reset"}, kind
    return max(memory)


async def test_connections_held_open_are_closed(tmp_path: Path) -> None:
    """All files are closed and memory is bounded, while another client is served; three times in a row."""
    with run_service(tmp_path, idle_timeout=2, send_timeout=1) as service:
        level, before = psutil.Process(service.process.pid).num_fds(), resident(service)
        for _ in range(3):
            assert await hold_many_open(service) - before < MAX_GROWTH
            await until_files_closed(service, level)
        assert resident(service) - before < MAX_GROWTH
        service.process.terminate()
        assert "Traceback" not in service.ended()[1]


LARGE_BODY = bytes(500_000)
LARGE_BODY_LENGTH = b"Content-Length: %d" % len(LARGE_BODY)
MANY_HEADERS = [b"X-%d: " % number + b"a" * 4000 for number in range(60)]
LARGE_REQUESTS = {
    "a header": get(b"/v1/ticker", HOST.strip(), b"X: " + b"a" * 500_000),
    "garbage after a request": get(b"/", HOST.strip(), b"Connection: Upgrade", b"Upgrade: a") + LARGE_BODY,
    "headers of a request for an unknown path": get(b"/nothing", HOST.strip(), *MANY_HEADERS),
    "a body of a method that is not allowed": get(b"/", HOST.strip(), LARGE_BODY_LENGTH, method=b"POST") + LARGE_BODY,
}


async def test_large_requests_do_not_grow_memory(tmp_path: Path) -> None:
    """The memory of a large request is freed after the response, whatever its status."""
    with run_service(tmp_path) as service:
        before = resident(service)
        for kind, sent in LARGE_REQUESTS.items():
            for _ in range(4):
                exchanges = await asyncio.gather(*(send_raw(service.port or 0, sent, 0.05) for _ in range(50)))
                assert {exchange.statuses for exchange in exchanges} <= {(400,), (200,), (200, 400), (404,), (405,)}, (
                    kind
                )
            assert resident(service) - before < MAX_GROWTH, kind


async def test_connections_beyond_the_limit_are_closed(tmp_path: Path) -> None:
    """Earlier connections are served on, a new one is accepted after one is closed, and the log reports it once."""
    with run_service(tmp_path, connections=20, idle_timeout=60) as service:
        port, request = service.port or 0, get(b"/v1/ticker", HOST.strip())
        await until_connected(service, 0)
        first = await asyncio.open_connection("127.0.0.1", port)
        others = [await connect(port) for _ in range(60)]
        assert (await send_raw(port, request, SILENCE)).received == b""
        for turn in range(3):
            first[1].write(request)
            assert (await first[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 "), turn
            await first[0].read(10_000)
        for connection in others:
            connection.close()
        await until_connected(service, 1)
        assert (await send_raw(port, request, SILENCE)).statuses == (200,)
        first[1].close()
        service.process.terminate()
        _, log = service.ended()
    assert log.count("connections.full") == 1
    assert "Traceback" not in log


def test_file_limit_leaves_files_for_store_and_banks(tmp_path: Path) -> None:
    """The limit of open files is raised to the configured connections; if it cannot be, fewer are accepted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 250), hard))
    try:
        with run_service(tmp_path, connections=300) as service:
            assert resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE) == (300 + BESIDE, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    code = "from service.web.server import connection_limits; print(connection_limits._allowed(40))"
    script = f"ulimit -n {BESIDE + 30}; exec {sys.executable} -c '{code}'"
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "30"
    assert "connections.few_files" in done.stdout + done.stderr
