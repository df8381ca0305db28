"""<currency-ticker> on pages of other sites."""

import re
from collections.abc import Callable
from math import ceil, log2

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import WITHOUT_POLLS, Open, axe_report, case, publish, ticker_json
from tests.browser.element import STRIP, has_class, visible_text, wait_for_elements, with_script
from tests.browser.site import NEW, Site
from tests.support.wait import wait_until


def test_element_works_under_a_strict_policy(site: Site, open_page: Open) -> None:
    """On a page that allows scripts and connections only to our host: shown, no console messages, no cookies."""
    watched = open_page(
        site.page(with_script(site, "<currency-ticker><i>the fallback</i></currency-ticker>")), WITHOUT_POLLS
    )
    element = wait_for_elements(watched.page).first
    assert visible_text(element) == STRIP
    expect(element.get_by_text("the fallback")).not_to_be_visible()
    watched.settled(site)
    assert watched.console == []
    assert len(watched.urls_with("/embed")) == len(watched.urls_with("/v1/")) == 1
    allowed = {site.service, site.foreign}
    assert {re.match(r"\w+://[^/]+", request.url)[0] for request in watched.requests} <= allowed  # type: ignore[index]
    assert watched.page.context.cookies() == []
    assert watched.page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_attributes_change_the_element_in_place(site: Site, open_page: Open) -> None:
    """Currencies, theme, layout and values: the same data is shown differently without a request or reload."""
    watched = open_page(site.page(with_script(site, "<currency-ticker></currency-ticker>")), WITHOUT_POLLS)
    element = wait_for_elements(watched.page).first
    box = element.locator(".ticker")

    def set_attribute(name: str, value: str) -> None:
        element.evaluate("(node, [name, value]) => node.setAttribute(name, value)", [name, value])

    set_attribute("currencies", "CNY, usd,xyz")
    assert visible_text(element) == "cny +0.25% ▲ usd +1.35% ▲"
    set_attribute("show", "rate change")
    assert visible_text(element) == "cny 80.20 +0.20 ▲ usd 405.40 +5.40 ▲"
    set_attribute("layout", "list")
    expect(box).to_have_class(re.compile(r"\blist\b"))
    assert "US Dollar" in visible_text(element)
    set_attribute("layout", "tape")
    expect(element.get_by_role("button", name="Pause")).to_be_visible()
    set_attribute("layout", "nonsense")
    expect(box).to_have_class(re.compile(r"\bstrip\b"))
    for theme, surface in (
        ("dark", "rgb(23, 29, 41)"),
        ("light", "rgb(255, 255, 255)"),
        ("transparent", "rgba(0, 0, 0, 0)"),
    ):
        set_attribute("theme", theme)
        expect(box).to_have_css("background-color", surface)
    assert len(watched.urls_with("/v1/")) == 1
    known = {
        "currencies": 'currencies "xyz"; known are usd, eur, rub, gbp, cny',
        "layout": 'layout "nonsense"; known are strip, list, tape',
    }
    warnings = [message.split(" JSHandle")[0] for message in watched.settled(site).console]
    assert warnings == [f"<currency-ticker>: unknown {known[name]}" for name in ("currencies", "layout")]


def test_only_unknown_currencies_show_the_fallback(site: Site, open_page: Open) -> None:
    """Not five others; a known currency brings the rates back."""
    markup = (
        "<currency-ticker currencies='xyz jpy'><i>the fallback</i></currency-ticker><currency-ticker></currency-ticker>"
    )
    watched = open_page(site.page(with_script(site, markup)))
    elements = watched.page.locator("currency-ticker")
    expect(elements.nth(1).locator("li").first).to_be_visible()
    expect(elements.first.get_by_text("the fallback")).to_be_visible()
    expect(elements.first.locator("li")).to_have_count(0)
    elements.first.evaluate("node => node.setAttribute('currencies', 'usd')")
    expect(elements.first.locator("li")).to_have_count(1)
    expect(elements.first.get_by_text("the fallback")).not_to_be_visible()


