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
"""All of a request that a ready reply depends on."""

STATUSES: Final = web.RequestKey("statuses", Counter[int])
"""Where a route's replies are counted. Set by one whose replies depend on `_Key`, the snapshots and the second."""
_MOST: Final = 128
"""Replies that are kept."""
_LONGEST: Final = 200
"""Characters of a part of `_Key`; who sends longer ones goes the whole way."""


class ResponseCache:
    def __init__(self, now: Clock) -> None:
        self._seconds = now.seconds
        self._second = 0
        self._known: dict[_Key, tuple[PreparedResponse, Counter[int]]] = {}

    def forget(self, *_: object) -> None:
        """Clear the cache, when a snapshot changes; a new second clears it too, since responses depend on it."""
        self._known.clear()

    def before(self, whole: _Handler) -> _Handler:
        """Return a handler that serves cached responses, and calls `whole` for cache misses."""
        seconds, known = self._seconds, self._known

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if (second := int(seconds())) != self._second:
                self._second = second
                known.clear()
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
            if found := known.get(key):
                reply, statuses = found
                statuses[reply.status] += 1
                return reply
            made = await whole(request)
            if type(made) is PreparedResponse and STATUSES in request and _kept(key):
                if len(known) >= _MOST:
                    known.clear()
                known[key] = made, request[STATUSES]
            return made

        return handle


def _kept(key: _Key) -> bool:
    """Whether a question is short, and names its host: without one aiohttp takes the address that was connected to."""
    return key[2] is not None and all(len(part or "") <= _LONGEST for part in key[:6])
