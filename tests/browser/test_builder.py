"""The embed builder at `/`."""

import re
import struct
from collections.abc import Callable
from gzip import compress
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, axe_report, case
from tests.browser.element import visible_text
from tests.browser.site import OLD, Site
from tests.support.wait import wait_until

KINDS: Final = ("element", "iframe", "wordpress", "react", "svg", "email", "json", "html", "oembed")
MAX_SIZE: Final = 40_000
"""Bytes of the page with all its assets, compressed."""
MANY: Final = {"id": "kzt", "base": "KZT", "currencies": [*OLD, "CHF", "JPY", "TRY", "UZS", "KGS"], "sources": ["nbk"]}
NO_CLIPBOARD: Final = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
"""A page that is served by http has no clipboard; one of this computer has it."""


def preview_of(page: Page) -> Locator:
    """Wait until the preview shows rates, and return it."""
    preview = page.locator(".stage currency-ticker")
    expect(preview.locator("li:visible").first).to_be_visible()
    return preview


def given(page: Page) -> Locator:
    """Return what the preview shows instead of the element."""
    return page.locator(".stage .given")


def builder(open_page: Open, site: Site, fragment: str = "", lang: str = "en", **options: Any) -> Page:
    page = open_page(f"{site.service}/?lang={lang}{fragment and f'#{fragment}'}", **options).page
    expect(page.locator("#code code")).not_to_be_empty()
    expect(page.locator(".stage currency-ticker li").first).to_be_attached()
    return page


def choose(page: Page, group: str, label: str) -> None:
    page.get_by_role("group", name=group).get_by_role("radio", name=label, exact=True).check()


def embed_code(page: Page, kind: str = "") -> str:
    """Return the embed code of a kind; by default that which is shown."""
    if kind:
        page.locator(f"[role=tab][id={kind}]").click()
    return page.locator("#code code").text_content() or ""


def query_of(code: str) -> dict[str, str]:
    """Return the query parameters of the first URL in embed code that has some, but not the width of an image."""
    url = re.search(r'(?:https?:/)?/[^\s"]*\?[^\s"]*', code)
    return (
        {
            name: values[0]
            for name, values in parse_qs(urlsplit(url[0].replace("&amp;", "&")).query).items()
            if name not in ("width", "scale")
        }
        if url
        else {}
    )


def picked(page: Page) -> list[str]:
    return [text.split()[0] for text in page.locator(".currencies li:has(:checked) label").all_inner_texts()]


def heights(code: str) -> tuple[int, int]:
    """Return the heights that an embed code, or the value in it, reserves on wide pages and on phones."""
    found = re.search(r"(?:min-height:|^)(?:(\d+)px|clamp\((\d+)px,480000px - 100000vw,(\d+)px\))", code)
    assert found, code
    plain, wide, phone = found.groups()
    return int(plain or wide), int(plain or phone)


def test_choices_apply_to_preview_and_every_kind_of_code(site: Site, open_page: Open) -> None:
    """Cover currencies, language, theme, layout, values and live updates."""
    watched = open_page(f"{site.service}/?lang=en")
    page = watched.page
    preview = preview_of(page)
    page.get_by_role("checkbox", name="EUR").uncheck()
    page.get_by_role("checkbox", name="RUB").uncheck()
    page.get_by_role("combobox", name="Language").select_option("kk")
    expect(preview.locator(".percent:visible").first).to_have_text("+1,35%")
    choose(page, "Theme", "Dark")
    choose(page, "Layout", "List")
    expect(preview.locator(".rate:visible").first).to_have_text("405,40")
    page.get_by_role("checkbox", name="Change").check()
    page.get_by_role("checkbox", name="Live updates").check()
    expect(preview.locator(".ticker:visible")).to_have_class(re.compile(r"\blist\b.*\bdark\b"))
    assert "usd АҚШ доллары 405,40 +5,40 +1,35% ▲ gbp" in visible_text(preview)
    shown = preview.bounding_box()
    assert shown
    code = {kind: embed_code(page, kind) for kind in KINDS}
    look = {"currencies": "usd,gbp,cny", "lang": "kk", "theme": "dark", "layout": "list", "show": "rate,change,percent"}
    attributes = " ".join(f'{name}="{value}"' for name, value in look.items())
    reserved = re.search(
        rf'<currency-ticker {attributes} live style="display:block;min-height:([^"]+)"><a href="[^"]+">'
        "Валюта бағамдарының теңгеге қатысты өзгерісі</a>",
        code["element"],
    )
    assert reserved
    assert 0 <= heights(reserved[1])[0] - shown["height"] <= 1
    assert "\n" not in code["element"]
    script = f'<script type="module" src="{site.service}/embed.js"></script>'
    assert code["element"].startswith(script)
    assert script in code["react"]
    high = reserved[1].removesuffix("px") if reserved[1].endswith("px") else f'"{reserved[1]}"'
    assert f'<currency-ticker {attributes} live style={{{{ display: "block", minHeight: {high} }}}}>' in code["react"]
    assert code["wordpress"] == f'[currency_ticker {attributes} live="1"]'
    assert query_of(code["iframe"]) == query_of(code["oembed"]) == {**look, "live": "1"}
    assert query_of(code["svg"]) == query_of(code["html"]) == look
    assert query_of(code["email"].partition("<img")[2]) == look
    assert query_of(code["json"]) == {"currencies": "usd,gbp,cny", "lang": "kk"}
    for attribute in ('frameborder="0"', 'style="display:block;border:0"', 'loading="lazy"'):
        assert attribute in code["iframe"]
    assert '<!--#include virtual="/v1/ticker.html?' in code["html"]
    for kind in ("iframe", "svg", "email", "json", "oembed"):
        url = re.search(r'https?:[^"]+', code[kind])
        assert url
        assert page.request.get(url[0].replace("&amp;", "&")).ok
    assert watched.console == []