def test_element_sends_events(make_site: Callable[..., Site], open_page: Open) -> None:
    """`ticker-ready` once, `ticker-change` with each change, `ticker-error` when the rates cannot be loaded."""
    site = make_site()
    record = (
        "window.events = [];"
        "for (const name of ['ready', 'change', 'error'])"
        "  addEventListener(`ticker-${name}`, ({ detail, target }) => events.push("
        "    [name, target.localName, detail.quotes?.[0].rate ?? detail.message.replace(/:\\d+/, '')]));"
    )
    watched = open_page(site.page(with_script(site, "<currency-ticker></currency-ticker>")), record, clock=True)
    element = wait_for_elements(watched.page).first

    def events() -> list[list[object]]:
        return watched.page.evaluate("events")  # type: ignore[no-any-return]

    wait_until(lambda: events() == [["ready", "currency-ticker", 405.4]])
    element.evaluate("node => node.setAttribute('layout', 'list')")
    publish(site, USD="420.00")
    watched.advance_until(lambda: len(events()) == 2)
    assert events()[1] == ["change", "currency-ticker", 420]
    site.stop()
    watched.advance_until(lambda: len(events()) == 3)
    assert events()[2] == ["error", "currency-ticker", "no rates from http://127.0.0.1/v1/ticker?lang=en"]


COLOURS = {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 29, 41)"}


def test_auto_theme_is_that_of_the_page(site: Site, open_page: Open) -> None:
    """`auto` inherits the colour scheme of the page; `system` follows the visitor's system, whatever the page is."""
    pages = {"": "light", "color-scheme: light": "light", "color-scheme: dark": "dark", "color-scheme: light dark": ""}
    for style, scheme in pages.items():
        rules = f"<style>:root {{ {style} }}</style>"
        markup = f"{rules}<currency-ticker></currency-ticker><currency-ticker theme='system'></currency-ticker>"
        for system in ("light", "dark"):
            with case(f"{style}, {system}"):
                page = open_page(site.page(with_script(site, markup), policy=""), color_scheme=system).page
                boxes = wait_for_elements(page, 2).locator(".ticker")
                expect(boxes.first).to_have_css("background-color", COLOURS[scheme or system])
                expect(boxes.nth(1)).to_have_css("background-color", COLOURS[system])


def test_language_is_requested_once(site: Site, open_page: Open) -> None:
    """Another language needs one request; a known one needs none. `auto` follows the page, also later."""
    watched = open_page(site.page(with_script(site, "<currency-ticker></currency-ticker>"), lang="ru"), WITHOUT_POLLS)
    element = wait_for_elements(watched.page).first
    expect(element.locator("li .percent").first).to_have_text("+1,35\u00a0%")
    for lang, text in (("kk", "+1,35%"), ("ru", "+1,35\u00a0%"), ("kk", "+1,35%"), ("xx-unknown", "+1.35%")):
        element.evaluate("(node, lang) => node.lang = lang", lang)
        expect(element.locator("li .percent").first).to_have_text(text)
    assert [url.split("lang=")[1] for url in watched.urls_with("/v1/")] == ["ru", "kk", "xx-unknown"]
    element.evaluate("node => node.removeAttribute('lang')")
    watched.page.evaluate("document.documentElement.lang = 'ar'")
    expect(element.locator(".ticker")).to_have_attribute("dir", "rtl")
    assert len(watched.urls_with("/v1/")) == 4
    assert watched.console == []


def test_many_elements_share_one_request(site: Site, open_page: Open) -> None:
    """Ten different elements request the data once."""
    layouts = ("", 'layout="list"', 'layout="tape"', 'theme="dark"', 'show="rate"')
    markup = "".join(
        f'<currency-ticker {attributes} currencies="{code}"></currency-ticker>'
        for attributes in layouts
        for code in ("usd", "eur")
    )
    watched = open_page(site.page(with_script(site, markup)), WITHOUT_POLLS)
    wait_for_elements(watched.page, 10)
    assert len(watched.settled(site).urls_with("/v1/")) == 1


