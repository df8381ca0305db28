"""The element at every width, in four languages, on light and dark pages, with both system schemes."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Open, case, ticker_json
from tests.browser.element import wait_for_elements, with_script
from tests.browser.site import Site
from tests.support.standin import Banks, RawRates
from tests.support.wait import wait_until

WIDTHS = (160, 200, 240, 320, 375, 480, 650, 768, 1024, 1280)
FORMS = (("strip", "percent"), ("strip", "rate,percent"), ("list", "rate,percent"), ("list", "rate,change,percent"),
         ("tape", "rate,percent"))  # fmt: skip
ALL_VALUES = "rate,buy,sell,change,percent"
TWO_SIDED = (("strip", "buy,sell"), ("strip", ALL_VALUES), ("list", "buy,sell"), ("list", "buy,sell,percent"),
             ("list", ALL_VALUES), ("list", "rate,percent"), ("list", "rate,buy,change,percent"),
             ("tape", "buy,sell,percent"))  # fmt: skip
LIRA: tuple[RawRates, ...] = (
    {"USD": "43.8172/43.8962", "EUR": "51.7008/51.7939", "JPY": ("28.0072/28.1927", 100), "XDR": "60.1000"},
    {"USD": "43.9001/43.9791", "EUR": "51.6008/51.6939", "JPY": ("28.0172/28.2027", 100), "XDR": "60.2000"},
)
each_language = pytest.mark.parametrize(
    "lang", ["en", "ar", pytest.param("kk", marks=pytest.mark.slow), pytest.param("ru", marks=pytest.mark.slow)]
)
MEASURE = """(host) => {
  const root = host.shadowRoot, box = root.querySelector(".ticker").getBoundingClientRect();
  const letters = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const { left, right, top, bottom } = range.getBoundingClientRect();
    return { name: node.className, left, right, top, bottom };
  };
  const list = root.querySelector("ul"), date = root.querySelector(".date");
  return {
    width: host.parentElement.clientWidth,
    page: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    box: { left: box.left, right: box.right, top: box.top, bottom: box.bottom },
    quotes: [...list.children].map((item) => [...item.querySelectorAll(".seen > span")].map(letters)),
    date: letters(date),
  };
}"""
"""Measure the letters of every text of the first element, and of its date line."""
CONTRAST = """(host) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const box = host.shadowRoot.querySelector(".ticker"), ground = luminance(getComputedStyle(box).backgroundColor);
  return [...box.querySelectorAll("li span, .date, .date *")].map((node) => {
    const ink = luminance(getComputedStyle(node).color);
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  });
}"""
SLACK = 2
"""How far line boxes of a font may differ, in pixels."""


@each_language
def test_rates_and_source_are_visible_at_every_width(site: Site, open_page: Open, lang: str) -> None:
    """The first rate is whole, nothing overlaps or is cut off, and the source is visible."""
    markup = "<div id='column'><currency-ticker></currency-ticker></div>"
    page = open_page(site.page(with_script(site, markup), policy="", lang=lang), reduced_motion="reduce").page
    page.set_viewport_size({"width": 1320, "height": 900})
    _assert_fits(wait_for_elements(page).first, lang, FORMS, "NBK")


@pytest.mark.parametrize("lang", ["en", *(pytest.param(lang, marks=pytest.mark.slow) for lang in ("ar", "kk", "ru"))])
def test_buying_and_selling_rates_are_visible_at_every_width(
    make_site: Callable[..., Site], open_page: Open, lang: str
) -> None:
    """With all other values too, a currency of which the bank publishes one rate only, and one with its own date."""
    today = datetime.now(UTC).date()
    published = {today - timedelta(days=number): LIRA[number % 2] for number in range(12)}
    published[today] = {code: rate for code, rate in LIRA[0].items() if code != "EUR"}
    currencies = list(LIRA[0])
    tickers = [
        {"id": "kzt", "base": "KZT", "currencies": ["USD"], "sources": ["nbk"]},
        {"id": "try", "base": "TRY", "currencies": currencies, "sources": ["tcmb"]},
    ]
    site = make_site(banks=Banks(published={"tcmb": published}), tickers=tickers)
    wait_until(lambda: ticker_json(site, "/try")["quotes"][0].get("buying"))
    markup = "<div id='column'><currency-ticker ticker='try'></currency-ticker></div>"
    page = open_page(site.page(with_script(site, markup), policy="", lang=lang), reduced_motion="reduce").page
    page.set_viewport_size({"width": 1320, "height": 900})
    element = wait_for_elements(page).first
    expect(element.locator("ul .own-date")).to_have_count(1)
    _assert_fits(element, lang, TWO_SIDED, "TCMB")
    assert element.locator("ul").first.locator(".buy").count() == element.locator("ul").first.locator(".sell").count()
    assert element.locator("ul").first.locator(".buy").count() == len(currencies) - 1


def _assert_fits(element: Locator, lang: str, forms: Iterable[tuple[str, str]], source: str) -> None:
    """Assert that nothing overlaps or is cut off, in every form at every width."""
    for (layout, show), width in product(forms, WIDTHS):
        with case(lang, layout, show, width):
            element.evaluate(
                """(host, [layout, show, width]) => {
                  host.setAttribute("layout", layout);
                  host.setAttribute("show", show);
                  host.parentElement.style.width = `${width}px`;
                }""",
                [layout, show, width],
            )
            measured = element.evaluate(MEASURE)
            assert measured["width"] == width
            assert measured["page"] == 0
            _assert_is_readable(measured, is_tape=layout == "tape")
            expect(element.locator(".date")).to_contain_text(source if layout != "list" else "20")


def _assert_is_readable(measured: dict[str, Any], *, is_tape: bool) -> None:
    box, quotes, date = measured["box"], measured["quotes"], measured["date"]
    for text in (*quotes[0][:2], date):  # the code and the first value: a tape is scrolled for the others
        assert box["left"] - SLACK <= text["left"] < text["right"] <= box["right"] + SLACK, text
        assert box["top"] - SLACK <= text["top"] < text["bottom"] <= box["bottom"] + SLACK, text
    if not is_tape:
        for text in (text for quote in quotes for text in quote):
            assert box["left"] - SLACK <= text["left"] < text["right"] <= box["right"] + SLACK, text
        texts = [text for quote in quotes for text in quote] + [date]
        for number, text in enumerate(texts):
            for other in texts[number + 1 :]:
                assert not _overlap(text, other), (text, other)


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    across = min(one["right"], other["right"]) - max(one["left"], other["left"])
    down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
    return bool(across > SLACK and down > 2 * SLACK)


def test_large_text_and_the_pause_button_fit_a_narrow_column(site: Site, open_page: Open) -> None:
    """At 160 px with text of 24 px, in the language with the longest status: nothing is cut off."""
    rules = "<style>html { font-size: 24px } div { width: 160px }</style>"
    markup = "".join(
        f"<div><currency-ticker layout='{layout}'></currency-ticker></div>" for layout in ("strip", "list", "tape")
    )
    url = site.page(with_script(site, rules + markup), policy="", lang="ru")
    page = open_page(url, reduced_motion="no-preference").page
    elements = wait_for_elements(page, 3)
    for number, part in ((0, ".date"), (0, ".source"), (1, ".name"), (1, ".date"), (2, ".date"), (2, ".pause")):
        with case(number, part):
            box, outer = elements.nth(number).locator(part).first.bounding_box(), elements.nth(number).bounding_box()
            assert box
            assert outer
            assert outer["x"] - SLACK <= box["x"]
            assert box["x"] + box["width"] <= outer["x"] + outer["width"] + SLACK
            overflow = "node => node.scrollWidth - node.clientWidth"
            assert elements.nth(number).locator(part).first.evaluate(overflow) <= SLACK


@pytest.mark.parametrize(
    "style", ["", "color-scheme: light", "color-scheme: dark; background: #10151f", "color-scheme: light dark"]
)
def test_contrast_is_sufficient_on_every_page(site: Site, open_page: Open, style: str) -> None:
    """At least 4.5 to 1 in every theme with a background, on light and dark pages, with both system schemes."""
    themes = ("auto", "system", "light", "dark")
    markup = "".join(f"<currency-ticker theme='{theme}' layout='list'></currency-ticker>" for theme in themes)
    rules = f"<style>:root {{ {style} }}</style>"
    for system in ("light", "dark"):
        page = open_page(site.page(with_script(site, rules + markup), policy=""), color_scheme=system).page
        elements = wait_for_elements(page, len(themes))
        for number, theme in enumerate(themes):
            with case(style, system, theme):
                assert min(_contrasts(elements.nth(number))) >= 4.5


def _contrasts(element: Locator) -> list[float]:
    contrasts = element.evaluate(CONTRAST)
    assert len(contrasts) > 20
    return contrasts  # type: ignore[no-any-return]
