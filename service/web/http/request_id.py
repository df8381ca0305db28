"""The id of a request: in the header X-Request-ID of error responses, and in the log events of the request.

The edge makes an id for each request, logs it and sends it along, so that its access log, the log of the instance and
the response that a client has got can be brought together.
"""

import re
from contextvars import Token
from typing import Final
from uuid import uuid4

from aiohttp import web

from service.observability import context
from service.settings import HttpSettings
from service.web.http.client_address import from_proxy
from service.web.http.problems import EXPOSE_HEADERS

REQUEST_ID: Final = "X-Request-ID"
ERROR_HEADERS: Final = f"Retry-After, {REQUEST_ID}"
"""The headers of an error that scripts of other origins can read."""
_KNOWN: Final = web.RequestKey("request_id", str)
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
"""32 hexadecimal digits of nginx, a UUID, or an id of another proxy; nothing that needs escaping anywhere."""

LogToken = Token[context.RequestId | None]


class RequestIds:
    """Ids of requests, made only when one is needed: a request that is logged nowhere costs nothing."""

    def __init__(self, http: HttpSettings) -> None:
        self._http = http

    def of(self, request: web.BaseRequest) -> str:
        """Return the id of a request: that of a trusted proxy if it is well-formed, otherwise a random one."""
        known = request.get(_KNOWN)
        if known is None:
            sent = request.headers.getall(REQUEST_ID, [])
            is_usable = len(sent) == 1 and _WELL_FORMED.fullmatch(sent[0]) and from_proxy(request, self._http)
            known = request[_KNOWN] = sent[0] if is_usable else uuid4().hex
        return known

    async def add_to_error(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the id to an error response (`on_response_prepare`). Prepared responses are no errors."""
        if response.status >= 400:
            response.headers[REQUEST_ID] = self.of(request)
            if EXPOSE_HEADERS in response.headers:
                response.headers[EXPOSE_HEADERS] = ERROR_HEADERS


class LoggedRequest:
    """A context in which log events get the id of a request.

    Tasks that the request has started, such as the rendering of a page that is cached, keep their context. So it does
    not refer to the request any more when the request ends.
    """

    __slots__ = ("_ids", "_request", "_token")

    def __init__(self, request: web.BaseRequest, ids: RequestIds) -> None:
        self._request: web.BaseRequest | None = request
        self._ids = ids

    def __enter__(self) -> None:
        self._token: LogToken = context.request_id.set(self._id)

    def __exit__(self, *_: object) -> None:
        self._request = None
        context.request_id.reset(self._token)

    def _id(self) -> str | None:
        return None if self._request is None else self._ids.of(self._request)
