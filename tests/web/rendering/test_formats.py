"""Visible formats of a ticker: they agree with each other, apply all options and link to each other."""

import itertools
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any
from urllib.parse import quote as encoded

import pytest
from justhtml import Element, JustHTML, Node
from lxml import etree
from yarl import URL

from service.domain.periods import PERIODS
from service.settings import Settings
from service.web.http.assets import ASSETS, Assets
from service.web.rendering.formats import FORMATS, SUFFIXES
from service.web.rendering.options import LAYOUTS, SHOWN_VALUES, SIDES, THEMES
from tests.conftest import Started
from tests.support.fixings import APRIL
from tests.support.http import Client, body, until_ready
from tests.support.pages import SVG, json_of, page_of, picture_of, published, select, select_one, text_of
from tests.support.standin import Banks
from tests.support.wait import until

XML = "{http://www.w3.org/XML/1998/namespace}"
NB, NARROW, LEFT = "\u00a0", "\u202f", "\u200e"
SEPARATORS = "\u200f\u00a0\u2003"
"""Characters before the parts of an SVG text: the mark of right-to-left text, and gaps."""
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


shared_loop = pytest.mark.asyncio(loop_scope="module")
"""For read-only tests, which share one service and therefore its event loop."""


def texts(page: Node, selector: str) -> list[str]:
    return [element.to_text(separator="", strip=False) for element in select(page, selector)]


def svg_lines(svg: etree._Element) -> list[list[str]]:
    """Return the lines of an SVG, each as a list of texts without separators."""
    lines = svg.findall(f"{SVG}text")
    return [["".join(map(str, part.itertext())).lstrip(SEPARATORS) for part in line] for line in lines]


@shared_loop
@pytest.mark.parametrize("lang", DOLLAR)
async def test_all_formats_have_the_same_texts(client: Client, lang: str) -> None:
    """Percentages, dates, sentences and details of JSON, fragment, SVG and frame."""
    document = await json_of(client, f"/v1/ticker?lang={lang}")
    texts_of_json = [quote["text"] for quote in document["quotes"]]
    percents = [text["percent"] for text in texts_of_json]
    assert (percents[0], document["text"]["date"]) == DOLLAR[lang]
    assert [text["date"] for text in texts_of_json] == [document["text"]["date"]] * 5

    for path in (f"/v1/ticker.html?lang={lang}", f"/embed?lang={lang}"):
        page = await page_of(client, path)
        assert texts(page, "li .percent") == percents
        assert texts(page, ".date time") == [document["text"]["date"]]
        assert texts(page, ".said") == [text["sentence"] for text in texts_of_json]
        assert [item.attrs["title"] for item in select(page, "li .seen")] == [text["details"] for text in texts_of_json]
        assert texts(page, ".details b") == [text["name"] for text in texts_of_json]
        rates = [f"{text[field]} KZT" for text in texts_of_json for field in ("rate", "previous")]
        assert texts(page, ".details a") == rates
        dates = [text[field] for text in texts_of_json for field in ("date", "previous_date")]
        assert texts(page, ".details a + span") == dates
        assert texts(page, ".details p") == [text["source"] for text in texts_of_json]
        receipts = [receipt for text in texts_of_json for receipt in text["receipts"]]
        assert [f"/{str(link.attrs['href']).lstrip('/')}" for link in select(page, ".details a")] == receipts
        assert select_one(page, ".date").attrs["title"] == document["text"]["footer"]
        assert select_one(page, "ul").attrs["aria-label"] == document["text"]["label"]
        strip = select_one(page, ".ticker")
        assert (strip.attrs["lang"], strip.attrs["dir"]) == (lang, "rtl" if lang == "ar" else "ltr")

    svg = await picture_of(client, f"/v1/ticker.svg?lang={lang}")
    *cells, (date,) = svg_lines(svg)
    turn = "\u200f" if lang == "ar" else ""
    assert ([cell[0] for cell in cells], [cell[1] for cell in cells], date) == (
        CODES,
        percents,
        f"NBK, {turn}{document['text']['date']}",
    )
    assert (svg.get(f"{XML}lang"), svg.get("direction")) == (lang, document["text"]["dir"])
    sentences = "".join(f"{text['sentence']}. " for text in texts_of_json)
    assert svg.findtext(f"{SVG}desc") == f"{sentences}{document['text']['footer']}."
    assert svg.findtext(f"{SVG}title") == f"{document['text']['label']}, {document['text']['date']}"


