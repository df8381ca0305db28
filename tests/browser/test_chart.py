"""<currency-chart> on pages of other sites: what is drawn, the keyboard, screen readers, colours, sizes."""

import json
import os
import re
import urllib.request
from gzip import compress
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, expect

from service.web.http.assets import ASSETS
from tests.browser.conftest import WITHOUT_POLLS, Open, WatchedPage, axe_report, case, publish
from tests.browser.site import Site
from tests.support.wait import wait_until

SCRIPT = '<script type="module" src="{service}/chart.js"></script>'
DRAWN = """(element) => {
  const { plot, columns, parts } = element.chart;
  const { ctx, series, bbox } = plot;
  const inside = (index, x, y) => {
    ctx.save();
    ctx.lineWidth = 4;
    ctx.lineCap = "square";
    const hit = ctx.isPointInStroke(series[index]._paths.stroke, x, y);
    ctx.restore();
    return hit;
  };
  const at = (value, scale) => plot.valToPos(value, scale, true);
  const hits = columns.slice(1).map((values, part) => values.map((value, index) =>
    value == null ? null : inside(part + 1, at(columns[0][index], "x"), at(value, "y"))));
  return { times: columns[0], values: columns.slice(1), hits, parts, bbox };
}"""
"""What uPlot has drawn: its columns, and whether each value is on the path of its line."""


def open_chart(site: Site, open_page: Open, attributes: str = "", before: str = "", **options: Any) -> WatchedPage:
    """Open a page of another site with one chart, and wait until it is drawn."""
    markup = f'{before}<currency-chart currency="usd" {attributes}><i>the fallback</i></currency-chart>'
    watched = open_page(site.page(SCRIPT.format(service=site.service) + markup), WITHOUT_POLLS, **options)
    wait_for_chart(watched.page)
    return watched


def wait_for_chart(page: Page) -> Locator:
    element = page.locator("currency-chart").first
    expect(element.locator("canvas")).to_be_visible()
    return element


def document(site: Site, path: str = "usd") -> dict[str, Any]:
    with urllib.request.urlopen(f"{site.service}/v1/chart/{path}", timeout=30) as response:
        loaded: dict[str, Any] = json.load(response)
    return loaded


