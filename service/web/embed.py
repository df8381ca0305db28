"""What sites take and what it loads: `/embed`, `/embed.js`, the builder at `/`, and their files."""

from typing import Final

from aiohttp import web

from service.web.assets import ASSETS
from service.web.pages import IMMUTABLE, Page, cache_for
from service.web.problems import Problem, guarded
from service.web.shelf import Shelf

_FILES: Final = {name: Page(body, kind, lambda _: IMMUTABLE) for name, (body, kind) in ASSETS.files.items()}
_SHORT: Final = cache_for(300)
_UNPINNED: Final = {
    name: Page(*ASSETS.files[ASSETS.names[file]], _SHORT)
    for name, file in (("embed.js", "embed.js"), ("embed.css", "strip.css"))
}
"""Under names that stay the same: always the newest, so browsers ask again soon."""


def routes(shelf: Shelf) -> list[web.RouteDef]:
    default = shelf.board.settings.tickers[0].id

    def named(form: str, request: web.Request) -> web.StreamResponse:
        ticker = request.query.get("ticker", default) if request.rel_url.raw_query_string else default
        return shelf.reply(request, ticker, form)

    def file(request: web.Request) -> web.StreamResponse:
        page = _FILES.get(request.match_info["name"])
        if page is None:
            raise Problem(404, "There is no such file; pages name the ones that there are.")
        return page.reply(request, shelf.now.seconds())

    def unpinned(name: str) -> web.RouteDef:
        return web.get(f"/{name}", guarded(lambda request: _UNPINNED[name].reply(request, shelf.now.seconds())))

    return [
        web.get("/", guarded(lambda request: named("index", request))),
        web.get("/embed", guarded(lambda request: named("embed", request))),
        *map(unpinned, _UNPINNED),
        # Beside /embed.js and not in /static, so that both find the service at the same place.
        web.get(r"/{name:embed\.[0-9a-f]{12}\.js}", guarded(file)),
        web.get("/static/{name}", guarded(file)),
    ]
