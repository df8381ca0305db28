"""`/v1/chart/{currency}`: all publications of a currency, as JSON for scripts, and a range of them as SVG and PNG.

The publications are those of `/v1/history`, read in the same way. A page is rendered once per state of the history, in
a worker thread: ten years take some 20 ms.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from typing import Final, NamedTuple, TypeVar

from aiohttp import web
from aiohttp.hdrs import ACCEPT_LANGUAGE

from service.domain.change import half_up
from service.domain.snapshot import Quote, Snapshot
from service.domain.surrogate_keys import source_key, surrogate_headers, ticker_key
from service.errors import StoreError
from service.observability.tracing import span
from service.runtime.background import run_in_thread
from service.settings import SourceSettings
from service.state.memory import MemoryState
from service.web.api.history import Histories, WholeHistory
from service.web.api.history_rows import RowRange, chart_point
from service.web.http.problems import Problem, handle_async_errors
from service.web.http.responses import Representation
from service.web.i18n.locale import ENGLISH, language
from service.web.rendering.chart import (
    HEIGHT,
    STYLES,
    WIDTH,
    ChartLine,
    ChartPoint,
    caption,
    chart_document,
    chart_svg,
    range_start,
)
from service.web.rendering.formats import picture_headers, to_json
from service.web.rendering.options import Options, parse_options
from service.web.rendering.page_cache import PageCache, ignored_headers
from service.web.rendering.png import MAX_PIXELS, is_drawable

_LINES: Final = 8
"""Histories that are kept as points: 0.8 MB for ten years."""
_PAGES: Final = 64
"""Pages that are kept: some 45 KB for ten years."""
_MAX_IN_PROGRESS: Final = 8
"""Histories that are being read and pages that are being rendered, at a time."""
_UNAVAILABLE: Final = "Older publications are temporarily unavailable."
T = TypeVar("T")


class LoadedLine(NamedTuple):
    """A line, the range that it has, and its source."""

    line: ChartLine
    part: RowRange
    source: SourceSettings


@dataclass(frozen=True, slots=True)
class ChartFormat:
    """A format of a chart: its render function, and the query parameters that it takes."""

    render: Callable[[LoadedLine, Options], bytes]
    content_type: str
    summary: str
    takes: frozenset[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    drawn: bool = False
    """Whether `render` returns an SVG that is still to be drawn as PNG."""


def _json(loaded: LoadedLine, options: Options) -> bytes:
    line, part, lang = loaded.line, loaded.part, language(options.lang or ENGLISH)
    source = loaded.source.names.get(lang.words_tag, part.name)
    return to_json(chart_document(line, part.ticker, source, cross=part.cross, language=lang))


def _svg(loaded: LoadedLine, options: Options) -> bytes:
    line = loaded.line
    shown = line.since(range_start(options.range, line.points[-1].day, line.points[0].day))
    width, height, lang = options.width or WIDTH, options.height or HEIGHT, language(options.lang or ENGLISH)
    source = loaded.source.short_name or loaded.part.source.upper()
    text = caption(line, source, lang, recorded=loaded.source.recorded)
    svg = chart_svg([shown], lang, width=width, height=height, theme=options.theme, scale=options.scale, caption=text)
    return svg.encode()


def _png(loaded: LoadedLine, options: Options) -> bytes:
    """Return the SVG of which the PNG is drawn: in English if the font lacks a character of the language."""
    area = (options.width or WIDTH) * (options.height or HEIGHT)
    scale = max(1, min(options.scale, isqrt(MAX_PIXELS // area)))
    theme = options.theme if options.theme in ("dark", "transparent") else "light"
    options = replace(options, theme=theme, scale=scale)
    svg = _svg(loaded, options)
    return svg if is_drawable(svg.decode().replace("\n", "")) else _svg(loaded, replace(options, lang=ENGLISH))


_LOOK: Final = frozenset({"lang", "range", "theme", "width", "height"})
FORMATS: Final[Mapping[str, ChartFormat]] = {
    "json": ChartFormat(_json, "application/json", "all publications, as JSON", frozenset({"lang"})),
    "svg": ChartFormat(_svg, "image/svg+xml", "as an SVG image", _LOOK, picture_headers(*STYLES)),
    "png": ChartFormat(_png, "image/png", "as a PNG image, for e-mail", _LOOK | {"scale"}, drawn=True),
}
"""All formats of a chart."""


class _Reading(NamedTuple):
    """A history that is being read, which all requests share: its tag, the task, and whether the store could be read.

    If not, tag and task are those of an earlier request.
    """

    tag: str
    loading: "asyncio.Task[LoadedLine]"
    is_stored: bool


@dataclass
class _Rendered:
    """The pages of a snapshot; the least recently requested one is the first."""

    snapshot: Snapshot
    pages: OrderedDict[tuple[str, str, Options], "asyncio.Task[Representation]"] = field(default_factory=OrderedDict)


@dataclass
class Charts:
    """Handler of requests for charts."""

    pages: PageCache
    histories: Histories
    _rendered: dict[str, _Rendered] = field(default_factory=dict)
    _lines: OrderedDict[tuple[str, str], tuple[str, "asyncio.Task[LoadedLine]"]] = field(default_factory=OrderedDict)
    _in_progress: int = 0

    async def reply(self, request: web.Request) -> web.StreamResponse:
        """Respond with a chart. Raises `Problem`."""
        code, dot, suffix = request.match_info["currency"].partition(".")
        if dot and suffix not in FORMATS:
            raise Problem(404, f"Unknown format .{suffix[:20]}.", available=[f".{name}" for name in FORMATS])
        ticker = request.query.get("ticker") or self.pages.memory.settings.tickers[0].id
        options = self._options(request, ticker, suffix or "json")
        page = await self._page(ticker, code.upper(), suffix or "json", options)
        return page.reply(request, self.pages.now.seconds())

    def _options(self, request: web.Request, ticker: str, form: str) -> Options:
        accepted, takes = request.headers.get(ACCEPT_LANGUAGE, ""), FORMATS[form].takes
        snapshot = self.pages.snapshot(ticker)
        options = parse_options(request.query, accepted, snapshot, takes, ENGLISH, "light", lenient=True)
        return replace(options, currencies=None)

    async def line(self, ticker: str, code: str) -> tuple[LoadedLine, bool]:
        """Return all publications of a currency, and whether the store could be read.

        If not, the older ones are those of an earlier request. Raises `Problem` if there was none.
        """
        reading = await self._line(ticker, code)
        return self._with_newest(await asyncio.shield(reading.loading), reading), reading.is_stored

    async def _line(self, ticker: str, code: str) -> "_Reading":
        """Return the history of a currency that is being read, or that of an earlier request if the store fails.

        Raises `Problem`.
        """
        key, is_stored = (ticker, code), True
        known = self._lines.get(key)
        try:
            whole = await self.histories.whole(ticker, code)
        except StoreError:
            if known is None:
                raise Problem(503, _UNAVAILABLE, {"Retry-After": "30"}) from None
            is_stored = False
        else:
            known = self._lines.get(key, known)  # another request may have begun to read it meanwhile
            if known is None or known[0] != whole.tag or (known[1].done() and _failed(known[1])):
                known = whole.tag, self._started(self._load(whole))
        self._lines[key] = known
        self._lines.move_to_end(key)
        if len(self._lines) > _LINES:
            self._lines.popitem(last=False)
        return _Reading(*known, is_stored)

    def _with_newest(self, loaded: LoadedLine, reading: "_Reading") -> LoadedLine:
        """Return the line of an earlier request with the newer publications of the quote, which are in memory."""
        if reading.is_stored:
            return loaded
        line, part = loaded.line, loaded.part
        quotes = {quote.code: quote for quote in self.pages.snapshot(part.ticker).quotes}
        quote = quotes.get(part.currency)
        if quote is None or (quote.source, quote.cross) != (part.source, part.cross):
            return loaded
        # The first of the recent ones has no change; the last known one may have been revised.
        recent = recent_points(quote, part.base, self.pages.memory)[1:]
        newer = [point for point in recent if point.day >= line.points[-1].day]
        older = [point for point in line.points if not newer or point.day < newer[0].day]
        return loaded._replace(line=replace(line, points=[*older, *newer]))

    async def _load(self, whole: WholeHistory) -> LoadedLine:
        part = whole.part
        try:
            rows = await self.histories.rows_of(whole)
        except StoreError:
            raise Problem(503, _UNAVAILABLE, {"Retry-After": "30"}) from None
        if not rows:
            raise Problem(404, f"No publications of {part.currency} in {part.base}.")
        waiting = self.pages.memory.quarantine[part.source].waiting.items()
        quarantined = frozenset(day for day, entry in waiting if {part.currency, part.base} & entry.fixing.rates.keys())

        def line() -> ChartLine:
            points = [chart_point(row) for row in rows]
            revised = frozenset(point.day for point, is_revised in points if is_revised)
            return ChartLine(part.currency, part.base, [point for point, _ in points], revised, quarantined)

        return LoadedLine(await run_in_thread(line), part, self.pages.memory.settings.sources[part.source])

    async def _page(self, ticker: str, code: str, form: str, options: Options) -> Representation:
        """Return a page, rendered once however many requests wait for it. Raises `Problem`."""
        reading = await self._line(ticker, code)
        snapshot = self.pages.snapshot(ticker)
        rendered = self._rendered.get(ticker)
        if rendered is None or rendered.snapshot is not snapshot:
            rendered = self._rendered[ticker] = _Rendered(snapshot)
        key = reading.tag, form, options
        rendering = rendered.pages.pop(key, None)
        if rendering is None or (rendering.done() and _failed(rendering)):
            if len(rendered.pages) >= _PAGES:
                rendered.pages.popitem(last=False)
            rendering = self._started(self._render(snapshot, reading, form, options))
        rendered.pages[key] = rendering
        return await asyncio.shield(rendering)

    def _started(self, work: Coroutine[object, object, T]) -> "asyncio.Task[T]":
        """Start a task. Raises `Problem` if too many are in progress."""
        if self._in_progress >= _MAX_IN_PROGRESS:
            work.close()
            raise Problem(503, "Too many concurrent requests for new charts.", {"Retry-After": "5"})
        self._in_progress += 1
        task = asyncio.create_task(work)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: "asyncio.Task[T]") -> None:
        self._in_progress -= 1
        _failed(task)  # retrieves the error, so that it is not logged if all clients have gone

    async def _render(self, snapshot: Snapshot, reading: "_Reading", form: str, options: Options) -> Representation:
        output = FORMATS[form]
        with span("page", {"page": f"chart {form}", "ticker": snapshot.id}):
            loaded = self._with_newest(await asyncio.shield(reading.loading), reading)
            body = await run_in_thread(output.render, loaded, options)
            if output.drawn:
                body = await self.pages.png.draw(body)
        self.pages.counters.rendered += 1
        keys = (ticker_key(snapshot.id), source_key(loaded.part.source))
        surrogate = surrogate_headers(self.pages.memory.settings.http, *keys)
        return Representation(
            body,
            output.content_type,
            self.pages.caching(snapshot),
            {**output.headers, **ignored_headers(options), **surrogate},
            "Accept-Language" if options.negotiated else None,
            compressed=not output.drawn,
        )


def recent_points(quote: Quote, base: str, memory: MemoryState) -> list[ChartPoint]:
    """Return the last publications of a quote, which are in memory, oldest first, as a history shows them."""
    if quote.source is None:
        return []
    untrusted = memory.untrusted(quote.source, quote.code, base)
    history = [point for point in quote.history if point.date not in untrusted.hidden]
    points = [ChartPoint(day, rate) for day, rate in history[:1]]
    for old, (day, rate) in pairwise(history):
        if day in untrusted.without_change:
            points.append(ChartPoint(day, rate, without_change=True))
        else:
            points.append(ChartPoint(day, rate, half_up(100 * (Fraction(rate) / Fraction(old.rate) - 1), 2)))
    return points


def _failed(task: "asyncio.Task[T]") -> bool:
    return task.cancelled() or task.exception() is not None


def routes(charts: Charts) -> list[web.RouteDef]:
    return [web.get("/v1/chart/{currency}", handle_async_errors(charts.reply))]