def test_period_applies_to_preview_url_and_every_kind_of_code(site: Site, open_page: Open) -> None:
    """It is selected by the keyboard; the change since the previous publication is the default, which no code names."""
    watched = open_page(f"{site.service}/?lang=en")
    page = watched.page
    preview = preview_of(page)
    change = preview.locator(".quote:visible .percent").first
    expect(change).to_have_text("+1.35%")
    assert all("period" not in embed_code(page, kind) for kind in KINDS)
    embed_code(page, "element")
    periods = page.get_by_role("group", name="Period of the change")
    periods.get_by_role("radio", name="Day").focus()
    page.keyboard.press("ArrowRight")
    expect(periods.get_by_role("radio", name="Week")).to_be_focused()
    expect(periods.get_by_role("radio", name="Week")).to_be_checked()
    week = page.request.get(f"{site.service}/v1/ticker?lang=en&period=week").json()["quotes"][0]["text"]["percent"]
    assert week != "+1.35%"
    expect(change).to_have_text(week)
    expect(page.locator("#code mark").first).to_have_text('period="week"')
    code = {kind: embed_code(page, kind) for kind in KINDS}
    assert '<currency-ticker period="week" style=' in code["element"]
    assert '<currency-ticker period="week" style=' in code["react"]
    assert code["wordpress"] == '[currency_ticker period="week"]'
    for kind in ("iframe", "svg", "email", "html", "oembed", "json"):
        with case(kind):
            assert query_of(code[kind].partition("<img")[2] if kind == "email" else code[kind])["period"] == "week"
    embed_code(page, "iframe")
    expect(given(page).frame_locator("iframe").locator(".percent:visible").first).to_have_text(week)
    page.reload()
    expect(periods.get_by_role("radio", name="Week")).to_be_checked()
    assert urlsplit(page.url).fragment == "period=week&tab=iframe"
    assert watched.console == []


def test_period_without_history_is_said(site: Site, open_page: Open) -> None:
    """The site has two weeks of rates: a dash in the preview could be taken for an error."""
    page = builder(open_page, site, "period=year")
    note = page.locator("#unreached")
    expect(preview_of(page).locator(".percent:visible").first).to_have_text("—")
    expect(note).to_have_text(
        "The history of rates is shorter than this period: a dash is shown instead of the change."
    )
    choose(page, "Period of the change", "Week")
    expect(note).to_be_empty()


@pytest.mark.parametrize(
    ("lang", "group", "names"),
    [
        pytest.param(
            "en", "Period of the change", ["Day", "Week", "Month", "Year", "Year to date"], marks=pytest.mark.slow
        ),
        ("ru", "Период изменения", ["День", "Неделя", "Месяц", "Год", "С начала года"]),
        pytest.param("kk", "Өзгеріс кезеңі", ["Күн", "Апта", "Ай", "Жыл", "Жыл басынан"], marks=pytest.mark.slow),
    ],
)
def test_periods_are_translated(site: Site, open_page: Open, lang: str, group: str, names: list[str]) -> None:
    page = builder(open_page, site, lang=lang)
    expect(page.get_by_role("group", name=group).locator("label")).to_have_text(names)


def test_code_gives_the_language_of_the_preview(site: Site, open_page: Open) -> None:
    """Frame, image, fragment and JSON have no page whose language they could follow: they get that of the builder."""
    page = builder(open_page, site, lang="ru")
    for kind in ("iframe", "svg", "email", "json", "html", "oembed"):
        with case(kind):
            assert query_of(embed_code(page, kind))["lang"] == "ru"
    assert "lang=" not in embed_code(page, "element").partition("<a ")[0]
    shown = visible_text(preview_of(page))
    frame = re.search('src="([^"]+)"', embed_code(page, "iframe"))
    assert frame
    page.goto(frame[1])
    assert visible_text(page.locator("body")) == shown


