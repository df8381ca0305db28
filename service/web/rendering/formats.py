"""Output formats: render a snapshot to bytes. Pure; the caller caches the bytes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cached_property, lru_cache
from math import sqrt
from typing import Any, Final

import msgspec
from msgspec import UNSET

from service.domain.change import percent_text
from service.domain.periods import PERIODS, Changes, Period
from service.domain.snapshot import PublishedQuotes, Quote, Snapshot
from service.settings import Settings
from service.web import models
from service.web.embed.builder import COLOURS, FONTS, SNIPPETS, VALUES, WIDTHS
from service.web.http.responses import SECURE
from service.web.i18n.formatting import QuoteText, TickerText, quote_text, spark_text, ticker_text
from service.web.i18n.locale import ENGLISH, language
from service.web.i18n.messages import BUILDER, STRIP, catalogue, languages
from service.web.rendering.atom import ENTRIES, feed
from service.web.rendering.options import AUTO, LAYOUTS, SHOWN_VALUES, SIDES, THEMES, Options
from service.web.rendering.png import MAX_PIXELS, is_drawable
from service.web.rendering.sparkline import Sparkline, path
from service.web.rendering.style import STYLE, digest, style_sheet
from service.web.rendering.svg import ARROWS, DARK_STYLE, SvgLayout, drawn
from service.web.rendering.templates import rendered

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_MAX_TEXTS: Final = 32
"""Languages, each with a period, in which the texts of a snapshot are cached."""
_LOCKED = "default-src 'none'; base-uri 'none'; form-action 'none'; "
_SAME_ORIGIN = "style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
STRICT: Final = f"{_LOCKED}{_SAME_ORIGIN}frame-ancestors 'none'"
"""The Content-Security-Policy of the service's own pages."""
_BUILDER: Final = f"{_LOCKED}{_SAME_ORIGIN}frame-src 'self'; frame-ancestors 'none'"
"""That of the builder, whose preview has a frame."""


QuoteTexts = Callable[[str, Period], Mapping[str, QuoteText]]
"""A function from a language tag and a period to the texts of a snapshot's quotes, by currency code."""


def no_publications(_: Snapshot, __: int) -> Sequence[PublishedQuotes]:
    """Return nothing, for the output formats that show only the snapshot."""
    return ()


@dataclass(frozen=True)
class View:
    """A snapshot with the selected quotes, the options and the texts: the input of all output formats."""

    snapshot: Snapshot
    settings: Settings
    options: Options
    quote_texts: QuoteTexts
    publications: Callable[[Snapshot, int], Sequence[PublishedQuotes]] = no_publications
    """Returns the last publications behind a snapshot, newest first: at most so many."""
    on: date | None = None
    """The date whose rates the snapshot has, if they were requested."""

    @cached_property
    def quotes(self) -> tuple[Quote, ...]:
        """The quotes with their changes over the period of the options."""
        return tuple(quote.over(self.options.period) for quote in self.snapshot.quotes)

    @cached_property
    def texts(self) -> tuple[TickerText, list[tuple[Quote, QuoteText]]]:
        """The texts of the ticker and of each quote, in the language of the options; else in English."""
        lang, period = self.options.lang or ENGLISH, self.options.period
        texts = self.quote_texts(lang, period)
        pairs = [(quote, texts[quote.code]) for quote in self.quotes]
        return ticker_text(replace(self.snapshot, quotes=self.quotes), self.settings, language(lang), period), pairs

    @cached_property
    def sparks(self) -> Mapping[str, Sparkline]:
        """Sparklines by currency code, of the quotes with enough publications; empty unless requested."""
        if not self.options.spark:
            return {}
        locale = language(self.options.lang or ENGLISH)
        paths = ((quote, path([rate for _, rate in quote.history])) for quote in self.snapshot.quotes)
        return {quote.code: Sparkline(line, spark_text(quote, locale)) for quote, line in paths if line}


