"""The pages `/rates`, `/rates/{currency}` and `/fixings/{source}/{date}`."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from gzip import compress
from time import time
from typing import Any, Final, Literal
from unittest.mock import patch

import pytest
from playwright.sync_api import Page, Route, expect

from service.clock import Clock
from service.errors import StoreError
from service.storage.repository import Store
from tests.browser.conftest import Open, WatchedPage, axe_report, case, ticker_json
from tests.browser.site import NEW, OLD, Site
from tests.support.wait import wait_until

MAX_SIZE: Final = 100_000
"""Bytes of the page of a currency with all its assets, compressed."""
PHONE: Final = {"width": 375, "height": 812}
CUT_OFF: Final = """() => {
  const clips = (node) => getComputedStyle(node).overflowX !== "visible";
  const cut = [];
  for (const cell of document.querySelectorAll("tbody :is(td, th)")) {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const { left, right, width } = range.getBoundingClientRect();
    let box = cell.closest("table").parentElement;
    while (box !== document.documentElement && !clips(box)) box = box.parentElement;
    const { left: start, right: end } = box.getBoundingClientRect();
    const scrolls = getComputedStyle(box).overflowX === "auto" && box.tabIndex === 0;
    if (width && (left < start - 1 || right > end + 1)) cut.push([cell.textContent, scrolls]);
  }
  return cut;
}"""
"""The texts of tables that are not visible as a whole, and whether the box around the table scrolls by the keyboard."""
PATHS: Final = ("/rates", "/rates/usd", "/rates/usd?range=all&compare=eur", "/rates/xxx", "/fixings/nbk/{date}")


@pytest.fixture(scope="module")
def rates_site(valkey: str) -> Iterator[Site]:
    """Yield a site whose bank has published 13 days, and today a suspicious rate of the yuan."""
    with ExitStack() as stack:
        site = stack.enter_context(Site(valkey, published=(OLD, {**NEW, "CNY": "180.20"})).serving())
        wait_until(lambda: ticker_json(site)["quotes"][0]["source"] == "nbk")
        yield site


def path_of(site: Site, path: str) -> str:
    date = ticker_json(site)["quotes"][0]["date"]
    return site.service + path.format(date=date)


def open_rate(site: Site, open_page: Open, query: str = "", **options: Any) -> WatchedPage:
    """Open the page of the dollar, and wait for its chart."""
    watched = open_page(f"{site.service}/rates/usd?lang=en{query}", **options)
    expect(watched.page.locator("#plot canvas")).to_be_visible()
    return watched


def requested(watched: WatchedPage) -> list[str]:
    """Return the requested URLs, without the icon: the browser takes it from its cache for each address."""
    return [request.url for request in watched.requests if "icon" not in request.url]


def ranges(page: Page) -> str:
    return page.get_by_role("navigation", name="Range").locator("[aria-current]").inner_text()


@pytest.mark.parametrize("path", PATHS)
def test_page_is_complete_without_javascript(rates_site: Site, open_page: Open, path: str) -> None:
    """Each has a heading, its figures and links to the other pages; nothing is wider than a phone."""
    page = open_page(path_of(rates_site, path), java_script_enabled=False, viewport=PHONE).page
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    for name in ("Builder", "Rates", "Status", "API"):
        expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(
        "[...document.querySelectorAll('.wide')].every((card) => card.scrollWidth <= card.clientWidth)"
    )
    if path.startswith("/rates/usd"):
        expect(page.locator("svg.currency-chart:visible")).to_have_count(1)
        expect(page.locator("table.history tbody tr")).to_have_count(13)


@pytest.mark.parametrize("lang", ["en", "ru", "kk", "ar"])
def test_numbers_of_a_table_are_whole_on_a_phone(rates_site: Site, open_page: Open, lang: str) -> None:
    """Those of a receipt with its columns as lines; a table with too many columns scrolls."""
    page = open_page(path_of(rates_site, f"/fixings/nbk/{{date}}?lang={lang}"), viewport=PHONE).page
    assert page.evaluate(CUT_OFF) == []
    headings = page.locator("table.published thead").first.locator("th").all_inner_texts()
    labels = page.locator("table.published tbody tr").first.locator("td")
    shown = labels.evaluate_all("(cells) => cells.map((cell) => getComputedStyle(cell, '::before').content)")
    assert [label.split('"')[1] for label in shown] == headings[1:]
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.evaluate(CUT_OFF) == []
    page.set_viewport_size({"width": 320, "height": 812})
    for path in ("/rates", "/rates/usd", "/rates/usd?compare=eur"):
        with case(path):
            page.goto(rates_site.service + path + ("&" if "?" in path else "?") + f"lang={lang}")
            assert all(scrolls for _, scrolls in page.evaluate(CUT_OFF))
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_visitor_follows_a_rate_to_its_receipt_without_javascript(rates_site: Site, open_page: Open) -> None:
    """From the table of all rates to the currency, the receipt of a row, and the JSON."""
    page = open_page(f"{rates_site.service}/rates?lang=en", java_script_enabled=False).page
    expect(page.get_by_role("row", name=re.compile("USD US Dollar 405.40"))).to_be_visible()
    page.get_by_role("link", name="USD US Dollar").click()
    expect(page.locator(".now strong")).to_have_text("405.40")
    page.locator("table.history tbody tr").first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("National Bank of Kazakhstan")
    expect(page.get_by_role("row", name=re.compile("^USD US Dollar 1 405.40"))).to_be_visible()
    page.get_by_text("Show as text").click()
    expect(page.locator("pre")).to_contain_text("<title>USD</title>")
    page.get_by_role("link", name="JSON").click()
    expect(page.locator("body")).to_contain_text('"digest":')


def test_points_of_the_chart_lead_to_their_receipts(rates_site: Site, open_page: Open) -> None:
    """By click, by the Enter key, and by the date beside the rate; the chosen range is there when one returns."""
    page = open_rate(rates_site, open_page).page
    before, address = ranges(page), page.url
    date = page.locator("#plot a.chart-date")
    latest = date.get_attribute("href")
    assert latest
    page.locator("#plot .u-over").click(position={"x": 200, "y": 100})
    page.wait_for_url("**/fixings/nbk/*?lang=en")
    assert not page.url.endswith(latest.removeprefix(".."))
    page.go_back()
    assert (page.url, ranges(page)) == (address, before)
    page.locator("#plot [role=slider]").focus()
    page.keyboard.press("Home")
    expect(date).not_to_have_attribute("href", latest)
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{latest.removeprefix('..')}")


def test_range_and_comparison_are_links(rates_site: Site, open_page: Open) -> None:
    """Without JavaScript: the address has the choice, and the language is kept."""
    page = open_page(f"{rates_site.service}/rates/usd?lang=en", java_script_enabled=False).page
    page.get_by_role("link", name="1M").click()
    assert ranges(page) == "1M"
    page.get_by_text("Compare with").click()
    page.get_by_role("link", name="EUR").click()
    assert page.url.endswith("/rates/usd?lang=en&range=1m&compare=eur")
    expect(page.locator(".legend")).to_contain_text("Index: 100 on")
    expect(page.locator("table.history thead th")).to_have_text(
        ["Date", "USD", "Change", "EUR", "Index USD", "Index EUR"]
    )
    expect(page.locator("table.history tbody tr").last.locator("td").nth(3)).to_have_text("100.00")
    page.get_by_text("Compared with EUR").click()
    page.get_by_role("link", name="No comparison").click()
    expect(page.locator(".legend")).to_have_count(0)


def test_chart_needs_no_request(rates_site: Site, open_page: Open) -> None:
    """Ranges, pointer and keys: all from the data of the page; the address follows, and back returns."""
    watched = open_rate(rates_site, open_page)
    page = watched.settled(rates_site).page
    before = requested(watched)
    page.get_by_role("link", name="3M").click()
    assert ranges(page) == "3M"
    expect(page).to_have_url(re.compile("range=3m"))
    expect(page.locator(".stats:visible")).to_have_attribute("id", "stats-3m")
    assert "/v1/history/usd.csv?from=" in (page.locator("#csv").get_attribute("href") or "")
    page.locator("#plot .u-over").hover(position={"x": 5, "y": 50})
    expect(page.locator(".chart-readout")).to_contain_text("395.50")
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", re.compile("405.40"))
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", re.compile("400.00"))
    page.go_back()
    assert ranges(page) == "1Y"
    assert requested(watched.settled(rates_site)) == before
    assert watched.console == []


@pytest.mark.parametrize("path", PATHS)
def test_page_keeps_the_security_policy(rates_site: Site, open_page: Open, path: str) -> None:
    """No violation, no other host, no cookie and nothing stored."""
    watched = open_page(path_of(rates_site, path))
    page = watched.settled(rates_site).page
    missing = ["Failed to load resource: the server responded with a status of 404 (Not Found)"]
    assert watched.console == (missing if path == "/rates/xxx" else [])
    assert {request.url.split("/")[2] for request in watched.requests} == {rates_site.service.removeprefix("http://")}
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


@pytest.mark.parametrize("path", PATHS)
def test_page_is_accessible(rates_site: Site, open_page: Open, path: str) -> None:
    """In light and dark, on a phone and a desktop, with and without JavaScript's chart, menus open."""
    for viewport in (PHONE, {"width": 1280, "height": 900}):
        page = open_page(path_of(rates_site, path), viewport=viewport).page
        page.evaluate("for (const menu of document.querySelectorAll('details')) menu.open = true")
        for scheme in ("light", "dark"):
            with case(viewport["width"], scheme):
                page.emulate_media(color_scheme=scheme)
                assert axe_report(page) == ""


