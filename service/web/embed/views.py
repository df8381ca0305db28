"""`/embed`, `/embed.js` with its types, the builder at `/`, and their assets."""

import re
from pathlib import Path
from typing import Final

from aiohttp import web

from service.web.http.assets import ASSETS
from service.web.http.problems import Problem, handle_errors
from service.web.http.responses import IMMUTABLE, Representation, cache_for
from service.web.rendering.page_cache import PageCache

_FILES: Final = {name: Representation(body, kind, lambda _: IMMUTABLE) for name, (body, kind) in ASSETS.files.items()}
_HASH: Final = re.compile(r"\.[0-9a-f]{12}(?=\.)")
_SHORT: Final = cache_for(300)
_NEWEST: Final = {name: Representation(*ASSETS.files[hashed], _SHORT) for name, hashed in ASSETS.names.items()}
"""The current version of each asset: served for outdated hashes, which cached pages may link."""
_TYPES: Final = Path(__file__).parents[1] / "types"
"""Types of the web component: `make assets` copies them from `packages/element`, which is not installed."""
_UNPINNED: Final = {
    "embed.js": _NEWEST["embed.js"],
    "chart.js": _NEWEST["chart.js"],
    "embed.css": _NEWEST["strip.css"],
    # TypeScript has no registered media type; browsers show plain text.
    "embed.d.ts": Representation((_TYPES / "embed.d.ts").read_bytes(), "text/plain; charset=utf-8", _SHORT),
    "custom-elements.json": Representation((_TYPES / "custom-elements.json").read_bytes(), "application/json", _SHORT),
}
"""Files under names without a hash, cached briefly."""


def routes(pages: PageCache) -> list[web.RouteDef]:
    default = pages.memory.settings.tickers[0].id

    def named(form: str, request: web.Request) -> web.StreamResponse:
        ticker = request.query.get("ticker") if request.rel_url.raw_query_string else None
        return pages.reply(request, ticker or default, form)

    def file(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        page = _FILES.get(name) or (_NEWEST.get(_HASH.sub("", name)) if _HASH.search(name) else None)
        if page is None:
            raise Problem(404, "Unknown file; the pages link to the existing ones.")
        return page.reply(request, pages.now.seconds())

    def unpinned(name: str) -> web.RouteDef:
        return web.get(f"/{name}", handle_errors(lambda request: _UNPINNED[name].reply(request, pages.now.seconds())))

    return [
        web.get("/", handle_errors(lambda request: named("index", request))),
        web.get("/embed", handle_errors(lambda request: named("embed", request))),
        *map(unpinned, _UNPINNED),
        # Next to /embed.js instead of in /static: they all resolve the URLs of the service relative to their own.
        web.get(r"/{name:(?:embed|chart)\.[0-9a-f]{12}\.js}", handle_errors(file)),
        web.get("/static/{name}", handle_errors(file)),
    ]
