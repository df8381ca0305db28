"""The forms of a ticker that people see: they say the same, as they are asked to, and lead to each other."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient
from justhtml import Element, JustHTML, Node
from lxml import etree
from yarl import URL

from service.app import create_app
from service.settings import Settings, load
from service.web.http.assets import ASSETS, Assets
from service.web.rendering.options import LAYOUTS, SHOWN_VALUES, THEMES
from tests.conftest import Clock, Served, Started
from tests.support.fixings import APRIL
from tests.support.http import Client, body, until_ready
from tests.support.pages import SVG, found, json_of, one, page_of, picture_of, published, text_of
from tests.support.standin import Banks, serving
from tests.support.wait import until

XML = "{http://www.w3.org/XML/1998/namespace}"
NB, NARROW, LEFT = "\u00a0", "\u202f", "\u200e"
NOT_READ = "\u200f\u00a0\u2003"
"""What stands before the parts of a picture: the turn of a language from the right, and gaps."""
CODES = ["USD", "EUR", "RUB", "GBP", "CNY"]
DOLLAR = {
    "kk": ("-0,77%", f"2026{NARROW}ж. 2 сәу."),
    "ru": (f"-0,77{NB}%", f"2 апр. 2026{NARROW}г."),
    "en": ("-0.77%", "2 Apr 2026"),
    "de": (f"-0,77{NB}%", "2. Apr. 2026"),
    "fr": (f"-0,77{NB}%", "2 avr. 2026"),
    "uz": ("-0,77%", "2-apr, 2026"),
    "zh": ("-0.77%", "2026年4月2日"),
    "ar": (f"{LEFT}-0.77%", "2 أبريل 2026"),
}


together = pytest.mark.asyncio(loop_scope="module")
"""For tests that only read: they share one service, and so its event loop."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["true", "false"], ids=["cached", "uncached"])
async def client(valkey: str, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Yield a client of a service with and without the response cache; it has polled 1 and 2 April 2026."""
    async with serving(published(Banks())) as banks:
        environ = banks.environ() | {
            "TICKER_STORE__URL": valkey,
            "TICKER_STORE__PREFIX": f"forms {request.param}:",
            "TICKER_HTTP__RESPONSE_CACHE": request.param,
        }
        app = create_app(load(environ=environ), None, Clock(datetime(2026, 4, 2, 4, 0, tzinfo=UTC)))
        async with TestClient(Served(app), auto_decompress=False) as client:
            await until_ready(client)
            yield client


def texts(page: Node, selector: str) -> list[str]:
    return [element.to_text(separator="", strip=False) for element in found(page, selector)]


def parts(picture: etree._Element) -> list[list[str]]:
    """Return the texts of a picture: of each line what its parts say, less the gaps."""
    lines = picture.findall(f"{SVG}text")
    return [["".join(map(str, part.itertext())).lstrip(NOT_READ) for part in line] for line in lines]


@together
@pytest.mark.parametrize("lang", DOLLAR)
async def test_all_forms_say_the_same(client: Client, lang: str) -> None:
    """Percentages, dates, sentences and details are the same texts in JSON, fragment, picture and frame."""
    document = await json_of(client, f"/v1/ticker?lang={lang}")
    said = [quote["text"] for quote in document["quotes"]]
    percents = [text["percent"] for text in said]
    assert (percents[0], document["text"]["date"]) == DOLLAR[lang]
    assert [text["date"] for text in said] == [document["text"]["date"]] * 5

    for path in (f"/v1/ticker.html?lang={lang}", f"/embed?lang={lang}"):
        page = await page_of(client, path)
        assert texts(page, "li .percent") == percents
        assert texts(page, ".date time") == [document["text"]["date"]]
        assert texts(page, ".said") == [text["sentence"] for text in said]
        assert [item.attrs["title"] for item in found(page, "li .seen")] == [text["details"] for text in said]
        assert one(page, ".date").attrs["title"] == document["text"]["footer"]
        assert one(page, "ul").attrs["aria-label"] == document["text"]["label"]
        strip = one(page, ".ticker")
        assert (strip.attrs["lang"], strip.attrs["dir"]) == (lang, "rtl" if lang == "ar" else "ltr")

    picture = await picture_of(client, f"/v1/ticker.svg?lang={lang}")
    figures, date = parts(picture)
    assert (figures[::3], figures[1::3], date) == (CODES, percents, [document["text"]["date"]])
    assert (picture.get(f"{XML}lang"), picture.get("direction")) == (lang, document["text"]["dir"])
    spoken = "".join(f"{text['sentence']}. " for text in said)
    assert picture.findtext(f"{SVG}desc") == f"{spoken}{document['text']['footer']}."
    assert picture.findtext(f"{SVG}title") == f"{document['text']['label']}, {document['text']['date']}"


@together
@pytest.mark.parametrize("lang", ["kk", "ar"])
async def test_all_formats_have_the_same_values(client: Client, lang: str) -> None:
    """Rate, change and percentage, in this order whatever the order that they are asked for in."""
    query = f"lang={lang}&show=percent,change,rate&currencies=cny,usd"
    document = await json_of(client, f"/v1/ticker?{query}")
    wanted = [[quote["text"][figure] for figure in SHOWN_VALUES] for quote in document["quotes"]]
    for path in (f"/v1/ticker.html?{query}", f"/embed?{query}"):
        page = await page_of(client, path)
        columns = [texts(page, f"li .{figure}") for figure in SHOWN_VALUES]
        assert [list(row) for row in zip(*columns, strict=True)] == wanted
    figures, _ = parts(await picture_of(client, f"/v1/ticker.svg?{query}"))
    assert [figures[1:4], figures[6:9]] == wanted


@together
@pytest.mark.parametrize("form", ["/embed", "/", "/embed?lang=auto", "/v1/ticker.html?lang=auto"])
async def test_page_is_in_the_visitors_language(client: Client, form: str) -> None:
    """Accept-Language chooses, and caches are told so; without it there is English."""
    for header, lang in (("ru-RU,ru;q=0.9", "ru-RU"), ("zz, kk;q=0.5", "kk"), ("", "en")):
        async with client.get(form, headers={"Accept-Language": header}) as response:
            assert response.headers["Vary"] == "Accept-Encoding, Accept-Language"
        page = await page_of(client, form, header)
        assert one(page, ".ticker").attrs["lang"] == (lang[:2] if form == "/" else lang)


@together
async def test_builder_is_in_one_language(client: Client) -> None:
    """Where it has no words it is English throughout, dates and directions too."""
    page = await page_of(client, "/?lang=ar")
    assert {element.attrs.get("lang") for element in (one(page, "html"), one(page, ".ticker"))} == {"en"}
    assert "2 Apr 2026" in texts(page, "td time")
    assert one(page, "currency-ticker").attrs["lang"] == "en"


@together
async def test_what_one_request_says_of_our_host_is_shown_to_nobody_else(client: Client) -> None:
    """Without public_url a page names itself on loopback only: a shared cache may keep it for everybody."""
    for path in ("/", "/embed"):
        async with client.get(path, headers={"Host": "evil.example"}) as response:
            assert "evil.example" not in await body(response)
        assert "json+oembed" in await text_of(client, path)


@together
async def test_svg_and_json_use_the_requested_language(client: Client) -> None:
    """`lang=auto` follows Accept-Language there too, and says so."""
    for path in ("/v1/ticker.svg?lang=auto", "/v1/ticker?lang=auto"):
        async with client.get(path, headers={"Accept-Language": "kk"}) as response:
            assert response.headers["Vary"] == "Accept-Encoding, Accept-Language"
            assert DOLLAR["kk"][0] in await body(response)
    assert (await picture_of(client, "/v1/ticker.svg?lang=auto", "kk")).get(f"{XML}lang") == "kk"


@together
@pytest.mark.parametrize("path", ["/embed", "/", "/v1/ticker.html", "/v1/ticker.svg", "/v1/ticker"])
async def test_a_named_language_varies_by_nothing(client: Client, path: str) -> None:
    """The same bytes for every reader, so that caches keep one."""
    tags = set()
    for header in ("ru", "de"):
        async with client.get(f"{path}?lang=kk", headers={"Accept-Language": header}) as response:
            assert response.headers["Vary"] == "Accept-Encoding"
            tags.add(response.headers["ETag"])
    assert len(tags) == 1


@together
async def test_plain_formats_ignore_accept_language(client: Client) -> None:
    """Where nobody asked for a language, a picture and a fragment are English, and JSON has no texts."""
    for path in ("/v1/ticker.svg", "/v1/ticker.html", "/v1/ticker", "/v1/ticker.txt"):
        async with client.get(path, headers={"Accept-Language": "kk"}) as response:
            assert "Accept-Language" not in response.headers.get("Vary", "")
    assert (await picture_of(client, "/v1/ticker.svg")).get(f"{XML}lang") == "en"
    assert "text" not in await json_of(client, "/v1/ticker")


@together
@pytest.mark.parametrize("lang", ["zzz", "tlh-Latn", "", "../../x", "%00", "%3Cscript%3E", "x" * 500])
@pytest.mark.parametrize("path", ["/embed", "/v1/ticker.html", "/v1/ticker.svg", "/v1/ticker", "/"])
async def test_an_unknown_language_is_english(client: Client, path: str, lang: str) -> None:
    """It is no error, and exactly what English is."""
    assert await text_of(client, f"{path}?lang={lang}") == await text_of(client, f"{path}?lang=en")


@together
@pytest.mark.parametrize("lang", ["en%40x", "kk%40%01", "ru%40%22%3E%3Cscript%3E"])
async def test_nobody_writes_into_a_picture_by_the_language(client: Client, lang: str) -> None:
    """A picture is well-formed XML whatever the language is said to be, and names one that there is."""
    picture = await picture_of(client, f"/v1/ticker.svg?lang={lang}")
    assert picture.get(f"{XML}lang") in ("en", "kk", "ru")


@together
@pytest.mark.parametrize("path", ["/embed", "/v1/ticker.html", "/v1/ticker.svg"])
@pytest.mark.parametrize(
    ("query", "told", "available"),
    [
        ("theme=pink", "Unknown theme 'pink'", THEMES),
        ("theme=Dark", "Unknown theme 'Dark'", THEMES),
        ("layout=grid", "Unknown layout 'grid'", LAYOUTS),
        ("show=percent,volume", "Unknown value 'volume'", SHOWN_VALUES),
        ("currencies=usd,xyz", "Unknown currency 'XYZ'", CODES),
        (f"theme={'x' * 1000}", f"Unknown theme '{'x' * 20}'", THEMES),
    ],
)
async def test_unknown_theme_or_layout_is_reported(
    client: Client, path: str, query: str, told: str, available: list[str]
) -> None:
    """400 as a problem document, which names what there is."""
    async with client.get(f"{path}?{query}") as response:
        assert (response.status, response.content_type) == (400, "application/problem+json")
        problem = json.loads(await body(response))
    assert told in problem["detail"]
    assert problem["available"] == list(available)


@together
async def test_what_a_form_does_not_take_is_passed_over(client: Client) -> None:
    """JSON and text have no look, and parameters of others are nobody's business."""
    for path in ("/v1/ticker", "/v1/ticker.txt"):
        assert await text_of(client, f"{path}?theme=pink&layout=grid&utm_source=x") == await text_of(client, path)


@together
async def test_a_picture_has_no_style_and_says_what_it_shows(client: Client) -> None:
    """Mail programs and strict policies leave it whole; a screen reader gets its title and description."""
    for query in ("", "?layout=list", "?theme=dark&show=rate,change,percent&lang=ar"):
        picture = await picture_of(client, f"/v1/ticker.svg{query}")
        assert picture.tag == f"{SVG}svg"
        assert picture.get("role") == "img"
        for attribute, name in (("aria-labelledby", "title"), ("aria-describedby", "desc")):
            (named,) = picture.findall(f"*[@id='{picture.get(attribute)}']")
            assert named.tag == f"{SVG}{name}"
            assert named.text
        for element in picture.iter(etree.Element):
            assert element.tag in {f"{SVG}{name}" for name in ("svg", "title", "desc", "rect", "path", "text", "tspan")}
            assert not {"style", "class", "href", "onload"} & set(map(str, element.attrib))
        width, height = (int(str(picture.get(name))) for name in ("width", "height"))
        assert picture.get("viewBox") == f"0 0 {width} {height}"


@together
async def test_a_picture_has_themes(client: Client) -> None:
    """Dark has other colours throughout, transparent has no surface, and where nothing is said it is light."""

    def colours(picture: etree._Element) -> dict[str, set[str]]:
        surface = picture.find(f"{SVG}rect")
        assert surface is not None
        return {
            "surface": {str(surface.get("fill")), str(surface.get("stroke"))},
            "ink": {str(part.get("fill")) for part in picture.iter(f"{SVG}tspan")},
        }

    seen = {theme: colours(await picture_of(client, f"/v1/ticker.svg?theme={theme}")) for theme in THEMES}
    assert colours(await picture_of(client, "/v1/ticker.svg")) == seen["light"] == seen["auto"]
    assert seen["transparent"] == {"surface": {"none"}, "ink": seen["light"]["ink"]}
    assert not seen["dark"]["surface"] & seen["light"]["surface"]
    assert not seen["dark"]["ink"] & seen["light"]["ink"]


@together
@pytest.mark.parametrize("path", ["/embed", "/v1/ticker.html"])
async def test_a_list_has_names_rates_and_a_footer(client: Client, path: str) -> None:
    """A line a currency; below, the dates and whose figures they are."""
    document = await json_of(client, "/v1/ticker?lang=kk")
    page = await page_of(client, f"{path}?lang=kk&layout=list&theme=dark")
    said = [quote["text"] for quote in document["quotes"]]
    assert texts(page, "li .name") == [text["name"] for text in said]
    assert texts(page, "li .rate") == [text["rate"] for text in said]
    assert texts(page, "li .percent") == [text["percent"] for text in said]
    assert texts(page, ".date") == [document["text"]["footer"]]
    assert {"ticker", "list", "dark"} <= set(str(one(page, ".ticker").attrs["class"]).split())


@together
async def test_a_picture_of_a_list_is_a_list(client: Client) -> None:
    """A line a currency with its name, then the footer; each line below the one before and inside the picture."""
    document = await json_of(client, "/v1/ticker?lang=kk")
    picture = await picture_of(client, "/v1/ticker.svg?lang=kk&layout=list")
    *lines, footer = parts(picture)
    for quote, name, figures in zip(document["quotes"], lines[::2], lines[1::2], strict=True):
        text = quote["text"]
        assert name == [quote["code"], text["name"]]
        assert figures[1:3] == [text["rate"], text["percent"]]
    assert footer == [document["text"]["footer"]]
    heights = [int(str(line.get("y"))) for line in picture.findall(f"{SVG}text")]
    assert heights == sorted(heights)
    assert heights[-1] < int(str(picture.get("height")))


async def test_fallback_source_is_shown_in_every_format(start: Started, banks: Banks) -> None:
    """The note is read in a list and heard in each form."""
    banks.faults.update(dict.fromkeys(("nbk", "ecb", "nbu", "cbu"), 404))
    banks.published["cbr"] = {
        on: {"USD": usd, "EUR": "92.60", "GBP": "106.30", "CNY": "11.62", "KZT": ("16.80", 100)}
        for on, usd in zip(APRIL, ("80.00", "79.80"), strict=True)
    }
    client = await start()
    note = "Bank of Russia, cross rate, fallback source"

    async def shown() -> bool:
        async with client.get("/v1/ticker?lang=en") as response:
            return note in await body(response)

    await until(shown)
    page = await page_of(client, "/embed?layout=list")
    assert texts(page, "li .note") == [note] * 5
    assert all(said.partition(",")[0] and f"({note})" in said for said in texts(page, ".said"))
    description = (await picture_of(client, "/v1/ticker.svg")).findtext(f"{SVG}desc")
    assert str(description).count(f"({note})") == 5


async def test_a_name_is_a_text_in_every_form(settings: Settings, start: Started, banks: Banks) -> None:
    """What an operator calls a bank is read as it is written, whatever characters it has."""
    name = '"><script>x</script> & Söhne <b>'
    nbk = settings.sources["nbk"].model_copy(update={"name": name})
    published(banks)
    client = await start(settings.model_copy(update={"sources": {**settings.sources, "nbk": nbk}}))
    await until_ready(client)
    footer = f"2 April 2026 compared with 1 April 2026. {name}"
    for path in ("/embed?layout=list&lang=en", "/v1/ticker.html?layout=list"):
        page = await page_of(client, path)
        assert texts(page, ".date") == [footer]
        assert str(found(page, "li .seen")[0].attrs["title"]).endswith(f". {name}")
    assert name in texts(await page_of(client, "/"), "td")
    assert str((await picture_of(client, "/v1/ticker.svg")).findtext(f"{SVG}desc")).endswith(f"{footer}.")
    assert parts(await picture_of(client, "/v1/ticker.svg?layout=list"))[-1] == [footer]


def origin(client: Client) -> str:
    return str(client.make_url("")).rstrip("/")


async def embedded(client: Client, address: str, **more: str) -> Any:
    """Return what oEmbed says of an address."""
    query = URL.build(path="/oembed", query={"url": address, **more})
    return json.loads(await text_of(client, str(query)))


def frame_of(document: Mapping[str, Any]) -> Element:
    """Return the frame, which is all that there is in the HTML."""
    page = JustHTML(document["html"], sanitize=False, strict=True, fragment=True).root
    assert [node.name for node in page.children or ()] == ["iframe"]
    return one(page, "iframe")


@together
@pytest.mark.parametrize(
    "pasted",
    [
        "",
        "/",
        "/embed",
        "/embed?lang=kk",
        "/embed?currencies=usd,eur&lang=ru&theme=dark&layout=list&show=rate&spark=1&live=1",
        "/embed#x",
        "?lang=ar",
    ],
)
async def test_an_editor_gets_a_frame_that_works(client: Client, pasted: str) -> None:
    """All fields of a rich answer, and HTML whose frame shows what was pasted."""
    document = await embedded(client, f"{origin(client)}{pasted}")
    assert list(document) == [
        "version", "type", "provider_name", "provider_url", "title", "cache_age", "width", "height", "html"
    ]  # fmt: skip
    assert (document["version"], document["type"], document["provider_url"]) == ("1.0", "rich", f"{origin(client)}/")
    frame = frame_of(document)
    assert (frame.attrs["width"], frame.attrs["height"]) == (str(document["width"]), str(document["height"]))
    assert frame.attrs["title"] == document["title"]
    source = URL(str(frame.attrs["src"]))
    assert source.origin() == URL(origin(client)).origin()
    assert source.path == "/embed"
    assert dict(source.query) == dict(URL(pasted).query)
    async with client.get(source.relative()) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        page = JustHTML(await body(response), sanitize=False, strict=True).root
    assert one(page, "ul").attrs["aria-label"] == document["title"]


@together
async def test_frame_does_not_exceed_the_available_width(client: Client) -> None:
    """A small maxwidth breaks the strip into lines, maxheight cuts; more room than it needs changes nothing."""
    address = f"{origin(client)}/embed"
    natural = await embedded(client, address)
    narrow = await embedded(client, address, maxwidth="300")
    flat = await embedded(client, address, maxwidth="300", maxheight="60")
    assert (narrow["width"], flat["width"], flat["height"]) == (300, 300, 60)
    assert narrow["height"] > natural["height"]
    wide = await embedded(client, address, maxwidth="5000", maxheight="5000")
    assert (wide["width"], wide["height"]) == (natural["width"], natural["height"])
    for layout in LAYOUTS:
        small = await embedded(client, f"{address}?layout={layout}", maxwidth="1", maxheight="1")
        assert (small["width"], small["height"]) == (1, 1)


@together
@pytest.mark.parametrize("name", ["maxwidth", "maxheight"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "", "999999", "%D9%A3", "1e3"])
async def test_room_is_a_number(client: Client, name: str, value: str) -> None:
    """Anything else is a problem that names the parameter."""
    problem = json.loads(await text_of(client, f"/oembed?url={origin(client)}/embed&{name}={value}", 400))
    assert name in problem["detail"]


@together
async def test_other_formats_are_not_implemented(client: Client) -> None:
    """501, as oEmbed wants it; JSON may be named."""
    address = f"{origin(client)}/embed"
    for form in ("xml", "XML", "yaml", ""):
        problem = json.loads(await text_of(client, f"/oembed?url={address}&format={form}", 501))
        assert "format=json" in problem["detail"]
    assert await text_of(client, f"/oembed?url={address}&format=json") == await text_of(
        client, f"/oembed?url={address}"
    )


@together
async def test_an_address_has_to_be_named(client: Client) -> None:
    """400 without one."""
    assert "url is missing" in json.loads(await text_of(client, "/oembed", 400))["detail"]


@together
@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://foreign.example/embed",
        "{own}1/embed",
        "{own}.foreign.example/embed",
        "{own}@foreign.example/embed",
        "{own}:secret@foreign.example/embed",
        "{own}\\@foreign.example/embed",
        "{scheme}://user@{host}/embed",
        "{scheme}://user:secret@{host}/embed",
        "//{host}/embed",
        "{host}/embed",
        "/embed",
        "https://{host}/embed",
        "{own}//foreign.example/embed",
        "{own}/\\foreign.example/embed",
        "{own}/embed/../v1/ticker",
        "{own}/../embed",
        "{own}/embed/",
        "{own}/embed/x",
        "{own}/EMBED",
        "{own}/v1/ticker",
        "{own}/metrics",
        "{own}/embed.js",
        "{own}/embed%2F",
        " {own}/embed",
        "javascript:alert(1)",
        "javascript:alert(1)//{own}/embed",
        "data:text/html,{own}/embed",
        "https://foreign.example/?{own}/embed",
        "{own}[/embed",
    ],
)
async def test_an_address_of_others_is_none_of_ours(client: Client, address: str) -> None:
    """404, however much it looks like one of ours."""
    own = URL(origin(client))
    address = address.format(own=origin(client), scheme=own.scheme, host=own.authority)
    problem = json.loads(await text_of(client, str(URL.build(path="/oembed", query={"url": address})), 404))
    assert "url must be that of an /embed page" in problem["detail"]


