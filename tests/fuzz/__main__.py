"""Fuzz every parser, two at a time: `python -m tests.fuzz --inputs 1200000 --seconds 600 [--only nbk,cbr]`.

What fails is kept under `.fuzz/`; `python -m tests.fuzz --replay nbk .fuzz/nbk-0123456789abcdef` reads it again.
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
from tests.fuzz.independent import READ

FOLDER = ROOT / ".fuzz"
AT_ONCE = 2
COLUMNS = ("inputs", "accepted", "waits", "nothing", "refused", "ms", "MB", "peak MB", "edges")


def fuzz(key: str, inputs: int, seconds: float) -> tuple[str, bool]:
    """Run one parser's process to its end; return its line of the table, and whether all held."""
    told, log = FOLDER / f"{key}.json", FOLDER / f"{key}.log"
    told.unlink(missing_ok=True)
    arguments = [sys.executable, "-m", "tests.fuzz.one", key, str(inputs), str(seconds), str(FOLDER)]
    with log.open("wb") as output:
        ended = subprocess.run(arguments, cwd=ROOT, stdout=output, stderr=output, check=False).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    found = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
    edges = (re.findall(r"cov: (\d+)", text) or ["?"])[-1]
    counts = [found.get(name, 0) for name in COLUMNS[:5]]
    costs = [f"{found.get('slowest', 0) * 1000:.0f}", f"{found.get('grown', 0):.1f}", f"{found.get('most', 0):.0f}"]
    saved = re.findall(r"^kept: (\S+)", text, re.MULTILINE)
    result = "holds" if ended == 0 else f"FAILS ({log}): make fuzz ARGS='--replay {key} {' '.join(saved) or '?'}'"
    return f"{key:12}" + "".join(f"{one:>10}" for one in (*counts, *costs, edges)) + f"  {result}", ended == 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2_000_000, help="in all, shared equally by the parsers")
    parser.add_argument("--seconds", type=float, default=600, help="in all, at most")
    parser.add_argument("--only", default=",".join(key for key in SOURCES if key in READ), help="parsers, with commas")
    parser.add_argument("--replay", nargs=2, metavar=("PARSER", "FILE"), help="read one document as a fuzzed one is")
    options = parser.parse_args()
    if options.replay:
        key, name = options.replay
        print(*oracle.check(key, Path(name).read_bytes()))
        return
    if find_spec("atheris") is None:
        sys.exit("atheris has no build for this Python and system: see the group `dev` in pyproject.toml")
    keys = options.only.split(",")
    FOLDER.mkdir(exist_ok=True)
    for key in keys:  # what failed before is kept apart
        for found in FOLDER.glob(f"{key}-*"):
            found.rename(found.with_name(f"earlier-{found.name}"))
    print(f"{'parser':12}" + "".join(f"{one:>10}" for one in COLUMNS) + "  result", flush=True)
    begun, held, total = time.monotonic(), True, 0
    each = -(-options.inputs // len(keys)), options.seconds * AT_ONCE / max(len(keys), AT_ONCE)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line, whole in pool.map(lambda key: fuzz(key, *each), keys):
            print(line, flush=True)
            held, total = held and whole, total + int(line.split()[1])
    whole = total >= options.inputs
    told = f"{total} inputs in {time.monotonic() - begun:.0f} s{'' if whole else f', NOT {options.inputs}'}"
    print(f"{told}; {'all hold' if held else 'NOT all hold'}")
    sys.exit(not (held and whole))


if __name__ == "__main__":
    main()
