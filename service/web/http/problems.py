"""Errors as RFC 9457 problem documents: never cached, with CORS headers."""

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
"""Headers of every response: accessible by any origin, without MIME sniffing."""

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(web.HTTPException):
    """Raise to return an error with the available values."""

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
    """Wrap a synchronous handler: unexpected exceptions are logged and returned as a problem.

    A middleware would do the same, at 13 % fewer requests per second.
    """

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return answer(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost handler
            raise _fault(request, error) from None

    return handler


def handle_async_errors(answer: Handler) -> Handler:
    """Wrap an asynchronous handler in the same way."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost handler
            raise _fault(request, error) from None

    return handler


def _fault(request: web.Request, error: Exception) -> Problem:
    log.error("request.crashed", path=request.path, exc_info=error)
    return Problem(500, "Internal server error. It has been logged.")


async def unexpecting(_: web.Request) -> None:
    """Ignore Expect (RFC 9110, 10.1.1): no body is read, so the response is sent at once.

    aiohttp's own response to an unknown expectation is plain text.
    """


async def not_found(request: web.Request) -> web.StreamResponse:
    """Handle requests that match no route: 405 if the path exists for GET, else 404."""
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
        raise Problem(405, f"Method {request.method} is not allowed; use GET or HEAD.", {"Allow": "GET, HEAD"})
    raise Problem(404, "Not found. See /docs for the available endpoints.")
