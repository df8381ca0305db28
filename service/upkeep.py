"""What an operator does to what is stored: decide on what waits, fill the past, move it all."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn
from rich.table import Table

from service import portable, publications
from service.acceptance import figure, unusable
from service.app import checked
from service.backfill import Backfill, Count
from service.clock import Clock
from service.commands import QUIET, source_of, text, with_store
from service.errors import SettingsError, TickerError
from service.fixings import Fixing
from service.logs import configure
from service.quarantine import Decision, Outcome, Quarantine, Waiting
from service.settings import Settings
from service.sources import LATEST_ONLY
from service.sources.client import BankFeed, Client
from service.store import Store

_TOLD: Final = 20
"""Decisions that are printed."""


def quarantine(settings: Settings) -> None:
    """Print what waits, and how the last waits ended."""
    configure(QUIET)
    keys = list(settings.sources)  # a backfill may have filled one that is not polled

    async def read(store: Store) -> tuple[list[Waiting], list[Decision]]:
        waiting = [one for key in keys for one in await store.waiting(key)]
        return waiting, [one for key in keys for one in await store.decisions(key)]

    waiting, decisions = with_store(settings, read)
    table = Table("source", "date", "since", "why", title="in quarantine")
    for one in waiting:
        table.add_row(one.fixing.source, str(one.fixing.date), text(one.since), "\n".join(one.reasons))
    console = Console()
    console.print(table if waiting else "nothing waits")
    ended = Table("source", "date", "waited since", "ended", "how", title="decided")
    for decision in sorted(decisions, key=lambda one: one.at, reverse=True)[:_TOLD]:
        fixing, since = decision.waiting.fixing, decision.waiting.since
        ended.add_row(fixing.source, str(fixing.date), text(since), text(decision.at), decision.outcome)
    if decisions:
        console.print(ended)


def decide(settings: Settings, key: str, day: date, outcome: Outcome) -> None:
    """Publish what waits for a date, or see to it that it never is; the service follows by itself."""
    configure(QUIET)

    async def end(store: Store) -> str:
        found, told = {one.fixing.date: one for one in await store.waiting(key)}, ""
        if outcome is Outcome.ACCEPTED and day not in found:
            rejected = _rejected(await store.decisions(key), day, await store.fixing(key, day))
            found |= {one.waiting.fixing.date: one.waiting for one in rejected[:1]}
            if len(rejected) > 1:
                latest, *others = (one.waiting.fixing for one in rejected)
                told = f", of {len(rejected)} forms that were rejected the latest: {_differing(latest, others)}"
        if day not in found:
            waits = ", ".join(map(str, found)) or "nothing"
            raise TickerError(f"{key}: nothing waits for {day}; there is {waits}")
        decision = Decision(found[day], outcome, Clock()())
        fixing = decision.waiting.fixing
        if outcome is Outcome.REJECTED:
            await store.decide(decision)
        elif bad := unusable(fixing):
            raise TickerError(f"{key}: the fixing of {day} cannot be published by anybody: {'; '.join(bad)}")
        else:
            replaced = await store.fixing(key, day)
            await store.save(fixing.revising(replaced) if replaced else fixing, decision=decision)
        return told

    Console(soft_wrap=True).print(f"{key} {day}: {outcome}{with_store(settings, end)}")


def _rejected(decisions: Sequence[Decision], day: date, published: Fixing | None) -> list[Decision]:
    """Return how the forms of a day were rejected that may be taken back, newest first.

    Raises `TickerError` where the day has a fixing that says the same, or that came since.
    """
    forms = Quarantine.of([], decisions).rejected.get(day, ())
    rejected = [one for one in decisions if any(one.waiting.fixing is form for form in forms)]
    if not rejected or published is None:
        return rejected
    latest = rejected[0]
    form, since = latest.waiting.fixing, decisions[: decisions.index(latest)]
    what = f"{published.source}: what was rejected for {day}"
    if published.same_figures(form):
        raise TickerError(f"{what} is published already")
    let_in = {one.waiting.fixing.date for one in since if one.outcome in (Outcome.ACCEPTED, Outcome.CONFIRMED)}
    if day in let_in or published.fetched_at >= latest.at:
        raise TickerError(f"{what} has been overtaken, this is published: {_differing(published, [form])}")
    return rejected


def _differing(one: Fixing, others: Sequence[Fixing]) -> str:
    """Return in what a form of a fixing differs from others."""
    told = [{code: figure(form, code) for code in form.rates} for form in (one, *others)]
    codes = sorted(code for code in set().union(*told) if len({form.get(code) for form in told}) > 1)
    return ", ".join(f"{code} {told[0][code]}" if code in told[0] else f"no {code}" for code in codes)


def backfill(settings: Settings, key: str, since: date, until: date | None, pause: timedelta | None) -> None:
    """Fill the past of a source; what is done is kept, whatever happens."""
    configure(QUIET)
    source = source_of(checked(settings), key)
    if settings.adapter(key) in LATEST_ONLY:
        raise SettingsError(f"{key} tells its latest figures only, there is no past to ask for")
    clock = Clock()
    until = until or publications.today(source, clock())
    if since > until:
        raise SettingsError(f"--from {since} lies after {until}")

    async def fill(store: Store) -> Count:
        wait = settings.client.pause if pause is None else pause
        async with Client(settings.client) as client:
            feed = BankFeed(key, source, client, clock, settings.wanted(key), pause=wait)
            run = Backfill(settings, store, feed, clock, told)
            progress.update(task, total=sum((last - first).days + 1 for first, last in await run.steps(since, until)))
            return await run.run(since, until)

    def told(days: int, count: Count) -> None:
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


def export(settings: Settings, path: Path) -> None:
    """Write all fixings to a file."""
    configure(QUIET)
    count, unreadable = with_store(settings, lambda store: portable.export(store, path))
    Console().print(f"{path}: {count} fixings")
    if unreadable:
        raise TickerError(f"{unreadable} more could not be read by this version, and are not in the file")


def load(settings: Settings, path: Path) -> None:
    """Take in the fixings of a file."""
    configure(QUIET)
    new, known, different = with_store(settings, lambda store: portable.load(store, path, Clock()()))
    Console().print(
        f"{path}: {new} new, {known} known, {different} different from what is known, or rejected here: left out"
    )
