"""Prepared responses: a representation is rendered once and served as bytes.

The fastest way to respond with aiohttp is a single write of head and body, by a response that is prepared in advance
and shared by all requests. Its drawback: signals and middlewares that change headers have no effect on such a
response, so nothing here relies on them.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import formatdate
from gzip import compress
from hashlib import sha256
from http import HTTPStatus
from math import inf
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.hdrs import ACCEPT_ENCODING, IF_NONE_MATCH

from service.domain.publication_schedule import ExpectedArrival
from service.web.http.problems import OPEN

SECURE: Final = {
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every document that a browser renders, in addition to its Content-Security-Policy."""
WHILE_EXPECTED: Final = 5
"""Maximum `max-age`, in seconds, while a new publication is expected."""
_MAX_BUFFERED: Final = 16 * 1024
"""Bytes in the write buffer above which a response waits until it drains; below asyncio's high-water mark."""
IMMUTABLE: Final = "public, max-age=31536000, immutable"


class PreparedResponse(web.StreamResponse):
    """A response whose bytes are prepared. It has no state, so that many requests can share it."""

    # Class attributes instead of aiohttp's properties, which are slower: they are read at every request.
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
        # Bypasses aiohttp's writer: its `write` is a coroutine, and the body needs no transfer coding.
        transport.write(self._whole)
        # Backpressure: a client that sends requests and never reads must not make the process grow.
        if transport.get_write_buffer_size() > _MAX_BUFFERED:
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has already written the body."""


class Representation:
    """A representation: its bytes, plain and compressed, and the responses built from them."""

    def __init__(
        self,
        body: bytes,
        content_type: str,
        cache_control: Callable[[int], str],
        headers: Mapping[str, str] | None = None,
        vary: str | None = None,
        *,
        compressed: bool = True,
        level: int = 9,
    ) -> None:
        """Take the bytes; `cache_control` maps the second of the response (Unix time) to its Cache-Control.

        `vary` is a request header that selected this representation. Pass `compressed=False` for a large
        representation that is used for one request only: compressing it costs more than it saves. `level` is that of
        gzip: a lower one for a large representation that is used for a few requests.
        """
        self.body = body
        self.tag = tag = sha256(body).hexdigest()[:20]
        self._encoded = {"": (body, f'"{tag}"')}
        gzipped = compress(body, level, mtime=0) if compressed else body
        if len(gzipped) < len(body):
            self._encoded["gzip"] = (gzipped, f'"{tag}-gzip"')
        self._tags = {coding: tag for coding, (_, tag) in self._encoded.items()}
        self._headers = {"Content-Type": content_type, **OPEN, **(headers or {})}
        vary_on = ["Accept-Encoding"] if len(self._encoded) > 1 else []
        if vary:
            vary_on.append(vary)
        if vary_on:
            self._headers["Vary"] = ", ".join(vary_on)
        self._cache_control = cache_control

    def reply(self, request: web.Request, now: float) -> PreparedResponse:
        """Return the response to `request` at `now` (Unix time): 200 or 304, compressed if the client accepts gzip."""
        headers = request.headers
        coding = "gzip" if "gzip" in self._encoded and accepts_gzip(headers.get(ACCEPT_ENCODING, "")) else ""
        cached_coding = matching(request, self._tags, coding) if IF_NONE_MATCH in headers else None
        unchanged = cached_coding is not None
        if cached_coding is not None:
            coding = cached_coding
        # HTTP/1.0 clients would need Connection: keep-alive; they are rare enough to close the connection.
        close = request.version < HttpVersion11 or not request.keep_alive
        status = HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK
        head, body = self._head_and_body(status, coding, int(now), close=close)
        return PreparedResponse(status, head, b"" if unchanged or request.method == "HEAD" else body, close=close)

    def _head_and_body(self, status: HTTPStatus, coding: str, second: int, *, close: bool) -> tuple[bytes, bytes]:
        body, tag = self._encoded[coding]
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
    """Return the content coding that the client has cached, by If-None-Match; None if it has none of them.

    `tags` maps codings to ETags. Any of them matches, not only that of the `preferred` coding, which a new response
    would have.
    """
    cached = {f'"{tag.value}"' for tag in request.if_none_match or ()}
    if '"*"' in cached:
        return preferred
    return next((coding for coding, tag in tags.items() if tag in cached), None)


def cache_for(
    longest: int, until: datetime | None = None, expected: ExpectedArrival | None = None
) -> Callable[[int], str]:
    """Return a function from the second of a response (Unix time) to its Cache-Control.

    `max-age` is `longest` seconds, and never reaches past `until`. While a new publication is `expected` it is
    `WHILE_EXPECTED` at most, and before that it does not reach past the beginning of that time.
    """
    end = until.timestamp() if until else inf
    begin_expected, end_expected = (expected.begin.timestamp(), expected.end.timestamp()) if expected else (inf, -inf)

    def cache_control(second: int) -> str:
        age = min(longest, end - second)
        if second <= end_expected:
            age = min(age, max(WHILE_EXPECTED, begin_expected - second))
        age = max(0, int(age))
        return f"public, max-age={age}, stale-while-revalidate={age}, stale-if-error=86400"

    return cache_control


def accepts_gzip(header: str) -> bool:
    """Return whether Accept-Encoding allows gzip, by name or by `*` (RFC 9110, 12.5.3)."""
    weights = {}
    for item in header.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        weights[coding] = next((_weight(parameter) for parameter in parameters if parameter.startswith("q=")), 1.0)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
