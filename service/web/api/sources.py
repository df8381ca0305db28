"""`/v1/sources`: all polled sources, their latest publication, polls and state."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from aiohttp import web
from msgspec import structs

from service.clock import Clock
from service.domain.publication_schedule import ExpectedArrival, Freshness, awaited, freshness, next_due, today
from service.state.memory import MemoryState
from service.web import models
from service.web.http.problems import handle_async_errors
from service.web.http.responses import Representation, cache_for
from service.web.rendering.formats import to_json

NextPoll = Callable[[str], datetime | None]
_FRESH = 15
_AGES: Final[Mapping[Freshness, models.State]] = {
    Freshness.CURRENT: "current",
    Freshness.LATE: "late",
    Freshness.STALE: "stale",
}


def routes(memory: MemoryState, next_poll: NextPoll, now: Clock) -> list[web.RouteDef]:
    polled = memory.settings.polled

    @lru_cache(maxsize=1)
    def described(_second: int) -> Representation:
        documents = [with_days(describe(memory, key, next_poll(key), now()), memory, now()) for key in polled]
        document = models.Sources(sources=documents)
        due_times = [due(memory, key, now()) for key in polled]
        soonest = min((due_time for due_time in due_times if due_time), default=None)
        return Representation(to_json(document), "application/json", cache_for(_FRESH, soonest))

    async def sources(request: web.Request) -> web.StreamResponse:
        await prepare_days(memory, now())
        return described(int(now.seconds())).reply(request, now.seconds())

    return [web.get("/v1/sources", handle_async_errors(sources))]


async def prepare_days(memory: MemoryState, now: datetime) -> None:
    """Compute what became of the last publications of each source, if it has changed, in slices."""
    for key in memory.settings.polled:
        memory.publication_days(key, now)
        await asyncio.sleep(0)


def with_days(document: models.SourceDocument, memory: MemoryState, now: datetime) -> models.SourceDocument:
    """Return the document of a source with what became of its last publications."""
    days = memory.publication_days(document.key, now)
    return structs.replace(document, days=models.DaysDocument(since=days.first, states=days.states))


def due(memory: MemoryState, key: str, now: datetime) -> datetime | None:
    """Return when the next publication of a source is due: until then, responses about it may be cached."""
    latest = memory.series(key).latest_distinct
    source = memory.settings.polled[key]
    return next_due(source, latest.date if latest else today(source, now), now)


def describe(memory: MemoryState, key: str, next_poll: datetime | None, now: datetime) -> models.SourceDocument:
    """Return the document of a source: its latest publication, polls and state."""
    source, state, series = memory.settings.polled[key], memory.states[key], memory.series(key)
    latest, news = series.latest, series.latest_distinct
    if state.error:
        condition: models.State = "failing"
    elif news is None:
        condition = "empty"
    elif source.recorded:
        condition = "recorded"
    else:
        condition = _AGES[freshness(source, news.date, now)]
        if condition == "current" and state.left_out:
            condition = "partial"
    expected = _expected(memory, key, now)
    return models.SourceDocument(
        key=key,
        name=source.name,
        base=source.base,
        terms=source.terms,
        state=condition,
        error=state.error,
        left_out=state.left_out,
        last_fixing=latest.date if latest else None,
        last_change=news.date if news else None,
        last_poll=state.polled_at,
        last_success=state.succeeded_at,
        next_poll=next_poll.astimezone(UTC) if next_poll and not source.is_manual else None,
        expected_from=expected.begin if expected else None,
        expected_until=expected.end if expected else None,
    )


def _expected(memory: MemoryState, key: str, now: datetime) -> ExpectedArrival | None:
    """Return when the next publication is expected; without observations, its window."""
    if learned := memory.expected_arrival(key, now):
        return learned
    source, latest = memory.settings.polled[key], memory.series(key).latest_distinct
    publication = awaited(source, latest.date if latest else today(source, now), now)
    return ExpectedArrival(publication.opens, publication.closes) if publication else None