def test_removed_elements_do_not_leak(site: Site, open_page: Open) -> None:
    """A hundred insertions and removals add no listeners, nodes, streams or requests."""
    count_streams = (
        "const Real = EventSource; window.streams = 0;"
        "window.EventSource = class extends Real {"
        "  constructor(url) { super(url); streams++ } close() { if (this.readyState < 2) streams--; super.close() } }"
    )
    markup = "<div id='host'><currency-ticker live layout='tape'></currency-ticker></div>"
    watched = open_page(site.page(with_script(site, markup)), count_streams)
    page = watched.page
    wait_for_elements(page)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def cycle(times: int) -> None:
        page.evaluate(
            """async (times) => {
              const host = document.getElementById("host"), element = host.firstElementChild;
              for (let turn = 0; turn < times; turn++) {
                element.remove();
                if (turn % 2) await new Promise(requestAnimationFrame);
                host.append(element);
              }
            }""",
            times,
        )

    def counts() -> list[float]:
        session.send("HeapProfiler.collectGarbage")
        metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
        return [metrics[name] for name in ("JSEventListeners", "Nodes", "Documents")]

    cycle(20)
    before: list[float] = []

    def unchanged() -> bool:
        nonlocal before
        last, before = before, counts()
        return last == before

    wait_until(unchanged)
    cycle(100)
    wait_until(lambda: all(now <= then + 5 for now, then in zip(counts(), before, strict=True)), f"not above {before}")
    assert page.evaluate("streams") == 1
    page.evaluate("document.querySelector('currency-ticker').remove()")
    assert page.evaluate("streams") == 0
    assert watched.settled(site).urls_with("/v1/ticker") == []  # the stream delivered all data
    assert watched.console == []


def test_outage_is_shown_and_recovery_needs_no_reload(make_site: Callable[..., Site], open_page: Open) -> None:
    """While the service is down, rates and date stay, muted and labelled. Afterwards they are updated."""
    site = make_site()
    markup = with_script(site, "<currency-ticker><i>the fallback</i></currency-ticker>")
    watched = open_page(site.page(markup), clock=True)
    element = wait_for_elements(watched.page).first
    box = element.locator(".ticker")
    date = element.locator("time").inner_text()
    watched.page.evaluate("window.same = true")
    site.stop()
    watched.advance_until(lambda: has_class(box, "away"))
    assert visible_text(element) == STRIP
    expect(element.locator(".date")).to_have_text(f"NBK, {date}, no connection")
    expect(element.locator(".code").first).to_have_css("color", "rgb(91, 100, 116)")
    site.publish({**NEW, "USD": "420.00"})
    site.start()
    watched.advance_until(lambda: element.locator("li .percent").first.inner_text() == "+5.00%")
    expect(box).not_to_have_class(re.compile(r"\baway\b"))
    expect(element.locator(".date")).to_have_text(f"NBK, {date}")
    assert watched.page.evaluate("window.same")


def test_fallback_content_is_shown_without_the_service(make_site: Callable[..., Site], open_page: Open) -> None:
    """Whether the script or the data cannot be loaded."""
    site = make_site()
    markup = "<currency-ticker><a href='/rates'>Rates</a></currency-ticker>"
    page = site.page(with_script(site, markup))
    watched = open_page(page, new=True)
    wait_for_elements(watched.page)
    watched.page.route("**/v1/**", lambda route: route.abort())
    watched.page.evaluate(
        """() => {
          const element = document.querySelector("currency-ticker"), other = element.cloneNode(true);
          other.lang = "fr";
          element.replaceWith(other);
        }"""
    )
    expect(watched.page.get_by_text("Rates")).to_be_visible()
    site.stop()
    watched = open_page(page, new=True)
    expect(watched.page.get_by_text("Rates")).to_be_visible()


def test_status_is_that_of_the_quotes_that_are_shown(site: Site, open_page: Open) -> None:
    """A bank has dropped the rouble: a strip without it is not outdated."""
    document = ticker_json(site, "?lang=en")
    document["status"], document["text"]["status"] = "stale", "outdated"
    for quote in document["quotes"]:
        quote["status"] = "stale" if quote["code"] == "RUB" else "current"
    markup = "".join(
        f"<currency-ticker lang=en currencies='{codes}'></currency-ticker>" for codes in ("usd,eur", "rub,usd")
    )
    watched = open_page("about:blank", new=True)
    watched.page.route("**/v1/ticker*", lambda route: route.fulfill(json=document))
    watched.page.goto(site.page(with_script(site, markup)))
    current, stale = wait_for_elements(watched.page, 2).all()
    for element, status in ((current, "current"), (stale, "stale")):
        assert has_class(element.locator(".ticker"), status)
        assert ("outdated" in element.locator(".date").inner_text()) is (status == "stale")