@shared_loop
@pytest.mark.parametrize("lang", ["kk", "ar"])
async def test_all_formats_have_the_same_values(client: Client, lang: str) -> None:
    """Rate, change and percentage, in this order whatever the order of the request."""
    fields = [value for value in SHOWN_VALUES if value not in SIDES]
    query = f"lang={lang}&show=percent,change,rate&currencies=cny,usd"
    document = await json_of(client, f"/v1/ticker?{query}")
    expected = [[quote["text"][field] for field in fields] for quote in document["quotes"]]
    for path in (f"/v1/ticker.html?{query}", f"/embed?{query}"):
        page = await page_of(client, path)
        columns = [texts(page, f"li .{field}") for field in fields]
        assert [list(row) for row in zip(*columns, strict=True)] == expected
    *cells, _ = svg_lines(await picture_of(client, f"/v1/ticker.svg?{query}"))
    assert [cell[1:4] for cell in cells] == expected


@shared_loop
@pytest.mark.parametrize("path", ["/embed", "/", "/embed?lang=auto", "/v1/ticker.html?lang=auto"])
async def test_page_is_in_the_visitors_language(client: Client, path: str) -> None:
    """By Accept-Language, with `Vary`; English without it."""
    for header, lang in (("ru-RU,ru;q=0.9", "ru-RU"), ("zz, kk;q=0.5", "kk"), ("", "en")):
        async with client.get(path, headers={"Accept-Language": header}) as response:
            assert response.headers["Vary"] == "Accept-Encoding, Accept-Language"
        page = await page_of(client, path, header)
        assert select_one(page, ".ticker").attrs["lang"] == (lang[:2] if path == "/" else lang)


@shared_loop
async def test_untranslated_builder_is_english_throughout(client: Client) -> None:
    """Dates and text direction too."""
    page = await page_of(client, "/?lang=ar")
    assert {element.attrs.get("lang") for element in (select_one(page, "html"), select_one(page, ".ticker"))} == {"en"}
    assert "2 Apr 2026" in texts(page, "td time")
    assert {element.attrs["lang"] for element in select(page, "currency-ticker")} == {"en"}


@shared_loop
async def test_untrusted_host_is_not_in_cacheable_pages(client: Client) -> None:
    """Without public_url a page contains its own URL on loopback only: a shared cache may serve it to others."""
    for path in ("/", "/embed"):
        async with client.get(path, headers={"Host": "evil.example"}) as response:
            assert "evil.example" not in await body(response)
        assert "json+oembed" in await text_of(client, path)


@shared_loop
async def test_svg_and_json_use_the_requested_language(client: Client) -> None:
    """`lang=auto` follows Accept-Language there too, with `Vary`."""
    for path in ("/v1/ticker.svg?lang=auto", "/v1/ticker?lang=auto"):
        async with client.get(path, headers={"Accept-Language": "kk"}) as response:
            assert response.headers["Vary"] == "Accept-Encoding, Accept-Language"
            assert DOLLAR["kk"][0] in await body(response)
    assert (await picture_of(client, "/v1/ticker.svg?lang=auto", "kk")).get(f"{XML}lang") == "kk"


@shared_loop
@pytest.mark.parametrize("path", ["/embed", "/", "/v1/ticker.html", "/v1/ticker.svg", "/v1/ticker"])
async def test_explicit_language_does_not_vary(client: Client, path: str) -> None:
    """The same bytes for every client, so that caches store one response."""
    tags = set()
    for header in ("ru", "de"):
        async with client.get(f"{path}?lang=kk", headers={"Accept-Language": header}) as response:
            assert response.headers["Vary"] == "Accept-Encoding"
            tags.add(response.headers["ETag"])
    assert len(tags) == 1


@shared_loop
async def test_plain_formats_ignore_accept_language(client: Client) -> None:
    """Without `lang`, SVG and fragment are English, and JSON has no texts."""
    for path in ("/v1/ticker.svg", "/v1/ticker.html", "/v1/ticker", "/v1/ticker.txt"):
        async with client.get(path, headers={"Accept-Language": "kk"}) as response:
            assert "Accept-Language" not in response.headers.get("Vary", "")
    assert (await picture_of(client, "/v1/ticker.svg")).get(f"{XML}lang") == "en"
    assert "text" not in await json_of(client, "/v1/ticker")


@shared_loop
@pytest.mark.parametrize("lang", ["zzz", "tlh-Latn", "", "../../x", "%00", "%3Cscript%3E", "x" * 500])
@pytest.mark.parametrize("path", ["/embed", "/v1/ticker.html", "/v1/ticker.svg", "/v1/ticker", "/"])
async def test_unknown_language_falls_back_to_english(client: Client, path: str, lang: str) -> None:
    """It is no error, and the response equals the English one."""
    assert await text_of(client, f"{path}?lang={lang}") == await text_of(client, f"{path}?lang=en")


