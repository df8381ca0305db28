"""`/embed` in frames and as a page of its own."""

import json
import re
import urllib.request
from collections.abc import Callable
from itertools import product
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Open, case, publish, ticker_json
from tests.browser.element import COUNT_EVENTS, STRIP, has_class, visible_text
from tests.browser.site import Site
from tests.support.wait import wait_until

LAYOUTS = ("strip", "list", "tape")
LANGUAGES = ("kk", "ru", "en", "ar")
each_language = pytest.mark.parametrize(
    "lang", ["en", "ar", pytest.param("kk", marks=pytest.mark.slow), pytest.param("ru", marks=pytest.mark.slow)]
)
FAST_FRAMES = (("strip", "en"), ("list", "ar"), ("tape", "en"))
"""Layouts and languages that `make test` measures; `make test-slow` the others."""
SLACK = 2
"""How far line boxes of a font may exceed the layout, in pixels."""
BOXES = "nodes => nodes.map((node) => node.getBoundingClientRect().toJSON())"


def visible_strip(page: Locator) -> str:
    return visible_text(page.locator("body"))


def test_embed_is_complete_without_javascript(site: Site, open_page: Open) -> None:
    """Every quote, the date and the sentences; a tape does not move and has no button."""
    page = open_page("about:blank", java_script_enabled=False, viewport={"width": 320, "height": 400}).page
    for layout in LAYOUTS:
        with case(layout):
            page.goto(f"{site.service}/embed?lang=en&layout={layout}&show=percent")
            assert visible_strip(page.locator("html")).replace("US Dollar ", "").startswith("usd +1.35% ▲")
            quotes = page.locator("li")
            assert quotes.count() == 5
            for number in range(1 if layout == "tape" else 5):  # a tape is scrolled by hand
                box = quotes.nth(number).bounding_box()
                assert box is not None
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= 320
            expect(page.locator(".date")).to_be_visible()
            sentence = re.compile("US dollar, up 1.35 percent against the tenge")
            expect(page.get_by_role("listitem").first).to_have_text(sentence)
            expect(page.locator(".pause:visible")).to_have_count(0)


def test_embed_updates_itself(make_site: Callable[..., Site], open_page: Open) -> None:
    """New rates appear without a reload; during an outage the strip is muted, and it recovers."""
    site = make_site()
    watched = open_page(f"{site.service}/embed?lang=en&layout=tape&show=percent", clock=True)
    page, first = watched.page, watched.page.locator("li .percent").first
    page.evaluate("window.same = true")
    expect(first).to_have_text("+1.35%")
    page.get_by_role("button", name="Pause").click()
    publish(site, USD="420.00")
    watched.advance_until(lambda: first.inner_text() == "+5.00%")
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
    assert page.locator("ul").count() == 2
    assert watched.console == []
    site.stop()
    box = page.locator(".ticker")
    watched.advance_until(lambda: has_class(box, "away"))
    expect(page.locator(".date")).to_have_text(re.compile("^no connection: "))
    site.start()
    watched.advance_until(lambda: not has_class(box, "away"))
    assert page.evaluate("window.same")


def test_live_updates_arrive_at_once(make_site: Callable[..., Site], open_page: Open) -> None:
    """With ?live an event of the stream refreshes the page before its next poll (after 300 s)."""
    site = make_site()
    watched = open_page(f"{site.service}/embed?lang=en&live=1", COUNT_EVENTS, clock=True)
    page, percent = watched.page, watched.page.locator("li .percent").first
    expect(percent).to_have_text("+1.35%")
    wait_until(lambda: page.evaluate("received") == 1)  # every stream begins with a snapshot
    begin = watched.now()
    publish(site, USD="420.00")
    watched.advance_until(lambda: percent.inner_text() == "+5.00%", seconds=2)
    assert watched.now() - begin < 300
    assert page.evaluate("received") == 2
    assert watched.console == []


