"""A refresh of all banks in a running service: its CPU time, and the longest pause of the event loop."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.benchmarks.load import MeasureError
from tests.benchmarks.processes import ROOT, beside
from tests.benchmarks.rows import Effort, Row

_LONGEST: Final = 120.0
"""Seconds for all refreshes of a round."""


def refresh(folder: Path, effort: Effort) -> list[Row]:
    """Measure each kind beside fetching and parsing alone. Nothing is pinned to a core, as in production."""
    folder.mkdir()
    rows: dict[str, Row] = {}
    for number in range(effort.refreshes):
        with beside("banks", folder) as banks:
            command = (sys.executable, "-m", "tests.benchmarks.refreshing", str(folder / str(number)), str(banks.port))
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_LONGEST)
        if done.returncode:
            raise MeasureError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        for one in map(json.loads, done.stdout.splitlines()):
            for what, most in (("longest pause", 10), ("CPU", None)):
                name = f"refresh{one['name']}, {what}"
                row = Row(name, "responses alone", "ms", most=most, related=most is None)
                rows.setdefault(name, row).pairs.append(tuple(one[what]))
    return list(rows.values())
