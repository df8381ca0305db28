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
    elements = "".join(
        f'<currency-ticker layout="{layout}" theme="{theme}" show="rate change percent"></currency-ticker>'
        for layout in ("strip", "list", "tape")
        for theme in ("auto", "light", "dark")
    )
    script = f'<script type="module" src="{site.service}/embed.js"></script>'
    page.goto(site.page(script + elements, lang=lang))
    expect(page.locator("currency-ticker").last.locator("li").first).to_be_visible()
    assert complaints(page) == ""
