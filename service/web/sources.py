"""`/v1/sources` and `/v1/fixings`: who published what, when it was fetched, and the digest to check it by."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from aiohttp import web

from service.board import Board
from service.clock import Clock
from service.errors import StoreError
from service.fixings import Fixing
from service.publications import freshness, next_due, today
from service.store import Store
from service.web.pages import Page, cache_for
from service.web.problems import Problem, guarded, guarded_async
from service.web.render import to_json

NextPoll = Callable[[str], datetime | None]
_DATES_TOLD = 30
_FRESH = 15


def routes(board: Board, store: Store, next_poll: NextPoll, now: Clock) -> list[web.RouteDef]:
    polled = board.settings.polled

    @lru_cache(maxsize=1)
    def described(_second: int) -> Page:
        document = {"sources": [describe(board, key, next_poll(key), now()) for key in polled]}
        return _page(document, min((due for key in polled if (due := _due(board, key, now()))), default=None))

    def sources(request: web.Request) -> web.StreamResponse:
        return described(int(now.seconds())).reply(request, now.seconds())

    async def fixing(request: web.Request) -> web.StreamResponse:
        key, day = request.match_info["source"], request.match_info["date"]
        if key not in polled:
            raise Problem(404, f"There is no source {key[:40]!r}.", available=list(polled))
        found = await _find(board, store, key, day)
        if found is None:
            dates = [str(known.date) for known in reversed(board.series(key).fixings[-_DATES_TOLD:])]
            raise Problem(404, f"{key} has no fixing for {day[:20]!r}.", available=dates)
        page = _page(receipt(found, polled[key].name), _due(board, key, now()))
        return page.reply(request, now.seconds())

    return [web.get("/v1/sources", guarded(sources)), web.get("/v1/fixings/{source}/{date}", guarded_async(fixing))]


def _page(document: object, until: datetime | None) -> Page:
    return Page(to_json(document), "application/json", cache_for(_FRESH, until))


def _due(board: Board, key: str, now: datetime) -> datetime | None:
    """Return when a source publishes next, after which what we say of it may be old."""
    latest = board.series(key).news
    source = board.settings.polled[key]
    return next_due(source, latest.date if latest else today(source, now), now)


def describe(board: Board, key: str, next_poll: datetime | None, now: datetime) -> dict[str, Any]:
    """Return what there is to say of a source: who, how current, how the polls go."""
    source, state, series = board.settings.polled[key], board.states[key], board.series(key)
    latest, news = series.latest, series.news
    if state.error:
        condition = "failing"
    elif news is None:
        condition = "empty"
    elif source.recorded:
        condition = "recorded"
    else:
        condition = freshness(source, news.date, now).name.lower()
    return {
        "key": key,
        "name": source.name,
        "base": source.base,
        "terms": source.terms,
        "state": condition,
        "error": state.error,
        "last_fixing": str(latest.date) if latest else None,
        "last_change": str(news.date) if news else None,
        "last_poll": state.polled_at,
        "last_success": state.succeeded_at,
        "next_poll": next_poll.astimezone(UTC) if next_poll else None,
    }


def receipt(fixing: Fixing, name: str) -> Mapping[str, Any]:
    """Return a fixing as published, with all that is needed to check it."""
    return {"name": name, **asdict(fixing)}


async def _find(board: Board, store: Store, key: str, day: str) -> Fixing | None:
    """Return a fixing from memory, an older one from the store."""
    try:
        asked = date.fromisoformat(day)
    except ValueError:
        return None
    if str(asked) != day:  # one address a receipt: not 20260402 and not 2026-W14-4
        return None
    series = board.series(key)
    if series.fixings and series.fixings[0].date <= asked:
        return series.on(asked)
    try:
        return await store.fixing(key, asked)
    except StoreError:
        raise Problem(503, f"Older fixings of {key} cannot be read now.", {"Retry-After": "30"}) from None
