"""Commands on stored data: quarantine and its decisions, backfill, export and import."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from math import log10
from pathlib import Path
from typing import Final

from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn
from rich.table import Column

from service.cli import transfer
from service.cli.commands import QUIET, polled_source, source_of, with_store
from service.cli.output import add_row, console, lines, table
from service.clock import Clock
from service.domain import publication_schedule
from service.domain.bounds import structural_errors
from service.domain.breaks import Break
from service.domain.fixing import Fixing
from service.errors import SettingsError, TickerError, safe
from service.observability.logging import configure
from service.polling.backfill import Backfill, Count
from service.runtime.program import program
from service.settings import Settings
from service.sources.http_client import Client
from service.sources.registry import adapter_of, validate
from service.sources.session import BankSession
from service.storage.repository import Store
from service.validation.quarantine import Outcome, Quarantine, QuarantineDecision, QuarantinedFixing, rates_digest
from service.validation.rules import rate_text

_SHOWN_DECISIONS: Final = 20
"""Latest decisions that `quarantine` prints."""
_LISTED: Final = 20
"""Dates with quarantined rates that `backfill` prints at its end."""
Confirm = Callable[[str], bool]


def quarantine(settings: Settings, *, as_json: bool = False) -> None:
    """Print the quarantined rates and the latest decisions."""
    configure(QUIET)
    keys = list(settings.sources)  # including sources that are not polled: a backfill may have quarantined rates

    async def read(store: Store) -> tuple[list[QuarantinedFixing], list[QuarantineDecision]]:
        quarantined = [entry for key in keys for entry in await store.waiting(key)]
        return quarantined, [decision for key in keys for decision in await store.decisions(key)]

    quarantined, decisions = with_store(settings, read)
    if as_json:
        documents = [
            {
                "source": entry.fixing.source,
                "date": str(entry.fixing.date),
                "since": entry.since.isoformat(),
                "digest": rates_digest(entry.fixing),
                "rates": {code: [f"{rate.value:f}", rate.nominal] for code, rate in sorted(entry.fixing.rates.items())},
                "reasons": list(entry.reasons),
            }
            for entry in quarantined
        ]
        sys.stdout.write(json.dumps(documents, indent=2) + "\n")
        return
    rows = table("source", "date", Column("digest", no_wrap=True), "since", "reasons", title="quarantined")
    for entry in quarantined:
        fixing = entry.fixing
        add_row(rows, (fixing.source, fixing.date, rates_digest(fixing), entry.since, "\n".join(entry.reasons)))
    output = console()
    output.print(rows if quarantined else "Nothing is quarantined.")
    decided = table("source", "date", "rates", "since", "decided", "outcome", title="decisions")
    for decision in sorted(decisions, key=lambda decision: decision.at, reverse=True)[:_SHOWN_DECISIONS]:
        fixing, since = decision.waiting.fixing, decision.waiting.since
        add_row(decided, (fixing.source, fixing.date, listed(fixing), since, decision.at, decision.outcome))
    if decisions:
        output.print(decided)


def decide(
    settings: Settings,
    key: str,
    day: date,
    outcome: Outcome,
    confirm: Confirm,
    codes: Sequence[str] = (),
    digest: str | None = None,
    *,
    is_break: bool = False,
) -> None:
    """Accept or reject the quarantined rates of a date. A running service picks up the decision.

    `digest` is the one that `quarantine` printed; without it the rates are printed and `confirm` is called. `codes`
    limits the decision to these currencies. `is_break` declares that the rates are in a new unit from that date on.
    Raises `TickerError` if nothing is quarantined for the date, or not what the digest identifies.
    """
    configure(QUIET)
    source_of(settings, key)

    async def end(store: Store) -> str:
        by_date = {entry.fixing.date: entry for entry in await store.waiting(key)}
        published = await store.fixing(key, day) if outcome is Outcome.ACCEPTED else None
        quarantined = by_date.get(day)
        if quarantined is None and outcome is Outcome.ACCEPTED:
            quarantined = _rejected(key, await store.decisions(key), day, published)
        if quarantined is None:
            dates = ", ".join(map(str, by_date)) or "none"
            raise TickerError(f"{key} {day} is not quarantined (quarantined: {dates})")
        selected, rest = _split(quarantined, codes)
        if digest is not None and digest != rates_digest(quarantined.fixing):
            raise TickerError(
                f"{key} {day}: the quarantined rates do not match digest {digest}: they are {listed(selected.fixing)}"
                f" (digest {rates_digest(quarantined.fixing)}); list them again: {program()} quarantine"
            )
        errors = _publication_errors(store, selected.fixing) if outcome is Outcome.ACCEPTED else ()
        if errors:
            raise TickerError(f"{key} {day} cannot be published: {'; '.join(errors)}")
        summary = f"{key} {day}: {listed(selected.fixing)}"
        reasons = "".join(f"\n  {reason}" for reason in selected.reasons)
        if digest is None and not confirm(f"{summary}{safe(reasons)}\n{_QUESTIONS[outcome]}"):
            raise TickerError(
                f"{key} {day}: not confirmed, nothing was changed; skip the confirmation with"
                f" --digest {rates_digest(quarantined.fixing)}"
            )
        breaks = await _breaks(store, selected.fixing) if is_break else ()
        decision = QuarantineDecision(selected, outcome, Clock()(), breaks)
        if outcome is Outcome.REJECTED:
            await store.record_decision(decision, rest)
        else:
            version = published.updated_with(selected.fixing) if published else selected.fixing
            await store.save(version, decision=decision, still_quarantined=rest)
            stored = await store.fixing(key, day)
            if stored is None or not selected.fixing.is_part_of(stored):
                later = listed(stored) if stored else "nothing"
                raise TickerError(f"{key} {day}: not published, a later version is stored: {later}")
        units = ""
        for declared in breaks:
            units += f"; {declared.currency} has a new unit from that date on"
            units += f" (1 new = {declared.factor:f} old)" if declared.factor else ""
        return f"{summary}: {outcome}{units}"

    console(soft_wrap=True).print(safe(with_store(settings, end)))


def _publication_errors(store: Store, fixing: Fixing) -> tuple[str, ...]:
    """Return why rates cannot be published, whoever accepts them."""
    latest = store.last_date(fixing.source)
    too_late = (f"the bank publishes up to {latest} by now",) if fixing.date > latest else ()
    return (*structural_errors(fixing), *too_late)


_QUESTIONS: Final = {
    Outcome.ACCEPTED: "Publish these rates?",
    Outcome.REJECTED: "Keep these rates unpublished, and stop reporting them?",
}


def retract(settings: Settings, key: str, day: date, codes: Sequence[str], confirm: Confirm) -> None:
    """Retract published rates of a date: all, or those of `codes`. They are not published again.

    Raises `TickerError` if they are not published.
    """
    configure(QUIET)
    source_of(settings, key)

    async def end(store: Store) -> str:
        published = await store.fixing(key, day)
        missing = [code for code in codes if published and code not in published.rates]
        if published is None or missing:
            missing_codes = f": {', '.join(missing)}" if missing else ""
            raise TickerError(f"{key} {day}{missing_codes} is not published, nothing was retracted")
        retracted = replace(
            published, rates={code: rate for code, rate in published.rates.items() if not codes or code in codes}
        )
        summary = f"{key} {day}: {listed(retracted)}"
        if not confirm(f"{summary}\nRetract these rates?"):
            raise TickerError(f"{key} {day}: not confirmed, nothing was changed; skip the confirmation with --yes")
        now = Clock()()
        entry = QuarantinedFixing(replace(retracted, revisions=()), ("retracted by an operator",), now)
        await store.retract(published, QuarantineDecision(entry, Outcome.RETRACTED, now))
        return f"{summary}: retracted"

    console(soft_wrap=True).print(safe(with_store(settings, end)))


def listed(fixing: Fixing) -> str:
    """Return the rates of a fixing as text, with their buying and selling rates."""
    return ", ".join(f"{code} {rate_text(fixing, code)}{_sides(fixing, code)}" for code in sorted(fixing.rates))


def _sides(fixing: Fixing, code: str) -> str:
    rate = fixing.rates[code]
    sides = [
        f"{name} {side}" for name, side in (("buying", rate.buying), ("selling", rate.selling)) if side is not None
    ]
    return f" ({', '.join(sides)})" if sides else ""


def _split(quarantined: QuarantinedFixing, codes: Sequence[str]) -> tuple[QuarantinedFixing, QuarantinedFixing | None]:
    """Return the quarantined rates of `codes` (all if empty), and those that stay quarantined."""
    if not codes:
        return quarantined, None
    fixing = quarantined.fixing
    missing = [code for code in codes if code not in fixing.rates]
    if missing:
        raise TickerError(
            f"{fixing.source} {fixing.date}: {', '.join(missing)} is not quarantined (quarantined: {listed(fixing)})"
        )

    def entry_of(is_included: Callable[[str], bool]) -> QuarantinedFixing:
        rates = {code: rate for code, rate in fixing.rates.items() if is_included(code)}
        reasons = tuple(reason for reason in quarantined.reasons if is_included(reason[:3]))
        return replace(quarantined, fixing=replace(fixing, rates=rates), reasons=reasons)

    selected, rest = entry_of(lambda code: code in codes), entry_of(lambda code: code not in codes)
    return selected, rest if rest.fixing.rates else None


async def _breaks(store: Store, fixing: Fixing) -> tuple[Break, ...]:
    """Return a break for each rate; its factor is the power of ten nearest to the move, None if none is near."""
    earlier_days = [day for day in await store.dates(fixing.source) if day < fixing.date]
    earlier_fixings = await store.fixings(fixing.source, earlier_days[-_SEARCHED:])
    breaks = []
    for code in sorted(fixing.rates):
        old = next((earlier for earlier in reversed(earlier_fixings) if code in earlier.rates), None)
        factor = None
        if old:
            move = fixing.value(code) / old.value(code)
            nearest = Fraction(10) ** round(log10(move))
            factor = Decimal(nearest.numerator) / nearest.denominator if abs(move / nearest - 1) < _NEAR else None
        breaks.append(Break(code, fixing.date, factor))
    return tuple(breaks)


_SEARCHED: Final = 30
"""Dates before a break that are searched for the currency's last rate."""
_NEAR: Final = Fraction(3, 10)
"""Largest relative distance between a move and a power of ten that is taken for the factor of a redenomination."""


