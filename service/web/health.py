"""`/livez`, `/readyz`, `/health`: for whoever restarts, routes to, or looks after an instance.

`/health` follows draft-inadarei-api-health-check: `pass` and `warn` answer 200, `fail` 503.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from aiohttp import web

from service import __version__
from service.archive import Archive
from service.board import Board
from service.clock import Clock
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


def routes(board: Board, archive: Archive, polling: Polling, now: Clock) -> list[web.RouteDef]:
    def livez(_: web.Request) -> web.StreamResponse:
        return _answer({"status": "pass"})

    def readyz(_: web.Request) -> web.StreamResponse:
        if not board.snapshots:
            raise Problem(503, "No ticker has figures yet.", {"Retry-After": "5"})
        return _answer({"status": "pass"})

    def health(_: web.Request) -> web.StreamResponse:
        return _answer(report(board, archive, polling, now()))

    return [
        web.get("/livez", guarded(livez)),
        web.get("/readyz", guarded(readyz)),
        web.get("/health", guarded(health)),
    ]


def report(board: Board, archive: Archive, polling: Polling, now: datetime) -> dict[str, Any]:
    """Return the whole health document: a check a ticker, a source and the store."""
    checks = {
        f"ticker:{ticker.id}": _ticker(ticker, board.snapshots.get(ticker.id)) for ticker in board.settings.tickers
    }
    for key in board.settings.polled:
        checks[f"source:{key}"] = _source(board, key, polling.next_poll(key), now)
    checks["polling"] = {"componentType": "component", "status": "fail" if polling.stopped else "pass"}
    if polling.stopped:
        checks["polling"]["output"] = "polling has stopped by a fault of ours, see the log; restart the service"
    checks["store"] = {
        "componentType": "datastore",
        "status": "warn" if archive.error else "pass",
        **({"output": archive.error} if archive.error else {}),
    }
    found = {check["status"] for check in checks.values()}
    return {
        "status": next(status for status in _WORST_FIRST if status in found),
        "version": __version__,
        "description": "currency ticker",
        "time": now,
        "notes": [check["output"] for check in checks.values() if "output" in check],
        "checks": {name: [check] for name, check in checks.items()},
    }


def _ticker(ticker: TickerSettings, snapshot: Snapshot | None) -> dict[str, Any]:
    check: dict[str, Any] = {"componentId": ticker.id, "componentType": "component"}
    if snapshot is None:
        return check | {"status": "fail", "output": f"ticker {ticker.id}: no source has answered yet"}
    check |= {"observedValue": snapshot.status, "observedUnit": "status", "time": snapshot.updated_at}
    check |= {"asOf": snapshot.as_of, "nextUpdate": snapshot.next_update}
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
    told = list(_told(key, board, described))
    check = {
        "componentId": key,
        "componentType": "system",
        "status": "warn" if told else "pass",
        "observedValue": described["state"],
        "observedUnit": "state",
        "time": state.polled_at,
        "lastFixing": described["last_fixing"],
        "lastSuccess": state.succeeded_at,
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


def _answer(document: dict[str, Any]) -> web.Response:
    status = 503 if document["status"] == "fail" else 200
    return web.Response(body=to_json(document), status=status, headers=_HEADERS, content_type="application/health+json")
