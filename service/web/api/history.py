"""`/v1/history/{currency}`: the history of a ticker's quote, as JSON or CSV.

All of it is from one source, that of the quote: recent fixings from memory, older ones from the store. Computing ten
years at once would block other requests, so responses are read, computed and written in chunks. If an error occurs
midway, the connection is aborted, so that no client takes an incomplete response for a complete one.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import astuple, dataclass, field
from datetime import date
from hashlib import sha256
from typing import Final

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.hdrs import ACCEPT_ENCODING
from multidict import MultiMapping

from service import __version__
from service.domain.fixing import Fixing, Series
from service.domain.publication_schedule import today
from service.domain.snapshot import Quote, Snapshot
from service.errors import StoreError
from service.storage.repository import Store
from service.web.api.history_rows import FORMS, Body, RowRange
from service.web.http.problems import OPEN, Problem, handle_async_errors
from service.web.http.responses import accepts_gzip, cache_for, matching
from service.web.rendering.page_cache import PageCache

log = structlog.get_logger()

_CHECKED: Final = 20
"""Latest fixings that are compared with other banks; those that these contradict are omitted."""
_YEARS: Final = 10
"""Maximum length of a response."""
_BEFORE: Final = 64
"""Days before the requested range that are searched for the predecessor of its first row: longer than any holiday."""
_CHUNK: Final = 64
"""Days that are computed without yielding to other requests: some 2 ms with 39 currencies a day."""
_CONCURRENT_CHUNKS: Final = 2
"""Chunks in progress at a time: one waits for the store while the other is computed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the responses in progress."""

    responses: int = 64
    """Maximum number of them, including those that wait for a chunk, or for a slow client."""
    chunk_timeout: float = 30.0
    """Seconds for a client to receive a chunk."""
    timeout: float = 120.0
    """Seconds for a complete response: a few clients that receive every chunk slowly could block all others."""


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class _HistoryRequest:
    """A range and a format; its fixings: `recent` in memory, those of the days (ordinals) `stored` in the store."""

    part: RowRange
    form: str
    recent: tuple[Fixing, ...]
    stored: range

    def tags(self, stamp: str | None) -> dict[str, str]:
        """Return the ETag of each content coding, from all inputs of the response; `stamp` is the store's version."""
        recent = [(str(fixing.date), fixing.digest, str(fixing.fetched_at)) for fixing in self.recent]
        message = repr((__version__, astuple(self.part), self.form, recent, stamp))
        tag = sha256(message.encode()).hexdigest()[:20]
        return {"": f'"{tag}"', "gzip": f'"{tag}-gzip"'}


@dataclass
class Histories:
    """Handler of requests for histories; limits how many are in progress."""

    pages: PageCache
    store: Store
    limits: Limits = LIMITS
    _chunks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT_CHUNKS))
    _in_progress: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Respond with a range of a history. Raises `Problem`."""
        wanted = self._parse(request)
        if self._in_progress >= self.limits.responses:
            raise Problem(503, "Too many concurrent requests for histories.", {"Retry-After": "5"})
        self._in_progress += 1
        try:
            return await self._reply(request, wanted)
        except StoreError:
            detail = f"Older fixings of {wanted.part.source} are temporarily unavailable."
            raise Problem(503, detail, {"Retry-After": "30"}) from None
        finally:
            self._in_progress -= 1

    def _parse(self, request: web.Request) -> _HistoryRequest:
        """Parse a request: format, quote, range, and its fixings in memory and in the store. Raises `Problem`."""
        memory, query = self.pages.memory, request.query
        code, dot, suffix = request.match_info["currency"].partition(".")
        if dot and suffix not in FORMS:
            raise Problem(404, f"Unknown format .{suffix[:20]}.", available=[f".{name}" for name in FORMS])
        snapshot = self.pages.snapshot(query.get("ticker") or memory.settings.tickers[0].id)
        key, quote = _quote(snapshot, code)
        known = self._known(snapshot.id, key)
        oldest, latest = known.fixings[0].date, known.fixings[-1].date
        since, until = _span(query, latest)
        name = memory.settings.polled[key].name
        part = RowRange(snapshot.id, snapshot.base, quote.code, key, name, quote.cross, since, until)
        earliest = date.fromordinal(max(1, since.toordinal() - _BEFORE))
        recent = [fixing for fixing in known.fixings if earliest <= fixing.date <= until]
        refuted = memory.refuted(key, recent[-_CHECKED:], quote.code, snapshot.base)
        shown = tuple(fixing for fixing in recent if fixing.date not in refuted)
        stored = range(0)
        if oldest >= since:  # memory has everything from its oldest date on
            stored = range(earliest.toordinal(), min(until.toordinal() + 1, oldest.toordinal()))
        return _HistoryRequest(part, suffix or "json", shown, stored)

    def _known(self, ticker: str, key: str) -> Series:
        """Return a source's fixings in memory; for a ticker with `effective = "today"`, those up to today."""
        settings, series = self.pages.memory.settings, self.pages.memory.series(key)
        if any(each.id == ticker and each.effective == "today" for each in settings.tickers):
            return series.until(today(settings.polled[key], self.pages.now()))
        return series

    async def _reply(self, request: web.Request, wanted: _HistoryRequest) -> web.StreamResponse:
        tags = wanted.tags(await self.store.version(wanted.part.source) if wanted.stored else None)
        coding = "gzip" if accepts_gzip(request.headers.get(ACCEPT_ENCODING, "")) else ""
        cached = matching(request, tags, coding)
        headers = self._headers(wanted, tags[coding if cached is None else cached])
        if cached is not None:
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = FORMS[wanted.form].content_type
        if wanted.form == "csv":
            part = wanted.part
            name = f"{part.currency}-{part.base}-{part.since}-{part.until}.csv".lower()
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        if coding:
            headers["Content-Encoding"] = coding
        if request.method == "HEAD":
            return web.StreamResponse(headers=headers)
        async with aclosing(self._body(wanted, coding)) as body:
            if request.version < HttpVersion11:  # it cannot distinguish an aborted response from a complete one
                return web.Response(body=b"".join([chunk async for chunk in body]), headers=headers)
            first = await anext(body)  # before the head is written, so that an error can still be a problem document
            return await _streamed(request, web.StreamResponse(headers=headers), first, body, self.limits)

    def _headers(self, wanted: _HistoryRequest, tag: str) -> dict[str, str]:
        longest = int(self.pages.memory.settings.http.max_age.total_seconds())
        caching = cache_for(longest, self.pages.snapshot(wanted.part.ticker).next_update)
        cache_control = caching(int(self.pages.now.seconds()))
        return {"ETag": tag, "Cache-Control": cache_control, "Vary": "Accept-Encoding", **OPEN}

    async def _body(self, wanted: _HistoryRequest, coding: str) -> AsyncGenerator[bytes]:
        """Yield the body in chunks, compressed with gzip if there is a coding. Raises `StoreError`."""
        gzip = zlib.compressobj(wbits=31) if coding else None
        async with aclosing(self._uncompressed(wanted)) as chunks:
            async for chunk in chunks:
                yield gzip.compress(chunk) if gzip else chunk
        if gzip:
            yield gzip.flush()

    async def _uncompressed(self, wanted: _HistoryRequest) -> AsyncGenerator[bytes]:
        body = Body(wanted.part, FORMS[wanted.form], self.pages.memory.breaks(wanted.part.source))
        chunk = body.head
        for day in wanted.stored[::_CHUNK]:
            since, until = date.fromordinal(day), date.fromordinal(min(day + _CHUNK, wanted.stored.stop) - 1)
            async with self._chunks:
                chunk += body.rows(await self.store.rates(wanted.part.source, since, until))
            yield chunk
            chunk = b""
        async with self._chunks:
            chunk += body.rows(wanted.recent)
        yield chunk + body.tail


