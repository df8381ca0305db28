"""axe-core finds nothing to complain of: every page, both themes, all our languages."""

from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open, complaints
from tests.browser.site import Site

LANGUAGES = ("kk", "ru", "en")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_axe_is_content(site: Site, open_page: Open, lang: str, scheme: Literal["light", "dark"]) -> None:
    """The builder, /embed in all layouts and states, and a foreign page with the element."""
    page = open_page(f"{site.service}/?lang={lang}", color_scheme=scheme).page
    expect(page.locator("currency-ticker li:visible").first).to_be_visible()
    assert complaints(page) == ""
    for layout in ("strip", "list", "tape"):
        page.goto(f"{site.service}/embed?lang={lang}&layout={layout}&show=rate,change,percent")
        assert complaints(page) == ""
        page.locator(".ticker").evaluate("node => node.classList.add('stale', 'away')")
        assert complaints(page) == ""
    page.goto(f"{site.service}/embed?lang={lang}&layout=list&spark=1")
    assert page.get_by_role("img").count() == 5
    assert complaints(page) == ""
    page.locator(".ticker").evaluate("node => node.classList.add('stale', 'away')")
    assert complaints(page) == ""
    elements = "".join(
        f'<currency-ticker layout="{layout}" theme="{theme}" show="rate change percent" spark></currency-ticker>'
        for layout in ("strip", "list", "tape")
        for theme in ("auto", "light", "dark")
    )
    script = f'<script type="module" src="{site.service}/embed.js"></script>'
    page.goto(site.page(script + elements, lang=lang))
    expect(page.locator("currency-ticker").last.locator("li").first).to_be_visible()
    assert complaints(page) == ""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("state", ["", "stale"])
def test_a_sparkline_stands_out(
    site: Site, open_page: Open, scheme: Literal["light", "dark"], state: Literal["", "stale"]
) -> None:
    """Its contrast with what is behind it is at least that of WCAG 2.2, 1.4.11: 3 to 1. axe looks at texts only."""
    page = open_page(f"{site.service}/embed?layout=list&spark=1", color_scheme=scheme).page
    page.locator(".ticker").evaluate("(node, state) => state && node.classList.add(state)", state)
    line, ground = page.locator(".spark").first, page.locator(".ticker")
    colours = [
        line.evaluate("node => getComputedStyle(node).stroke"),
        ground.evaluate("node => getComputedStyle(node).backgroundColor"),
    ]
    dark, light = sorted(map(luminance, colours))
    assert (light + 0.05) / (dark + 0.05) >= 3


def luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(…)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
