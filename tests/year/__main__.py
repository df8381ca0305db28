"""`make year`: simulate a year without an operator: 17 banks, seven tickers, two instances on one store.

Print what was shown and how much of it was false, the alerts that fired and those that needed nobody, requests, and
memory. Exit status 1 if a target is missed: no false status, no wrong rate, no alert that needs nobody, memory flat.
"""

import asyncio
import signal
import sys
from argparse import ArgumentParser
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic

import uvloop
from rich.console import Console
from rich.table import Table

from service.domain.snapshot import Status
from tests.support.promtool import PROMTOOL
from tests.year.truth import fail
from tests.year.year import HISTORY, Year, quiet, simulate

_DAY = 86400


def main() -> int:
    parser = ArgumentParser(prog="python -m tests.year", description=__doc__)
    parser.add_argument("--first", default="2026-07-01", help="first day (2026-07-01)")
    parser.add_argument("--days", type=int, default=365, help="number of days (365)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all that is random (1)")
    parser.add_argument("--minutes", type=float, default=600, help="stop after so many minutes (600)")
    options = parser.parse_args()
    first, started = date.fromisoformat(options.first), monotonic()
    last = first + timedelta(days=options.days - 1)
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)

    def progress(line: str) -> bool:
        print(f"{monotonic() - started:.0f} s, {line}", file=sys.stderr, flush=True)  # noqa: T201 - a report
        return not ended and monotonic() - started < 60 * float(options.minutes)

    ended = list[int]()
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))  # after the day, with what was measured
    quiet()
    with (
        TemporaryDirectory(prefix="year-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        year = runner.run(
            simulate(Path(folder), options.seed, first, last, fail=fail, progress=progress, history=HISTORY)
        )
    console.print(f"{first} to {year.last}, seed {options.seed}, {monotonic() - started:.0f} s")
    return show(year, console)


def show(year: Year, console: Console) -> int:
    """Print the tables and what misses a target; return the exit status."""
    statuses, fired = year.statuses, year.alerts.fired
    console.print(_of_tickers(year))
    console.print(_of_alerts(year))
    requests = ", ".join(f"{key} {bank.requests:,}" for key, bank in year.truth.banks.items())
    console.print(f"requests: {requests}", soft_wrap=True)
    console.print(_of_memory(year))
    if year.growth is None:
        console.print("memory was not compared: that takes twelve weeks")
    console.print(f"peak {year.peak:.1f} MB; store {year.store:.1f} MB")
    for note, count in year.health.most_common(25):
        console.print(f"health at midnight: {count} x {note}", soft_wrap=True, markup=False)
    needless = [firing for firing in fired if firing.incident is None]
    faults = [f"FALSE {line}" for line in statuses.examples]
    faults += [f"WRONG {line}" for line in statuses.wrong_rates]
    faults += [f"ALERT {firing} needed nobody" for firing in needless]
    faults += [] if year.is_flat else ["MEMORY grows"]
    faults += [] if PROMTOOL else ["ALERT rules were not evaluated: promtool is not installed"]
    for line in faults[:100]:
        console.print(line, soft_wrap=True, markup=False)
    return 1 if faults else 0


def _of_tickers(year: Year) -> Table:
    table = Table(title="days of both instances, and how many of them were false")
    for column in ("ticker", *(status for status in Status if status != "recorded"), "by decree"):
        table.add_column(column, justify="left" if column == "ticker" else "right")
    spent, false = year.statuses.spent, year.statuses.false
    for ticker in (ticker.id for ticker in year.truth.settings.tickers):
        days = [
            f"{spent[ticker, status] / _DAY:.2f} ({false[ticker, status] / _DAY:.2f})"
            for status in (Status.CURRENT, Status.LATE, Status.STALE)
        ]
        table.add_row(ticker, *days, f"{year.statuses.by_decree[ticker] / _DAY:.2f}")
    return table


def _of_memory(year: Year) -> Table:
    table = Table(title="memory: medians of weeks")
    for column in ("weeks", "objects", "in use, MB", "resident, MB"):
        table.add_column(column, justify="left" if column == "weeks" else "right")
    spans = [year.memory[first : first + 4] for first in range(0, len(year.memory), 4)]
    for weeks in spans:
        objects, in_use, resident = (
            f"{median(getattr(week, name) for week in weeks):,.{digits}f}"
            for name, digits in (("objects", 0), ("in_use", 1), ("resident", 1))
        )
        table.add_row(f"to {weeks[-1].at:%F}", objects, in_use, resident)
    if year.growth:
        table.add_row("growth", *(f"{100 * growth:+.1f} %" for growth in year.growth), "")
    return table


def _of_alerts(year: Year) -> Table:
    table = Table(title="alerts")
    for column in ("rule", "fired", "needed nobody", "because of"):
        table.add_column(column, justify="right" if column in ("fired", "needed nobody") else "left")
    fired, needless = Counter[str](), Counter[str]()
    reasons = dict[str, Counter[str]]()
    for firing in year.alerts.fired:
        fired[firing.alert] += 1
        needless[firing.alert] += firing.incident is None
        if firing.incident:
            reasons.setdefault(firing.alert, Counter())[firing.incident.kind] += 1
    for alert, count in sorted(fired.items()):
        because = ", ".join(f"{number} x {kind}" for kind, number in reasons.get(alert, Counter()).items())
        table.add_row(alert, str(count), str(needless[alert]), because)
    return table


if __name__ == "__main__":
    sys.exit(main())
