"""`/embed`, `/embed.js` with its types, the builder at `/`, and their assets."""

import re
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.hdrs import ACCEPT

from service.web.http.assets import ASSETS
from service.web.http.problems import Problem, handle_errors
from service.web.http.responses import IMMUTABLE, Representation, cache_for
from service.web.pages.documents import error_page, handle_page_errors, page_options
from service.web.rendering.formats import embed_headers
from service.web.rendering.options import AUTO, THEMES, Options
from service.web.rendering.page_cache import PageCache

_HASH: Final = re.compile(r"\.[0-9a-f]{12}(?=\.)")
_SHORT: Final = cache_for(300)
_TYPES: Final = Path(__file__).parents[1] / "types"
"""Types of the web component: `make assets` copies them from `packages/element`, which is not installed."""
_UNPINNED: Final = {
    "embed.js": ASSETS.newest("embed.js"),
    "chart.js": ASSETS.newest("chart.js"),
    "embed.css": ASSETS.newest("strip.css"),
    # TypeScript has no registered media type; browsers show plain text.
    "embed.d.ts": ((_TYPES / "embed.d.ts").read_bytes(), "text/plain; charset=utf-8"),
    "custom-elements.json": ((_TYPES / "custom-elements.json").read_bytes(), "application/json"),
}
"""Content and Content-Type of files under names without a hash, cached briefly."""


@cache
def _file(hashed: str) -> Representation:
    """Return an asset, which is compressed at its first request."""
    return Representation(*ASSETS.files[hashed], lambda _: IMMUTABLE)


@cache
def _newest(name: str) -> Representation:
    """Return the current version of an asset: served for outdated hashes, which cached pages may link."""
    return Representation(*ASSETS.newest(name), _SHORT)


@cache
def _unpinned(name: str) -> Representation:
    return Representation(*_UNPINNED[name], _SHORT)


def _accepts_html(request: web.Request) -> bool:
    """Return whether a client is a browser that opens a page; scripts that refresh one accept anything."""
    return "text/html" in request.headers.get(ACCEPT, "")


def routes(pages: PageCache) -> list[web.RouteDef]:
    default = pages.memory.settings.tickers[0].id

    def named(form: str, request: web.Request) -> web.StreamResponse:
        ticker = request.query.get("ticker") if request.rel_url.raw_query_string else None
        return pages.reply(request, ticker or default, form)

    def file(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name in ASSETS.files:
            page = _file(name)
        elif _HASH.search(name) and (plain := _HASH.sub("", name)) in ASSETS.names:
            page = _newest(plain)
        else:
            raise Problem(404, "Unknown file; the pages link to the existing ones.")
        return page.reply(request, pages.now.seconds())

    def unpinned(name: str) -> web.RouteDef:
        return web.get(f"/{name}", handle_errors(lambda request: _unpinned(name).reply(request, pages.now.seconds())))

    settings = pages.memory.settings
    index = handle_errors(lambda request: named("index", request))
    index_for_browsers = handle_page_errors(index, lambda request: page_options(request, settings, ""), "./", "")
    embed = handle_errors(lambda request: named("embed", request))

    async def index_page(request: web.Request) -> web.StreamResponse:
        """Respond with the builder; to a browser with an error as a page."""
        return await (index_for_browsers if _accepts_html(request) else index)(request)

    async def embed_page(request: web.Request) -> web.StreamResponse:
        """Respond with the strip as a page; to a browser with an error that looks like it."""
        try:
            return await embed(request)
        except Problem as problem:
            if not _accepts_html(request):
                raise
            options, theme = page_options(request, settings, ""), request.query.get("theme")
            values = {
                "lang": options.lang,
                "dir": options.language.dir,
                "_": options.gettext,
                "theme": theme if theme in THEMES else AUTO,
            }
            headers = embed_headers(settings.http.frame_ancestors, Options())
            return error_page(problem, "embed_error.html", values, headers)

    return [
        web.get("/", index_page),
        web.get("/embed", embed_page),
        *map(unpinned, _UNPINNED),
        # Next to /embed.js instead of in /static: they all resolve the URLs of the service relative to their own.
        web.get(r"/{name:(?:embed|chart)\.[0-9a-f]{12}\.js}", handle_errors(file)),
        web.get("/static/{name}", handle_errors(file)),
    ]
