"""The details of a quote: a popover with rates, dates, source and receipts, in the element, frames and fragments."""

import re
import urllib.request
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, axe_report, case, publish, ticker_json
from tests.browser.element import wait_for_elements, with_script
from tests.browser.site import Site
from tests.support.wait import wait_until

LAYOUTS = ("strip", "list", "tape")
WIDTHS = (160, 320, 650, 1280)
IS_INSIDE = """node => {
  const { left, top, right, bottom } = node.getBoundingClientRect();
  const fits = left >= 0 && top >= 0 && right <= innerWidth + .5 && bottom <= innerHeight + .5;
  return fits && right > left && bottom > top;
}"""

SCROLLED_TO = """nodes => nodes.map((node) => {
  node.scrollIntoView({ block: "nearest", inline: "nearest" });
  return node.getBoundingClientRect().toJSON();
})"""


def quote_button(root: Page | Locator, name: str = "US dollar") -> Locator:
    return root.get_by_role("button", name=re.compile(f"^{name}"))


def open_details(root: Page | Locator) -> Locator:
    return root.locator(".details:popover-open")


def assert_complete(details: Locator, site: Site, lang: str = "en") -> None:
    """Check the content for the US dollar: two dated rates that link to their receipts, and the source."""
    text = ticker_json(site, f"?lang={lang}&currencies=usd")["quotes"][0]["text"]
    expect(details).to_be_visible()
    expect(details.locator("b")).to_have_text(text["name"])
    links = details.get_by_role("link")
    expect(links).to_have_text([f"{text['rate']} KZT", f"{text['previous']} KZT"])
    expect(details.locator("a + span")).to_have_text([text["date"], text["previous_date"]])
    assert links.evaluate_all("links => links.map(({ href }) => href)") == [
        f"{site.service}{path}" for path in text["receipts"]
    ]
    with urllib.request.urlopen(links.first.evaluate("({ href }) => href"), timeout=30) as receipt:
        assert receipt.status == 200
    expect(details.locator("p")).to_have_text(text["source"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_details_open_by_click_and_keyboard(site: Site, open_page: Open, layout: str) -> None:
    """Under a strict policy: Esc and a click elsewhere close them, the focus returns, and axe finds nothing."""
    markup = f"<currency-ticker layout='{layout}'></currency-ticker>"
    watched = open_page(site.page(with_script(site, markup)), reduced_motion="reduce")
    page, element = watched.page, wait_for_elements(watched.page).first
    button, details = quote_button(element), open_details(element)
    button.click()
    assert_complete(details, site)
    expect(element).to_match_aria_snapshot("- listitem:\n  - button /^US dollar/\n  - text: US Dollar\n")
    assert axe_report(page) == ""
    page.mouse.click(5, page.viewport_size["height"] - 5)  # type: ignore[index]
    expect(details).to_have_count(0)

    page.keyboard.press("Tab")
    button.focus()
    page.keyboard.press("Enter")
    expect(details).to_be_visible()
    expect(button).to_be_focused()
    page.keyboard.press("Tab")
    expect(details.get_by_role("link").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)
    expect(button).to_be_focused()
    assert watched.settled(site).console == []


def test_details_are_those_of_the_period(site: Site, open_page: Open) -> None:
    """The dates, rates and receipts that the percentage compares; without history only the latest ones."""
    page = open_page(site.page(with_script(site, "<currency-ticker period='week'></currency-ticker>"))).page
    element = wait_for_elements(page).first
    text = ticker_json(site, "?lang=en&currencies=usd&period=week")["quotes"][0]["text"]
    quote_button(element).click()
    links = open_details(element).get_by_role("link")
    expect(links).to_have_text([f"{text['rate']} KZT", f"{text['previous']} KZT"])
    links.nth(1).evaluate("link => link.removeAttribute('target')")
    links.nth(1).click()
    expect(page.get_by_role("main")).to_contain_text(text["previous"])
    expect(page).to_have_url(f"{site.service}{text['receipts'][1]}")

    page = open_page(site.page(with_script(site, "<currency-ticker period='year'></currency-ticker>"))).page
    element = wait_for_elements(page).first
    quote_button(element).click()
    expect(open_details(element).get_by_role("link")).to_have_text([f"{text['rate']} KZT"])


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_details_open_by_touch_within_the_window(site: Site, open_page: Open, lang: str) -> None:
    """On narrow and wide screens, at the top and at the bottom; another tap closes them."""
    markup = "<currency-ticker></currency-ticker><div></div><currency-ticker layout='list'></currency-ticker>"
    rules = "<style>body, h1 { margin: 0 } div { height: 800px }</style>"
    page = open_page(site.page(with_script(site, rules + markup), policy="", lang=lang), has_touch=True).page
    elements = wait_for_elements(page, 2)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 600})
        for number in range(2):
            quotes = elements.nth(number).locator("li > button")
            for quote in (quotes.first, quotes.last):
                with case(lang, width, number):
                    quote.tap()
                    details = open_details(page)
                    expect(details).to_have_count(1)
                    assert details.evaluate(IS_INSIDE)
                    assert details.evaluate("node => node.scrollWidth <= node.clientWidth")
                    box = details.bounding_box()
                    assert box
                    assert box["x"] > 0, "a space to the edge of the window"
                    quote.tap()
                    expect(details).to_have_count(0)