@together
@pytest.mark.parametrize(
    ("pasted", "status", "told"),
    [
        ("/embed?ticker=zzz", 404, "Unknown ticker 'zzz'"),
        ("/embed?currencies=zzz", 400, "Unknown currency 'ZZZ'"),
        ("/embed?theme=pink", 400, "Unknown theme 'pink'"),
        ("/embed?" + "&".join(f"a{number}=1" for number in range(60)), 404, "Unknown URL"),
    ],
)
async def test_url_of_no_strip_is_reported(client: Client, pasted: str, status: int, told: str) -> None:
    """What `/embed` would answer with an error is no frame."""
    query = URL.build(path="/oembed", query={"url": f"{origin(client)}{pasted}"})
    assert told in json.loads(await text_of(client, str(query), status))["detail"]


@together
async def test_a_frame_that_is_to_be_live_stays_so(client: Client) -> None:
    """`/embed?live` asks for the stream, pasted as well as opened."""
    for pasted in ("/embed?live=1", "/embed?live=", "/embed?live"):
        opened = await page_of(client, pasted)
        assert "data-stream" in one(opened, "body").attrs
        frame = frame_of(await embedded(client, f"{origin(client)}{pasted}"))
        assert URL(str(frame.attrs["src"])).query.get("live") == "1", pasted


