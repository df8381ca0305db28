"""Line chart of rates as SVG: complete without JavaScript. Pure: publications in, markup out.

The picture is scaled by its `viewBox`, from phones to desktops; a style sheet enlarges the labels where it is narrow.
The line is never drawn across a gap or a redenomination. The scale is logarithmic where a range contains a
redenomination, or its highest rate is more than ten times its lowest one.
"""

import datetime as dt
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import ceil, floor, log10
from statistics import median
from typing import Final

from markupsafe import escape

from service.domain.change import DERIVED_DIGITS, Trend, half_up
from service.domain.periods import MAX_AGE
from service.domain.snapshot import Status
from service.web import models
from service.web.i18n import messages
from service.web.i18n.locale import Language
from service.web.rendering.svg import DARK, LIGHT

WIDTH, HEIGHT = 720, 320
"""Default size, in pixels."""
LOG_FACTOR: Final = 10
"""The scale is logarithmic above this ratio of the highest to the lowest value."""
_MONTHS: Final = {"1m": 1, "3m": 3, "1y": 12, "5y": 60}
_LONGEST_GAP: Final = 16
"""Days between two publications that are drawn as a line: longer than any run of bank holidays."""
_TOP, _BOTTOM, _SIDE = 14, 26, 10
"""Padding above the line, space of the dates below it, and padding at the sides, in pixels."""
_SHOWN_DIGITS: Final = 6
"""Significant digits of a derived rate in texts."""
_CAPTION, _CAPTION_LINE = 32, 18
"""Height of the caption, and of each further line of it, in pixels."""
_CHARACTER: Final = 7.5
"""Width of a character in a wide font, in pixels."""
_SEPARATOR: Final = " · "
_DESCRIBED_MARKS: Final = 5
"""Marked days in the text alternative."""
_TICKS: Final = 5
"""Approximate number of values on the vertical axis, where there is space."""
_DATES: Final = 6
"""Maximum number of dates on the horizontal axis."""
_MONTH_STEPS: Final = (1, 2, 3, 6, 12, 24, 60, 120, 240)
_DASHES: Final = ("", "6 4")
"""`stroke-dasharray` of the lines: the second is distinguished without colours too."""
_INKS: Final = ("ink", "soft", "line", "warn", "up", "down")
_WIDE: Final = 600
"""Width above which a picture is made for desktops: on phones it is scaled down, and its labels are enlarged."""
_PER_DATE, _PER_VALUE = 90, 55
"""Pixels for each label of the axes."""
STYLE: Final = "@media(max-width:480px){text{font-size:22px}.fine{display:none}}"
"""The style sheet of a wide picture, on phones."""
DARK_STYLE: Final = "@media(prefers-color-scheme:dark){{{rules}}}".format(
    rules=f".surface{{fill:{DARK['surface']};stroke:{DARK['line']}}}"
    + "".join(f".{ink}{{fill:{DARK[ink]}}}.{ink}-stroke{{stroke:{DARK[ink]}}}" for ink in _INKS)
)
"""The style sheet of themes that follow the visitor's colour scheme."""
STYLES: Final = (STYLE, DARK_STYLE)
"""All style sheets, for the Content-Security-Policy of a picture; each has an element of its own."""


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """A publication: the rate from `day` on, and its change in percent against the publication before.

    `new_unit` is True if there was a redenomination since the publication before: the rates are not comparable.
    `without_change`: there is none, as for the first publication of all, or it may not be shown.
    """

    day: dt.date
    rate: Decimal
    percent: Decimal | None = None
    new_unit: bool = False
    without_change: bool = False


