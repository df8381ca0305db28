"""Generate the OpenAPI 3.1 document of the API: `make docs` writes it to `openapi.json`.

A running service only reads that file, and does not load this module.
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
Official exchange rates and their changes, published by central banks: dated and traceable.

## Conventions

All endpoints are read with GET or HEAD; other methods return 405. Unknown query parameters are ignored. Cacheable
responses have a strong ETag (`If-None-Match` returns 304), are compressed if `Accept-Encoding` allows gzip, and may be
read by pages of any origin. Errors are `application/problem+json` (RFC 9457), also for malformed requests (400).

Rates are JSON numbers with the digits that the bank published. Times are in UTC.
"""
_TAGS: Final = {
    "rates": "Tickers, the history and receipts of their rates, and the sources.",
    "strip": "Endpoints for embedding a ticker in other sites.",
    "service": "Health, metrics and documentation.",
}
_TEXT: Final = {"type": "string"}
_JSON: Final = "application/json"
_HEALTH: Final = "application/health+json"
_HTML: Final = "text/html"
_EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"const": "ticker"},
        "id": {"type": "string", "description": "Identifies the event, for `Last-Event-ID`."},
        "data": {"type": "string", "contentMediaType": _JSON, "contentSchema": ref(models.Ticker)},
        "retry": {"type": "integer", "description": "Milliseconds until the client reconnects."},
    },
    "additionalProperties": False,
}
_STATIC: Final = ("text/css", "text/javascript", "image/svg+xml")


def _header(name: str, summary: str, required: bool = True, **schema: object) -> tuple[str, Json]:
    return name, {"description": summary, "required": required, "schema": _TEXT | schema}


_HEADERS: Final = {
    "tag": _header("ETag", "Strong ETag, different for each content coding.", pattern='^".+"$'),
    "age": _header(
        "Cache-Control", "Cacheable until the next publication is due at most.", pattern="^public, max-age=[0-9]+, "
    ),
    "no-store": _header("Cache-Control", "Must not be cached.", const="no-store"),
    "vary": _header("Vary", "Request headers that select the representation.", required=False),
    "open": _header("Access-Control-Allow-Origin", "Accessible by pages of any origin.", const="*"),
    "policy": _header("Content-Security-Policy", "Restrictions for browsers.", pattern="^default-src 'none'; "),
    "name": _header("Content-Disposition", "Suggested file name.", pattern="^attachment; "),
    "later": _header("Retry-After", "Seconds to wait before retrying.", pattern="^[0-9]+$"),
    "allow": _header("Allow", "Supported methods.", const="GET, HEAD"),
}


def _problem(summary: str, *headers: str) -> Json:
    content = {"application/problem+json": {"schema": ref(models.ProblemDocument)}}
    return {"description": summary, "headers": _headers("no-store", "open", *headers), "content": content}