def picture_of(page: Page, name: str) -> None:
    """Save a screenshot to the folder of the environment variable SCREENSHOTS, if there is one."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_chart_works_under_a_strict_policy(site: Site, open_page: Open) -> None:
    """One script and one request to our host; no console messages, no cookies; the fallback is replaced."""
    watched = open_chart(site, open_page)
    watched.settled(site)
    assert watched.console == []
    expect(watched.page.get_by_text("the fallback")).not_to_be_visible()
    assert [url.removeprefix(site.service) for url in watched.urls_with(site.service)] == [
        "/chart.js",
        "/v1/chart/usd?lang=en",
    ]
    assert watched.page.context.cookies() == []


def test_every_publication_is_on_the_line(site: Site, open_page: Open) -> None:
    """The columns are the rates of the service, and each is on the path that is drawn."""
    watched = open_chart(site, open_page, 'range="all"')
    drawn = watched.page.locator("currency-chart").evaluate(DRAWN)
    rates = document(site)["rates"]
    assert drawn["values"] == [rates]
    assert drawn["hits"] == [[True] * len(rates)]
    picture_of(watched.page, "desktop")


def test_values_of_the_axis_are_exact(site: Site, open_page: Open) -> None:
    """A step of 2.5 has a decimal: its values are not rounded to 3, 5 and 8."""
    chart = open_chart(site, open_page, 'lang="en"').page.locator("currency-chart")
    labels = "({ chart }, step) => chart.plot.axes[1].values(chart.plot, [step, 3 * step], 1, 50, step)"
    steps = {2.5: ["2.5", "7.5"], 25: ["25", "75"], 0.25: ["0.25", "0.75"], 0.01: ["0.01", "0.03"]}
    assert {step: chart.evaluate(labels, step) for step in steps} == steps


def test_ranges_need_no_request(site: Site, open_page: Open) -> None:
    """A button shows its range, says so to assistive technology and to the page."""
    watched = open_chart(site, open_page)
    page, requests = watched.page, len(watched.requests)
    page.evaluate("document.addEventListener('chart-range', ({ detail }) => (window.selected = detail.range))")
    buttons = page.get_by_role("group", name="Range").get_by_role("button")
    assert buttons.all_inner_texts() == ["1M", "3M", "1Y", "5Y", "All"]
    expect(page.get_by_role("button", name="1 year")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="1 month").click()
    expect(page.get_by_role("button", name="1 month")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="1 year")).to_have_attribute("aria-pressed", "false")
    assert page.evaluate("selected") == "1m"
    page.locator("currency-chart").evaluate("(node) => node.setAttribute('range', '5y')")
    expect(page.get_by_role("button", name="5 years")).to_have_attribute("aria-pressed", "true")
    watched.settled(site)
    assert len(watched.requests) == requests


def test_keyboard_moves_the_crosshair(site: Site, open_page: Open) -> None:
    """Arrows, Home and End; screen readers hear date, rate and change, which are also shown."""
    watched = open_chart(site, open_page, 'range="all"')
    page, loaded = watched.page, document(site)
    plot = page.get_by_role("slider", name="US Dollar, KZT")
    plot.focus()
    expect(plot).to_have_attribute("aria-valuetext", re.compile(r"^\d+ \w+ \d{4}, 405.40, \+1.35%$"))
    page.keyboard.press("ArrowLeft")
    percent = loaded["percents"][-2]
    expect(plot).to_have_attribute("aria-valuetext", re.compile(re.escape(f", 400.00, {percent:+.2f}%") + "$"))
    expect(page.locator(".chart-readout")).to_contain_text("400.00")
    expect(page.locator(".u-cursor-x")).to_be_visible()
    page.keyboard.press("Home")
    expect(plot).to_have_attribute("aria-valuenow", "1")
    expect(plot).to_have_attribute("aria-valuetext", re.compile(r", —$"))
    page.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("aria-valuenow", "1")
    page.keyboard.press("End")
    expect(plot).to_have_attribute("aria-valuenow", str(len(loaded["rates"])))


def test_pointer_moves_the_crosshair(site: Site, open_page: Open) -> None:
    page = open_chart(site, open_page, 'range="all"').page
    box = page.locator(".u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2)
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuenow", "1")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] + 400)
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuenow", str(len(document(site)["rates"])))


def test_text_alternatives(site: Site, open_page: Open) -> None:
    """A sentence on the range, read when the range changes; a table of all rates; nothing that axe-core objects to."""
    page = open_chart(site, open_page, 'range="all"').page
    summary = page.locator(".chart-summary")
    expect(summary).to_have_text(f"{document(site)['text']['ranges'][-1]['summary']} {document(site)['source']}.")
    expect(summary).to_have_attribute("aria-live", "polite")
    page.get_by_text("Show as a table").click()
    rows = page.get_by_role("row")
    expect(rows).to_have_count(len(document(site)["rates"]) + 1)
    assert rows.nth(1).inner_text().split("\t")[1:] == ["405.40", "+1.35%"]
    assert axe_report(page) == ""
    picture_of(page, "table")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_theme(site: Site, open_page: Open, scheme: str) -> None:
    """`system` follows the visitor, also when they switch; `auto` the page; others are fixed. So does the canvas."""
    other = {"light": "dark", "dark": "light"}[scheme]
    inks = {"light": "rgb(28, 34, 48)", "dark": "rgb(232, 236, 243)"}
    surfaces = {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 29, 41)"}
    page = open_chart(site, open_page, 'theme="system" range="all"', color_scheme=scheme).page
    element, stroke = page.locator("currency-chart"), "(node) => node.chart.plot.ctx.strokeStyle"
    box = element.locator(".chart")
    expect(box).to_have_css("background-color", surfaces[scheme])
    line = "(node) => node.chart.plot.series[1].stroke()"
    assert element.evaluate(line) == inks[scheme]
    assert axe_report(page) == ""
    picture_of(page, f"system-{scheme}")
    element.evaluate("(node) => (node.drawn = 0, node.chart.plot.hooks.draw.push(() => node.drawn++))")
    page.emulate_media(color_scheme=other)  # type: ignore[arg-type]
    expect(box).to_have_css("background-color", surfaces[other])
    wait_until(lambda: element.evaluate(line) == inks[other] and element.evaluate("(node) => node.drawn") > 0)
    assert element.evaluate(stroke)
    for theme, surface in (
        ("auto", surfaces["light"]),
        ("dark", surfaces["dark"]),
        ("transparent", "rgba(0, 0, 0, 0)"),
    ):
        with case(theme):
            element.evaluate("(node, theme) => node.setAttribute('theme', theme)", theme)
            expect(box).to_have_css("background-color", surface)


@pytest.mark.parametrize("lang", [pytest.param("en", marks=pytest.mark.slow), "kk", "ar"])
def test_chart_fits_a_phone(site: Site, open_page: Open, lang: str) -> None:
    """Nothing is cut off at 320 px, buttons are large enough for a finger, and the canvas has the width of the box."""
    watched = open_chart(site, open_page, f'lang="{lang}"', viewport={"width": 320, "height": 700})
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    for button in page.get_by_role("group").get_by_role("button").all():
        box = button.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 24
    area, canvas = page.locator(".chart-plot").bounding_box(), page.locator("canvas").bounding_box()
    assert area
    assert canvas
    assert canvas["width"] == area["width"]
    assert page.locator(".chart").first.get_attribute("dir") == ("rtl" if lang == "ar" else "ltr")
    picture_of(page, f"phone-{lang}")
    page.set_viewport_size({"width": 700, "height": 700})
    wait_until(lambda: (page.locator("canvas").bounding_box() or canvas)["width"] > canvas["width"])


def test_attributes_and_language_of_the_page(site: Site, open_page: Open) -> None:
    """Another currency and another language are loaded; unknown values are reported and replaced by the default."""
    watched = open_chart(site, open_page)
    page, element = watched.page, watched.page.locator("currency-chart")
    element.evaluate("(node) => node.setAttribute('currency', 'EUR')")
    expect(page.get_by_role("slider")).to_have_attribute("aria-label", "Euro, KZT")
    page.evaluate("document.documentElement.lang = 'kk'")
    expect(page.get_by_role("slider")).to_have_attribute("aria-label", "Еуро, KZT")
    element.evaluate("(node) => node.setAttribute('range', '2w')")
    wait_until(lambda: bool(watched.console))
    assert watched.console == ['<currency-chart>: unknown range "2w"; known are 1m, 3m, 1y, 5y, all']


def test_fallback_stays_without_a_service_or_currency(site: Site, open_page: Open) -> None:
    """The content of the tag is shown until data arrives."""
    markup = SCRIPT.format(service=site.service) + '<currency-chart currency="xxx"><i>the fallback</i></currency-chart>'
    watched = open_page(
        site.page(markup, path="/none"), "addEventListener('chart-error', () => (window.failed = true))", clock=True
    )
    expect(watched.page.get_by_text("the fallback")).to_be_visible()
    watched.advance_until(lambda: bool(watched.page.evaluate("window.failed")), "chart-error")
    expect(watched.page.get_by_text("the fallback")).to_be_visible()


def test_events_have_the_publications(make_site: Any, open_page: Open) -> None:
    """`chart-ready` once, `chart-change` with new rates, which are drawn in the selected range."""
    site = make_site()
    listen = """for (const name of ["ready", "change"])
      addEventListener(`chart-${name}`, ({ detail }) => (window[name] = detail.rates.at(-1)));"""
    markup = SCRIPT.format(service=site.service) + '<currency-chart currency="usd" range="3m"></currency-chart>'
    watched = open_page(site.page(markup), listen, clock=True)
    element = wait_for_chart(watched.page)
    wait_until(lambda: watched.page.evaluate("window.ready") == 405.4)
    publish(site, USD="406.10")
    watched.advance_until(lambda: watched.page.evaluate("window.change") == 406.1, "chart-change")
    expect(watched.page.locator(".chart-readout")).to_contain_text("406.10")
    assert element.evaluate(DRAWN)["values"][0][-1] == 406.1
    expect(watched.page.get_by_role("button", name="3 months")).to_have_attribute("aria-pressed", "true")


def test_gap_new_unit_and_two_currencies_are_drawn(site: Site, open_page: Open) -> None:
    """A gap has no line, a new unit begins another line on a logarithmic scale, two currencies are indices."""
    watched = open_chart(site, open_page)
    element = watched.page.locator("currency-chart")
    change = """(node, changes) => {
      const data = changes.map((change) => ({ ...JSON.parse(node.text), ...change }));
      node.chart.update(data);
      node.chart.set("all");
    }"""
    loaded = document(site)
    count = len(loaded["rates"])
    half = count // 2
    element.evaluate(change, [{"starts": [half]}])
    drawn = element.evaluate(DRAWN)
    assert [values.count(None) for values in drawn["values"]] == [1]
    assert drawn["values"][0][half] is None
    new = {
        "starts": [half],
        "units": [half],
        "rates": [rate * (10_000 if index < half else 1) for index, rate in enumerate(loaded["rates"])],
    }
    element.evaluate(change, [new])
    drawn = element.evaluate(DRAWN)
    assert drawn["parts"] == [0, 0]
    assert all(hit for hits in drawn["hits"] for hit in hits if hit is not None)
    assert element.evaluate("(node) => node.chart.plot.scales.y.distr") == 3
    expect(watched.page.locator(".chart-summary")).to_contain_text("Logarithmic scale.")
    picture_of(watched.page, "new-unit")
    doubled = {"currency": "EUR", "name": "Euro", "rates": [rate * 2 for rate in loaded["rates"]]}
    element.evaluate(change, [{}, doubled])
    drawn = element.evaluate(DRAWN)
    assert drawn["values"][0] == pytest.approx(drawn["values"][1])
    assert drawn["values"][0][0] == pytest.approx(100)
    expect(watched.page.locator(".chart-readout")).to_contain_text("EUR")
    assert axe_report(watched.page) == ""
    picture_of(watched.page, "two")


LABELS: Final = """async (days) => {
  const outside = [];
  const { fillText } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
    const { width } = this.measureText(text);
    const left = x - { left: 0, center: 1 / 2, right: 1 }[this.textAlign] * width;
    if (left < 0 || left + width > this.canvas.width) outside.push([text, left, left + width, this.canvas.width]);
    return fillText.call(this, text, x, y, ...rest);
  };
  const node = document.querySelector("currency-chart");
  const data = JSON.parse(node.text);
  const ranges = data.text.ranges.map((range) => ({ ...range, from: data.first }));
  const each = (length, value) => Array.from({ length }, (_, index) => value(index));
  for (const count of days) {
    const step = Math.ceil(count / 300);
    const length = Math.floor(count / step) + 1;
    node.chart.update([{
      ...data, starts: [], text: { ...data.text, ranges }, days: each(length, (index) => index && step),
      rates: each(length, (index) => 400 + (index % 7)), percents: each(length, () => 0),
    }]);
    await new Promise(requestAnimationFrame); // uPlot draws in a microtask
  }
  CanvasRenderingContext2D.prototype.fillText = fillText;
  return outside;
}"""
"""Draw charts of so many days, and return the labels of axes that are not whole within the canvas."""


@pytest.mark.parametrize("lang", ["en", "kk", "ar", "zh"])
def test_labels_of_the_axes_are_whole(site: Site, open_page: Open, lang: str) -> None:
    """Days, months and years, at the edges too."""
    page = open_chart(site, open_page, f'lang="{lang}"').page
    for width in (320, 375, 1280):
        with case(width):
            page.set_viewport_size({"width": width, "height": 700})
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            days = [*range(8, 120, 7), *range(150, 800, 50), *range(1000, 6000, 500)]
            assert page.evaluate(LABELS, days) == []


def test_script_is_small() -> None:
    """At most 30 KB compressed, uPlot and the style sheet included; and it contains uPlot's licence."""
    body, _ = ASSETS.files[ASSETS.names["chart.js"]]
    assert len(compress(body, 9)) <= 30 * 1024
    assert b"Permission is hereby granted, free of charge" in body


