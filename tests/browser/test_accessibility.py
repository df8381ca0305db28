"""axe-core finds no violations: every page, both themes, all languages of the builder."""

from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, axe_report, case
from tests.browser.element import with_script
from tests.browser.site import Site

LANGUAGES = ("en", pytest.param("kk", marks=pytest.mark.slow), pytest.param("ru", marks=pytest.mark.slow))
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LAYOUTS = ("strip", "list", "tape")
ADD_STRIPS = """async (queries) => {
  const main = document.querySelector("main");
  for (const query of queries) {
    const page = new DOMParser().parseFromString(await (await fetch(`embed?${query}`)).text(), "text/html");
    main.append(page.querySelector(".ticker"));
  }
  for (const strip of main.querySelectorAll(".ticker")) {
    const copy = strip.cloneNode(true);
    copy.classList.add("stale", "away");
    main.append(copy);
  }
}"""
"""Add further strips to `/embed`, as its script does at a refresh, and a copy of each that is outdated and offline."""


def assert_accessible(page: Page) -> None:
    """Run axe in light and in dark."""
    for scheme in SCHEMES:
        with case(scheme):
            page.emulate_media(color_scheme=scheme)
            assert axe_report(page) == ""


@pytest.mark.parametrize("lang", LANGUAGES)
def test_builder_is_accessible(site: Site, open_page: Open, lang: str) -> None:
    page = open_page(f"{site.service}/?lang={lang}").page
    expect(page.locator("currency-ticker li:visible").first).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_embed_is_accessible(site: Site, open_page: Open, lang: str) -> None:
    """All layouts, with and without sparklines, also outdated and offline."""
    query = f"lang={lang}&show=rate,change,percent&layout="
    page = open_page(f"{site.service}/embed?{query}tape").page
    expect(page.locator(".pause")).to_be_visible()
    page.evaluate(ADD_STRIPS, [f"{query}strip", f"{query}list", f"lang={lang}&layout=list&spark=1"])
    assert page.locator(".ticker").count() == 8
    assert page.get_by_role("img").count() == 10
    assert_accessible(page)


@pytest.mark.parametrize("layout", ["strip", *(pytest.param(layout, marks=pytest.mark.slow) for layout in LAYOUTS[1:])])
def test_embed_is_accessible_in_a_low_frame(site: Site, open_page: Open, layout: str) -> None:
    """As high as one row; also where the row is wider than the frame and scrolls."""
    url = f"{site.service}/embed?lang=en&layout={layout}"
    page = open_page(url, viewport={"width": 160, "height": 46}).page
    expect(page.locator("li").first).to_be_visible()
    assert axe_report(page) == ""


@pytest.mark.parametrize("lang", LANGUAGES)
def test_element_is_accessible(site: Site, open_page: Open, lang: str) -> None:
    """On a page of another site, in all layouts and themes."""
    elements = "".join(
        f'<currency-ticker layout="{layout}" theme="{theme}" show="rate change percent" spark></currency-ticker>'
        for layout in LAYOUTS
        for theme in ("auto", "light", "dark")
    )
    page = open_page(site.page(with_script(site, elements), lang=lang)).page
    expect(page.locator("currency-ticker").last.locator("li").first).to_be_visible()
    assert_accessible(page)


def test_sparkline_has_sufficient_contrast(site: Site, open_page: Open) -> None:
    """Require 3 to 1 (WCAG 2.2, 1.4.11); axe checks only texts."""
    page = open_page(f"{site.service}/embed?layout=list&spark=1").page
    line, background = page.locator(".spark").first, page.locator(".ticker")
    for scheme in SCHEMES:
        for stale in (False, True):
            page.emulate_media(color_scheme=scheme)
            background.evaluate("(node, stale) => node.classList.toggle('stale', stale)", stale)
            colours = [
                line.evaluate("node => getComputedStyle(node).stroke"),
                background.evaluate("node => getComputedStyle(node).backgroundColor"),
            ]
            dark, light = sorted(map(luminance, colours))
            assert (light + 0.05) / (dark + 0.05) >= 3, (scheme, stale)


def luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(…)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