def test_hidden_page_sends_no_requests(site: Site, open_page: Open) -> None:
    """While the page is hidden no request is sent, even if one is due; when it is visible again, exactly one."""
    watched = open_page(site.page(with_script(site, "<currency-ticker></currency-ticker>")), clock=True)
    page = watched.page
    wait_for_elements(page)
    watched.advance_until(lambda: len(watched.urls_with("/v1/")) >= 2)
    set_hidden(page, hidden=True)
    requests = len(watched.settled(site).urls_with("/v1/"))
    page.clock.fast_forward("02:00:00")
    assert len(watched.settled(site).urls_with("/v1/")) == requests
    set_hidden(page, hidden=False)
    wait_until(lambda: bool(page.title()) and len(watched.urls_with("/v1/")) > requests)
    assert len(watched.settled(site).urls_with("/v1/")) == requests + 1


def test_live_updates_arrive_at_once(make_site: Callable[..., Site], open_page: Open) -> None:
    """With `live` one stream serves all elements, and the ticker is not requested."""
    site = make_site()
    markup = "<currency-ticker live></currency-ticker><currency-ticker live layout='list'></currency-ticker>"
    watched = open_page(site.page(with_script(site, markup)), new=True)
    elements = wait_for_elements(watched.page, 2)
    publish(site, USD="420.00")
    for number in range(2):
        expect(elements.nth(number).locator("li .percent").first).to_have_text("+5.00%")
    assert len(watched.settled(site).urls_with("/v1/stream")) == 1
    assert watched.urls_with("/v1/ticker") == []
    assert watched.console == []


def test_live_falls_back_to_polling(make_site: Callable[..., Site], open_page: Open) -> None:
    """Where streams are disabled it polls, and retries the stream after 5 s, 10 s, 20 s and so on."""
    site = make_site(http={"max_age": 1, "streams": 0})
    url = site.page(with_script(site, "<currency-ticker live></currency-ticker>"))
    watched = open_page(url, "window.begin = Date.now() / 1000;", clock=True)
    begin = float(watched.page.evaluate("begin"))
    element = wait_for_elements(watched.page).first
    publish(site, USD="420.00")
    watched.advance_until(lambda: element.locator("li .percent").first.inner_text() == "+5.00%", seconds=2)
    watched.advance_until(lambda: len(watched.urls_with("/v1/ticker")) >= 12, seconds=2)
    retries = int(log2((watched.now() - begin) / 5 + 1))
    assert 1 <= len(watched.urls_with("/v1/stream")) <= 1 + retries < len(watched.urls_with("/v1/ticker"))


def test_second_script_has_no_effect(site: Site, open_page: Open) -> None:
    """Of a pinned and an unpinned copy the first one counts, and the console stays empty."""
    watched = open_page(f"{site.service}/?lang=en")
    pinned = watched.page.locator("#code").get_attribute("data-script")
    markup = f'<script type="module" src="{site.service}/{pinned}"></script><currency-ticker></currency-ticker>'
    watched = open_page(site.page(with_script(site, markup)), WITHOUT_POLLS)
    assert visible_text(wait_for_elements(watched.page).first) == STRIP
    watched.settled(site)
    assert watched.console == []
    assert len(watched.urls_with("/v1/")) == 1


def test_screen_readers_get_sentences(site: Site, open_page: Open) -> None:
    """A named list of sentences without the visual signs; updates are not announced."""
    watched = open_page(site.page(with_script(site, "<currency-ticker currencies='usd,gbp'></currency-ticker>")))
    element = wait_for_elements(watched.page).first
    expect(element).to_match_aria_snapshot(
        """
        - list "Exchange rate changes against the tenge":
          - listitem:
            - button "US dollar, up 1.35 percent against the tenge"
          - listitem:
            - button "British pound, down 0.89 percent against the tenge"
        """
    )
    assert "%" not in element.aria_snapshot()
    assert element.locator("[aria-live], [role=status], [role=alert]").count() == 0