def test_frame_and_image_have_the_scheme_of_the_ground(site: Site, open_page: Open) -> None:
    """They cannot follow that of the page; the element can."""
    page = builder(open_page, site, "ground=dark")
    expected = dict.fromkeys(("iframe", "svg", "email", "oembed"), "dark") | {"html": None, "element": None}
    for kind, theme in expected.items():
        with case(kind):
            assert query_of(embed_code(page, kind)).get("theme") == theme
    choose(page, "Theme", "Visitor's system")
    assert query_of(embed_code(page, "iframe"))["theme"] == "system"


def test_frame_looks_like_the_preview(site: Site, open_page: Open) -> None:
    """Own colours, size, radius, font and speed work in the frame, under its policy and without JavaScript."""
    style = "surface=fffdf5&ink=222244&up=0a7a3d&down=b3261e&size=18&radius=3&font=serif&speed=60&layout=tape"
    page = builder(open_page, site, style)
    code = embed_code(page, "iframe")
    assert {*style.split("&")} < {f"{name}={value}" for name, value in query_of(code).items()}
    source = re.search('src="([^"]+)"', code)
    assert source
    frame = open_page(source[1].replace("&amp;", "&"))
    still = open_page(source[1].replace("&amp;", "&"), java_script_enabled=False)
    names = ["backgroundColor", "color", "borderColor", "fontSize", "borderRadius", "fontFamily"]
    shown = "(node, names) => names.map((name) => getComputedStyle(node)[name])"
    expected = page.locator(".stage .ticker").evaluate(shown, names)
    date = preview_of(page).locator(".date").evaluate(shown, ["color"])
    for other in (frame.page, still.page):
        assert other.locator(".ticker").evaluate(shown, names) == expected
        assert other.locator(".date").evaluate(shown, ["color"]) == date
    expect(frame.page.locator("ul").first).to_have_css("animation-duration", "60s")
    assert frame.console == []


def test_sparklines_are_offered_only_for_lists(site: Site, open_page: Open) -> None:
    """A list has them in preview and code; other layouts cannot show them."""
    page = builder(open_page, site)
    preview, box = preview_of(page), page.get_by_role("checkbox", name="Sparkline")
    expect(box).not_to_be_visible()
    choose(page, "Layout", "List")
    expect(box).not_to_be_checked()
    box.check()
    expect(preview.get_by_role("img")).to_have_count(5)
    assert '<currency-ticker layout="list" spark style=' in embed_code(page, "element")
    for kind in ("iframe", "svg", "html", "oembed"):
        with case(kind):
            assert query_of(embed_code(page, kind)) == {"lang": "en", "layout": "list", "spark": "1"}
    choose(page, "Layout", "Scrolling")
    expect(box).not_to_be_visible()
    assert query_of(embed_code(page, "oembed")) == {"lang": "en", "layout": "tape"}
    assert "spark" not in embed_code(page, "element")


def test_choices_are_in_the_url(site: Site, open_page: Open) -> None:
    """A reload and a shared link restore them; links to other languages keep them; requests of the page have none."""
    fragment = (
        "currencies=cny,usd&lang=kk&theme=light&layout=tape&show=percent&period=week&live=1&surface=fffdf5&ink=222222&up=0a7a3d"
        "&down=b3261e&size=18&radius=0&font=serif&speed=60&tab=iframe&width=column&ground=e8f0e4"
    )
    watched = open_page(f"{site.service}/?lang=en#{fragment}")
    page = watched.page
    for lang in ("en", "ru"):
        with case(lang):
            preview = page.locator(".stage currency-ticker")
            expect(given(page).frame_locator("iframe").locator(".code:visible").first).to_have_text("cny")
            assert urlsplit(page.url).fragment == fragment
            assert picked(page) == ["CNY", "USD"]
            expect(page.locator("#iframe")).to_have_attribute("aria-selected", "true")
            expect(page.locator(".stage > div")).to_have_css("width", "650px")
            expect(page.locator(".stage")).to_have_css("background-color", "rgb(232, 240, 228)")
            ticker = preview.locator(".ticker")
            for name, value in {
                "background-color": "rgb(255, 253, 245)",
                "color": "rgb(34, 34, 34)",
                "font-size": "18px",
                "border-radius": "0px",
                "font-family": "Georgia, serif",
            }.items():
                expect(ticker).to_have_css(name, value)
            expect(ticker.locator("ul").first).to_have_css("animation-duration", "60s")
            shared = query_of(embed_code(page))
            page.reload()
            assert query_of(embed_code(page)) == shared
            page.locator(".languages summary").click()
            page.get_by_role("link", name="Русский").click()
            expect(page.locator("html")).to_have_attribute("lang", "ru")
    choose(page, "Вид", "Строка")
    assert "layout" not in urlsplit(page.url).fragment
    assert {urlsplit(url).path for url in watched.urls_with("surface")} == {"/embed", "/v1/stream"}  # of the frame