def sayer(snapshot: Snapshot, settings: Settings) -> QuoteTexts:
    """Return a function that formats the quotes of a snapshot in a language; its results are cached."""

    @lru_cache(_MAX_TEXTS)
    def texts(lang: str, period: Period) -> Mapping[str, QuoteText]:
        locale = language(lang)
        return {quote.code: quote_text(quote.over(period), snapshot, settings, locale) for quote in snapshot.quotes}

    return texts


def to_json(value: object) -> bytes:
    """Encode as JSON; a `Decimal` becomes a number with all its digits."""
    return _ENCODER.encode(value)


def _receipts(quote: Quote, path: Callable[[str, date], str] = models.receipt_path) -> list[str]:
    """Return the paths of the receipts of a quote's fixings: at most two, none without a source."""
    days = (day for day in (quote.date, quote.previous_date) if day)
    return [path(quote.source, day) for day in days] if quote.source else []


def _receipt_pages(quote: Quote, lang: str) -> list[str]:
    """Return the paths of the pages of a quote's receipts, in a language."""
    return [f"{path}?lang={lang}" for path in _receipts(quote, models.receipt_page_path)]


def ticker_json(view: View) -> bytes:
    name, words = language(ENGLISH).name, _words(view)
    quotes = [
        models.QuoteDocument(
            name=name(quote.code),
            receipts=_receipts(quote),
            changes=_changes(quote.changes),
            text=words.get(quote.code, UNSET),
            **_own_fields(quote),
        )
        for quote in view.snapshot.quotes
    ]
    document = asdict(replace(view.snapshot, quotes=())) | {"quotes": quotes, "on": view.on or UNSET}
    return to_json(models.Ticker(text=view.texts[0] if view.options.lang else UNSET, **document))


def _changes(changes: Changes) -> models.Changes:
    known = {period: change for period, change in changes.items() if change}
    documents = {period: models.PeriodChangeDocument(**asdict(change)) for period, change in known.items()}
    return models.Changes(**{period.value: documents.get(period) for period in PERIODS})


def _words(view: View) -> Mapping[str, models.QuoteWords]:
    """Return the texts of each quote, by its code; empty if no language is requested."""
    if not view.options.lang:
        return {}
    ticker, pairs = view.texts
    words = {
        quote.code: models.QuoteWords(
            **asdict(text), direction=quote.direction, receipts=_receipt_pages(quote, ticker.lang)
        )
        for quote, text in pairs
    }
    if view.options.spark:
        sparks = ((code, view.sparks.get(code)) for code in words)
        lines = {code: (spark.path, spark.label) if spark else (None, None) for code, spark in sparks}
        words = {code: replace(text, spark=lines[code][0], spark_label=lines[code][1]) for code, text in words.items()}
    return words


def _own_fields(quote: Quote) -> dict[str, Any]:
    """Return the fields of a quote without its history, which would make the response several times as long."""
    fields = asdict(replace(quote, history=(), changes={}))
    del fields["history"], fields["changes"]
    return fields | {name: UNSET for name in ("buying", "selling") if fields[name] is None}


def ticker_txt(view: View) -> bytes:
    """Return a line for each quote: its code and the values of `show`; with its date if that is not the ticker's."""
    lines = []
    for quote in view.quotes:
        own_date = f" {quote.date}" if quote.date not in (None, view.snapshot.as_of) else ""
        values = " ".join(_plain(quote, value) for value in view.options.show)
        lines.append(f"{quote.code.lower()} {values}{own_date}\n")
    return "".join(lines).encode()


def _plain(quote: Quote, value: str) -> str:
    """Return a value for programs: not rounded, in no language; a dash if it is missing."""
    if value == "percent":
        return percent_text(quote.percent)
    number = {"rate": quote.rate, "buy": quote.buying, "sell": quote.selling, "change": quote.change}[value]
    return "—" if number is None else f"{number:{'+' if value == 'change' and number else ''}f}"


def ticker_svg(view: View) -> bytes:
    return _rendered("ticker.svg", view, picture=_picture(view), scale=1)


