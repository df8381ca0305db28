"""Cache of rendered pages: each is rendered once per snapshot, and the number of variants per ticker is limited."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache, partial
from typing import Final

from aiohttp import web
from aiohttp.hdrs import ACCEPT_LANGUAGE

from service.clock import Clock
from service.domain.snapshot import Snapshot
from service.domain.surrogate_keys import surrogate_headers, ticker_key
from service.observability.counters import Counters
from service.observability.tracing import span
from service.runtime.background import run_in_thread
from service.runtime.program import set_rate_command
from service.state.memory import MemoryState
from service.web.http.problems import EXPOSE_HEADERS, Problem
from service.web.http.responses import Representation, cache_for
from service.web.rendering.formats import FORMATS, QuoteTexts, View, embed_headers, no_publications, sayer
from service.web.rendering.options import Options, parse_options
from service.web.rendering.png import PngRenderer

Variant = Callable[[str, Options], Representation]
"""A function from an output format and options to the page of one snapshot."""
_IGNORED: Final = "Ticker-Ignored"
_HOST: Final = re.compile(r"[\w.-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:\d{1,5})?", re.ASCII)

_MAX_SLOW_PAGES: Final = 32
"""Pictures and feeds that are cached per ticker: they are larger than other pages, some 20 KB each."""
_MAX_SLOW_RENDERINGS: Final = 8
"""Pages of a format that are being rendered, one after the other. The edge waits 3 s for a response."""
_LOOPBACK: Final = re.compile(r"(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?", re.ASCII)


@dataclass
class _CachedPage:
    """A snapshot with its rendered pages and texts."""

    snapshot: Snapshot
    variant: Variant
    texts: QuoteTexts
    slow_pages: dict[tuple[str, Options], "asyncio.Task[Representation]"] = field(default_factory=dict)


def ignored_headers(options: Options) -> Mapping[str, str]:
    """Return a header with the names of the parameters that were ignored, and that scripts can read it."""
    names = ", ".join((*options.ignored, *options.unsupported))
    return {_IGNORED: names, EXPOSE_HEADERS: f"ETag, {_IGNORED}"} if names else {}


@dataclass
class PageCache:
    """The rendered pages of the current snapshots, by ticker."""

    memory: MemoryState
    now: Clock
    counters: Counters = field(default_factory=Counters)
    png: PngRenderer = field(default_factory=PngRenderer)
    _cached: dict[str, _CachedPage] = field(default_factory=dict)
    _slow_renderings: Counter[str] = field(default_factory=Counter)

    def reply(self, request: web.Request, ticker: str, form: str) -> web.StreamResponse:
        """Respond with a ticker in an output format, with the options of the query. Raises `Problem`."""
        page = self.page(ticker, form, self.options(request, ticker, form))
        return page.reply(request, self.now.seconds())

    def page(self, ticker: str, form: str, options: Options) -> Representation:
        """Return the page of the ticker's current snapshot, from the cache if possible. Raises `Problem`."""
        return self._current(ticker).variant(form, options)

    async def slow_reply(self, request: web.Request, ticker: str, form: str) -> web.StreamResponse:
        """Respond as `reply` does, with a format that is rendered in a worker thread. Raises `Problem`.

        A page is rendered once, however many requests wait for it: 503 if too many other pages are being rendered.
        """
        options = self.options(request, ticker, form)
        cached = self._current(ticker)
        key = form, options
        rendering = cached.slow_pages.pop(key, None)
        if rendering is not None:
            cached.slow_pages[key] = rendering  # the least recently requested page is the first
        else:
            if self._slow_renderings[form] >= _MAX_SLOW_RENDERINGS:
                raise Problem(503, "Too many concurrent requests for new pages.", {"Retry-After": "5"})
            if len(cached.slow_pages) >= _MAX_SLOW_PAGES:
                del cached.slow_pages[next(iter(cached.slow_pages))]
            rendering = cached.slow_pages[key] = asyncio.create_task(self._slow_page(cached, form, options))
            rendering.add_done_callback(partial(self._end_slow_rendering, cached, key))
            self._slow_renderings[form] += 1
        page = await asyncio.shield(rendering)
        if self._current(ticker) is not cached:  # the rates have changed meanwhile
            return await self.slow_reply(request, ticker, form)
        return page.reply(request, self.now.seconds())

    async def _slow_page(self, cached: _CachedPage, form: str, options: Options) -> Representation:
        output = FORMATS[form]
        with span("page", {"page": form, "ticker": cached.snapshot.id}):
            body = await run_in_thread(output.render, self._view(cached.snapshot, cached.texts, options, form))
            if output.drawn:
                body = await self.png.draw(body)
        self.counters.rendered += 1
        caching, vary = self.caching(cached.snapshot), "Accept-Language" if options.negotiated else None
        return Representation(
            body,
            output.content_type,
            caching,
            self._headers(output.headers, options, cached.snapshot),
            vary,
            compressed=not output.drawn,
        )

    def _end_slow_rendering(
        self, cached: _CachedPage, key: tuple[str, Options], rendering: "asyncio.Task[Representation]"
    ) -> None:
        """Forget a page that could not be rendered, so that the next request tries again."""
        self._slow_renderings[key[0]] -= 1
        if (rendering.cancelled() or rendering.exception()) and cached.slow_pages.get(key) is rendering:
            del cached.slow_pages[key]

    def _current(self, ticker: str) -> _CachedPage:
        snapshot = self.snapshot(ticker)
        cached = self._cached.get(ticker)
        if cached is None or cached.snapshot is not snapshot:
            texts = sayer(snapshot, self.memory.settings)
            caching = self.caching(snapshot)
            variant = lru_cache(self.memory.settings.http.variants)(partial(self._page, snapshot, texts, caching))
            cached = self._cached[ticker] = _CachedPage(snapshot, variant, texts)
        return cached

    def options(self, request: web.Request, ticker: str, form: str) -> Options:
        """Parse the options of a request for an output format. Raises `Problem`."""
        output = FORMATS[form]
        accepted = request.headers.get(ACCEPT_LANGUAGE, "")
        options = parse_options(
            request.query,
            accepted,
            self.snapshot(ticker),
            output.takes,
            output.lang,
            output.theme,
            lenient=output.lenient,
            ignores=output.ignores,
        )
        return replace(options, origin=self.cacheable_origin(request)) if "origin" in output.takes else options

    def origin(self, request: web.Request) -> str:
        """Return the public URL: the configured one, else that of the request; empty if its host is invalid."""
        if public := self.memory.settings.http.public_url:
            return public.rstrip("/")
        return f"{request.scheme}://{request.host}" if _HOST.fullmatch(request.host) else ""

    def cacheable_origin(self, request: web.Request) -> str:
        """Return the origin for cacheable pages: the configured one, or a loopback host; else empty.

        A client can send any Host header, and a shared cache would serve a page with it to all others.
        """
        public = self.memory.settings.http.public_url
        return self.origin(request) if public or _LOOPBACK.fullmatch(request.host) else ""

    def view(self, ticker: str, options: Options) -> View:
        """Return a view of the ticker's current snapshot with these options. Raises `Problem`."""
        cached = self._current(ticker)
        return self._view(cached.snapshot, cached.texts, options)

    def dated_view(self, snapshot: Snapshot, options: Options, on: date) -> View:
        """Return a view of a snapshot with the rates in force on a date."""
        return replace(self._view(snapshot, sayer(snapshot, self.memory.settings), options), on=on)

    def _view(self, snapshot: Snapshot, texts: QuoteTexts, options: Options, form: str = "") -> View:
        if options.currencies is not None:
            snapshot = snapshot.select(options.currencies)
        publications = self.memory.publications() if form == "atom" else no_publications
        return View(snapshot, self.memory.settings, options, texts, publications)

    def caching(self, snapshot: Snapshot) -> Callable[[int], str]:
        """Return the function from the second of a response to the Cache-Control for a snapshot's rates."""
        longest = int(self.memory.settings.http.max_age.total_seconds())
        return cache_for(longest, snapshot.next_update, self.memory.expected_change(snapshot, self.now()))

    def _page(
        self, snapshot: Snapshot, texts: QuoteTexts, caching: Callable[[int], str], form: str, options: Options
    ) -> Representation:
        settings, output = self.memory.settings, FORMATS[form]
        self.counters.rendered += 1
        headers = embed_headers(settings.http.frame_ancestors, options) if form == "embed" else output.headers
        with span("page", {"page": form, "ticker": snapshot.id}):
            return Representation(
                output.render(self._view(snapshot, texts, options)),
                output.content_type,
                caching,
                self._headers(headers, options, snapshot),
                vary="Accept-Language" if options.negotiated else None,
            )

    def _headers(self, headers: Mapping[str, str] | None, options: Options, snapshot: Snapshot) -> Mapping[str, str]:
        """Return the headers of a page, with its surrogate key and the names of the parameters that were ignored."""
        return {
            **(headers or {}),
            **ignored_headers(options),
            **surrogate_headers(self.memory.settings.http, ticker_key(snapshot.id)),
        }

    def snapshot(self, ticker: str) -> Snapshot:
        """Return the current snapshot of a ticker. Raises `Problem`: 404 if unknown, 503 if it has no rates yet."""
        snapshot = self.memory.snapshots.get(ticker)
        if snapshot is None:
            ids = [configured.id for configured in self.memory.settings.tickers]
            if ticker in ids:
                problem = f"No source of the ticker {ticker} has responded yet."
                if source := self.memory.settings.entered_source(ticker):
                    problem = f"No rates have been entered yet; enter them with: {set_rate_command(source)}"
                raise Problem(503, problem, {"Retry-After": "5"})
            raise Problem(404, f"Unknown ticker {ticker[:40]!r}.", available=ids)
        return snapshot
