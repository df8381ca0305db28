"""`make soak MINUTES=30`: two instances on one store, under load, while banks publish every few seconds.

Prints how memory, open files and the 99th percentile of a reader's wait have moved: the slope of a straight line
through what was measured after a warm-up, with its error. Exit status 1 where something surely grows, or was answered
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
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    length = Length.of(parser.parse_args().minutes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    with TemporaryDirectory(prefix="soak-") as folder:
        measured, load = asyncio.run(soak(Path(folder), length))
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    table = Table(title=f"after a warm-up of {length.warm:.0f} s, {len(measured.at)} measurements in all")
    for column in ("what", "min/median/max", "slope an hour", "an hour, 95 %", "verdict"):
        table.add_column(column, justify="left" if column in ("what", "verdict") else "right")
    growing = []
    for row, grows in measured.rows(length.warm / 3600):
        table.add_row(*row)
        growing += [row[0]] * grows
    console.print(table)
    console.print(told(length, load), soft_wrap=True)
    for fault in load.faults[:20]:
        console.print(f"FAULT {fault}", soft_wrap=True)
    for name in growing:
        console.print(f"GROWS {name}", soft_wrap=True)
    return 1 if growing or load.faults else 0


def told(length: Length, load: Load) -> str:
    """Return what a reader needs to compare the figures with others."""
    answers = ", ".join(f"{number:,} {what}" for what, number in sorted(load.answers.items()))
    busy = "/".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {processor()}, {os.cpu_count()} cores, load {busy}; "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}\n"
        f"{length.seconds / 60:g} minutes, a publication every {PUBLISHED:g} s, {load.streams} streams at a time, "
        f"{2 * RATE} measured requests a second beside the load. Answered: {answers}\n"
        "flat: all of the 95 % interval of the slope is below an hour's "
        + ", ".join(f"{bound:g} {unit}" for unit, bound in BOUNDS.items())
    )


if __name__ == "__main__":
    sys.exit(main())