def test_new_rates_keep_details_open(make_site: Callable[..., Site], open_page: Open) -> None:
    """With the focus where it was, and its way back; without the focus it is not moved."""
    site = make_site()
    markup = "<a href='/'>Home</a><currency-ticker live></currency-ticker>"
    watched = open_page(site.page(with_script(site, markup)))
    page, element = watched.page, wait_for_elements(watched.page).first
    details, link = open_details(element), open_details(element).get_by_role("link").nth(1)
    quote_button(element).click()
    link.focus()
    publish(site, USD="420.00")
    expect(details.get_by_role("link").first).to_have_text("420.00 KZT")
    expect(link).to_be_focused()
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)
    expect(quote_button(element)).to_be_focused()

    quote_button(element, "euro").click()
    page.get_by_role("link", name="Home").focus()
    publish(site, USD="430.00", EUR="520.00")
    expect(details.get_by_role("link").first).to_have_text("520.00 KZT")
    expect(page.get_by_role("link", name="Home")).to_be_focused()
    element.evaluate("node => node.setAttribute('currencies', 'usd')")
    expect(details).to_have_count(0)
    assert watched.console == []


def test_new_rates_keep_details_open_in_a_frame(make_site: Callable[..., Site], open_page: Open) -> None:
    site = make_site()
    watched = open_page(f"{site.service}/embed?lang=en&live=1", clock=True)
    page, details = watched.page, open_details(watched.page)
    quote_button(page).click()
    details.get_by_role("link").nth(1).focus()
    publish(site, USD="420.00")
    watched.advance_until(lambda: details.get_by_role("link").first.inner_text() == "420.00 KZT", seconds=2)
    expect(details.get_by_role("link").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)
    expect(quote_button(page)).to_be_focused()
    assert watched.console == []


def test_tape_stops_for_details_and_keyboard(site: Site, open_page: Open) -> None:
    """The copy of a tape opens the same details; a focused quote is visible; only one set of quotes has Tab stops."""
    url = site.page(with_script(site, "<currency-ticker layout='tape'></currency-ticker>"))
    watched = open_page(url, viewport={"width": 320, "height": 400}, reduced_motion="no-preference")
    page, element = watched.page, wait_for_elements(watched.page).first
    lists = element.locator("ul")
    state = "node => getComputedStyle(node).animationPlayState"
    names = []
    for _ in range(6):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.shadowRoot.activeElement.textContent"))
        if len(names) > 1:
            button = element.locator("button:focus")
            view = element.locator(".view").bounding_box()
            box = button.bounding_box()
            assert view
            assert box
            assert view["x"] - 1 <= box["x"]
            assert box["x"] < view["x"] + view["width"]
            assert lists.first.evaluate("node => getComputedStyle(node).animationName") == "none"
    assert names[0] == ""  # Pause
    assert [name.split(",")[0].split()[0] for name in names[1:]] == ["usd", "eur", "rub", "gbp", "cny"]
    page.keyboard.press("Enter")
    expect(open_details(element).locator("b")).to_have_text("Chinese Yuan")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    assert lists.first.evaluate("node => getComputedStyle(node).animationName") == "ticker-tape"
    wait_until(lambda: element.locator(".view").evaluate("node => node.scrollLeft") == 0)

    copy = lists.nth(1).locator("button").first
    into_view = (
        "node => node.getAnimations().forEach((it) => { it.currentTime = it.effect.getTiming().duration * 0.85; })"
    )
    for number in range(2):
        lists.nth(number).evaluate(into_view)
    wait_until(lambda: copy.evaluate("node => node.getBoundingClientRect().x") < 150, "the copy comes into view")
    box = copy.bounding_box()
    assert box
    page.mouse.click(max(box["x"], 0) + 30, box["y"] + 10)
    expect(open_details(element)).to_have_count(1)
    expect(lists.first.locator(".details:popover-open")).to_have_count(1)
    page.mouse.move(300, 390)
    assert lists.first.evaluate(state) == "paused"
    assert axe_report(page) == ""
    page.keyboard.press("Escape")
    expect(open_details(element)).to_have_count(0)
    assert lists.first.evaluate(state) == "running"
    assert watched.settled(site).console == []