async def _streamed(
    request: web.Request, response: web.StreamResponse, first: bytes, more: AsyncIterator[bytes], limits: Limits
) -> web.StreamResponse:
    """Write the response; on any error, timeouts included, abort the connection."""
    deadline = asyncio.get_running_loop().time() + limits.timeout
    try:
        await response.prepare(request)
        await _write(response, first, deadline, limits)
        async for chunk in more:
            await _write(response, chunk, deadline, limits)
        async with asyncio.timeout(limits.chunk_timeout):
            await response.write_eof()
    except (ConnectionError, TimeoutError):
        pass  # the client has disconnected, or is too slow
    except StoreError as error:
        log.warning("history.broken_off", path=request.path, error=str(error))
    except Exception:  # too late for a problem document: the head has been written
        log.exception("request.crashed", path=request.path)
    else:
        return response
    if request.transport:
        request.transport.abort()
    return response


async def _write(response: web.StreamResponse, chunk: bytes, deadline: float, limits: Limits) -> None:
    """Write a chunk. Raises `TimeoutError` after the deadline, or if the client does not receive the chunk in time.

    The deadline is checked here, because a timeout around the whole response has only one cancellation, which redis-py
    on Python 3.11 may swallow.
    """
    now = asyncio.get_running_loop().time()
    if now > deadline:
        raise TimeoutError
    async with asyncio.timeout_at(min(deadline, now + limits.chunk_timeout)):
        await response.write(chunk)


def _quote(snapshot: Snapshot, code: str) -> tuple[str, Quote]:
    """Return the key of a quote's source, and the quote. Raises `Problem`."""
    quotes = {quote.code: quote for quote in snapshot.quotes if quote.source}
    quote = quotes.get(code.upper())
    if quote is None or quote.source is None:
        message = f"No source of the ticker {snapshot.id} quotes {code[:8]!r}."
        raise Problem(404, message, available=list(quotes))
    return quote.source, quote


def _span(query: MultiMapping[str], latest: date) -> tuple[date, date]:
    """Return the first and the last requested day. Raises `Problem`."""
    until = _day(query, "to") or latest
    since = _day(query, "from") or _years_before(until, 1)
    if since > until:
        raise Problem(400, f"from ({since}) is after to ({until}).")
    if since < (first := _years_before(until, _YEARS)):
        detail = f"from ({since}) is more than {_YEARS} years before to ({until}); the earliest is {first}."
        raise Problem(400, detail)
    return since, until


def _day(query: MultiMapping[str], name: str) -> date | None:
    text = query.get(name)
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        if str(day) == text:  # one URL for each range: not 20260402 and not 2026-W14-4
            return day
    except ValueError:
        pass
    raise Problem(400, f"{name} must be a date like 2026-04-02, not {text[:20]!r}.")


def _years_before(day: date, years: int) -> date:
    """Return the same day `years` before; for a leap day, the last day of that February."""
    if day.year <= years:
        return date.min
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)


def routes(pages: PageCache, store: Store, limits: Limits = LIMITS) -> list[web.RouteDef]:
    histories = Histories(pages, store, limits)
    return [web.get("/v1/history/{currency}", handle_async_errors(histories.answer))]
