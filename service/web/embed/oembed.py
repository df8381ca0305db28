"""`/oembed`: for editors that turn a pasted URL into an embed (https://oembed.com)."""

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
from service.web.rendering.options import parse_options
from service.web.rendering.page_cache import PageCache
from service.web.rendering.svg import drawn

_PATHS: Final = ("", "/", "/embed")
"""What may be pasted: the builder's address, or the strip's."""
_CACHE_AGE: Final = 3600
_LINE, _MORE = 46, 38
"""Heights of a strip of one line, and of each further line, in pixels; all lengths here are."""
_QUOTE, _FOOTER, _BROKEN = 56, 80, 18
"""Heights in a list: of a quote, of its end, and of one more line in each where it is narrower than `_WIDE`."""
_WIDE: Final = 405
_TAPE: Final = 640


def routes(pages: PageCache) -> list[web.RouteDef]:
    default = pages.memory.settings.tickers[0].id

    def oembed(request: web.Request) -> web.StreamResponse:
        query = request.query
        if query.get("format", "json") != "json":
            raise Problem(501, "Only JSON is spoken here: format=json.")
        if "url" not in query:
            raise Problem(400, "url is missing: the address of an /embed of this service.")
        origin = pages.origin(request)
        pasted = _query_of(query["url"], origin)
        ticker = pasted.get("ticker") or default
        snapshot = pages.snapshot(ticker)
        form = FORMATS["embed"]
        options = parse_options(pasted, "", snapshot, form.takes, form.lang, form.theme)
        view = pages.view(ticker, options)
        width, height = _size(view, _most(query, "maxwidth"), _most(query, "maxheight"))
        title = view.texts[0].label
        source = f"{origin}/embed{options.query(pasted.get('ticker', ''))}"
        frame = (
            f'<iframe src="{escape(source)}" title="{escape(title)}" width="{width}" height="{height}" '
            'style="border:0" loading="lazy"></iframe>'
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
        return Representation(to_json(document), "application/json", cache_for(_CACHE_AGE, snapshot.next_update)).reply(
            request, pages.now.seconds()
        )

    return [web.get("/oembed", handle_errors(oembed))]


def _query_of(address: str, origin: str) -> MultiMapping[str]:
    """Return the query of an address of ours. Raises `Problem` for another one."""
    unknown = Problem(404, "That is no address of this service; /embed is one.")
    if not origin or not address.startswith(origin):
        raise unknown
    try:
        parts = urlsplit(address[len(origin) :])
        query = MultiDict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise unknown from None
    if parts.scheme or parts.netloc or parts.path not in _PATHS:
        raise unknown
    return query


def _most(query: MultiMapping[str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 5 and int(text)):
        raise Problem(400, f"{name} must be a number of pixels.")
    return int(text)


def _size(view: View, widest: int | None, highest: int | None) -> tuple[int, int]:
    """Return the approximate width and height of the frame: fonts differ by visitor."""
    layout = view.options.layout
    natural = (
        _TAPE if layout == "tape" else round(drawn(view.snapshot, *view.texts, view.options, view.sparks).width * 1.15)
    )
    width = min(natural, widest or natural)
    count = len(view.snapshot.quotes)
    if layout == "list":
        narrow = width < _WIDE
        height = (_QUOTE + narrow * _BROKEN) * count + _FOOTER + narrow * _BROKEN
    elif layout == "tape":
        height = _LINE
    else:
        in_a_line = max(1, width * (count + 1) // natural)  # a quote is never broken; the date then has its own line
        height = _LINE + (_MORE * ceil(count / in_a_line) if width < natural else 0)
    return width, min(height, highest or height)