@dataclass(frozen=True)
class ChartLine:
    """The publications of one currency in one base, oldest first, with the days that are marked."""

    code: str
    base: str
    points: Sequence[ChartPoint]
    revised: frozenset[dt.date] = frozenset()
    """Days whose publication the bank has corrected."""
    quarantined: frozenset[dt.date] = frozenset()
    """Days with a suspicious rate that is not published."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The indices of the points that are not joined with the point before: after a gap, or with a new unit."""
        days = [(new.day - old.day).days for old, new in pairwise(self.points)]
        longest = max(_LONGEST_GAP, 4 * median(days)) if days else 0
        return tuple(
            index
            for index, (length, point) in enumerate(zip(days, self.points[1:], strict=True), 1)
            if length > longest or point.new_unit
        )

    @property
    def segments(self) -> Iterator[Sequence[ChartPoint]]:
        """The parts of the line, each without a gap."""
        for begin, end in pairwise((0, *self.starts, len(self.points))):
            yield self.points[begin:end]

    @property
    def is_logarithmic(self) -> bool:
        """Whether a linear scale would hide most of the line."""
        rates = [point.rate for point in self.points]
        return any(point.new_unit for point in self.points[1:]) or max(rates) > LOG_FACTOR * min(rates)

    def since(self, first: dt.date) -> "ChartLine":
        """Return the part from `first` on; it begins with the publication in force on that day.

        Without any publication since then it is empty.
        """
        index = bisect_left(self.points, first, key=lambda point: point.day)
        if 0 < index < len(self.points) and self.points[index].day > first:
            before = self.points[index - 1].day
            if first - before <= MAX_AGE:
                index, first = index - 1, before
        return ChartLine(
            self.code,
            self.base,
            self.points[index:],
            frozenset(day for day in self.revised if day >= first),
            frozenset(day for day in self.quarantined if day >= first),
        )

    @property
    def percent(self) -> Decimal | None:
        """The change from the first to the last publication in percent.

        None across a redenomination, and across a change that may not be shown.
        """
        if len(self.points) < 2 or any(point.new_unit or point.without_change for point in self.points[1:]):
            return None
        first, last = (point.rate for point in (self.points[0], self.points[-1]))
        return half_up(100 * (Fraction(last) / Fraction(first) - 1), 2)

    @cached_property
    def decimals(self) -> int:
        """The number of decimals that its rates are shown with: as published, fewer for derived rates."""
        return max((_shown_decimals(point.rate) for point in self.points), default=0)


