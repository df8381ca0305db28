"""Measure validation over real history: `python -m tests.truth`. See `make truth`."""

# ruff: noqa: T201 - a report

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from time import perf_counter
from typing import Final

from tests.truth.faults import COPIED, FAULTS, SETS, Fault
from tests.truth.histories import FORMS, SUBJECT, MissingHistoryError
from tests.truth.measure import AFTER, Counts, Outcome, Whole, history, whole, window
from tests.truth.replay import ALL, FIVE, remember_carry_overs

_QUICK: Final = ("w1",)
_PARTS: Final = {"none": 1.0, "w1": 1.0, "w2 lagging": 0.3, "w1+w2": 0.2}
"""How much of a history is replayed without a fault, by witnesses; the more of them, the longer it takes."""
_NOT_DECIDABLE: Final = {
    "copier+w3": "two banks that tell the same lie against one",
    "w2 lagging": "no other bank but one that publishes a day later",
}
"""Sets of witnesses that cannot decide in time: for information."""
Result = Outcome | Whole


@dataclass(frozen=True)
class Task:
    """A fault with all its windows, or a whole history (`fault` None)."""

    history: str
    witnesses: str
    fault: Fault | None
    windows: int = 0
    seed: int = 0
    part: float = 1.0

    def run(self) -> Result:
        if self.fault is None:
            return whole(self.history, self.witnesses, self.part)
        outcome = Outcome()
        for number in range(self.windows):
            outcome.add(window(self.history, self.fault, self.witnesses, self.seed, number))
        return outcome


_tasks: list[Task] = []
"""Known before the processes are forked, since injectors cannot be sent."""


def _run(number: int) -> tuple[int, Result]:
    remember_carry_overs()
    return number, _tasks[number].run()


def _plan(options: Namespace) -> Iterator[Task]:
    chosen = [one for one in FAULTS if not options.only or options.only.lower() in one.name.lower()]
    for name in [options.history] if options.history else FORMS:
        sets = _QUICK if options.quick else tuple(SETS)
        if not options.only or options.only in "no fault":
            for witnesses in sets:
                part = 1.0 if options.full else _PARTS[witnesses]
                yield Task(name, witnesses, None, part=0.02 if options.quick else part)
        for fault in chosen[::4] if options.quick and not options.only else chosen:
            for witnesses in fault.witnesses or sets:
                yield Task(name, witnesses, fault, options.windows, options.seed)


def _results(jobs: int) -> list[Result]:
    order = sorted(range(len(_tasks)), key=lambda number: _tasks[number].fault is not None)  # the long ones first
    found: dict[int, Result] = {}
    with get_context("fork").Pool(jobs) as pool:
        for number, result in pool.imap_unordered(_run, order):
            found[number] = result
            print(f"{len(found)} of {len(order)}: {_brief(_tasks[number], result)}", file=sys.stderr, flush=True)
    return [found[number] for number in range(len(_tasks))]


def _brief(task: Task, result: Result) -> str:
    """Return one line on what came of a task, so that a run that is cut off has not been for nothing."""
    if isinstance(result, Whole) or task.fault is None:
        return f"{task.history}, no fault, {task.witnesses}"
    off = ", ".join(f"{name} {counts.two} and {counts.five}" for name, counts in result.counts.items())
    return f"{task.history}, {task.fault.name}, {task.witnesses}: shown more than 2 % and 5 % off: {off}"


def _share(part: int, whole_: int) -> str:
    return f"{part} ({100 * part / whole_:.2f} %)" if part and whole_ else f"{part}"


def _recovery(counts: Counts) -> str:
    late = [one for one in counts.recovery if one > 1]
    if not late:
        return "1"
    worst = max(late)
    return f"{'>' if worst > AFTER else ''}{min(worst, AFTER)} ({len(late)}/{len(counts.recovery)})"


_HEAD: Final = (
    "fault",
    "witnesses",
    "fault days",
    "five >2 %",
    "five >5 %",
    "all >2 %",
    "all >5 %",
    "before witnesses",
    "kept out",
    "of witnesses",
    "recovery five",
    "recovery all",
    "pending",
    "null",
    "fallback",
)


def _row(task: Task, outcome: Outcome) -> tuple[str, ...]:
    five, all_ = outcome.counts[FIVE], outcome.counts[ALL]
    assert task.fault
    witnesses = sum(count for key, count in outcome.kept_out.items() if key != SUBJECT)
    there = sum(count for key, count in outcome.true.items() if key != SUBJECT)
    return (
        task.fault.name,
        task.witnesses,
        f"{five.fault}/{all_.fault}",
        str(five.two),
        str(five.five),
        str(all_.two),
        str(all_.five),
        str(outcome.transient),
        _share(outcome.kept_out[SUBJECT], outcome.true[SUBJECT]),
        _share(witnesses, there),
        _recovery(five),
        _recovery(all_),
        str(outcome.pending),
        str(all_.none),
        str(all_.fallback),
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])


