"""`make bench`: print one table per run. Targets are reported, not enforced: the machine may be busy or slow."""

import argparse
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shutil import which
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.benchmarks import backfilling, decade, histories, latency, refresh, rows, status, streams
from tests.benchmarks.bank import CURRENCIES
from tests.benchmarks.load import CONNECTIONS, MeasureError, wrk_version
from tests.benchmarks.processes import Cores, Service, available_cores, processor
from tests.benchmarks.requests import speed
from tests.benchmarks.rows import Effort, Row
from tests.benchmarks.steady import RATE
from tests.support.wire import FORMS

QUICK = Effort(
    requests=10_000,
    rounds=3,
    seconds=1,
    starts=3,
    memory_runs=1,
    backfills=1,
    refreshes=1,
    announcements=50,
    streams=(5_000,),
    stream_rounds=1,
    publications=20,
)
GROUPS = (
    "requests",
    "histories",
    "status",
    "refreshes",
    "backfills",
    "starts",
    "memory",
    "announcements",
    "streams",
    "latency",
    "polling",
)
_DIGITS = {"requests/s": ",.0f", "requests": ",.0f", "s": ".2f", "ms": ".1f", "MB": ".1f", "KB": ".1f", "%": ".1f"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a smoke test, not a result")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="measure only these groups")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/performance.md has it")
    options = parser.parse_args()
    effort = QUICK if options.quick else Effort()
    if which("wrk") is None:
        print("wrk is missing; get it: apt-get install wrk", file=sys.stderr)  # noqa: T201
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are stopped
    cores = available_cores()
    try:
        with TemporaryDirectory(prefix="bench-") as folder:
            measured, notes = _measured(Path(folder), cores, effort, options.only)
    except (MeasureError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    # Without a terminal, do not cut the table to 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
    if options.markdown:
        print(_markdown(measured))  # noqa: T201
    else:
        console.print(_table(measured))
    console.print(_machine(cores, effort), soft_wrap=True)
    for note in notes:
        console.print(note, soft_wrap=True)
    return 0


def _measured(folder: Path, cores: Cores, effort: Effort, only: Collection[str]) -> tuple[list[Row], list[str]]:
    service = Service(folder)
    notes: list[str] = []

    def memory() -> Iterable[Row]:
        used, missing = rows.memory(service, cores, effort)
        if missing:
            notes.append(f"Routes that do not exist, so that memory does not include them: {', '.join(missing)}")
        return used

    def open_streams() -> Iterable[Row]:
        for count in effort.streams:
            if streams.possible(count):
                yield from streams.streams(count, folder / "streams", cores, effort)
            else:
                notes.append(f"Not measured, because the limit of open files is too low: {count:,} streams")

    def requests() -> Iterable[Row]:
        measured, missing = speed(service, folder, cores, effort)
        notes.extend(missing)
        return measured

    groups: dict[str, Callable[[], Iterable[Row]]] = {
        "requests": requests,
        "histories": lambda: histories.history(decade.service_with_decade(folder / "decade"), folder, cores, effort),
        "status": lambda: status.status(folder / "status", cores, effort),
        "refreshes": lambda: refresh.refresh(folder / "refreshes", effort),
        "backfills": lambda: backfilling.backfill(folder / "backfills", effort),
        "starts": lambda: [rows.start(decade.service_with_decade(folder / "starts"), effort)],
        "memory": memory,
        "announcements": lambda: [streams.announcements(folder / "announcements", effort)],
        "streams": open_streams,
        "latency": lambda: latency.latency(folder / "latency", effort),
        "polling": latency.polling,
    }
    measured: list[Row] = []
    with Console(stderr=True).status("filling the store") as progress:
        with service.running():
            pass  # the first start loads the sample data and compiles bytecode
        for name, rows_of in groups.items():
            if name in only:
                progress.update(name)
                for row in rows_of():
                    measured.append(row)
                    progress.update(f"{name}, after {row.name}")
    return measured, notes


_COLUMNS = ("What", "Measured", "Baseline", "", "x baseline", "Target", "Met")


def _table(measured: list[Row]) -> Table:
    table = Table(title="median (min..max)", title_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("What", "", "Target", "Met") else "right")
    for row in measured:
        table.add_row(*_cells(row))
    return table


def _markdown(measured: list[Row]) -> str:
    lines = (_COLUMNS, ["---"] * len(_COLUMNS), *map(_cells, measured))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Row) -> tuple[str, ...]:
    digits = _DIGITS[row.unit]
    return (
        f"{row.name}, {row.unit}",
        _spread(row.own, digits),
        _spread(row.base, digits),
        row.baseline,
        _spread(row.ratios, ".2f") if row.ratios else "-",
        _target(row),
        {True: "yes", False: "no", None: ""}[row.met],
    )


def _spread(values: list[float], digits: str) -> str:
    return f"{median(values):{digits}} ({min(values):{digits}}..{max(values):{digits}})"


def _target(row: Row) -> str:
    if row.least_ratio is not None:
        return f"≥ {row.least_ratio} x"
    if row.most_ratio is not None:
        return f"≤ {row.most_ratio:g} x"
    return "" if row.most is None else f"≤ {row.most:g} {row.unit}"


def _machine(cores: Cores, effort: Effort) -> str:
    """Return the conditions of the run."""
    pinned = "nothing pinned" if cores.load is None else f"server on core {cores.server}, load on core {cores.load}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "pydantic", "redis"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {processor()}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}, {libraries}, {wrk_version()}\n"
        f"{CONNECTIONS} connections, {effort.rounds} rounds of {effort.seconds:g} s, each paired with its baseline; "
        f"{pinned}; HEAD and its baseline by a client in Python, the others by wrk; {effort.starts} starts; "
        f"histories of {CURRENCIES} currencies a day; {effort.refreshes} rounds of refreshes of {len(FORMS)} banks, "
        f"pauses in CPU time of the process; {effort.backfills} backfills into empty stores, during {RATE} requests a "
        f"second; {streams.INSTANCES} instances; nothing pinned in these three; streams during as many "
        f"requests, {effort.stream_rounds} rounds, their memory that of the Python process; "
        f"memory of the Python process alone, in {effort.memory_runs} runs"
    )


if __name__ == "__main__":
    sys.exit(main())
