"""The parts of dates are in the order of a right-to-left language, also beside Latin names."""

from typing import Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, case, ticker_json
from tests.browser.element import wait_for_elements, with_script
from tests.browser.site import Site

POSITIONS: Final = """(root, text) => {
  const nodes = [];
  const walk = (node) => {
    if (node.nodeType === 3 && node.data.trim()) nodes.push(node);
    node.childNodes.forEach(walk);
  };
  walk(root);
  const words = text.split(/\\s+/);
  const all = nodes.flatMap((node) => [...node.data.matchAll(/[^\\s,\\u200e\\u200f\\u2066-\\u2069]+/g)].map((word) => {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    const { left, right } = range.getBoundingClientRect();
    return [word[0], (left + right) / 2];
  }));
  const start = all.findIndex((pair, index) => words.every((word, offset) => all[index + offset]?.[0] === word));
  return start < 0 ? null : all.slice(start, start + words.length).map(([, middle]) => middle);
}"""
"""The middle of each word of a text that is on one line; null if it is not in the element."""
CANVAS: Final = """
  window.drawn = [];
  const { fillText } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
    drawn.push(this.direction === "inherit" ? getComputedStyle(this.canvas).direction : this.direction);
    return fillText.call(this, text, ...where);
  };
"""
"""A script that records the direction of the texts of canvases."""


def arabic_date(site: Site, query: str = "", field: str = "date") -> str:
    return str(ticker_json(site, f"?lang=ar{query}")["text"][field])


def assert_right_to_left(element: Locator | Page, text: str) -> None:
    """Assert that the words of a text follow each other from right to left."""
    root = element.locator(":root") if isinstance(element, Page) else element
    positions: list[float] | None = root.evaluate(POSITIONS, text)
    assert positions is not None, text
    assert positions == sorted(positions, reverse=True), text


@pytest.mark.parametrize("period", ["day", "week"])
def test_date_of_a_strip_is_in_its_order(site: Site, open_page: Open, period: str) -> None:
    """In the element and in the page for frames: strip, tape and list; and in the image."""
    text = arabic_date(site, f"&period={period}")
    line = f"NBK {text}"
    for layout in ("strip", "tape"):
        with case(layout):
            markup = f"<currency-ticker layout='{layout}' period='{period}'></currency-ticker>"
            page = open_page(site.page(with_script(site, markup), policy="", lang="ar")).page
            assert_right_to_left(wait_for_elements(page).first.locator(".date"), line)
            page.goto(f"{site.service}/embed?lang=ar&layout={layout}&period={period}")
            assert_right_to_left(page.locator(".date"), line)
    page.goto(f"{site.service}/embed?lang=ar&layout=list&period={period}")
    last = text.split(" – ")[-1]
    assert_right_to_left(page.locator(".date"), last)
    page.goto(f"{site.service}/v1/ticker.svg?lang=ar&period={period}")
    assert_right_to_left(page, line)
    page.goto(f"{site.service}/v1/ticker.svg?lang=ar&layout=list&period={period}")
    assert_right_to_left(page, last)


def test_dates_of_a_receipt_are_in_their_order(site: Site, open_page: Open) -> None:
    day = ticker_json(site)["quotes"][0]["date"]
    page = open_page(f"{site.service}/fixings/nbk/{day}?lang=ar").page
    date = page.locator("h1 time").inner_text()
    assert_right_to_left(page.locator("h1 time"), date)
    name, time = page.locator("h1 bdi").bounding_box(), page.locator("h1 time").bounding_box()
    assert name
    assert time
    assert time["x"] + time["width"] <= name["x"] + 1 or time["y"] > name["y"] + name["height"] / 2
    assert page.title().endswith(f" \u2068{date}\u2069")


def test_dates_of_a_chart_are_in_their_order(site: Site, open_page: Open) -> None:
    """In the image, its labels too; and in the interactive chart."""
    text = arabic_date(site)
    page = open_page(f"{site.service}/v1/chart/usd.svg?lang=ar", CANVAS).page
    assert_right_to_left(page, text)
    for label in page.locator("text.soft").all():
        words = (label.text_content() or "").strip("\u2068\u2069")
        assert_right_to_left(label, words)
    page.goto(f"{site.service}/rates/usd?lang=ar")
    expect(page.locator("#plot canvas")).to_be_visible()
    assert set(page.evaluate("drawn")) == {"rtl"}
    page.goto(f"{site.service}/rates/usd?lang=en")
    expect(page.locator("#plot canvas")).to_be_visible()
    assert set(page.evaluate("drawn")) == {"ltr"}