def test_tape_can_be_paused_and_respects_reduced_motion(site: Site, open_page: Open) -> None:
    """The button works by keyboard too; with reduced motion a tape is a strip."""
    url = site.page(with_script(site, "<currency-ticker layout='tape'></currency-ticker>"))
    page = open_page(url, reduced_motion="no-preference").page
    element = wait_for_elements(page).first
    button = element.get_by_role("button", name="Pause")
    lists = element.locator("ul")
    assert lists.count() == 2
    assert element.get_by_role("list").count() == 1  # the visual copy is hidden from assistive technology
    x_position = "node => node.getBoundingClientRect().x"
    first = lists.first.evaluate(x_position)
    wait_until(lambda: lists.first.evaluate(x_position) < first, "the tape moves")
    page.keyboard.press("Tab")
    expect(button).to_be_focused()
    page.keyboard.press("Space")
    expect(button).to_have_attribute("aria-pressed", "true")
    x_positions = lists.first.evaluate(
        """async (node) => {
          const places = [], frame = () => new Promise(requestAnimationFrame);
          await frame();  // it stops at a frame
          await frame();
          for (let number = 0; number < 12; number++) {
            places.push(node.getBoundingClientRect().x);
            await frame();
          }
          return places;
        }"""
    )
    assert len(set(x_positions)) == 1
    element.evaluate("node => node.setAttribute('theme', 'dark')")
    expect(element.locator(".ticker")).to_have_class(re.compile(r"\bpaused\b"))  # it stays paused

    element = wait_for_elements(open_page(url, reduced_motion="reduce").page).first
    expect(element.locator("ul").nth(1)).not_to_be_visible()
    expect(element.locator(".pause")).not_to_be_visible()
    assert element.locator("ul").first.evaluate("node => getComputedStyle(node).animationName") == "none"


@pytest.mark.parametrize("width", [1280, 430, 375])
def test_element_causes_no_layout_shift(site: Site, open_page: Open, width: int) -> None:
    """With the builder's snippet the layout shift of the page is 0, on a phone too."""
    builder = open_page(f"{site.service}/?lang=en").page
    snippets: dict[str, str] = {}
    for name in ("strip", "list", "tape", "list with sparklines"):
        layout, _, sparklines = name.partition(" with ")
        builder.locator(f"input[name=layout][value={layout}]").dispatch_event("click")
        if sparklines:
            builder.locator("input[name=spark]").dispatch_event("click")
        preview = builder.locator(".stage currency-ticker")

        def reserved(preview: Locator = preview) -> bool:
            height = ceil(preview.evaluate("node => node.getBoundingClientRect().height"))
            code = builder.locator("#code code").inner_text()
            return f"min-height:{height}px" in code or f"min-height:clamp({height}px," in code

        wait_until(reserved, "the height of the preview is in the embed code")
        snippets[name] = builder.locator("#code code").inner_text()
        assert f'layout="{layout}"' in snippets[name] or layout == "strip"
        assert (" spark " in snippets[name]) is bool(sparklines)
    observe = (
        "window.shifts = [];"
        "new PerformanceObserver((list) => list.getEntries().forEach((entry) => shifts.push(entry.startTime)))"
        ".observe({ type: 'layout-shift', buffered: true });"
    )
    watched = open_page("about:blank", observe, viewport={"width": width, "height": 720})
    for name, snippet in snippets.items():
        with case(name):
            watched.page.goto(site.page(f"<p>Above</p>{snippet}<p>Below</p><p>And more</p>", policy=""))
            wait_for_elements(watched.page)
            # Then move something on purpose: that must be the only shift.
            moved = watched.settled(site).page.evaluate(
                """() => {
                  const moved = performance.now(), above = document.createElement("p");
                  above.textContent = "Higher";
                  document.querySelector("main").prepend(above);
                  return moved;
                }"""
            )
            watched.page.wait_for_function("shifts.length")
            assert watched.page.evaluate("(moved) => shifts.filter((time) => time < moved)", moved) == []
    assert watched.console == []