@pytest.mark.parametrize("public", ["https://ticker.example", "https://ticker.example/", "https://bank.example/ticker"])
async def test_the_public_address_is_the_one_that_is_set(
    settings: Settings, start: Started, banks: Banks, public: str
) -> None:
    """Behind a proxy requests name another host: the answer, the frame and the discovery link are the public ones."""
    http = settings.http.model_copy(update={"public_url": public})
    published(banks)
    client = await start(settings.model_copy(update={"http": http}))
    await until_ready(client)
    root = public.rstrip("/")
    document = await embedded(client, f"{root}/embed?lang=kk")
    assert document["provider_url"] == f"{root}/"
    assert frame_of(document).attrs["src"] == f"{root}/embed?lang=kk"
    await text_of(client, f"/oembed?url={origin(client)}/embed", 404)
    link = one(await page_of(client, "/embed?lang=kk"), 'link[type="application/json+oembed"]')
    address = URL(str(link.attrs["href"]))
    assert str(address).startswith(f"{root}/oembed?")
    assert address.query["url"] == f"{root}/embed?lang=kk"


@together
@pytest.mark.parametrize(
    "path",
    ["/embed", "/", "/embed?lang=kk&layout=list&spark=1", "/embed?currencies=usd&show=rate,change&live=1&theme=dark"],
)
async def test_a_page_leads_to_its_oembed(client: Client, path: str) -> None:
    """Its link is answered with a frame that shows that very page, or from the builder the strip."""
    link = one(await page_of(client, path), 'link[type="application/json+oembed"]')
    address = URL(str(link.attrs["href"]))
    assert str(address.origin()) == origin(client)
    document = await json_of(client, str(address.relative()))
    assert document["title"] == link.attrs["title"]
    source = URL(str(frame_of(document).attrs["src"]))
    assert (source.path, dict(source.query)) == ("/embed", dict(URL(path).query))


