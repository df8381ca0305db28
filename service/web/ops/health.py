"""Health endpoints: `/livez` and `/readyz` for orchestrators, `/health` for operators.

`/health` follows draft-inadarei-api-health-check: 200 for `pass` and `warn`, 503 for `fail`. `?verbose` returns it as
plain text.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final, Protocol, SupportsFloat

from aiohttp import web
from msgspec import UNSET

from service import __version__
from service.clock import Clock
from service.cluster.follower import StoreFollower
from service.cluster.leader_election import LeaderElection
from service.domain import holidays
from service.domain.fixing import Fixing
from service.domain.publication_schedule import freshness, today, worsened
from service.domain.snapshot import Quote, Snapshot, Status
from service.runtime.program import set_rate_command
from service.settings import SourceSettings, TickerSettings
from service.state.deliveries import GIVE_UP, WebhookStatus
from service.state.memory import MemoryState
from service.storage.sync import StoreSync
from service.validation.quarantine import rates_digest
from service.validation.rules import rate_text
from service.web import models
from service.web.api.sources import describe
from service.web.http.problems import OPEN, Problem, handle_errors
from service.web.models import Component
from service.web.rendering.formats import to_json


class PollingState(Protocol):
    """The state of polling that the health checks read."""

    @property
    def stopped(self) -> bool: ...

    def next_poll(self, key: str, /) -> datetime: ...


_HEADERS = {**OPEN, "Cache-Control": "no-store"}
_WORST_FIRST: Final[tuple[models.Verdict, ...]] = ("fail", "warn", "pass")
_MAX_OFFSET: Final = timedelta(minutes=1)
"""Offset from the store's clock above which the status is `warn`."""
_MAX_LATENCY: Final = 0.25
"""Latency of the store, in seconds, above which the status is `warn`."""
_OVERDUE: Final = timedelta(minutes=15)
"""Delay of a poll above which it is overdue: more than a poll and a change of the leader take."""
_POLLING_STOPPED: Final = "polling stopped because of an internal error, see the log; restart the service"


@dataclass(frozen=True)
class HealthReport:
    """The components that the health document covers."""

    memory: MemoryState
    store_sync: StoreSync
    election: LeaderElection
    follower: StoreFollower
    polling: PollingState
    now: Clock
    started: datetime
    """Start of this instance: polls that were due before are due from then on."""
    webhooks: Mapping[str, WebhookStatus] = field(default_factory=dict)
    """By name."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the instance still serves although it is about to stop."""


def routes(health: HealthReport) -> list[web.RouteDef]:
    def livez(_: web.Request) -> web.StreamResponse:
        return _json(models.Alive())

    def readyz(_: web.Request) -> web.StreamResponse:
        if health.draining.is_set():
            raise Problem(503, "The instance is about to stop.", {"Retry-After": "5"})
        if not health.memory.snapshots:
            raise Problem(503, "No ticker has rates yet.", {"Retry-After": "5"})
        return _json(models.Alive())

    def details(request: web.Request) -> web.StreamResponse:
        document = report(health)
        return _plain_text(document) if "verbose" in request.query else _json(document)

    return [
        web.get("/livez", handle_errors(livez)),
        web.get("/readyz", handle_errors(readyz)),
        web.get("/health", handle_errors(details)),
    ]


def report(health: HealthReport) -> models.HealthDocument:
    """Return the health document: checks of each ticker and source, of the store, and of parts of this instance."""
    memory, now = health.memory, health.now()
    checks = {f"ticker:{ticker.id}": _ticker(ticker, memory, now) for ticker in memory.settings.tickers}
    overdue = _overdue_polls(health, now)
    for key in memory.settings.polled:
        checks[f"source:{key}"] = _source(memory, key, health.polling.next_poll(key), now, overdue.get(key))
    for name, webhook in health.webhooks.items():
        checks[f"webhook:{name}"] = _webhook(name, webhook, now)
    follower = health.follower.error
    checks["polling"] = _polling(health, overdue)
    checks["following"] = Component(status="fail", output=follower) if follower else Component(status="pass")
    checks["leader"] = _leader(health.election)
    checks["clock"] = _clock(health.election.offset)
    checks["store"] = _store(health)
    statuses = {check.status for check in checks.values()}
    return models.HealthDocument(
        status=next(status for status in _WORST_FIRST if status in statuses),
        version=__version__,
        description="currency ticker",
        time=now,
        notes=[check.output for check in checks.values() if check.output],
        checks={name: [check] for name, check in checks.items()},
    )


