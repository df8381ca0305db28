"""Options of the output formats: currencies, language, theme, layout. Parsed from the query and validated.

JSON and text refuse unknown currencies and values. Frames, images and fragments are part of other sites, where an error
would be visible to visitors: they ignore unknown values, and name the parameters in a header and a comment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from msgspec import UNSET
from multidict import MultiMapping

from service.domain.periods import PERIODS, Period
from service.domain.snapshot import Snapshot
from service.web.http.problems import Problem
from service.web.i18n.locale import negotiate, resolve
from service.web.i18n.messages import RANGES as RANGE_NAMES
from service.web.rendering.style import STYLE

AUTO: Final = "auto"
THEMES: Final = (AUTO, "system", "light", "dark", "transparent")
LAYOUTS: Final = ("strip", "list", "tape")
SHOWN_VALUES: Final = ("rate", "buy", "sell", "change", "percent")
SIDES: Final = frozenset({"buy", "sell"})
_DEFAULT_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "strip": ("percent",),
    "list": ("rate", "percent"),
    "tape": ("rate", "percent"),
}
"""The values that a layout shows by default."""
RANGES: Final = tuple(RANGE_NAMES)
"""Ranges of a chart: `1m`, `3m`, `1y`, `5y`, `all`."""
_VALUES: Final = {"theme": THEMES, "layout": LAYOUTS, "show": SHOWN_VALUES, "range": RANGES, "period": PERIODS}
"""The known values of parameters, which an error lists."""
WIDTHS: Final = (160, 1280)
"""Least and largest width of a picture, in pixels."""
HEIGHTS: Final = (120, 720)
"""Least and largest height of a chart, in pixels."""
SCALES: Final = (1, 3)
"""Least and largest number of device pixels per pixel of a picture."""
HEADER_LONGEST: Final = 200
"""Characters of Accept-Language that are parsed."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one representation: equal options give the same bytes."""

    currencies: tuple[str, ...] | None = None
    """Codes to show, in this order; None: all of the ticker; empty: only unknown ones were requested."""
    lang: str | None = None
    """A language tag known to CLDR; None: no texts."""
    negotiated: bool = False
    """True if the language was selected by Accept-Language, so that the response varies by it."""
    theme: str = AUTO
    layout: str = LAYOUTS[0]
    show: tuple[str, ...] = _DEFAULT_VALUES[LAYOUTS[0]]
    spark: bool = False
    """Show a sparkline of each quote's last publications; True only if the format and layout support it."""
    live: bool = False
    width: int | None = None
    """Width of a picture in pixels; None: that of its texts in one row."""
    height: int | None = None
    """Height of a chart in pixels; None: the default one."""
    range: str = "1y"
    """Range of a chart, one of `RANGES`."""
    scale: int = SCALES[0]
    """Device pixels per pixel of a picture."""
    period: Period = Period.DAY
    """The period of the changes."""
    style: tuple[tuple[str, str], ...] = ()
    """Names and values of the parameters in `STYLE` that were given."""
    origin: str = ""
    """Public URL of the service, for formats that contain it: `https://ticker.example`."""
    ignored: tuple[str, ...] = ()
    """Names of the parameters with unknown values, which were ignored."""
    unsupported: tuple[str, ...] = ()
    """Names of the parameters of other formats, which were ignored."""

    def query(self, ticker: str = "") -> str:
        """Return the query string with which `/embed` shows the same; default values are omitted."""
        values = {
            "ticker": ticker,
            "currencies": ",".join(self.currencies or ()).lower(),
            "lang": None if self.negotiated else self.lang,
            "theme": self.theme != AUTO and self.theme,
            "layout": self.layout != LAYOUTS[0] and self.layout,
            "show": self.show != _DEFAULT_VALUES[self.layout] and ",".join(self.show),
            "spark": self.spark and "1",
            "live": self.live and "1",
            "period": self.period is not Period.DAY and self.period,
            **dict(self.style),
        }
        query = urlencode({name: value for name, value in values.items() if value}, safe=",")
        return f"?{query}" if query else ""


