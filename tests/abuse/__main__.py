"""`make abuse`: print one table per run. Targets are reported, not enforced: a machine may be busy or slow."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

from tests.abuse.attacks import ATTACKS, Attack
from tests.abuse.honest import CLIENTS, RATE, p99
from tests.benchmarks.decade import service_with_decade
from tests.benchmarks.load import MeasureError
from tests.benchmarks.processes import ROOT, available_cores, on_core, processor
from tests.support.edge import NGINX, run_edge

SETTINGS: Final = {
    "TICKER_HTTP__CONNECTIONS": "2000",
    "TICKER_HTTP__IDLE_TIMEOUT": "2",
    "TICKER_HTTP__SEND_TIMEOUT": "2",
    "TICKER_HTTP__PROXIES": "127.0.0.1",  # the edge, and not the attacker
}
"""Shorter timeouts and fewer connections than deployed, so that a run of minutes shows their effect."""
IDLE: Final = 1.5
DURING: Final = 1.5
"""Seconds for which honest clients send requests before an attack (`IDLE`), and beyond its start (`BESIDE`)."""
MAX_RATIO: Final = 3.0
"""Largest ratio of their p99 during an attack to that before it."""
MAX_GROWTH: Final = 50.0
"""Largest growth of the service's memory, in MB."""
EXPECTED: Final = {"501", "505"}
"""Statuses that RFC 9112 requires for an unknown coding or version; the edge returns them."""
_CLOSED_WITHIN: Final = 6.0
"""Seconds within which all files of an attack have to be closed."""


