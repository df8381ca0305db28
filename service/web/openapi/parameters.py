"""Parameters of the API: each is defined once, and referenced by the operations in `generate`."""

from collections.abc import Iterable
from typing import Any, Final

from service.domain.periods import PERIODS
from service.web.rendering.chart import HEIGHT, WIDTH
from service.web.rendering.options import AUTO, HEIGHTS, LAYOUTS, RANGES, SCALES, SHOWN_VALUES, THEMES, WIDTHS

Json = dict[str, Any]

_TEXT: Final = {"type": "string"}
_DATE: Final = {"type": "string", "format": "date"}
_DATE_OR_NONE: Final = {"type": "string", "anyOf": [_DATE, {"const": ""}]}
_UNKNOWN: Final = "Unknown values are ignored, and the parameter is named in the header `Ticker-Ignored`."
_PIXELS: Final = {"type": "integer", "minimum": 1, "maximum": 99999}


def one_of(values: Iterable[str]) -> Json:
    return {"type": "string", "enum": list(values)}


def _named(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def some_of(values: Iterable[str], separator: str = ",") -> Json:
    """Return the schema of a list, by default separated by commas; not an array, which could not be empty."""
    value = f"({'|'.join(values)})"
    return {"type": "string", "pattern": f"^({value}({separator}{value})*)?$"}


def _parameter(name: str, description: str, schema: Json = _TEXT, where: str = "query", **more: object) -> Json:
    return {"name": name, "in": where, "description": description, "schema": schema, **more}


def _example(value: str) -> Json:
    return {value: {"value": value}}


def _in_path(name: str, description: str, schema: Json = _TEXT, **more: object) -> Json:
    return _parameter(name, description, schema, "path", required=True, **more)


PARAMETERS: Final = {
    "ticker": _parameter("ticker", "Id of the ticker. Default: the first configured ticker."),
    "tickers": _parameter(
        "ticker",
        "Ids of the tickers: the parameter may be repeated. Default: the first configured ticker.",
        {"type": "array", "items": _TEXT, "maxItems": 16},
    ),
    "currencies": _parameter(
        "currencies",
        "Currencies to return, separated by commas, in this order. Default: all currencies of the ticker.",
        some_of(["[A-Za-z]{3}"]),
    ),
    "lang": _parameter(
        "lang",
        "Language of the texts (BCP 47). The nearest CLDR locale is used; English if unknown. `auto`: the language is "
        "negotiated by `Accept-Language`.",
        examples={"kk": {"value": "kk"}, "auto": {"value": AUTO}},
    ),
    "shown_currencies": _parameter(
        "currencies",
        "Currencies to show, separated by commas, in this order; unknown ones are left out. Default: all currencies of "
        "the ticker.",
    ),
    "theme": _parameter(
        "theme", f"Colour theme: {_named(THEMES)}. Default: that of the format. {_UNKNOWN}", examples=_example("dark")
    ),
    "layout": _parameter(
        "layout", f"Layout: {_named(LAYOUTS)}. Default: `{LAYOUTS[0]}`. {_UNKNOWN}", examples=_example("list")
    ),
    "show": _parameter(
        "show",
        f"Values to show: {_named(SHOWN_VALUES)}, separated by commas or spaces. Default: `percent`.",
        some_of(SHOWN_VALUES, "[ ,]+"),
        examples=_example("rate,percent"),
    ),
    "shown_show": _parameter(
        "show",
        f"Values to show: {_named(SHOWN_VALUES)}, separated by commas or spaces. The default depends on the layout. "
        f"{_UNKNOWN}",
        examples=_example("rate,percent"),
    ),
    "spark": _parameter(
        "spark",
        "Show sparklines of the last 30 publications; needs the layout `list`, or for JSON `lang`. Disabled by "
        "default, and by `0`, `false` or `no`.",
    ),
    "width": _parameter(
        "width",
        f"Width of the picture in pixels, from {WIDTHS[0]} to {WIDTHS[1]}; texts are wrapped, not scaled. A smaller or "
        f"larger number is moved into the bounds. Default: the width of all texts in one row. {_UNKNOWN}",
        examples=_example("320"),
    ),
    "scale": _parameter(
        "scale",
        f"Device pixels per pixel of the picture, from {SCALES[0]} to {SCALES[1]}: 2 for screens of high resolution. A "
        f"larger number is moved into the bounds. {_UNKNOWN}",
        examples=_example("2"),
    ),
    "range": _parameter(
        "range",
        f"Range of the chart, which ends with the latest publication: {_named(RANGES)}. Default: `1y`. {_UNKNOWN}",
        examples=_example("3m"),
    ),
    "compare": _parameter(
        "compare",
        "Another currency of the ticker: both are shown as indices, 100 at the beginning of the range. An unknown one "
        "is ignored.",
        examples=_example("eur"),
    ),
    "chart_width": _parameter(
        "width",
        f"Width of the chart in pixels, from {WIDTHS[0]} to {WIDTHS[1]}. A smaller or larger number is moved into the "
        f"bounds. Default: {WIDTH}. {_UNKNOWN}",
        examples=_example("480"),
    ),
    "height": _parameter(
        "height",
        f"Height of the chart in pixels, from {HEIGHTS[0]} to {HEIGHTS[1]}. A smaller or larger number is moved into "
        f"the bounds. Default: {HEIGHT}. {_UNKNOWN}",
        examples=_example("240"),
    ),
    "live": _parameter(
        "live", "Update the page by the event stream `/v1/stream`. Disabled by default, and by `0`, `false` or `no`."
    ),
    "period": _parameter(
        "period",
        f"Period of the changes: {_named(PERIODS)}. Default: `{PERIODS[0]}`, since the previous publication. In JSON "
        "it selects the change in `text`; `changes` has all of them.",
        one_of(["", *PERIODS]),
    ),
    "shown_period": _parameter(
        "period",
        f"Period of the changes: {_named(PERIODS)}. Default: `{PERIODS[0]}`, since the previous publication. "
        f"{_UNKNOWN}",
        examples=_example("month"),
    ),
    **{
        name: _parameter(name, f"Colour of {of}, as `rrggbb`. {_UNKNOWN}", examples=_example(value))
        for name, of, value in (
            ("surface", "the background", "ffffff"),
            ("ink", "the text", "1c2230"),
            ("up", "a rise", "0a7a3d"),
            ("down", "a fall", "b3261e"),
        )
    },
    "size": _parameter(
        "size", f"Size of the text in pixels, 12 to 24. Default: 15. {_UNKNOWN}", examples=_example("18")
    ),
    "radius": _parameter("radius", f"Radius of the corners in pixels, 0 to 24. {_UNKNOWN}", examples=_example("0")),
    "font": _parameter(
        "font", f"Font: `system`, `serif`, `mono`. Default: `system`. {_UNKNOWN}", examples=_example("serif")
    ),
    "speed": _parameter(
        "speed",
        f"Duration of one round of the layout `tape`, in seconds, 10 to 120. Default: 30. {_UNKNOWN}",
        examples=_example("60"),
    ),
    "from": _parameter(
        "from", "First day, at most ten years before the last day. Default: one year before it.", _DATE_OR_NONE
    ),
    "to": _parameter("to", "Last day. Default: the date of the latest rates.", _DATE_OR_NONE),
    "url": _parameter(
        "url", "URL of an `/embed` page of this service.", {"type": "string", "format": "uri"}, required=True
    ),
    "maxwidth": _parameter("maxwidth", "Maximum width in pixels.", _PIXELS),
    "maxheight": _parameter("maxheight", "Maximum height in pixels.", _PIXELS),
    "on": _parameter(
        "on",
        "Return the rates in force on this date: of each currency the last publication up to it. Default: the latest "
        "publication.",
        _DATE_OR_NONE,
    ),
    "from_currency": _parameter(
        "from", "Currency of the amount: one of the ticker, or its base.", required=True, examples=_example("usd")
    ),
    "to_currency": _parameter(
        "to", "Currency of the result: one of the ticker, or its base.", required=True, examples=_example("kzt")
    ),
    "amount": _parameter(
        "amount",
        "Amount to convert, with up to 15 digits before and 10 after the decimal point. Default: 1.",
        {"type": "string", "pattern": r"^([0-9]{1,15}(\.[0-9]{1,10})?)?$"},
        examples=_example("100"),
    ),
    "verbose": _parameter("verbose", "Return plain text instead of JSON; the value is ignored."),
    "id": _in_path("ticker", "Id of the ticker."),
    "currency": _in_path("currency", "Code of a currency of the ticker."),
    "source": _in_path("source", "Key of a source, as in `/v1/sources`."),
    "date": _in_path("date", "Effective date.", _DATE),
    "day": _in_path("date", "Date on which the rates were in force; at the latest today.", _DATE),
    "name": _in_path("name", "File name, as linked by the pages."),
    "file": _in_path("name", "File name, as linked by `/docs`."),
    "hash": _in_path("hash", "Hash of the content.", {"type": "string", "pattern": "^[0-9a-f]{12}$"}),
    "chart_hash": _in_path("hash", "Hash of the content.", {"type": "string", "pattern": "^[0-9a-f]{12}$"}),
    "known": _parameter("If-None-Match", "ETags of cached representations.", where="header"),
    "languages": _parameter("Accept-Language", "Preferred languages, used if `lang` is `auto`.", where="header"),
    "last": _parameter(
        "Last-Event-ID", "The `id` of the last received event. It is not sent again if still current.", where="header"
    ),
}
