"""`make abuse`: one table of one run. Targets are told, not enforced: a machine may be busy or slow."""

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
from tests.abuse.honest import RATE, READERS, p99
from tests.benchmarks.load import MeasureError
from tests.benchmarks.processes import ROOT, Service, available_cores, on_core, processor
from tests.support.edge import NGINX, edging

SETTINGS: Final = {
    "TICKER_HTTP__CONNECTIONS": "2000",
    "TICKER_HTTP__IDLE_TIMEOUT": "2",
    "TICKER_HTTP__SEND_TIMEOUT": "2",
    "TICKER_HTTP__PROXIES": "127.0.0.1",  # the edge, and not the attacker
}
"""Shorter times and fewer connections than as it is deployed, so that a run shows their effect and lasts minutes."""
IDLE: Final = 1.5
BESIDE: Final = 1.5
"""Seconds for which they ask before and during an attack."""
MOST: Final = 3.0
"""Times by which their p99 may be longer."""
GROWTH: Final = 50.0
"""MB by which the service may grow."""
MEANT: Final = {"501", "505"}
"""What RFC 9112 asks for where a coding or a version is unknown; the edge does."""
_FREED: Final = 6.0
"""Seconds within which every file has to be closed."""


@dataclass
class Row:
    """What came of one attack; memory in MB, times in ms."""

    attack: Attack
    where: str
    seen: Counter[str] = field(default_factory=Counter)
    idle: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    memory: list[tuple[float, float, float]] = field(default_factory=list)
    """Before, at its peak, after."""
    files: list[tuple[int, int]] = field(default_factory=list)
    """Before, after."""

    @property
    def ratios(self) -> list[float]:
        """Of each round, beside its own idle."""
        return [beside / idle for idle, beside in zip(self.idle, self.beside, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def faults(self) -> int:
        return sum(times for what, times in self.seen.items() if what.startswith("5") and what not in MEANT)

    @property
    def met(self) -> bool:
        grown = max(peak - before for before, peak, _ in self.memory)
        freed = all(after <= before + 2 for before, after in self.files)
        return self.ratio <= MOST and grown <= GROWTH and freed and not self.faults


@contextmanager
def _under(attack: Attack, port: int, seen: Counter[str]) -> Iterator[None]:
    """Attack; what was seen is counted at the end."""
    command = (sys.executable, "-m", "tests.abuse.attacks", attack.name, str(port))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield
        try:
            told, _ = process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise MeasureError(f"{attack.name}: the attack does not end") from None
    if process.returncode:
        raise MeasureError(f"{attack.name}: the attack ended with status {process.returncode}")
    heard = Counter[str](json.loads(told))
    if not heard:
        raise MeasureError(f"{attack.name}: nothing came of the attack")
    seen.update(heard)


def _for(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def _measure(row: Row, service: psutil.Process, port: int) -> None:
    """Do one round."""
    row.idle.append(p99(port, _for(IDLE)))
    files, before, peak = service.num_fds(), _resident(service), 0.0
    with ThreadPoolExecutor(1) as other:
        with _under(row.attack, port, row.seen):
            whole = row.attack.most / row.attack.rate if row.attack.most else 0.0
            watching = other.submit(_peak, service, done := _for(whole + BESIDE))
            row.beside.append(p99(port, done))
            peak = watching.result()
            if row.attack.held:
                row.files.append((files, _freed(service, files)))
                time.sleep(0.3)  # until it has seen that
        if not row.attack.held:
            row.files.append((files, _freed(service, files)))
    row.memory.append((before, peak, _resident(service)))


def _resident(service: psutil.Process) -> float:
    return float(service.memory_info().rss) / 1e6


def _peak(service: psutil.Process, done: Callable[[], bool]) -> float:
    peak = 0.0
    while not done():
        peak = max(peak, _resident(service))
        time.sleep(0.05)
    return peak


def _freed(service: psutil.Process, files: int) -> int:
    """Return how many files are open, once there are no more than before, or after a while."""
    done = _for(_FREED)
    while (now := int(service.num_fds())) > files and not done():
        time.sleep(0.05)
    return now


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each attack is made (3)")
    parser.add_argument("--only", nargs="+", choices=[one.name for one in ATTACKS], help="make no more than these")
    asked = parser.parse_args()
    cores, rows = available_cores(), list[Row]()
    chosen = [one for one in ATTACKS if not asked.only or one.name in asked.only]
    with TemporaryDirectory(prefix="abuse-") as folder, ExitStack() as stack, Console(stderr=True).status("") as status:
        with on_core(cores.server):
            server = stack.enter_context(Service(Path(folder), environ=SETTINGS).running())
            places = {"service": server.port}
            if NGINX:
                places["edge"] = stack.enter_context(edging([server.port])).port
        process = psutil.Process(server.process.pid)
        try:
            with on_core(cores.load):
                rows += [Row(attack, where) for where in places for attack in chosen]
                for number in range(asked.rounds):
                    for row in rows:
                        status.update(f"round {number + 1}: {row.attack.name}, {row.where}")
                        _measure(row, process, places[row.where])
        except MeasureError as error:
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
            return 1
        log = (Path(folder) / "service.log").read_text(encoding="utf-8")
    console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
    console.print(_table(rows))
    console.print(_machine(asked.rounds, log), soft_wrap=True)
    if not NGINX:
        console.print("Nothing was done to the edge: no nginx is installed; name one by NGINX=/path", soft_wrap=True)
    return 0


def _table(rows: list[Row]) -> Table:
    table = Table(title="p99 and x: median of the rounds (..most)", title_justify="left")
    left = ("attack", "rate", "to", "it saw", "met")
    for name in (
        "attack",
        "rate",
        "to",
        "it saw",
        "MB before, peak, after",
        "files",
        "p99 idle",
        "beside, ms",
        "x",
        "5xx",
        "met",
    ):
        table.add_column(name, justify="left" if name in left else "right")
    for row in rows:
        memory = [f"{median(values):.0f}" for values in zip(*row.memory, strict=True)]
        table.add_row(
            row.attack.name, row.attack.told, row.where,
            ", ".join(f"{what}: {times:,}" for what, times in row.seen.most_common()),
            " ".join(memory),
            " ".join(f"{max(values)}" for values in zip(*row.files, strict=True)),
            *(f"{median(took):.2f} (..{max(took):.1f})" for took in (row.idle, row.beside)),
            f"{row.ratio:.1f} (..{max(row.ratios):.1f})", str(row.faults), "yes" if row.met else "NO",
        )  # fmt: skip
    return table


def _machine(rounds: int, log: str) -> str:
    """Return what a reader needs to compare the figures with others."""
    cores, load = available_cores(), ", ".join(f"{one:.1f}" for one in os.getloadavg())
    pinned = "" if cores.load is None else f"; service and edge on core {cores.server}, the rest on core {cores.load}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop"))
    settings = ", ".join(f"{name[13:].lower()} {value}" for name, value in SETTINGS.items())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {processor()}, {os.cpu_count()} cores (load {load}), "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}, {libraries}{pinned}\n"
        f"{rounds} rounds: {IDLE:g} s of {READERS} readers at {RATE} requests/s each, {BESIDE:g} s of them beside the "
        f"whole attack, and while it begins; it comes from another address; over loopback. http: {settings}\n"
        f"Files: before, and when the service has ended what is held (within {_FREED:g} s), or the attack has ended. "
        f"Met: p99 within {MOST:g} x, less than {GROWTH:g} MB more, files closed again, no 5xx but "
        f"{' and '.join(sorted(MEANT))}, which the edge means\n"
        f"Tracebacks in the service's log: {log.count('Traceback')}"
    )


if __name__ == "__main__":
    sys.exit(main())
