"""Session with one bank: conditional requests, retries, redirects within its host, limited response size.

A bank that demands a pause gets it: the rest of the poll is not requested, nor anything else before the pause ends.
"""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, TypeVar

import aiohttp
import stamina
from yarl import URL

from service.clock import Clock
from service.errors import BadAnswer, RateLimited, SourceError, Unreachable
from service.observability.tracing import span
from service.settings import SourceSettings
from service.settings.types import SECRET
from service.sources.adapter import RawResponse
from service.sources.http_client import Client

Error = TypeVar("Error", bound=SourceError)

REMEMBERED = 16
"""Responses with a validator that are cached for conditional requests, per bank."""
_NO_CODING: Final = frozenset({"", "identity", "utf-8", "utf8", "windows-1251", "iso-8859-1", "us-ascii", "ascii"})
"""Content codings that are none: some servers send the charset in the wrong header."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HOPS = 3
"""Maximum number of redirects that are followed for one request."""
_SHORTEST_PAUSE: Final = timedelta(minutes=1)
"""Pause after the first refusal if the bank names none, or a shorter one; doubled up to `sweep` at each further one."""
LONGEST_PAUSE: Final = timedelta(days=1)
"""Maximum pause, whatever a bank demands."""
_MOST_DOUBLINGS: Final = 11
"""Doublings after which `_SHORTEST_PAUSE` exceeds `LONGEST_PAUSE`."""


def _within(requested: URL, location: str) -> URL | None:
    """Return the target of a redirect if it is allowed: the same origin, or an upgrade to https on the same host."""
    try:
        to = requested.join(URL(location, encoded=True))
        ports = requested.is_default_port() and to.is_default_port()
        is_upgrade = (requested.scheme, to.scheme) == ("http", "https") and ports
        is_same_origin = (requested.scheme, requested.port) == (to.scheme, to.port)
        if to.user is None and (to.host or "").lower() == requested.host and (is_same_origin or is_upgrade):
            return to
    except ValueError:
        pass
    return None


def retry_after(header: str, now: datetime) -> timedelta:
    """Return the pause of `Retry-After`, in either form (RFC 9110); zero if it is missing or invalid."""
    header = header.strip()
    if header.isascii() and header.isdigit():
        return timedelta(seconds=int(header)) if len(header) < 10 else LONGEST_PAUSE
    try:
        until = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return timedelta()
    return max(timedelta(), (until if until.tzinfo else until.replace(tzinfo=UTC)) - now)


def _codings(header: str) -> list[str]:
    """Return the content codings of a response, without those that are none."""
    codings = [coding.strip().lower() for coding in header.split(",")]
    return [coding for coding in codings if coding not in _NO_CODING]


class _Payload(NamedTuple):
    """The body of a POST request and its headers."""

    body: bytes
    headers: Mapping[str, str]


class _CachedResponse(NamedTuple):
    """A response, and the headers of a conditional request for it."""

    validators: dict[str, str]
    raw: RawResponse


@dataclass
class BankSession:
    """The session with one bank: sequential, conditional requests."""

    key: str
    source: SourceSettings
    client: Client
    now: Clock
    wanted: tuple[str, ...] = ()
    pause: timedelta = timedelta(0)
    """Delay after each request."""
    not_before: datetime | None = None
    """End of the pause that the bank has demanded last."""
    _refusals: int = 0
    """Consecutive requests for a pause."""
    _has_responded: bool = False
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _cache: OrderedDict[str, _CachedResponse] = field(default_factory=OrderedDict)

    @property
    def base(self) -> str:
        return self.source.base

    @property
    def provider(self) -> str:
        return self.source.provider

    @property
    def url(self) -> str:
        return self.source.base_url

    async def get(self, step: str) -> RawResponse:
        """Send a GET request and return the response; on status 304 the cached one.

        Connection errors, timeouts and 5xx are retried with backoff and jitter. Raises `SourceError` after the last
        attempt, or at once for any other bad response, and `RateLimited` without a request during a pause.
        """
        return await self._with_retries(f"{self.url}{step}")

    async def find(self, step: str) -> RawResponse | None:
        """Send a GET request like `get`; return None on status 404."""
        try:
            return await self.get(step)
        except BadAnswer as error:
            if error.status != 404:
                raise
            return None

    async def post(self, step: str, body: bytes, headers: Mapping[str, str]) -> RawResponse:
        """Send a POST request, with the same retries as `get`; never conditional, since a URL does not identify it."""
        return await self._with_retries(f"{self.url}{step}", _Payload(body, headers))

    async def _with_retries(self, url: str, payload: _Payload | None = None) -> RawResponse:
        async with self._turn:
            if self.not_before and self.now() < self.not_before <= self.now() + LONGEST_PAUSE:
                raise self._error(RateLimited, url, "the bank has demanded a pause", self.not_before)
            async for attempt in stamina.retry_context(
                on=Unreachable, attempts=self.client.settings.attempts, timeout=None, wait_initial=0.5, wait_max=8.0
            ):
                method = "POST" if payload else "GET"
                with attempt:
                    with span("fetch", {"source": self.key, "http.request.method": method, "url.full": url}):
                        response = await self._request(url, payload)
                    await asyncio.sleep(self.pause.total_seconds())
                    return response
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _request(self, url: str, payload: _Payload | None) -> RawResponse:
        cached = None if payload else self._cache.get(url)
        method, body, headers = ("POST", *payload) if payload else ("GET", None, cached.validators if cached else {})
        try:
            # One timeout for all redirects together; the client session's own applies to each.
            limit = asyncio.timeout(self.client.settings.timeout.total_seconds())
            async with limit, self._follow_redirects(method, url, body, headers) as response:
                if cached and response.status == 304:
                    self._refusals = 0
                    return cached.raw
                self._check_status(response, url)
                content = await self._read(response, url)
        except SourceError:
            raise
        except aiohttp.ConnectionTimeoutError:
            raise self._error(Unreachable, url, "connection timed out") from None
        except TimeoutError:
            seconds = f"{self.client.settings.timeout.total_seconds():g}"
            raise self._error(Unreachable, url, f"no response within {seconds} s") from None
        except aiohttp.ClientResponseError as error:  # its text has the URL and the headers, also those of the proxy
            message = f", message={error.message!r}" if self._may_quote(error) else ""
            raise self._error(Unreachable, url, f"request failed: {error.status}{message}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = " ".join(str(error).split()) if self._may_quote(error) else ""
            reason = text or type(error).__name__
            raise self._error(Unreachable, url, f"request failed: {reason}") from (None if self._secret else error)
        self._refusals, self._has_responded = 0, True
        if self._secret and self._secret.encode() in content:
            raise self._error(BadAnswer, url, "the response repeats the secret of the source: it would be public")
        raw = RawResponse(self.key, self.base, url, content, self.now().replace(microsecond=0))
        if not payload:
            self._store(url, response, raw)
        return raw

    def _check_status(self, response: aiohttp.ClientResponse, url: str) -> None:
        """Raise `SourceError` for every status but 2xx."""
        if self._demands_a_pause(response):
            raise self._refused(response, url)
        if response.status >= 500:
            raise self._error(Unreachable, url, f"responded with status {response.status}")
        if not 200 <= response.status < 300:
            raise self._error(BadAnswer, url, f"responded with status {response.status}", response.status)

    def _demands_a_pause(self, response: aiohttp.ClientResponse) -> bool:
        """Return whether a status means "too many requests"; some banks block a client by status 403 instead."""
        match response.status:
            case 429:
                return True
            case 503:
                return "Retry-After" in response.headers
            case status:
                return status == 403 and self._has_responded

    def _refused(self, response: aiohttp.ClientResponse, url: str) -> RateLimited:
        """Begin a pause; return the error that says so."""
        header, now = response.headers.get("Retry-After", ""), self.now()
        own_pause = min(_SHORTEST_PAUSE * 2 ** min(self._refusals, _MOST_DOUBLINGS), self.source.sweep)
        self._refusals += 1
        self.not_before = now + min(max(own_pause, retry_after(header, now)), LONGEST_PAUSE)
        named = f" and Retry-After: {header}" if header else ""
        return self._error(RateLimited, url, f"responded with status {response.status}{named}", self.not_before)

    @asynccontextmanager
    async def _follow_redirects(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and follow at most `HOPS` redirects within the bank's host; raise `BadAnswer` for others.

        Redirects to other hosts are not followed, so that none can lead into the internal network.
        """
        target = URL(url.replace(SECRET, self._secret) if self._secret else url, encoded=True)
        proxy = self.client.proxy(self.source)
        for hop in range(HOPS + 1):
            async with self.client.session.request(
                method,
                target,
                data=body,
                headers={**self.client.headers(self.source), **headers},
                allow_redirects=False,
                proxy=proxy.url,
                proxy_headers=proxy.headers,
            ) as response:
                if response.status not in REDIRECTS or "Location" not in response.headers:
                    yield response
                    return
                location = response.headers["Location"]
                # Other redirects of a POST request would be followed without its body.
                is_allowed = body is None or response.status in (307, 308)
                next_target = _within(target, location) if is_allowed else None
                if next_target is None or hop == HOPS:
                    reason = f"after {HOPS} others" if next_target else "which is not followed"
                    problem = f"responded with status {response.status}, a redirect to {location}, {reason}"
                    raise self._error(BadAnswer, url, problem, response.status)
                target = next_target

    @property
    def _secret(self) -> str:
        """The secret of the source, which is sent but never shown: requests are named with its placeholder."""
        return self.source.secret.get_secret_value() if self.source.secret else ""

    def _without_secret(self, text: str) -> str:
        return text.replace(self._secret, SECRET) if self._secret else text

    def _may_quote(self, error: Exception) -> bool:
        """Return whether the text of an error may be shown: aiohttp cuts what it quotes, perhaps within the secret."""
        return not self._secret or isinstance(error, OSError)

    def _error(self, kind: Callable[..., Error], url: str, problem: str, *details: object) -> Error:
        """Return an error of this bank without the secret, which may be in whatever the bank has sent."""
        return kind(self.key, url, self._without_secret(problem), *details)

    @property
    def _largest(self) -> int:
        """The maximum size of a response in bytes."""
        return self.source.max_bytes or self.client.settings.max_bytes

    async def _read(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        limit, body = self._largest, bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise self._error(BadAnswer, url, f"responded with more than {limit} bytes")
        return self._decompress(response, url, bytes(body))

    def _decompress(self, response: aiohttp.ClientResponse, url: str, body: bytes) -> bytes:
        """Return the decompressed body, limited in size; raise `SourceError` if it is incomplete.

        Not left to aiohttp, because 3.14 accepts a truncated gzip stream as complete.
        """
        # Without the secret: it would not be recognized in lower case, nor if it is cut off below.
        header = self._without_secret(",".join(response.headers.getall("Content-Encoding", [])))
        coding = ", ".join(_codings(header))
        if not coding:
            return body
        if coding not in ("gzip", "x-gzip"):  # two names of the same coding (RFC 9110)
            raise self._error(
                BadAnswer, url, f"responded with the content encoding {coding[:20]}, which was not accepted"
            )
        limit = self._largest
        stream = zlib.decompressobj(wbits=31)
        try:
            plain = stream.decompress(body, limit + 1)
        except zlib.error as error:
            raise self._error(Unreachable, url, f"responded with invalid gzip data: {error}") from None
        if len(plain) > limit:
            raise self._error(BadAnswer, url, f"responded with more than {limit} bytes")
        if not stream.eof:
            raise self._error(Unreachable, url, "responded with truncated gzip data")
        if stream.unused_data:  # e.g. a second member: part of the document that would be lost
            raise self._error(BadAnswer, url, "responded with data after the end of the gzip stream")
        return plain

    def _store(self, url: str, response: aiohttp.ClientResponse, raw: RawResponse) -> None:
        """Cache a response that has a validator."""
        validators = dict[str, str]()
        for request_header, response_header in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")):
            value = response.headers.get(response_header, "")
            # A validator that cannot be sent back unchanged would break every later request.
            if value and value.isascii() and value.isprintable():
                validators[request_header] = value
        self._cache.pop(url, None)
        if validators:
            self._cache[url] = _CachedResponse(validators, raw)
            if len(self._cache) > REMEMBERED:
                self._cache.popitem(last=False)