def ticker_png(view: View) -> bytes:
    """Render the SVG of which the PNG is drawn.

    It is in English if the font lacks a character of the requested language. A theme that follows the visitor's colour
    scheme is light. The scale is reduced if the picture would be too large, below 1 if need be.
    """
    options = view.options
    theme = "light" if options.theme not in ("dark", "transparent") else options.theme
    view = replace(view, options=replace(options, theme=theme))
    picture = _picture(view)
    if not all(is_drawable(run.text) for text in picture.texts for run in text.runs):
        view = replace(view, options=replace(view.options, lang=ENGLISH))
        picture = _picture(view)
    area = (picture.width * picture.zoom + 1) * (picture.height * picture.zoom + 1)  # 1: both are rounded
    largest = sqrt(MAX_PIXELS / area)
    return _rendered("ticker.svg", view, picture=picture, scale=min(options.scale, int(largest) or largest))


def _picture(view: View) -> SvgLayout:
    return drawn(view.snapshot, *view.texts, view.options, view.sparks)


def ticker_atom(view: View) -> bytes:
    published = view.publications(view.snapshot, ENTRIES)
    document = feed(view.snapshot, published, view.settings, view.options)
    return _rendered("ticker.atom", view, feed=document, receipt_path=models.receipt_path)


def ticker_html(view: View) -> bytes:
    # The page around it may be of another host; its own is that of the service only behind a proxy.
    return _rendered("ticker.html", view, root=f"{(view.settings.http.public_url or '').rstrip('/')}/")


def embed(view: View) -> bytes:
    return _rendered("embed.html", view, sheet=style_sheet(dict(view.options.style)))


def index(view: View) -> bytes:
    """Render the builder, in the requested language if it has a complete translation, else in English."""
    tag = language(view.options.lang or ENGLISH).words_tag
    tag = tag if tag in languages(BUILDER) else ENGLISH
    view = replace(view, options=replace(view.options, lang=tag))
    translate = catalogue(tag, BUILDER).gettext

    def named(values: Iterable[str], names: Mapping[str, str] = VALUES) -> list[tuple[str, str]]:
        return [(value, translate(names[value])) for value in values]

    has_sides = any(quote.buying is not None for quote in view.snapshot.quotes)
    shown_values = [value for value in SHOWN_VALUES if has_sides or value not in SIDES]
    choices: dict[str, Any] = {"themes": THEMES, "layouts": LAYOUTS, "shown_values": shown_values, "periods": PERIODS}
    choices |= {"colours": COLOURS, "fonts": named(FONTS, FONTS), "widths": named(WIDTHS, WIDTHS), "snippets": SNIPPETS}
    tags = {"translations": languages(BUILDER), "languages": languages(STRIP)}
    return _rendered("index.html", view, _=translate, named=named, **choices, **tags)


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """An output format of a ticker."""

    render: Callable[[View], bytes]
    content_type: str
    takes: frozenset[str]
    """Supported query parameters in addition to `currencies`."""
    summary: str = ""
    """What `/v1/ticker.<name>` returns, for OpenAPI; empty for pages with their own paths."""
    lang: str | None = None
    """Default language; None: no texts."""
    theme: str = AUTO
    headers: Mapping[str, str] | None = None
    lenient: bool = False
    """Leave out unknown currencies instead of refusing them: for what other sites embed."""
    in_thread: bool = False
    """Whether it is rendered in a worker thread: it takes 10 ms or more."""
    drawn: bool = False
    """Whether `render` returns an SVG that is still to be drawn as PNG."""
    dated: bool = False
    """Whether it is also rendered for the rates in force on a date (`on`)."""
    names_ignored: bool = False
    """Whether its responses name the options of other formats, which it ignores."""

    @property
    def ignores(self) -> frozenset[str]:
        """The options of other formats that its responses name as ignored."""
        return _EMBEDDED - self.takes if self.names_ignored else frozenset()