@shared_loop
@pytest.mark.parametrize("lang", ["en%40x", "kk%40%01", "ru%40%22%3E%3Cscript%3E"])
async def test_language_cannot_inject_markup_into_svg(client: Client, lang: str) -> None:
    """The SVG is well-formed for any value and names a known language."""
    svg = await picture_of(client, f"/v1/ticker.svg?lang={lang}")
    assert svg.get(f"{XML}lang") in ("en", "kk", "ru")


async def bytes_of(client: Client, path: str) -> bytes:
    async with client.get(path) as response:
        assert response.status == 200
        return await response.read()


KNOWN = {"theme": THEMES, "layout": LAYOUTS, "show": SHOWN_VALUES, "period": PERIODS}
"""The parameters of tickers that have known values."""


@shared_loop
@pytest.mark.parametrize("form", SUFFIXES)
async def test_unknown_value_is_refused_or_named_in_each_format(client: Client, form: str) -> None:
    """Every parameter that a format takes: the API lists the known values, what other sites embed falls back."""
    default, taken = await bytes_of(client, f"/v1/ticker.{form}"), FORMATS[form].takes & KNOWN.keys()
    for name in taken:
        async with client.get(f"/v1/ticker.{form}?{name}=nonsense") as response:
            if FORMATS[form].lenient:
                assert (response.status, response.headers["Ticker-Ignored"]) == (200, name)
                continue
            problem = json.loads(await response.read())
            assert (response.status, problem["available"]) == (400, list(KNOWN[name]))
            assert problem["detail"] == f"Unknown {name} 'nonsense'."
        assert await bytes_of(client, f"/v1/ticker.{form}?{name}=") == default
    for name in KNOWN.keys() - taken:
        assert await bytes_of(client, f"/v1/ticker.{form}?{name}=nonsense") == default


@shared_loop
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/ticker.svg", "live, on, scale, speed"),
        ("/v1/ticker/kzt.svg", "live, on, scale, speed"),
        ("/v1/ticker.png", "font, live, on, speed"),
        ("/v1/ticker.html", "down, font, ink, live, on, radius, scale, size, speed, surface, up, width"),
        ("/v1/ticker.atom", "layout, live, on, period, scale, show, size, spark, theme, width"),
        ("/embed", "on, scale, width"),
        ("/v1/ticker", ""),
        ("/v1/ticker.txt", ""),
    ],
)
async def test_option_of_another_format_is_named(client: Client, path: str, names: str) -> None:
    """E.g. `on`: today's rates are shown instead of those of the date. JSON and text take it."""
    plain = {"Accept-Encoding": "identity"}
    async with client.get(f"{path}?on=", headers=plain) as response:
        assert "Ticker-Ignored" not in response.headers
        default = await response.read()
    if not names:
        async with client.get(f"{path}?on=2026-04-02") as response:
            assert (response.status, "Ticker-Ignored" in response.headers) == (200, False)
        return
    values = {"theme": "dark", "layout": "list", "show": "rate", "period": "week", "font": "serif"}
    query = "&".join(f"{name}={values.get(name, '20')}" for name in [*names.split(", "), "x"])
    async with client.get(f"{path}?{query}", headers=plain) as response:
        assert (response.status, response.headers["Ticker-Ignored"]) == (200, names)
        assert response.headers["Access-Control-Expose-Headers"] == "ETag, Ticker-Ignored"
        comment = f"<!-- These parameters are not supported here and were ignored: {names} -->\n".encode()
        has_comment = not path.endswith((".png", ".atom"))
        assert (await response.read()).replace(comment, b"", has_comment) == default
    async with client.get(f"{path}?on=2026-04-02&lang=kk&currencies=usd") as response:
        assert (response.status, response.headers["Ticker-Ignored"]) == (200, "on")


@shared_loop
@pytest.mark.parametrize(
    ("show", "unknown"),
    [
        ("percent,volume", "volume"),
        ("rate,change,percent,buy,foo", "foo"),
        ("rate;change", "rate;change"),
        ("x,rate,,y", "x, y"),
        ("1", "1"),
    ],
)
async def test_text_refuses_unknown_values_to_show(client: Client, show: str, unknown: str) -> None:
    """Also beside known ones, for each ticker and date; separators may be repeated, and letters be capital."""
    for path in ("/v1/ticker.txt?", "/v1/ticker/kzt.txt?", "/v1/ticker.txt?on=2026-04-02&"):
        assert f"Unknown show {unknown!r}." in await text_of(client, f"{path}show={encoded(show)}", 400)
    assert await text_of(client, "/v1/ticker.txt?show=,Rate,%20CHANGE,") == await text_of(
        client, "/v1/ticker.txt?show=rate,change"
    )