def test_site_can_style_the_element(site: Site, open_page: Open) -> None:
    """Custom properties and parts apply inside the shadow root."""
    rules = "currency-ticker { --ticker-surface: rgb(1, 2, 3) } currency-ticker::part(percent) { color: rgb(4, 5, 6) }"
    style = f"<style>{rules}</style>"
    watched = open_page(site.page(with_script(site, f"{style}<currency-ticker></currency-ticker>"), policy=""))
    element = wait_for_elements(watched.page).first
    expect(element.locator(".ticker")).to_have_css("background-color", "rgb(1, 2, 3)")
    expect(element.locator(".percent").first).to_have_css("color", "rgb(4, 5, 6)")


def test_texts_equal_those_of_the_json(site: Site, open_page: Open) -> None:
    """In eight languages, character by character."""
    languages = ("kk", "ru", "en", "de", "fr", "uz", "zh", "ar")
    markup = "".join(
        f'<currency-ticker lang="{lang}" layout="list" show="rate,change,percent"></currency-ticker>'
        for lang in languages
    )
    watched = open_page(site.page(with_script(site, markup)))
    elements = wait_for_elements(watched.page, len(languages))
    for number, lang in enumerate(languages):
        element, document = elements.nth(number), ticker_json(site, f"?lang={lang}")
        texts = [quote["text"] for quote in document["quotes"]]
        for part in ("name", "rate", "change", "percent"):
            shown = (
                element.locator("ul")
                .first.locator(f".{part}")
                .evaluate_all("nodes => nodes.map((node) => node.textContent)")
            )
            assert shown == [text[part] for text in texts]
        assert element.locator(".date").text_content() == document["text"]["footer"]
        assert element.locator(".said").first.text_content().startswith(texts[0]["sentence"])  # type: ignore[union-attr]


def test_period_changes_what_is_shown(site: Site, open_page: Open) -> None:
    """Percentages, arrows, both dates and the text for screen readers; without history a dash; unknown ones warn."""
    markup = "<currency-ticker period='week' currencies='usd,eur,gbp,rub'></currency-ticker>"
    watched = open_page(site.page(with_script(site, markup)), WITHOUT_POLLS)
    element = wait_for_elements(watched.page).first
    assert visible_text(element) == "usd +2.24% ▲ eur +2.68% ▲ gbp -0.89% ▼ rub 0.00% ■"
    expect(element.locator(".date")).to_contain_text(" – ")
    expect(element.locator(".said").first).to_contain_text("up 2.24 percent")
    element.evaluate("node => node.setAttribute('period', 'year')")
    expect(element.locator(".percent").first).to_have_text("—")
    expect(element.locator(".arrow")).to_have_count(0)
    expect(element.locator("li").first).to_have_class("quote none")
    element.evaluate("node => node.setAttribute('period', 'decade')")
    expect(element.locator(".percent").first).to_have_text("+1.35%")
    expect(element.locator(".date")).not_to_contain_text(" – ")
    queries = [url.partition("?")[2] for url in watched.urls_with("/v1/")]
    assert queries == ["lang=en&period=week", "lang=en&period=year", "lang=en"]
    (warning,) = watched.settled(site).console
    assert 'unknown period "decade"; known are day, week, month, year, ytd' in warning


def test_frame_shows_the_change_over_a_period(site: Site, open_page: Open) -> None:
    watched = open_page(f"{site.service}/embed?period=week&currencies=usd&live=1")
    page = watched.page
    expect(page.locator(".percent").first).to_have_text("+2.24%")
    expect(page.locator("time")).to_contain_text(" – ")
    assert all("period=week" in url for url in watched.settled(site).urls_with("/v1/stream"))


