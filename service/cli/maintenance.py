"""Commands on what is stored: decide on quarantined rates, fetch the past, export and import."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from math import log10
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn
from rich.table import Column, Table

from service.cli import transfer
from service.cli.commands import QUIET, source_of, text, with_store
from service.clock import Clock
from service.domain import publication_schedule
from service.domain.bounds import structural_errors
from service.domain.breaks import Break
from service.domain.fixing import Fixing
from service.errors import SettingsError, TickerError
from service.observability.logging import configure
from service.polling.backfill import Backfill, Count
from service.settings import Settings
from service.sources.banks import SOURCES, validate
from service.sources.http_client import Client
from service.sources.session import BankSession
from service.storage.repository import Store
from service.validation.quarantine import Outcome, Quarantine, QuarantineDecision, QuarantinedFixing
from service.validation.rules import rate_text

_TOLD: Final = 20
"""Decisions that are printed."""
_LISTED: Final = 20
"""Dates with held rates that a backfill names at its end."""
Confirm = Callable[[str], bool]


def quarantine(settings: Settings, *, as_json: bool = False) -> None:
    """Print what is in quarantine, and the latest decisions."""
    configure(QUIET)
    keys = list(settings.sources)  # a backfill may have filled one that is not polled

    async def read(store: Store) -> tuple[list[QuarantinedFixing], list[QuarantineDecision]]:
        waiting = [one for key in keys for one in await store.waiting(key)]
        return waiting, [one for key in keys for one in await store.decisions(key)]

    waiting, decisions = with_store(settings, read)
    if as_json:
        typewritten = [
            {
                "source": one.fixing.source,
                "date": str(one.fixing.date),
                "since": one.since.isoformat(),
                "digest": rates_digest(one.fixing),
                "rates": {code: [f"{rate.value:f}", rate.nominal] for code, rate in sorted(one.fixing.rates.items())},
                "reasons": list(one.reasons),
            }
            for one in waiting
        ]
        sys.stdout.write(json.dumps(typewritten, indent=2) + "\n")
        return
    table = Table("source", "date", Column("digest", no_wrap=True), "since", "why", title="in quarantine")
    for one in waiting:
        fixing = one.fixing
        reasons = escape("\n".join(one.reasons))
        table.add_row(fixing.source, str(fixing.date), rates_digest(fixing), text(one.since), reasons)
    console = Console()
    console.print(table if waiting else "Nothing is in quarantine.")
    ended = Table("source", "date", "rates", "since", "decided", "outcome", title="decisions")
    for decision in sorted(decisions, key=lambda one: one.at, reverse=True)[:_TOLD]:
        fixing, since = decision.waiting.fixing, decision.waiting.since
        rates = escape(_listed(fixing))
        ended.add_row(fixing.source, str(fixing.date), rates, text(since), text(decision.at), decision.outcome)
    if decisions:
        console.print(ended)


def rates_digest(fixing: Fixing) -> str:
    """Return what names exactly these rates of this date: an operator decides on what was seen."""
    rates = [[code, f"{rate.value:f}", rate.nominal] for code, rate in sorted(fixing.rates.items())]
    return sha256(json.dumps([fixing.source, str(fixing.date), rates]).encode()).hexdigest()[:12]


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
    """Accept or reject what is in quarantine for a date; the running service follows by itself.

    `digest` is the one that `quarantine` printed; without it the rates are shown and `confirm` decides. With `codes`
    only these currencies are decided on. With `is_break` the rates are in a new unit from that date on.
    Raises `TickerError` where nothing is in quarantine for the date, or something else than was seen.
    """
    configure(QUIET)
    source_of(settings, key)

    async def end(store: Store) -> str:
        waiting = {one.fixing.date: one for one in await store.waiting(key)}
        published = await store.fixing(key, day) if outcome is Outcome.ACCEPTED else None
        quarantined = waiting.get(day)
        if quarantined is None and outcome is Outcome.ACCEPTED:
            quarantined = _rejected(key, await store.decisions(key), day, published)
        if quarantined is None:
            dates = ", ".join(map(str, waiting)) or "none"
            raise TickerError(f"{key} {day} is not quarantined (quarantined: {dates})")
        part, rest = _parted(quarantined, codes)
        if digest is not None and digest != rates_digest(quarantined.fixing):
            raise TickerError(
                f"{key} {day}: the quarantined rates are not those of digest {digest}, they are {_listed(part.fixing)}"
                f" (digest {rates_digest(quarantined.fixing)}); look again: python -m service quarantine"
            )
        if outcome is Outcome.ACCEPTED and (bad := structural_errors(part.fixing)):
            raise TickerError(f"{key} {day}: cannot be published: {'; '.join(bad)}")
        what = f"{key} {day}: {_listed(part.fixing)}"
        reasons = "".join(f"\n  {reason}" for reason in part.reasons)
        if digest is None and not confirm(f"{what}{reasons}\n{_QUESTIONS[outcome]}"):
            raise TickerError(
                f"{key} {day}: not confirmed, nothing was changed; to decide without a question:"
                f" --digest {rates_digest(quarantined.fixing)}"
            )
        breaks = await _breaks(store, part.fixing) if is_break else ()
        decision = QuarantineDecision(part, outcome, Clock()(), breaks)
        if outcome is Outcome.REJECTED:
            await store.record_decision(decision, rest)
        else:
            await store.save(_completed(part.fixing, published), decision=decision, still_quarantined=rest)
            stored = await store.fixing(key, day)
            if stored is None or not part.fixing.is_part_of(stored):
                found = _listed(stored) if stored else "nothing"
                raise TickerError(f"{key} {day}: not published, a later form is stored: {found}")
        units = "".join(
            f"; {one.currency} is in a new unit from that date on"
            + (f", of {one.factor:f} old ones" if one.factor else "")
            for one in breaks
        )
        return f"{what}: {outcome}{units}"

    Console(soft_wrap=True, markup=False).print(with_store(settings, end))


_QUESTIONS: Final = {
    Outcome.ACCEPTED: "Publish these rates?",
    Outcome.REJECTED: "Never publish these rates for that date?",
}


def retract(settings: Settings, key: str, day: date, codes: Sequence[str], confirm: Confirm) -> None:
    """Take back published rates of a date, all or those of some currencies; they are not published again.

    Raises `TickerError` where they are not published.
    """
    configure(QUIET)
    source_of(settings, key)

    async def end(store: Store) -> str:
        published = await store.fixing(key, day)
        missing = [code for code in codes if published and code not in published.rates]
        if published is None or missing:
            raise TickerError(f"{key} {day}: {', '.join(missing) or 'nothing'} is published, so nothing is retracted")
        taken = replace(
            published, rates={code: rate for code, rate in published.rates.items() if not codes or code in codes}
        )
        what = f"{key} {day}: {_listed(taken)}"
        if not confirm(f"{what}\nTake these rates back?"):
            raise TickerError(f"{key} {day}: not confirmed, nothing was changed")
        now = Clock()()
        waiting = QuarantinedFixing(replace(taken, revisions=()), ("retracted by an operator",), now)
        await store.retract(published, QuarantineDecision(waiting, Outcome.RETRACTED, now))
        return f"{what}: retracted"

    Console(soft_wrap=True, markup=False).print(with_store(settings, end))


def _completed(accepted: Fixing, published: Fixing | None) -> Fixing:
    """Return what is published of a date together with rates that were accepted."""
    if published is None:
        return accepted
    rates = {**published.rates, **accepted.rates}
    if any(code in published.rates for code in accepted.rates):
        return replace(accepted, rates=rates).with_revision_of(published)
    # Only added: the receipt of the later document, so that `Fixing.supersedes` recognises the new form.
    latest = max(accepted, published, key=lambda one: (one.fetched_at, one.digest))
    return replace(latest, rates=rates, revisions=published.revisions)


def _listed(fixing: Fixing) -> str:
    return ", ".join(f"{code} {rate_text(fixing, code)}" for code in sorted(fixing.rates))


def _parted(quarantined: QuarantinedFixing, codes: Sequence[str]) -> tuple[QuarantinedFixing, QuarantinedFixing | None]:
    """Return what is decided on, and what stays in quarantine."""
    if not codes:
        return quarantined, None
    fixing = quarantined.fixing
    if missing := [code for code in codes if code not in fixing.rates]:
        raise TickerError(
            f"{fixing.source} {fixing.date}: {', '.join(missing)} is not quarantined (quarantined: {_listed(fixing)})"
        )

    def part(wanted: Callable[[str], bool]) -> QuarantinedFixing:
        rates = {code: rate for code, rate in fixing.rates.items() if wanted(code)}
        reasons = tuple(one for one in quarantined.reasons if wanted(one[:3]))
        return replace(quarantined, fixing=replace(fixing, rates=rates), reasons=reasons)

    rest = part(lambda code: code not in codes)
    return part(lambda code: code in codes), rest if rest.fixing.rates else None


async def _breaks(store: Store, fixing: Fixing) -> tuple[Break, ...]:
    """Return a break for each rate; its factor is the power of ten nearest to the move, None where none is near."""
    known = [one for one in await store.dates(fixing.source) if one < fixing.date]
    before = await store.fixings(fixing.source, known[-_LOOKED_AT:])
    breaks = []
    for code in sorted(fixing.rates):
        old = next((one for one in reversed(before) if code in one.rates), None)
        factor = None
        if old:
            move = fixing.value(code) / old.value(code)
            nearest = Fraction(10) ** round(log10(move))
            factor = Decimal(nearest.numerator) / nearest.denominator if abs(move / nearest - 1) < _NEAR else None
        breaks.append(Break(code, fixing.date, factor))
    return tuple(breaks)


_LOOKED_AT: Final = 30
"""Dates in which the last rate before a break is looked for."""
_NEAR: Final = Fraction(3, 10)
"""How near to a power of ten a move must be for a redenomination by it."""


def _rejected(
    key: str, decisions: Sequence[QuarantineDecision], day: date, published: Fixing | None
) -> QuarantinedFixing | None:
    """Return the rates of a date that an operator rejected or retracted last, to be taken back.

    Raises `TickerError` where the date has a fixing that says the same, or that came since.
    """
    forms = Quarantine.of([], decisions).rejected.get(day, ())
    if not forms:
        return None
    form = forms[0]
    latest = next(
        one
        for one in decisions
        if one.outcome in (Outcome.REJECTED, Outcome.RETRACTED)
        and one.waiting.fixing.date == day
        and form.is_part_of(one.waiting.fixing)
    )
    since = decisions[: decisions.index(latest)]
    if published and latest.outcome is Outcome.REJECTED:
        what = f"{key} {day}: what was rejected"
        if form.rates.keys() <= published.rates.keys() and form.repeats(published):
            raise TickerError(f"{what} is published already")
        let_in = {one.waiting.fixing.date for one in since if one.outcome in (Outcome.ACCEPTED, Outcome.CONFIRMED)}
        overtaken = any(code in published.rates for code in form.rates) and published.fetched_at >= latest.at
        if day in let_in or overtaken:
            raise TickerError(f"{what} has been replaced since: {_differing(published, form)} is published")
    return replace(latest.waiting, fixing=form)


def _differing(one: Fixing, other: Fixing) -> str:
    """Return the rates of a fixing in which it differs from another."""
    codes = sorted(one.rates.keys() | other.rates.keys())
    texts = {code: rate_text(one, code) if code in one.rates else None for code in codes}
    return ", ".join(
        f"{code} {rate}" if rate else f"no {code}"
        for code, rate in texts.items()
        if rate != (rate_text(other, code) if code in other.rates else None)
    )


def backfill(settings: Settings, key: str, since: date, until: date | None, pause: timedelta | None) -> None:
    """Fetch the history of a source; completed steps are kept, whatever happens."""
    configure(QUIET)
    source = source_of(validate(settings), key)
    if SOURCES[settings.adapter(key)].latest_only:
        raise SettingsError(f"{key} only publishes its latest rates, so it has no history to fetch")
    clock = Clock()
    until = until or publication_schedule.today(source, clock())
    if since > until:
        raise SettingsError(f"--from {since} lies after {until}")

    async def fill(store: Store) -> Count:
        wait = settings.client.pause if pause is None else pause
        async with Client(settings.client) as client:
            feed = BankSession(key, source, client, clock, settings.wanted(key), pause=wait)
            run = Backfill(settings, store, feed, clock, report)
            progress.update(task, total=sum((last - first).days + 1 for first, last in await run.steps(since, until)))
            return await run.run(since, until)

    def report(days: int, count: Count) -> None:
        done = count.accepted + count.known
        rate = done / max(progress.tasks[task].elapsed or 1, 1)
        progress.update(task, advance=days, done=f"{done} fixings, {rate:.0f}/s")

    columns = (
        "{task.description}",
        BarColumn(),
        TaskProgressColumn(),
        "{task.fields[done]}",
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{key} from {since} to {until}", total=None, done="")
        count = with_store(settings, fill)
    Console().print(f"{key}: {count.accepted} new, {count.known} known, {count.waiting} in quarantine")
    for day, codes in sorted(count.held.items())[:_LISTED]:
        Console(soft_wrap=True).print(f"  {day} {', '.join(codes)}")
    if len(count.held) > _LISTED:
        Console().print(f"  and {len(count.held) - _LISTED} dates more; all: python -m service quarantine")


def export(settings: Settings, path: Path) -> None:
    """Write all fixings to a file."""
    configure(QUIET)
    count, unreadable = with_store(settings, lambda store: transfer.export(store, path))
    Console().print(f"{path}: {count} fixings")
    if unreadable:
        raise TickerError(f"{unreadable} more could not be read by this version, and are not in the file")


def load(settings: Settings, path: Path) -> None:
    """Import the fixings of a file."""
    configure(QUIET)
    new, known, different = with_store(settings, lambda store: transfer.load(store, path, Clock()()))
    Console().print(
        f"{path}: {new} new, {known} known, {different} left out (different from what is stored, or rejected here)"
    )
