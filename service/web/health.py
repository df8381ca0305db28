"""`/livez`, `/readyz`, `/health`: for whoever restarts, routes to, or looks after an instance.

`/health` follows draft-inadarei-api-health-check: `pass` and `warn` answer 200, `fail` 503. `?verbose` is the same as
text, for people.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final, Protocol

from aiohttp import web

from service import __version__
from service.archive import Archive
from service.board import Board
from service.clock import Clock
from service.following import Following
from service.leadership import Leadership
from service.settings import TickerSettings
from service.ticker import Snapshot, Status
from service.web.problems import OPEN, Problem, guarded
from service.web.render import to_json
from service.web.sources import describe


class Polling(Protocol):
    """What health must know of polling."""

    @property
    def stopped(self) -> bool: ...

    def next_poll(self, key: str) -> datetime | None: ...


_HEADERS = {**OPEN, "Cache-Control": "no-store"}
_WORST_FIRST = ("fail", "warn", "pass")
_OFF: Final = timedelta(minutes=1)
"""A clock that is so far from the store's is wrong."""
_SLOW: Final = 0.25
"""Seconds: a store that takes so long to answer is slow."""
_BROKEN: Final = "polling has stopped by a fault of ours, see the log; restart the service"


@dataclass(frozen=True)
class Health:
    """Whatever there is to look at."""

    board: Board
    archive: Archive
    leadership: Leadership
    following: Following
    polling: Polling
    now: Clock


def routes(health: Health) -> list[web.RouteDef]:
    def livez(_: web.Request) -> web.StreamResponse:
        return _answer({"status": "pass"})

    def readyz(_: web.Request) -> web.StreamResponse:
        if not health.board.snapshots:
            raise Problem(503, "No ticker has figures yet.", {"Retry-After": "5"})
        return _answer({"status": "pass"})

    def details(request: web.Request) -> web.StreamResponse:
        document = report(health)
        return _told_to_people(document) if "verbose" in request.query else _answer(document)

    return [
        web.get("/livez", guarded(livez)),
        web.get("/readyz", guarded(readyz)),
        web.get("/health", guarded(details)),
    ]


def report(health: Health) -> dict[str, Any]:
    """Return the whole health document: a check a ticker, a source, the store, and the parts of this instance."""
    board, now = health.board, health.now()
    checks = {
        f"ticker:{ticker.id}": _ticker(ticker, board.snapshots.get(ticker.id), now) for ticker in board.settings.tickers
    }
    for key in board.settings.polled:
        checks[f"source:{key}"] = _source(board, key, health.polling.next_poll(key), now)
    checks["polling"] = _check("fail", _BROKEN) if health.polling.stopped else _check("pass")
    checks["following"] = _check("fail" if health.following.error else "pass", health.following.error)
    checks["leader"] = _check("pass") | {"observedValue": health.leadership.role, "observedUnit": "role"}
    checks["clock"] = _clock(health.leadership.offset)
    checks["store"] = _store(health)
    found = {check["status"] for check in checks.values()}
    return {
        "status": next(status for status in _WORST_FIRST if status in found),
        "version": __version__,
        "description": "currency ticker",
        "time": now,
        "notes": [check["output"] for check in checks.values() if "output" in check],
        "checks": {name: [check] for name, check in checks.items()},
    }


def _check(status: str, output: str | None = None, kind: str = "component") -> dict[str, Any]:
    return {"componentType": kind, "status": status} | ({"output": output} if output else {})


def _store(health: Health) -> dict[str, Any]:
    error, latency = health.archive.error or health.leadership.error, health.leadership.latency
    if not error and latency is not None and latency > _SLOW:
        error = f"the store is slow: it took {1000 * latency:.0f} ms to answer"
    check = _check("warn" if error else "pass", error, "datastore")
    if latency is not None:
        check |= {"observedValue": round(1000 * latency, 1), "observedUnit": "ms"}
    return check


def _clock(offset: timedelta | None) -> dict[str, Any]:
    if offset is None:
        return _check("pass")
    wrong = f"the clock here is {abs(offset)} {'ahead of' if offset > timedelta() else 'behind'} the store's"
    check = _check("warn", f"{wrong}: set them right, statuses go by them") if abs(offset) > _OFF else _check("pass")
    return check | {"observedValue": round(offset.total_seconds(), 1), "observedUnit": "s"}