def test_quarantined_day_is_marked_and_explained(rates_site: Site, open_page: Open) -> None:
    """In the table without its rate, and on its receipt with the reason."""
    page = open_page(f"{rates_site.service}/rates/cny?lang=en").page
    row = page.locator("table.history tr.held")
    expect(row).to_contain_text("quarantined")
    expect(row).not_to_contain_text("180.20")
    row.get_by_role("link").click()
    expect(page.get_by_role("region", name="Checks")).to_contain_text("CNY")
    expect(page.get_by_role("region", name="Quarantined rates")).to_contain_text("180.20")


def test_page_of_an_unknown_currency_links_to_known_ones(rates_site: Site, open_page: Open) -> None:
    page = open_page(f"{rates_site.service}/rates/xxx?lang=en").page
    expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
    page.get_by_role("link", name="GBP").click()
    expect(page.locator(".now strong")).to_have_text("594.66")


def test_language_is_selected_and_kept(rates_site: Site, open_page: Open) -> None:
    """In a menu that works without JavaScript; the links to other pages keep the language."""
    page = open_page(f"{rates_site.service}/rates/usd?lang=en&range=1m", java_script_enabled=False).page
    page.locator(".languages summary").click()
    page.get_by_role("link", name="العربية").click()
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    expect(page.locator(".ranges [aria-current]")).to_have_attribute("data-range", "1m")
    page.locator(".crumb a").click()
    expect(page.locator("html")).to_have_attribute("lang", "ar")