@shared_loop
@pytest.mark.parametrize("path", ["/embed", "/v1/ticker.html", "/v1/ticker.svg"])
@pytest.mark.parametrize(
    ("query", "equal", "ignored"),
    [
        ("theme=pink", "", "theme"),
        ("theme=Dark", "theme=dark", ""),
        ("layout=grid", "", "layout"),
        ("layout=grid&theme=dark", "theme=dark", "layout"),
        ("show=percent,volume", "", "show"),
        ("layout=list&show=volume", "layout=list", "show"),
        ("currencies=usd,xyz", "currencies=usd", "currencies"),
        ("currencies=usd,--%3E%3Cscript%3E", "currencies=usd", "currencies"),
        ("currencies=usd,xyz&theme=pink&layout=grid&show=x", "currencies=usd", "currencies, theme, layout, show"),
        (f"theme={'x' * 1000}", "", "theme"),
    ],
)
async def test_unknown_values_are_ignored_in_other_sites(
    client: Client, path: str, query: str, equal: str, ignored: str
) -> None:
    """An error would be visible to visitors; the names of the parameters are in a header and a comment."""
    text = await text_of(client, f"{path}?{query}")
    comment = f"<!-- Unknown values of these parameters were ignored: {ignored} -->\n"
    async with client.get(f"{path}?{query}") as response:
        assert response.headers.get("Ticker-Ignored", "") == ignored
        assert response.headers["Access-Control-Expose-Headers"] == ("ETag, Ticker-Ignored" if ignored else "ETag")
    assert text.count(comment) == bool(ignored)
    attribute = f' data-ignored="{ignored}"' if ignored else ""
    assert text.replace(comment, "").replace(attribute, "") == await text_of(client, f"{path}?{equal}")


@shared_loop
@pytest.mark.parametrize("path", ["/embed", "/v1/ticker.html", "/v1/ticker.svg"])
@pytest.mark.parametrize("layout", ["strip&width=160", "list", "list&width=160&spark=1", "tape"])
async def test_only_unknown_currencies_show_no_other_ones(client: Client, path: str, layout: str) -> None:
    text = await text_of(client, f"{path}?currencies=xyz,zzz&lang=en&layout={layout}")
    assert "%" not in re.sub(r"<[^>]*>", "", text)
    assert "2026" in text


@shared_loop
@pytest.mark.parametrize("lang", ["en", "ru", "ar"])
async def test_only_unknown_currencies_leave_the_date_alone(client: Client, lang: str) -> None:
    """Without the punctuation that separates it from sources."""
    words = (await json_of(client, f"/v1/ticker?lang={lang}"))["text"]
    day = words["date"]
    query = f"currencies=xyz&lang={lang}"
    for path in ("/v1/ticker.html", "/embed"):
        page = await page_of(client, f"{path}?{query}")
        assert texts(page, ".date") == [day]
        footer = str(select_one(page, ".date").attrs["title"])
        assert words["footer"].startswith(footer.removesuffix("."))
        assert texts(await page_of(client, f"{path}?{query}&layout=list"), ".date") == [footer]
        assert not footer.endswith((". ", ".."))
    svg = await picture_of(client, f"/v1/ticker.svg?{query}")
    assert svg_lines(svg) == [[day]]
    assert svg.findtext(f"{SVG}desc") == f"{footer.removesuffix('.')}."
    assert svg_lines(await picture_of(client, f"/v1/ticker.svg?{query}&layout=list")) == [[footer]]


@shared_loop
@pytest.mark.parametrize("path", ["/v1/ticker?lang=en", "/v1/ticker.txt"])
async def test_unknown_currency_in_the_api_is_an_error(client: Client, path: str) -> None:
    separator = "&" if "?" in path else "?"
    problem = json.loads(await text_of(client, f"{path}{separator}currencies=usd,xyz", 400))
    assert "Unknown currency 'XYZ'" in problem["detail"]
    assert problem["available"] == list(CODES)


@shared_loop
async def test_inapplicable_parameters_are_ignored(client: Client) -> None:
    """JSON and text have no theme or layout; unknown parameters are ignored too."""
    for path in ("/v1/ticker", "/v1/ticker.txt"):
        assert await text_of(client, f"{path}?theme=pink&layout=grid&utm_source=x") == await text_of(client, path)


