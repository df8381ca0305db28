"""Count responses by route and status, measure the duration of those that are not cached, and name the request in logs.

Each handler is wrapped once, with a reference to the counters of its route. This costs some 2 % of the requests per
second. A middleware would cost 13 %, the counters of a metrics library 20 % and more, timing cached responses 5 %.
"""

from collections.abc import Iterable
from time import perf_counter
from typing import Final

from aiohttp import web

from service.observability.counters import Counters, RouteCounters
from service.web.http.problems import Handler, unexpecting
from service.web.http.request_id import LoggedRequest, RequestIds
from service.web.server.response_cache import STATUSES

OTHER: Final = "other"
"""The label of requests that match no route: unknown paths must not create labels."""


def counted(routes: Iterable[web.RouteDef], counters: Counters, ids: RequestIds) -> list[web.RouteDef]:
    """Return routes with cacheable responses that count these, also those that the response cache sends."""
    return [_with(route, _cacheable(route.handler, _counters_of(route, counters), ids)) for route in routes]


def timed(routes: Iterable[web.RouteDef], counters: Counters, ids: RequestIds) -> list[web.RouteDef]:
    """Return routes that count their responses and measure how long each takes."""
    wrapped = []
    for route in routes:
        replies = _counters_of(route, counters)
        wrapped.append(_with(route, counting(_timing(route.handler, replies), replies, ids)))
    return wrapped


def counting(handler: Handler, replies: RouteCounters, ids: RequestIds) -> Handler:
    """Wrap a handler to count its responses by status, and to add the id of the request to its log events."""
    statuses = replies.statuses

    async def counted(request: web.Request) -> web.StreamResponse:
        try:
            with LoggedRequest(request, ids):
                response = await handler(request)
        except web.HTTPException as problem:
            statuses[problem.status] += 1
            raise
        statuses[response.status] += 1
        return response

    return counted


def _cacheable(handler: Handler, replies: RouteCounters, ids: RequestIds) -> Handler:
    counted = counting(handler, replies, ids)

    async def cacheable(request: web.Request) -> web.StreamResponse:
        request[STATUSES] = replies.statuses
        return await counted(request)

    return cacheable


def _timing(handler: Handler, replies: RouteCounters) -> Handler:
    async def timed(request: web.Request) -> web.StreamResponse:
        started = perf_counter()
        try:
            return await handler(request)
        finally:
            replies.durations.add(perf_counter() - started)

    return timed


def _counters_of(route: web.RouteDef, counters: Counters) -> RouteCounters:
    """Return the counters of a route; its label is its path without the patterns of parameters."""
    return counters.of_route(web.DynamicResource(route.path).canonical if "{" in route.path else route.path)


def _with(route: web.RouteDef, handler: Handler) -> web.RouteDef:
    return web.RouteDef(route.method, route.path, handler, {"expect_handler": unexpecting, **route.kwargs})
