"""The whole interface as an OpenAPI 3.1 document: `make docs` writes it into `openapi.json`.

A running service only reads that file: what it takes to write one is not loaded there.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from service import __version__
from service.web import models
from service.web.api import history_rows
from service.web.openapi.json_schema import ref, schemas
from service.web.openapi.parameters import PARAMETERS
from service.web.rendering.formats import FORMATS, SUFFIXES

Json = dict[str, Any]

_ABOUT: Final = """\
Official exchange rates and their changes, from the central banks themselves, dated and traceable.

## What holds everywhere

Everything is read with GET; HEAD answers the same without the body, OPTIONS says so, another method is refused (405).
Parameters that are not listed are passed over. What may be cached has a strong ETag, by which `If-None-Match` may be
answered with 304, and comes compressed where `Accept-Encoding` allows gzip; pages of any origin may read it. Errors are
`application/problem+json` (RFC 9457). What is no HTTP at all is one of them, too: 400.

Figures are JSON numbers with the digits that the bank published; times are in UTC.
"""
_TAGS: Final = {
    "figures": "The ticker, what is behind it, and where it comes from.",
    "strip": "The ticker for the pages of others.",
    "service": "For whoever runs it; and this description.",
}
_TEXT: Final = {"type": "string"}
_JSON: Final = "application/json"
_HEALTH: Final = "application/health+json"
_HTML: Final = "text/html"
_EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"const": "ticker"},
        "id": {"type": "string", "description": "Of these figures, for `Last-Event-ID`."},
        "data": {"type": "string", "contentMediaType": _JSON, "contentSchema": ref(models.Ticker)},
        "retry": {"type": "integer", "description": "Milliseconds after which to come back."},
    },
    "additionalProperties": False,
}
_STATIC: Final = ("text/css", "text/javascript", "image/svg+xml")


def _header(name: str, told: str, required: bool = True, **schema: object) -> tuple[str, Json]:
    return name, {"description": told, "required": required, "schema": _TEXT | schema}


_HEADERS: Final = {
    "tag": _header("ETag", "Strong; another one for each coding.", pattern='^".+"$'),
    "age": _header(
        "Cache-Control", "Never longer than until the next publication is due.", pattern="^public, max-age=[0-9]+, "
    ),
    "no-store": _header("Cache-Control", "Nobody may keep it.", const="no-store"),
    "vary": _header("Vary", "By what the reply was chosen.", required=False),
    "open": _header("Access-Control-Allow-Origin", "Pages of any origin may read it.", const="*"),
    "policy": _header("Content-Security-Policy", "What a browser may do with it.", pattern="^default-src 'none'; "),
    "name": _header("Content-Disposition", "A name for the file.", pattern="^attachment; "),
    "later": _header("Retry-After", "Seconds.", pattern="^[0-9]+$"),
    "allow": _header("Allow", "What is possible.", const="GET, HEAD"),
}


def _problem(told: str, *headers: str) -> Json:
    content = {"application/problem+json": {"schema": ref(models.ProblemDocument)}}
    return {"description": told, "headers": _headers("no-store", "open", *headers), "content": content}


def document() -> Json:
    """Return the document. What depends on settings is laid over it by whoever serves it."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Currency ticker",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": "Where this document is"}],
        "tags": [{"name": name, "description": told} for name, told in _TAGS.items()],
        "paths": dict(_paths()),
        "components": {
            "parameters": PARAMETERS,
            "headers": {name: header for name, (_, header) in _HEADERS.items()},
            "responses": {
                "400": _problem("A parameter says what cannot be."),
                "404": _problem("There is no such thing; `available` says what there is."),
                "429": _problem("Too many streams are open from one address.", "later"),
                "500": _problem("A fault of ours."),
                "501": _problem("Another format than JSON."),
                "503": _problem(
                    "Not now: there are no figures yet, the store is away, or too many are asking.", "later"
                ),
            },
            "schemas": schemas(),
        },
    }