def _rejected(
    key: str, decisions: Sequence[QuarantineDecision], day: date, published: Fixing | None
) -> QuarantinedFixing | None:
    """Return the rates of a date that an operator rejected or retracted last, so that they can be accepted after all.

    None if there are none. Raises `TickerError` if they are already published, or have been replaced since.
    """
    rejections = Quarantine.of([], decisions).rejected.get(day, ())
    if not rejections:
        return None
    rejected = rejections[0]
    latest = next(
        decision
        for decision in decisions
        if decision.outcome in (Outcome.REJECTED, Outcome.RETRACTED)
        and decision.waiting.fixing.date == day
        and rejected.is_part_of(decision.waiting.fixing)
    )
    if published and latest.outcome is Outcome.REJECTED:
        if rejected.rates.keys() <= published.rates.keys() and rejected.repeats(published):
            raise TickerError(f"{key} {day}: the rejected rates are already published")
        later_decisions = decisions[: decisions.index(latest)]  # newest first
        is_accepted_since = any(
            decision.waiting.fixing.date == day and decision.outcome in (Outcome.ACCEPTED, Outcome.CONFIRMED)
            for decision in later_decisions
        )
        is_replaced = any(code in published.rates for code in rejected.rates) and published.fetched_at >= latest.at
        if is_accepted_since or is_replaced:
            differing = _differing(published, rejected)
            raise TickerError(f"{key} {day}: the rejected rates have been replaced since: {differing} is published")
    return replace(latest.waiting, fixing=rejected)