@pytest.mark.parametrize(
    ("layout", "javascript"),
    [
        *((layout, True) for layout in LAYOUTS),
        ("strip", False),
        *(pytest.param(layout, False, marks=pytest.mark.slow) for layout in ("list", "tape")),
    ],
)
def test_details_fit_a_low_frame(site: Site, open_page: Open, layout: str, *, javascript: bool) -> None:
    """One row that covers the frame, scrolls to all its content, and has a button to close it; also without scripts."""
    options = {"reduced_motion": "reduce", "has_touch": True, "java_script_enabled": javascript}
    page = open_page("about:blank", **options).page
    for lang, width, height in (("en", 160, 46), ("en", 1280, 64), ("ar", 320, 46)):
        with case(lang, width, height):
            page.set_viewport_size({"width": width, "height": height})
            page.goto(f"{site.service}/embed?lang={lang}&layout={layout}")
            page.locator("li > button").first.tap()
            details = open_details(page)
            assert_complete(details, site, lang)
            assert details.bounding_box() == {"x": 0, "y": 0, "width": width, "height": height}
            for place in details.locator("b, a, p, .close").evaluate_all(SCROLLED_TO):
                assert -2 <= place["top"] < place["bottom"] <= height + 2
                assert place["width"] > width or (place["left"] >= -1 and place["right"] <= width + 1), place
            details.locator(".close").tap()
            expect(details).to_have_count(0)


def test_details_of_a_low_frame_are_accessible(site: Site, open_page: Open) -> None:
    """The button to close has a name; the frame of another site has no console messages."""
    frame = f'<iframe src="{site.service}/embed?lang=en" title="Rates" width="320" height="46"></iframe>'
    watched = open_page(site.page(frame, "default-src 'none'; frame-src {service}"))
    content = watched.page.frame_locator("iframe").locator("body")
    quote_button(content).press("Enter")
    expect(open_details(content).get_by_role("button", name="Close")).to_be_visible()
    assert watched.console == []
    page = open_page(f"{site.service}/embed?lang=ru", viewport={"width": 320, "height": 46}).page
    page.locator("li > button").first.click()
    expect(page.get_by_role("button", name="Закрыть")).to_be_visible()
    assert axe_report(page) == ""


def test_details_stay_within_higher_frames(site: Site, open_page: Open) -> None:
    """They never exceed the frame: they scroll instead."""
    page = open_page("about:blank").page
    for layout, height in (("strip", 100), ("list", 360), ("list", 150)):
        page.goto(f"{site.service}/embed?lang=en&layout={layout}")
        for width in WIDTHS:
            with case(layout, height, width):
                page.set_viewport_size({"width": width, "height": height})
                page.locator("li > button").first.click()
                details = open_details(page)
                assert details.evaluate(IS_INSIDE)
                expect(page.locator(".close:visible")).to_have_count(0)
                page.keyboard.press("Escape")
                expect(details).to_have_count(0)


def test_fragment_has_details(site: Site, open_page: Open) -> None:
    """On a page without scripts; in browsers without popovers they stay hidden, and the tooltip remains."""
    fragment = urllib.request.urlopen(f"{site.service}/v1/ticker.html", timeout=30).read().decode()
    sheet = f'<link rel="stylesheet" href="{site.service}/embed.css">'
    policy = "default-src 'none'; style-src {service}"
    watched = open_page(site.page(sheet + fragment, policy))
    quote_button(watched.page).click()
    details = open_details(watched.page)
    expect(details.get_by_role("link")).to_have_text(["405.40 KZT", "400.00 KZT"])
    assert watched.page.locator(".seen").first.get_attribute("title")
    assert watched.console == []
    old = open_page(site.page(sheet + fragment.replace(" popover>", ">"), policy, path="/old")).page
    expect(old.locator("li").first).to_be_visible()
    expect(old.locator(".details").first).not_to_be_visible()