@together
@pytest.mark.parametrize("host", ['"><script>x</script>', "a b", "h/../x", "h?x", "user@h", "[::1", "h:1:2", "x" * 300])
async def test_an_odd_host_names_no_link(client: Client, host: str) -> None:
    """A page is there all the same, without an address that it would not stand at."""
    for path in ("/embed", "/"):
        async with client.get(path, headers={"Host": host}) as response:
            text = await body(response)
            if response.status == 400:  # refused before it came to us
                continue
        page = JustHTML(text, sanitize=False, strict=True).root
        assert found(page, 'link[rel="alternate"]') == []
        assert host not in text


@together
async def test_the_script_is_pinned(client: Client) -> None:
    """Its name and its digest are those of its bytes, it stays for good, and the builder names both."""
    snippets = one(await page_of(client, "/"), ".snippets")
    name = str(snippets.attrs["data-script"])
    async with client.get(f"/{name}", headers={"Accept-Encoding": "identity"}) as response:
        assert (response.status, response.content_type) == (200, "text/javascript")
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        script = await response.read()
    assert name == f"embed.{sha256(script).hexdigest()[:12]}.js"
    assert snippets.attrs["data-integrity"] == f"sha384-{b64encode(sha384(script).digest()).decode()}"
    sources = [element.attrs["src"] for element in found(await page_of(client, "/"), "script")]
    assert name in sources


