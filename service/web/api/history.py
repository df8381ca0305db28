"""`/v1/history/{currency}`: the history of a ticker's quote, as JSON or CSV.

All of it is from one source, that of the quote: recent fixings from memory, older ones from the store. The rows of
older ones are cached by calendar year, since years do not change; a range is a part of them. Computing ten years at
once would block other requests, so responses are read, computed and written in chunks. If an error occurs midway, the
connection is aborted, so that no client takes an incomplete response for a complete one.
"""

import asyncio
import zlib
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import astuple, dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from typing import Final, NamedTuple

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.hdrs import ACCEPT_ENCODING
from multidict import MultiMapping

from service import __version__
from service.domain.breaks import Break
from service.domain.fixing import Fixing, Series
from service.domain.publication_schedule import today
from service.domain.snapshot import Quote, Snapshot
from service.domain.surrogate_keys import source_key, surrogate_headers, ticker_key
from service.errors import StoreError
from service.storage.repository import Store
from service.web.api.history_rows import CHART, FORMS, NO_PREDECESSOR, RowBuilder, RowRange, Rows
from service.web.http.client_address import client_address
from service.web.http.problems import OPEN, Problem, handle_async_errors
from service.web.http.responses import accepts_gzip, matching
from service.web.rendering.page_cache import PageCache

log = structlog.get_logger()

_ROWS: Final = {**FORMS, "chart": CHART}
"""The formats of rows; `chart` is that of other modules."""
_DAY: Final = timedelta(days=1)
_YEARS: Final = 10
"""Maximum length of a response."""
_BEFORE: Final = 64
"""Days before a year that are searched for the predecessor of its first row: longer than any holiday."""
_CHUNK: Final = 64
"""Days that are computed without yielding to other requests: some 2 ms with 39 currencies a day."""
_CONCURRENT_CHUNKS: Final = 2
"""Chunks in progress at a time: one waits for the store while the other is computed."""
_CACHED_YEARS: Final = 200
"""Years of one currency whose encoded rows are cached: 50 KB each, twenty currencies with ten years."""
_GZIP_LEVEL: Final = 1
"""Level 6 takes three times as long, and makes a response of ten years a fifth smaller."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the responses in progress."""

    responses: int = 64
    """Maximum number of them, including those that wait for a chunk, or for a slow client."""
    per_address: int = 8
    """Maximum number of them per client, so that a few cannot use all."""
    chunk_timeout: float = 30.0
    """Seconds for a client to receive a chunk."""
    timeout: float = 120.0
    """Seconds for a complete response: a few clients that receive every chunk slowly could block all others."""


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class _HistoryRequest:
    """A range and a format.

    Its rows are those of the fixings `recent` in memory and, if `stored_until` is set, of those in the store up to that
    date, which is the last one that memory does not have. Rows also depend on the `breaks` of the source, and on the
    dates whose rate is shown `without_change`.
    """

    part: RowRange
    form: str
    recent: tuple[Fixing, ...]
    stored_until: date | None
    breaks: tuple[Break, ...]
    without_change: frozenset[date]

    def tags(self, stamp: str | None) -> dict[str, str]:
        """Return the ETag of each content coding, from all inputs of the response; `stamp` is the store's version."""
        codes = (self.part.currency, self.part.base)  # a released rate leaves digest and time of its fixing unchanged
        recent = [
            (str(fixing.date), fixing.digest, str(fixing.fetched_at), *(repr(fixing.rates.get(code)) for code in codes))
            for fixing in self.recent
        ]
        message = repr(
            (__version__, astuple(self.part), self.form, recent, stamp, self.breaks, sorted(self.without_change))
        )
        tag = sha256(message.encode()).hexdigest()[:20]
        return {"": f'"{tag}"', "gzip": f'"{tag}-gzip"'}


class _YearKey(NamedTuple):
    """What the encoded rows of a year depend on; `stamp` is the store's version of the source."""

    source: str
    currency: str
    base: str
    form: str
    year: int
    until: date
    breaks: tuple[Break, ...]
    stamp: str | None


class WholeHistory(NamedTuple):
    """All publications of a currency, not yet read; `tag` changes with them."""

    part: RowRange
    tag: str
    wanted: _HistoryRequest
    stamp: str | None