def parse_options(
    query: MultiMapping[str],
    accept_language: str,
    snapshot: Snapshot,
    takes: frozenset[str],
    lang: str | None,
    theme: str,
    *,
    lenient: bool = False,
    ignores: frozenset[str] = frozenset(),
) -> Options:
    """Parse the options that a format `takes`; `lang` and `theme` are its defaults.

    Unsupported and unknown parameters are ignored: those in `ignores` are named as `unsupported`. An unknown language
    is replaced by English. Raises `Problem` for unknown currencies and any other unknown value, unless it is `lenient`.
    """
    negotiated, ignored = False, list[str]()
    if "lang" in takes:
        lang = query.get("lang", lang)
        if lang == AUTO:
            lang, negotiated = negotiate(accept_language[:HEADER_LONGEST]), True
        elif lang is not None:
            lang = resolve(lang)
    currencies = parse_currencies(snapshot, ",".join(query.getall("currencies", [])), ignored if lenient else None)
    theme = _choice_of(query, "theme", THEMES, theme, ignored) if "theme" in takes else theme
    layout = _choice_of(query, "layout", LAYOUTS, LAYOUTS[0], ignored) if "layout" in takes else LAYOUTS[0]
    period = _choice_of(query, "period", PERIODS, Period.DAY, ignored) if "period" in takes else Period.DAY
    options = Options(
        currencies=currencies,
        lang=lang,
        negotiated=negotiated,
        theme=theme,
        layout=layout,
        show=_shown_values(query, layout, ignored) if "show" in takes else _DEFAULT_VALUES[layout],
        spark=_flag(query, "spark", takes) and _supports_spark(takes, layout, lang),
        live=_flag(query, "live", takes),
        width=_number(query, "width", WIDTHS, ignored) if "width" in takes else None,
        height=_number(query, "height", HEIGHTS, ignored) if "height" in takes else None,
        range=_choice_of(query, "range", RANGES, "1y", ignored) if "range" in takes else "1y",
        scale=(_number(query, "scale", SCALES, ignored) if "scale" in takes else None) or SCALES[0],
        period=Period(period),
        style=_style(query, takes, ignored),
    )
    if ignored and not lenient:
        name = ignored[0]
        value = ", ".join(_unknown_to_show(query)) if name == "show" else query[name]
        raise Problem(400, f"Unknown {name} {value[:20]!r}.", available=_VALUES.get(name, UNSET))
    unsupported = tuple(sorted(name for name in ignores & query.keys() if query[name]))
    return replace(options, ignored=tuple(ignored), unsupported=unsupported)


def parse_currencies(snapshot: Snapshot, currencies: str, ignored: list[str] | None = None) -> tuple[str, ...] | None:
    """Return the codes of a `currencies` parameter in their order, without duplicates; None if it is empty.

    Raises `Problem` for unknown currencies; with a list `ignored`, leaves them out and appends the parameter's name.
    """
    if not currencies:
        return None
    available = [quote.code for quote in snapshot.quotes]
    codes = tuple(dict.fromkeys(code.strip().upper() for code in currencies.split(",")))
    if unknown := [code for code in codes if code not in available]:
        if ignored is None:
            names = ", ".join(repr(code[:8]) for code in unknown[:5])
            raise Problem(400, f"Unknown currency {names} in the ticker {snapshot.id}.", available=available)
        ignored.append("currencies")
    return tuple(code for code in codes if code in available)


def _shown_values(query: MultiMapping[str], layout: str, ignored: list[str]) -> tuple[str, ...]:
    """Return the known values listed in `show`; they are shown in a fixed order."""
    if _unknown_to_show(query):
        ignored.append("show")
    named = _named_to_show(query)
    return tuple(value for value in SHOWN_VALUES if value in named) or _DEFAULT_VALUES[layout]


def _named_to_show(query: MultiMapping[str]) -> list[str]:
    """Return the values listed in `show`, separated by commas or spaces."""
    return query.get("show", "").lower().replace(",", " ").split()


def _unknown_to_show(query: MultiMapping[str]) -> list[str]:
    return [value for value in _named_to_show(query) if value not in SHOWN_VALUES]


def _style(query: MultiMapping[str], takes: frozenset[str], ignored: list[str]) -> tuple[tuple[str, str], ...]:
    style = []
    for name, pattern in STYLE.items():
        value = query.get(name, "").lower() if name in takes else ""
        if re.fullmatch(pattern, value):
            style.append((name, value))
        elif value:
            ignored.append(name)
    return tuple(style)


def _flag(query: MultiMapping[str], name: str, takes: frozenset[str]) -> bool:
    return name in takes and query.get(name, "0").lower() not in ("0", "false", "no")


def _number(query: MultiMapping[str], name: str, bounds: tuple[int, int], ignored: list[str]) -> int | None:
    """Return a whole number, moved into the bounds; None if it is missing or no number."""
    text = query.get(name, "")
    if not (text.isascii() and text.isdecimal()):
        if text:
            ignored.append(name)
        return None
    least, largest = bounds
    return min(max(int(text[:9]), least), largest)


def _supports_spark(takes: frozenset[str], layout: str, lang: str | None) -> bool:
    """Return whether sparklines can be shown: in a list, or with the texts of a format without layouts."""
    return layout == "list" if "layout" in takes else lang is not None


def _choice_of(query: MultiMapping[str], name: str, values: tuple[str, ...], default: str, ignored: list[str]) -> str:
    value = query.get(name, "").lower() or default
    if value in values:
        return value
    ignored.append(name)
    return default
