"""Layout of `.svg`: the positions of texts, without knowing the visitor's font.

The parts of a text are laid out inline, so that they overlap in no font. Only the length of a text is an estimate, for
a wide font; in a strip of one row each text is centred in its cell, so that spare space is spread over the row. With
the option `width` texts are wrapped, never scaled: no font size is below 11 px. Words longer than a line are broken.

Colours are attributes, so that they work under a strict Content-Security-Policy and in e-mail clients. A theme that
follows the visitor's colour scheme has a style sheet with the dark colours in addition; without it the image is light.
Own colours are the same in both schemes.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from service.domain.snapshot import Quote, Snapshot, Status
from service.web.i18n.formatting import QuoteText, TickerText
from service.web.rendering.options import Options
from service.web.rendering.sparkline import Sparkline
from service.web.rendering.style import colours, family, zoom

ARROWS: Final[Mapping[str | None, str]] = {"up": "▲", "down": "▼", "flat": "■", None: ""}
_RADIUS: Final = 8
_PAD, _ROW, _LINE, _SMALL = 12, 38, 18, 12
"""Padding at the sides, height of a row with one line, height of each further line, small font size."""
_BASELINE, _ROOM = 24, 20
"""Baseline of the first line of a row, and the least space between the columns of a wrapped strip."""
_CELL: Final = 24
"""Least space between the cells of a strip of one row; a hairline is in its middle."""
_NARROWEST: Final = 120
"""Least width for texts in their own size; larger text is reduced so that a picture has this width in it."""
_SPARK, _SPARK_GAP = 60, 16
"""Width of a sparkline, and the space before it, in pixels."""
_GAP, _WIDE_GAP = "\u00a0", "\u2003\u00a0"
_TURN: Final = "\u200f"
"""Right-to-left mark between the parts of a right-to-left row: without it Latin codes and values run left to right, and
so does the day of a date."""
_NARROW: Final = frozenset(".,:;'|!()il1 \u00a0\u202f")
LIGHT: Final = {
    "surface": "#fff",
    "ink": "#1c2230",
    "soft": "#5b6474",
    "line": "#e3e6eb",
    "warn": "#8a5a00",
    "up": "#0a7a3d",
    "down": "#b3261e",
    "flat": "#5b6474",
}
DARK: Final = {
    "surface": "#171d29",
    "ink": "#e8ecf3",
    "soft": "#98a2b3",
    "line": "#293142",
    "warn": "#f2c14e",
    "up": "#4cd68a",
    "down": "#ff8a80",
    "flat": "#98a2b3",
}
_TRANSPARENT: Final = LIGHT | {"surface": "none", "line": "none"}
_INKS: Final = {"light": LIGHT, "dark": DARK, "transparent": _TRANSPARENT}
"""Colours of the themes; other themes follow the visitor's colour scheme."""
DARK_STYLE: Final = "@media(prefers-color-scheme:dark){{{rules}}}".format(
    rules=f".surface{{fill:{DARK['surface']};stroke:{DARK['line']}}}.line{{stroke:{DARK['line']}}}"
    f".spark{{stroke:{DARK['soft']}}}"
    + "".join(f".{ink}{{fill:{DARK[ink]}}}" for ink in ("ink", "soft", "warn", "up", "down", "flat"))
)
"""The style sheet of themes that follow the visitor's colour scheme."""
_BREAKS: Final = re.compile(r"(?<= )|(?<=[\u2e80-\uffef])(?=\w)")
"""Where a line may break: after a space, and between Chinese, Japanese and Korean characters."""


@dataclass(frozen=True, slots=True)
class TextRun:
    """A text within a line; `ink` names its colour, `gap` is the space before it, `size` the font size in pixels."""

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
class SvgText:
    """A line of text at a position; `anchor` is the side of it that is at `x`: start, middle or end."""

    x: float
    baseline: int
    anchor: str
    runs: Sequence[TextRun]


@dataclass(frozen=True, slots=True)
class SvgSpark:
    """A sparkline: its path, and the position of its upper left corner."""

    path: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class SvgLayout:
    """The input of the template `ticker.svg`; lengths are in pixels."""

    texts: Sequence[SvgText]
    sparks: Sequence[SvgSpark]
    lines: Sequence[int]
    """Upper edges of the rows, except the first."""
    dividers: Sequence[float]
    """Positions of the hairlines between the cells of a strip of one row."""
    inks: Mapping[str, str]
    width: int
    height: int
    turn: str
    """Inserted before each part: the right-to-left mark, or nothing."""
    style: str
    """Style sheet; empty: none."""
    zoom: float
    """The displayed size of the picture, as a multiple of its lengths."""
    radius: float
    family: str
    """The value of `font-family`; empty: the default."""