def _no_fault(pairs: Sequence[tuple[Task, Whole]]) -> str:
    head = (
        "witnesses", "dates", "rates all/five", "kept out, all", "kept out, five", "later let in (after)",
        "decisions all/five", "witness kept out", "slips held/published", "shown >2 %", "null", "fallback",
    )  # fmt: skip
    rows = [head]
    for task, one in pairs:
        late = " ".join(f"{count}x{after}" for after, count in sorted(one.late.items())[:6])
        rows.append((
            task.witnesses,
            f"{one.first} to {one.last}",
            f"{one.true[ALL]}/{one.true[FIVE]}",
            _precise(one.kept_out[ALL], one.true[ALL]),
            _precise(one.kept_out[FIVE], one.true[FIVE]),
            f"{one.late.total()}: {late}",
            f"{one.decisions[ALL]}/{one.decisions[FIVE]}",
            _precise(one.witness_kept_out, one.witness_true),
            f"{one.slips_held}/{one.slips_published}",
            str(one.two),
            str(one.none),
            str(one.fallback),
        ))  # fmt: skip
    return _table(rows)


def _precise(part: int, whole_: int) -> str:
    return f"{part} ({100 * part / whole_:.4f} %)" if part and whole_ else f"{part}"


def _summary(pairs: Sequence[tuple[Task, Result]]) -> tuple[str, bool]:
    """Return the targets with what was measured, and whether all are met where that can be decided."""
    rows, met = [("target", "witnesses", "is", "met")], True

    def row(target: str, witnesses: str, value: str, *, good: bool) -> None:
        nonlocal met
        decidable = witnesses not in _NOT_DECIDABLE
        rows.append((target, witnesses, value, ("yes" if good else "NO") if decidable else "-"))
        met = met and (good or not decidable)

    for witnesses in (*[one for one in SETS if one != "none"], *COPIED):
        total, quiet = Outcome(), [one for task, one in pairs if task.witnesses == witnesses and isinstance(one, Whole)]
        faults = [one for task, one in pairs if task.witnesses == witnesses and isinstance(one, Outcome)]
        for one in faults:
            total.add(one)
        for name in (FIVE, ALL) if faults else ():
            counts = total.counts[name]
            row(f"rate-days > 5 % off, {name}: 0", witnesses, str(counts.five), good=not counts.five)
            share = 100 * counts.two / max(1, counts.fault)
            text = f"{counts.two} of {counts.fault} ({share:.3f} %)"
            row(f"rate-days > 2 % off, {name}: <= 0.1 % of fault days", witnesses, text, good=share <= 0.1)
            late = [one for one in counts.recovery if one > 1]
            row(f"recovery, {name}: 1 publication", witnesses, _recovery(counts), good=not late)
        for name, most in ((ALL, 0.02), (FIVE, 0.0)) if quiet else ():
            out, there = sum(one.kept_out[name] for one in quiet), sum(one.true[name] for one in quiet)
            good = 100 * out / max(1, there) <= most
            row(
                f"true rate-days kept out, {name}: <= {most} %",
                witnesses,
                _precise(out, there) + f" of {there}",
                good=good,
            )
        if quiet:
            decisions = sum(one.decisions[ALL] for one in quiet)
            row("operator decisions: 0", witnesses, str(decisions), good=not decisions)
    return _table(rows), met


def _options(arguments: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(prog="python -m tests.truth", description=__doc__)
    parser.add_argument("--only", metavar="FAULT", help='faults with this in their name, or "no fault"')
    parser.add_argument("--windows", type=int, default=1, help="windows a fault and set of witnesses (default: 1)")
    parser.add_argument("--history", choices=tuple(FORMS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=2)
    parser.add_argument("--quick", action="store_true", help="a sample of faults, one witness; within a minute")
    parser.add_argument("--full", action="store_true", help="replay all of both histories with all sets of witnesses")
    parser.add_argument("--examples", action="store_true", help="print the worst examples of every row")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options, begun = _options(arguments), perf_counter()
    _tasks[:] = _plan(options)
    try:
        for name in {task.history for task in _tasks}:
            history(name)
    except MissingHistoryError as error:
        print(error, file=sys.stderr)
        return 2
    pairs = list(zip(_tasks, _results(options.jobs), strict=True))
    for name in dict.fromkeys(task.history for task in _tasks):
        quiet = [(task, one) for task, one in pairs if task.history == name and isinstance(one, Whole)]
        faults = [(task, one) for task, one in pairs if task.history == name and isinstance(one, Outcome)]
        print(f"\n## {name}\n")
        if quiet:
            print(_no_fault(quiet) + "\n")
        if faults:
            print(_table([_HEAD, *(_row(*one) for one in faults)]))
        if options.examples:
            _print_examples(quiet, faults)
    text, met = _summary(pairs)
    print(f"\n## targets\n\n{text}\n\n{len(_tasks)} tasks in {perf_counter() - begun:.0f} s, seed {options.seed}")
    return 0 if met else 1


def _print_examples(quiet: Sequence[tuple[Task, Whole]], faults: Sequence[tuple[Task, Outcome]]) -> None:
    print("\n### worst examples\n")
    for task, whole_ in quiet:
        for text in sorted(whole_.examples)[:40]:
            print(f"- {task.witnesses}: {text}")
    for _, outcome in faults:
        for example in outcome.examples[:2]:
            print(f"- {example.text}")
        for text in outcome.missing[:2]:
            print(f"- kept out: {text}")


if __name__ == "__main__":
    sys.exit(main())
