"""`/embed` in a frame as high as one row: what an iframe of the README, the docs or the builder shows."""

import itertools
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, complaints, wait_until
from tests.browser.site import Site

WIDTHS = (160, 200, 240, 320, 375, 480, 650, 768, 1024, 1280)
HEIGHTS = (44, 46, 64)
"""In pixels: a low one, that of our embed code, and the highest one that gets a single row."""
ROW = """() => {
  const box = (node) => node.getBoundingClientRect().toJSON();
  const all = (part) => [...document.querySelectorAll(part)];
  const letters = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return range.getBoundingClientRect().toJSON();
  };
  return {
    quotes: all("li").map(box),
    parts: all("li").map((quote) => [...quote.querySelectorAll(".seen > span")].map(letters)),
    date: box(document.querySelector(".date")),
    said: letters(document.querySelector(".date")),
    scrolled: document.querySelector("main").scrollLeft,
    hidden: Math.max(document.documentElement.scrollHeight, document.querySelector("main").scrollHeight) - innerHeight,
    row: document.querySelector("main").scrollWidth,
    page: document.documentElement.scrollWidth,
    stops: document.querySelectorAll("[tabindex]").length,
  };
}"""
SLACK = 2
"""How far the line boxes of a font may differ, in pixels."""


@pytest.mark.parametrize("lang", ["en", "ru", "ar"])
def test_low_frame_shows_rates_first_and_scrolls_to_the_date(site: Site, open_page: Open, lang: str) -> None:
    """One row: the first rate is seen at once, nothing overlaps or is cut off, and scrolling leads to the date."""
    page = open_page(f"{site.service}/embed?lang={lang}").page
    for width in WIDTHS:
        for height in HEIGHTS:
            _holds_one_row(page, width, height, lang)
    page.goto(f"{site.service}/embed?lang={lang}&show=rate,change,percent")
    for width in WIDTHS[2:]:
        _holds_one_row(page, width, HEIGHTS[1], lang)


def _holds_one_row(page: Page, width: int, height: int, lang: str) -> None:
    case = f"{lang}, {width} x {height}: {page.url}"
    page.set_viewport_size({"width": width, "height": height})
    page.locator("main").evaluate("node => node.scrollTo(0, 0)")
    row = page.evaluate(ROW)
    assert row["scrolled"] == 0, case
    assert row["hidden"] <= 0, f"{case}: it is higher than the frame"
    first = row["parts"][0]
    assert len(first) >= 3, f"{case}: code, percent, arrow"
    assert all(_inside(part, width) for part in first), f"{case}: the first rate is cut off: {first}"
    texts = [*(part for parts in row["parts"] for part in parts), row["said"]]
    for text in texts:
        assert -SLACK <= text["top"] < text["bottom"] <= height + SLACK, f"{case}: cut off: {text}"
    for boxes in (texts, [*row["quotes"], row["date"]]):
        for left, right in itertools.pairwise(boxes[::-1] if lang == "ar" else boxes):
            assert left["right"] <= right["left"] + 0.5, f"{case}: not in one row, or overlapping: {left}, {right}"
    page.locator("main").evaluate("node => node.scrollTo(document.dir === 'rtl' ? -1e6 : 1e6, 0)")
    row = page.evaluate(ROW)
    assert _inside(row["said"], width), f"{case}: the date is cut off: {row['said']}"
    assert (row["scrolled"] != 0) == (row["row"] > width), case
    assert row["page"] <= width, case
    wait_until(lambda: page.evaluate(ROW)["stops"] == (row["row"] > width), case)
    assert abs(row["date"]["left"] if lang == "ar" else width - row["date"]["right"]) <= SLACK, f"{case}: its end"


def _inside(box: dict[str, Any], width: int) -> bool:
    return bool(-0.5 <= box["left"] < box["right"] <= width + 0.5)


def test_the_row_is_scrolled_by_keyboard(site: Site, open_page: Open) -> None:
    """In an iframe of another site's page, for each direction of writing: Tab into it, then the arrow key."""
    for lang, arrow in (("en", "ArrowRight"), ("ar", "ArrowLeft")):
        frame = f'<iframe src="{site.service}/embed?lang={lang}" title="Rates" width="160" height="46"></iframe>'
        page = open_page(site.page(f'<a href="/">Before</a>{frame}', "")).page
        inside = page.frames[1]
        expect(inside.locator("li").first).to_be_visible()
        page.get_by_role("link").focus()
        page.keyboard.press("Tab")

        def date_is_seen(page: Page = page, arrow: str = arrow) -> bool:
            page.keyboard.press(arrow)
            box = page.frames[1].evaluate(ROW)["said"]
            return _inside(box, 160)

        assert not _inside(inside.evaluate(ROW)["said"], 160)
        wait_until(date_is_seen)


def test_low_frame_is_accessible(site: Site, open_page: Open) -> None:
    """axe-core finds no violation, also where the row is wider than the frame."""
    page = open_page(f"{site.service}/embed?lang=en", viewport={"width": 160, "height": 46}).page
    assert page.evaluate(ROW)["row"] > 160
    assert complaints(page) == ""


def test_higher_frame_wraps_with_the_date_last(site: Site, open_page: Open) -> None:
    """Nothing scrolls sideways, and the date is in the last line."""
    page = open_page(f"{site.service}/embed?lang=en", viewport={"width": 320, "height": 65}).page
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 65})
        row = page.evaluate(ROW)
        assert row["stops"] == 0
        assert row["page"] <= width
        assert row["row"] <= width
        assert all(row["said"]["bottom"] > quote["top"] + SLACK for quote in row["quotes"]), width
        assert _inside(row["said"], width)
        assert row["parts"][0][0]["top"] >= -SLACK


@pytest.mark.parametrize("layout", ["list", "tape"])
def test_other_layouts_stay_as_wide_as_the_frame(site: Site, open_page: Open, layout: str) -> None:
    """A list and a tape do not scroll sideways in a low frame, and begin with the first rate."""
    page = open_page(f"{site.service}/embed?lang=en&layout={layout}", viewport={"width": 320, "height": 46}).page
    expect(page.locator("li").first).to_be_visible()
    for width in WIDTHS[3:]:
        page.set_viewport_size({"width": width, "height": 46})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        assert page.locator("li .seen").first.evaluate("node => node.getBoundingClientRect().top") < 46, width