@dataclass
class Histories:
    """Handler of requests for histories; limits how many are in progress, and caches the rows of years."""

    pages: PageCache
    store: Store
    limits: Limits = LIMITS
    _years: OrderedDict[_YearKey, Rows] = field(default_factory=OrderedDict)
    _first: dict[str, tuple[str | None, date]] = field(default_factory=dict)
    """The first stored date of a source, with the store's version of the source."""
    _by_address: Counter[str] = field(default_factory=Counter)
    _chunks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT_CHUNKS))
    _in_progress: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Respond with a range of a history. Raises `Problem`."""
        wanted = self._parse(request)
        address = client_address(request, self.pages.memory.settings.http)
        if address and self._by_address[address] >= self.limits.per_address:
            raise Problem(429, "Too many concurrent requests for histories from your address.", {"Retry-After": "5"})
        if self._in_progress >= self.limits.responses:
            raise Problem(503, "Too many concurrent requests for histories.", {"Retry-After": "5"})
        self._in_progress += 1
        self._by_address[address] += 1
        try:
            return await self._reply(request, wanted)
        except StoreError:
            detail = f"Older fixings of {wanted.part.source} are temporarily unavailable."
            raise Problem(503, detail, {"Retry-After": "30"}) from None
        finally:
            self._in_progress -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def _parse(self, request: web.Request) -> _HistoryRequest:
        """Parse a request: format, quote, range, and its fixings in memory and in the store. Raises `Problem`."""
        memory, query = self.pages.memory, request.query
        code, dot, suffix = request.match_info["currency"].partition(".")
        if dot and suffix not in FORMS:
            raise Problem(404, f"Unknown format .{suffix[:20]}.", available=[f".{name}" for name in FORMS])
        snapshot = self.pages.snapshot(query.get("ticker") or memory.settings.tickers[0].id)
        key, quote = _quote(snapshot, code)
        since, until = _span(query, self._known(snapshot.id, key).fixings[-1].date)
        return self._wanted(snapshot, key, quote, since, until, suffix or "json")

    async def whole(self, ticker: str, code: str) -> WholeHistory:
        """Return all that is known of a currency; its rows are computed by `rows_of`.

        Raises `Problem` for an unknown ticker or currency, `StoreError`.
        """
        snapshot = self.pages.snapshot(ticker)
        key, quote = _quote(snapshot, code)
        stamp = await self.store.version(key)
        if self._first.get(key, ("", date.max))[0] != stamp:
            self._first[key] = stamp, min(await self.store.dates(key), default=date.max)
        known = self._known(snapshot.id, key).fixings
        first = min(self._first[key][1], known[0].date)
        wanted = self._wanted(snapshot, key, quote, first, known[-1].date, "chart")
        return WholeHistory(wanted.part, wanted.tags(stamp)[""], wanted, stamp)

    async def rows_of(self, whole: WholeHistory) -> list[bytes]:
        """Return the rows of `CHART`, oldest first. Raises `StoreError`."""
        async with aclosing(self._rows(whole.wanted, whole.stamp)) as parts:
            return [row async for rows in parts for row in rows]

    def _wanted(
        self, snapshot: Snapshot, key: str, quote: Quote, since: date, until: date, form: str
    ) -> _HistoryRequest:
        memory, known = self.pages.memory, self._known(snapshot.id, key)
        oldest = known.fixings[0].date
        name = memory.settings.polled[key].name
        part = RowRange(snapshot.id, snapshot.base, quote.code, key, name, quote.cross, since, until)
        earliest = date.fromordinal(max(1, since.toordinal() - _BEFORE))
        recent = [fixing for fixing in known.fixings if earliest <= fixing.date <= until]
        untrusted = memory.untrusted(key, quote.code, snapshot.base)
        shown = tuple(fixing for fixing in recent if fixing.date not in untrusted.hidden)
        stored_until = oldest - _DAY if oldest >= since else None
        breaks = tuple(memory.breaks(key))
        return _HistoryRequest(part, form, shown, stored_until, breaks, untrusted.without_change)

    def _known(self, ticker: str, key: str) -> Series:
        """Return a source's fixings in memory; for a ticker with `effective = "today"`, those up to today."""
        settings, series = self.pages.memory.settings, self.pages.memory.series(key)
        if any(each.id == ticker and each.effective == "today" for each in settings.tickers):
            return series.until(today(settings.polled[key], self.pages.now()))
        return series

    async def _reply(self, request: web.Request, wanted: _HistoryRequest) -> web.StreamResponse:
        stamp = await self.store.version(wanted.part.source) if wanted.stored_until else None
        tags = wanted.tags(stamp)
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
        async with aclosing(self._body(wanted, coding, stamp)) as body:
            if request.version < HttpVersion11:  # it cannot distinguish an aborted response from a complete one
                return web.Response(body=b"".join([chunk async for chunk in body]), headers=headers)
            first = await anext(body)  # before the head is written, so that an error can still be a problem document
            return await _streamed(request, web.StreamResponse(headers=headers), first, body, self.limits)

    def _headers(self, wanted: _HistoryRequest, tag: str) -> dict[str, str]:
        caching = self.pages.caching(self.pages.snapshot(wanted.part.ticker))
        cache_control = caching(int(self.pages.now.seconds()))
        keys = (ticker_key(wanted.part.ticker), source_key(wanted.part.source))
        surrogate = surrogate_headers(self.pages.memory.settings.http, *keys)
        return {"ETag": tag, "Cache-Control": cache_control, "Vary": "Accept-Encoding", **OPEN, **surrogate}

    async def _body(self, wanted: _HistoryRequest, coding: str, stamp: str | None) -> AsyncGenerator[bytes]:
        """Yield the body in chunks, compressed with gzip if there is a coding. Raises `StoreError`."""
        gzip = zlib.compressobj(_GZIP_LEVEL, wbits=31) if coding else None
        async with aclosing(self._uncompressed(wanted, stamp)) as chunks:
            async for chunk in chunks:
                yield gzip.compress(chunk) if gzip else chunk
        if gzip:
            yield gzip.flush()

    async def _uncompressed(self, wanted: _HistoryRequest, stamp: str | None) -> AsyncGenerator[bytes]:
        form = FORMS[wanted.form]
        chunk, separator = form.head(wanted.part), b""
        async with aclosing(self._rows(wanted, stamp)) as parts:
            async for rows in parts:
                if rows:
                    chunk += separator + form.between.join(rows)
                    separator = form.between
                yield chunk
                chunk = b""
        yield form.tail

    async def _rows(self, wanted: _HistoryRequest, stamp: str | None) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the encoded rows of the range: those of each stored year, then those of memory."""
        part, breaks, start = wanted.part, wanted.breaks, NO_PREDECESSOR
        if wanted.stored_until:
            last = min(part.until, wanted.stored_until)
            for year in range(min(part.since, last).year, last.year + 1):
                until = min(wanted.stored_until, date(year, 12, 31))  # for all clients the same
                key = _YearKey(part.source, part.currency, part.base, wanted.form, year, until, breaks, stamp)
                year_rows = self._years.get(key) or await self._render_year(key, part)
                self._years.move_to_end(key)
                yield year_rows.between(part.since, part.until)
                start = year_rows.end
        async with self._chunks:
            builder = RowBuilder(part, _ROWS[wanted.form], breaks, start, wanted.without_change)
            builder.add(wanted.recent, part.since)
        yield builder.rows.encoded

    async def _render_year(self, key: _YearKey, part: RowRange) -> Rows:
        """Encode the rows of a stored year, up to `key.until`, and cache them."""
        builder, begin = RowBuilder(part, _ROWS[key.form], key.breaks), date(key.year, 1, 1)
        for day in range(max(1, begin.toordinal() - _BEFORE), key.until.toordinal() + 1, _CHUNK):
            since, until = date.fromordinal(day), min(date.fromordinal(day + _CHUNK - 1), key.until)
            async with self._chunks:
                builder.add(await self.store.rates(key.source, since, until), begin)
        self._years[key] = builder.rows
        if len(self._years) > _CACHED_YEARS:
            self._years.popitem(last=False)
        return builder.rows


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
    since = _day(query, "from") or years_before(until, 1)
    if since > until:
        raise Problem(400, f"from ({since}) is after to ({until}).")
    if since < (first := years_before(until, _YEARS)):
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


def years_before(day: date, years: int) -> date:
    """Return the same day `years` before; for a leap day, the last day of that February."""
    if day.year <= years:
        return date.min
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)


def routes(histories: Histories) -> list[web.RouteDef]:
    return [web.get("/v1/history/{currency}", handle_async_errors(histories.answer))]