@shared_loop
async def test_svg_is_accessible_and_has_no_styles(client: Client) -> None:
    """Mail clients and strict policies keep it intact; screen readers get its title and description."""
    for query in ("", "?layout=list&width=200", "?theme=dark&show=rate,change,percent&lang=ar"):
        svg = await picture_of(client, f"/v1/ticker.svg{query}")
        assert svg.tag == f"{SVG}svg"
        assert svg.get("role") == "img"
        for attribute, name in (("aria-labelledby", "title"), ("aria-describedby", "desc")):
            (named,) = svg.findall(f"*[@id='{svg.get(attribute)}']")
            assert named.tag == f"{SVG}{name}"
            assert named.text
        for element in svg.iter(etree.Element):
            assert element.tag in {f"{SVG}{name}" for name in ("svg", "title", "desc", "rect", "path", "text", "tspan")}
            assert not {"style", "class", "href", "onload"} & set(map(str, element.attrib))
        width, height = (int(str(svg.get(name))) for name in ("width", "height"))
        assert svg.get("viewBox") == f"0 0 {width} {height}"


@shared_loop
async def test_svg_has_themes(client: Client) -> None:
    """Dark has other colours throughout, transparent has no surface, and the default is light."""

    def colours(svg: etree._Element) -> dict[str, set[str]]:
        surface = svg.find(f"{SVG}rect")
        assert surface is not None
        return {
            "surface": {str(surface.get("fill")), str(surface.get("stroke"))},
            "ink": {str(part.get("fill")) for part in svg.iter(f"{SVG}tspan")},
        }

    by_theme = {theme: colours(await picture_of(client, f"/v1/ticker.svg?theme={theme}")) for theme in THEMES}
    assert colours(await picture_of(client, "/v1/ticker.svg")) == by_theme["light"] == by_theme["auto"]
    (style,) = await styles_of(client)
    assert by_theme["dark"]["ink"] <= set(re.findall("#[0-9a-f]+", style))
    assert by_theme["transparent"] == {"surface": {"none"}, "ink": by_theme["light"]["ink"]}
    assert not by_theme["dark"]["surface"] & by_theme["light"]["surface"]
    assert not by_theme["dark"]["ink"] & by_theme["light"]["ink"]


async def styles_of(client: Client) -> list[str]:
    """Return the style sheets of the SVG whose theme follows the visitor's colour scheme."""
    svg = await picture_of(client, "/v1/ticker.svg?theme=auto")
    return ["".join(map(str, style.itertext())) for style in svg.findall(f"{SVG}style")]


@shared_loop
async def test_style_of_svg_is_allowed_by_its_policy(client: Client) -> None:
    """The theme that follows the visitor's colour scheme needs one; the policy names its hash."""
    (style,) = await styles_of(client)
    async with client.get("/v1/ticker.svg?theme=auto") as response:
        policy = response.headers["Content-Security-Policy"]
    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert style.startswith("@media(prefers-color-scheme:dark){")


@shared_loop
@pytest.mark.parametrize(
    ("width", "expected"), [("320", 320), ("1", 160), ("160", 160), ("1280", 1280), ("9" * 40, 1280)]
)
async def test_svg_has_the_requested_width(client: Client, width: str, expected: int) -> None:
    """Moved into the bounds; all texts of the row are there, wrapped."""
    for layout in ("strip", "list"):
        svg = await picture_of(client, f"/v1/ticker.svg?layout={layout}&width={width}")
        assert svg.get("width") == str(expected)
        words = " ".join(itertools.chain(*svg_lines(svg))).split()
        natural = " ".join(itertools.chain(*svg_lines(await picture_of(client, f"/v1/ticker.svg?layout={layout}"))))
        assert sorted(words) == sorted(natural.split())
        assert {*CODES, "-0.77%", "+0.44%", "0.00%", "-0.02%", "-0.27%"} <= set(words)


@shared_loop
@pytest.mark.parametrize("width", ["", "0x10", "-320", "320px", "3.2e2", "٣٢٠"])
async def test_unusable_width_is_ignored(client: Client, width: str) -> None:
    """A picture on another site shows rates rather than an error."""
    text = await text_of(client, f"/v1/ticker.svg?width={encoded(width)}")
    comment = "<!-- Unknown values of these parameters were ignored: width -->\n"
    assert text.count(comment) == bool(width)
    assert text.replace(comment, "") == await text_of(client, "/v1/ticker.svg")


