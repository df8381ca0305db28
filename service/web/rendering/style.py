"""Custom style of frames and images: from validated parameters to CSS and to the values of an SVG.

A page's Content-Security-Policy permits its style sheet by the sheet's digest, so that it works without JavaScript.
"""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

COLOURS: Final = ("surface", "ink", "up", "down")
_HEX: Final = "[0-9a-f]{6}"
STYLE: Final[Mapping[str, str]] = {
    **dict.fromkeys(COLOURS, _HEX),
    "size": "1[2-9]|2[0-4]",
    "radius": "1?[0-9]|2[0-4]",
    "font": "system|serif|mono",
    "speed": "[1-9][0-9]|1[01][0-9]|120",
}
"""Patterns of the parameters' lower-case values. No value has characters that need escaping in CSS or in markup."""
DEFAULT_SIZE: Final = 15
"""Pixels of the text, in a browser whose font size was not changed: 16."""
_BROWSER_SIZE: Final = 16
_FAMILIES: Final = {"serif": "Georgia,serif", "mono": "ui-monospace,monospace"}

Style = Mapping[str, str]
"""Validated values of some of the parameters."""


def colours(style: Style) -> dict[str, str]:
    """Return the colours as `#rrggbb`, by their names in the palette.

    With both `surface` and `ink`, the other neutral colours are mixed from them, so that they fit.
    """
    own = {name: f"#{style[name]}" for name in COLOURS if name in style}
    if "surface" in own and "ink" in own:
        soft, line = (_mixed(style["ink"], style["surface"], share) for share in (0.75, 0.15))
        own |= {"soft": soft, "line": line, "warn": own["ink"]}
    return own


def zoom(style: Style) -> float:
    """Return the size of the text as a multiple of the default size."""
    return int(style.get("size", DEFAULT_SIZE)) / DEFAULT_SIZE


def family(style: Style) -> str:
    """Return the value of `font-family`; empty: the default."""
    return _FAMILIES.get(style.get("font", ""), "")


def style_sheet(style: Style) -> str:
    """Return the custom properties of the strip as a style sheet; empty if nothing is customized.

    The size is relative to the visitor's font size.
    """
    values = colours(style)
    if "size" in style:
        values["size"] = f"{int(style['size']) / _BROWSER_SIZE:g}rem"
    if "font" in style and family(style):
        values["family"] = family(style)
    if "radius" in style:
        values["radius"] = f"{style['radius']}px"
    if "speed" in style:
        values["speed"] = f"{style['speed']}s"
    properties = ";".join(f"--ticker-{name}:{value}" for name, value in values.items())
    return f":root{{{properties}}}" if properties else ""


def digest(sheet: str) -> str:
    """Return the source expression by which a Content-Security-Policy permits an inline style sheet."""
    return f"'sha256-{b64encode(sha256(sheet.encode()).digest()).decode()}'"


def _mixed(colour: str, other: str, share: float) -> str:
    """Mix two colours `rrggbb`; `share` is that of the first."""
    pairs = zip(bytes.fromhex(colour), bytes.fromhex(other), strict=True)
    return "#" + bytes(int(one * share + two * (1 - share) + 0.5) for one, two in pairs).hex()
