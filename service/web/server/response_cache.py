"""A micro-cache before the routes: the same question, asked again within a second, gets the same reply.

To find a route, its handler and what a reader wants takes longer than the rest of a request. So what lies ready is
answered before aiohttp looks for a route; all else, and what is asked for the first time, goes the whole way.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import HttpVersion, web
from aiohttp.hdrs import ACCEPT_ENCODING, ACCEPT_LANGUAGE, HOST, IF_NONE_MATCH

from service.clock import Clock
from service.web.http.responses import PreparedResponse

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_Asked = tuple[str, str, str | None, str | None, str | None, str | None, bool, HttpVersion]
"""All of a request that a ready reply depends on."""

STATUSES: Final = web.RequestKey("statuses", Counter[int])
"""Where a route's replies are counted. Set by one whose replies depend on `_Asked`, the snapshots and the second."""
_MOST: Final = 128
"""Replies that are kept."""
_LONGEST: Final = 200
"""Characters of a part of `_Asked`; who sends longer ones goes the whole way."""


class ResponseCache:
    def __init__(self, now: Clock) -> None:
        self._seconds = now.seconds
        self._second = 0
        self._known: dict[_Asked, tuple[PreparedResponse, Counter[int]]] = {}

    def forget(self, *_: object) -> None:
        """Forget all; for what else changes replies than a new second, whose time they tell."""
        self._known.clear()

    def before(self, whole: _Handler) -> _Handler:
        """Return a handler that answers what is known, and asks `whole` for the rest."""
        seconds, known = self._seconds, self._known

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if (second := int(seconds())) != self._second:
                self._second = second
                known.clear()
            get = request.headers.get
            asked = (
                request.raw_path,
                request.method,
                get(HOST),
                get(ACCEPT_ENCODING),
                get(ACCEPT_LANGUAGE),
                get(IF_NONE_MATCH),
                request.keep_alive,
                request.version,
            )
            if found := known.get(asked):
                reply, statuses = found
                statuses[reply.status] += 1
                return reply
            made = await whole(request)
            if type(made) is PreparedResponse and STATUSES in request and _kept(asked):
                if len(known) >= _MOST:
                    known.clear()
                known[asked] = made, request[STATUSES]
            return made

        return handle


def _kept(asked: _Asked) -> bool:
    """Whether a question is short, and names its host: without one aiohttp takes the address that was connected to."""
    return asked[2] is not None and all(len(part or "") <= _LONGEST for part in asked[:6])
