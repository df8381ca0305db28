"""The pages of every ticker, each rendered once per snapshot, a bounded number kept."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Final

from aiohttp import web
from aiohttp.hdrs import ACCEPT_LANGUAGE

from service.clock import Clock
from service.domain.snapshot import Snapshot
from service.observability.counters import Counters
from service.state.memory import MemoryState
from service.web.http.problems import Problem
from service.web.http.responses import Representation, cache_for
from service.web.rendering.formats import FORMATS, QuoteTexts, View, embed_headers, sayer
from service.web.rendering.options import Options, parse_options

Variant = Callable[[str, Options], Representation]
"""The page of one snapshot in a form, as the options want it."""
_HOST: Final = re.compile(r"[\w.-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:\d{1,5})?", re.ASCII)

_LOOPBACK: Final = re.compile(r"(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?", re.ASCII)


@dataclass
class _CachedPage:
    """What is kept of one snapshot."""

    snapshot: Snapshot
    variant: Variant
    said: QuoteTexts


@dataclass
class PageCache:
    memory: MemoryState
    now: Clock
    counters: Counters = field(default_factory=Counters)
    _kept: dict[str, _CachedPage] = field(default_factory=dict)

    def reply(self, request: web.Request, ticker: str, form: str) -> web.StreamResponse:
        """Respond with a ticker in an output format, with the options of the query. Raises `Problem`."""
        page = self.page(ticker, form, self.options(request, ticker, form))
        return page.reply(request, self.now.seconds())

    def page(self, ticker: str, form: str, options: Options) -> Representation:
        """Return the page of the ticker as it is now; the same one until the ticker changes."""
        return self._shelved(ticker).variant(form, options)

    def _shelved(self, ticker: str) -> _CachedPage:
        snapshot = self.snapshot(ticker)
        kept = self._kept.get(ticker)
        if kept is None or kept.snapshot is not snapshot:
            said = sayer(snapshot, self.memory.settings)
            variant = lru_cache(self.memory.settings.http.variants)(partial(self._page, snapshot, said))
            kept = self._kept[ticker] = _CachedPage(snapshot, variant, said)
        return kept

    def options(self, request: web.Request, ticker: str, form: str) -> Options:
        """Read what a request wants of a form. Raises `Problem`."""
        made = FORMATS[form]
        accepted = request.headers.get(ACCEPT_LANGUAGE, "")
        options = parse_options(request.query, accepted, self.snapshot(ticker), made.takes, made.lang, made.theme)
        return replace(options, origin=self._known_origin(request)) if "origin" in made.takes else options

    def origin(self, request: web.Request) -> str:
        """Return the public URL: as configured, else from the request; empty if its host is invalid."""
        if public := self.memory.settings.http.public_url:
            return public.rstrip("/")
        return f"{request.scheme}://{request.host}" if _HOST.fullmatch(request.host) else ""

    def _known_origin(self, request: web.Request) -> str:
        """Return the origin for a page that many get to see: a shared cache may keep what one request says of it."""
        public = self.memory.settings.http.public_url
        return self.origin(request) if public or _LOOPBACK.fullmatch(request.host) else ""

    def view(self, ticker: str, options: Options) -> View:
        """Return a ticker as it is now, as the options want it seen."""
        kept = self._shelved(ticker)
        return self._view(kept.snapshot, kept.said, options)

    def _view(self, snapshot: Snapshot, said: QuoteTexts, options: Options) -> View:
        if options.currencies:
            quotes = {quote.code: quote for quote in snapshot.quotes}
            snapshot = replace(snapshot, quotes=tuple(quotes[code] for code in options.currencies))
        return View(snapshot, self.memory.settings, options, said)

    def _page(self, snapshot: Snapshot, said: QuoteTexts, form: str, options: Options) -> Representation:
        settings, made = self.memory.settings, FORMATS[form]
        self.counters.rendered += 1
        longest = int(settings.http.max_age.total_seconds())
        headers = embed_headers(settings.http.frame_ancestors) if form == "embed" else made.headers
        return Representation(
            made.render(self._view(snapshot, said, options)),
            made.content_type,
            cache_for(longest, snapshot.next_update),
            headers,
            vary="Accept-Language" if options.negotiated else None,
        )

    def snapshot(self, ticker: str) -> Snapshot:
        """Return a ticker as it is now. Raises `Problem`: 404 if unknown, 503 if it has no rates yet."""
        snapshot = self.memory.snapshots.get(ticker)
        if snapshot is None:
            ids = [known.id for known in self.memory.settings.tickers]
            if ticker in ids:
                raise Problem(503, f"No source of the ticker {ticker} has responded yet.", {"Retry-After": "5"})
            raise Problem(404, f"Unknown ticker {ticker[:40]!r}.", available=ids)
        return snapshot
