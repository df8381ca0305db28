"""The session with one bank: conditional requests, retries, redirects within its host, bounded responses."""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

import aiohttp
import stamina
from yarl import URL

from service.clock import Clock
from service.errors import BadAnswer, SourceError, Unreachable
from service.settings import SourceSettings
from service.sources.adapter import RawResponse
from service.sources.http_client import Client

REMEMBERED = 16
"""Responses with a validator that are kept for conditional requests, for each bank."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HOPS = 3
"""Redirects that are followed, one after the other."""


def _within(requested: URL, place: str) -> URL | None:
    """Return where a redirect leads if that is the same host and port, or the same host by TLS instead of without."""
    try:
        to = requested.join(URL(place, encoded=True))
        ports = requested.is_default_port() and to.is_default_port()
        safer = (requested.scheme, to.scheme) == ("http", "https") and ports
        same = (requested.scheme, requested.port) == (to.scheme, to.port)
        if to.user is None and (to.host or "").lower() == requested.host and (same or safer):
            return to
    except ValueError:
        pass
    return None


class _Question(NamedTuple):
    """The body of a POST request, and the headers that go with it."""

    body: bytes
    headers: Mapping[str, str]


class _Remembered(NamedTuple):
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
    """How long to wait after each request."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _remembered: OrderedDict[str, _Remembered] = field(default_factory=OrderedDict)

    @property
    def base(self) -> str:
        return self.source.base

    @property
    def provider(self) -> str:
        return self.source.provider

    @property
    def url(self) -> str:
        return self.source.url.rstrip("/")

    async def get(self, step: str) -> RawResponse:
        """Return the bank's answer, which may be the remembered one if it says 304.

        Connection errors, timeouts and 5xx are tried again, with backoff and jitter.
        Raises `SourceError` when that was of no use, or at once for every other bad answer.
        """
        return await self._patiently(f"{self.url}{step}")

    async def find(self, step: str) -> RawResponse | None:
        """Return what `get` returns, or None where the bank answers with status 404."""
        try:
            return await self.get(step)
        except BadAnswer as error:
            if error.status != 404:
                raise
            return None

    async def post(self, step: str, body: bytes, headers: Mapping[str, str]) -> RawResponse:
        """Send a POST request, with the same retries as `get`; never conditional, since a URL does not identify it."""
        return await self._patiently(f"{self.url}{step}", _Question(body, headers))

    async def _patiently(self, url: str, question: _Question | None = None) -> RawResponse:
        async with self._turn:
            async for attempt in stamina.retry_context(
                on=Unreachable, attempts=self.client.settings.attempts, timeout=None, wait_initial=0.5, wait_max=8.0
            ):
                with attempt:
                    response = await self._ask(url, question)
                    await asyncio.sleep(self.pause.total_seconds())
                    return response
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _ask(self, url: str, question: _Question | None) -> RawResponse:
        known = None if question else self._remembered.get(url)
        method, body, headers = ("POST", *question) if question else ("GET", None, known.validators if known else {})
        try:
            # For all redirects together; the session's own is for each.
            limit = asyncio.timeout(self.client.settings.timeout.total_seconds())
            async with limit, self._answered(method, url, body, headers) as response:
                if known and response.status == 304:
                    return known.raw
                if response.status >= 500:
                    raise Unreachable(self.key, url, f"answered with status {response.status}")
                if not 200 <= response.status < 300:
                    raise BadAnswer(self.key, url, f"answered with status {response.status}", response.status)
                answer = await self._read(response, url)
        except SourceError:
            raise
        except aiohttp.ConnectionTimeoutError:
            raise Unreachable(self.key, url, "no connection in time") from None
        except TimeoutError:
            raise Unreachable(
                self.key, url, f"no answer within {self.client.settings.timeout.total_seconds():g} s"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Unreachable(self.key, url, f"cannot be reached: {reason}") from error
        raw = RawResponse(self.key, self.base, url, answer, self.now().replace(microsecond=0))
        if not question:
            self._remember(url, response, raw)
        return raw

    @asynccontextmanager
    async def _answered(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, and follow a few redirects within the bank's host; raise `BadAnswer` for others.

        A redirect to another host, or into our own network, is not followed.
        """
        target = URL(url, encoded=True)
        for hop in range(HOPS + 1):
            async with self.client.session.request(
                method, target, data=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status not in REDIRECTS or "Location" not in response.headers:
                    yield response
                    return
                place = response.headers["Location"]
                # Other redirects of a POST request would be followed without its body.
                to = _within(target, place) if body is None or response.status in (307, 308) else None
                if to is None or hop == HOPS:
                    why = f"after {HOPS} others" if to else "which is not followed"
                    problem = f"answered with status {response.status}, a redirect to {place}, {why}"
                    raise BadAnswer(self.key, url, problem, response.status)
                target = to

    async def _read(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        limit, body = self.client.settings.max_bytes, bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise BadAnswer(self.key, url, f"answered with more than {limit} bytes")
        return self._plain(response, url, bytes(body))

    def _plain(self, response: aiohttp.ClientResponse, url: str, body: bytes) -> bytes:
        """Return the body without its compression, bounded, and whole.

        Not by aiohttp, whose 3.14 takes a gzip stream without its end for a whole one.
        """
        coding = response.headers.get("Content-Encoding", "identity").lower()
        if coding == "identity":
            return body
        if coding != "gzip":
            raise BadAnswer(self.key, url, f"answered in the encoding {coding[:20]}, which was not accepted")
        limit = self.client.settings.max_bytes
        stream = zlib.decompressobj(wbits=31)
        try:
            plain = stream.decompress(body, limit + 1)
        except zlib.error as error:
            raise Unreachable(self.key, url, f"cannot be reached: its gzip is broken: {error}") from None
        if len(plain) > limit:
            raise BadAnswer(self.key, url, f"answered with more than {limit} bytes")
        if not stream.eof:
            raise Unreachable(self.key, url, "cannot be reached: its gzip ends too early")
        if stream.unused_data:  # a second member, or anything: part of the document that would be lost
            raise BadAnswer(self.key, url, "answered with something behind the end of its gzip")
        return plain

    def _remember(self, url: str, response: aiohttp.ClientResponse, raw: RawResponse) -> None:
        pairs = (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
        found = {header: response.headers.get(name, "") for header, name in pairs}
        # What could not be sent back as it came would spoil every later request.
        validators = {name: value for name, value in found.items() if value and value.isascii() and value.isprintable()}
        self._remembered.pop(url, None)
        if validators:
            self._remembered[url] = _Remembered(validators, raw)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
