"""`/v1/fixings`: receipts of publications, and the raw responses of the banks."""

from datetime import date, timedelta
from typing import Any, Final

from aiohttp import web
from msgspec import UNSET

from service.clock import Clock
from service.domain.fixing import Fixing, Series
from service.domain.surrogate_keys import source_key, surrogate_headers
from service.errors import StoreError
from service.settings import SourceSettings
from service.state.memory import MemoryState
from service.storage.repository import Store
from service.validation.cross_check import CrossCheck
from service.validation.published_change import check
from service.web import models
from service.web.api.sources import due
from service.web.http.problems import Problem, handle_async_errors
from service.web.http.responses import Representation, cache_for
from service.web.rendering.formats import to_json

_LISTED_DATES: Final = 30
"""Latest dates that an error lists."""
_MAX_AGE: Final = 15
"""Seconds for which responses may be cached."""
_AROUND: Final = 10
"""Days before and after an old fixing for which rates of other banks are read."""
_SANDBOX: Final = {"Content-Security-Policy": "default-src 'none'; sandbox"}
"""Headers of raw responses: browsers must not run the content of a bank in the origin of the service."""


def routes(memory: MemoryState, store: Store, now: Clock) -> list[web.RouteDef]:
    polled, http = memory.settings.polled, memory.settings.http

    async def requested(request: web.Request) -> tuple[Fixing, Fixing | None]:
        key, day = request.match_info["source"], request.match_info["date"]
        if key not in polled:
            raise Problem(404, f"Unknown source {key[:40]!r}.", available=list(polled))
        try:
            pair = await find(memory, store, key, day)
        except StoreError:
            detail = f"Older fixings of {key} are temporarily unavailable."
            raise Problem(503, detail, {"Retry-After": "30"}) from None
        if pair is None:
            dates = [str(fixing.date) for fixing in reversed(memory.series(key).fixings[-_LISTED_DATES:])]
            raise Problem(404, f"{key} has no fixing for {day[:20]!r}.", available=dates)
        return pair

    async def fixing(request: web.Request) -> web.StreamResponse:
        new, before = await requested(request)
        document = receipt(new, before, polled[new.source], await cross_check(memory, store, new))
        caching = cache_for(_MAX_AGE, due(memory, new.source, now()))
        page = Representation(
            to_json(document), "application/json", caching, surrogate_headers(http, source_key(new.source))
        )
        return page.reply(request, now.seconds())

    async def raw(request: web.Request) -> web.StreamResponse:
        new, _ = await requested(request)
        try:
            body = await store.raw(new.source, new.digest)
        except StoreError:
            detail = f"Raw responses of {new.source} are temporarily unavailable."
            raise Problem(503, detail, {"Retry-After": "30"}) from None
        if body is None:
            detail = f"The raw response of {new.source} for {new.date} is no longer stored; the receipt has its digest."
            raise Problem(404, detail)
        keys = surrogate_headers(http, source_key(new.source))
        headers = {**_SANDBOX, **keys, "Content-Disposition": f'attachment; filename="{new.source}-{new.date}.raw"'}
        caching = cache_for(_MAX_AGE, due(memory, new.source, now()))
        page = Representation(body, "application/octet-stream", caching, headers, compressed=False)
        return page.reply(request, now.seconds())

    return [
        web.get("/v1/fixings/{source}/{date}.raw", handle_async_errors(raw)),
        web.get("/v1/fixings/{source}/{date}", handle_async_errors(fixing)),
    ]


def receipt(new: Fixing, before: Fixing | None, source: SourceSettings, others: CrossCheck) -> models.Receipt:
    """Return the receipt of a fixing: the rates as published, with everything needed to verify them."""
    raw = f"{models.receipt_path(new.source, new.date)}.raw"
    confidence = {code: others.assess(new.source, new, code).confidence for code in new.rates}
    return models.Receipt(
        name=source.name,
        confidence=confidence,
        check=check(new, before, source),
        raw=raw,
        **_fields(new),
        revisions=tuple(models.FixingDocument(**_fields(earlier), revisions=()) for earlier in new.revisions),
    )


def _fields(fixing: Fixing) -> dict[str, Any]:
    """Return the fields of the document of a fixing, but its revisions."""
    return {
        "source": fixing.source,
        "base": fixing.base,
        "date": fixing.date,
        "rates": {code: models.RateDocument.of(rate) for code, rate in fixing.rates.items()},
        "url": fixing.url,
        "fetched_at": fixing.fetched_at,
        "digest": fixing.digest,
        "direction": fixing.direction,
        "entered_by": fixing.entered_by or UNSET,
    }


async def cross_check(memory: MemoryState, store: Store, new: Fixing) -> CrossCheck:
    """Return the rates of all sources around a date, to compare: from memory, or for an old fixing from the store.

    If the store cannot be read, an old fixing is compared with nothing.
    """
    in_memory = memory.series(new.source).fixings
    if in_memory and in_memory[0].date <= new.date:
        return memory.cross_check
    days = [new.date + timedelta(days=offset) for offset in range(-_AROUND, _AROUND + 1)]
    try:
        stored = {key: Series(tuple(await store.fixings(key, days))) for key in memory.settings.polled}
    except StoreError:
        stored = dict.fromkeys(memory.settings.polled, Series())
    return memory.cross_check_of(stored)


async def find(memory: MemoryState, store: Store, key: str, day: str) -> tuple[Fixing, Fixing | None] | None:
    """Return a fixing and the one before it, from memory, or old ones from the store; None if it does not exist.

    Raises `StoreError`.
    """
    try:
        effective_date = date.fromisoformat(day)
    except ValueError:
        return None
    if str(effective_date) != day:  # one URL for each receipt: not 20260402 and not 2026-W14-4
        return None
    series = memory.series(key)
    new, before = series.on(effective_date), series.before(effective_date)
    if (new and before) or (series.fixings and series.fixings[0].date < effective_date):
        return (new, before) if new else None
    if not new:
        new = await store.fixing(key, effective_date)
    if new:
        earlier_dates = [stored for stored in await store.dates(key) if stored < effective_date]
        before = await store.fixing(key, earlier_dates[-1]) if earlier_dates else None
    return (new, before) if new else None