def range_start(name: str, latest: dt.date, earliest: dt.date = dt.date.min) -> dt.date:
    """Return the first day of a range of `RANGES` that ends with `latest`; `earliest` for `all`."""
    if name not in _MONTHS:
        return earliest
    months = latest.year * 12 + latest.month - 1 - _MONTHS[name]
    return max(earliest, _day_of(months // 12, months % 12 + 1, latest.day))


def comparable(lines: Sequence[ChartLine]) -> list[ChartLine]:
    """Return the parts of lines that can be compared: from the last redenomination of any of them on.

    A line without any publication since then is left out.
    """
    first = max((point.day for line in lines for point in line.points[1:] if point.new_unit), default=dt.date.min)
    return [part for part in (line.since(first) for line in lines) if part.points]


def index_starts(lines: Sequence[ChartLine]) -> list[ChartPoint]:
    """Return the publication of each line whose index is 100: the first one since all lines have a rate."""
    common = max(line.points[0].day for line in lines)
    return [next((point for point in line.points if point.day >= common), line.points[-1]) for line in lines]


def title(lines: Sequence[ChartLine], language: Language) -> str:
    """Return the title: the currencies, the base and the dates."""
    names = ", ".join(language.name(line.code) for line in lines)
    first = min(line.points[0].day for line in lines)
    last = max(line.points[-1].day for line in lines)
    dates = language.isolated(f"{language.date(first)} \N{EN DASH} {language.date(last)}")
    return f"{names} / {lines[0].base}, {dates}"


def summary(line: ChartLine, language: Language) -> str:
    """Return the text alternative: the change over the range, the number of publications, the lowest and highest.

    The latest marked days follow, with what they are marked for.
    """
    rates = [point.rate for point in line.points]
    low, high = (language.number(rate, line.decimals) for rate in (min(rates), max(rates)))
    first, last = (language.long_date(line.points[index].day) for index in (0, -1))
    pattern = language.ngettext(*messages.SPARK, len(rates)) if language.spoken else messages.SPARK_WITHOUT_WORDS
    range_text = pattern.format(count=len(rates), first=first, last=last, low=low, high=high)
    percent = line.percent
    marks = "".join(f" {text}." for text in _mark_texts(line, language)[-_DESCRIBED_MARKS:])
    if percent is None:
        return f"{range_text}.{marks}"
    if not language.spoken:
        return f"{language.name(line.code)} {language.percent(percent)}. {range_text}.{marks}"
    trend = Trend.UP if percent > 0 else Trend.DOWN if percent < 0 else Trend.FLAT
    change = language.gettext(messages.CHANGE[trend]).format(
        name=language.name_of_one(line.code), percent=language.number(abs(percent), 2), base=language.base(line.base)
    )
    return f"{change}. {range_text}.{marks}"


def _mark_texts(line: ChartLine, language: Language) -> list[str]:
    """Return the texts of the marked days, oldest first."""
    units = {point.day for point in line.points[1:] if point.new_unit}
    kinds = ((units, messages.NEW_UNIT), (line.revised, messages.REVISED), (line.quarantined, messages.QUARANTINED))
    marks = sorted((day, message) for days, message in kinds for day in days)
    return [mark_text(day, message, language) for day, message in marks]


def mark_text(day: dt.date, message: str, language: Language) -> str:
    """Return the text of a marked day."""
    return f"{language.date(day)}: {language.gettext(message)}"


def caption(line: ChartLine, source: str, language: Language, *, recorded: bool = False) -> str:
    """Return the line above a picture: currency, latest rate, its date, and the short name of the source.

    `recorded` marks sample data.
    """
    latest = line.points[-1]
    rate = language.number(latest.rate, line.decimals)
    marks = [language.gettext(messages.STATUS[Status.RECORDED])] if recorded else []
    parts = [f"{line.code}/{line.base} {rate}", language.date(latest.day), source, *marks]
    return _SEPARATOR.join(map(language.isolated, parts))


def chart_document(line: ChartLine, ticker: str, source: str, *, cross: bool, language: Language) -> models.Chart:
    """Return the publications and texts that scripts draw; `source` is the name of the source. A point must exist."""
    points, days = line.points, [point.day for point in line.points]
    return models.Chart(
        ticker=ticker,
        base=line.base,
        currency=line.code,
        name=language.name(line.code),
        source=source,
        cross=cross,
        decimals=line.decimals,
        first=days[0],
        days=[0, *((new - old).days for old, new in pairwise(days))],
        rates=[point.rate for point in points],
        percents=[point.percent for point in points],
        starts=line.starts,
        units=[index for index, point in enumerate(points) if point.new_unit],
        revised=[index for index, day in enumerate(days) if day in line.revised],
        quarantined=sorted(line.quarantined),
        text=_chart_text(line, language),
    )


def _chart_text(line: ChartLine, language: Language) -> models.ChartText:
    translate = language.gettext
    ranges = []
    for name, (label, long_label) in messages.RANGES.items():
        part = line.since(range_start(name, line.points[-1].day, line.points[0].day))
        ranges.append(
            models.ChartRange(
                id=name,
                label=translate(label),
                name=translate(long_label),
                since=part.points[0].day,
                summary=summary(part, language),
            )
        )
    return models.ChartText(
        lang=language.tag,
        dir=language.dir,
        words=language.words_tag,
        ranges=ranges,
        number=models.ChartNumbers(**asdict(language.number_format())),
        day=language.date_format("yMMMd"),
        short=language.date_format("MMMd"),
        month=language.date_format("yMMM"),
        year=language.date_format("y")[0],
        range=translate(messages.RANGE),
        table=translate(messages.TABLE),
        date=translate(messages.DATE),
        change=translate(messages.CHANGE_COLUMN),
        indexed=translate(messages.INDEXED),
        logarithmic=translate(messages.LOGARITHMIC),
        revised=translate(messages.REVISED),
        unit=translate(messages.NEW_UNIT),
        away=translate(messages.NO_CONNECTION),
    )


def chart_svg(
    lines: Sequence[ChartLine],
    language: Language,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    theme: str = "light",
    scale: int = 1,
    prefix: str = "chart",
    caption: str = "",
) -> str:
    """Return the chart of one currency; with several, of their indices (100 on the first day that all have).

    Indices begin with the last redenomination. One line at least must have a point. `theme` is `light`, `dark`,
    `transparent`, `auto` (light, and dark where the visitor's system is), or `page`: within a page, in the colour of
    its text, without a background or style sheet. `prefix` begins the ids of `<title>` and `<desc>`, which must be
    unique in a page. `scale` is the number of device pixels per pixel, `caption` a line above the chart.
    """
    indexed = len(lines) > 1
    shown = comparable(lines) if indexed else lines
    return _Chart(shown, indexed, language, width, height, theme, scale, prefix, caption).markup()


@dataclass(frozen=True)
class _Chart:
    lines: Sequence[ChartLine]
    indexed: bool
    language: Language
    width: int
    height: int
    theme: str
    scale: int
    prefix: str
    caption: str

    def markup(self) -> str:
        ids = f'aria-labelledby="{self.prefix}-title" aria-describedby="{self.prefix}-desc"'
        page = self.theme == "page"
        size = "" if page else f' width="{self.width * self.scale}" height="{self.height * self.scale}"'
        sheets = [] if page else [STYLE] * (self.width >= _WIDE) + [DARK_STYLE] * (self.theme in ("auto", "system"))
        described = " ".join(summary(line, self.language) for line in self.lines)
        return "".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg"{size} viewBox="0 0 {self.width} {self.height}" role="img" ',
                f'{ids} class="currency-chart" xml:lang="{self.language.tag}" font-size="12" ',
                "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif\">",
                f'<title id="{self.prefix}-title">{escape(title(self.lines, self.language))}</title>',
                f'<desc id="{self.prefix}-desc">{escape(described)}</desc>',
                *(f"<style>{sheet}</style>" for sheet in sheets),
                "" if page else self._surface(),
                *self._caption(),
                *self._value_axis(),
                *self._date_axis(),
                *self._marks(),
                *self._paths(),
                "</svg>\n",
            ]
        )

    def _paint(self, name: str, attribute: str = "fill") -> str:
        """Return the attribute of a colour, with the class by which style sheets replace it."""
        kind = f"{name}-stroke" if attribute == "stroke" and name != "surface" else name
        if self.theme == "page":
            return f'class="{kind}" {attribute}="currentColor"'
        palette = DARK if self.theme == "dark" else LIGHT
        return f'class="{kind}" {attribute}="{palette[name]}"'

    def _surface(self) -> str:
        if self.theme == "transparent":
            return ""
        palette = DARK if self.theme == "dark" else LIGHT
        size = f'x=".5" y=".5" width="{self.width - 1}" height="{self.height - 1}" rx="8"'
        return f'<rect {size} {self._paint("surface")} stroke="{palette["line"]}"/>'

    # Values

    @cached_property
    def _values(self) -> Sequence[Sequence[Sequence[tuple[dt.date, float]]]]:
        """The values of each line by segment: rates or indices."""
        values = []
        for line, start in zip(self.lines, index_starts(self.lines), strict=True):
            factor = 100 / float(start.rate) if self.indexed else 1.0
            values.append([[(point.day, float(point.rate) * factor) for point in part] for part in line.segments])
        return values

    @cached_property
    def _logarithmic(self) -> bool:
        return not self.indexed and self.lines[0].is_logarithmic

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        values = [value for segments in self._values for segment in segments for _, value in segment]
        low, high = min(values), max(values)
        if low == high:
            low, high = low * 0.99, high * 1.01
        if self._logarithmic:
            return low / (high / low) ** 0.05, high * (high / low) ** 0.05
        return low - (high - low) * 0.05, high + (high - low) * 0.05

    @cached_property
    def _days(self) -> tuple[dt.date, dt.date]:
        first = min(line.points[0].day for line in self.lines)
        last = max(day for line in self.lines for day in (line.points[-1].day, *line.quarantined))
        return first, max(last, first + dt.timedelta(1))

    def _x(self, day: dt.date) -> str:
        first, last = self._days
        return f"{self._left + (self.width - self._left - _SIDE) * (day - first).days / (last - first).days:.1f}"

    def _y(self, value: float) -> str:
        low, high = self._bounds
        share = log10(value / low) / log10(high / low) if self._logarithmic else (value - low) / (high - low)
        return f"{self._top + (self.height - self._top - _BOTTOM) * (1 - share):.1f}"

    # Parts

    def _caption(self) -> Iterator[str]:
        for number, text in enumerate(self._caption_lines):
            y = 26 + _CAPTION_LINE * number
            yield f'<text x="{_SIDE}" y="{y}" {self._paint("ink")} aria-hidden="true">{escape(text)}</text>'

    @cached_property
    def _caption_lines(self) -> Sequence[str]:
        """The caption, wrapped between its parts where the picture is narrow."""
        lines = list[str]()
        for part in self.caption.split(_SEPARATOR) if self.caption else ():
            joined = f"{lines[-1]}{_SEPARATOR}{part}" if lines else part
            if lines and len(joined) * _CHARACTER <= self.width - 2 * _SIDE:
                lines[-1] = joined
            else:
                lines.append(part)
        return lines

    @property
    def _top(self) -> int:
        return _TOP + (_CAPTION + _CAPTION_LINE * (len(self._caption_lines) - 1) if self.caption else 0)

    @cached_property
    def _value_labels(self) -> Sequence[tuple[Decimal, str]]:
        """The values of the axis with their texts."""
        low, high = self._bounds
        count = max(2, min(_TICKS, self.height // _PER_VALUE))
        ticks = log_ticks(low, high, 2 * count) if self._logarithmic else linear_ticks(low, high, count)
        decimals = max(map(_decimals, ticks), default=0)
        return [(tick, self.language.number(tick, decimals)) for tick in ticks]

    @cached_property
    def _left(self) -> float:
        """Left edge of the lines: beside the values of the axis."""
        return _SIDE + _CHARACTER * (1 + max((len(label) for _, label in self._value_labels), default=0))

    def _value_axis(self) -> Iterator[str]:
        right = self.width - _SIDE
        faint = ' stroke-opacity=".2"' if self.theme == "page" else ""
        for tick, text in self._value_labels:
            y = self._y(float(tick))
            yield f'<path d="M{_SIDE} {y}H{right}" {self._paint("line", "stroke")}{faint}/>'
            yield f'<text x="{_SIDE}" y="{float(y) - 4:.1f}" {self._paint("soft")} aria-hidden="true">'
            yield f"{escape(text)}</text>"

    def _date_axis(self) -> Iterator[str]:
        first, last = self._days
        count = max(1, min(_DATES, int((self.width - self._left) // _PER_DATE)))
        ticks, label = date_ticks(first, last, count, self.language)
        for index, day in enumerate(ticks):
            share = (day - first).days / (last - first).days
            anchor = "start" if share < 0.08 else "end" if share > 0.92 else "middle"
            fine = f'class="soft{" fine" if index % 2 else ""}"'
            paint = self._paint("soft").replace('class="soft"', fine)
            yield f'<text x="{self._x(day)}" y="{self.height - 8}" text-anchor="{anchor}" {paint} aria-hidden="true">'
            yield f"{escape(self.language.isolated(label(day)))}</text>"

    def _marks(self) -> Iterator[str]:
        """Mark redenominations by a dashed line, quarantined days by a triangle at the bottom."""
        bottom = self.height - _BOTTOM
        first, last = self._days
        for line in self.lines:
            for point in line.points[1:]:
                if point.new_unit:
                    text = self._mark(messages.NEW_UNIT, point.day)
                    yield f'<path d="M{self._x(point.day)} {self._top}V{bottom}" stroke-dasharray="2 4" '
                    yield f'data-mark="unit" {self._paint("warn", "stroke")}>{text}</path>'
            for day in sorted(line.quarantined):
                if first <= day <= last:
                    text = self._mark(messages.QUARANTINED, day)
                    yield f'<path d="M{self._x(day)} {bottom - 9}l5 9h-10z" data-mark="quarantined" '
                    yield f"{self._paint('warn')}>{text}</path>"

    def _mark(self, message: str, day: dt.date) -> str:
        return f"<title>{escape(mark_text(day, message, self.language))}</title>"

    def _paths(self) -> Iterator[str]:
        for number, (line, segments) in enumerate(zip(self.lines, self._values, strict=True)):
            dash = f' stroke-dasharray="{_DASHES[number % 2]}"' if number % 2 else ""
            paint = self._paint("soft" if number % 2 else "ink", "stroke")
            parts = list[str]()
            for segment in segments:
                coordinates = " ".join(f"{self._x(day)} {self._y(value)}" for day, value in segment)
                parts.append(f"M{coordinates}" + ("h.1" if len(segment) == 1 else ""))
            yield f'<path d="{"".join(parts)}" data-currency="{line.code}" fill="none" stroke-width="1.5" '
            yield f'stroke-linejoin="round" stroke-linecap="round"{dash} {paint}/>'
            for segment in segments:
                for day, value in segment:
                    if day in line.revised:
                        text = self._mark(messages.REVISED, day)
                        yield f'<circle cx="{self._x(day)}" cy="{self._y(value)}" r="4" data-mark="revised" '
                        yield f"{self._paint('warn')}>{text}</circle>"


def linear_ticks(low: float, high: float, count: int) -> list[Decimal]:
    """Return round values between the bounds, about `count` of them: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = floor(log10(rough))
    step = next(Decimal(factor).scaleb(power) for factor in (1, 2, 5, 10) if factor * 10.0**power >= rough * 0.999)
    return [step * index for index in range(ceil(low / float(step)), floor(high / float(step)) + 1)]


def log_ticks(low: float, high: float, most: int) -> list[Decimal]:
    """Return at most so many round values between the bounds of a logarithmic scale.

    They are powers of ten; if these are few, also 2 and 5 times them.
    """
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [Decimal(factor).scaleb(power) for power in powers for factor in factors]
        inside = [tick for tick in ticks if low <= float(tick) <= high]
        if len(inside) <= most:
            return inside
    return inside[:: ceil(len(inside) / most)]


def date_ticks(
    first: dt.date, last: dt.date, most: int, language: Language
) -> tuple[list[dt.date], Callable[[dt.date], str]]:
    """Return at most so many round dates from `first` to `last`, and the function that formats them."""
    days = (last - first).days
    if days < 75 or days < 31 * most:
        step = max(1, ceil((days + 1) / min(most, 5)))
        return [first + dt.timedelta(offset) for offset in range(0, days + 1, step)], language.day_month
    begin, end = first.year * 12 + first.month - 1, last.year * 12 + last.month - 1
    for step in _MONTH_STEPS:
        months = range(-(-(begin + (first.day > 1)) // step) * step, end + 1, step)
        if len(months) <= most:
            break
    label = language.year if step >= 12 else language.month_year
    return [dt.date(month // 12, month % 12 + 1, 1) for month in months], label


def _shown_decimals(rate: Decimal) -> int:
    _, digits, exponent = rate.as_tuple()
    if len(digits) >= DERIVED_DIGITS:
        return max(2, _SHOWN_DIGITS - rate.adjusted() - 1)
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _day_of(year: int, month: int, day: int) -> dt.date:
    """Return a date; the last one of its month if that is shorter."""
    while True:
        try:
            return dt.date(max(year, 1), month, day)
        except ValueError:
            day -= 1
