"""`make soak MINUTES=30`: measure two instances on one store under load, while banks publish every few seconds.

Print the trend of memory, open files and p99 latency: the slope of a straight line fitted to the measurements after a
warm-up, with its standard error. Exit status 1 if a value grows significantly, or if a response was wrong.
as it should not.
"""

import argparse
import asyncio
import os
import platform
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.benchmarks.processes import processor
from tests.soak.load import PUBLISHED, Load
from tests.soak.measure import BOUNDS, RATE, Length, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="duration in minutes (30)")
    length = Length.of(parser.parse_args().minutes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all child processes are stopped
    with TemporaryDirectory(prefix="soak-") as folder:
        measured, load = asyncio.run(soak(Path(folder), length))
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    table = Table(title=f"after a warm-up of {length.warm:.0f} s, {len(measured.at)} measurements in all")
    for column in ("value", "min/median/max", "slope per hour", "95 % interval", "verdict"):
        table.add_column(column, justify="left" if column in ("value", "verdict") else "right")
    growing = []
    for row, grows in measured.rows(length.warm / 3600):
        table.add_row(*row)
        growing += [row[0]] * grows
    console.print(table)
    console.print(conditions(length, load), soft_wrap=True)
    for fault in load.faults[:20]:
        console.print(f"FAULT {fault}", soft_wrap=True)
    for name in growing:
        console.print(f"GROWS {name}", soft_wrap=True)
    return 1 if growing or load.faults else 0


def conditions(length: Length, load: Load) -> str:
    """Return the conditions of the run, needed to compare its values with others."""
    results = ", ".join(f"{number:,} {result}" for result, number in sorted(load.results.items()))
    loads = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {processor()}, {os.cpu_count()} cores, load {loads}; "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}\n"
        f"{length.seconds / 60:g} minutes, a publication every {PUBLISHED:g} s, {load.streams} streams at a time, "
        f"{2 * RATE} measured requests a second besides the load. Results: {results}\n"
        "flat: the whole 95 % interval of the slope is below, per hour, "
        + ", ".join(f"{bound:g} {unit}" for unit, bound in BOUNDS.items())
    )


if __name__ == "__main__":
    sys.exit(main())
