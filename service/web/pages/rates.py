"""`/rates` and `/rates/{currency}`: the rates of a ticker, and the history of one of them with a chart.

Both are complete without JavaScript. The script of the chart adds the crosshair and switches ranges without a request:
the page has the whole history as data.
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from service.domain.change import Trend, half_up
from service.domain.fixing import EXACT
from service.domain.periods import LONGER, MAX_AGE, begin
from service.domain.snapshot import Quote, Snapshot
from service.domain.surrogate_keys import source_key, surrogate_headers, ticker_key
from service.observability.tracing import span
from service.runtime.background import run_in_thread
from service.web.api.chart import Charts, recent_points
from service.web.api.history import years_before
from service.web.http.problems import Handler, Problem
from service.web.http.responses import Representation
from service.web.i18n.formatting import TickerText, quote_text, shown_decimals, source_name, ticker_text
from service.web.i18n.locale import Language
from service.web.models import receipt_page_path
from service.web.pages.documents import (
    DocumentCache,
    PageNotFound,
    PageOptions,
    handle_page_errors,
    page_options,
    representation,
    shell,
)
from service.web.rendering.chart import (
    ChartLine,
    ChartPoint,
    chart_document,
    chart_svg,
    comparable,
    index_starts,
    range_start,
)
from service.web.rendering.formats import to_json
from service.web.rendering.options import RANGES, Options
from service.web.rendering.page_cache import PageCache
from service.web.rendering.svg import ARROWS

DEFAULT_RANGE: Final = "1y"
_TABLE_ROWS: Final = 30
"""Rows of the table; the others are in the CSV file."""
_CSV_YEARS: Final = 10
"""Years that `/v1/history` returns at most."""
_CHARTS: Final = (("wide", 1140, 400), ("narrow", 340, 260))
"""Names and sizes of the chart in pixels, for desktops and phones: scaled to both, one would be too flat on a phone."""


class TableRow(NamedTuple):
    """The texts of a row of the table. One that is quarantined has no rate.

    In a comparison, `other` is the rate of the other currency; `own_index` and `other_index` are the indices.
    """

    day: dt.date
    date: str
    rate: str = ""
    change: str = ""
    percent: str = ""
    trend: str = "none"
    revised: bool = False
    quarantined: bool = False
    other: str = ""
    own_index: str = ""
    other_index: str = ""


class Extreme(NamedTuple):
    """The lowest or highest rate of a range."""

    rate: str
    date: str
    day: dt.date


class ShownChange(NamedTuple):
    """The texts of the change of a rate since the beginning of a period."""

    since: dt.date
    date: str
    percent: str
    trend: Trend


class ShownRange(NamedTuple):
    """The links and texts of a range: the change since the rate in force at its beginning, its extremes.

    Across a redenomination there are no texts.
    """

    name: str
    link: str
    csv: str
    since: str = ""
    percent: str = ""
    trend: str = "none"
    lowest: Extreme | None = None
    highest: Extreme | None = None


@dataclass(frozen=True)
class _History:
    """The publications of a quote, oldest first, with the days that are marked."""

    quote: Quote
    source: str
    line: ChartLine
    is_complete: bool = True
    """False if older rates could not be read: publications, or changes over periods, are missing."""

    @property
    def points(self) -> Sequence[ChartPoint]:
        return self.line.points

    def in_force(self, day: dt.date) -> ChartPoint | None:
        """Return the last publication up to a day."""
        index = bisect_right(self.points, day, key=lambda point: point.day)
        return self.points[index - 1] if index else None

    def rate_text(self, rate: Decimal | None, language: Language, *, signed: bool = False) -> str:
        """Return a rate, or with `signed` a change, with the decimals of the latest publications."""
        return language.number(rate, self._decimals, signed=signed)

    @cached_property
    def _decimals(self) -> int:
        return shown_decimals(self.quote, *(point.rate for point in self.points[-_TABLE_ROWS:]))


@dataclass(frozen=True)
class _Wanted:
    """What a page of a currency shows: equal ones give the same bytes while the rates are the same."""

    options: PageOptions
    ticker: str
    code: str
    range: str
    compare: str


@dataclass
class RatesPages:
    """Handlers of `/rates` and `/rates/{currency}`."""

    pages: PageCache
    charts: Charts
    documents: DocumentCache

    def options(self, request: web.Request) -> PageOptions:
        return page_options(request, self.pages.memory.settings, self.pages.cacheable_origin(request))

    async def overview(self, request: web.Request) -> web.StreamResponse:
        """Respond with the rates of a ticker. Raises `Problem`."""
        options = self.options(request)
        snapshot = self._snapshot(options)

        async def make() -> Representation:
            with span("page", {"page": "rates", "ticker": snapshot.id}):
                return await run_in_thread(self._overview, snapshot, options)

        page = await self.documents.get(("rates", options), (snapshot,), make)
        return page.reply(request, self.pages.now.seconds())

    def _overview(self, snapshot: Snapshot, options: PageOptions) -> Representation:
        view = self.pages.view(snapshot.id, Options(lang=options.lang, spark=True))
        text, pairs = view.texts
        values = shell(options, "./", "rates") | self._ticker(snapshot, text, options)
        values |= {"pairs": pairs, "sparks": view.sparks, "canonical": f"rates{options.query()}"}
        # The sparklines are made of what memory has: polled rates alone, before the store was read.
        is_complete = all(self._has_loaded(quote.source) for quote in snapshot.quotes if quote.source)
        return representation(
            "rates.html",
            options,
            self._caching(snapshot, is_complete=is_complete),
            values | {"is_complete": is_complete},
            self._surrogate(snapshot),
        )

    async def currency(self, request: web.Request) -> web.StreamResponse:
        """Respond with the history of a currency. Raises `Problem`."""
        options, query, memory = self.options(request), request.query, self.pages.memory
        snapshot = self._snapshot(options)
        quotes = {quote.code: quote for quote in snapshot.quotes if quote.source}
        code, compare = request.match_info["currency"].upper(), query.get("compare", "").upper()
        if code not in quotes:
            links = {known: f"{known.lower()}{options.query()}" for known in quotes}
            raise PageNotFound(f"The ticker {snapshot.id} does not quote {code[:8]!r}.", links)
        compare = compare if compare in quotes and compare != code else ""
        chosen = query.get("range", "").lower()
        chosen = chosen if chosen in RANGES else DEFAULT_RANGE
        wanted = _Wanted(options, snapshot.id, code, chosen, compare)

        async def make() -> Representation:
            shown = [quotes[code], *([quotes[compare]] if compare else [])]
            with span("page", {"page": "rate", "ticker": snapshot.id}):
                histories = [await self._history(snapshot, quote) for quote in shown]
                return await run_in_thread(self._currency, snapshot, wanted, histories)

        page = await self.documents.get(wanted, (snapshot, memory.cross_check), make)
        return page.reply(request, self.pages.now.seconds())

    async def _history(self, snapshot: Snapshot, quote: Quote) -> _History:
        """Return the history of a quote; if the store cannot be read, the publications of the quote itself."""
        source = quote.source or ""
        try:
            loaded, is_stored = await self.charts.line(snapshot.id, quote.code)
        except Problem:
            recent = ChartLine(quote.code, snapshot.base, recent_points(quote, snapshot.base, self.pages.memory))
            return _History(quote, source, recent, is_complete=False)
        is_stored = is_stored and self._has_loaded(source)
        return _History(quote, source, loaded.line, is_stored or not _lacks_changes(quote, loaded.line))

    def _has_loaded(self, source: str) -> bool:
        """Return whether the service has read a source from the store since its start."""
        return source in self.pages.memory.stored_from

    def _currency(self, snapshot: Snapshot, wanted: _Wanted, histories: Sequence[_History]) -> Representation:
        options, settings, history = wanted.options, self.pages.memory.settings, histories[0]
        language, code, quote = options.language, wanted.code.lower(), history.quote
        text, latest = ticker_text(snapshot, settings, language), history.points[-1].day

        def link(chosen: str, compare: str) -> str:
            shown = "" if chosen == DEFAULT_RANGE else chosen
            return f"{code}{options.query(range=shown, compare=compare.lower())}"

        ranges = {name: self._range(name, history, wanted, language, link(name, wanted.compare)) for name in RANGES}
        first = range_start(wanted.range, latest, history.points[0].day)
        lines = [each.line.since(first) for each in histories]
        shown = comparable(lines) if len(lines) > 1 else []
        # Without two currencies that have rates in the range there are no indices.
        table = _Table(histories, index_starts(shown) if len(shown) > 1 else (), language)
        documents = [
            chart_document(
                each.line,
                snapshot.id,
                source_name(settings.sources[each.source], language),
                cross=each.quote.cross,
                language=language,
            )
            for each in histories
        ]
        own_range = "" if wanted.range == DEFAULT_RANGE else wanted.range
        values = shell(options, "../", "rates", range=own_range, compare=wanted.compare.lower())
        values |= self._ticker(snapshot, text, options)
        values |= {
            "quote": quote,
            "said": quote_text(quote, snapshot, settings, language),
            "name": language.name,
            "receipt": lambda day: receipt_page_path(history.source, day).removeprefix("/"),
            "charts": {
                name: chart_svg(lines, language, width=width, height=height, theme="page", prefix=name)
                for name, width, height in _CHARTS
            },
            "data": to_json(documents).replace(b"<", b"\\u003c").decode(),
            "changes": [
                ShownChange(past.date, language.date(past.date), language.percent(past.percent), past.direction)
                for past in map(quote.changes.get, LONGER)
                if past
            ],
            "ranges": ranges.values(),
            "chosen": ranges[wanted.range],
            "default_range": DEFAULT_RANGE,
            "compare": wanted.compare,
            "choices": {
                each.code: link(wanted.range, each.code)
                for each in snapshot.quotes
                if each.source and each.code != quote.code
            },
            "without": link(wanted.range, ""),
            "rows": table.rows(_TABLE_ROWS),
            "index_date": language.date(max(start.day for start in table.starts)) if table.starts else "",
            "canonical": f"rates/{code}{options.query()}",
        }
        surrogate = self._surrogate(snapshot, *dict.fromkeys(each.source for each in histories))
        is_complete = all(each.is_complete for each in histories)
        caching = self._caching(snapshot, is_complete=is_complete)
        return representation("rate.html", options, caching, values | {"is_complete": is_complete}, surrogate)

    def _caching(self, snapshot: Snapshot, *, is_complete: bool) -> Callable[[int], str]:
        """Return the function that gives the Cache-Control of a page."""
        return self.pages.caching(snapshot) if is_complete else _not_stored

    def _surrogate(self, snapshot: Snapshot, *sources: str) -> Mapping[str, str]:
        """Return the headers with the surrogate keys of a page with histories of these sources."""
        keys = (ticker_key(snapshot.id), *map(source_key, sources))
        return surrogate_headers(self.pages.memory.settings.http, *keys)

    def _range(self, name: str, history: _History, wanted: _Wanted, language: Language, link: str) -> ShownRange:
        points = history.points
        latest = points[-1].day
        first = range_start(name, latest, points[0].day)
        csv = {"from": str(max(first, years_before(latest, _CSV_YEARS))), "to": str(latest)}
        csv |= {"ticker": wanted.options.ticker} if wanted.options.ticker else {}
        shown = ShownRange(name, link, f"v1/history/{wanted.code.lower()}.csv?{urlencode(csv)}")
        part = history.line.since(first)
        start, percent = part.points[0], part.percent
        if percent is None:
            return shown

        def extreme(point: ChartPoint) -> Extreme:
            return Extreme(history.rate_text(point.rate, language), language.date(point.day), point.day)

        return shown._replace(
            since=language.date(start.day),
            percent=language.percent(percent),
            trend=_trend(percent),
            lowest=extreme(min(part.points, key=lambda point: point.rate)),
            highest=extreme(max(part.points, key=lambda point: point.rate)),
        )

    def _ticker(self, snapshot: Snapshot, text: TickerText, options: PageOptions) -> dict[str, Any]:
        """Return the template variables of both pages."""
        settings, path = self.pages.memory.settings, f"/{options.ticker}" if options.ticker else ""
        tickers = {ticker.id: "" if ticker is settings.tickers[0] else ticker.id for ticker in settings.tickers}
        return {
            "snapshot": snapshot,
            "text": text,
            "arrows": ARROWS,
            "tickers": tickers,
            "picture": f"v1/ticker{path}.png",
        }

    def _snapshot(self, options: PageOptions) -> Snapshot:
        settings = self.pages.memory.settings
        if options.ticker and options.ticker not in [ticker.id for ticker in settings.tickers]:
            raise PageNotFound(f"Unknown ticker {options.ticker[:40]!r}.")
        return self.pages.snapshot(options.ticker or settings.tickers[0].id)


@dataclass(frozen=True)
class _Table:
    """The latest publications of a history; with two, as indices too.

    `starts` are the publications of both whose index is 100, if there are indices.
    """

    histories: Sequence[_History]
    starts: Sequence[ChartPoint]
    language: Language

    def rows(self, count: int) -> list[TableRow]:
        """Return the rows, newest first: those of the `count` last publications, and quarantined days."""
        points, quarantined = self.histories[0].points, self.histories[0].line.quarantined
        begin = max(0, len(points) - count)
        rows = [self._row(points[index], points[index - 1] if index else None) for index in range(begin, len(points))]
        held = sorted(day for day in quarantined if day >= points[begin].day)[-count:]
        rows += [TableRow(day, self.language.date(day), quarantined=True) for day in held]
        return sorted(rows, key=lambda row: (row.day, row.quarantined), reverse=True)

    def _row(self, point: ChartPoint, before: ChartPoint | None) -> TableRow:
        language, history = self.language, self.histories[0]
        change = (
            None
            if before is None or point.new_unit or point.percent is None
            else EXACT.subtract(point.rate, before.rate)
        )
        return TableRow(
            point.day,
            language.date(point.day),
            history.rate_text(point.rate, language),
            history.rate_text(change, language, signed=True),
            language.percent(point.percent),
            _trend(point.percent),
            point.day in history.line.revised,
            False,
            *(self._compared(point) if len(self.histories) > 1 else ()),
        )

    def _compared(self, point: ChartPoint) -> tuple[str, str, str]:
        """Return the rate of the other currency in force on a day, and both indices; each empty if there is none."""
        history = self.histories[1]
        other = history.in_force(point.day)
        if other is None or point.day - other.day > MAX_AGE:
            return "", "", ""
        if not self.starts or any(point.day < start.day for start in self.starts):
            return history.rate_text(other.rate, self.language), "", ""
        index, other_index = (
            self.language.number(half_up(100 * Fraction(rate) / Fraction(start.rate), 2), 2)
            for rate, start in zip((point.rate, other.rate), self.starts, strict=True)
        )
        return history.rate_text(other.rate, self.language), index, other_index


def _not_stored(_: int) -> str:
    """Return the Cache-Control of a page that lacks rates: a cache would serve it long after the store is back."""
    return "no-store"


def _lacks_changes(quote: Quote, line: ChartLine) -> bool:
    """Return whether the change over a period is unknown though the line reaches back to its beginning."""
    latest = line.points[-1].day
    return any(quote.changes.get(each) is None and line.points[0].day <= begin(each, latest) for each in LONGER)


def _trend(percent: Decimal | None) -> str:
    if percent is None:
        return "none"
    return Trend.UP if percent > 0 else Trend.DOWN if percent < 0 else Trend.FLAT


def routes(pages: PageCache, charts: Charts, documents: DocumentCache) -> list[web.RouteDef]:
    rates = RatesPages(pages, charts, documents)

    def page(handler: Handler, root: str) -> Handler:
        return handle_page_errors(handler, rates.options, root, "rates")

    return [
        web.get("/rates", page(rates.overview, "./")),
        web.get("/rates/{currency}", page(rates.currency, "../")),
    ]
