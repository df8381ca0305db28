"""Measure validation on real history: `python -m tests.truth`. See `make truth`."""

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
"""Share of a history replayed without a fault, by set of witnesses; more witnesses take longer."""
_NOT_DECIDABLE: Final = {
    "copier+w3": "two banks with the same wrong rates against one",
    "w2 lagging": "no other bank but one that publishes a day later",
}
"""Sets of witnesses that cannot decide in time; they are reported but have no target."""
Result = Outcome | Whole


@dataclass(frozen=True)
class Task:
    """A fault with all its windows, or a whole history if `fault` is None."""

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
"""Set before the processes are forked, since injectors cannot be pickled."""


def _run(number: int) -> tuple[int, Result]:
    return number, _tasks[number].run()


def _plan(options: Namespace) -> Iterator[Task]:
    chosen = [fault for fault in FAULTS if not options.only or options.only.lower() in fault.name.lower()]
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
    order = sorted(range(len(_tasks)), key=lambda number: _tasks[number].fault is not None)  # long tasks first
    results: dict[int, Result] = {}
    with get_context("fork").Pool(jobs, initializer=remember_carry_overs) as pool:
        for number, result in pool.imap_unordered(_run, order):
            results[number] = result
            print(f"{len(results)} of {len(order)}: {_brief(_tasks[number], result)}", file=sys.stderr, flush=True)
    return [results[number] for number in range(len(_tasks))]


def _brief(task: Task, result: Result) -> str:
    """Return a line with the result of a task, so that an interrupted run has partial results."""
    if isinstance(result, Whole) or task.fault is None:
        return f"{task.history}, no fault, {task.witnesses}"
    deviations = ", ".join(f"{name} {counts.two} and {counts.five}" for name, counts in result.counts.items())
    return f"{task.history}, {task.fault.name}, {task.witnesses}: shown more than 2 % and 5 % off: {deviations}"


def _share(part: int, total: int) -> str:
    return f"{part} ({100 * part / total:.2f} %)" if part and total else f"{part}"


def _recovery(counts: Counts) -> str:
    delayed = [publications for publications in counts.recovery if publications > 1]
    if not delayed:
        return "1"
    worst = max(delayed)
    return f"{'>' if worst > AFTER else ''}{min(worst, AFTER)} ({len(delayed)}/{len(counts.recovery)})"


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
    quoted = sum(count for key, count in outcome.true.items() if key != SUBJECT)
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
        _share(witnesses, quoted),
        _recovery(five),
        _recovery(all_),
        str(outcome.pending),
        str(all_.none),
        str(all_.fallback),
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
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
    for task, result in pairs:
        delayed = " ".join(f"{count}x{after}" for after, count in sorted(result.late.items())[:6])
        rows.append((
            task.witnesses,
            f"{result.first} to {result.last}",
            f"{result.true[ALL]}/{result.true[FIVE]}",
            _precise(result.kept_out[ALL], result.true[ALL]),
            _precise(result.kept_out[FIVE], result.true[FIVE]),
            f"{result.late.total()}: {delayed}",
            f"{result.decisions[ALL]}/{result.decisions[FIVE]}",
            _precise(result.witness_kept_out, result.witness_true),
            f"{result.slips_held}/{result.slips_published}",
            str(result.two),
            str(result.none),
            str(result.fallback),
        ))  # fmt: skip
    return _table(rows)


def _precise(part: int, total: int) -> str:
    return f"{part} ({100 * part / total:.4f} %)" if part and total else f"{part}"


def _summary(pairs: Sequence[tuple[Task, Result]]) -> tuple[str, bool]:
    """Return the table of targets with their measured values, and whether all decidable ones are met."""
    rows, met = [("target", "witnesses", "is", "met")], True

    def row(target: str, witnesses: str, value: str, *, is_met: bool) -> None:
        nonlocal met
        decidable = witnesses not in _NOT_DECIDABLE
        rows.append((target, witnesses, value, ("yes" if is_met else "NO") if decidable else "-"))
        met = met and (is_met or not decidable)

    for witnesses in (*[name for name in SETS if name != "none"], *COPIED):
        total, quiet = (
            Outcome(),
            [result for task, result in pairs if task.witnesses == witnesses and isinstance(result, Whole)],
        )
        faults = [result for task, result in pairs if task.witnesses == witnesses and isinstance(result, Outcome)]
        for outcome in faults:
            total.add(outcome)
        for name in (FIVE, ALL) if faults else ():
            counts = total.counts[name]
            row(f"rate-days > 5 % off, {name}: 0", witnesses, str(counts.five), is_met=not counts.five)
            share = 100 * counts.two / max(1, counts.fault)
            text = f"{counts.two} of {counts.fault} ({share:.3f} %)"
            row(f"rate-days > 2 % off, {name}: <= 0.1 % of fault days", witnesses, text, is_met=share <= 0.1)
            delayed = [publications for publications in counts.recovery if publications > 1]
            row(f"recovery, {name}: 1 publication", witnesses, _recovery(counts), is_met=not delayed)
        for name, most in ((ALL, 0.02), (FIVE, 0.0)) if quiet else ():
            kept_out, total_rates = (
                sum(result.kept_out[name] for result in quiet),
                sum(result.true[name] for result in quiet),
            )
            is_met = 100 * kept_out / max(1, total_rates) <= most
            row(
                f"true rate-days kept out, {name}: <= {most} %",
                witnesses,
                _precise(kept_out, total_rates) + f" of {total_rates}",
                is_met=is_met,
            )
        if quiet:
            decisions = sum(result.decisions[ALL] for result in quiet)
            row("operator decisions: 0", witnesses, str(decisions), is_met=not decisions)
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
    options, started = _options(arguments), perf_counter()
    _tasks[:] = _plan(options)
    try:
        for name in {task.history for task in _tasks}:
            history(name)
    except MissingHistoryError as error:
        print(error, file=sys.stderr)
        return 2
    pairs = list(zip(_tasks, _results(options.jobs), strict=True))
    for name in dict.fromkeys(task.history for task in _tasks):
        quiet = [(task, result) for task, result in pairs if task.history == name and isinstance(result, Whole)]
        faults = [(task, result) for task, result in pairs if task.history == name and isinstance(result, Outcome)]
        print(f"\n## {name}\n")
        if quiet:
            print(_no_fault(quiet) + "\n")
        if faults:
            print(_table([_HEAD, *(_row(*pair) for pair in faults)]))
        if options.examples:
            _print_examples(quiet, faults)
    text, met = _summary(pairs)
    print(f"\n## targets\n\n{text}\n\n{len(_tasks)} tasks in {perf_counter() - started:.0f} s, seed {options.seed}")
    return 0 if met else 1


def _print_examples(quiet: Sequence[tuple[Task, Whole]], faults: Sequence[tuple[Task, Outcome]]) -> None:
    print("\n### worst examples\n")
    for task, result in quiet:
        for text in sorted(result.examples)[:40]:
            print(f"- {task.witnesses}: {text}")
    for _, outcome in faults:
        for example in outcome.examples[:2]:
            print(f"- {example.text}")
        for text in outcome.missing[:2]:
            print(f"- kept out: {text}")


if __name__ == "__main__":
    sys.exit(main())
