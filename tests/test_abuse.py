"""What strangers may send or hold open: the answer is meant, the cost is bounded, and nobody else notices."""

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
from tests.abuse.talk import ADDRESS, Talk, connected, talk
from tests.support.edge import Edge, edging
from tests.support.ports import unused_port
from tests.support.process import Service, offline, running
from tests.support.wait import until, until_true

pytestmark = pytest.mark.slow

PATIENCE = 1.0
"""Seconds of silence after which an answer counts as whole."""


@contextmanager
def started(folder: Path, **http: int) -> Iterator[Service]:
    """Run a service; `http` are settings of that table."""
    variables = {f"TICKER_HTTP__{name.upper()}": str(value) for name, value in http.items()}
    with running(offline(folder) | variables) as service:
        service.wait_for("/v1/ticker.txt", "cny")
        yield service


async def all_of(port: int, shapes: Sequence[Shape]) -> list[Talk]:
    return await asyncio.gather(*(talk(port, shape.sent, PATIENCE) for shape in shapes))


async def all_directly(port: int, shapes: Sequence[Shape]) -> list[Talk]:
    """Send shapes to a service, and wait until each has as many answers as it must have."""
    return await asyncio.gather(
        *(
            talk(port, shape.sent, PATIENCE, answers=len(shape.direct), closes=shape.direct == (400,))
            for shape in shapes
        )
    )


async def freed(service: Service, level: int) -> None:
    """Wait until the service has no more open files than that."""
    process = psutil.Process(service.process.pid)
    await until_true(lambda: process.num_fds() <= level)


async def connections(service: Service, number: int) -> None:
    """Wait until a service has so many connections."""
    process = psutil.Process(service.process.pid)

    def counted() -> bool:
        ends = [one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
        return ends.count(service.port) == number

    await until_true(counted)


def resident(service: Service) -> float:
    return float(psutil.Process(service.process.pid).memory_info().rss) / 1e6


async def test_every_shape_has_a_meant_answer_of_the_service(tmp_path: Path) -> None:
    """Never a fault, never what was sent, no version; no file stays open, and the log says nothing of it."""
    with started(tmp_path) as service:
        level = psutil.Process(service.process.pid).num_fds()
        heard = dict(zip(SHAPES, await all_directly(service.port or 0, SHAPES), strict=True))
        assert {shape.name: one.statuses for shape, one in heard.items() if one.statuses != shape.direct} == {}
        for shape, one in heard.items():
            for told in (b"aiohttp", b"Python", b"evil.example", b"<script>x"):
                assert told not in one.got, shape.name
            head, _, body = one.got.partition(b"\r\n\r\n")
            if one.statuses == (400,):
                assert one.closed, shape.name
                assert b"\r\nContent-Type: application/problem+json" in head, shape.name
                assert json.loads(body)["detail"] == "Malformed HTTP request."
        await freed(service, level)
        service.process.terminate()
        status, log = service.ended()
    assert status == 0
    assert "Traceback" not in log
    assert ADDRESS not in log


async def test_every_shape_has_a_meant_answer_of_the_edge(tmp_path: Path) -> None:
    """Before a real service: the same, and 501 and 505 only where the protocol asks for them."""
    with started(tmp_path) as service, edging([service.port or 0]) as edge:
        heard = dict(zip(SHAPES, await all_of(edge.port, SHAPES), strict=True))
        assert {shape.name: one.statuses for shape, one in heard.items() if not {*one.statuses} <= {*shape.edge}} == {}
        for shape, one in heard.items():
            for told in (b"aiohttp", b"nginx/", b"evil.example", b"<script>x"):
                assert told not in one.got, shape.name
        metrics = service.get("/metrics")[1]
        assert re.findall(r'ticker_http_\w+\{[^}]*status="5\d\d"[^}]*\} [1-9].*', metrics) == []
        service.process.terminate()
        assert "Traceback" not in service.ended()[1]


class Mirror:
    """Stands in for an instance: answers with all that has come, and remembers it."""

    def __init__(self) -> None:
        self.port = unused_port()
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.raw_path}")
        body = [self.asked[-1], *sorted(f"{name}: {value}" for name, value in request.headers.items())]
        body.append((await request.read()).hex())
        headers = {"Cache-Control": "public, max-age=60", "ETag": '"mirror"'}
        return web.Response(text="\n".join(body), headers=headers)