def test_failed_requests_are_shown_beside_a_live_stream(make_site: Callable[..., Site], open_page: Open) -> None:
    """An event has no markup for the frame, so rates that cannot be loaded are an outage; requests become rare."""
    site = make_site()
    watched = open_page(f"{site.service}/embed?lang=en&live=1", COUNT_EVENTS, clock=True)
    page = watched.page
    wait_until(lambda: page.evaluate("received") == 1)
    page.route("**/embed?*", lambda route: route.abort())
    publish(site, USD="420.00")
    watched.advance_until(lambda: has_class(page.locator(".ticker"), "away"))
    requests = len(watched.settled(site).urls_with("/embed?"))
    page.clock.fast_forward(3_000)
    assert len(watched.settled(site).urls_with("/embed?")) <= requests + 1


def test_other_sites_can_frame_embed(site: Site, open_page: Open) -> None:
    """In an iframe under a policy that allows only our frame: no console messages, no cookies."""
    policy = "default-src 'none'; frame-src {service}"
    frame = f'<iframe src="{site.service}/embed" title="Rates" width="800" height="44"></iframe>'
    watched = open_page(site.page(frame, policy), locale="ru-RU")
    body = watched.page.frame_locator("iframe").locator("body")
    expect(body.locator("li .percent").first).to_have_text("+1,35\u00a0%")
    assert visible_text(body) == STRIP.replace(".", ",").replace("%", "\u00a0%")
    assert watched.console == []
    assert watched.page.context.cookies() == []


def test_scripts_of_other_sites_can_read_headers(site: Site, open_page: Open) -> None:
    """The id of a request that failed, and the names of ignored parameters; browsers hide all other headers."""
    page = open_page(site.page("", path="/headers")).page
    read = """async ([url, name]) => {
      const response = await fetch(url);
      return [response.status, response.headers.get(name)];
    }"""
    status, request_id = page.evaluate(read, [f"{site.service}/v1/ticker/none", "X-Request-ID"])
    assert status == 404
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    fragment = f"{site.service}/v1/ticker.html?theme=pink"
    assert page.evaluate(read, [fragment, "Ticker-Ignored"]) == [200, "theme"]
    assert page.evaluate(read, [fragment, "ETag"])[1]


def test_framing_can_be_restricted(make_site: Callable[..., Site], open_page: Open) -> None:
    """The browser enforces `frame_ancestors`."""
    site = make_site(http={"frame_ancestors": ["https://allowed.example"]})
    frame = f'<iframe src="{site.service}/embed" title="Rates"></iframe>'
    watched = open_page(site.page(frame, ""))
    wait_until(lambda: bool(watched.page.title()) and any("frame-ancestors" in line for line in watched.console))


def test_transferred_size_is_limited(site: Site, open_page: Open) -> None:
    """Compressed: the script at most 6 KB; /embed with all that it loads at most 7 KB."""

    def bodies(watched: object) -> dict[str, int]:
        return {
            request.url: request.sizes()["responseBodySize"]
            for request in watched.requests  # type: ignore[attr-defined]
            if request.url.startswith(site.service)
        }

    script = f'<script type="module" src="{site.service}/embed.js"></script>'
    watched = open_page(site.page(f"{script}<currency-ticker></currency-ticker>"), new=True)
    expect(watched.page.locator("currency-ticker li").first).to_be_visible()
    sizes = bodies(watched)
    assert len(sizes) == 2
    assert sizes[f"{site.service}/embed.js"] <= 6000

    watched = open_page(f"{site.service}/embed?layout=list&show=rate,change,percent&lang=ru", new=True)
    watched.page.wait_for_load_state("networkidle")
    sizes = bodies(watched)
    names = {re.sub(r"\.[0-9a-f]{12}\.", ".", url.split("/")[-1].split("?")[0]) for url in sizes}
    # Chromium loads the icon when it wants to.
    assert names | {"icon.svg"} == {"embed", "strip.css", "frame.css", "frame.js", "icon.svg"}
    assert sum(sizes.values()) <= 7000


