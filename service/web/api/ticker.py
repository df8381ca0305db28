"""`/v1/ticker`: snapshots, in every output format that has a suffix."""

from aiohttp import web

from service.web.api.rates import DatedRates
from service.web.http.problems import Problem, handle_async_errors
from service.web.rendering.formats import FORMATS, SUFFIXES
from service.web.rendering.page_cache import PageCache


def routes(pages: PageCache, dated: DatedRates | None = None) -> list[web.RouteDef]:
    """Return the routes; without `dated` the parameter `on` is ignored."""
    default = pages.memory.settings.tickers[0].id

    async def reply(request: web.Request, ticker: str, form: str) -> web.StreamResponse:
        if dated and FORMATS[form].dated and request.query.get("on"):
            return await dated.ticker(request, ticker, form)
        if FORMATS[form].in_thread:
            return await pages.slow_reply(request, ticker, form)
        return pages.reply(request, ticker, form)

    def form(name: str) -> web.RouteDef:
        return web.get(f"/v1/ticker.{name}", handle_async_errors(lambda request: reply(request, default, name)))

    async def ticker(request: web.Request) -> web.StreamResponse:
        name, dot, suffix = request.match_info["ticker"].partition(".")
        if dot and suffix not in SUFFIXES:
            raise Problem(404, f"Unknown format .{suffix}.", available=[f".{supported}" for supported in SUFFIXES])
        return await reply(request, name, suffix or "json")

    return [
        web.get("/v1/ticker", handle_async_errors(lambda request: reply(request, default, "json"))),
        *map(form, SUFFIXES),
        web.get("/v1/ticker/{ticker}", handle_async_errors(ticker)),
    ]
