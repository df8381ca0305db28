"""Coverage-guided fuzzing of one parser, in a process of its own, since libFuzzer ends its process."""

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
    """State of a run: outcomes and costs so far."""

    def __init__(self, key: str, inputs: int, seconds: float, report: Path) -> None:
        self.key, self.inputs, self.report = key, inputs, report
        self.end = time.monotonic() + seconds
        self.outcomes = Counter[str]()
        self.slowest = self.grown = 0.0

    def __call__(self, body: bytes) -> None:
        try:
            outcome, cost = oracle.check(self.key, body)
        except BaseException:
            failure = self.report.with_name(f"{self.key}-{sha256(body).hexdigest()[:16]}")
            failure.write_bytes(body)
            print(f"kept: {failure}", file=sys.stderr, flush=True)
            raise
        self.outcomes[outcome] += 1
        self.slowest, self.grown = max(self.slowest, cost.seconds), max(self.grown, cost.grown)
        total = self.outcomes.total()
        # libFuzzer exits without notifying Python, so the report is written before that.
        if total >= self.inputs or (total % 500 == 0 and (time.monotonic() > self.end or total % 5000 == 0)):
            counters = {"slowest": self.slowest, "grown": self.grown, "most": oracle.peak_memory(), "inputs": total}
            self.report.write_text(json.dumps(counters | self.outcomes), encoding="utf-8")


def mutate(key: str, body: bytes, longest: int, seed: int) -> bytes:
    """Mutate bytes as libFuzzer does, or a document by the named mutations: a found one or a complete one.

    Without complete documents nearly all inputs would be rejected for an earlier mutation.
    """
    random = Random(seed)
    choice = random.random()
    if choice < 0.2:
        return bytes(atheris.Mutate(body, longest))
    if choice < 0.8:
        body = random.choice(oracle.seeds(key))
    return mutated(body, [random.choice(NAMES) for _ in range(random.randint(1, 3))], random)[:longest]


def main() -> None:
    key, inputs, seconds, folder = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    corpus = folder / "corpus" / key
    corpus.mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(oracle.seeds(key)):
        (corpus / f"seed-{number}").write_bytes(body)
    oracle.before(key)  # warm up, so that the cost is not that of the first input
    options = (
        f"-runs={inputs}", f"-max_total_time={seconds:.0f}", f"-max_len={LONGEST}", "-rss_limit_mb=1024", "-timeout=10",
        f"-artifact_prefix={folder}/libfuzzer-{key}-", "-print_final_stats=1", "-use_value_profile=1",
    )  # fmt: skip
    run = Run(key, inputs, seconds, folder / f"{key}.json")
    atheris.Setup([sys.argv[0], *options, str(corpus)], run, custom_mutator=partial(mutate, key))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