@together
async def test_the_unpinned_script_is_the_newest(client: Client) -> None:
    """`/embed.js` has the same bytes, and browsers ask for it again soon."""
    async with client.get("/embed.js", headers={"Accept-Encoding": "identity"}) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"].startswith("public, max-age=300, ")
        script = await response.read()
    assert script.decode() == await text_of(client, f"/{ASSETS.names['embed.js']}")


@together
async def test_a_hash_that_is_no_longer_there_gets_the_newest(client: Client) -> None:
    """What a cached page names after an upgrade is the file as it is now, for a short time; a pin by SRI protects."""
    for name in ("embed.000000000000.js", "static/strip.000000000000.css", "static/frame.000000000000.js"):
        async with client.get(f"/{name}") as response:
            assert response.status == 200
            assert response.headers["Cache-Control"].startswith("public, max-age=300")


@together
@pytest.mark.parametrize(
    "name",
    [
        "embed.00.js",
        "embed.0000000000000.js",
        "embed.X00000000000.js",
    ],
)
async def test_a_script_that_never_was_is_not_there(client: Client, name: str) -> None:
    """404 as a problem, which no cache keeps."""
    async with client.get(f"/{name}") as response:
        assert (response.status, response.headers["Cache-Control"]) == (404, "no-store")


@together
async def test_every_file_that_a_page_names_is_there(client: Client) -> None:
    """Scripts, styles and the icon, each immutable."""
    for path in ("/embed", "/"):
        page = await page_of(client, path)
        named = [element.attrs["src"] for element in found(page, "script")]
        named += [link.attrs["href"] for link in found(page, "link") if link.attrs["rel"] in ("stylesheet", "icon")]
        assert len(named) >= 3
        for name in named:
            async with client.get(f"/{name}") as response:
                assert response.status == 200
                assert response.headers["Cache-Control"].endswith("immutable")


def test_a_released_script_is_served_for_good(tmp_path: Path) -> None:
    """What sites have pinned stays under its name with its bytes; the newest has a name of its own."""
    folder = Path(__file__).parents[3] / "service" / "web" / "assets"
    pinned = b"// the first release\n"
    (tmp_path / "embed.0123456789ab.js").write_bytes(pinned)
    (tmp_path / "notes.txt").write_text("no script")
    assets = Assets(folder, tmp_path)
    assert assets.files["embed.0123456789ab.js"] == (pinned, "text/javascript; charset=utf-8")
    assert assets.names == ASSETS.names
    assert assets.files.keys() - ASSETS.files.keys() == {"embed.0123456789ab.js"}
