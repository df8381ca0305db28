"""Pictures in a browser: no text is cut off or overlaps at any width, `theme=auto` follows the visitor, e-mail."""

import itertools
from typing import Any

import pytest
from playwright.sync_api import Page

from service.settings.loader import ROOT
from tests.browser.conftest import Open, case
from tests.browser.site import Site

WIDTHS = (160, 200, 240, 320, 375, 480, 650, 768, 1024, 1280)
MEASURE = """async (url) => {
  const svg = new DOMParser().parseFromString(await (await fetch(url)).text(), "image/svg+xml").documentElement;
  document.body.replaceChildren(svg);
  const box = (node) => node.getBoundingClientRect();
  return {
    ...box(svg).toJSON(),
    texts: [...svg.querySelectorAll("text")].map((text) => ({
      ...box(text).toJSON(),
      sizes: [...text.querySelectorAll("tspan")].filter((part) => part.textContent.trim())
        .map((part) => parseFloat(getComputedStyle(part).fontSize)),
    })),
  };
}"""
"""The box of a picture, the boxes of its texts, and their font sizes."""
SURFACES = {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 29, 41)"}


@pytest.mark.parametrize(
    "lang", ["ar", "kk", pytest.param("en", marks=pytest.mark.slow), pytest.param("ru", marks=pytest.mark.slow)]
)
def test_texts_fit_every_width(site: Site, open_page: Open, lang: str) -> None:
    """All texts are inside the picture, none overlaps another, and none is smaller than 11 px."""
    page = open_page(f"{site.service}/livez").page
    page.set_viewport_size({"width": 1280, "height": 900})
    for width, layout in itertools.product(WIDTHS, ("strip", "list&spark=1")):
        for show in ("percent", "rate,change,percent"):
            with case(lang, width, layout, show):
                _assert_fits(page, f"{site.service}/v1/ticker.svg?{lang=!s}&{layout=!s}&{show=!s}&{width=!s}", width)


@pytest.mark.parametrize("width", [160, 200, 320])
def test_large_text_fits_a_narrow_picture(site: Site, open_page: Open, width: int) -> None:
    """Words that are longer than a line are broken, in languages with long ones too."""
    page = open_page(f"{site.service}/livez").page
    for lang, layout in itertools.product(("en", "ru", "kk", "de", "uz", "ar"), ("strip", "list")):
        with case(lang, layout):
            query = f"{lang=!s}&{layout=!s}&{width=!s}&size=24"
            _assert_fits(page, f"{site.service}/v1/ticker.svg?{query}", width, slack=3.5)


@pytest.mark.parametrize("query", ["width=640", "lang=ru", "lang=ar&width=640"])
def test_texts_of_a_row_are_spread_over_its_width(site: Site, open_page: Open, query: str) -> None:
    """No margin is wider than the spaces between texts; a hairline is in the middle of each."""
    page = open_page(f"{site.service}/livez").page
    page.set_viewport_size({"width": 1280, "height": 900})
    picture: dict[str, Any] = page.evaluate(MEASURE, f"{site.service}/v1/ticker.svg?currencies=usd,eur&{query}")
    first, *_, last = texts = sorted(picture["texts"], key=lambda text: float(text["left"]))
    assert len(texts) == 3  # two rates and the date
    spaces = [right["left"] - left["right"] for left, right in itertools.pairwise(texts)]
    assert max(first["left"] - picture["left"], picture["right"] - last["right"]) <= max(spaces)
    hairlines = page.evaluate(
        "[...document.querySelectorAll('path')].map((line) => line.getBoundingClientRect().x).sort((a, b) => a - b)"
    )
    for hairline, (left, right) in zip(hairlines, itertools.pairwise(texts), strict=True):
        assert left["right"] < hairline < right["left"]


def _assert_fits(page: Page, url: str, width: int, slack: float = 2) -> None:
    """`slack` is how far the line boxes of texts may overlap, which are higher than letters."""
    picture: dict[str, Any] = page.evaluate(MEASURE, url)
    assert picture["width"] == width
    assert picture["texts"]
    for text in picture["texts"]:
        assert picture["left"] <= text["left"] <= text["right"] <= picture["right"], f"cut off: {text}"
        assert picture["top"] <= text["top"] <= text["bottom"] <= picture["bottom"], f"cut off: {text}"
        assert min(text["sizes"]) >= 11
    for one, other in itertools.combinations(picture["texts"], 2):
        beside = one["right"] <= other["left"] or other["right"] <= one["left"]
        above = one["bottom"] <= other["top"] + slack or other["bottom"] <= one["top"] + slack
        assert beside or above, f"overlapping: {one}, {other}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_auto_theme_follows_the_visitors_colour_scheme(site: Site, open_page: Open, scheme: str) -> None:
    """Also where the picture is opened by itself, under its Content-Security-Policy; others keep their colours."""
    watched = open_page(f"{site.service}/livez", color_scheme=scheme)
    expected = {"auto": scheme, "light": "light", "dark": "dark"}
    for theme, shown in expected.items():
        watched.page.goto(f"{site.service}/v1/ticker.svg?theme={theme}")
        fill = watched.page.evaluate("getComputedStyle(document.querySelector('rect')).fill")
        assert fill == SURFACES[shown]
    assert watched.console == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_auto_theme_works_in_an_image(site: Site, open_page: Open, scheme: str) -> None:
    """In `img`, where most sites show it: the surface of the image has the colour of the scheme."""
    page = open_page(f"{site.service}/livez", color_scheme=scheme).page
    colour = page.evaluate(
        """async (source) => {
          const image = new Image();
          image.src = source;
          await image.decode();
          const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
          context.drawImage(image, 0, 0);
          return `rgb(${[...context.getImageData(image.width / 2, 4, 1, 1).data].slice(0, 3).join(", ")})`;
        }""",
        f"{site.service}/v1/ticker.svg?theme=auto",
    )
    assert colour == SURFACES[scheme]


@pytest.mark.parametrize("width", [375, 1280])
def test_email_shows_the_picture(site: Site, open_page: Open, width: int) -> None:
    """The message of the documentation: twice as many pixels as its width, nothing wider than the window, no script."""
    message = (ROOT / "docs" / "email.html").read_text(encoding="utf-8").replace("https://ticker.example", site.service)
    assert "<script" not in message
    page = open_page(f"{site.service}/livez").page
    page.set_viewport_size({"width": width, "height": 700})
    page.set_content(message)
    page.wait_for_function("document.images[0].complete")
    shown = page.evaluate("[document.images[0].naturalWidth, document.images[0].width, document.body.scrollWidth]")
    assert shown == [640, min(320, width), width]