def test_invalid_choices_in_the_url_are_ignored(site: Site, open_page: Open) -> None:
    page = builder(
        open_page, site, "currencies=usd,xxx&theme=no&layout=x&period=x&lang=zz&size=99&ink=red&tab=x&width=x&ground=x"
    )
    assert picked(page) == ["USD"]
    assert urlsplit(page.url).fragment == "currencies=usd&size=24"
    assert '<currency-ticker currencies="usd" style="display:block;' in embed_code(page)


def test_choices_are_kept_for_another_ticker(make_site: Callable[..., Site], open_page: Open) -> None:
    """The ticker is in the query, and in the code unless it is the first."""
    first = {"id": "kzt", "base": "KZT", "currencies": ["USD", "EUR"], "sources": ["nbk"]}
    site = make_site(tickers=[first, {**first, "id": "other", "currencies": ["USD", "GBP"]}])
    page = builder(open_page, site, "theme=dark")
    page.get_by_role("combobox", name="Ticker").select_option("other")
    expect(page.get_by_role("checkbox", name="GBP")).to_be_checked()
    preview_of(page)
    assert urlsplit(page.url)[3:] == ("lang=en&ticker=other", "theme=dark")
    assert '<currency-ticker ticker="other" theme="dark" ' in embed_code(page)
    assert "/v1/ticker/other.svg?" in embed_code(page, "svg")