@dataclass
class Row:
    """Result of one attack; memory in MB, times in ms."""

    attack: Attack
    target: str
    seen: Counter[str] = field(default_factory=Counter)
    idle: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    memory: list[tuple[float, float, float]] = field(default_factory=list)
    """Before the attack, at the peak, after it."""
    files: list[tuple[int, int]] = field(default_factory=list)
    """Open files before and after the attack."""

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each round to its own idle p99."""
        return [during / idle for idle, during in zip(self.idle, self.during, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def faults(self) -> int:
        return sum(times for result, times in self.seen.items() if result.startswith("5") and result not in EXPECTED)

    @property
    def met(self) -> bool:
        grown = max(peak - before for before, peak, _ in self.memory)
        freed = all(after <= before + 2 for before, after in self.files)
        return self.ratio <= MAX_RATIO and grown <= MAX_GROWTH and freed and not self.faults


@contextmanager
def _running(attack: Attack, port: int, seen: Counter[str]) -> Iterator[None]:
    """Run an attack in its own process; add its results to `seen` at the end."""
    command = (sys.executable, "-m", "tests.abuse.attacks", attack.name, str(port))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield
        try:
            output, _ = process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise MeasureError(f"{attack.name}: the attack does not end") from None
    if process.returncode:
        raise MeasureError(f"{attack.name}: the attack ended with status {process.returncode}")
    results = Counter[str](json.loads(output))
    if not results:
        raise MeasureError(f"{attack.name}: the attack had no result")
    seen.update(results)


def _for(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def _measure(row: Row, service: psutil.Process, port: int) -> None:
    """Run one round."""
    row.idle.append(p99(port, _for(IDLE)))
    files, before, peak = service.num_fds(), _resident(service), 0.0
    with ThreadPoolExecutor(1) as executor:
        with _running(row.attack, port, row.seen):
            duration = row.attack.most / row.attack.rate if row.attack.most else 0.0
            watching = executor.submit(_peak, service, done := _for(duration + DURING))
            row.during.append(p99(port, done))
            peak = watching.result()
            if row.attack.held:
                row.files.append((files, _wait_for_files(service, files)))
                time.sleep(0.3)  # until the attacker has noticed
        if not row.attack.held:
            row.files.append((files, _wait_for_files(service, files)))
    row.memory.append((before, peak, _resident(service)))


def _resident(service: psutil.Process) -> float:
    return float(service.memory_info().rss) / 1e6


def _peak(service: psutil.Process, done: Callable[[], bool]) -> float:
    peak = 0.0
    while not done():
        peak = max(peak, _resident(service))
        time.sleep(0.05)
    return peak


def _wait_for_files(service: psutil.Process, files: int) -> int:
    """Return the number of open files once it is no higher than before, or after a timeout."""
    done = _for(_CLOSED_WITHIN)
    while (now := int(service.num_fds())) > files and not done():
        time.sleep(0.05)
    return now


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds per attack (3)")
    parser.add_argument("--only", nargs="+", choices=[attack.name for attack in ATTACKS], help="run only these attacks")
    options = parser.parse_args()
    cores, rows = available_cores(), list[Row]()
    attacks = [attack for attack in ATTACKS if not options.only or attack.name in options.only]
    with TemporaryDirectory(prefix="abuse-") as folder, ExitStack() as stack, Console(stderr=True).status("") as status:
        with on_core(cores.server):
            service = service_with_decade(Path(folder), SETTINGS)  # histories cost what they cost in production
            server = stack.enter_context(service.running())
            places = {"service": server.port}
            if NGINX:
                places["edge"] = stack.enter_context(run_edge([server.port])).port
        process = psutil.Process(server.process.pid)
        try:
            with on_core(cores.load):
                rows += [Row(attack, target) for target in places for attack in attacks]
                for number in range(options.rounds):
                    for row in rows:
                        status.update(f"round {number + 1}: {row.attack.name}, {row.target}")
                        _measure(row, process, places[row.target])
        except MeasureError as error:
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
            return 1
        log = (Path(folder) / "service.log").read_text(encoding="utf-8")
    console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
    console.print(_table(rows))
    console.print(_machine(options.rounds, log), soft_wrap=True)
    if not NGINX:
        console.print("The edge was not attacked: nginx is not installed; set NGINX=/path", soft_wrap=True)
    return 0


def _table(rows: list[Row]) -> Table:
    table = Table(title="p99 and x: median of the rounds (..most)", title_justify="left")
    left = ("attack", "rate", "target", "result", "met")
    for name in (
        "attack",
        "rate",
        "target",
        "result",
        "MB before, peak, after",
        "files",
        "p99 idle",
        "during, ms",
        "x",
        "5xx",
        "met",
    ):
        table.add_column(name, justify="left" if name in left else "right")
    for row in rows:
        memory = [f"{median(values):.0f}" for values in zip(*row.memory, strict=True)]
        table.add_row(
            row.attack.name, row.attack.schedule, row.target,
            ", ".join(f"{result}: {times:,}" for result, times in row.seen.most_common()),
            " ".join(memory),
            " ".join(f"{max(values)}" for values in zip(*row.files, strict=True)),
            *(f"{median(took):.2f} (..{max(took):.1f})" for took in (row.idle, row.during)),
            f"{row.ratio:.1f} (..{max(row.ratios):.1f})", str(row.faults), "yes" if row.met else "NO",
        )  # fmt: skip
    return table


def _machine(rounds: int, log: str) -> str:
    """Return the conditions of the run, needed to compare its values with others."""
    cores, load = available_cores(), ", ".join(f"{value:.1f}" for value in os.getloadavg())
    pinned = "" if cores.load is None else f"; service and edge on core {cores.server}, the rest on core {cores.load}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop"))
    settings = ", ".join(f"{name[13:].lower()} {value}" for name, value in SETTINGS.items())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {processor()}, {os.cpu_count()} cores (load {load}), "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}, {libraries}{pinned}\n"
        f"{rounds} rounds: {IDLE:g} s of {CLIENTS} clients at {RATE} requests/s each, then until {DURING:g} s after "
        f"the last connection of the attack; the attack comes from another address; over loopback. http: {settings}\n"
        f"Files: before, and when the service has closed held connections (within {_CLOSED_WITHIN:g} s), "
        "or the attack has ended. "
        f"Met: p99 within {MAX_RATIO:g} x, less than {MAX_GROWTH:g} MB more, files closed again, no 5xx except "
        f"{' and '.join(sorted(EXPECTED))} of the edge\n"
        f"Tracebacks in the service's log: {log.count('Traceback')}"
    )


if __name__ == "__main__":
    sys.exit(main())
