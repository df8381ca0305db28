"""Responses from prepared bytes: a page is rendered once for all requests.

The fastest that aiohttp serves is one write of head and body together, through a response that is made
beforehand and shared by all requests. The price: signals and middlewares that change headers have no
effect on such a reply, so nothing here relies on them.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import formatdate
from gzip import compress
from hashlib import sha256
from http import HTTPStatus
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.hdrs import ACCEPT_ENCODING, IF_NONE_MATCH

from service.web.http.problems import OPEN

SECURE: Final = {
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""On every document that a browser renders, beside its own Content-Security-Policy."""
_UNREAD: Final = 16 * 1024
"""Bytes that are not on their way yet, up to which nobody waits: below what asyncio begins to hold us back at."""
IMMUTABLE: Final = "public, max-age=31536000, immutable"


class PreparedResponse(web.StreamResponse):
    """A reply whose bytes are ready; it keeps no state, so that many requests can share it."""

    # Plain attributes where aiohttp has properties: they are read at every request.
    prepared = False
    keep_alive = True
    body_length = 0
    __http_exception__ = False

    def __init__(self, status: HTTPStatus, head: bytes, body: bytes, *, close: bool) -> None:
        super().__init__(status=status)
        self._whole = head + body
        self.body_length = len(body)
        self.keep_alive = not close

    async def prepare(self, request: web.BaseRequest) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has disconnected")
        # Not by the writer, whose own `write` would be one more coroutine for a reply that has no encoding.
        transport.write(self._whole)
        # Without it a client that sends requests and never reads makes the process grow.
        if transport.get_write_buffer_size() > _UNREAD:
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has written all."""


class Representation:
    """One representation: its bytes as they are and compressed, and the replies made of them."""

    def __init__(
        self,
        body: bytes,
        content_type: str,
        cache_control: Callable[[int], str],
        headers: Mapping[str, str] | None = None,
        vary: str | None = None,
        *,
        compressed: bool = True,
    ) -> None:
        """Take the bytes; `cache_control` gets the second (Unix time) of the response.

        `vary` names a request header by which this page was chosen. One that is made for a single request and
        may be large is not worth being `compressed`.
        """
        self.body = body
        self.tag = tag = sha256(body).hexdigest()[:20]
        self._forms = {"": (body, f'"{tag}"')}
        if compressed and len(smaller := compress(body, 9, mtime=0)) < len(body):
            self._forms["gzip"] = (smaller, f'"{tag}-gzip"')
        self._tags = {coding: tag for coding, (_, tag) in self._forms.items()}
        self._headers = {"Content-Type": content_type, **OPEN, **(headers or {})}
        if varying := [*(["Accept-Encoding"] if len(self._forms) > 1 else []), *([vary] if vary else [])]:
            self._headers["Vary"] = ", ".join(varying)
        self._cache_control = cache_control

    def reply(self, request: web.Request, now: float) -> PreparedResponse:
        """Return what answers `request` at `now` (Unix time): whole or 304, compressed where that is accepted."""
        headers = request.headers
        coding = "gzip" if "gzip" in self._forms and accepts_gzip(headers.get(ACCEPT_ENCODING, "")) else ""
        unchanged = False
        if IF_NONE_MATCH in headers and (match := matching(request, self._tags, coding)) is not None:
            coding, unchanged = match, True
        # An HTTP/1.0 client would need Connection: keep-alive; it is rare enough to close.
        close = request.version < HttpVersion11 or not request.keep_alive
        status = HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK
        head, body = self._made(status, coding, int(now), close=close)
        return PreparedResponse(status, head, b"" if unchanged or request.method == "HEAD" else body, close=close)

    def _made(self, status: HTTPStatus, coding: str, second: int, *, close: bool) -> tuple[bytes, bytes]:
        body, tag = self._forms[coding]
        headers = {
            "Date": formatdate(second, usegmt=True),
            "ETag": tag,
            "Cache-Control": self._cache_control(second),
            **self._headers,
        }
        if status == HTTPStatus.NOT_MODIFIED:
            del headers["Content-Type"]
        else:
            headers["Content-Length"] = str(len(body))
            if coding:
                headers["Content-Encoding"] = coding
        if close:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1"), body


def matching(request: web.Request, tags: Mapping[str, str], preferred: str) -> str | None:
    """Return the coding (of those that `tags` names with their ETags) in which the client has the reply already.

    Another one than the `preferred`, which it would get now, is as good.
    """
    known = {f'"{tag.value}"' for tag in request.if_none_match or ()}
    if '"*"' in known:
        return preferred
    return next((coding for coding, tag in tags.items() if tag in known), None)


def cache_for(longest: int, until: datetime | None = None) -> Callable[[int], str]:
    """Return a Cache-Control of `longest` seconds, which never reaches past `until`."""

    def cache_control(second: int) -> str:
        age = longest if until is None else max(0, min(longest, int(until.timestamp()) - second))
        return f"public, max-age={age}, stale-while-revalidate={age}, stale-if-error=86400"

    return cache_control


def accepts_gzip(header: str) -> bool:
    """Whether Accept-Encoding allows gzip, by name or by `*` (RFC 9110, 12.5.3)."""
    weights = {}
    for item in header.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        weights[coding] = next((_weight(one) for one in parameters if one.startswith("q=")), 1.0)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