def _differing(fixing: Fixing, other: Fixing) -> str:
    """Return the rates in which a fixing differs from another, as text."""
    codes = sorted(fixing.rates.keys() | other.rates.keys())
    differing = list[str]()
    for code in codes:
        own_text = rate_text(fixing, code) if code in fixing.rates else None
        other_text = rate_text(other, code) if code in other.rates else None
        if own_text != other_text:
            differing.append(f"{code} {own_text}" if own_text else f"no {code}")
    return ", ".join(differing)


def backfill(settings: Settings, key: str, since: date, until: date | None, pause: timedelta | None) -> None:
    """Fetch the history of a source. Completed steps are kept if the run fails or is interrupted."""
    configure(QUIET)
    source = polled_source(validate(settings), key)
    if adapter_of(settings, key).latest_only:
        raise SettingsError(f"{key} only publishes its latest rates: it has no history to fetch")
    clock = Clock()
    until = until or publication_schedule.today(source, clock())
    if since > until:
        raise SettingsError(f"--from {since} is after {until}")

    async def fill(store: Store) -> Count:
        request_pause = settings.client.pause if pause is None else pause
        async with Client(settings.client) as client:
            session = BankSession(key, source, client, clock, settings.wanted(key), pause=request_pause)
            run = Backfill(settings, store, session, clock, report)
            steps = await run.steps(since, until)
            progress.update(task, total=sum((last - first).days + 1 for first, last in steps))
            return await run.run(since, until)

    def report(days: int, count: Count) -> None:
        done_count = count.accepted + count.known
        per_second = done_count / max(progress.tasks[task].elapsed or 1, 1)
        progress.update(task, advance=days, done=f"{done_count} fixings, {per_second:.0f}/s")

    columns = (
        "{task.description}",
        BarColumn(),
        TaskProgressColumn(),
        "{task.fields[done]}",
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True)) as progress:
        task = progress.add_task(f"{key} from {since} to {until}", total=None, done="")
        count = with_store(settings, fill)
    console().print(f"{key}: {count.accepted} new, {count.known} known, {count.waiting} quarantined")
    for day, codes in sorted(count.held.items())[:_LISTED]:
        console(soft_wrap=True).print(f"  {day} {', '.join(codes)}")
    if len(count.held) > _LISTED:
        console().print(f"  and {len(count.held) - _LISTED} more dates; list all: {program()} quarantine")
    if count.left_out:
        console().print(f"{len(count.left_out)} rates or days could not be read:")
    lines(console(), [f"  {problem}" for problem in count.left_out[:_LISTED]])


