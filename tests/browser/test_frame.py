"""`/embed` in a frame as high as one row, as the README, the docs and the builder embed it."""

import itertools
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, case
from tests.browser.site import Site
from tests.support.wait import wait_until

WIDTHS = (160, 200, 240, 320, 375, 480, 650, 768, 1024, 1280)
HEIGHTS = (44, 46, 80)
"""In pixels: a low frame, that of our embed code, and the highest one that gets a single row."""
SLACK = 2
"""How far line boxes of a font may differ, in pixels."""
ROW = """(end) => {
  const main = document.querySelector("main");
  const all = (part) => [...document.querySelectorAll(part)];
  const box = (node) => node.getBoundingClientRect().toJSON();
  const letters = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return range.getBoundingClientRect().toJSON();
  };
  if (end !== null) main.scrollTo(end ? (document.dir === "rtl" ? -1e6 : 1e6) : 0, 0);
  return {
    quotes: all("li").map(box),
    parts: all("li").map((quote) => [...quote.querySelectorAll(".seen > span")].map(letters)),
    date: box(document.querySelector(".date")),
    date_text: letters(document.querySelector(".date")),
    scrolled: Math.abs(main.scrollLeft),
    width: main.scrollWidth,
    page_width: document.documentElement.scrollWidth,
    page_height: Math.max(document.documentElement.scrollHeight, main.scrollHeight),
  };
}"""
"""Measure the row, scrolled to its begin or end, or as it is. Boxes of texts are those of their letters."""


@pytest.mark.parametrize("lang", ["en", "ar", pytest.param("ru", marks=pytest.mark.slow)])
def test_low_frame_shows_rates_first_and_scrolls_to_the_date(site: Site, open_page: Open, lang: str) -> None:
    """One row: the first rate is visible at once, nothing overlaps or is cut off, and scrolling reveals the date."""
    page = open_page(f"{site.service}/embed?lang={lang}").page
    for width, height in itertools.product(WIDTHS, HEIGHTS):
        with case(lang, width, height):
            _assert_one_row(page, width, height, lang)
    page.goto(f"{site.service}/embed?lang={lang}&show=rate,change,percent")
    for width in WIDTHS[3:]:
        with case(lang, "all values", width):
            _assert_one_row(page, width, 46, lang)


def _assert_one_row(page: Page, width: int, height: int, lang: str) -> None:
    page.set_viewport_size({"width": width, "height": height})
    row = page.evaluate(ROW, False)
    assert row["page_width"] <= width
    assert row["page_height"] <= height
    first = row["parts"][0]
    assert len(first) >= 3  # code, percent, arrow
    assert all(_fits_width(part, width) for part in first), f"the first rate is cut off: {first}"
    texts = [*itertools.chain(*row["parts"]), row["date_text"]]
    for text in texts:
        assert -SLACK <= text["top"] < text["bottom"] <= height + SLACK, f"cut off: {text}"
    for boxes in (texts, [*row["quotes"], row["date"]]):
        for left, right in itertools.pairwise(boxes[::-1] if lang == "ar" else boxes):
            assert left["right"] <= right["left"] + SLACK, f"not in one row, or overlapping: {left}, {right}"
    end = page.evaluate(ROW, True)
    assert _fits_width(end["date_text"], width), f"the date is cut off: {end['date_text']}"
    assert abs(end["date"]["left"] if lang == "ar" else width - end["date"]["right"]) <= SLACK  # nothing comes after it
    assert (end["scrolled"] > 0) is (row["width"] > width)


def _fits_width(box: dict[str, Any], width: int) -> bool:
    return bool(-0.5 <= box["left"] < box["right"] <= width + 0.5)


@pytest.mark.parametrize(("lang", "end"), [("en", "to right"), ("ar", "to left")])
def test_edge_of_a_row_that_scrolls_fades_out(site: Site, open_page: Open, lang: str, end: str) -> None:
    """Until its end is reached; a row that fits does not fade. Without JavaScript too."""
    url = f"{site.service}/embed?lang={lang}"
    page = open_page(url, viewport={"width": 320, "height": 46}, java_script_enabled=False).page
    row = page.locator("main")
    expect(row).to_have_css("mask-image", re.compile(rf"linear-gradient\({end}, "))
    row.evaluate("(main) => main.scrollTo(document.dir === 'rtl' ? -1e6 : 1e6, 0)")
    expect(row).to_have_css("mask-image", "none")
    page.set_viewport_size({"width": 1280, "height": 46})
    expect(row).to_have_css("mask-image", "none")


@pytest.mark.parametrize(("lang", "arrow"), [("en", "ArrowRight"), ("ar", "ArrowLeft")])
def test_row_scrolls_by_keyboard(site: Site, open_page: Open, lang: str, arrow: str) -> None:
    """In an iframe of another site, also right to left: focus a quote by Tab, then use the arrow key."""
    frame = f'<iframe src="{site.service}/embed?lang={lang}" title="Rates" width="160" height="46"></iframe>'
    page = open_page(site.page(f'<a href="/">Before</a>{frame}', "")).page
    content = page.frames[1]
    expect(content.locator("li").first).to_be_visible()
    page.get_by_role("link").focus()
    page.keyboard.press("Tab")
    expect(content.locator("button").first).to_be_focused()
    expect(content.locator("button").first).to_have_css("outline-style", "solid")

    def date_is_visible() -> bool:
        return _fits_width(content.evaluate(ROW)["date_text"], 160)

    def press_and_check() -> bool:
        page.keyboard.press(arrow)
        return date_is_visible()

    assert not date_is_visible()
    wait_until(press_and_check)


def test_higher_frame_wraps_with_the_date_last(site: Site, open_page: Open) -> None:
    """Nothing scrolls sideways, and the date is in the last line."""
    page = open_page(f"{site.service}/embed?lang=en", viewport={"width": 1280, "height": 81}).page
    for width in WIDTHS:
        with case(width):
            page.set_viewport_size({"width": width, "height": 81})
            row = page.evaluate(ROW)
            assert row["page_width"] <= width
            assert row["width"] <= width
            assert row["parts"][0][0]["top"] >= -SLACK
            assert all(row["date"]["bottom"] >= quote["bottom"] - SLACK for quote in row["quotes"])
            assert _fits_width(row["date_text"], width)


@pytest.mark.parametrize("layout", ["list", "tape"])
def test_other_layouts_do_not_scroll_sideways_in_a_low_frame(site: Site, open_page: Open, layout: str) -> None:
    """A list and a tape begin with the first rate."""
    page = open_page(f"{site.service}/embed?lang=en&layout={layout}", viewport={"width": 320, "height": 46}).page
    expect(page.locator("li").first).to_be_visible()
    for width in WIDTHS:
        with case(width):
            page.set_viewport_size({"width": width, "height": 46})
            row = page.evaluate(ROW)
            assert row["page_width"] <= width
            assert 0 <= row["parts"][0][0]["top"] < 46