@pytest.fixture
async def mirrored() -> AsyncIterator[tuple[Edge, Mirror]]:
    """Yield an edge and what stands behind it."""
    mirror = Mirror()
    app = web.Application()
    app.router.add_route("*", r"/{path:[\s\S]*}", mirror.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", mirror.port).start()
    with edging([mirror.port]) as edge:
        yield edge, mirror
    await runner.cleanup()


async def test_what_is_hidden_in_a_request_reaches_nobody(mirrored: tuple[Edge, Mirror]) -> None:
    """One request to the edge is at most one at an instance, and no other reader gets an answer that is not his."""
    edge, mirror = mirrored

    async def honest(number: int) -> None:
        for turn in range(20):
            path = f"/v1/ticker/honest-{number}-{turn}"
            one = await talk(edge.port, get(path.encode(), HOST.strip(), b"Connection: close"), 2, f"127.0.5.{number}")
            assert one.got.partition(b"\r\n\r\n")[2].startswith(f"GET {path}\n".encode())

    async def attack(shape: Shape) -> None:
        # Nothing is cached, so that each goes on to the instance, over connections that honest readers use as well.
        sent = shape.sent.replace(b"/v1/ticker ", b"/attack/" + shape.name.replace(" ", "-").encode() + b" ")
        heard = await talk(edge.port, sent, PATIENCE)
        assert b"/smuggled" not in heard.got, shape.name
        mine = [path for path in mirror.asked if path.endswith("/attack/" + shape.name.replace(" ", "-"))]
        assert len(mine) == heard.statuses.count(200) <= 1, shape.name

    async with asyncio.TaskGroup() as group:
        for number in range(1, 6):
            group.create_task(honest(number))
        for shape in SMUGGLING:
            group.create_task(attack(shape))
    assert not [path for path in mirror.asked if "smuggled" in path]
    assert Counter(path.split("/")[1] for path in mirror.asked)["v1"] == 100
    two = await talk(edge.port, get(b"/one", HOST.strip()) + SMUGGLED, PATIENCE)
    assert two.statuses == (200, 200)  # two requests that are two are answered: the tests above could fail
    assert mirror.asked[-1] == "GET /smuggled"


POISONS = {
    "headers of proxies": (b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: evil", b"Forwarded: host=evil"),
    "headers that rewrite": (b"X-Original-URL: /evil", b"X-Rewrite-URL: /evil", b"X-HTTP-Method-Override: DELETE"),
    "another host": (b"Host: evil.example",),
    "a host of markup": (b'Host: "><script>x</script>',),
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
    "an address": (b"X-Forwarded-For: 6.6.6.6", b"X-Real-IP: 6.6.6.6", b"True-Client-IP: 6.6.6.6"),
}  # fmt: skip


PAGES = ("/v1/ticker?lang={}", "/v1/ticker.svg?lang={}", "/embed?lang={}", "/oembed?url={}", "/v1/history/usd?from={}")


async def test_what_one_sends_changes_no_other_s_page(mirrored: tuple[Edge, Mirror]) -> None:
    """Whoever asks first, and however: the next reader is answered as if he had been the first."""
    edge, mirror = mirrored

    async def page(target: str, *headers: bytes, method: bytes = b"GET", address: str = ADDRESS) -> bytes:
        usual = [
            one for one in (HOST.strip(), b"Connection: close") if not any(given[:5] == one[:5] for given in headers)
        ]
        heard = await talk(edge.port, get(target.encode(), *usual, *headers, method=method), PATIENCE, address)
        return heard.got.partition(b"\r\n\r\n")[2]

    def like(got: bytes) -> list[bytes]:
        """Return all of it but the address that was asked for and the asker's."""
        return [line for line in got.split(b"\n")[1:] if not line.startswith(b"X-Forwarded-For: 127.")]

    async def poison(number: int, *headers: bytes, method: bytes = b"GET", target: str = "{}") -> None:
        async def at(one: str) -> None:
            reader = f"127.0.6.{number + 1}"
            untouched = await page(one.format(f"fresh{number}"), address=reader)
            await page(target.format(one.format(number)), *headers, method=method)
            got = await page(one.format(number), address=reader)
            assert got.split(b"\n")[0] == f"GET {one.format(number)}".replace("?", "?&").encode()
            assert like(got) == like(untouched) != []

        await asyncio.gather(*map(at, PAGES))

    async with asyncio.TaskGroup() as group:
        for number, headers in enumerate(POISONS.values()):
            group.create_task(poison(number, *headers))
        group.create_task(poison(100, method=b"HEAD"))
        group.create_task(poison(101, method=b"OPTIONS"))
        group.create_task(poison(102, target="http://evil.example{}"))
        group.create_task(poison(103, target="{}&evil=1&x[]=evil"))
        group.create_task(poison(104, target="{}#evil"))
    kept = Counter(path for path in mirror.asked if path.startswith("GET /v1/ticker?") and "fresh" not in path)
    assert kept["GET /v1/ticker?&lang=100"] == 1  # kept for others: the test above could fail


async def hold(port: int, first: bytes, more: bytes, receive: int | None) -> str:
    """Send, and go on to send, and never read; return how it ended."""
    loop = asyncio.get_running_loop()
    connection = await connected(port, receive=receive)
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


HELD = {
    "says nothing": (b"", b"", None),
    "headers byte by byte": (b"GET /v1/ticker HTTP/1.1\r\nHost: h\r\nX: ", b"a", None),
    "asks on and never reads": (get(b"/", HOST.strip()) * 200, get(b"/", HOST.strip()) * 50, 4096),
    "a body for ever": (get(b"/v1/ticker", HOST.strip(), b"Content-Length: 1000000000"), bytes(100_000), None),
}


async def test_what_is_held_open_is_ended(tmp_path: Path) -> None:
    """Though it is held on, with every file freed and no memory to speak of, while another reader is served."""
    with started(tmp_path, idle_timeout=2, send_timeout=1) as service:
        level, before, port = psutil.Process(service.process.pid).num_fds(), resident(service), service.port or 0
        held = {kind: [asyncio.create_task(hold(port, *how)) for _ in range(100)] for kind, how in HELD.items()}

        most = [0.0]

        async def all_ended() -> bool:
            most.append(resident(service) - before)
            heard = await talk(port, get(b"/v1/ticker", HOST.strip(), b"Connection: close"), 2)
            assert heard.statuses == (200,)
            return all(task.done() for tasks in held.values() for task in tasks)

        await until(all_ended)
        assert max(most) < 60
        await freed(service, level)
        for kind, tasks in held.items():
            assert {*await asyncio.gather(*tasks)} <= {"closed", "reset"}, kind
        assert resident(service) - before < 40
        service.process.terminate()
        assert "Traceback" not in service.ended()[1]


BODY = bytes(500_000)
LENGTH = b"Content-Length: %d" % len(BODY)
MANY = [b"X-%d: " % number + b"a" * 4000 for number in range(60)]
LARGE = {
    "a header": get(b"/v1/ticker", HOST.strip(), b"X: " + b"a" * 500_000),
    "what is no request, behind one": get(b"/", HOST.strip(), b"Connection: Upgrade", b"Upgrade: a") + BODY,
    "headers of what is not there": get(b"/nothing", HOST.strip(), *MANY),
    "a body of what is not possible": get(b"/", HOST.strip(), LENGTH, method=b"POST") + BODY,
}


async def test_what_was_sent_is_not_kept(tmp_path: Path) -> None:
    """Large as it may be: once it is answered it is forgotten, however it was answered."""
    with started(tmp_path) as service:
        before = resident(service)
        for kind, sent in LARGE.items():
            for _ in range(4):
                heard = await asyncio.gather(*(talk(service.port or 0, sent, 0.05) for _ in range(50)))
                assert {one.statuses for one in heard} <= {(400,), (200,), (200, 400), (404,), (405,)}, kind
            assert resident(service) - before < 50, kind


async def test_a_connection_too_many_is_closed(tmp_path: Path) -> None:
    """Those before it are served on, and there is room again when one has gone; the log says so, once."""
    with started(tmp_path, connections=20, idle_timeout=60) as service:
        port, ask = service.port or 0, get(b"/v1/ticker", HOST.strip())
        await connections(service, 0)
        first = await asyncio.open_connection("127.0.0.1", port)
        others = [await connected(port) for _ in range(60)]
        assert (await talk(port, ask, PATIENCE)).got == b""
        for turn in range(3):
            first[1].write(ask)
            assert (await first[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 "), turn
            await first[0].read(10_000)
        for one in others:
            one.close()
        await connections(service, 1)
        assert (await talk(port, ask, PATIENCE)).statuses == (200,)
        first[1].close()
        service.process.terminate()
        _, log = service.ended()
    assert log.count("connections.full") == 1
    assert "Traceback" not in log


def test_files_are_left_for_store_and_banks(tmp_path: Path) -> None:
    """The limit of open files is raised for the connections that are set; where it cannot be, there are fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 250), hard))
    try:
        with started(tmp_path, connections=300) as service:
            assert resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE) == (300 + BESIDE, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    code = "from service.web.server import connection_limits; print(connection_limits._allowed(40))"
    asked = f"ulimit -n {BESIDE + 30}; exec {sys.executable} -c '{code}'"
    told = subprocess.run(["sh", "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.splitlines()[-1] == "30"
    assert "connections.few_files" in told.stdout + told.stderr