_STILL = {**SECURE, "Content-Security-Policy": f"{_LOCKED}frame-ancestors 'none'"}
_HTML = "text/html; charset=utf-8"
_LOOK = frozenset({"lang", "theme", "layout", "show", "spark", "period"})
_EMBEDDED = _LOOK | STYLE.keys() | {"width", "scale", "live", "on"}
"""The options of all formats that other sites embed."""


def picture_headers(*sheets: str) -> Mapping[str, str]:
    """Return the headers of an SVG image that may contain one of these style sheets."""
    styles = " ".join(map(digest, sheets))
    return _STILL | {"Content-Security-Policy": f"{_STILL['Content-Security-Policy']}; style-src {styles}"}


FORMATS: Final[Mapping[str, OutputFormat]] = {
    "json": OutputFormat(
        ticker_json, "application/json", frozenset({"lang", "spark", "period"}), "as JSON", dated=True
    ),
    "txt": OutputFormat(
        ticker_txt,
        "text/plain; charset=utf-8",
        frozenset({"show", "period"}),
        "as text, one line per currency",
        dated=True,
    ),
    "svg": OutputFormat(
        ticker_svg,
        "image/svg+xml",
        _LOOK | {"width"} | STYLE.keys() - {"speed"},
        "as an SVG image",
        ENGLISH,
        "light",
        picture_headers(DARK_STYLE),
        names_ignored=True,
        lenient=True,
    ),
    "png": OutputFormat(
        ticker_png,
        "image/png",
        _LOOK | {"width", "scale"} | STYLE.keys() - {"speed", "font"},
        "as a PNG image, for e-mail",
        ENGLISH,
        "light",
        names_ignored=True,
        lenient=True,
        in_thread=True,
        drawn=True,
    ),
    "html": OutputFormat(
        ticker_html,
        _HTML,
        _LOOK,
        "as an HTML fragment",
        ENGLISH,
        headers=_STILL,
        names_ignored=True,
        lenient=True,
    ),
    "atom": OutputFormat(
        ticker_atom,
        "application/atom+xml; charset=utf-8",
        frozenset({"lang", "origin"}),
        "as an Atom feed, one entry per publication",
        ENGLISH,
        headers=_STILL,
        names_ignored=True,
        in_thread=True,
    ),
    "embed": OutputFormat(
        embed, _HTML, _LOOK | STYLE.keys() | {"live", "origin"}, lang=AUTO, lenient=True, names_ignored=True
    ),
    "index": OutputFormat(
        index,
        _HTML,
        frozenset({"lang", "origin"}),
        lang=AUTO,
        headers={**SECURE, "Content-Security-Policy": _BUILDER},
        lenient=True,
    ),
}
"""All output formats. To add one, add it here; new query parameters also go to the cache key in config/edge."""
SUFFIXES: Final = tuple(name for name, output in FORMATS.items() if output.summary)
"""The formats of `/v1/ticker.<suffix>`."""


def embed_headers(frame_ancestors: tuple[str, ...], options: Options) -> Mapping[str, str]:
    """Return the headers of `/embed`, which the sites in `frame_ancestors` and the builder may frame."""
    if not {"*", "'none'", "'self'"}.intersection(frame_ancestors):
        frame_ancestors = ("'self'", *frame_ancestors)
    sheet = style_sheet(dict(options.style))
    sources = _SAME_ORIGIN.replace("style-src 'self'", f"style-src 'self' {digest(sheet)}") if sheet else _SAME_ORIGIN
    return {**SECURE, "Content-Security-Policy": f"{_LOCKED}{sources}frame-ancestors {' '.join(frame_ancestors)}"}


def docs(viewer: Mapping[str, str]) -> bytes:
    """Render the API documentation; `viewer` maps the viewer's files to their hashed names."""
    return rendered("docs.html", viewer=viewer)


def _rendered(template: str, view: View, **more: Any) -> bytes:  # noqa: ANN401 - template variables have any type
    text, pairs = view.texts
    values = {"snapshot": view.snapshot, "settings": view.settings, "options": view.options, "text": text}
    values |= {"pairs": pairs, "sparks": view.sparks, "arrows": ARROWS}
    return rendered(template, **values, **more)
