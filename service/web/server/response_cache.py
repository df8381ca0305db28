"""A response cache before the router: an identical request within a second gets the same response.

Routing and parsing options take longer than the rest of a request. So cached responses are sent before aiohttp's router
runs (it replaces `aiohttp.web.Server.request_handler`); a cache miss takes the normal path. The gain: 1.48x a minimal
aiohttp "hello world" instead of 1.2x. `http.response_cache = false` switches it off.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import HttpVersion, web
from aiohttp.hdrs import ACCEPT_ENCODING, ACCEPT_LANGUAGE, HOST, IF_NONE_MATCH

from service.clock import Clock
from service.web.http.responses import PreparedResponse

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_Key = tuple[str, str, str | None, str | None, str | None, str | None, bool, HttpVersion]
"""The parts of a request that a cached response depends on."""

STATUSES: Final = web.RequestKey("statuses", Counter[int])
"""The counter of a route's responses. A route sets it if these depend only on `_Key`, the snapshots and the second."""
_MAX_RESPONSES: Final = 128
_MAX_LENGTH: Final = 200
"""Characters of each part of `_Key`; requests with longer ones are not cached."""


class ResponseCache:
    """Responses of the current second, at most `_MAX_RESPONSES`."""

    def __init__(self, now: Clock) -> None:
        self._seconds = now.seconds
        self._second = 0
        self._cached: dict[_Key, tuple[PreparedResponse, Counter[int]]] = {}

    def forget(self, *_: object) -> None:
        """Clear the cache, when a snapshot changes; a new second clears it too, since responses depend on it."""
        self._cached.clear()

    def before(self, handler: _Handler) -> _Handler:
        """Return a handler that serves cached responses, and calls `handler` for cache misses."""
        seconds, cached = self._seconds, self._cached

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if (second := int(seconds())) != self._second:
                self._second = second
                cached.clear()
            get = request.headers.get
            key = (
                request.raw_path,
                request.method,
                get(HOST),
                get(ACCEPT_ENCODING),
                get(ACCEPT_LANGUAGE),
                get(IF_NONE_MATCH),
                request.keep_alive,
                request.version,
            )
            if hit := cached.get(key):
                prepared, statuses = hit
                statuses[prepared.status] += 1
                return prepared
            response = await handler(request)
            if type(response) is PreparedResponse and STATUSES in request and _cacheable(key):
                if len(cached) >= _MAX_RESPONSES:
                    cached.clear()
                cached[key] = response, request[STATUSES]
            return response

        return handle


def _cacheable(key: _Key) -> bool:
    """Return whether a key is short, and has a Host: without one, aiohttp uses the local address of the connection."""
    return key[2] is not None and all(len(part or "") <= _MAX_LENGTH for part in key[:6])
