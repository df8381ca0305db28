"""`/v1/history/{currency}`: the series behind a ticker's quote, as JSON or CSV.

Whole from one source, the quote's: recent fixings from memory, older ones from the store. Ten years are too much
to compute at once beside other requests, so a response is read, computed and written piece by piece. One that
breaks off breaks its connection, so that nobody takes a part for the whole.
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
"""The latest fixings of which those are left out that other banks refute by now."""
_YEARS: Final = 10
"""The most that one reply has."""
_BEFORE: Final = 64
"""Days before the part in which its first point's predecessor is looked for: longer than any holiday."""
_PIECE: Final = 64
"""Days that are worked out before others get their turn: some 2 ms where each has 39 currencies."""
_IN_WORK: Final = 2
"""Pieces that are in work together: one waits for the store while the other is worked out."""
_UNDER_WAY: Final = 64
"""Responses in progress; they may wait for their turn, or for a slow client."""
_PATIENCE: Final = 30.0
"""Seconds for a client to receive a piece."""
_WHOLE: Final = 120.0
"""Seconds for a whole response: a few clients that are slow in every piece could block all others."""


@dataclass(frozen=True, slots=True)
class _HistoryRequest:
    """A part in a form, and where its fixings are: `recent` in memory, the days (ordinals) of `stored` in the store."""

    part: RowRange
    form: str
    recent: tuple[Fixing, ...]
    stored: range

    def tags(self, stamp: str | None) -> dict[str, str]:
        """Return the ETag in each coding: others whenever the reply may be another. `stamp` is of what is stored."""
        recent = [(str(one.date), one.digest, str(one.fetched_at)) for one in self.recent]
        message = repr((__version__, astuple(self.part), self.form, recent, stamp))
        tag = sha256(message.encode()).hexdigest()[:20]
        return {"": f'"{tag}"', "gzip": f'"{tag}-gzip"'}


@dataclass
class Histories:
    pages: PageCache
    store: Store
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_IN_WORK))
    _under_way: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with a part of a series. Raises `Problem`."""
        wanted = self._parse(request)
        if self._under_way >= _UNDER_WAY:
            raise Problem(503, "Too many concurrent requests for histories.", {"Retry-After": "5"})
        self._under_way += 1
        try:
            return await self._reply(request, wanted)
        except StoreError:
            message = f"Older fixings of {wanted.part.source} cannot be read now."
            raise Problem(503, message, {"Retry-After": "30"}) from None
        finally:
            self._under_way -= 1

    def _parse(self, request: web.Request) -> _HistoryRequest:
        """Read a request: format, quote, and the fixings to look at, in memory and in the store. Raises `Problem`."""
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
        """Return a source's fixings in memory, those in force today for a ticker that shows these."""
        settings, known = self.pages.memory.settings, self.pages.memory.series(key)
        if any(one.id == ticker and one.effective == "today" for one in settings.tickers):
            return known.until(today(settings.polled[key], self.pages.now()))
        return known

    async def _reply(self, request: web.Request, wanted: _HistoryRequest) -> web.StreamResponse:
        tags = wanted.tags(await self.store.version(wanted.part.source) if wanted.stored else None)
        coding = "gzip" if accepts_gzip(request.headers.get(ACCEPT_ENCODING, "")) else ""
        known = matching(request, tags, coding)
        headers = self._headers(wanted, tags[coding if known is None else known])
        if known is not None:
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
                return web.Response(body=b"".join([piece async for piece in body]), headers=headers)
            first = await anext(body)  # before anything is written: what goes wrong here is still answered
            return await _streamed(request, web.StreamResponse(headers=headers), first, body)

    def _headers(self, wanted: _HistoryRequest, tag: str) -> dict[str, str]:
        longest = int(self.pages.memory.settings.http.max_age.total_seconds())
        caching = cache_for(longest, self.pages.snapshot(wanted.part.ticker).next_update)
        cache_control = caching(int(self.pages.now.seconds()))
        return {"ETag": tag, "Cache-Control": cache_control, "Vary": "Accept-Encoding", **OPEN}

    async def _body(self, wanted: _HistoryRequest, coding: str) -> AsyncGenerator[bytes]:
        """Yield the reply piece by piece, compressed where there is a coding. Raises `StoreError`."""
        gzip = zlib.compressobj(wbits=31) if coding else None
        async with aclosing(self._pieces(wanted)) as pieces:
            async for piece in pieces:
                yield gzip.compress(piece) if gzip else piece
        if gzip:
            yield gzip.flush()

    async def _pieces(self, wanted: _HistoryRequest) -> AsyncGenerator[bytes]:
        body = Body(wanted.part, FORMS[wanted.form], self.pages.memory.breaks(wanted.part.source))
        made = body.head
        for day in wanted.stored[::_PIECE]:
            since, until = date.fromordinal(day), date.fromordinal(min(day + _PIECE, wanted.stored.stop) - 1)
            async with self._turn:
                made += body.rows(await self.store.rates(wanted.part.source, since, until))
            yield made
            made = b""
        async with self._turn:
            made += body.rows(wanted.recent)
        yield made + body.tail


async def _streamed(
    request: web.Request, response: web.StreamResponse, first: bytes, more: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Write the reply; whatever keeps it from being whole breaks the connection off."""
    try:
        async with asyncio.timeout(_WHOLE):
            await response.prepare(request)
            await _written(response, first)
            async for piece in more:
                await _written(response, piece)
            async with asyncio.timeout(_PATIENCE):
                await response.write_eof()
    except (ConnectionError, TimeoutError):
        pass  # the client is disconnected or too slow
    except StoreError as error:
        log.warning("history.broken_off", path=request.path, error=str(error))
    except Exception:  # a problem document cannot be sent any more
        log.exception("request.crashed", path=request.path)
    else:
        return response
    if request.transport:
        request.transport.abort()
    return response


async def _written(response: web.StreamResponse, piece: bytes) -> None:
    async with asyncio.timeout(_PATIENCE):
        await response.write(piece)


def _quote(snapshot: Snapshot, code: str) -> tuple[str, Quote]:
    """Return a quote with the key of its source. Raises `Problem`."""
    quotes = {quote.code: quote for quote in snapshot.quotes if quote.source}
    quote = quotes.get(code.upper())
    if quote is None or quote.source is None:
        message = f"No source of the ticker {snapshot.id} quotes {code[:8]!r}."
        raise Problem(404, message, available=list(quotes))
    return quote.source, quote


def _span(query: MultiMapping[str], latest: date) -> tuple[date, date]:
    """Return the first and the last day that are wanted for. Raises `Problem`."""
    until = _day(query, "to") or latest
    since = _day(query, "from") or _years_before(until, 1)
    if since > until:
        raise Problem(400, f"from ({since}) is after to ({until}).")
    if since < (first := _years_before(until, _YEARS)):
        message = f"A response has {_YEARS} years at most: from {first} if to is {until}."
        raise Problem(400, message)
    return since, until


def _day(query: MultiMapping[str], name: str) -> date | None:
    text = query.get(name)
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        if str(day) == text:  # one address a part: not 20260402 and not 2026-W14-4
            return day
    except ValueError:
        pass
    raise Problem(400, f"{name} must be a date like 2026-04-02, not {text[:20]!r}.")


def _years_before(day: date, years: int) -> date:
    """Return the same day so many years before; for a leap day the last of that February."""
    if day.year <= years:
        return date.min
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)


def routes(pages: PageCache, store: Store) -> list[web.RouteDef]:
    histories = Histories(pages, store)
    return [web.get("/v1/history/{currency}", handle_async_errors(histories.answer))]