_Line = Sequence[tuple[float | None, Sequence[TextRun]]]
"""Texts: the distance of each from the start of the row, without padding (None: it is at the end), and its runs.

In a row of cells it is the distance of the text's middle.
"""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row before it is positioned."""

    lines: Sequence[_Line]
    spark: str = ""
    dividers: Sequence[float] = ()
    """Distances of hairlines from the start of a row of cells, without padding."""
    centred: bool = False


def drawn(
    snapshot: Snapshot,
    text: TickerText,
    pairs: Sequence[tuple[Quote, QuoteText]],
    options: Options,
    sparks: Mapping[str, Sparkline],
) -> SvgLayout:
    """Lay out a ticker. The layout `tape` is drawn as a strip: the image is static."""
    custom = dict(options.style)
    factor, own = zoom(custom), colours(custom)
    if options.width:
        factor = min(factor, options.width / _NARROWEST)
        options = replace(options, width=round(options.width / factor))
    inks = {name: name for name in LIGHT}
    if snapshot.status is Status.STALE:
        inks |= dict.fromkeys(("ink", "up", "down", "flat"), "soft")
    if options.layout == "list":
        rows, natural, widest_end = _list(snapshot, text, pairs, options, inks, sparks)
    else:
        rows, natural, widest_end = _strip(snapshot, text, pairs, options, inks)
    width = options.width or round(natural) + 2 * _PAD
    rtl = text.dir == "rtl"
    texts, drawn_sparks, lines, dividers, top = list[SvgText](), list[SvgSpark](), list[int](), list[float](), 0
    for row in rows:
        if top:
            lines.append(top)
        if row.spark:
            left = _PAD + round(widest_end) if rtl else width - _PAD - round(widest_end) - _SPARK
            drawn_sparks.append(SvgSpark(row.spark, left, top + 11))
        for index, line in enumerate(row.lines):
            for start, runs in line:
                anchor = "end" if start is None else "middle" if row.centred else "start"
                x = width - _PAD if start is None else _PAD + start
                texts.append(SvgText(width - x if rtl else x, top + _BASELINE + _LINE * index, anchor, runs))
        dividers += [width - _PAD - start if rtl else _PAD + start for start in row.dividers]
        top += _ROW + _LINE * (len(row.lines) - 1)
    style = "" if options.theme in _INKS or own else DARK_STYLE
    palette = _palette(options.theme, own)
    radius = int(custom["radius"]) / factor if "radius" in custom else _RADIUS
    turn = _TURN if rtl else ""
    return SvgLayout(
        texts, drawn_sparks, lines, dividers, palette, width, top, turn, style, factor, radius, family(custom)
    )


def _palette(theme: str, own: Mapping[str, str]) -> Mapping[str, str]:
    """Return the colours by name: those of the theme, replaced by own ones."""
    palette = {**_INKS.get(theme, LIGHT), **own}
    if "soft" in own:
        palette["flat"] = own["soft"]
    if theme == "transparent":
        palette |= {"surface": "none", "line": "none"}
    return palette


def _length(parts: Sequence[TextRun]) -> float:
    return sum(part.length for part in parts)


def _strip(
    snapshot: Snapshot,
    text: TickerText,
    pairs: Sequence[tuple[Quote, QuoteText]],
    options: Options,
    inks: Mapping[str, str],
) -> tuple[list[_Row], float, float]:
    """Return the rows, their natural width, and 0: a single row, or columns if the width is too small for it."""
    quotes = [
        [TextRun(quote.code, inks["ink"], "", bold=True, size=13), *_values(quote, quote_text, options, inks)]
        for quote, quote_text in pairs
    ]
    date = TextRun(_date_line(snapshot, text), _date_ink(snapshot, inks), "", size=_SMALL)
    cells = [*quotes, [date]]
    natural = sum(map(_length, cells)) + _CELL * (len(cells) - 1)
    inner = _inner(options, natural)
    if natural <= inner:
        return [_row_of_cells(cells, (inner - natural) / len(cells))], natural, 0
    widest = max(map(_length, quotes), default=inner)
    columns = max(1, int((inner + _ROOM) // (widest + _ROOM)))
    if columns == 1:
        rows = [_Row(_at_start(_wrapped(quote, inner))) for quote in quotes]
        return [*rows, _Row(_at_start(_paragraph([date], inner)))], natural, 0
    step = (inner + _ROOM) / columns
    grid = [quotes[first : first + columns] for first in range(0, len(quotes), columns)]
    rows = [_Row([[(step * column, quote) for column, quote in enumerate(line)]]) for line in grid]
    used = step * len(grid[-1])
    if used + date.length <= inner:
        rows[-1] = _Row([[*rows[-1].lines[0], (used, [date])]])
    else:
        rows.append(_Row(_at_start(_paragraph([date], inner))))
    return rows, natural, 0


def _row_of_cells(cells: Sequence[Sequence[TextRun]], spare: float) -> _Row:
    """Return a row with each text in the middle of its cell; `spare` is the space that each cell has in addition."""
    line, dividers, start = list[tuple[float, Sequence[TextRun]]](), list[float](), 0.0
    for cell in cells:
        if line:
            dividers.append(start - _CELL / 2)
        width = _length(cell) + spare
        line.append((round(start + width / 2, 1), cell))
        start += width + _CELL
    return _Row([line], dividers=dividers, centred=True)


def _list(
    snapshot: Snapshot,
    text: TickerText,
    pairs: Sequence[tuple[Quote, QuoteText]],
    options: Options,
    inks: Mapping[str, str],
    sparks: Mapping[str, Sparkline],
) -> tuple[list[_Row], float, float]:
    """Return the rows, their natural width, and the width of the widest values beside a sparkline.

    If the width is too small for a line, names are below the codes, and texts are wrapped. Sparklines are left out
    where they would overlap a code.
    """
    quotes = []
    for quote, quote_text in pairs:
        code = TextRun(quote.code, inks["ink"], "", bold=True, size=13)
        name = TextRun(quote_text.name, inks["soft"], size=_SMALL)
        values = [TextRun("", inks["ink"], _WIDE_GAP), *_values(quote, quote_text, options, inks)]
        quotes.append((code, name, values, sparks[quote.code].path if quote.code in sparks else ""))
    status = [] if snapshot.status is Status.CURRENT else [TextRun(f"{text.status}:", inks["warn"], "", size=_SMALL)]
    footer = [*status, TextRun(text.footer, inks["soft"], _GAP if status else "", size=_SMALL)]
    widest_end = max((_length(values) for *_, values, spark in quotes if spark), default=0)
    lengths = [
        code.length + name.length + (_SPARK_GAP + _SPARK + widest_end if spark else _length(values))
        for code, name, values, spark in quotes
    ]
    natural = max([*lengths, _length(footer)])
    inner = _inner(options, natural)
    rows = []
    if max(lengths, default=0) <= inner:
        rows = [_Row([[(0, [code, name]), (None, values)]], spark) for code, name, values, spark in quotes]
    else:
        for code, name, values, spark in quotes:
            beside, *below = _wrapped(values[1:], inner - code.length - _ROOM)
            lines: list[_Line] = [[(0, [code]), (None, beside)], *([(None, line)] for line in below)]
            lines += _at_start(_paragraph([replace(name, gap="")], inner))
            has_space = code.length + _SPARK_GAP + _SPARK + widest_end <= inner
            rows.append(_Row(lines, spark if has_space else ""))
    return [*rows, _Row(_at_start(_paragraph(footer, inner)))], natural, widest_end


def _inner(options: Options, natural: float) -> float:
    """Return the width available to texts."""
    return options.width - 2 * _PAD if options.width else natural


def _at_start(lines: Sequence[Sequence[TextRun]]) -> list[_Line]:
    return [[(0, line)] for line in lines]


def _paragraph(runs: Sequence[TextRun], width: float) -> list[list[TextRun]]:
    """Return runs as lines of at most `width` pixels, broken between words, and within words that are longer."""
    words = list[TextRun]()
    for run in runs:
        first, *others = _BREAKS.split(run.text)
        words += [replace(run, text=first), *(replace(run, text=text, gap="") for text in others if text)]
    words = [piece for word in words for piece in _pieces(word, width)]
    lines = list[list[TextRun]]()
    for line in _wrapped(words, width):
        joined = [line[0]]
        for word in line[1:]:
            if word.gap:
                joined.append(word)
            else:
                joined[-1] = replace(joined[-1], text=joined[-1].text + word.text)
        lines.append(joined)
    return lines


def _pieces(word: TextRun, width: float) -> list[TextRun]:
    """Return a word as pieces of at most `width` pixels; a character may be wider."""
    pieces = [replace(word, text="")]
    for character in word.text:
        longer = replace(pieces[-1], text=pieces[-1].text + character)
        if pieces[-1].text and replace(longer, gap="", text=longer.text.rstrip()).length > width:
            pieces.append(replace(word, text=character, gap=""))
        else:
            pieces[-1] = longer
    return pieces


def _wrapped(runs: Sequence[TextRun], width: float) -> list[list[TextRun]]:
    """Return runs as lines of at most `width` pixels; a longer run has a line of its own. Arrows follow their value."""
    units = list[list[TextRun]]()
    for run in runs:
        if units and run.text in ARROWS.values():
            units[-1].append(run)
        else:
            units.append([run])
    lines = list[list[TextRun]]()
    for unit in units:
        if lines and _length([*lines[-1], *unit]) <= width + 1:  # 1: for rounding errors of sums
            lines[-1] += unit
        else:
            lines.append([replace(unit[0], gap=""), *unit[1:]])
    return lines


def _values(quote: Quote, text: QuoteText, options: Options, inks: Mapping[str, str]) -> list[TextRun]:
    ink = inks[quote.direction or "flat"]
    parts = []
    for value in text.shown(options.show):
        is_change = value in ("change", "percent")
        parts.append(TextRun(getattr(text, value), ink if is_change else inks["ink"], bold=value == "percent"))
    if quote.direction and {"change", "percent"}.intersection(options.show):
        parts.append(TextRun(ARROWS[quote.direction], ink, size=11))
    if text.own_date:
        parts.append(TextRun(text.own_date, inks["warn"], size=_SMALL))
    return parts


def _date_line(snapshot: Snapshot, text: TickerText) -> str:
    status = [] if snapshot.status is Status.CURRENT else [text.status]
    turn = _TURN if text.dir == "rtl" else ""
    return f", {turn}".join(filter(None, [text.sources, text.date, *status]))


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
