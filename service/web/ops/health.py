"""`/livez`, `/readyz`, `/health`: for whoever restarts, routes to, or looks after an instance.

`/health` follows draft-inadarei-api-health-check: `pass` and `warn` answer 200, `fail` 503. `?verbose` is the same as
text, for people.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final, Protocol, SupportsFloat

from aiohttp import web
from msgspec import UNSET

from service import __version__
from service.clock import Clock
from service.cluster.follower import StoreFollower
from service.cluster.leader_election import LeaderElection
from service.domain.snapshot import Snapshot, Status
from service.settings import TickerSettings
from service.state.memory import MemoryState
from service.storage.sync import StoreSync
from service.web import models
from service.web.api.sources import describe
from service.web.http.problems import OPEN, Problem, handle_errors
from service.web.models import Component
from service.web.rendering.formats import to_json


class PollingState(Protocol):
    """What health must know of polling."""

    @property
    def stopped(self) -> bool: ...

    def next_poll(self, key: str, /) -> datetime: ...


_HEADERS = {**OPEN, "Cache-Control": "no-store"}
_WORST_FIRST: Final[tuple[models.Verdict, ...]] = ("fail", "warn", "pass")
_OFF: Final = timedelta(minutes=1)
"""A clock that is so far from the store's is wrong."""
_SLOW: Final = 0.25
"""Seconds: a store that takes so long to answer is slow."""
_BROKEN: Final = "polling has stopped by a fault of ours, see the log; restart the service"


@dataclass(frozen=True)
class HealthReport:
    """Whatever there is to look at."""

    memory: MemoryState
    store_sync: StoreSync
    election: LeaderElection
    follower: StoreFollower
    polling: PollingState
    now: Clock


def routes(health: HealthReport) -> list[web.RouteDef]:
    def livez(_: web.Request) -> web.StreamResponse:
        return _answer(models.Alive())

    def readyz(_: web.Request) -> web.StreamResponse:
        if not health.memory.snapshots:
            raise Problem(503, "No ticker has figures yet.", {"Retry-After": "5"})
        return _answer(models.Alive())

    def details(request: web.Request) -> web.StreamResponse:
        document = report(health)
        return _told_to_people(document) if "verbose" in request.query else _answer(document)

    return [
        web.get("/livez", handle_errors(livez)),
        web.get("/readyz", handle_errors(readyz)),
        web.get("/health", handle_errors(details)),
    ]


def report(health: HealthReport) -> models.HealthDocument:
    """Return the whole health document: a check a ticker, a source, the store, and the parts of this instance."""
    memory, now = health.memory, health.now()
    checks = {
        f"ticker:{ticker.id}": _ticker(ticker, memory.snapshots.get(ticker.id), now)
        for ticker in memory.settings.tickers
    }
    for key in memory.settings.polled:
        checks[f"source:{key}"] = _source(memory, key, health.polling.next_poll(key), now)
    follower = health.follower.error
    checks["polling"] = Component(status="fail", output=_BROKEN) if health.polling.stopped else Component(status="pass")
    checks["following"] = Component(status="fail", output=follower) if follower else Component(status="pass")
    checks["leader"] = Component(status="pass", observed_value=health.election.role, observed_unit="role")
    checks["clock"] = _clock(health.election.offset)
    checks["store"] = _store(health)
    found = {check.status for check in checks.values()}
    return models.HealthDocument(
        status=next(status for status in _WORST_FIRST if status in found),
        version=__version__,
        description="currency ticker",
        time=now,
        notes=[check.output for check in checks.values() if check.output],
        checks={name: [check] for name, check in checks.items()},
    )


def _store(health: HealthReport) -> Component:
    error, latency = health.store_sync.error or health.election.error, health.election.latency
    if not error and latency is not None and latency > _SLOW:
        error = f"the store is slow: it took {1000 * latency:.0f} ms to answer"
    return Component(
        component_type="datastore",
        status="warn" if error else "pass",
        observed_value=UNSET if latency is None else _tenths(1000 * latency),
        observed_unit=UNSET if latency is None else "ms",
        output=error or UNSET,
    )


def _clock(offset: timedelta | None) -> Component:
    if offset is None:
        return Component(status="pass")
    wrong = f"the clock here is {abs(offset)} {'ahead of' if offset > timedelta() else 'behind'} the store's"
    off = abs(offset) > _OFF
    return Component(
        status="warn" if off else "pass",
        observed_value=_tenths(offset.total_seconds()),
        observed_unit="s",
        output=f"{wrong}: set them right, statuses go by them" if off else UNSET,
    )