def test_page_of_a_currency_is_small(rates_site: Site, open_page: Open) -> None:
    """With all assets, compressed as the service sends them."""
    watched = open_rate(rates_site, open_page, new=True)
    bodies = [response.body() for request in watched.requests if (response := request.response())]
    assert sum(len(compress(body, 9)) for body in bodies) <= MAX_SIZE


def test_indices_begin_with_a_redenomination(rates_site: Site, open_page: Open) -> None:
    """Also in the interactive chart: the first of its publications is that of the last new unit."""

    def redenominate(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=response.text().replace('"units":[]', '"units":[6]', 1))

    page = open_page(f"{rates_site.service}/rates").page
    page.route("**/rates/usd?*", redenominate)
    page.goto(f"{rates_site.service}/rates/usd?lang=en&compare=eur")
    expect(page.locator("#plot canvas")).to_be_visible()
    chart = page.get_by_role("slider")
    expect(chart).to_have_attribute("aria-valuemax", "7")
    chart.press("Home")
    expect(page.locator(".chart-rate")).to_have_text(["USD 100.00", "EUR 100.00"])


class ShiftedClock(Clock):
    """The system clock, `ahead` by some seconds."""

    ahead = 0.0

    def __call__(self) -> datetime:
        return super().__call__() + timedelta(seconds=self.ahead)

    def seconds(self) -> float:
        return time() + self.ahead


def test_page_that_lacks_older_rates_says_so_and_completes_itself(
    make_site: Callable[..., Site], open_page: Open
) -> None:
    """A visitor who stays on it needs not reload it; the chosen range stays. Nothing is wider than a phone."""
    clock = ShiftedClock()
    site = make_site(clock=clock)  # the service keeps older rates that it has read for an earlier request
    with patch.object(Store, "version", side_effect=StoreError("down")):
        watched = open_page(f"{site.service}/rates/usd?lang=en&range=3m", clock=True, viewport=PHONE)
        page, note = watched.page, watched.page.locator("#incomplete")
        expect(note).to_have_text(re.compile("^Older rates cannot be read at the moment"))
        expect(page.locator("#plot canvas")).to_be_visible()
        # Not at once: a page that another instance completes would be reloaded in a loop.
        assert len(watched.settled(site).urls_with("/rates/usd")) == 1
        assert page.get_by_role("status").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            assert axe_report(page) == ""
        page.get_by_role("navigation", name="Range").get_by_role("link", name="1M").click()
        watched.advance_until(lambda: len(watched.urls_with("/rates/usd")) > 3)
        expect(note).to_be_visible()
    clock.ahead = 20  # the service renders the page again
    watched.advance_until(lambda: note.count() == 0)
    assert ranges(page) == "1M"
    expect(page.locator("#plot canvas")).to_be_visible()
    assert watched.console == []