TEXTS = """async ([url, width]) => {
  const svg = new DOMParser().parseFromString(await (await fetch(url)).text(), "image/svg+xml").documentElement;
  svg.style = width ? `width:${width}px;height:auto` : "";
  document.body.style.margin = 0;
  document.body.replaceChildren(svg);
  const box = (node) => node.getBoundingClientRect().toJSON();
  const texts = [...svg.querySelectorAll("text")].filter((text) => getComputedStyle(text).display !== "none");
  const scale = box(svg).width / svg.viewBox.baseVal.width;
  const size = (text) => parseFloat(getComputedStyle(text).fontSize) * scale;
  return { ...box(svg), texts: texts.map((text) => ({ ...box(text), text: text.textContent, size: size(text) })) };
}"""
"""The box of a picture, shown in a width, and the boxes and font sizes of its texts."""


@pytest.mark.parametrize("lang", [pytest.param("en", marks=pytest.mark.slow), "kk", "ar"])
def test_texts_of_pictures_fit(site: Site, open_page: Open, lang: str) -> None:
    """In every width, and where a phone shows the default picture: none is cut off, overlaps, or is below 9 px."""
    page = open_page(f"{site.service}/livez").page
    cases = [(f"width={width}&height=240", 0, 1280) for width in (160, 240, 320, 480, 720, 1280)]
    for query, shown, viewport in [*cases, ("", 343, 375)]:
        for name in ("1m", "all"):
            with case(lang, query or "phone", name):
                page.set_viewport_size({"width": viewport, "height": 700})
                url = f"{site.service}/v1/chart/usd.svg?lang={lang}&range={name}&{query}"
                picture = page.evaluate(TEXTS, [url, shown])
                assert len(picture["texts"]) >= 4
                for text in picture["texts"]:
                    assert picture["left"] <= text["left"] <= text["right"] <= picture["right"] + 1, text
                    assert picture["top"] <= text["top"] <= text["bottom"] <= picture["bottom"] + 1, text
                    assert text["size"] >= 9
                for one, other in combinations(picture["texts"], 2):
                    beside = one["right"] <= other["left"] or other["right"] <= one["left"]
                    above = one["bottom"] <= other["top"] + 4 or other["bottom"] <= one["top"] + 4
                    assert beside or above, (one["text"], other["text"])