@shared_loop
@pytest.mark.parametrize("path", ["/embed", "/v1/ticker.html"])
async def test_list_has_names_rates_and_a_footer(client: Client, path: str) -> None:
    """One line per currency; below, dates and sources."""
    document = await json_of(client, "/v1/ticker?lang=kk")
    page = await page_of(client, f"{path}?lang=kk&layout=list&theme=dark")
    texts_of_json = [quote["text"] for quote in document["quotes"]]
    assert texts(page, "li .name") == [text["name"] for text in texts_of_json]
    assert texts(page, "li .rate") == [text["rate"] for text in texts_of_json]
    assert texts(page, "li .percent") == [text["percent"] for text in texts_of_json]
    assert texts(page, ".date") == [document["text"]["footer"]]
    assert {"ticker", "list", "dark"} <= set(str(select_one(page, ".ticker").attrs["class"]).split())


@shared_loop
async def test_svg_list_has_one_line_per_currency(client: Client) -> None:
    """With names, then the footer; the lines are in order and inside the image."""
    document = await json_of(client, "/v1/ticker?lang=kk")
    svg = await picture_of(client, "/v1/ticker.svg?lang=kk&layout=list")
    *lines, footer = svg_lines(svg)
    for quote, name, values in zip(document["quotes"], lines[::2], lines[1::2], strict=True):
        text = quote["text"]
        assert name == [quote["code"], text["name"]]
        assert values[1:3] == [text["rate"], text["percent"]]
    assert footer == [document["text"]["footer"]]
    positions = [int(str(line.get("y"))) for line in svg.findall(f"{SVG}text")]
    assert positions == sorted(positions)
    assert positions[-1] < int(str(svg.get("height")))


async def test_fallback_source_is_shown_in_every_format(start: Started, banks: Banks) -> None:
    """The note is visible in a list and in the accessible text of each format."""
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
    assert texts(page, "li .note") == texts(page, ".details p") == [note] * 5
    assert all(sentence.partition(",")[0] and f"({note})" in sentence for sentence in texts(page, ".said"))
    description = (await picture_of(client, "/v1/ticker.svg")).findtext(f"{SVG}desc")
    assert str(description).count(f"({note})") == 5


async def test_source_name_is_escaped_in_every_format(settings: Settings, start: Started, banks: Banks) -> None:
    """An operator can set any name; it is shown literally."""
    name = '"><script>x</script> & Söhne <b>'
    nbk = settings.sources["nbk"].model_copy(update={"name": name})
    published(banks)
    client = await start(settings.model_copy(update={"sources": {**settings.sources, "nbk": nbk}}))
    await until_ready(client)
    footer = f"2 April 2026 compared with 1 April 2026. {name}"
    for path in ("/embed?layout=list&lang=en", "/v1/ticker.html?layout=list"):
        page = await page_of(client, path)
        assert texts(page, ".date") == [footer]
        assert str(select(page, "li .seen")[0].attrs["title"]).endswith(f". {name}")
    assert name in texts(await page_of(client, "/"), "td")
    assert str((await picture_of(client, "/v1/ticker.svg")).findtext(f"{SVG}desc")).endswith(f"{footer}.")
    assert svg_lines(await picture_of(client, "/v1/ticker.svg?layout=list"))[-1] == [footer]


def origin(client: Client) -> str:
    return str(client.make_url("")).rstrip("/")


async def oembed_of(client: Client, url: str, **options: str) -> Any:
    """Return the oEmbed response for a URL."""
    query = URL.build(path="/oembed", query={"url": url, **options})
    return json.loads(await text_of(client, str(query)))


def frame_of(document: Mapping[str, Any]) -> Element:
    """Return the frame, which is the only element of the HTML."""
    page = JustHTML(document["html"], sanitize=False, strict=True, fragment=True).root
    assert [node.name for node in page.children or ()] == ["iframe"]
    return select_one(page, "iframe")


@shared_loop
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
async def test_oembed_returns_a_working_frame(client: Client, pasted: str) -> None:
    """All fields of a rich response, and HTML whose frame shows the pasted page."""
    document = await oembed_of(client, f"{origin(client)}{pasted}")
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
    assert select_one(page, "ul").attrs["aria-label"] == document["title"]


@shared_loop
async def test_frame_does_not_exceed_the_available_width(client: Client) -> None:
    """A small maxwidth wraps the strip, maxheight limits it; more space than needed changes nothing."""
    url = f"{origin(client)}/embed"
    unlimited = await oembed_of(client, url)
    narrow = await oembed_of(client, url, maxwidth="300")
    flat = await oembed_of(client, url, maxwidth="300", maxheight="60")
    assert (narrow["width"], flat["width"], flat["height"]) == (300, 300, 60)
    assert narrow["height"] > unlimited["height"]
    wide = await oembed_of(client, url, maxwidth="5000", maxheight="5000")
    assert (wide["width"], wide["height"]) == (unlimited["width"], unlimited["height"])
    for layout in LAYOUTS:
        small = await oembed_of(client, f"{url}?layout={layout}", maxwidth="1", maxheight="1")
        assert (small["width"], small["height"]) == (1, 1)


