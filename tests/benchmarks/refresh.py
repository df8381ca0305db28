"""A refresh of all banks in a running service: its CPU time, and the longest pause of the event loop."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.benchmarks.load import MeasureError
from tests.benchmarks.processes import ROOT, mock_server
from tests.benchmarks.rows import Effort, Row

_ROUND_TIMEOUT: Final = 120.0
"""Maximum seconds of all refreshes of a round."""


def refresh(folder: Path, effort: Effort) -> list[Row]:
    """Measure each kind of refresh compared with fetching and parsing alone; not pinned, as in production."""
    folder.mkdir()
    rows: dict[str, Row] = {}
    for number in range(effort.refreshes):
        with mock_server("banks", folder) as banks:
            command = (sys.executable, "-m", "tests.benchmarks.refreshing", str(folder / str(number)), str(banks.port))
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_ROUND_TIMEOUT
            )
        if done.returncode:
            raise MeasureError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        for result in map(json.loads, done.stdout.splitlines()):
            for metric, most in (("longest pause", 10), ("CPU", 200 if "of one bank" in result["name"] else None)):
                name = f"refresh{result['name']}, {metric}"
                row = Row(name, "responses alone", "ms", most=most, related=most is None)
                rows.setdefault(name, row).pairs.append(tuple(result[metric]))
    return list(rows.values())
