"""Generate the OpenAPI 3.1 document: `make docs` writes it to `openapi.json`.

The running service reads that file and does not import this module.
"""

import json
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from service import __version__
from service.web import models
from service.web.api import chart, history_rows
from service.web.http.request_id import ERROR_HEADERS
from service.web.openapi.json_schema import ref, schemas
from service.web.openapi.parameters import PARAMETERS
from service.web.rendering.formats import FORMATS, SUFFIXES

Json = dict[str, Any]

_ABOUT: Final = """\
Official exchange rates of central banks and their changes. Each rate has a date, and a receipt to verify it.

## Conventions

All endpoints support GET and HEAD; other methods return 405. Unknown query parameters are ignored. Cacheable responses
have a strong ETag (`If-None-Match` returns 304) and are compressed if `Accept-Encoding` allows gzip. Responses are
accessible from any origin (CORS). Errors are `application/problem+json` (RFC 9457), including those of malformed
requests (400).

Rates are JSON numbers with the digits that the bank published. Times are in UTC.
"""
_TAGS: Final = {
    "rates": "Tickers, history, receipts of publications, and sources.",
    "strip": "Endpoints for embedding a ticker in other sites.",
    "pages": "Pages for people; unknown values of parameters are ignored.",
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
        "id": {"type": "string", "description": "Identifier of the event, for `Last-Event-ID`."},
        "data": {"type": "string", "contentMediaType": _JSON, "contentSchema": ref(models.Ticker)},
        "retry": {"type": "integer", "description": "Reconnection delay in milliseconds."},
    },
    "additionalProperties": False,
}
_STATIC: Final = ("text/css", "text/javascript", "image/svg+xml")


def _header(name: str, summary: str, required: bool = True, **schema: object) -> tuple[str, Json]:
    return name, {"description": summary, "required": required, "schema": _TEXT | schema}


_HEADERS: Final = {
    "tag": _header("ETag", "Strong ETag; each content coding has its own.", pattern='^".+"$'),
    "age": _header(
        "Cache-Control",
        "Cache lifetime; ends at the latest when the next publication is due.",
        pattern="^public, max-age=[0-9]+, ",
    ),
    "no-store": _header("Cache-Control", "The response must not be cached.", const="no-store"),
    "vary": _header("Vary", "Request headers that select the representation.", required=False),
    "open": _header("Access-Control-Allow-Origin", "The response is accessible from any origin.", const="*"),
    "policy": _header("Content-Security-Policy", "What browsers may load and run.", pattern="^default-src 'none'; "),
    "name": _header("Content-Disposition", "Suggested file name.", pattern="^attachment; "),
    "later": _header("Retry-After", "Seconds to wait before retrying.", pattern="^[0-9]+$"),
    "request": _header(
        "X-Request-ID", "Id of the request in log events; missing for a malformed request.", required=False
    ),
    "exposed": _header(
        "Access-Control-Expose-Headers",
        "Headers that scripts of other origins can read; missing for a malformed request.",
        required=False,
        const=ERROR_HEADERS,
    ),
    "allow": _header("Allow", "Supported methods.", const="GET, HEAD"),
}


def _problem(summary: str, *headers: str) -> Json:
    content = {"application/problem+json": {"schema": ref(models.ProblemDocument)}}
    return {
        "description": summary,
        "headers": _headers("no-store", "open", "request", "exposed", *headers),
        "content": content,
    }