@shared_loop
@pytest.mark.parametrize("name", ["maxwidth", "maxheight"])
@pytest.mark.parametrize("size", ["0", "-1", "x", "1.5", "", "999999", "%D9%A3", "1e3"])
async def test_maxwidth_and_maxheight_must_be_numbers(client: Client, name: str, size: str) -> None:
    """The problem names the parameter."""
    problem = json.loads(await text_of(client, f"/oembed?url={origin(client)}/embed&{name}={size}", 400))
    assert name in problem["detail"]


@shared_loop
async def test_other_oembed_formats_are_not_implemented(client: Client) -> None:
    """501 as in the oEmbed specification; `format=json` is accepted."""
    url = f"{origin(client)}/embed"
    for name in ("xml", "XML", "yaml", ""):
        problem = json.loads(await text_of(client, f"/oembed?url={url}&format={name}", 501))
        assert "format=json" in problem["detail"]
    assert await text_of(client, f"/oembed?url={url}&format=json") == await text_of(client, f"/oembed?url={url}")


@shared_loop
async def test_oembed_requires_a_url(client: Client) -> None:
    """400 without it."""
    assert "url is missing" in json.loads(await text_of(client, "/oembed", 400))["detail"]


@shared_loop
@pytest.mark.parametrize(
    "url",
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
async def test_foreign_url_is_not_embedded(client: Client, url: str) -> None:
    """404, however similar it is to one of ours."""
    own = URL(origin(client))
    url = url.format(own=origin(client), scheme=own.scheme, host=own.authority)
    problem = json.loads(await text_of(client, str(URL.build(path="/oembed", query={"url": url})), 404))
    assert "url must be that of an /embed page" in problem["detail"]


@shared_loop
@pytest.mark.parametrize(
    ("pasted", "status", "detail"),
    [
        ("/embed?ticker=zzz", 404, "Unknown ticker 'zzz'"),
        ("/embed?currencies=zzz", 404, "The ticker kzt has none of the currencies in the URL"),
        ("/embed?" + "&".join(f"a{number}=1" for number in range(60)), 404, "Unknown URL"),
    ],
)
async def test_url_of_an_invalid_strip_is_reported(client: Client, pasted: str, status: int, detail: str) -> None:
    """`/embed` would respond with an error."""
    query = URL.build(path="/oembed", query={"url": f"{origin(client)}{pasted}"})
    assert detail in json.loads(await text_of(client, str(query), status))["detail"]


@shared_loop
async def test_oembed_frame_keeps_live_updates(client: Client) -> None:
    """Both the frame and the page that is opened directly use the stream."""
    for pasted in ("/embed?live=1", "/embed?live=", "/embed?live"):
        opened = await page_of(client, pasted)
        assert "data-stream" in select_one(opened, "body").attrs
        frame = frame_of(await oembed_of(client, f"{origin(client)}{pasted}"))
        assert URL(str(frame.attrs["src"])).query.get("live") == "1", pasted


@pytest.mark.parametrize("public", ["https://ticker.example", "https://ticker.example/", "https://bank.example/ticker"])
async def test_configured_public_url_is_used(settings: Settings, start: Started, banks: Banks, public: str) -> None:
    """Behind a proxy the Host header differs: provider URL, frame and discovery link use public_url."""
    http = settings.http.model_copy(update={"public_url": public})
    published(banks)
    client = await start(settings.model_copy(update={"http": http}))
    await until_ready(client)
    root = public.rstrip("/")
    document = await oembed_of(client, f"{root}/embed?lang=kk")
    assert document["provider_url"] == f"{root}/"
    assert frame_of(document).attrs["src"] == f"{root}/embed?lang=kk"
    await text_of(client, f"/oembed?url={origin(client)}/embed", 404)
    receipt = select(await page_of(client, "/v1/ticker.html?currencies=usd"), ".details a")[0]
    assert receipt.attrs["href"] == f"{root}/fixings/nbk/2026-04-02?lang=en"
    link = select_one(await page_of(client, "/embed?lang=kk"), 'link[type="application/json+oembed"]')
    url = URL(str(link.attrs["href"]))
    assert str(url).startswith(f"{root}/oembed?")
    assert url.query["url"] == f"{root}/embed?lang=kk"


@shared_loop
@pytest.mark.parametrize(
    "path",
    ["/embed", "/", "/embed?lang=kk&layout=list&spark=1", "/embed?currencies=usd&show=rate,change&live=1&theme=dark"],
)
async def test_page_links_to_its_oembed(client: Client, path: str) -> None:
    """The linked response has a frame of that page, or of the strip if linked from the builder."""
    link = select_one(await page_of(client, path), 'link[type="application/json+oembed"]')
    url = URL(str(link.attrs["href"]))
    assert str(url.origin()) == origin(client)
    document = await json_of(client, str(url.relative()))
    assert document["title"] == link.attrs["title"]
    source = URL(str(frame_of(document).attrs["src"]))
    assert (source.path, dict(source.query)) == ("/embed", dict(URL(path).query))


@shared_loop
@pytest.mark.parametrize("host", ['"><script>x</script>', "a b", "h/../x", "h?x", "user@h", "[::1", "h:1:2", "x" * 300])
async def test_malformed_host_is_not_linked(client: Client, host: str) -> None:
    """The page is served without a discovery link."""
    for path in ("/embed", "/"):
        async with client.get(path, headers={"Host": host}) as response:
            text = await body(response)
            if response.status == 400:  # refused by the HTTP server
                continue
        page = JustHTML(text, sanitize=False, strict=True).root
        assert select(page, 'link[type="application/json+oembed"]') == []
        assert host not in text


@shared_loop
async def test_script_is_pinned(client: Client) -> None:
    """Its name and SRI digest match its bytes, it is immutable, and the builder names both."""
    code = select_one(await page_of(client, "/"), "#code")
    name = str(code.attrs["data-script"])
    async with client.get(f"/{name}", headers={"Accept-Encoding": "identity"}) as response:
        assert (response.status, response.content_type) == (200, "text/javascript")
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        script = await response.read()
    assert name == f"embed.{sha256(script).hexdigest()[:12]}.js"
    assert code.attrs["data-integrity"] == f"sha384-{b64encode(sha384(script).digest()).decode()}"
    sources = [element.attrs["src"] for element in select(await page_of(client, "/"), "script")]
    assert name in sources


@shared_loop
async def test_unpinned_script_is_the_latest(client: Client) -> None:
    """`/embed.js` has the same bytes and is revalidated soon."""
    async with client.get("/embed.js", headers={"Accept-Encoding": "identity"}) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"].startswith("public, max-age=300, ")
        script = await response.read()
    assert script.decode() == await text_of(client, f"/{ASSETS.names['embed.js']}")


@shared_loop
async def test_outdated_hash_gets_the_latest_file(client: Client) -> None:
    """A page cached before an upgrade gets the current file for a short time; SRI protects pinned scripts."""
    for name in ("embed.000000000000.js", "static/strip.000000000000.css", "static/frame.000000000000.js"):
        async with client.get(f"/{name}") as response:
            assert response.status == 200
            assert response.headers["Cache-Control"].startswith("public, max-age=300")


@shared_loop
@pytest.mark.parametrize(
    "name",
    [
        "embed.00.js",
        "embed.0000000000000.js",
        "embed.X00000000000.js",
    ],
)
async def test_invalid_hash_is_not_found(client: Client, name: str) -> None:
    """404 as a problem that is not cached."""
    async with client.get(f"/{name}") as response:
        assert (response.status, response.headers["Cache-Control"]) == (404, "no-store")


@shared_loop
async def test_every_linked_file_exists(client: Client) -> None:
    """Scripts, style sheets and the icon are immutable."""
    for path in ("/embed", "/"):
        page = await page_of(client, path)
        urls = [element.attrs["src"] for element in select(page, "script")]
        urls += [link.attrs["href"] for link in select(page, "link") if link.attrs["rel"] in ("stylesheet", "icon")]
        assert len(urls) >= 3
        for name in urls:
            async with client.get(f"/{name}") as response:
                assert response.status == 200
                assert response.headers["Cache-Control"].endswith("immutable")


def test_released_script_stays_available(tmp_path: Path) -> None:
    """Its name and bytes stay for sites that pinned it; the latest has another name."""
    folder = Path(__file__).parents[3] / "service" / "web" / "assets"
    pinned = b"// the first release\n"
    (tmp_path / "embed.0123456789ab.js").write_bytes(pinned)
    (tmp_path / "notes.txt").write_text("no script")
    assets = Assets(folder, tmp_path)
    assert assets.files["embed.0123456789ab.js"] == (pinned, "text/javascript; charset=utf-8")
    assert assets.names == ASSETS.names
    assert assets.files.keys() - ASSETS.files.keys() == {"embed.0123456789ab.js"}