def _paths() -> Iterator[tuple[str, Json]]:
    asked = {form: ["currencies", *_taken(form)] for form in FORMATS}
    for suffix, form in (("", "json"), *((f".{name}", name) for name in SUFFIXES)):
        told, content = FORMATS[form].summary, _content(FORMATS[form].content_type, models.Ticker)
        reply = _kept(content, *(["policy"] if FORMATS[form].headers else []))
        yield f"/v1/ticker{suffix}", _get("figures", f"The first ticker {told}", asked[form], reply, 400, 503)
        one = _get("figures", f"A ticker {told}", ["id", *asked[form]], reply, 400, 404, 503)
        yield f"/v1/ticker/{{ticker}}{suffix}", one
    part = ["currency", "ticker", "from", "to"]
    for suffix, form in (("", "json"), (".json", "json"), (".csv", "csv")):
        reply = _kept(
            _content(history_rows.FORMS[form].content_type, models.History), *(["name"] if form == "csv" else [])
        )
        told = f"The publications behind a quote as {form.upper()}, oldest first"
        yield f"/v1/history/{{currency}}{suffix}", _get("figures", told, part, reply, 400, 404, 503)
    told = "The receipt of a fixing: as it was published, where and when it was fetched"
    receipt = _kept(_content(_JSON, models.Receipt))
    yield "/v1/fixings/{source}/{date}", _get("figures", told, ["source", "date"], receipt, 404, 503)
    raw = _kept(_content("application/octet-stream"), "policy", "name")
    yield "/v1/fixings/{source}/{date}.raw", _get("figures", "What a bank answered", ["source", "date"], raw, 404, 503)
    told = "Who the sources are, how current, how the polls go"
    yield "/v1/sources", _get("figures", told, [], _kept(_content(_JSON, models.Sources)))
    told = "Server-Sent Events: `event: ticker` with the JSON of the ticker as data, now and whenever it changes"
    stream = {"200": _reply({"text/event-stream": {"schema": _EVENT}}, "no-store", "open")}
    yield "/v1/stream", _get("figures", told, ["ticker", *asked["json"], "last"], stream, 400, 404, 429, 503)

    for path, form, told in (
        ("/", "index", "The page on which a strip is made"),
        ("/embed", "embed", "The strip as a page"),
    ):
        page = _kept(_content(_HTML), "policy")
        yield path, _get("strip", told, ["ticker", *asked[form]], page, 400, 404, 503)
    told = "For oEmbed consumers (https://oembed.com). `format=json` may be said; any other is answered with 501"
    embed = _kept(_content(_JSON, models.Embed))
    yield "/oembed", _get("strip", told, ["url", "maxwidth", "maxheight"], embed, 400, 404, 501, 503)
    script, style = _kept(_content("text/javascript")), _kept(_content("text/css"))
    yield "/embed.js", _get("strip", "The custom element `<currency-ticker>`", [], script)
    yield "/embed.css", _get("strip", "Its style sheet", [], style)
    yield "/embed.{hash}.js", _get("strip", "The script of the element, pinned", ["hash"], script, 404)
    static = {kind: one for name in _STATIC for kind, one in _content(name).items()}
    yield "/static/{name}", _get("strip", "What pages load, named by its content", ["name"], _kept(static), 404)
    viewer = _kept(_content("text/css") | _content("text/javascript"))
    yield "/static/viewer/{name}", _get("service", "What `/docs` loads, named by its content", ["file"], viewer, 404)

    health, alive = _content(_HEALTH, models.HealthDocument), _content(_HEALTH, models.Alive)
    both = _reply(health | _content("text/plain"), "no-store", "open")
    yield "/livez", _get("service", "Whether it is up", [], {"200": _reply(alive, "no-store", "open")})
    yield "/readyz", _get("service", "Whether it has figures", [], {"200": _reply(alive, "no-store", "open")}, 503)
    told = "How each part of it is (draft-inadarei-api-health-check): `pass` and `warn` are 200, `fail` is 503"
    yield "/health", _get("service", told, ["verbose"], {"200": both, "503": both})
    metrics = _content("text/plain") | _content("application/openmetrics-text")
    yield "/metrics", _get("service", "For Prometheus", [], {"200": _reply(metrics, "no-store")})
    itself = {_JSON: {"schema": {"type": "object", "required": ["openapi", "info", "paths"]}}}
    yield "/openapi.json", _get("service", "This description", [], _kept(itself))
    yield "/docs", _get("service", "This description, to be read by people", [], _kept(_content(_HTML), "policy"))


def _taken(form: str) -> list[str]:
    """Return what a form takes beside currencies, as `options` reads it."""
    takes = FORMATS[form].takes
    return [name for name in PARAMETERS if name in takes] + (["languages"] if "lang" in takes else [])


def _get(tag: str, told: str, asked: Iterable[str], replies: Json, *problems: int) -> Json:
    """Return a path that can be read; it may answer with `problems` too."""
    known = ["known"] if "304" in replies else []
    found = replies | {str(status): {"$ref": f"#/components/responses/{status}"} for status in (*problems, 500)}
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in (*asked, *known)]
    return {"get": {"tags": [tag], "summary": told, "parameters": parameters, "responses": dict(sorted(found.items()))}}


def _kept(content: Json, *headers: str) -> Json:
    """Return the replies of what caches may keep."""
    return {
        "200": _reply(content, "tag", "age", "vary", "open", *headers),
        "304": {"description": "It is there already.", "headers": _headers("tag", "age", "open")},
    }


def _reply(content: Json, *headers: str) -> Json:
    return {"description": "OK", "headers": _headers(*headers), "content": content}


def _content(content_type: str, model: type | None = None) -> Json:
    """Return a body of that type; `model` is what it has where it is JSON."""
    kind = content_type.partition(";")[0]
    return {kind: {"schema": ref(model) if model and kind.endswith("json") else _TEXT}}


def _headers(*names: str) -> Json:
    return {_HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in names}


if __name__ == "__main__":  # `make docs`
    print(json.dumps(document(), indent=1, ensure_ascii=False))  # noqa: T201
