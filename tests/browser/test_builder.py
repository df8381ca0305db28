"""The embed builder at `/`."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Open, case
from tests.browser.element import visible_text, wait_for_elements
from tests.browser.site import Site


def test_choices_apply_to_preview_and_every_snippet(site: Site, open_page: Open) -> None:
    """Cover currencies, language, theme, layout, values and live updates, in the real element and in the snippets."""
    watched = open_page(f"{site.service}/?lang=en")
    page = watched.page
    preview = wait_for_elements(page).first
    page.get_by_label("EUR").uncheck()
    page.get_by_label("RUB").uncheck()
    page.get_by_label("Language same as the page").select_option("kk")
    expect(preview.locator(".percent:visible").first).to_have_text("+1,35%")
    page.get_by_label("Theme").select_option("dark")
    page.get_by_label("Layout").select_option("list")
    expect(preview.locator(".rate:visible").first).to_have_text("405,40")
    page.get_by_role("checkbox", name="change").check()
    page.get_by_label("Live updates").check()
    expect(preview.locator(".ticker:visible")).to_have_class(re.compile("list dark"))
    assert "usd АҚШ доллары 405,40 +5,40 +1,35% ▲ gbp" in visible_text(preview)
    snippets = {
        name: page.locator(f"[data-snippet={name}]").inner_text()
        for name in ("element", "iframe", "svg", "html", "oembed", "json")
    }
    query = "currencies=usd,gbp,cny&lang=kk&theme=dark&layout=list&show=rate,change,percent"
    assert snippets["element"].count("\n") == 0
    reserved = re.search(
        '<currency-ticker currencies="usd,gbp,cny" theme="dark" layout="list" lang="kk" show="rate,change,percent" '
        r'live style="display:block;min-height:(\d+)px"><a href="[^"]+">'
        "Валюта бағамдарының теңгеге қатысты өзгерісі</a>",
        snippets["element"],
    )
    assert reserved
    assert 0 <= int(reserved[1]) - preview.bounding_box()["height"] <= 1  # type: ignore[index]
    assert re.search(
        rf'<script type="module" src="{site.service}/embed\.[0-9a-f]{{12}}\.js" integrity="sha384-[\w+/=]+" '
        'crossorigin="anonymous"></script>',
        snippets["element"],
    )
    for name, path in (
        ("iframe", "embed"),
        ("svg", "v1/ticker.svg"),
        ("json", "v1/ticker.json"),
    ):
        assert f"{site.service}/{path}?" in snippets[name]
    assert snippets["html"].startswith('<!--#include virtual="/v1/ticker.html?')
    assert sorted(snippets["oembed"].split("?")[1].split("&")) == sorted([*query.split("&"), "live=1"])
    for name in ("iframe", "svg"):
        url = re.search('src="([^"]+)"', snippets[name])[1].replace("&amp;", "&")  # type: ignore[index]
        assert page.request.get(url).ok
    assert watched.console == []


def test_sparklines_are_offered_only_for_lists(site: Site, open_page: Open) -> None:
    """A list has them in preview and snippets; other layouts cannot show them."""
    page = open_page(f"{site.service}/?lang=en").page
    preview, box = wait_for_elements(page).first, page.get_by_label("Sparkline")
    expect(box).not_to_be_visible()
    page.get_by_label("Layout").select_option("list")
    expect(box).not_to_be_checked()
    box.check()
    expect(preview.get_by_role("img")).to_have_count(5)
    snippets = {
        code: page.locator(f"[data-snippet={code}]").inner_text() for code in ("element", "iframe", "svg", "html")
    }
    assert '<currency-ticker layout="list" spark style=' in snippets["element"]
    for name in ("iframe", "svg", "html"):
        assert re.search(r"[?](amp;)?layout=list&(amp;)?spark=1\b", snippets[name]), name
    assert page.locator("[data-snippet=oembed]").inner_text() == f"{site.service}/embed?layout=list&spark=1"
    page.get_by_label("Layout").select_option("tape")
    expect(box).not_to_be_visible()
    expect(page.locator("[data-snippet=oembed]")).to_have_text(f"{site.service}/embed?layout=tape")
    assert "spark" not in page.locator("[data-snippet=element]").inner_text()


def test_sparkline_option_is_translated(site: Site, open_page: Open) -> None:
    """The checkbox has an accessible name."""
    page = open_page("about:blank").page
    for lang, label in (
        ("en", "Sparkline of the last 30 publications"),
        ("ru", "График за последние 30 публикаций"),
        ("kk", "Соңғы 30 жарияланымның графигі"),
    ):
        with case(lang):
            page.goto(f"{site.service}/?lang={lang}")
            wait_for_elements(page)
            page.locator("[name=layout]").select_option("list")
            expect(page.get_by_role("checkbox", name=label)).to_be_visible()


def test_copy_button_copies_the_snippet(site: Site, open_page: Open) -> None:
    """The clipboard has the snippet, and a status confirms it."""
    page = open_page(f"{site.service}/?lang=en", permissions=["clipboard-read", "clipboard-write"]).page
    wait_for_elements(page)
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("[data-snippet=element]").inner_text()


def test_builder_is_in_the_visitors_language(site: Site, open_page: Open) -> None:
    """By Accept-Language, and by a link."""
    page = open_page(f"{site.service}/", locale="kk-KZ").page
    expect(page.get_by_role("heading", level=1)).to_have_text("Валюта бағамдарының виджеті")
    page.get_by_role("link", name="Русский").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Виджет курсов валют")
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    expect(wait_for_elements(page).first.locator(".percent:visible").first).to_have_text("+1,35\u00a0%")


def test_builder_is_useful_without_javascript(site: Site, open_page: Open) -> None:
    """Show rates, dates, sources and a snippet."""
    page = open_page(f"{site.service}/?lang=en", java_script_enabled=False).page
    assert "usd +1.35% ▲" in visible_text(page.locator("currency-ticker"))
    assert page.locator("noscript code").inner_text().startswith(f'<iframe src="{site.service}/embed"')
    expect(page.get_by_role("row", name="US Dollar USD").get_by_role("link").first).to_be_visible()
    assert page.get_by_role("combobox").count() == 0


def test_builder_fits_a_narrow_screen(site: Site, open_page: Open) -> None:
    """At 320 px only the snippets and the table scroll sideways, in their own boxes."""
    page = open_page(f"{site.service}/?lang=kk", viewport={"width": 320, "height": 800}).page
    wait_for_elements(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