def test_currencies_are_ordered_by_keys(site: Site, open_page: Open) -> None:
    """Arrow keys on the handle move a currency, which keeps the focus; the new position is announced."""
    page = builder(open_page, site)
    handle = page.get_by_role("button", name="Move GBP")
    handle.focus()
    for key in ("ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    expect(handle).to_be_focused()
    assert picked(page) == ["USD", "GBP", "EUR", "RUB", "CNY"]
    expect(page.locator("#status")).to_have_text("GBP: position 2 of 5")
    page.keyboard.press("ArrowRight")
    assert picked(page) == ["USD", "EUR", "GBP", "RUB", "CNY"]
    assert 'currencies="usd,eur,gbp,rub,cny"' in embed_code(page)
    expect(preview_of(page).locator(".code:visible").nth(2)).to_have_text("gbp")


def test_currencies_are_ordered_by_dragging(site: Site, open_page: Open) -> None:
    page = builder(open_page, site)
    page.get_by_role("button", name="Move CNY").hover()
    page.mouse.down()
    start = page.locator(".currencies li").first.bounding_box()
    assert start
    page.mouse.move(start["x"] + 60, start["y"] + 10, steps=5)
    page.mouse.up()
    assert picked(page) == ["CNY", "USD", "EUR", "RUB", "GBP"]
    page.mouse.move(start["x"] + 300, start["y"] + 100, steps=5)
    assert picked(page)[0] == "CNY"
    assert query_of(embed_code(page, "oembed"))["currencies"] == "cny,usd,eur,rub,gbp"


def test_currencies_are_searched(make_site: Callable[..., Site], open_page: Open) -> None:
    """Of many, by code or name; Enter picks the first match, behind those that are picked."""
    page = builder(open_page, make_site(tickers=[MANY]), "currencies=eur,usd")
    box = page.get_by_role("searchbox", name="Search currencies")
    box.fill("lira")
    expect(page.locator(".currencies li:visible")).to_have_count(3)
    box.press("Enter")
    expect(page.locator(".currencies li:visible")).to_have_count(len(MANY["currencies"]))
    assert picked(page) == ["EUR", "USD", "TRY"]
    box.fill("nothing")
    expect(page.locator("#unmatched")).to_have_text("No currency found")
    box.fill("")
    page.get_by_role("checkbox", name="JPY").check()
    expect(page.get_by_role("checkbox", name="JPY")).to_be_focused()
    assert picked(page) == ["EUR", "USD", "TRY", "JPY"]


def test_colours_size_radius_font_and_speed_are_custom_properties(site: Site, open_page: Open) -> None:
    """The element gets them by its style; softer colours are mixed, so that they fit."""
    page = builder(open_page, site)
    page.get_by_text("Colours, size, font").click()
    page.get_by_role("checkbox", name="Own colours").check()
    page.get_by_label("Background", exact=True).fill("#101010")
    page.get_by_label("Text", exact=True).fill("#ffffff")
    page.get_by_role("slider", name="Text size").fill("20")
    page.get_by_role("slider", name="Corner radius").fill("2")
    choose(page, "Font", "Monospace")
    expect(page.get_by_role("slider", name="Duration")).not_to_be_visible()
    choose(page, "Layout", "Scrolling")
    page.get_by_role("slider", name="Duration").fill("90")
    own = "--ticker-size:20px;--ticker-family:ui-monospace,monospace;--ticker-radius:2px;--ticker-speed:90s"
    colours = (
        "--ticker-surface:#101010;--ticker-ink:#ffffff;--ticker-soft:#c3c3c3;--ticker-line:#343434;"
        "--ticker-up:#0a7a3d;--ticker-down:#b3261e;--ticker-warn:#ffffff"
    )
    reserved = re.search(rf'style="display:block;min-height:([^;]+);{colours};{own}"', embed_code(page, "element"))
    assert reserved
    assert heights(reserved[1])
    assert embed_code(page, "wordpress") == (
        '[currency_ticker layout="tape" surface="101010" ink="ffffff" up="0a7a3d" down="b3261e" size="20" radius="2"'
        ' font="mono" speed="90"]'
    )
    embed_code(page, "element")
    warning = page.get_by_role("group", name="Colours").locator(".warning")
    expect(warning).to_have_text(re.compile("Low contrast.*: Rise, Fall$"))
    page.get_by_label("Rise").fill("#44ff88")
    page.get_by_label("Fall").fill("#ff8888")
    expect(warning).to_have_text("")


def test_last_choice_is_marked_in_the_code(site: Site, open_page: Open) -> None:
    """In all kinds of code, also in one that is opened later."""
    page = builder(open_page, site)
    marks = page.locator("#code mark")
    expect(marks).to_have_count(0)
    choose(page, "Theme", "Dark")
    expect(marks.first).to_have_text('theme="dark"')
    page.get_by_role("checkbox", name="EUR").uncheck()
    expect(marks.first).to_have_text('currencies="usd,rub,gbp,cny"')
    expect(marks).to_have_count(2)  # the attribute, and the parameter of the link in the fallback content
    embed_code(page, "iframe")
    expect(marks).to_have_text(["?currencies=usd,rub,gbp,cny"])
    choose(page, "Layout", "List")
    expect(marks).to_have_text(["&amp;layout=list"])
    page.get_by_text("Colours, size, font").click()
    page.get_by_role("slider", name="Text size").fill("20")
    expect(marks).to_have_text(["&amp;size=20"])


def test_tabs_are_operated_by_keys(site: Site, open_page: Open) -> None:
    """The WAI-ARIA pattern: one tab stop, arrow keys, Home and End."""
    page = builder(open_page, site)
    page.locator("#element").focus()
    for key, kind in (
        ("ArrowRight", "iframe"),
        ("End", "oembed"),
        ("ArrowRight", "element"),
        ("ArrowLeft", "oembed"),
        ("Home", "element"),
    ):
        page.keyboard.press(key)
        with case(key, kind):
            expect(page.locator(f"#{kind}")).to_be_focused()
            expect(page.get_by_role("tab", selected=True)).to_have_id(kind)
            expect(page.locator("[role=tab][tabindex='-1']")).to_have_count(len(KINDS) - 1)
            expect(page.get_by_role("tabpanel")).to_have_attribute("aria-labelledby", kind)
            expect(page.locator(f"[data-hint={kind}]")).to_be_visible()


def test_copy_button_copies_the_code(site: Site, open_page: Open) -> None:
    """The button itself confirms it, and so does a status."""
    page = builder(open_page, site, permissions=["clipboard-read", "clipboard-write"], clock=True)
    copy = page.locator(".copy")
    copy.click()
    expect(copy).to_have_text("Copied")
    expect(page.locator("#status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == embed_code(page)
    page.clock.fast_forward(5000)
    expect(copy).to_have_text("Copy")


def test_code_is_selected_where_there_is_no_clipboard(site: Site, open_page: Open) -> None:
    page = builder(open_page, site, script=NO_CLIPBOARD)
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".copy")).to_have_text("Press Ctrl+C")
    expect(page.locator("#status")).to_have_text("Press Ctrl+C")
    selected = page.evaluate("String(getSelection())")
    assert selected.replace("\n", "") == embed_code(page)


def test_code_for_this_computer_has_a_warning(site: Site, open_page: Open) -> None:
    """Its URL is that of a loopback interface, which a site of one's own cannot use. A shortcode has no URL."""
    page = builder(open_page, site)
    expect(page.locator(".loopback")).to_be_visible()
    page.get_by_role("tab", name="WordPress").click()
    expect(page.locator(".loopback")).to_be_hidden()
    page.get_by_role("tab", name="iframe").click()
    expect(page.locator(".loopback")).to_be_visible()


def test_frame_and_element_have_the_height_of_the_page(site: Site, open_page: Open) -> None:
    """Of a page as wide as selected, not of the preview; a frame with a list is not cut off on a phone."""
    look = "currencies=usd,eur,rub,gbp&show=rate,change,percent"
    page = builder(open_page, site, look, viewport={"width": 1280, "height": 900})
    row = embed_code(page, "element")
    shown = preview_of(page).bounding_box()
    assert shown
    assert shown["height"] > 80  # the preview is narrower than a page
    wide, phone = heights(row)
    assert 40 <= wide < 50
    choose(page, "Width", "Phone")
    assert heights(embed_code(page)) == (phone, phone)
    assert phone >= 100
    for width in ("Full", "Phone"):
        choose(page, "Width", width)
        for look in ("List", "Scrolling"):
            choose(page, "Layout", look)
            code = re.search('src="([^"]+)".* height="([0-9]+)"', embed_code(page, "iframe"))
            assert code
            frame = open_page(code[1].replace("&amp;", "&"), reduced_motion="reduce").page
            for size in (288, 343, 650, 1280):
                with case(width, look, size):
                    frame.set_viewport_size({"width": size, "height": int(code[2])})
                    assert frame.evaluate("document.documentElement.scrollHeight") <= int(code[2])
            frame.close()
        choose(page, "Layout", "Strip")


def test_preview_is_that_of_the_tab_after_a_short_look_at_another(site: Site, open_page: Open) -> None:
    page = builder(open_page, site)
    embed_code(page, "iframe")
    expect(given(page).frame_locator("iframe").locator(".percent:visible").first).to_be_visible()
    page.evaluate(
        """() => {
          for (const kind of ["svg", "iframe"]) document.getElementById(kind).click();
          return new Promise((done) => setTimeout(done, 300)); // after the timer of the preview, on any machine
        }"""
    )
    assert given(page).locator("img").count() == 0
    expect(given(page).frame_locator("iframe").locator(".percent:visible").first).to_be_visible()


def test_preview_shows_what_the_code_gives(site: Site, open_page: Open) -> None:
    """A frame, images, the fragment and the response; the element for React and WordPress."""
    watched = open_page(f"{site.service}/?lang=en#currencies=gbp,usd&layout=list&size=20")
    page = watched.page
    preview_of(page)
    element = page.locator(".stage currency-ticker")
    for kind in ("iframe", "oembed"):
        with case(kind):
            embed_code(page, kind)
            expect(given(page).frame_locator("iframe").locator(".list .code:visible")).to_have_text(["gbp", "usd"])
            expect(element).not_to_be_visible()
    for kind, path in (("svg", ".svg"), ("email", ".png")):
        with case(kind):
            assert f"/v1/ticker{path}?" in embed_code(page, kind)
            expect(given(page).locator("img")).to_have_attribute("src", re.compile(rf"{path}\?currencies=gbp,usd&"))
            wait_until(lambda: given(page).locator("img").evaluate("(image) => image.naturalWidth") > 0)
    embed_code(page, "json")
    expect(given(page).locator("pre")).to_contain_text('"rate":405.40')
    assert given(page).locator("pre").text_content() == page.request.get(embed_code(page)).text().replace(
        '{"code"', '\n{"code"'
    )
    embed_code(page, "html")
    expect(given(page).locator(".ticker.list .code:visible")).to_have_text(["gbp", "usd"])
    expect(given(page).locator(".ticker")).to_have_css("font-size", "20px")
    page.get_by_role("checkbox", name="GBP").uncheck()
    expect(given(page).locator(".ticker.list .code:visible")).to_have_text(["usd"])
    for kind in ("react", "wordpress", "element"):
        with case(kind):
            embed_code(page, kind)
            expect(element).to_be_visible()
            expect(given(page)).not_to_be_visible()
    assert watched.console == []


def test_preview_works_where_framing_is_restricted(make_site: Callable[..., Site], open_page: Open) -> None:
    """The service may always frame its own page."""
    site = make_site(http={"frame_ancestors": ["https://allowed.example"]})
    page = builder(open_page, site, "tab=iframe")
    expect(given(page).frame_locator("iframe").locator("li:visible").first).to_be_visible()


def test_image_of_a_phone_is_that_of_narrow_pages(site: Site, open_page: Open) -> None:
    page = builder(open_page, site, "tab=svg", viewport={"width": 1280, "height": 900})
    image = given(page).locator("img")
    expect(image).not_to_have_attribute("src", re.compile("width="))
    choose(page, "Width", "Phone")
    expect(image).to_have_attribute("src", re.compile("width=320"))


@pytest.mark.parametrize(("chosen", "width"), [("phone", 320), ("full", 600)])
def test_email_has_the_size_of_its_picture(site: Site, open_page: Open, chosen: str, width: int) -> None:
    """Mail clients need width and height before the image is loaded, a text in its place, and a link."""
    page = builder(open_page, site, f"tab=email&width={chosen}")
    code = page.locator("#code code")
    expect(code).to_have_text(re.compile(r' width="\d+" height="\d+" alt="[^"]+"'))
    parts = re.fullmatch(r'<a href="([^"]+)"><img src="([^"]+)" width="(\d+)" height="(\d+)" .+></a>', embed_code(page))
    assert parts
    link, source, *size = parts.groups()
    assert page.request.get(link.replace("&amp;", "&")).ok
    picture = page.request.get(source.replace("&amp;", "&")).body()
    assert int(size[0]) == width
    assert [int(value) * 2 for value in size] == list(struct.unpack(">II", picture[16:24]))


def test_one_currency_stays_selected(site: Site, open_page: Open) -> None:
    """None would mean all of them; a message says so."""
    page = builder(open_page, site, "currencies=eur")
    page.get_by_role("checkbox", name="EUR").click()
    expect(page.get_by_role("checkbox", name="EUR")).to_be_checked()
    expect(page.locator("#last")).to_have_text("At least one currency is needed.")
    assert 'currencies="eur"' in embed_code(page)
    page.get_by_role("checkbox", name="USD").check()
    expect(page.locator("#last")).to_be_empty()
    page.get_by_role("checkbox", name="EUR").uncheck()
    assert picked(page) == ["USD"]


def test_preview_does_not_cover_the_first_controls(site: Site, open_page: Open) -> None:
    """On a phone, wherever the page is scrolled to."""
    page = builder(open_page, site, viewport={"width": 375, "height": 667})
    top = page.locator(".currencies").evaluate("(list) => list.getBoundingClientRect().top + scrollY")
    for scrolled in range(0, 1400, 60):
        page.evaluate("(y) => scrollTo(0, y)", scrolled)
        boxes = [
            page.locator(part).evaluate("(node) => node.getBoundingClientRect().toJSON()")
            for part in (".currencies", ".preview")
        ]
        with case(scrolled, top, boxes):
            assert boxes[0]["bottom"] <= boxes[1]["top"]


@pytest.mark.parametrize(
    "lang", [pytest.param("en", marks=pytest.mark.slow), "ru", pytest.param("kk", marks=pytest.mark.slow)]
)
def test_change_is_whole_in_the_table_of_a_phone(site: Site, open_page: Open, lang: str) -> None:
    page = builder(open_page, site, lang=lang, viewport={"width": 375, "height": 800})
    box = page.locator(".scroll").bounding_box()
    cells = page.locator("td.percent")
    assert box
    for number in range(cells.count()):
        cell = cells.nth(number).evaluate(
            "(cell) => { const range = document.createRange(); range.selectNodeContents(cell);"
            " return range.getBoundingClientRect().right }"
        )
        assert cell <= box["x"] + box["width"]


def test_shared_link_gives_everybody_the_same_code(site: Site, open_page: Open) -> None:
    """The colour scheme of the ground does not depend on the visitor's system if options are in the URL."""
    codes = set()
    for scheme in ("light", "dark"):
        page = builder(open_page, site, "currencies=usd&tab=iframe", color_scheme=scheme)
        codes.add(query_of(embed_code(page)).get("theme"))
        page.close()
    assert codes == {None}
    page = builder(open_page, site, color_scheme="dark")
    assert urlsplit(page.url).fragment == "ground=dark"
    choose(page, "Page", "Light")
    page.reload()
    expect(page.locator(".stage.light")).to_be_visible()
    assert urlsplit(page.url).fragment == "ground=light"


def test_preview_stays_in_view(site: Site, open_page: Open) -> None:
    """Beside the controls, together with the longest code, or at the bottom of a narrow screen."""
    for width in (1280, 375):
        with case(width):
            page = builder(open_page, site, "size=17&tab=react", viewport={"width": width, "height": 780})
            page.get_by_role("radio", name="Monospace").scroll_into_view_if_needed()
            expect(preview_of(page)).to_be_in_viewport(ratio=1)
            page.close()


def test_preview_has_widths_and_grounds(site: Site, open_page: Open) -> None:
    """The ground is that of the visitor's system until another is selected."""
    for scheme, light in (("light", True), ("dark", False)):
        page = builder(open_page, site, color_scheme=scheme, viewport={"width": 1280, "height": 900})
        stage = page.locator(".stage")
        assert ("light" in (stage.get_attribute("class") or "")) == light
        choose(page, "Page", "Light" if scheme == "dark" else "Dark")
        expect(stage).to_have_css("color-scheme", "light" if scheme == "dark" else "dark")
        choose(page, "Width", "Phone")
        expect(stage.locator("> div")).to_have_css("width", "343px")
        page.get_by_label("Colour of the page").fill("#002040")
        expect(stage).to_have_css("background-color", "rgb(0, 32, 64)")
        expect(stage).to_have_css("color-scheme", "dark")
        page.close()


def test_rates_are_shown_at_once(site: Site, open_page: Open) -> None:
    """The strip at the top is the real one, rendered by the service: it needs no script."""
    page = open_page(f"{site.service}/?lang=en", java_script_enabled=False).page
    assert "usd +1.35% ▲" in visible_text(page.locator("currency-ticker").first)
    assert page.locator("noscript code").inner_text().startswith(f'<iframe src="{site.service}/embed?lang=en"')
    expect(page.get_by_role("row", name="US Dollar USD").get_by_role("link").first).to_be_visible()
    expect(page.get_by_role("link", name="receipt")).to_have_attribute("href", "#rates")
    assert page.get_by_role("combobox").count() == 0


def test_sample_data_keeps_its_colours(site: Site, open_page: Open) -> None:
    """Words mark it; grey is for outdated rates."""
    page = open_page(f"{site.service}/embed?lang=en").page
    colour = "node => getComputedStyle(node).color"
    strip, percent = page.locator(".ticker"), page.locator(".up .percent").first
    usual = percent.evaluate(colour)
    for status, same in (("recorded", True), ("stale", False)):
        with case(status):
            strip.evaluate("(node, status) => node.className = `ticker strip auto ${status}`", status)
            assert (percent.evaluate(colour) == usual) == same


def test_builder_is_in_the_visitors_language(site: Site, open_page: Open) -> None:
    """By Accept-Language, and by a link."""
    page = open_page(f"{site.service}/", locale="kk-KZ").page
    brand = page.get_by_role("banner")
    expect(brand).to_contain_text("Валюта бағамдарының виджеті")
    page.locator(".languages summary").click()
    page.get_by_role("link", name="Русский").click()
    expect(brand).to_contain_text("Виджет курсов валют")
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    expect(preview_of(page).locator(".percent:visible").first).to_have_text("+1,35\u00a0%")


@pytest.mark.parametrize(
    "lang", ["en", pytest.param("ru", marks=pytest.mark.slow), pytest.param("kk", marks=pytest.mark.slow)]
)
def test_builder_is_accessible_in_all_states(site: Site, open_page: Open, lang: str) -> None:
    """With all controls open and a marked choice, in light and dark, wide and narrow."""
    page = builder(open_page, site, "layout=list&ink=222222&surface=ffffff&tab=iframe", lang)
    page.get_by_role("checkbox", name="USD").uncheck()
    for scheme, width in (("light", 1280), ("dark", 375)):
        with case(scheme, width):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 800})
            assert axe_report(page) == ""


