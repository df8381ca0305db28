"""Fuzz requests for pages: each response is a valid page, picture or problem without injected markup."""

import asyncio
import json
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from justhtml import Element, JustHTML, Node
from lxml import etree
from yarl import URL

from service.domain.periods import PERIODS
from service.web.rendering.options import LAYOUTS, SHOWN_VALUES, THEMES
from tests.conftest import Started
from tests.support.fixings import APRIL
from tests.support.http import Client, body, until_ready
from tests.support.standin import Banks

PATHS = (
    "/embed",
    "/v1/ticker.svg",
    "/v1/ticker.atom",
    "/v1/ticker.html",
    "/v1/chart/usd.svg",
    "/oembed",
    "/",
    "/rates",
    "/rates/usd",
)
PAYLOAD = '"><script>x</script>'
PAYLOADS = (
    PAYLOAD,
    "</title><script>x</script>",
    "'><script>x</script><a b='",
    "]]><script>x</script>",
    f"kk@{PAYLOAD}",
)
MARKER = "<script>x"
"""Part of every payload that occurs in no page of the service."""
VALID = {
    "currencies": ("usd", "usd,eur", "CNY, rub", ""),
    "lang": ("kk", "ru-RU", "ar", "zh", "auto", "sr-Latn", ""),
    "theme": THEMES,
    "layout": LAYOUTS,
    "show": (*SHOWN_VALUES, "rate,change", "change percent", ""),
    "surface": ("102030", "FFFFFF", ""),
    "ink": ("ffffff", "000000", ""),
    "up": ("00ff00", ""),
    "down": ("ff0000", ""),
    "size": ("12", "24", ""),
    "radius": ("0", "24", ""),
    "font": ("system", "serif", "mono", ""),
    "speed": ("10", "120", ""),
    "compare": ("eur", "USD", ""),
    "range": ("1m", "5y", "ALL", ""),
    "width": ("160", "600", ""),
    "height": ("120", "720", ""),
    "live": ("0", "1", "true", ""),
    "period": (*PERIODS, "decade", ""),
    "spark": ("0", "1", "true", ""),
    "ticker": ("kzt", "eur"),
    "format": ("json", "xml"),
    "maxwidth": ("1", "300", "99999"),
    "maxheight": ("1", "44", "-1"),
    "url": (
        "{own}",
        "{own}/embed",
        "{own}/embed?lang=kk&theme=dark",
        "{own}/embed?{query}",
        "https://foreign.example/",
    ),
}


@dataclass(frozen=True)
class Request:
    """A request; `{own}` in its query stands for the URL of the service."""

    path: str
    query: str
    headers: tuple[tuple[str, str], ...] = ()


ANYTHING = st.one_of(
    st.sampled_from(PAYLOADS),
    st.text(max_size=40),
    st.tuples(st.text(max_size=10), st.sampled_from(PAYLOADS), st.text(max_size=10)).map("".join),
)
PAIR = st.one_of(
    *(st.tuples(st.just(name), st.sampled_from(values)) for name, values in VALID.items()),
    *(st.tuples(st.just(name), ANYTHING) for name in VALID),
    st.tuples(ANYTHING, ANYTHING),
)
PAIRS = st.lists(PAIR, max_size=6)
QUERY = st.one_of(PAIRS.map(urlencode), st.text("%0123456789ABCDEFabcdef=&;+,langurl@.", max_size=60))
# Without characters that cannot be sent in a header, such as control characters.
HEADER = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60) | st.sampled_from(PAYLOADS)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Accept-Language": HEADER | st.text("kruzen-;,=q.01* ", max_size=60),
        "Host": HEADER | st.text("abc.:[]1/@?_-", max_size=40),
    },
)
LOOK = st.sampled_from(("lang", "theme", "layout", "show", "live", "spark", "period", "currencies")).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(VALID[name]))
)
PASTED = st.one_of(
    st.lists(LOOK | st.tuples(st.sampled_from(("lang", "utm")), ANYTHING), max_size=5).map(urlencode), QUERY
).map(lambda query: "url={own}/embed?{query}&".replace("{query}", quote(query)))
REQUEST = st.builds(Request, st.sampled_from(PATHS), QUERY, HEADERS.map(lambda headers: tuple(headers.items())))
EMBEDDED = st.builds(
    lambda request, pasted: replace(request, path="/oembed", query=pasted + request.query), REQUEST, PASTED
)


# The service draws its jitter in another thread, while requests are generated
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.fuzz
async def test_no_query_breaks_a_response(start: Started, banks: Banks) -> None:
    """No server error, no injected markup; pages, fragments and pictures parse without errors."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    loop = asyncio.get_running_loop()

    @given(REQUEST | EMBEDDED)
    @example(Request("/embed", urlencode({"lang": f"kk@{PAYLOAD}"})))
    @example(Request("/v1/ticker.svg", urlencode({"lang": "kk@\x01"})))
    @example(Request("/", "", (("Host", PAYLOAD), ("Accept-Language", PAYLOAD))))
    @example(Request("/oembed", f"url={{own}}/embed?{quote(urlencode({'lang': PAYLOAD}))}"))
    def send(request: Request) -> None:
        asyncio.run_coroutine_threadsafe(check(client, request), loop).result()

    await asyncio.to_thread(send)


async def check(client: Client, request: Request) -> None:
    own = str(client.make_url("")).rstrip("/")
    query = request.query.replace("%7Bown%7D", own).replace("{own}", own)
    url = URL.build(path=request.path, query_string=query, encoded=True)
    async with client.get(url, headers=dict(request.headers)) as response:
        text = await body(response)
        kind, status = response.content_type, response.status
        sniffed = response.headers.get("X-Content-Type-Options") != "nosniff"
    assert status in (200, 400, 404) or (status == 501 and request.path == "/oembed")
    if status == 200 and request.path == "/oembed":
        assert (kind, sniffed) == ("application/json", False)
        (frame,) = elements(JustHTML(json.loads(text)["html"], sanitize=False, strict=True, fragment=True).root)
        assert set(frame.attrs) == {"src", "title", "width", "height", "frameborder", "style", "loading"}
        assert frame.name == "iframe"
    elif status == 200 and request.path in ("/v1/ticker.svg", "/v1/ticker.atom", "/v1/chart/usd.svg"):
        assert kind == {"svg": "image/svg+xml", "atom": "application/atom+xml"}[request.path.rpartition(".")[2]]
        assert MARKER not in text.lower()
        assert not [element for element in etree.fromstring(text.encode()).iter() if "script" in str(element.tag)]
    elif status == 200 or (status == 404 and request.path.startswith("/rates")):
        assert kind == "text/html"
        assert MARKER not in text.lower()
        fragment = request.path == "/v1/ticker.html"
        check_page(JustHTML(text, sanitize=False, strict=True, fragment=fragment).root)
    elif kind == "application/problem+json":
        assert not sniffed
        assert json.loads(text)["status"] == status
    else:  # refused by the HTTP parser before the application
        assert (status, kind) == (400, "text/plain")


def check_page(page: Node) -> None:
    """Check that a page has only the service's own scripts and no event handlers."""
    for element in elements(page):
        assert not [name for name in element.attrs if name.startswith("on")]
        if element.name == "script" and element.attrs.get("type") == "application/json":
            json.loads(element.to_text())
        elif element.name == "script":
            assert str(element.attrs["src"]).removeprefix("../").startswith(("static/", "embed."))
            assert element.to_text() == ""


def elements(page: Node) -> list[Element]:
    return [node for node in page.query("*") if isinstance(node, Element)]
