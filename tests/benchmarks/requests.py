"""Throughput of single routes, compared with a minimal aiohttp application, with nginx, and with each other.

All are measured once per round, alternately forwards and backwards, so that other load on the machine affects both
sides of a ratio.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from getpass import getuser
from itertools import count, repeat
from pathlib import Path
from typing import Final

from tests.benchmarks.load import Load, MeasureError, fetch, repeated, request, wrk
from tests.benchmarks.processes import Cores, Service, mock_server, on_core
from tests.benchmarks.rows import Effort, Row
from tests.support.edge import NGINX, run_edge
from tests.support.ports import unused_port

_STATIC: Final = """\
user {user};
daemon off;
pid nginx.pid;
worker_processes 1;
error_log stderr alert;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=10;
    keepalive_requests 1000000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    types {{ application/json json; }}
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""
_HELLO, _HELLO_HEAD, _STATIC_FILE = "hello", "hello, same client", "nginx, same bytes as a file"
_NEW, _HELLO_NEW = "/v1/ticker, unique parameters", "hello, same client, unique parameters"
_TICKER, _SAME, _EDGE = "/v1/ticker", "/v1/ticker, 304", "/v1/ticker through the edge"


@dataclass(frozen=True)
class Subject:
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    status: int = 200
    repeats: bool = True
    """Whether the same request is repeated; otherwise each one has a unique parameter."""

    def check(self, port: int) -> None:
        """Raise `MeasureError` unless the response is the expected one: the speed of an error is meaningless."""
        status, tag, body = fetch(port, self.path, self.headers, self.method)
        compressed = body.startswith(b"\x1f\x8b")
        bodiless = self.method == "HEAD" or self.status == 304
        if (status, bool(body)) != (self.status, not bodiless) or compressed != ("Accept-Encoding" in self.headers):
            raise MeasureError(f"{self}: responded with {status} and {len(body)} bytes, ETag {tag}: {body[:200]!r}")

    def load(self, port: int, seconds: float) -> Load:
        if not self.repeats:
            return repeated(port, (request(f"{self.path}?new={number}", self.headers) for number in count()), seconds)
        if self.method != "GET":
            return repeated(port, repeat(request(self.path, self.headers, self.method)), seconds)
        return wrk(port, self.path, self.headers, seconds)


def speed(service: Service, folder: Path, cores: Cores, effort: Effort) -> tuple[list[Row], list[str]]:
    """Return the rows, and notes on what could not be measured."""
    rows = [
        (Row(_TICKER, _HELLO, "requests/s", least_ratio=1.6), _TICKER, _HELLO, _rate),
        (Row(f"{_TICKER}, p99 of 64 connections", _HELLO, "ms", most_ratio=0.7), _TICKER, _HELLO, _p99),
        (Row(_SAME, _TICKER, "requests/s", least_ratio=0.95), _SAME, _TICKER, _rate),
        (Row("/v1/ticker, gzip", _HELLO, "requests/s"), "/v1/ticker, gzip", _HELLO, _rate),
        (Row("/v1/ticker, HEAD", _HELLO, "requests/s"), "/v1/ticker, HEAD", _HELLO_HEAD, _rate),
        (Row("/v1/ticker.txt", _HELLO, "requests/s"), "/v1/ticker.txt", _HELLO, _rate),
        (Row("/v1/ticker.svg", _TICKER, "requests/s", least_ratio=0.9), "/v1/ticker.svg", _TICKER, _rate),
        (Row("/embed", _TICKER, "requests/s", least_ratio=0.9), "/embed", _TICKER, _rate),
        (Row(_NEW, _HELLO_NEW, "requests/s"), _NEW, _HELLO_NEW, _rate),
    ]
    with on_core(cores.server), ExitStack() as stack:
        hello, server = stack.enter_context(mock_server("hello", folder)), stack.enter_context(service.running())
        _, tag, body = fetch(server.port, _TICKER)
        loads = {
            _HELLO: (hello.port, Subject("/")),
            _TICKER: (server.port, Subject(_TICKER)),
            _SAME: (server.port, Subject(_TICKER, {"If-None-Match": tag}, status=304)),
            "/v1/ticker, gzip": (server.port, Subject(_TICKER, {"Accept-Encoding": "gzip"})),
            "/v1/ticker.txt": (server.port, Subject("/v1/ticker.txt")),
            "/v1/ticker.svg": (server.port, Subject("/v1/ticker.svg")),
            "/embed": (server.port, Subject("/embed")),
            _HELLO_HEAD: (hello.port, Subject("/", method="HEAD")),
            "/v1/ticker, HEAD": (server.port, Subject(_TICKER, method="HEAD")),
            _HELLO_NEW: (hello.port, Subject("/", repeats=False)),
            _NEW: (server.port, Subject(_TICKER, repeats=False)),
        }
        missing = []
        if NGINX:
            file = stack.enter_context(_static(folder / "static", body))
            edge = stack.enter_context(run_edge([server.port], rate="1000000r/s"))
            loads[_STATIC_FILE] = (file, Subject("/ticker.json"))
            loads[_EDGE] = (edge.port, Subject(_TICKER))
            rows += [
                (
                    Row(f"{_TICKER} compared with nginx", _STATIC_FILE, "requests/s", least_ratio=0.45),
                    _TICKER,
                    _STATIC_FILE,
                    _rate,
                ),
                (Row(_EDGE, _STATIC_FILE, "requests/s", least_ratio=0.65), _EDGE, _STATIC_FILE, _rate),
            ]
        else:
            missing.append("Not measured, since there is no nginx: what is served beside it and through it")
        with on_core(cores.load):
            for number in range(effort.rounds + 1):
                measured = {}
                for name, (port, subject) in list(loads.items())[:: -1 if number % 2 else 1]:
                    subject.check(port)
                    measured[name] = subject.load(port, effort.seconds)
                    subject.check(port)
                if number:  # the first round is a warm-up
                    for row, own, base, metric in rows:
                        row.pairs.append((metric(measured[base]), metric(measured[own])))
    return [row for row, *_ in rows], missing


_Metric = Callable[[Load], float]


def _rate(load: Load) -> float:
    return load.rate


def _p99(load: Load) -> float:
    return load.p99


@contextmanager
def _static(folder: Path, body: bytes) -> Iterator[int]:
    """Serve a file with nginx; yield its port."""
    port = unused_port()
    (folder / "root").mkdir(parents=True)
    (folder / "root" / "ticker.json").write_bytes(body)
    config = folder / "nginx.conf"
    config.write_text(_STATIC.format(user=getuser(), port=port, root=folder / "root"), encoding="utf-8")
    process = subprocess.Popen((str(NGINX), "-e", "stderr", "-p", str(folder), "-c", str(config)))
    try:
        for _ in range(500):
            with suppress(OSError):
                if fetch(port, "/ticker.json")[0] == 200:
                    break
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait(10)