@each_language
def test_embed_fits_a_narrow_screen(site: Site, open_page: Open, lang: str) -> None:
    """At 320 px, which is also 640 px at 200 % zoom, nothing is cut off and nothing scrolls sideways."""
    page = open_page("about:blank", viewport={"width": 320, "height": 700}, device_scale_factor=2).page
    for layout in LAYOUTS:
        with case(layout):
            page.goto(f"{site.service}/embed?lang={lang}&layout={layout}&show=rate,change,percent")
            expect(page.locator("li").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
            # A tape shows its parts one after the other
            parts = page.locator(".pause" if layout == "tape" else "li .seen span").evaluate_all(BOXES)
            assert parts
            assert all(part["left"] >= 0 and part["right"] <= 320 for part in parts)


@each_language
def test_sparklines_do_not_change_the_layout(site: Site, open_page: Open, lang: str) -> None:
    """Rows and texts keep their boxes; lines are aligned, between the top of the row and the name, clear of all texts.

    Boxes are compared within one browser and one font. Below a line there is space to the line box of the name, which
    the style sheet sets, not the box of its glyphs: its height depends on the font and can exceed the line box.
    """
    watched = open_page("about:blank")
    page = watched.page
    for show in ("rate,percent", "rate,change,percent"):
        url = f"{site.service}/embed?lang={lang}&layout=list&show={show}"
        before = {}
        page.goto(url)
        for width in (320, 480):
            page.set_viewport_size({"width": width, "height": 700})
            before[width] = page.locator(".seen > span, li, .date").evaluate_all(BOXES)
        page.goto(f"{url}&spark=1")
        for width in (320, 480):
            with case(show, width):
                page.set_viewport_size({"width": width, "height": 700})
                assert page.locator(".seen > span, li, .date").evaluate_all(BOXES) == before[width]
                if width == 320:
                    expect(page.locator(".spark").first).not_to_be_visible()
                else:
                    _assert_lines_are_clear(page)
    assert watched.console == []


def _assert_lines_are_clear(page: Page) -> None:
    lines, rows, codes, names = (
        page.locator(part).evaluate_all(BOXES) for part in (".spark", "li", ".seen > .code", ".seen > .name")
    )
    assert len(lines) == len(rows) == 5
    assert {(line["x"], line["width"]) for line in lines} == {(lines[0]["x"], lines[0]["width"])}
    em = page.locator("li").first.evaluate("node => parseFloat(getComputedStyle(node).fontSize)")
    available = codes[0]["width"] - 3 * em  # the box of a code is the whole column, 3em of it for its letters
    assert lines[0]["width"] == pytest.approx(max(0, min(4 * em, available)), abs=0.1)
    texts = page.locator("li").evaluate_all(
        """quotes => quotes.map((quote) => [...quote.querySelectorAll(".seen > span:not(.name)")].map((node) => {
          const range = document.createRange();
          range.selectNodeContents(node);
          return range.getBoundingClientRect().toJSON();
        }))"""
    )
    for line, row, name, other_texts in zip(lines, rows, names, texts, strict=True):
        assert row["top"] <= line["top"] + SLACK
        assert line["bottom"] <= name["top"] - SLACK
        for text in other_texts:
            assert line["width"] == 0 or line["right"] <= text["left"] + 1 or line["left"] >= text["right"] - 1


def test_sparkline_has_an_accessible_name(site: Site, open_page: Open) -> None:
    """It is exposed as a named image after the sentence."""
    page = open_page("about:blank").page
    for lang, label in (
        ("en", r"13 publications from .+ to .+: lowest 395\.50, highest 405\.40"),
        ("ru", r"13 публикаций с .+ по .+: минимум 395,50, максимум 405,40"),
        ("kk", r"13 жарияланым, .+ – .+: ең төмені 395,50, ең жоғарысы 405,40"),
    ):
        with case(lang):
            page.goto(f"{site.service}/embed?lang={lang}&layout=list&spark=1&currencies=usd")
            sentence = ticker_json(site, f"?lang={lang}")["quotes"][0]["text"]["sentence"]
            item = page.get_by_role("listitem")
            expect(item.get_by_role("img")).to_have_accessible_name(re.compile(f"^{label}$"))
            snapshot = item.aria_snapshot().splitlines()
            assert [line.strip(" -'").partition(" ")[0] for line in snapshot] == ["listitem:", "button", "img"]
            assert snapshot[1].strip(" -'").startswith(f'button "{sentence}')


def test_forced_colours_keep_the_signs(site: Site, open_page: Open) -> None:
    """Signs, arrows and borders remain visible in the visitor's own colours."""
    page = open_page(f"{site.service}/embed?lang=en", forced_colors="active").page
    assert visible_strip(page.locator("html")) == STRIP
    border = page.locator("li").nth(1).evaluate("node => getComputedStyle(node).borderInlineStartWidth")
    assert border == "1px"


def test_invalid_response_keeps_the_rates(make_site: Callable[..., Site], open_page: Open) -> None:
    """A maintenance page with status 200 is a failure: the strip stays, muted, and recovers; also without ETags."""
    site = make_site()
    watched = open_page(f"{site.service}/embed?lang=en", clock=True)
    page, box = watched.page, watched.page.locator(".ticker")
    page.route("**/embed*", lambda route: route.fulfill(body="<h1>Maintenance</h1>", content_type="text/html"))
    watched.advance_until(lambda: has_class(box, "away"))
    assert visible_strip(page.locator("html")) == STRIP
    page.unroute("**/embed*")

    def without_etag(route: Route) -> None:
        response = route.fetch()
        headers = {name: value for name, value in response.headers.items() if name != "etag"}
        route.fulfill(response=response, headers=headers)

    page.route("**/embed*", without_etag)
    watched.advance_until(lambda: not has_class(box, "away"))
    publish(site, USD="420.00")
    watched.advance_until(lambda: page.locator("li .percent").first.inner_text() == "+5.00%")
    page.unroute_all(behavior="wait")
    assert watched.console == []


def test_tape_without_its_script_is_static(site: Site, open_page: Open) -> None:
    """Without the script a page or fragment has no pause button, so nothing moves."""
    policy = "default-src 'none'; style-src {service}"
    fragment = urllib.request.urlopen(f"{site.service}/v1/ticker.html?layout=tape", timeout=30).read().decode()
    sheet = f'<link rel="stylesheet" href="{site.service}/embed.css">'
    page = open_page(site.page(sheet + fragment, policy)).page
    expect(page.locator("li").first).to_be_visible()
    expect(page.locator(".pause")).not_to_be_visible()
    assert page.locator("ul").evaluate("node => getComputedStyle(node).animationName") == "none"


@pytest.mark.parametrize(
    ("layout", "lang"),
    [
        pytest.param(*frame, marks=() if frame in FAST_FRAMES else pytest.mark.slow)
        for frame in product(LAYOUTS, ("en", "ar", "kk", "ru"))
    ],
)
def test_oembed_frame_shows_the_whole_content(site: Site, open_page: Open, layout: str, lang: str) -> None:
    """The frame is as high as its content, also where its width is limited."""
    page = open_page("about:blank").page
    for values in ("percent", "rate,change,percent", "rate,percent&spark=1"):
        url = f"{site.service}/embed?layout={layout}&lang={lang}&show={values}"
        frames = []
        for widest in ("", "&maxwidth=600", "&maxwidth=360"):
            query = f"{site.service}/oembed?url={quote(url, safe='')}{widest}"
            with urllib.request.urlopen(query, timeout=30) as response:
                frames.append(json.load(response))
        sources = {re.search('src="([^"]+)"', frame["html"])[1].replace("&amp;", "&") for frame in frames}  # type: ignore[index]
        assert len(sources) == 1  # the page is the same for all widths
        page.goto(sources.pop())
        for frame in frames:
            with case(values, frame["width"], frame["height"]):
                page.set_viewport_size({"width": frame["width"], "height": frame["height"]})
                assert page.evaluate("document.documentElement.scrollHeight") <= frame["height"]
                assert page.evaluate("document.documentElement.scrollWidth") <= frame["width"]