def _tenths(value: SupportsFloat) -> Decimal:
    return Decimal(f"{value:.1f}")


def _ticker(ticker: TickerSettings, snapshot: Snapshot | None, now: datetime) -> Component:
    if snapshot is None:
        return Component(
            component_id=ticker.id, status="fail", output=f"ticker {ticker.id}: no source has answered yet"
        )
    status: models.Verdict = "pass"
    if snapshot.status is not Status.CURRENT:
        status = "fail" if snapshot.status is Status.STALE else "warn"
    told = f"ticker {ticker.id}: {snapshot.status}, as of {snapshot.as_of}"
    return Component(
        component_id=ticker.id,
        status=status,
        observed_value=snapshot.status,
        observed_unit="status",
        time=snapshot.updated_at,
        as_of=snapshot.as_of,
        next_update=snapshot.next_update,
        age=_age(snapshot.updated_at, now),
        choices={
            quote.code: models.Choice(
                source=quote.source, choice=quote.choice, reason=quote.reason, confidence=quote.confidence
            )
            for quote in snapshot.quotes
        },
        output=UNSET if status == "pass" else told,
    )


def _source(memory: MemoryState, key: str, next_poll: datetime | None, now: datetime) -> Component:
    state, described, held_up = (
        memory.states[key],
        describe(memory, key, next_poll, now),
        memory.pending_quarantine(key),
    )
    told, latest = list(_told(key, memory, described)), described.last_fixing
    in_force = datetime.combine(latest, time(), memory.settings.polled[key].timezone) if latest else None
    return Component(
        component_id=key,
        component_type="system",
        status="warn" if told else "pass",
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
        quarantine=[models.Held(date=one.fixing.date, since=one.since, reasons=one.reasons) for one in held_up],
        output="; ".join(told) or UNSET,
    )


def _told(key: str, memory: MemoryState, described: models.SourceDocument) -> Iterator[str]:
    """Tell what is wrong with a source; nothing where all is well."""
    state, latest, news = described.state, described.last_fixing, described.last_change
    if error := memory.states[key].error:
        yield error
    for one in memory.pending_quarantine(key):
        if reasons := memory.needed_reasons(key, one):
            yield f"{key}: {one.fixing.date} is in quarantine: {'; '.join(reasons)}"
    if diverging := memory.diverging(key):
        yield f"{key}: diverges from other banks: {'; '.join(diverging.values())}"
    if missing := memory.missing(key):
        yield f"{key}: {', '.join(missing)} missing from the latest publication"
    own = memory.own_check(key)
    if own and own.differences:
        figures = ", ".join(f"{one.code} {one.published}, computed {one.computed}" for one in own.differences)
        yield f"{key}: the bank's own changes of {news} are not those since {own.against}: {figures}"
    if state in ("late", "stale"):
        same = f"its figures up to {latest} are those of {news}" if latest != news else f"nothing new since {news}"
        yield f"{key}: {state}, {same}"


def _age(since: datetime | None, now: datetime) -> int | None:
    """Return whole seconds; none have passed since what is still to come."""
    return max(0, int((now - since).total_seconds())) if since else None


def _answer(document: models.HealthDocument | models.Alive) -> web.Response:
    status = 503 if document.status == "fail" else 200
    return web.Response(body=to_json(document), status=status, headers=_HEADERS, content_type="application/health+json")


def _told_to_people(document: models.HealthDocument) -> web.Response:
    lines = [f"{document.description} {document.version}: {document.status}, {document.time:%F %T} UTC"]
    for name, (check,) in document.checks.items():
        seen = "" if check.observed_value in (None, UNSET) else check.observed_value
        value = f"{seen} {check.observed_unit or ''}".removesuffix(" status")
        lines.append(f"{check.status}  {name:16} {value.removesuffix(' state').removesuffix(' role')}".rstrip())
        lines += [f"      {line}" for line in (_dated(check), check.output) if line]
    status = 503 if document.status == "fail" else 200
    return web.Response(text="\n".join(lines) + "\n", status=status, headers=_HEADERS)


def _dated(check: Component) -> str:
    """Tell the times of a check, those that it has."""
    times = {
        "as of": check.as_of,
        "next update": check.next_update,
        "last fixing": check.last_fixing,
        "last success": check.last_success,
        "next poll": check.next_poll,
    }
    told = {word: at for word, at in times.items() if at}
    return ", ".join(f"{word} {at:%F %T}" if isinstance(at, datetime) else f"{word} {at}" for word, at in told.items())
