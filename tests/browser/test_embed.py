"""`/embed` in frames and by itself."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Open
from tests.browser.site import NEW, Site
from tests.browser.test_element import STRIP, seen

LAYOUTS = ("strip", "list", "tape")


def strip(page: Locator) -> str:
    return seen(page.locator("body"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_complete_without_javascript(site: Site, open_page: Open, layout: str) -> None:
    """Every quote, the date and what screen readers hear; a tape stands still and has no button without a job."""
    address = f"{site.service}/embed?lang=en&layout={layout}&show=percent"
    page = open_page(address, java_script_enabled=False, viewport={"width": 320, "height": 400}).page
    assert strip(page.locator("html")).replace("US Dollar ", "").startswith("usd +1.35% ▲")
    quotes = page.locator("li")
    assert quotes.count() == 5
    for number in range(5):
        box = quotes.nth(number).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
    expect(page.locator(".date")).to_be_visible()
    expect(page.get_by_role("listitem").first).to_have_text(re.compile("US dollar, up 1.35 percent against the tenge"))
    assert page.get_by_role("button").count() == 0


def test_it_keeps_itself_fresh(make_site: Callable[..., Site], open_page: Open) -> None:
    """New figures come without a reload; without the service it is muted; with it fresh again."""
    site = make_site(http={"max_age": 1})
    watched = open_page(f"{site.service}/embed?lang=en&layout=tape&show=percent")
    page, first = watched.page, watched.page.locator("li .percent").first
    page.evaluate("window.same = true")
    expect(first).to_have_text("+1.35%")
    page.get_by_role("button", name="Pause").click()
    site.publish({**NEW, "USD": "420.00"})
    expect(first).to_have_text("+5.00%", timeout=8000)
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
    assert page.locator("ul").count() == 2
    assert watched.console == []
    site.stop()
    expect(page.locator(".ticker")).to_have_class(re.compile(r"\baway\b"), timeout=15000)
    expect(page.locator(".date")).to_have_text(re.compile("^no connection: "))
    site.start()
    expect(page.locator(".ticker")).not_to_have_class(re.compile(r"\baway\b"), timeout=20000)
    assert page.evaluate("window.same")


def test_live_is_told_at_once(make_site: Callable[..., Site], open_page: Open) -> None:
    """With ?live the page follows the stream."""
    site = make_site()
    watched = open_page(f"{site.service}/embed?lang=en&live=1")
    expect(watched.page.locator("li .percent").first).to_have_text("+1.35%")
    site.publish({**NEW, "USD": "420.00"})
    expect(watched.page.locator("li .percent").first).to_have_text("+5.00%", timeout=5000)
    assert watched.console == []


def test_a_foreign_page_frames_it(site: Site, open_page: Open) -> None:
    """In an iframe under a policy that allows our host as a frame and nothing else: nothing to complain of."""
    policy = "default-src 'none'; frame-src {service}"
    frame = f'<iframe src="{site.service}/embed" title="Rates" width="800" height="44"></iframe>'
    watched = open_page(site.page(frame, policy), locale="ru-RU")
    body = watched.page.frame_locator("iframe").locator("body")
    expect(body.locator("li .percent").first).to_have_text("+1,35\u00a0%")
    assert seen(body) == STRIP.replace(".", ",").replace("%", "\u00a0%")
    assert watched.console == []
    assert watched.page.context.cookies() == []


def test_others_may_be_kept_from_framing_it(make_site: Callable[..., Site], open_page: Open) -> None:
    """`frame_ancestors` is kept by the browser."""
    site = make_site(http={"frame_ancestors": ["https://allowed.example"]})
    frame = f'<iframe src="{site.service}/embed" title="Rates"></iframe>'
    watched = open_page(site.page(frame, ""))
    watched.page.wait_for_timeout(300)
    assert any("frame-ancestors" in line for line in watched.console)


def test_it_is_small(site: Site, open_page: Open) -> None:
    """Over the wire, compressed: the script at most 5 KB; /embed with all that it loads at most 6 KB."""

    def bodies(watched: object) -> dict[str, int]:
        return {
            request.url: request.sizes()["responseBodySize"]
            for request in watched.requests  # type: ignore[attr-defined]
            if request.url.startswith(site.service)
        }

    script = f'<script type="module" src="{site.service}/embed.js"></script>'
    watched = open_page(site.page(f"{script}<currency-ticker></currency-ticker>"))
    expect(watched.page.locator("currency-ticker li").first).to_be_visible()
    sizes = bodies(watched)
    assert len(sizes) == 2
    assert sizes[f"{site.service}/embed.js"] <= 5000

    watched = open_page(f"{site.service}/embed?layout=list&show=rate,change,percent&lang=ru")
    watched.page.wait_for_load_state("networkidle")
    sizes = bodies(watched)
    assert {re.sub(r"\.[0-9a-f]{12}\.", ".", url.split("/")[-1].split("?")[0]) for url in sizes} == {
        "embed", "strip.css", "frame.js", "icon.svg"
    }  # fmt: skip
    assert sum(sizes.values()) <= 6000


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lang", ["kk", "ru", "en", "ar"])
def test_it_fits_a_narrow_screen(site: Site, open_page: Open, layout: str, lang: str) -> None:
    """At 320 px, which is also 640 px at 200 % zoom, nothing is cut off and nothing scrolls sideways."""
    address = f"{site.service}/embed?lang={lang}&layout={layout}&show=rate,change,percent"
    page = open_page(address, viewport={"width": 320, "height": 700}, device_scale_factor=2).page
    expect(page.locator("li").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    if layout != "tape":  # a tape shows its parts one after the other
        spans = page.locator("li span:not(.said)").evaluate_all(
            "nodes => nodes.map((n) => n.getBoundingClientRect().toJSON())"
        )
        assert all(span["left"] >= 0 and span["right"] <= 320 for span in spans)


def test_forced_colours_keep_the_signs(site: Site, open_page: Open) -> None:
    """Where the reader's own colours rule, sign, arrow and borders still tell."""
    page = open_page(f"{site.service}/embed?lang=en", forced_colors="active").page
    assert strip(page.locator("html")) == STRIP
    border = page.locator("li").nth(1).evaluate("node => getComputedStyle(node).borderInlineStartWidth")
    assert border == "1px"