def export(settings: Settings, path: Path, *, force: bool = False, keep: int = 0) -> None:
    """Export all fixings, quarantined fixings and decisions to a file; `-` is standard output.

    Raises `TickerError` if some could not be read; the others are exported.
    """
    configure(QUIET)
    if str(path) == "-":
        if sys.stdout.isatty():
            raise SettingsError("-: standard output is a terminal; redirect it to a file or a pipe")
        exported = with_store(settings, _to_stdout)
    else:
        exported = with_store(settings, lambda store: transfer.export(store, path, force=force, keep=keep))
    console(stderr=str(path) == "-", soft_wrap=True).print(f"{path}: {exported}")
    if exported.unreadable:
        raise TickerError(f"{exported.unreadable} records are unreadable and not in the file; see: {program()} check")


async def _to_stdout(store: Store) -> transfer.Exported:
    try:
        exported = await transfer.write(store, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise TickerError(f"-: cannot be written: {error.strerror or error}") from None
    return exported


def load(settings: Settings, path: Path) -> None:
    """Import fixings, quarantined fixings and decisions from a file. Stored records are not changed."""
    configure(QUIET)
    fixings, others = with_store(settings, lambda store: transfer.load(store, path, Clock()()))
    output = console(soft_wrap=True)
    output.print(f"{path}: {fixings}")
    if others.added or others.unchanged or others.refused:
        output.print(f"quarantine and decisions: {others}")
    refused = [*fixings.refused, *others.refused]
    for place, reason in refused[:_LISTED]:
        output.print(f"  {place}: {reason}")
    if len(refused) > _LISTED:
        output.print(f"  and {len(refused) - _LISTED} more")