def test_list_shows_requested_sparklines(site: Site, open_page: Open) -> None:
    """Drawn from the JSON under the strictest policy; other layouts ignore the attribute, and it can be removed."""
    watched = open_page(
        site.page(with_script(site, "<currency-ticker layout='list' spark></currency-ticker>")), WITHOUT_POLLS
    )
    page, element = watched.page, wait_for_elements(watched.page).first
    texts = [quote["text"] for quote in ticker_json(site, "?lang=en&spark=1")["quotes"]]
    lines = element.get_by_role("img")
    assert [lines.nth(number).locator("path").get_attribute("d") for number in range(5)] == [
        text["spark"] for text in texts
    ]
    for number, text in enumerate(texts):
        expect(lines.nth(number)).to_have_accessible_name(text["spark_label"])
        box, row = lines.nth(number).bounding_box(), element.locator("li").nth(number).bounding_box()
        assert box
        assert row
        assert (box["width"], box["height"]) == (60, 16)
        assert row["y"] < box["y"] < box["y"] + box["height"] < row["y"] + row["height"]
    assert [url.partition("?")[2] for url in watched.urls_with("/v1/")] == ["lang=en&spark=1"]
    element.evaluate("node => node.setAttribute('layout', 'tape')")
    expect(lines).to_have_count(0)
    element.evaluate("node => node.setAttribute('layout', 'list')")
    expect(lines).to_have_count(5)
    element.evaluate("node => node.removeAttribute('spark')")
    expect(lines).to_have_count(0)
    assert [url.partition("?")[2] for url in watched.urls_with("/v1/")] == ["lang=en&spark=1", "lang=en"]
    assert page.evaluate("document.querySelector('currency-ticker').shadowRoot.querySelector('[style]')") is None
    assert watched.console == []


def test_live_updates_redraw_sparklines(make_site: Callable[..., Site], open_page: Open) -> None:
    """Events of the stream contain the lines too."""
    site = make_site()
    markup = "<currency-ticker live layout='list' spark='true'></currency-ticker>"
    watched = open_page(site.page(with_script(site, markup)))
    line = wait_for_elements(watched.page).first.get_by_role("img").first
    expect(line).to_have_accessible_name(re.compile("highest 405.40$"))
    publish(site, USD="420.00")
    expect(line).to_have_accessible_name(re.compile("highest 420.00$"))
    assert watched.urls_with("/v1/ticker") == []
    assert watched.console == []


RECORD_STREAMS = (
    "const Real = EventSource; window.streams = [];"
    "window.EventSource = class extends Real { constructor(url) { super(url); streams.push(this); } };"
    "window.openStreams = () => streams.filter(({ readyState }) => readyState < 2);"
)


def test_elements_of_a_page_share_a_stream(make_site: Callable[..., Site], open_page: Open) -> None:
    """Seven tickers: browsers open only six connections to a host. All get their own updates."""
    tickers = [
        {"id": f"t{number}", "base": "KZT", "currencies": [code], "sources": ["nbk"]}
        for number, code in enumerate(("USD", "EUR", "RUB", "GBP", "CNY", "USD", "EUR"))
    ]
    site = make_site(tickers=tickers)
    names = ["", *(f"ticker='t{number}'" for number in range(7))]
    markup = "".join(f"<currency-ticker live {name} show='rate'></currency-ticker>" for name in names)
    watched = open_page(site.page(with_script(site, markup)), RECORD_STREAMS)
    elements = wait_for_elements(watched.page, 8)
    assert watched.page.evaluate("openStreams().length") == 1
    assert "ticker=&ticker=t0&ticker=t1" in watched.page.evaluate("openStreams()[0].url")
    publish(site, USD="420.00")
    for number in (0, 1, 6):
        expect(elements.nth(number).locator(".rate")).to_have_text("420.00")
    assert visible_text(elements.nth(2)) != visible_text(elements.nth(1))
    assert watched.settled(site).urls_with("/v1/ticker") == []
    elements.first.evaluate("node => node.remove()")
    wait_until(lambda: "ticker=&" not in watched.page.evaluate("openStreams()[0].url"))
    assert watched.page.evaluate("openStreams().length") == 1
    assert watched.console == []


def test_unknown_ticker_does_not_end_the_streams_of_others(site: Site, open_page: Open) -> None:
    markup = "<currency-ticker live></currency-ticker><currency-ticker live ticker='zzz'><i>none</i></currency-ticker>"
    watched = open_page(site.page(with_script(site, markup)), RECORD_STREAMS, clock=True)
    expect(watched.page.locator("currency-ticker li").first).to_be_visible()
    watched.advance_until(
        lambda: bool(
            watched.page.evaluate("openStreams().some(({ url, readyState }) => readyState === 1 && !/zzz/.test(url))")
        )
    )
    expect(watched.page.get_by_text("none")).to_be_visible()


