"""`/openapi.json` and `/docs`: the OpenAPI document, and its viewer.

Both are rendered at the first request. The viewer is Swagger UI as released, kept in memory compressed: 0.5 MB, and
another 1.5 MB after the first request without gzip, which no browser sends.
"""

import gzip
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.hdrs import ACCEPT_ENCODING

from service.settings import Settings
from service.web.http.assets import ASSETS
from service.web.http.problems import Problem, handle_errors
from service.web.http.responses import IMMUTABLE, SECURE, Representation, accepts_gzip, cache_for
from service.web.openapi.parameters import one_of, some_of
from service.web.rendering.formats import STRICT, docs, to_json
from service.web.rendering.page_cache import PageCache

DESCRIPTION: Final = Path(__file__).parents[1] / "openapi.json"
_VIEWER: Final = Path(__file__).parents[1] / "viewer"
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_SHORT: Final = cache_for(300)
_VARY: Final = "Accept-Encoding"


def described(settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document with the values and examples that depend on the settings."""
    document: dict[str, Any] = msgspec.json.decode(DESCRIPTION.read_bytes())
    tickers = [ticker.id for ticker in settings.tickers]
    currencies = dict.fromkeys(code for ticker in settings.tickers for code in ticker.currencies)
    shared = [code for code in currencies if all(code in ticker.currencies for ticker in settings.tickers)]
    parameters = document["components"]["parameters"]
    parameters["ticker"]["schema"] = one_of(["", *tickers])
    parameters["tickers"]["schema"] = parameters["tickers"]["schema"] | {"items": one_of(["", *tickers])}
    parameters["id"]["schema"] = one_of(tickers)
    parameters["currency"]["schema"] = one_of(_spellings(currencies))
    bases = {ticker.base for ticker in settings.tickers}
    convertible = [
        code
        for code in (*currencies, *sorted(bases - set(currencies)))
        if all(code in (*ticker.currencies, ticker.base) for ticker in settings.tickers)
    ]
    if convertible:
        for name in ("from_currency", "to_currency"):
            parameters[name]["schema"] = one_of(_spellings(convertible))
    parameters["currencies"]["schema"] = some_of(_spellings(shared)) if shared else one_of([""])
    parameters["source"]["schema"] = one_of(settings.polled)
    script, public = ASSETS.names["embed.js"], settings.http.public_url
    examples = {"name": ASSETS.names["page.css"], "file": next(iter(_shipped())), "hash": script.split(".")[1]}
    examples["chart_hash"] = ASSETS.names["chart.js"].split(".")[1]
    for name, example in (examples | ({"url": f"{public.rstrip('/')}/embed"} if public else {})).items():
        parameters[name]["example"] = example
    return document


def _spellings(codes: Iterable[str]) -> list[str]:
    """Return the accepted spellings of currency codes: in lower and in upper case."""
    return [spelling for code in codes for spelling in (code.lower(), code)]


@cache
def _shipped() -> dict[str, Path]:
    """Return the files of the viewer by their hashed names."""
    files = {}
    for path in sorted(_VIEWER.glob("*.gz")):
        name, digest = Path(path.stem), sha256(path.read_bytes()).hexdigest()[:12]
        files[f"{name.stem}.{digest}{name.suffix}"] = path
    return files


def routes(pages: PageCache) -> list[web.RouteDef]:
    @cache
    def description() -> Representation:
        return Representation(to_json(described(pages.memory.settings)), "application/json", _SHORT)

    @cache
    def page() -> Representation:
        names = {f"{name.partition('.')[0]}{Path(name).suffix}": name for name in _shipped()}
        headers = {**SECURE, "Content-Security-Policy": STRICT}
        return Representation(docs(names), "text/html; charset=utf-8", _SHORT, headers)

    @cache
    def file(path: Path, coding: str) -> Representation:
        body = path.read_bytes()
        headers = {"Content-Encoding": coding} if coding else None
        content = body if coding else gzip.decompress(body)
        return Representation(
            content, _TYPES[Path(path.stem).suffix], lambda _: IMMUTABLE, headers, _VARY, compressed=False
        )

    def shipped(request: web.Request) -> web.StreamResponse:
        path = _shipped().get(request.match_info["name"])
        if path is None:
            raise Problem(404, "Unknown file; /docs links to the existing ones.")
        coding = "gzip" if accepts_gzip(request.headers.get(ACCEPT_ENCODING, "")) else ""
        return file(path, coding).reply(request, pages.now.seconds())

    return [
        web.get("/openapi.json", handle_errors(lambda request: description().reply(request, pages.now.seconds()))),
        web.get("/docs", handle_errors(lambda request: page().reply(request, pages.now.seconds()))),
        web.get("/static/viewer/{name}", handle_errors(shipped)),
    ]