def test_selection_is_visible_in_forced_colours(site: Site, open_page: Open) -> None:
    """Backgrounds are replaced there; an outline shows what is selected."""
    page = builder(open_page, site, forced_colors="active")
    style = "node => getComputedStyle(node).outlineStyle"
    layout = page.get_by_role("group", name="Layout").locator("label > span")
    assert layout.first.evaluate(style) == "solid"
    assert layout.last.evaluate(style) == "none"
    chips = page.locator(".currencies li")
    page.get_by_role("checkbox", name="CNY").uncheck()
    assert [chips.first.evaluate(style), chips.last.evaluate(style)] == ["solid", "none"]


def test_builder_fits_a_narrow_screen(site: Site, open_page: Open) -> None:
    """At 320 px only the preview, the tabs and the table scroll sideways, in their own boxes."""
    for lang in ("en", "ru", "kk"):
        with case(lang):
            page = builder(open_page, site, "layout=list&surface=ffffff", lang, viewport={"width": 320, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
            page.close()


def test_builder_with_all_assets_is_small(site: Site, open_page: Open) -> None:
    """As compressed for the transfer, with the data of the ticker."""
    watched = open_page(f"{site.service}/?lang=kk", new=True)
    preview_of(watched.page)
    watched.settled(site)
    size = 0
    for url in {request.url for request in watched.requests}:
        assert url.startswith(site.service)
        size += len(compress(watched.page.request.get(url).body(), 9))
    assert size < MAX_SIZE


def test_script_is_pinned_on_request(site: Site, open_page: Open) -> None:
    """Unpinned code survives upgrades; a pinned script has a hash and `integrity`, also after the page is reloaded."""
    page = open_page(f"{site.service}/?lang=en").page
    pin = page.get_by_role("checkbox", name="Pin this version")
    assert "integrity" not in embed_code(page, "element")
    pin.check()
    script = (
        rf'<script type="module" src="{site.service}/embed\.[0-9a-f]{{12}}\.js" integrity="sha384-[\w+/=]+" '
        'crossorigin="anonymous"></script>'
    )
    assert re.match(script, embed_code(page, "element"))
    assert re.search(script, embed_code(page, "react"))
    embed_code(page, "iframe")
    expect(pin).not_to_be_visible()
    page.reload()
    assert re.match(script, embed_code(page, "element"))