def _overdue_polls(health: HealthReport, now: datetime) -> dict[str, datetime]:
    """Return when each source should have been polled that is overdue, whichever instance polls."""
    due_times = {
        key: max(health.memory.poll_due(key) or health.started, health.started)
        for key in health.memory.settings.scheduled
    }
    return {key: due for key, due in due_times.items() if now - due > _OVERDUE}


def _polling(health: HealthReport, overdue: Mapping[str, datetime]) -> Component:
    """Fail if polling has stopped here, or if no instance has polled any source since one is overdue."""
    if health.polling.stopped:
        return Component(status="fail", output=_POLLING_STOPPED)
    first = min(overdue, key=lambda key: overdue[key], default=None)
    polls = [state.polled_at for state in health.memory.states.values() if state.polled_at]
    if first is None or any(polled_at > overdue[first] for polled_at in polls):
        return Component(status="pass")
    problem = (
        f"no instance polls the banks: {first} should have been polled at {_minute(overdue[first])}, and no source has "
        "been since; see the log of the leader and restart it"
    )
    return Component(status="fail", output=problem)


def _leader(election: LeaderElection) -> Component:
    problem = election.foreign_lock
    remedy = (
        "no instance can become the leader; delete the key `leader` below `store.prefix` (redis-cli DEL PREFIXleader)"
    )
    return Component(
        component_id=election.id,
        status="warn" if problem else "pass",
        observed_value=election.role,
        observed_unit="role",
        instances=[
            models.InstanceDocument(
                id=instance.id,
                role=instance.role,
                version=instance.version,
                started=instance.started,
                seen=instance.seen,
            )
            for instance in election.instances
        ],
        output=f"the leader's lock {problem}: {remedy}" if problem else UNSET,
    )


def _store(health: HealthReport) -> Component:
    error, latency = health.store_sync.error or health.election.error, health.election.latency
    if not error and latency is not None and latency > _MAX_LATENCY:
        error = f"the store is slow: latency {1000 * latency:.0f} ms"
    durability = health.store_sync.durability
    problems = [error] if error else [*health.store_sync.warnings()]
    return Component(
        component_type="datastore",
        status="warn" if problems else "pass",
        observed_value=UNSET if latency is None else _tenths(1000 * latency),
        observed_unit=UNSET if latency is None else "ms",
        persistence=models.PERSISTENCE[durability.appends],
        eviction=durability.policy or "unknown",
        output="; ".join(problems) or UNSET,
    )


def _clock(offset: timedelta | None) -> Component:
    if offset is None:
        return Component(status="pass")
    problem = f"the local clock is {abs(offset)} {'ahead of' if offset > timedelta() else 'behind'} the store's clock"
    is_wrong = abs(offset) > _MAX_OFFSET
    return Component(
        status="warn" if is_wrong else "pass",
        observed_value=_tenths(offset.total_seconds()),
        observed_unit="s",
        output=f"{problem}; synchronise the clocks, statuses depend on them" if is_wrong else UNSET,
    )


def _tenths(value: SupportsFloat) -> Decimal:
    return Decimal(f"{value:.1f}")


def _ticker(ticker: TickerSettings, memory: MemoryState, now: datetime) -> Component:
    snapshot = memory.snapshots.get(ticker.id)
    if snapshot is None:
        source = memory.settings.entered_source(ticker.id)
        entry = f"no rates have been entered yet; enter them with: {set_rate_command(source)}" if source else ""
        output = f"ticker {ticker.id}: {entry or 'no source has responded yet'}"
        return Component(component_id=ticker.id, status="fail", output=output)
    status: models.Verdict = "pass"
    if snapshot.status is not Status.CURRENT:
        status = "fail" if snapshot.status is Status.STALE else "warn"
    problems = [f"{snapshot.status}, as of {snapshot.as_of}"] if status != "pass" else []
    for quote in snapshot.quotes:
        if quote.source is None:
            problems.append(f"{quote.code} has no rate: {quote.reason}")
            status = "fail" if status == "fail" else "warn"
        elif _is_missing(quote, memory):
            problems.append(f"{quote.code} is of {quote.date}, and not in the latest publication of {quote.source}")
            status = "fail" if status == "fail" else "warn"
    return Component(
        component_id=ticker.id,
        status=status,
        observed_value=snapshot.status,
        observed_unit="status",
        time=snapshot.updated_at,
        since=_since(snapshot, memory, now),
        as_of=snapshot.as_of,
        next_update=snapshot.next_update,
        age=_age(snapshot.updated_at, now),
        choices={
            quote.code: models.Choice(
                source=quote.source, choice=quote.choice, reason=quote.reason, confidence=quote.confidence
            )
            for quote in snapshot.quotes
        },
        output=f"ticker {ticker.id}: {'; '.join(problems)}" if problems else UNSET,
    )


