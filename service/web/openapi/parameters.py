"""What may be asked, each parameter described once. For `generate`."""

from collections.abc import Iterable
from typing import Any, Final

from service.web.rendering.options import AUTO, FIGURES, LAYOUTS, THEMES

Json = dict[str, Any]

_TEXT: Final = {"type": "string"}
_DATE: Final = {"type": "string", "format": "date"}
_DATE_OR_NONE: Final = {"type": "string", "anyOf": [_DATE, {"const": ""}]}
_FIGURES: Final = {"type": "string", "pattern": f"^[ ,]*(({'|'.join(FIGURES)})([ ,]+|$))*$"}
_PIXELS: Final = {"type": "integer", "minimum": 1, "maximum": 99999}


def one_of(values: Iterable[str]) -> Json:
    return {"type": "string", "enum": list(values)}


def some_of(values: Iterable[str]) -> Json:
    """Return the schema of a list with commas. Not of an array: of that one cannot say that it may be empty."""
    value = f"({'|'.join(values)})"
    return {"type": "string", "pattern": f"^({value}(,{value})*)?$"}


def _parameter(name: str, told: str, schema: Json = _TEXT, where: str = "query", **more: object) -> Json:
    return {"name": name, "in": where, "description": told, "schema": schema, **more}


def _in_path(name: str, told: str, schema: Json = _TEXT, **more: object) -> Json:
    return _parameter(name, told, schema, "path", required=True, **more)


PARAMETERS: Final = {
    "ticker": _parameter("ticker", "The ticker; the first one where nothing is said."),
    "currencies": _parameter(
        "currencies",
        "Which currencies, with commas, in this order; all where nothing is said.",
        some_of(["[A-Za-z]{3}"]),
    ),
    "lang": _parameter(
        "lang",
        "A language (BCP 47): texts are in the nearest one that CLDR has, English for an unknown one. "
        "`auto`: as `Accept-Language` says.",
        examples={"kk": {"value": "kk"}, "auto": {"value": AUTO}},
    ),
    "theme": _parameter("theme", "The colours; an empty one is as none.", one_of(("", *THEMES))),
    "layout": _parameter("layout", f"The arrangement; `{LAYOUTS[0]}` where nothing is said.", one_of(("", *LAYOUTS))),
    "show": _parameter(
        "show",
        "Which figures, with commas or spaces; as is usual for the layout where nothing is said.",
        _FIGURES,
    ),
    "spark": _parameter(
        "spark", "A line of the last 30 publications, where there is a place for it; `0`, `false` and `no` mean no."
    ),
    "live": _parameter("live", "Whether the page listens to `/v1/stream`; `0`, `false` and `no` mean no."),
    "from": _parameter(
        "from", "The first day, ten years before the last at most; a year before where not said.", _DATE_OR_NONE
    ),
    "to": _parameter("to", "The last day; that of the latest figures where not said.", _DATE_OR_NONE),
    "url": _parameter(
        "url", "The address of an `/embed` of this service.", {"type": "string", "format": "uri"}, required=True
    ),
    "maxwidth": _parameter("maxwidth", "The most pixels in width.", _PIXELS),
    "maxheight": _parameter("maxheight", "The most pixels in height.", _PIXELS),
    "verbose": _parameter("verbose", "Be it empty or not: the answer is a text for people."),
    "id": _in_path("ticker", "The ticker."),
    "currency": _in_path("currency", "The code of a currency that the ticker has."),
    "source": _in_path("source", "The key of a source, as `/v1/sources` has it."),
    "date": _in_path("date", "The date that a fixing carries.", _DATE),
    "name": _in_path("name", "The name of a file, as pages have it."),
    "file": _in_path("name", "The name of a file, as `/docs` has it."),
    "hash": _in_path("hash", "Of its content.", {"type": "string", "pattern": "^[0-9a-f]{12}$"}),
    "known": _parameter("If-None-Match", "ETags of copies that are there already.", where="header"),
    "languages": _parameter("Accept-Language", "Looked at where the language is `auto`.", where="header"),
    "last": _parameter(
        "Last-Event-ID", "The `id` of the last event that came: it does not come again.", where="header"
    ),
}