def document() -> Json:
    """Return the OpenAPI document without the parts that depend on settings; `docs.described` adds these."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Currency ticker",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": "The server of this document"}],
        "tags": [{"name": name, "description": summary} for name, summary in _TAGS.items()],
        "paths": dict([*_paths(), *_pages()]),
        "components": {
            "parameters": PARAMETERS,
            "headers": {name: header for name, (_, header) in _HEADERS.items()},
            "responses": {
                "400": _problem("Bad request: missing or invalid parameter; `available` lists the valid values."),
                "404": _problem("Not found; `available` lists the existing values."),
                "429": _problem(
                    "Too many requests: too many open streams or concurrent histories from one IP address.", "later"
                ),
                "500": _problem("Internal server error."),
                "501": _problem("Not implemented: formats other than JSON."),
                "503": _problem(
                    "Service unavailable: no rates yet, the store is unavailable, or too many concurrent requests.",
                    "later",
                ),
            },
            "schemas": schemas(),
        },
    }


def _paths() -> Iterator[tuple[str, Json]]:
    query_names = {form: _query_names(form) for form in FORMATS}
    yield from _tickers()
    parameters = ["currency", "ticker", "from", "to"]
    for suffix, form in (("", "json"), (".json", "json"), (".csv", "csv")):
        responses = _cacheable(
            _content(history_rows.FORMS[form].content_type, models.History), *(["name"] if form == "csv" else [])
        )
        summary = f"History of a quote as {form.upper()}, oldest publication first"
        yield f"/v1/history/{{currency}}{suffix}", _get("rates", summary, parameters, responses, 400, 404, 429, 503)
    yield from _charts()
    yield from _rates_on_dates()
    summary = "Receipt of a publication: rates as published, URL, fetch time and digest"
    receipt = _cacheable(_content(_JSON, models.Receipt))
    yield "/v1/fixings/{source}/{date}", _get("rates", summary, ["source", "date"], receipt, 404, 503)
    raw = _cacheable(_content("application/octet-stream"), "policy", "name")
    yield (
        "/v1/fixings/{source}/{date}.raw",
        _get("rates", "Raw response of the bank for a publication", ["source", "date"], raw, 404, 503),
    )
    summary = "Sources: latest publication, polls and state"
    yield "/v1/sources", _get("rates", summary, [], _cacheable(_content(_JSON, models.Sources)))
    summary = "Server-Sent Events: each ticker as JSON, on connection and on each change"
    stream = {"200": _reply({"text/event-stream": {"schema": _EVENT}}, "no-store", "open")}
    yield "/v1/stream", _get("rates", summary, ["tickers", *query_names["json"], "last"], stream, 400, 404, 429, 503)

    for path, form, summary in (
        ("/", "index", "Builder: customize the strip and get the embed code"),
        ("/embed", "embed", "Strip as a page, for an iframe"),
    ):
        page = _cacheable(_content(_HTML), "policy")
        yield path, _get("strip", summary, ["ticker", *query_names[form]], page, 400, 404, 503)
    summary = "oEmbed (https://oembed.com), JSON only: any other `format` returns 501"
    embed = _cacheable(_content(_JSON, models.Embed))
    yield "/oembed", _get("strip", summary, ["url", "maxwidth", "maxheight"], embed, 400, 404, 501, 503)
    script, style = _cacheable(_content("text/javascript")), _cacheable(_content("text/css"))
    yield "/embed.js", _get("strip", "Script of the web component `<currency-ticker>`", [], script)
    yield "/embed.css", _get("strip", "Style sheet of the HTML fragment", [], style)
    summary = "TypeScript types of the web component, also for React, Vue and Svelte"
    yield "/embed.d.ts", _get("strip", summary, [], _cacheable(_content("text/plain")))
    manifest = {_JSON: {"schema": {"type": "object", "required": ["schemaVersion", "modules"]}}}
    yield "/custom-elements.json", _get("strip", "Custom elements manifest, for editors", [], _cacheable(manifest))
    yield "/embed.{hash}.js", _get("strip", "Script of the web component, by content hash", ["hash"], script, 404)
    static = {kind: schema for name in _STATIC for kind, schema in _content(name).items()}
    yield "/static/{name}", _get("strip", "Assets of the pages, by content hash", ["name"], _cacheable(static), 404)
    viewer = _cacheable(_content("text/css") | _content("text/javascript"))
    yield "/static/viewer/{name}", _get("service", "Assets of `/docs`, by content hash", ["file"], viewer, 404)

    yield from _service_paths()


def _service_paths() -> Iterator[tuple[str, Json]]:
    health, alive = _content(_HEALTH, models.HealthDocument), _content(_HEALTH, models.Alive)
    health_response = _reply(health | _content("text/plain"), "no-store", "open")
    yield "/livez", _get("service", "Liveness: the process is running", [], {"200": _reply(alive, "no-store", "open")})
    ready = {"200": _reply(alive, "no-store", "open")}
    yield "/readyz", _get("service", "Readiness: at least one ticker has rates", [], ready, 503)
    summary = "Health of all components (draft-inadarei-api-health-check): 200 for `pass` and `warn`, 503 for `fail`"
    yield "/health", _get("service", summary, ["verbose"], {"200": health_response, "503": health_response})
    summary = (
        "Status page for people: tickers, sources, quarantine and instances, as `/health` and `/v1/sources` report"
    )
    yield "/status", _get("service", summary, ["lang", "languages"], _cacheable(_content(_HTML), "policy"))
    metrics = _content("text/plain") | _content("application/openmetrics-text")
    yield "/metrics", _get("service", "Prometheus metrics", [], {"200": _reply(metrics, "no-store")})
    openapi_document = {_JSON: {"schema": {"type": "object", "required": ["openapi", "info", "paths"]}}}
    yield "/openapi.json", _get("service", "OpenAPI document", [], _cacheable(openapi_document))
    yield "/docs", _get("service", "API documentation (Swagger UI)", [], _cacheable(_content(_HTML), "policy"))


def _tickers() -> Iterator[tuple[str, Json]]:
    for suffix, form in (("", "json"), *((f".{name}", name) for name in SUFFIXES)):
        summary, content = FORMATS[form].summary, _content(FORMATS[form].content_type, models.Ticker)
        responses = _cacheable(content, *(["policy"] if FORMATS[form].headers else []))
        names, statuses = _query_names(form), [400, 503]
        if FORMATS[form].dated:
            names, statuses = [*names, "on"], [400, 404, 503]
        yield f"/v1/ticker{suffix}", _get("rates", f"Default ticker {summary}", names, responses, *statuses)
        operation = _get("rates", f"Ticker {summary}", ["id", *names], responses, 400, 404, 503)
        yield f"/v1/ticker/{{ticker}}{suffix}", operation


def _rates_on_dates() -> Iterator[tuple[str, Json]]:
    summary = "Rates in force on a date: of each currency the last publication up to it"
    rates = _cacheable(_content(_JSON, models.Rates))
    yield "/v1/rates/{date}", _get("rates", summary, ["day", "ticker", "currencies"], rates, 400, 404, 503)
    parameters = ["from_currency", "to_currency", "amount", "on", "ticker"]
    summary = "Convert an amount by the latest rates, or those in force on a date"
    converted = _cacheable(_content(_JSON, models.Converted))
    yield "/v1/convert", _get("rates", summary, parameters, converted, 400, 404, 503)


def _query_names(form: str) -> list[str]:
    """Return the names of the parameters that a format supports."""
    takes, lenient = FORMATS[form].takes, {"currencies", "period", "show"} if FORMATS[form].lenient else set()
    languages = ["languages"] if "lang" in takes else []
    names = ["currencies", *(name for name in PARAMETERS if name in takes), *languages]
    return [f"shown_{name}" if name in lenient else name for name in names]


def _pages() -> Iterator[tuple[str, Json]]:
    """Yield the pages for people; their errors are pages too."""
    errors = {str(status): _reply(_content(_HTML), "no-store", "open", "policy") for status in (404, 503)}
    for status, response in errors.items():
        response["description"] = f"The same status in words, with links: {HTTPStatus(int(status)).phrase}."
    page = _cacheable(_content(_HTML), "policy") | errors
    yield "/rates", _get("pages", "Rates of a ticker", ["ticker", "lang", "languages"], page)
    summary = "Rate of a currency: chart and history, compared with another currency if requested"
    yield (
        "/rates/{currency}",
        _get("pages", summary, ["currency", "ticker", "range", "compare", "lang", "languages"], page),
    )
    summary = "Receipt of a publication: rates, origin, checks, decisions, and the bank's response"
    yield "/fixings/{source}/{date}", _get("pages", summary, ["source", "date", "lang", "languages"], page)


def _charts() -> Iterator[tuple[str, Json]]:
    names = {"width": "chart_width"}
    for suffix, form in (("", "json"), *((f".{name}", name) for name in chart.FORMATS)):
        output = chart.FORMATS[form]
        parameters = ["currency", "ticker", *(names.get(name, name) for name in sorted(output.takes)), "languages"]
        responses = _cacheable(_content(output.content_type, models.Chart), *(["policy"] if output.headers else []))
        summary = f"Chart of a quote: {output.summary}"
        yield f"/v1/chart/{{currency}}{suffix}", _get("rates", summary, parameters, responses, 404, 503)
    script, summary = _cacheable(_content("text/javascript")), "Script of the web component `<currency-chart>`"
    yield "/chart.js", _get("strip", summary, [], script)
    yield "/chart.{hash}.js", _get("strip", f"{summary}, by content hash", ["chart_hash"], script, 404)


def _get(tag: str, summary: str, names: Iterable[str], responses: Json, *problems: int) -> Json:
    """Return a path item with a GET operation; `names` are its parameters, `problems` the statuses of its errors."""
    conditional = ["known"] if "304" in responses else []
    errors = {str(status): {"$ref": f"#/components/responses/{status}"} for status in (*problems, 500)}
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in (*names, *conditional)]
    return {
        "get": {
            "tags": [tag],
            "summary": summary,
            "parameters": parameters,
            "responses": dict(sorted((responses | errors).items())),
        }
    }


def _cacheable(content: Json, *headers: str) -> Json:
    """Return the responses of a cacheable endpoint."""
    return {
        "200": _reply(content, "tag", "age", "vary", "open", *headers),
        "304": {"description": "Not modified.", "headers": _headers("tag", "age", "open")},
    }


def _reply(content: Json, *headers: str) -> Json:
    return {"description": "OK", "headers": _headers(*headers), "content": content}


def _content(content_type: str, model: type | None = None) -> Json:
    """Return a media type object for `content_type`; its schema is that of `model` for JSON, else a string."""
    kind = content_type.partition(";")[0]
    return {kind: {"schema": ref(model) if model and kind.endswith("json") else _TEXT}}


def _headers(*names: str) -> Json:
    return {_HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in names}


if __name__ == "__main__":  # `make docs`
    print(json.dumps(document(), indent=1, ensure_ascii=False))  # noqa: T201