def _since(snapshot: Snapshot, memory: MemoryState, now: datetime) -> datetime | None:
    """Return since when a ticker has its status: its last update, or the close of the window that was missed."""
    if snapshot.status not in (Status.LATE, Status.STALE):
        return snapshot.updated_at
    polled, times = memory.settings.polled, list[datetime]()
    for quote in snapshot.quotes:
        if quote.source in polled and quote.date:
            source = polled[quote.source]
            is_as_bad = freshness(source, quote.date, now).name == snapshot.status.name
            since = worsened(source, quote.date, now) if is_as_bad else None
            times += [since] if since else []
    return min(times, default=None)


def _is_missing(quote: Quote, memory: MemoryState) -> bool:
    """Return whether the source of a quote has a later publication without a rate of its currency.

    A rate that is quarantined is reported as such, one that an operator has rejected or retracted no longer.
    """
    if quote.source not in memory.settings.polled or quote.date is None:
        return False
    if memory.settings.polled[quote.source].is_irregular:
        return False
    latest = memory.series(quote.source).latest
    if latest is None or quote.date >= latest.date:
        return False
    return quote.code not in {*latest.rates, latest.base, *memory.quarantine[quote.source].unpublished(latest.date)}


def _source(
    memory: MemoryState, key: str, next_poll: datetime | None, now: datetime, overdue: datetime | None
) -> Component:
    state, described = memory.states[key], describe(memory, key, next_poll, now)
    problems, latest = list(_problems(key, memory, described)), described.last_fixing
    if overdue:
        problems.append(f"{key}: has not been polled since it was due at {_minute(overdue)}")
    in_force = datetime.combine(latest, time(), memory.settings.polled[key].timezone) if latest else None
    quarantine = [
        models.Held(
            date=entry.fixing.date,
            since=entry.since,
            reasons=entry.reasons,
            digest=rates_digest(entry.fixing),
            rates=_held_rates(memory, key, entry.fixing),
        )
        for entry in memory.pending_quarantine(key)
    ]
    return Component(
        component_id=key,
        component_type="system",
        status="warn" if problems else "pass",
        observed_value=described.state,
        observed_unit="state",
        time=state.polled_at,
        last_fixing=latest,
        last_fixing_age=_age(in_force, now),
        last_success=state.succeeded_at,
        last_success_age=_age(state.succeeded_at, now),
        failing_since=state.failing_since,
        consecutive_failures=state.failures,
        next_poll=described.next_poll,
        quarantine=quarantine,
        output="; ".join([*problems, *_calendar_note(key, memory.settings.polled[key], now)]) or UNSET,
    )


def _calendar_note(key: str, source: SourceSettings, now: datetime) -> Iterator[str]:
    """Yield what to do when the days off by decree of this year are not known. It changes no status."""
    known_until, year = holidays.known_until(source.calendar), today(source, now).year
    is_configured = any(day.year == year for day in (*source.days_off, *source.working_days))
    if known_until and known_until < year and not is_configured:
        remedy = "upgrade, or set days_off and working_days"
        yield f"{key}: days off by decree are known up to {known_until} (calendar {source.calendar}); {remedy}"


