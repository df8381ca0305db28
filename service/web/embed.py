"""The strip as a page of its own (`/embed`), the front page (`/`), and the files that they load."""

from typing import Final

from aiohttp import web

from service.web.assets import ASSETS
from service.web.pages import IMMUTABLE, Page
from service.web.problems import Problem, guarded
from service.web.shelf import Shelf

_FILES: Final = {name: Page(body, kind, lambda _: IMMUTABLE) for name, (body, kind) in ASSETS.files.items()}


def routes(shelf: Shelf) -> list[web.RouteDef]:
    default = shelf.board.settings.tickers[0].id

    def embed(request: web.Request) -> web.StreamResponse:
        named = request.query.get("ticker", default) if request.rel_url.raw_query_string else default
        return shelf.reply(request, named, "embed")

    def file(request: web.Request) -> web.StreamResponse:
        page = _FILES.get(request.match_info["name"])
        if page is None:
            raise Problem(404, "There is no such file; pages name the ones that there are.")
        return page.reply(request, shelf.now.seconds())

    return [
        web.get("/", guarded(lambda request: shelf.reply(request, default, "index"))),
        web.get("/embed", guarded(embed)),
        web.get("/static/{name}", guarded(file)),
    ]