def test_silent_stream_is_reopened(site: Site, open_page: Open) -> None:
    """After 45 s without a heartbeat; while it beats, failing requests are no outage."""
    watched = open_page(
        site.page(with_script(site, "<currency-ticker live></currency-ticker>")), RECORD_STREAMS, clock=True
    )
    page, element = watched.page, wait_for_elements(watched.page).first
    page.route("**/v1/ticker*", lambda route: route.abort())

    def streams() -> list[int]:
        return page.evaluate("streams.map(({ readyState }) => readyState)")  # type: ignore[no-any-return]

    for _ in range(30):
        page.clock.fast_forward(40_000)
        page.evaluate("streams[0].dispatchEvent(new Event('heartbeat'))")
    assert streams() == [1]
    assert not has_class(element.locator(".ticker"), "away")
    page.clock.fast_forward(46_000)
    assert streams() == [2]
    # A stream that fails at once is replaced later, so any further one counts.
    watched.advance_until(lambda: len(streams()) > 1 and streams()[-1] < 2, "a further stream")


def set_hidden(page: Page, *, hidden: bool) -> None:
    """Make the page report that it is hidden or visible; a headless browser never hides one itself."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_element_does_not_widen_the_page(site: Site, open_page: Open) -> None:
    """Whatever the layout of its parent."""
    layouts = ("strip", "list", "tape")
    parents = (
        "display: flex",
        "display: grid; grid-template-columns: 1fr 200px",
        "float: left",
        "display: inline-block",
        "display: flex; flex-direction: column; align-items: center",
    )
    page = open_page("about:blank", viewport={"width": 700, "height": 500}).page
    for layout in layouts:
        element = f'<currency-ticker layout="{layout}" show="rate,change,percent"></currency-ticker>'
        markup = f'<div id="place">{element}<p>More</p></div>'
        page.goto(site.page(with_script(site, markup), policy=""))
        wait_for_elements(page)
        for parent in parents:
            with case(layout, parent):
                page.locator("#place").evaluate("(node, style) => (node.style = style)", parent)
                expect(page.locator("currency-ticker li:visible").first).to_be_visible()
                assert page.evaluate("document.documentElement.scrollWidth") <= 700


def test_invalid_response_keeps_the_rates(site: Site, open_page: Open) -> None:
    """A 200 without a ticker is a failure: rates stay, muted, the element recovers, and no error is logged."""
    watched = open_page(site.page(with_script(site, "<currency-ticker></currency-ticker>")), clock=True)
    element = wait_for_elements(watched.page).first
    invalid_bodies = iter(('{"ok": true}', '{"quotes": []}', "<h1>Maintenance</h1>"))
    watched.page.route(
        "**/v1/ticker*", lambda route: route.fulfill(body=next(invalid_bodies, "null"), content_type="text/html")
    )
    box = element.locator(".ticker")
    watched.advance_until(lambda: has_class(box, "away"))
    element.evaluate("node => node.setAttribute('layout', 'list')")
    assert "usd US Dollar 405.40 +1.35%" in visible_text(element)
    watched.page.unroute("**/v1/ticker*")
    watched.advance_until(lambda: not has_class(box, "away"))
    assert watched.console == []


def test_updates_keep_the_focus(make_site: Callable[..., Site], open_page: Open) -> None:
    """A focused button stays focused when rates change."""
    site = make_site()
    watched = open_page(site.page(with_script(site, "<currency-ticker live layout='tape'></currency-ticker>")))
    element = wait_for_elements(watched.page).first
    button = element.get_by_role("button", name="Pause")
    button.focus()
    publish(site, USD="420.00")
    expect(element.locator("li .percent").first).to_have_text("+5.00%")
    expect(button).to_be_focused()


def test_transparent_theme_inherits_the_text_colour(site: Site, open_page: Open) -> None:
    """Light text on the page's dark background is readable."""
    style = "<style>main { color: #e8ecf3; background: #10151f }</style>"
    markup = f"{style}<currency-ticker theme='transparent'></currency-ticker>"
    page = open_page(site.page(with_script(site, markup), policy="")).page
    element = wait_for_elements(page).first
    expect(element.locator(".code").first).to_have_css("color", "rgb(232, 236, 243)")
    assert axe_report(page) == ""
