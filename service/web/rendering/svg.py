"""Layout of `.svg`: the positions of texts, without knowing the visitor's font.

The parts of a row are laid out inline, so that they overlap in no font. Only the length of a row is an estimate, for a
wide font; spare space is between its start and its end. Colours are attributes, not styles, so that they work under a
strict Content-Security-Policy and in e-mail clients.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.snapshot import Quote, Snapshot, Status
from service.web.i18n.formatting import QuoteText, TickerText
from service.web.rendering.options import Options
from service.web.rendering.sparkline import Sparkline

ARROWS: Final[Mapping[str | None, str]] = {"up": "▲", "down": "▼", "flat": "■", None: ""}
_PAD, _ROW, _SMALL = 12, 38, 12
_SPARK, _SPARK_GAP = 60, 16
"""Width of a sparkline, and the space before it, in pixels."""
_GAP, _WIDE_GAP = "\u00a0", "\u2003\u00a0"
_TURN: Final = "\u200f"
"""Right-to-left mark between the parts of a right-to-left row: without it Latin codes and values run left to right."""
_NARROW: Final = frozenset(".,:;'|!()il1 \u00a0\u202f")
_MUTED: Final = (Status.STALE, Status.RECORDED)
_LIGHT: Final = {
    "surface": "#fff",
    "ink": "#1c2230",
    "soft": "#5b6474",
    "line": "#e3e6eb",
    "warn": "#8a5a00",
    "up": "#0a7a3d",
    "down": "#b3261e",
    "flat": "#5b6474",
}
_DARK: Final = {
    "surface": "#171d29",
    "ink": "#e8ecf3",
    "soft": "#98a2b3",
    "line": "#293142",
    "warn": "#f2c14e",
    "up": "#4cd68a",
    "down": "#ff8a80",
    "flat": "#98a2b3",
}
_INKS: Final = {"dark": _DARK, "transparent": _LIGHT | {"surface": "none", "line": "none"}}


@dataclass(frozen=True, slots=True)
class TextRun:
    """A text within a row; `gap` is the white space before it, `size` the font size in pixels."""

    text: str
    ink: str
    gap: str = _GAP
    bold: bool = False
    size: int = 14

    @property
    def length(self) -> float:
        """The approximate width in a wide font, in pixels."""
        return self.size * sum(map(_em, self.gap + self.text)) * (1.08 if self.bold else 1)


@dataclass(frozen=True, slots=True)
class SvgRow:
    """A row: the texts at its start and at its end, and the path of its sparkline; empty: none."""

    baseline: int
    start: Sequence[TextRun]
    end: Sequence[TextRun]
    spark: str = ""


@dataclass(frozen=True, slots=True)
class SvgLayout:
    """The input of the template `ticker.svg`; lengths are in pixels."""

    rows: Sequence[SvgRow]
    inks: Mapping[str, str]
    width: int
    height: int
    turn: str
    """Inserted before each part: the right-to-left mark, or nothing."""
    spark_at: int
    """Left edge of the sparklines, next to the widest values."""


def drawn(
    snapshot: Snapshot,
    text: TickerText,
    pairs: Sequence[tuple[Quote, QuoteText]],
    options: Options,
    sparks: Mapping[str, Sparkline],
) -> SvgLayout:
    """Lay out a ticker. The layout `tape` is drawn as a strip: the image is static."""
    inks = _INKS.get(options.theme, _LIGHT)
    if snapshot.status in _MUTED:
        inks = {**inks, **dict.fromkeys(("ink", "up", "down", "flat"), inks["soft"])}
    if options.layout == "list":
        rows = _list(snapshot, text, pairs, options, inks, sparks)
    else:
        rows = _strip(snapshot, text, pairs, options, inks)
    rows_with_spark = [row for row in rows if row.spark]
    widest_end = max((_length(row.end) for row in rows_with_spark), default=0)
    lengths = [_length(row.start) + _length(row.end) for row in rows]
    lengths += [_length(row.start) + _SPARK_GAP + _SPARK + widest_end for row in rows_with_spark]
    width = round(max(lengths)) + 2 * _PAD
    rtl = text.dir == "rtl"
    spark_at = _PAD + round(widest_end) if rtl else width - _PAD - round(widest_end) - _SPARK
    return SvgLayout(rows, inks, width, _ROW * len(rows), _TURN if rtl else "", spark_at)


def _length(parts: Sequence[TextRun]) -> float:
    return sum(part.length for part in parts)


def _strip(
    snapshot: Snapshot,
    text: TickerText,
    pairs: Sequence[tuple[Quote, QuoteText]],
    options: Options,
    inks: Mapping[str, str],
) -> list[SvgRow]:
    parts: list[TextRun] = []
    for quote, quote_text in pairs:
        parts += [TextRun(quote.code, inks["ink"], _WIDE_GAP if parts else "", bold=True, size=13)]
        parts += _values(quote, quote_text, options, inks)
    date = TextRun(_date_line(snapshot, text), _date_ink(snapshot, inks), _WIDE_GAP, size=_SMALL)
    return [SvgRow(24, parts, [date])]


def _list(
    snapshot: Snapshot,
    text: TickerText,
    pairs: Sequence[tuple[Quote, QuoteText]],
    options: Options,
    inks: Mapping[str, str],
    sparks: Mapping[str, Sparkline],
) -> list[SvgRow]:
    rows = []
    for index, (quote, quote_text) in enumerate(pairs):
        code = TextRun(quote.code, inks["ink"], "", bold=True, size=13)
        name = TextRun(quote_text.name, inks["soft"], size=_SMALL)
        values = [TextRun("", inks["ink"], _WIDE_GAP), *_values(quote, quote_text, options, inks)]
        spark = sparks[quote.code].path if quote.code in sparks else ""
        rows.append(SvgRow(_ROW * index + 24, [code, name], values, spark))
    status = [] if snapshot.status is Status.CURRENT else [TextRun(f"{text.status}:", inks["warn"], "", size=_SMALL)]
    footer = TextRun(text.footer, inks["soft"], _GAP if status else "", size=_SMALL)
    return [*rows, SvgRow(_ROW * len(pairs) + 24, [*status, footer], [])]


def _values(quote: Quote, text: QuoteText, options: Options, inks: Mapping[str, str]) -> list[TextRun]:
    ink = inks[quote.direction or "flat"]
    parts = []
    for value in options.show:
        if value == "rate":
            parts.append(TextRun(text.rate, inks["ink"]))
        elif value == "change":
            parts.append(TextRun(text.change, ink))
        else:
            parts.append(TextRun(text.percent, ink, bold=True))
    if quote.direction and options.show != ("rate",):
        parts.append(TextRun(ARROWS[quote.direction], ink, size=9))
    return parts


def _date_line(snapshot: Snapshot, text: TickerText) -> str:
    return text.date if snapshot.status is Status.CURRENT else f"{text.date}, {text.status}"


def _date_ink(snapshot: Snapshot, inks: Mapping[str, str]) -> str:
    return inks["soft" if snapshot.status is Status.CURRENT else "warn"]


def _em(character: str) -> float:
    if unicodedata.category(character) in ("Mn", "Cf"):
        return 0
    if character in _NARROW:
        return 0.36
    if character == "\u2003":
        return 1
    if unicodedata.east_asian_width(character) in "WF" or character in "%▲▼■—WMШЩЖЮмшщжю":
        return 1
    return 0.72 if character.isupper() else 0.65
