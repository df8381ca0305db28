"""One parser under a fuzzer that is led by coverage: a process of its own, since libFuzzer ends the one it runs in."""

import json
import sys
import time
from collections import Counter
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["service.sources.banks", "_strptime", "csv"]):
    from service.sources.banks import SOURCES  # noqa: F401 - imported first, so that it is instrumented

from tests.fuzz import oracle
from tests.fuzz.mutations import BY_NAME, mutated

LONGEST = 16_384
NAMES = sorted(BY_NAME)


class Run:
    """What was tried so far."""

    def __init__(self, key: str, inputs: int, seconds: float, told: Path) -> None:
        self.key, self.inputs, self.told = key, inputs, told
        self.end = time.monotonic() + seconds
        self.outcomes = Counter[str]()
        self.slowest = self.grown = 0.0

    def __call__(self, body: bytes) -> None:
        try:
            outcome, cost = oracle.check(self.key, body)
        except BaseException:
            kept = self.told.with_name(f"{self.key}-{sha256(body).hexdigest()[:16]}")
            kept.write_bytes(body)
            print(f"kept: {kept}", file=sys.stderr, flush=True)
            raise
        self.outcomes[outcome] += 1
        self.slowest, self.grown = max(self.slowest, cost.seconds), max(self.grown, cost.grown)
        total = self.outcomes.total()
        # libFuzzer leaves without a word to Python, so all is told before it does.
        if total >= self.inputs or (total % 500 == 0 and (time.monotonic() > self.end or total % 5000 == 0)):
            figures = {"slowest": self.slowest, "grown": self.grown, "most": oracle.most(), "inputs": total}
            self.told.write_text(json.dumps(figures | self.outcomes), encoding="utf-8")


def otherwise(key: str, body: bytes, longest: int, seed: int) -> bytes:
    """Change bytes as libFuzzer would, or a document as one: what was found to reach new code, or a whole one.

    Without the whole ones nearly all would be refused for what was broken in them long ago.
    """
    chance = Random(seed)
    way = chance.random()
    if way < 0.2:
        return bytes(atheris.Mutate(body, longest))
    if way < 0.8:
        body = chance.choice(oracle.seeds(key))
    return mutated(body, [chance.choice(NAMES) for _ in range(chance.randint(1, 3))], chance)[:longest]


def main() -> None:
    key, inputs, seconds, folder = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    corpus = folder / "corpus" / key
    corpus.mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(oracle.seeds(key)):
        (corpus / f"seed-{number}").write_bytes(body)
    oracle.before(key)  # what does not belong to the first input
    options = (
        f"-runs={inputs}", f"-max_total_time={seconds:.0f}", f"-max_len={LONGEST}", "-rss_limit_mb=1024", "-timeout=10",
        f"-artifact_prefix={folder}/libfuzzer-{key}-", "-print_final_stats=1", "-use_value_profile=1",
    )  # fmt: skip
    run = Run(key, inputs, seconds, folder / f"{key}.json")
    atheris.Setup([sys.argv[0], *options, str(corpus)], run, custom_mutator=partial(otherwise, key))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
