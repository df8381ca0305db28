"""What the pages share: their language, a cache, and errors as pages instead of problem documents."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from gettext import NullTranslations
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.hdrs import ACCEPT_LANGUAGE, CACHE_CONTROL, RETRY_AFTER

from service.clock import Clock
from service.settings import Settings
from service.web.http.problems import OPEN, Handler, Problem, handle_async_errors
from service.web.http.responses import SECURE, Representation
from service.web.i18n.locale import ENGLISH, Language, language, negotiate, resolve
from service.web.i18n.messages import N_, PAGES, catalogue, languages
from service.web.rendering.formats import STRICT
from service.web.rendering.options import AUTO, HEADER_LONGEST
from service.web.rendering.templates import rendered

HTML: Final = "text/html; charset=utf-8"
HEADERS: Final = {**SECURE, "Content-Security-Policy": STRICT}
_MAX_PAGES: Final = 64
"""Cached pages: each some 100 KB with its compressed form."""
_MAX_RENDERINGS: Final = 8
"""Pages that are being made. The edge waits 3 s for a response."""
_GZIP_LEVEL: Final = 4
"""Level 9 takes five times as long for the data of ten years, and makes a page 2 % smaller."""
_LIFETIME: Final = 15
"""Seconds after which a page is rendered again: the store may have other earlier years, or raw responses, by then."""

_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    404: (N_("Page not found"), N_("This page does not exist.")),
    503: (N_("Temporarily unavailable"), N_("Please try again in a moment.")),
    500: (N_("Something went wrong"), N_("The error has been logged.")),
}
"""Heading and text of an error page by status."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """The options that all pages have: equal options give the same bytes. `ticker` is empty for the default one."""

    lang: str
    negotiated: bool
    origin: str
    ticker: str = ""

    @property
    def language(self) -> Language:
        return language(self.lang)

    @property
    def gettext(self) -> Callable[[str], str]:
        return catalogue(self.lang, PAGES).gettext

    @property
    def kept(self) -> dict[str, str]:
        """The query parameters that links to other pages keep."""
        kept = {"ticker": self.ticker} if self.ticker else {}
        return kept if self.negotiated else kept | {"lang": self.lang}

    def query(self, **more: str) -> str:
        """Return the query string of a link to a page, with further parameters; empty ones are left out."""
        values = {name: value for name, value in (self.kept | more).items() if value}
        return f"?{urlencode(values)}" if values else ""


def page_options(request: web.Request, settings: Settings, origin: str) -> PageOptions:
    """Return the options of a request; a language without a catalogue of the pages becomes English."""
    tag = request.query.get("lang", AUTO)
    negotiated = tag == AUTO
    tag = negotiate(request.headers.get(ACCEPT_LANGUAGE, "")[:HEADER_LONGEST]) if negotiated else resolve(tag)
    tag = language(tag).words_tag
    ticker = request.query.get("ticker", "")[:80]
    ticker = "" if ticker == settings.tickers[0].id else ticker
    return PageOptions(tag if tag in languages(PAGES) else ENGLISH, negotiated, origin, ticker)


def shell(options: PageOptions, root: str, current: str, **query: str) -> dict[str, Any]:
    """Return the template variables of the shared header. `query` has the further parameters of this page."""
    own = ({"ticker": options.ticker} if options.ticker else {}) | {name: text for name, text in query.items() if text}
    return {
        "_": options.gettext,
        "root": root,
        "current": current,
        "lang": options.lang,
        "dir": options.language.dir,
        "isolated": options.language.isolated,
        "languages": languages(PAGES),
        "own_query": own,
        "kept": options.kept,
        "options": options,
    }


def representation(
    template: str,
    options: PageOptions,
    caching: Callable[[int], str],
    values: Mapping[str, Any],
    surrogate: Mapping[str, str],
) -> Representation:
    """Return a rendered page; `surrogate` are the headers with its surrogate keys."""
    vary = ACCEPT_LANGUAGE if options.negotiated else None
    headers = {**HEADERS, **surrogate}
    return Representation(rendered(template, **values), HTML, caching, headers, vary, level=_GZIP_LEVEL)


@dataclass
class _Entry:
    inputs: tuple[object, ...]
    made_at: float
    page: "asyncio.Task[Representation]"


@dataclass
class DocumentCache:
    """Pages made of memory and store. Each is made once, however many requests wait for it."""

    now: Clock
    _entries: OrderedDict[Hashable, _Entry] = field(default_factory=OrderedDict)
    _renderings: int = 0

    async def get(
        self, key: Hashable, inputs: tuple[object, ...], make: Callable[[], Awaitable[Representation]]
    ) -> Representation:
        """Return a page from the cache, or made now; `inputs` are the objects it is made of.

        Raises `Problem`: 503 if too many others are being made.
        """
        entry = self._entries.get(key)
        if entry is None or not self._is_valid(entry, inputs):
            if self._renderings >= _MAX_RENDERINGS:
                raise Problem(503, "Too many concurrent requests for new pages.", {RETRY_AFTER: "5"})
            self._renderings += 1
            entry = _Entry(inputs, self.now.seconds(), asyncio.ensure_future(_awaited(make)))
            entry.page.add_done_callback(partial(self._end, key, entry))
            self._entries[key] = entry
            if len(self._entries) > _MAX_PAGES:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return await asyncio.shield(entry.page)

    def _is_valid(self, entry: _Entry, inputs: tuple[object, ...]) -> bool:
        unchanged = all(new is old for new, old in zip(inputs, entry.inputs, strict=True))
        return unchanged and 0 <= self.now.seconds() - entry.made_at < _LIFETIME

    def _end(self, key: Hashable, entry: _Entry, page: "asyncio.Task[Representation]") -> None:
        """Forget a page that could not be made, so that the next request tries again."""
        self._renderings -= 1
        if (page.cancelled() or page.exception()) and self._entries.get(key) is entry:
            del self._entries[key]


async def _awaited(make: Callable[[], Awaitable[Representation]]) -> Representation:
    return await make()


def handle_page_errors(
    handler: Handler, options_of: Callable[[web.Request], PageOptions], root: str, current: str
) -> Handler:
    """Wrap a handler: a `Problem` becomes a page in the visitor's language, with links, and is not cached."""
    guarded = handle_async_errors(handler)

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await guarded(request)
        except Problem as problem:
            options = replace(options_of(request), ticker="")
            values = shell(options, root, current) | {"links": getattr(problem, "links", {})}
            return error_page(problem, "error.html", values, HEADERS)

    return handle


def error_page(
    problem: Problem, template: str, values: Mapping[str, Any], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Return a `Problem` as a page, which is not cached. The template gets `heading`, `text` and `status` too."""
    heading, text = _ERRORS.get(problem.status, _ERRORS[404])
    headers = {"Content-Type": HTML, **OPEN, **headers, CACHE_CONTROL: "no-store"}
    if RETRY_AFTER in problem.headers:
        headers[RETRY_AFTER] = problem.headers[RETRY_AFTER]
    body = rendered(template, **values, heading=heading, text=text, status=problem.status)
    return web.Response(status=problem.status, body=body, headers=headers)


class PageNotFound(Problem):
    """Status 404 with links: names and relative URLs of pages that exist."""

    def __init__(self, detail: str, links: Mapping[str, str] | None = None) -> None:
        """Take what is wrong, for clients that read the problem, and the links."""
        super().__init__(404, detail)
        self.links = dict(links or {})


def _extracted() -> None:
    """Mark the name of the catalogue's language for extraction; never called."""
    pgettext = NullTranslations().pgettext
    pgettext("name of the catalogue's language", "English")
