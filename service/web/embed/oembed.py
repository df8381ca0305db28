"""`/oembed`: the oEmbed provider, for editors that convert a pasted URL to an embed (https://oembed.com)."""

from math import ceil
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from markupsafe import escape
from multidict import MultiDict, MultiMapping

from service.web import models
from service.web.http.problems import Problem, handle_errors
from service.web.http.responses import Representation, cache_for
from service.web.rendering.formats import FORMATS, View, to_json
from service.web.rendering.options import SIDES, parse_options
from service.web.rendering.page_cache import PageCache
from service.web.rendering.style import zoom
from service.web.rendering.svg import drawn

_PATHS: Final = ("", "/", "/embed")
"""Paths of supported URLs: those of the builder, and of the strip."""
_CACHE_AGE: Final = 3600
_LINE, _NEXT_LINE = 46, 38
"""Heights of the first line of a strip, and of each further line. All lengths are in pixels."""
_QUOTE, _FOOTER, _WRAPPED_LINE = 56, 80, 18
"""Heights in a list: of a quote, of the footer, and of the line that each has more below a width of `_WIDE`."""
_WIDE: Final = 405
_TAPE: Final = 640
"""Default width of a tape."""


def routes(pages: PageCache) -> list[web.RouteDef]:
    default = pages.memory.settings.tickers[0].id

    def oembed(request: web.Request) -> web.StreamResponse:
        query = request.query
        if query.get("format", "json") != "json":
            raise Problem(501, "Unsupported format; use format=json.")
        if "url" not in query:
            raise Problem(400, "url is missing; it must be the URL of an /embed page of this service.")
        origin = pages.origin(request)
        embedded = _query_of(query["url"], origin)
        ticker = embedded.get("ticker") or default
        snapshot = pages.snapshot(ticker)
        form = FORMATS["embed"]
        options = parse_options(embedded, "", snapshot, form.takes, form.lang, form.theme, lenient=True)
        if options.currencies == ():
            raise Problem(404, f"The ticker {snapshot.id} has none of the currencies in the URL.")
        view = pages.view(ticker, options)
        width, height = _size(view, _pixels(query, "maxwidth"), _pixels(query, "maxheight"))
        title = view.texts[0].label
        source = f"{origin}/embed{options.query(embedded.get('ticker', ''))}"
        frame = (
            f'<iframe src="{escape(source)}" title="{escape(title)}" width="{width}" height="{height}" '
            'frameborder="0" style="display:block;border:0" loading="lazy"></iframe>'
        )
        document = models.Embed(
            provider_name="Currency ticker",
            provider_url=f"{origin}/",
            title=title,
            cache_age=_CACHE_AGE,
            width=width,
            height=height,
            html=frame,
        )
        caching = cache_for(_CACHE_AGE, snapshot.next_update)
        return Representation(to_json(document), "application/json", caching).reply(request, pages.now.seconds())

    return [web.get("/oembed", handle_errors(oembed))]


def _query_of(url: str, origin: str) -> MultiMapping[str]:
    """Return the query of a URL of this service. Raises `Problem` for any other URL."""
    unknown = Problem(404, "Unknown URL; url must be that of an /embed page of this service.")
    if not origin or not url.startswith(origin):
        raise unknown
    try:
        parts = urlsplit(url[len(origin) :])
        query = MultiDict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise unknown from None
    if parts.scheme or parts.netloc or parts.path not in _PATHS:
        raise unknown
    return query


def _pixels(query: MultiMapping[str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 5 and int(text)):
        raise Problem(400, f"{name} must be a number of pixels from 1 to 99999.")
    return int(text)


def _size(view: View, max_width: int | None, max_height: int | None) -> tuple[int, int]:
    """Return the width and height of the frame. They are estimates: fonts differ between visitors."""
    layout, factor = view.options.layout, zoom(dict(view.options.style))
    wide, line = round(_WIDE * factor), round(_LINE * factor)
    picture = drawn(view.snapshot, *view.texts, view.options, view.sparks)
    natural = _TAPE if layout == "tape" else round(picture.width * 1.15 * factor)
    width = min(natural, max_width or natural)
    count = len(view.snapshot.quotes)
    if layout == "list":
        narrow = width < wide or not SIDES.isdisjoint(view.options.show)  # then the values are below the names
        height = round(((_QUOTE + narrow * _WRAPPED_LINE) * count + _FOOTER + narrow * _WRAPPED_LINE) * factor)
    elif layout == "tape":
        height = line
    else:
        per_line = max(1, width * (count + 1) // natural)  # quotes do not wrap; the date then has its own line
        height = line + (round(_NEXT_LINE * factor) * ceil(count / per_line) if width < natural else 0)
    return width, min(height, max_height or height)
