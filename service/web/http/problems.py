"""Errors as people and programs read them: RFC 9457 problem documents, never cached, with CORS."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web

from service.web import models

OPEN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}
"""On every reply: anybody may read it, nobody may guess its type."""

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(web.HTTPException):
    """Raise to answer with an error, and with what there is instead."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        available: Sequence[str] | msgspec.UnsetType = msgspec.UNSET,
    ) -> None:
        self.status_code = status
        title = HTTPStatus(status).phrase
        document = models.ProblemDocument(title=title, status=status, detail=detail, available=available)
        super().__init__(
            text=msgspec.json.encode(document).decode(),
            content_type="application/problem+json",
            headers={**OPEN, "Cache-Control": "no-store", **(headers or {})},
        )


def handle_errors(answer: Callable[[web.Request], web.StreamResponse]) -> Handler:
    """Make a handler of what answers at once; its unforeseen faults are logged and answered as a problem too.

    A middleware would do the same, at 13 % of what the ticker can serve.
    """

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return answer(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the edge towards readers
            raise _fault(request, error) from None

    return handler


def handle_async_errors(answer: Handler) -> Handler:
    """Do the same for what has to wait."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the edge towards readers
            raise _fault(request, error) from None

    return handler


def _fault(request: web.Request, error: Exception) -> Problem:
    log.error("request.crashed", path=request.path, exc_info=error)
    return Problem(500, "This is a fault of ours; it has been logged.")


async def unexpecting(_: web.Request) -> None:
    """Pass over Expect (RFC 9110, 10.1.1): no body is read, so the answer comes at once.

    aiohttp's own answer to what it does not know is plain text.
    """


async def not_found(request: web.Request) -> web.StreamResponse:
    """Answer what no other route takes: 405 where the path exists for GET, else 404."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        _, methods = await resource.resolve(request)
        allowed |= methods
    readable = "GET" in allowed
    if request.method == "OPTIONS" and readable:
        granted = {
            "Allow": "GET, HEAD",
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": "If-None-Match",
            "Access-Control-Max-Age": "86400",
        }
        return web.Response(status=204, headers=OPEN | granted)
    if readable:
        raise Problem(405, f"{request.method} is not possible here; everything is GET or HEAD.", {"Allow": "GET, HEAD"})
    raise Problem(404, "There is nothing at this address; / tells what there is.")
