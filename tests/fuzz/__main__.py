"""Fuzz every parser, two at a time: `python -m tests.fuzz --inputs 1200000 --seconds 600 [--only nbk,cbr]`.

Failing documents are kept under `.fuzz/`; parse one again with
`python -m tests.fuzz --replay nbk .fuzz/nbk-0123456789abcdef`.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from service.settings.loader import ROOT
from service.sources.banks import SOURCES
from tests.fuzz import oracle

FOLDER = ROOT / ".fuzz"
PROCESSES = 2
COLUMNS = ("inputs", "accepted", "waits", "nothing", "refused", "ms", "MB", "peak MB", "edges")


def fuzz(key: str, inputs: int, seconds: float) -> tuple[str, bool]:
    """Run the process of one parser to its end; return its line of the table, and whether it succeeded."""
    report, log = FOLDER / f"{key}.json", FOLDER / f"{key}.log"
    report.unlink(missing_ok=True)
    arguments = [sys.executable, "-m", "tests.fuzz.one", key, str(inputs), str(seconds), str(FOLDER)]
    with log.open("wb") as output:
        exit_status = subprocess.run(arguments, cwd=ROOT, stdout=output, stderr=output, check=False).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    counters = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    covered = (re.findall(r"cov: (\d+)", text) or ["?"])[-1]
    counts = [counters.get(name, 0) for name in COLUMNS[:5]]
    costs = [
        f"{counters.get('slowest', 0) * 1000:.0f}",
        f"{counters.get('grown', 0):.1f}",
        f"{counters.get('most', 0):.0f}",
    ]
    saved = re.findall(r"^kept: (\S+)", text, re.MULTILINE)
    result = "holds" if exit_status == 0 else f"FAILS ({log}): make fuzz ARGS='--replay {key} {' '.join(saved) or '?'}'"
    return f"{key:12}" + "".join(f"{cell:>10}" for cell in (*counts, *costs, covered)) + f"  {result}", exit_status == 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2_000_000, help="total, shared equally by the parsers")
    parser.add_argument("--seconds", type=float, default=600, help="maximum total time")
    parser.add_argument("--only", default=",".join(SOURCES), help="comma-separated parsers")
    parser.add_argument(
        "--replay", nargs=2, metavar=("PARSER", "FILE"), help="parse one document with the checks of the fuzzer"
    )
    options = parser.parse_args()
    if options.replay:
        key, name = options.replay
        print(*oracle.check(key, Path(name).read_bytes()))
        return
    if find_spec("atheris") is None:
        sys.exit("atheris has no build for this Python and system: see the group `dev` in pyproject.toml")
    keys = options.only.split(",")
    FOLDER.mkdir(exist_ok=True)
    for key in keys:  # keep failures of earlier runs under another name
        for failure in FOLDER.glob(f"{key}-*"):
            failure.rename(failure.with_name(f"earlier-{failure.name}"))
    print(f"{'parser':12}" + "".join(f"{name:>10}" for name in COLUMNS) + "  result", flush=True)
    started, succeeded, total = time.monotonic(), True, 0
    each = -(-options.inputs // len(keys)), options.seconds * PROCESSES / max(len(keys), PROCESSES)
    with ThreadPoolExecutor(PROCESSES) as pool:
        for line, passed in pool.map(lambda key: fuzz(key, *each), keys):
            print(line, flush=True)
            succeeded, total = succeeded and passed, total + int(line.split()[1])
    passed = total >= options.inputs
    summary = f"{total} inputs in {time.monotonic() - started:.0f} s{'' if passed else f', NOT {options.inputs}'}"
    print(f"{summary}; {'all hold' if succeeded else 'NOT all hold'}")
    sys.exit(not (succeeded and passed))


if __name__ == "__main__":
    main()