def _ticker(ticker: TickerSettings, snapshot: Snapshot | None, now: datetime) -> dict[str, Any]:
    check: dict[str, Any] = {"componentId": ticker.id, "componentType": "component"}
    if snapshot is None:
        return check | {"status": "fail", "output": f"ticker {ticker.id}: no source has answered yet"}
    check |= {"observedValue": snapshot.status, "observedUnit": "status", "time": snapshot.updated_at}
    check |= {"asOf": snapshot.as_of, "nextUpdate": snapshot.next_update, "age": _age(snapshot.updated_at, now)}
    check["choices"] = {
        quote.code: {"source": quote.source, "choice": quote.choice, "reason": quote.reason}
        for quote in snapshot.quotes
    }
    if snapshot.status is Status.CURRENT:
        return check | {"status": "pass"}
    told = f"ticker {ticker.id}: {snapshot.status}, as of {snapshot.as_of}"
    return check | {"status": "fail" if snapshot.status is Status.STALE else "warn", "output": told}


def _source(board: Board, key: str, next_poll: datetime | None, now: datetime) -> dict[str, Any]:
    state, described, held_up = board.states[key], describe(board, key, next_poll, now), board.held_up(key)
    told, latest = list(_told(key, board, described)), board.series(key).latest
    in_force = datetime.combine(latest.date, time(), board.settings.polled[key].timezone) if latest else None
    check = {
        "componentId": key,
        "componentType": "system",
        "status": "warn" if told else "pass",
        "observedValue": described["state"],
        "observedUnit": "state",
        "time": state.polled_at,
        "lastFixing": described["last_fixing"],
        "lastFixingAge": _age(in_force, now),
        "lastSuccess": state.succeeded_at,
        "lastSuccessAge": _age(state.succeeded_at, now),
        "failingSince": state.failing_since,
        "consecutiveFailures": state.failures,
        "nextPoll": described["next_poll"],
        "quarantine": [{"date": one.fixing.date, "since": one.since, "reasons": one.reasons} for one in held_up],
    }
    return check | {"output": "; ".join(told)} if told else check


def _told(key: str, board: Board, described: Mapping[str, Any]) -> Iterator[str]:
    """Tell what is wrong with a source; nothing where all is well."""
    state, latest, news = described["state"], described["last_fixing"], described["last_change"]
    if error := board.states[key].error:
        yield error
    for one in board.held_up(key):
        yield f"{key}: {one.fixing.date} waits in quarantine: {'; '.join(one.reasons)}"
    own = board.own_check(key)
    if own and own.differences:
        figures = ", ".join(f"{one.code} {one.published}, computed {one.computed}" for one in own.differences)
        yield f"{key}: the bank's own changes of {news} are not those since {own.against}: {figures}"
    if state in ("late", "stale"):
        same = f"its figures up to {latest} are those of {news}" if latest != news else f"nothing new since {news}"
        yield f"{key}: {state}, {same}"


def _age(since: datetime | None, now: datetime) -> int | None:
    """Return whole seconds; none have passed since what is still to come."""
    return max(0, int((now - since).total_seconds())) if since else None


def _answer(document: dict[str, Any]) -> web.Response:
    status = 503 if document["status"] == "fail" else 200
    return web.Response(body=to_json(document), status=status, headers=_HEADERS, content_type="application/health+json")


def _told_to_people(document: dict[str, Any]) -> web.Response:
    lines = [f"{document['description']} {document['version']}: {document['status']}, {document['time']:%F %T} UTC"]
    for name, (check,) in document["checks"].items():
        value = f"{check.get('observedValue', '')} {check.get('observedUnit', '')}".removesuffix(" status")
        lines.append(f"{check['status']}  {name:16} {value.removesuffix(' state').removesuffix(' role')}".rstrip())
        lines += [f"      {line}" for line in filter(None, [_dated(check), check.get("output")])]
    status = 503 if document["status"] == "fail" else 200
    return web.Response(text="\n".join(lines) + "\n", status=status, headers=_HEADERS)


def _dated(check: Mapping[str, Any]) -> str:
    """Tell the times of a check, those that it has."""
    words = {
        "asOf": "as of",
        "nextUpdate": "next update",
        "lastFixing": "last fixing",
        "lastSuccess": "last success",
        "nextPoll": "next poll",
    }
    times = {word: check[name] for name, word in words.items() if check.get(name)}
    return ", ".join(f"{word} {at:%F %T}" if isinstance(at, datetime) else f"{word} {at}" for word, at in times.items())
