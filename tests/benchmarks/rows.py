"""Measurements, each with a baseline in the same rounds: other load on the machine affects both."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise, permutations
from statistics import median
from typing import Final

import msgspec
from babel.localedata import locale_identifiers

from tests.benchmarks.load import MeasureError, fetch, request, send
from tests.benchmarks.processes import Cores, Server, Service, on_core, resident_after, seconds_to_run

LANGUAGES: Final = tuple(sorted(locale_identifiers()))
START_BASELINE: Final = "import aiohttp.web, redis.asyncio, pydantic"
MEMORY_BASELINE: Final = (
    "import aiohttp.web, redis.asyncio, pydantic, apscheduler.schedulers.asyncio, structlog, stamina, lxml.etree, "
    "msgspec, jinja2, babel.numbers, uvloop, typer"
)
ROUTES: Final = (
    *("/", "/embed", "/embed.js", "/v1/ticker", "/v1/ticker/kzt", "/v1/ticker/kzt.txt"),
    *(f"/v1/ticker.{form}" for form in ("json", "txt", "svg", "html")),
    *(f"/embed?lang={lang}&layout=list" for lang in ("kk", "ru", "en", "de", "fr", "uz", "zh", "ar")),
    *("/v1/ticker?currencies=usd,eur", "/v1/ticker?lang=kk", "/v1/history/usd", "/v1/sources", "/v1/stream"),
    *(
        "/oembed?url=http://127.0.0.1:{port}/embed",
        "/livez",
        "/readyz",
        "/health",
        "/status",
        "/metrics",
        "/openapi.json",
        "/docs",
    ),
)


@dataclass(frozen=True)
class Effort:
    rounds: int = 5
    seconds: float = 2
    starts: int = 7
    memory_runs: int = 3
    backfills: int = 5
    refreshes: int = 5
    requests: int = 50_000
    announcements: int = 200
    streams: tuple[int, ...] = (5_000, 10_000)
    stream_rounds: int = 3
    publications: int = 200


@dataclass
class Row:
    """Pairs of a baseline and a measurement of the same round."""

    name: str
    baseline: str
    unit: str
    least_ratio: float | None = None
    most: float | None = None
    most_ratio: float | None = None
    related: bool = True
    """Whether the ratio is meaningful; it is not if the baseline is close to 0."""
    pairs: list[tuple[float, float]] = field(default_factory=list)

    @property
    def base(self) -> list[float]:
        return [base for base, _ in self.pairs]

    @property
    def own(self) -> list[float]:
        return [own for _, own in self.pairs]

    @property
    def ratios(self) -> list[float]:
        return [own / base for base, own in self.pairs] if self.related else []

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.least_ratio is not None:
            return median(self.ratios) >= self.least_ratio
        if self.most_ratio is not None:
            return median(self.ratios) <= self.most_ratio
        return None if self.most is None else median(self.own) <= self.most


def start(service: Service, effort: Effort) -> Row:
    """Measure restarts: with a filled store and cached bytecode, on all cores."""
    row = Row("start, spawn to /readyz 200", "import of three libraries", "s", most=0.8)
    seconds_to_run(START_BASELINE)
    for _ in range(effort.starts):
        base = seconds_to_run(START_BASELINE)
        with service.running() as server:
            row.pairs.append((base, server.started_in))
    return row


def memory(service: Service, cores: Cores, effort: Effort) -> tuple[list[Row], list[str]]:
    """Return the rows, and the documented routes that do not exist."""
    count = f"{effort.requests:,}"
    used = Row(f"memory, all routes and {count} requests", "libraries imported", "MB", most=95)
    growth, later_growth = (
        Row(f"memory, growth after {which} unique requests", f"{count} repeated requests", "MB", related=False)
        for which in (count, f"{count} more")
    )
    hits = Row(f"{2 * effort.requests:,} requests with unique options, cache hits", "100 %", "%", related=False)
    missing: list[str] = []
    for _ in range(effort.memory_runs):
        bare = resident_after(MEMORY_BASELINE)
        with service.running() as server, on_core(cores.load):
            missing = _visit(server.port)
            levels = [_level(server, (request("/v1/ticker") for _ in range(effort.requests)))[0] for _ in range(2)]
            before, pages = _rendered(server.port), 0
            for half in range(2):
                level, served = _level(server, junk(half * effort.requests, effort.requests))
                levels.append(level)
                pages += served
            rendered = _rendered(server.port) - before
        repeated_growth, first_growth, second_growth = (after - before for before, after in pairwise(levels))
        used.pairs.append((bare, levels[0]))
        growth.pairs.append((repeated_growth, first_growth))
        later_growth.pairs.append((repeated_growth, second_growth))
        hits.pairs.append((100, 100 - 100 * rendered / pages))
    return [used, growth, later_growth, hits], missing


def _level(server: Server, requests: Iterator[bytes]) -> tuple[float, int]:
    """Send the requests; return the resident memory after them, in MB, and the number of 200 and 304 responses."""
    statuses = send(server.port, requests)
    if max(statuses) >= 500:
        raise MeasureError(f"the service responded with {dict(statuses)}")
    return server.resident, statuses[200] + statuses[304]


def _rendered(port: int) -> float:
    """Return the number of pages rendered since the start."""
    (line,) = re.findall(rb"^ticker_pages_rendered_total (\S+)$", fetch(port, "/metrics")[2], re.MULTILINE)
    return float(line)


def _visit(port: int) -> list[str]:
    """Request every documented route and linked file once; return those with status 404."""
    quote = msgspec.json.decode(fetch(port, "/v1/ticker")[2])["quotes"][0]
    files = sorted(
        set(re.findall(r"/static/[\w.-]+", fetch(port, "/")[2].decode() + fetch(port, "/embed")[2].decode()))
    )
    statuses = {
        path: fetch(port, path.format(port=port))[0]
        for path in (*ROUTES, f"/v1/fixings/{quote['source']}/{quote['date']}", *files)
    }
    if wrong := {path: status for path, status in statuses.items() if status not in (200, 404)}:
        raise MeasureError(f"the service responded with {wrong}")
    return [path for path, status in statuses.items() if status == 404]


def junk(first: int, count: int) -> Iterator[bytes]:
    """Yield requests that must not fill caches: all orders of currencies, all languages, and unique values."""
    codes = ("usd", "eur", "rub", "gbp", "cny")
    orders = [",".join(order) for order in chain.from_iterable(permutations(codes, size) for size in range(1, 6))]
    for number in range(first, first + count):
        order, mark = orders[number % len(orders)], f"junk{number}"
        yield (
            request(f"/v1/ticker?currencies={order}&utm_source={mark}"),
            request(f"/v1/ticker.txt?{mark}={mark}&currencies={order}"),
            request(
                f"/embed?currencies={order}", {"Accept-Encoding": f"gzip;q=0.{number}", "If-None-Match": f'"{mark}"'}
            ),
            request(f"/v1/ticker?currencies={mark}", {"Cookie": f"{mark}={mark}", f"X-{mark}": mark}),
            request(f"/v1/ticker/{mark}?currencies={order}"),
            request(f"/embed?lang={LANGUAGES[number % len(LANGUAGES)]}&layout=list&currencies={order}"),
            request(f"/v1/ticker.html?currencies={order},{order}&lang={mark}", {"Accept-Language": mark}),
        )[number % 7]