def _held_rates(memory: MemoryState, key: str, fixing: Fixing) -> list[models.HeldRate]:
    """Return the quarantined rates that a ticker needs, each with the last published one."""
    rates, series = list[models.HeldRate](), memory.series(key)
    for code in sorted(memory.needed(key) & fixing.rates.keys()):
        quoting = [
            published for published in series.fixings if code in published.rates and published.date < fixing.date
        ]
        last = quoting[-1] if quoting else None
        rates.append(
            models.HeldRate(
                code=code,
                rate=rate_text(fixing, code),
                previous=rate_text(last, code) if last else None,
                previous_date=last.date if last else None,
            )
        )
    return rates


def _problems(key: str, memory: MemoryState, described: models.SourceDocument) -> Iterator[str]:
    """Yield the problems of a source."""
    state, latest, news = described.state, described.last_fixing, described.last_change
    if error := memory.states[key].error:
        yield error
    if left_out := memory.states[key].left_out:
        yield f"{key}: could not be read and was left out: {'; '.join(left_out)}"
    for entry in memory.pending_quarantine(key):
        if reasons := memory.needed_reasons(key, entry):
            yield f"{key}: {entry.fixing.date} is quarantined: {'; '.join(reasons)}"
    if diverging := memory.diverging(key):
        yield f"{key}: diverges from other banks: {'; '.join(diverging.values())}"
    if missing := memory.missing(key):
        yield f"{key}: {', '.join(missing)} missing from the latest publication"
    check = memory.own_check(key)
    if check and check.differences:
        changes = ", ".join(
            f"{difference.code} {difference.published}, computed {difference.computed}"
            for difference in check.differences
        )
        since = check.against
        yield f"{key}: the changes that the bank published for {news} differ from those since {since}: {changes}"
    if state in ("late", "stale"):
        repeated = f"rates up to {latest} repeat those of {news}" if latest != news else f"no new rates since {news}"
        yield f"{key}: {state}, {repeated}"


def _webhook(name: str, webhook: WebhookStatus, now: datetime) -> Component:
    state, problems = webhook.state, list[str]()
    if state.stopped_at:
        problems.append(f"the receiver refuses all events since {state.stopped_at:%F %T} UTC (status 410)")
    elif state.failing_since:
        problems.append(f"failing since {state.failing_since:%F %T} UTC, {webhook.waiting} events wait: {state.error}")
    if state.dropped_at and now - state.dropped_at < GIVE_UP:
        problems.append(f"events were dropped at {state.dropped_at:%F %T} UTC, {state.dropped} so far")
    return Component(
        component_id=name,
        component_type="system",
        status="warn" if problems else "pass",
        observed_value=webhook.waiting,
        observed_unit="events",
        time=state.delivered_at or UNSET,
        failing_since=state.failing_since,
        consecutive_failures=state.failures,
        output=f"webhook {name}: {'; '.join(problems)}" if problems else UNSET,
    )


def _minute(moment: datetime) -> str:
    return f"{moment:%F %R} UTC"


def _age(since: datetime | None, now: datetime) -> int | None:
    """Return the age in whole seconds; 0 for a time in the future."""
    return max(0, int((now - since).total_seconds())) if since else None


def _json(document: models.HealthDocument | models.Alive) -> web.Response:
    status = 503 if document.status == "fail" else 200
    return web.Response(body=to_json(document), status=status, headers=_HEADERS, content_type="application/health+json")


def _plain_text(document: models.HealthDocument) -> web.Response:
    lines = [f"{document.description} {document.version}: {document.status}, {document.time:%F %T} UTC"]
    for name, (check,) in document.checks.items():
        observed = "" if check.observed_value in (None, UNSET) else check.observed_value
        value = f"{observed} {check.observed_unit or ''}".removesuffix(" status")
        lines.append(f"{check.status}  {name:16} {value.removesuffix(' state').removesuffix(' role')}".rstrip())
        lines += [f"      {line}" for line in (_dated(check), check.output) if line]
    status = 503 if document.status == "fail" else 200
    return web.Response(text="\n".join(lines) + "\n", status=status, headers=_HEADERS)


def _dated(check: Component) -> str:
    """Return the times of a check as text, separated by commas."""
    times = {
        "as of": check.as_of,
        "next update": check.next_update,
        "last fixing": check.last_fixing,
        "last success": check.last_success,
        "next poll": check.next_poll,
    }
    return ", ".join(
        f"{label} {moment:%F %T}" if isinstance(moment, datetime) else f"{label} {moment}"
        for label, moment in times.items()
        if moment
    )