def document() -> Json:
    """Return the document, without what depends on settings: that is added when it is served."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Currency ticker",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": "Base URL of this document"}],
        "tags": [{"name": name, "description": summary} for name, summary in _TAGS.items()],
        "paths": dict(_paths()),
        "components": {
            "parameters": PARAMETERS,
            "headers": {name: header for name, (_, header) in _HEADERS.items()},
            "responses": {
                "400": _problem("Invalid parameter; `available` lists the valid values."),
                "404": _problem("Not found; `available` lists the existing values."),
                "429": _problem("Too many open streams from one address.", "later"),
                "500": _problem("Internal server error."),
                "501": _problem("Formats other than JSON are not supported."),
                "503": _problem("Unavailable: no rates yet, the store is down, or too many requests.", "later"),
            },
            "schemas": schemas(),
        },
    }


def _paths() -> Iterator[tuple[str, Json]]:
    taken = {form: ["currencies", *_taken(form)] for form in FORMATS}
    for suffix, form in (("", "json"), *((f".{name}", name) for name in SUFFIXES)):
        summary, content = FORMATS[form].summary, _content(FORMATS[form].content_type, models.Ticker)
        reply = _kept(content, *(["policy"] if FORMATS[form].headers else []))
        yield f"/v1/ticker{suffix}", _get("rates", f"Default ticker {summary}", taken[form], reply, 400, 503)
        one = _get("rates", f"Ticker {summary}", ["id", *taken[form]], reply, 400, 404, 503)
        yield f"/v1/ticker/{{ticker}}{suffix}", one
    part = ["currency", "ticker", "from", "to"]
    for suffix, form in (("", "json"), (".json", "json"), (".csv", "csv")):
        reply = _kept(
            _content(history_rows.FORMS[form].content_type, models.History), *(["name"] if form == "csv" else [])
        )
        summary = f"History of a quote as {form.upper()}, oldest first"
        yield f"/v1/history/{{currency}}{suffix}", _get("rates", summary, part, reply, 400, 404, 503)
    summary = "Receipt of a publication: rates as published, URL, time and digest"
    receipt = _kept(_content(_JSON, models.Receipt))
    yield "/v1/fixings/{source}/{date}", _get("rates", summary, ["source", "date"], receipt, 404, 503)
    raw = _kept(_content("application/octet-stream"), "policy", "name")
    yield (
        "/v1/fixings/{source}/{date}.raw",
        _get("rates", "Raw response of the bank", ["source", "date"], raw, 404, 503),
    )
    summary = "Sources with their latest publication, polls and state"
    yield "/v1/sources", _get("rates", summary, [], _kept(_content(_JSON, models.Sources)))
    summary = "Server-Sent Events: the ticker as JSON, at once and whenever it changes"
    stream = {"200": _reply({"text/event-stream": {"schema": _EVENT}}, "no-store", "open")}
    yield "/v1/stream", _get("rates", summary, ["ticker", *taken["json"], "last"], stream, 400, 404, 429, 503)

    for path, form, summary in (
        ("/", "index", "Builder: customize the strip and get the embed code"),
        ("/embed", "embed", "The strip as a page, for an iframe"),
    ):
        page = _kept(_content(_HTML), "policy")
        yield path, _get("strip", summary, ["ticker", *taken[form]], page, 400, 404, 503)
    summary = "oEmbed (https://oembed.com), JSON only; another `format` returns 501"
    embed = _kept(_content(_JSON, models.Embed))
    yield "/oembed", _get("strip", summary, ["url", "maxwidth", "maxheight"], embed, 400, 404, 501, 503)
    script, style = _kept(_content("text/javascript")), _kept(_content("text/css"))
    yield "/embed.js", _get("strip", "Script of the web component `<currency-ticker>`", [], script)
    yield "/embed.css", _get("strip", "Style sheet of the HTML fragment", [], style)
    yield "/embed.{hash}.js", _get("strip", "Script of the web component, by its hash", ["hash"], script, 404)
    static = {kind: one for name in _STATIC for kind, one in _content(name).items()}
    yield "/static/{name}", _get("strip", "Assets of the pages, by their hash", ["name"], _kept(static), 404)
    viewer = _kept(_content("text/css") | _content("text/javascript"))
    yield "/static/viewer/{name}", _get("service", "Assets of `/docs`, by their hash", ["file"], viewer, 404)

    health, alive = _content(_HEALTH, models.HealthDocument), _content(_HEALTH, models.Alive)
    both = _reply(health | _content("text/plain"), "no-store", "open")
    yield "/livez", _get("service", "Liveness: the process is running", [], {"200": _reply(alive, "no-store", "open")})
    yield "/readyz", _get("service", "Readiness: rates are loaded", [], {"200": _reply(alive, "no-store", "open")}, 503)
    summary = "Health of all components (draft-inadarei-api-health-check): 200 for `pass` and `warn`, 503 for `fail`"
    yield "/health", _get("service", summary, ["verbose"], {"200": both, "503": both})
    metrics = _content("text/plain") | _content("application/openmetrics-text")
    yield "/metrics", _get("service", "Metrics for Prometheus", [], {"200": _reply(metrics, "no-store")})
    itself = {_JSON: {"schema": {"type": "object", "required": ["openapi", "info", "paths"]}}}
    yield "/openapi.json", _get("service", "OpenAPI document", [], _kept(itself))
    yield "/docs", _get("service", "API documentation (Swagger UI)", [], _kept(_content(_HTML), "policy"))


def _taken(form: str) -> list[str]:
    """Return the parameters that a format takes beside `currencies`."""
    takes = FORMATS[form].takes
    return [name for name in PARAMETERS if name in takes] + (["languages"] if "lang" in takes else [])


def _get(tag: str, summary: str, taken: Iterable[str], replies: Json, *problems: int) -> Json:
    """Return a path with its GET operation; `problems` are statuses of its errors."""
    known = ["known"] if "304" in replies else []
    found = replies | {str(status): {"$ref": f"#/components/responses/{status}"} for status in (*problems, 500)}
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in (*taken, *known)]
    return {
        "get": {"tags": [tag], "summary": summary, "parameters": parameters, "responses": dict(sorted(found.items()))}
    }


def _kept(content: Json, *headers: str) -> Json:
    """Return the responses of a cacheable endpoint."""
    return {
        "200": _reply(content, "tag", "age", "vary", "open", *headers),
        "304": {"description": "Not modified.", "headers": _headers("tag", "age", "open")},
    }


def _reply(content: Json, *headers: str) -> Json:
    return {"description": "OK", "headers": _headers(*headers), "content": content}


def _content(content_type: str, model: type | None = None) -> Json:
    """Return a content of that type; `model` is its schema if it is JSON."""
    kind = content_type.partition(";")[0]
    return {kind: {"schema": ref(model) if model and kind.endswith("json") else _TEXT}}


def _headers(*names: str) -> Json:
    return {_HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in names}


if __name__ == "__main__":  # `make docs`
    print(json.dumps(document(), indent=1, ensure_ascii=False))  # noqa: T201
