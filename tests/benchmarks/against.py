"""Compare this checkout with another one: `make against OTHER=../before`.

Both services run at once, with the Python and the libraries of this checkout, and get the same requests alternately.
What is compared is the CPU time of the processes, which other load on the machine changes little, and always by pairs
of neighbouring bursts. The interval of a ratio is that of its median, at 95 % (by order statistics). Linux only.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import repeat
from math import sqrt
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.benchmarks.load import fetch, request, send
from tests.benchmarks.processes import ROOT, Server, Service, available_cores, on_core

PATHS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/v1/ticker", {}),
    ("/v1/ticker, 304", {}),
    ("/v1/ticker", {"Accept-Encoding": "gzip"}),
    ("/v1/ticker.txt", {}),
    ("/v1/ticker.svg", {}),
    ("/embed", {}),
    ("/v1/ticker?currencies=eur,usd", {}),
)
BURST = 1_000
"""Requests of one burst: about a tenth of a second, so that both of a pair meet the same machine."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.against", description=__doc__)
    parser.add_argument("other", type=Path, help="folder of another checkout")
    parser.add_argument("this", type=Path, nargs="?", default=ROOT, help="folder that is compared, instead of this one")
    parser.add_argument("--rounds", type=int, default=200, help="pairs of bursts for each path")
    parser.add_argument("--starts", type=int, default=15, help="pairs of starts")
    options = parser.parse_args()
    folders = (options.other.resolve(), options.this.resolve())
    for folder in folders:
        if not (folder / "service").is_dir():
            parser.error(f"{folder} is no checkout of this project: it has no folder 'service'")
    cores = available_cores()
    with TemporaryDirectory(prefix="against-") as data, ExitStack() as stack:
        services = [
            Service(Path(data) / name, root=folder) for name, folder in zip(("other", "this"), folders, strict=True)
        ]
        with on_core(cores.server):
            _report("CPU time of a start, s", "s", _pairs(options.starts, [_start_of(service) for service in services]))
            servers = [stack.enter_context(service.running()) for service in services]
        with on_core(cores.load):
            for path, headers in PATHS:
                bursts = [_burst(server, path, headers) for server in servers]
                name = f"{path}{', gzip' if headers else ''}"
                _report(f"{name}, CPU time of a request", "us", _pairs(options.rounds, bursts))
        _report("memory after these requests", "MB", [(servers[0].resident, servers[1].resident)])
    return 0


def _start_of(service: Service) -> Callable[[], float]:
    def measure() -> float:
        """Return the CPU seconds from the start to the first response."""
        with service.running() as server:
            return _cpu_seconds(server)

    return measure


def _burst(server: Server, path: str, headers: dict[str, str]) -> Callable[[], float]:
    """Return a function that sends one burst, and returns microseconds of CPU time for each request."""
    path, is_304 = path.removesuffix(", 304"), path.endswith(", 304")

    def measure() -> float:
        own_headers = headers | ({"If-None-Match": fetch(server.port, path)[1]} if is_304 else {})
        before = _cpu_seconds(server)
        statuses = send(server.port, repeat(request(path, own_headers), BURST))
        assert statuses == {304 if is_304 else 200: BURST}, statuses
        return (_cpu_seconds(server) - before) / BURST * 1e6

    return measure


def _cpu_seconds(server: Server) -> float:
    """Return the CPU time of all threads; in nanoseconds, unlike that of `psutil`, which counts in hundredths."""
    threads = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def _pairs(rounds: int, measures: list[Callable[[], float]]) -> Iterator[tuple[float, float]]:
    """Yield what both sides measured, in turns; the first pair is a warm-up."""
    first, second = measures
    for number in range(rounds + 1):
        if number % 2:
            pair = first(), second()
        else:
            later = second()
            pair = first(), later
        if number:
            yield pair


def _report(name: str, unit: str, pairs: Iterator[tuple[float, float]] | list[tuple[float, float]]) -> None:
    measured = list(pairs)
    ratios = sorted(own / other for other, own in measured)
    half_width = 0.98 * sqrt(len(ratios))
    low = ratios[max(0, int(len(ratios) / 2 - half_width))]
    high = ratios[min(len(ratios) - 1, int(len(ratios) / 2 + half_width))]
    other, own = (median(side) for side in zip(*measured, strict=True))
    print(  # noqa: T201
        f"{name}: {other:.2f} -> {own:.2f} {unit}, x {median(ratios):.3f} ({low:.3f}..{high:.3f}, {len(ratios)} pairs)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
