"""The WordPress plugin in a real WordPress: installed as an administrator does, used by an author, seen by visitors.

`WORDPRESS_DIR` names an unpacked WordPress of another version than Debian's. `SCREENSHOTS` names a folder for pictures
of the pages.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from service.settings.loader import ROOT
from tests.browser.conftest import case
from tests.browser.element import visible_text
from tests.browser.site import Site
from tests.support.wait import wait_until
from tests.support.wordpress import PASSWORD, UnavailableError, WordPress, wordpress

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WIDTHS = (375, 1280)
THEMES = ("twentytwentythree", "twentytwentyone")
"""A block theme and a classic theme: they print scripts at different times."""
SCREENSHOTS = os.environ.get("SCREENSHOTS")
WELCOME = "wp.data.dispatch('core/preferences').set('core/edit-post', 'welcomeGuide', false)"
PLUGIN = "currency-ticker/currency-ticker.php"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the zip file of the plugin."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(["make", "wordpress", f"DIST={folder}"], cwd=ROOT, check=True, capture_output=True, timeout=60)
    return folder / "currency-ticker-wordpress.zip"


@pytest.fixture(scope="module")
def blog() -> Iterator[WordPress]:
    try:
        with wordpress() as site:
            yield site
    except UnavailableError as error:
        pytest.skip(f"NO WORDPRESS TESTS: Debian's packages of WordPress, PHP and MariaDB cannot be used: {error}")


@pytest.fixture(scope="module")
def users(browser: Browser, blog: WordPress, archive: Path) -> Iterator[dict[str, Page]]:
    """Yield a page of each user, logged in. The administrator has installed and activated the plugin."""
    pages = {}
    for name in ("administrator", "author"):
        page = pages[name] = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.goto(f"{blog.url}/wp-login.php")
        page.fill("#user_login", name)
        page.fill("#user_pass", PASSWORD)
        page.click("#wp-submit")
        page.wait_for_url(f"{blog.url}/wp-admin/**")
    page = pages["administrator"]
    page.goto(f"{blog.url}/wp-admin/plugin-install.php?tab=upload")
    page.set_input_files("#pluginzip", archive)
    page.click("#install-plugin-submit")
    page.click("text=Activate Plugin")
    expect(page.get_by_text("Plugin activated.")).to_be_visible()
    yield pages
    for page in pages.values():
        page.context.close()


@pytest.fixture
def installed(blog: WordPress, users: dict[str, Page], site: Site) -> Iterator[dict[str, Page]]:
    """Yield the users of a site whose plugin has the URL of the service. Fail if PHP reports an error of the plugin."""
    blog.evaluate(f"update_option('currency_ticker_url', '{site.service}');")
    yield users
    assert blog.messages_of("currency-ticker") == []


def screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


def edit(page: Page, blog: WordPress) -> None:
    """Open the editor with an empty post."""
    page.goto(f"{blog.url}/wp-admin/post-new.php")
    page.wait_for_function("window.wp?.data?.select('core/editor')?.getCurrentPostId() > 0")
    page.evaluate(WELCOME)


def canvas(page: Page) -> Any:
    """Return where the editor shows the post: a frame in newer versions of WordPress."""
    return (
        page.frame_locator("iframe[name=editor-canvas]") if page.locator("iframe[name=editor-canvas]").count() else page
    )


def insert(page: Page, name: str, attributes: dict[str, Any] | None = None) -> None:
    page.evaluate(
        "([name, attributes]) => wp.data.dispatch('core/block-editor')"
        ".insertBlock(wp.blocks.createBlock(name, attributes))",
        [name, attributes or {}],
    )


def pick_custom_colour(page: Page, colour: str) -> None:
    """Enter a colour in the open picker of WordPress, and close it."""
    page.get_by_role("button", name=re.compile("Custom color picker")).click()
    field = page.get_by_label("Hex color")
    field.fill(colour)
    field.press("Enter")
    for _ in range(2):
        page.keyboard.press("Escape")


def publish(page: Page, title: str) -> str:
    """Publish the post and return its URL."""
    page.evaluate(
        "async (title) => { await wp.data.dispatch('core/editor').editPost({ title, status: 'publish' });"
        " await wp.data.dispatch('core/editor').savePost() }",
        title,
    )
    page.wait_for_function("wp.data.select('core/editor').isCurrentPostPublished()")
    url: str = page.evaluate("wp.data.select('core/editor').getPermalink()")
    return url


def visit(browser: Browser, url: str, width: int) -> tuple[Page, list[str]]:
    """Return the page of a visitor, and the URLs that it requests."""
    context = browser.new_context(viewport={"width": width, "height": 800}, locale="en")
    page, requests = context.new_page(), list[str]()
    page.on("request", lambda request: requests.append(request.url) if request.url.startswith("http") else None)
    page.goto(url)
    return page, requests


def shows(ticker: Locator, text: str) -> None:
    expect(ticker.locator("li:visible").first).to_be_visible()
    assert visible_text(ticker).startswith(text)


def test_author_publishes_a_block_and_a_shortcode(
    browser: Browser, blog: WordPress, installed: dict[str, Page], site: Site
) -> None:
    """The preview follows the options; visitors see both tickers, by one script, and nothing of a third party."""
    page = installed["author"]
    edit(page, blog)
    insert(page, "currency-ticker/ticker")
    preview = canvas(page).locator("currency-ticker")
    shows(preview, "usd +1.35% ▲ eur +2.68%")
    page.get_by_role("region", name="Editor settings").get_by_label("Currencies").fill("eur, gbp")
    page.get_by_label("Layout").select_option("list")
    page.get_by_label("Change in percent").check()
    expect(preview.locator("li")).to_have_count(2)
    shows(preview, "eur")
    assert "513.40" not in visible_text(preview)
    screenshot(page, "editor")
    insert(page, "core/shortcode", {"text": '[currency_ticker currencies="cny,usd" live]'})
    url = publish(page, "Rates of the day")

    for theme in THEMES:
        if theme not in blog.evaluate("echo implode(' ', array_keys(wp_get_themes()));"):
            continue  # another version of WordPress has other themes
        blog.evaluate(f"switch_theme('{theme}');")
        for width in WIDTHS:
            with case(theme, width):
                visitor, requests = visit(browser, url, width)
                tickers = visitor.locator("currency-ticker")
                assert tickers.count() == 2
                shows(tickers.first, "eur")
                assert tickers.first.locator("li").count() == 2
                shows(tickers.last, "cny +0.25% ▲ usd +1.35% ▲")
                assert tickers.last.get_attribute("live") == ""
                for ticker in tickers.all():
                    box, first = ticker.bounding_box(), ticker.locator("li .percent").first.bounding_box()
                    assert box is not None
                    assert first is not None
                    assert box["x"] >= 0
                    assert first["x"] + first["width"] <= box["x"] + box["width"] <= width
                assert [request for request in requests if request.endswith(".js")].count(
                    f"{site.service}/embed.js"
                ) == 1
                assert visitor.locator("script[src*='embed.js']").count() == 1
                assert {urlsplit(request)[:2] for request in requests} <= {
                    urlsplit(url)[:2] for url in (blog.url, site.service)
                }
                assert visitor.context.cookies() == []
                screenshot(visitor, f"post-{theme}-{width}")
                visitor.context.close()


def test_author_selects_colours_size_font_and_period_of_a_block(
    browser: Browser, blog: WordPress, installed: dict[str, Page], site: Site
) -> None:
    """In the panels of the editor; its preview and the page of a visitor have the same styles and rates."""
    page = installed["author"]
    edit(page, blog)
    insert(page, "currency-ticker/ticker", {"layout": "tape"})
    preview = canvas(page).locator("currency-ticker")
    shows(preview, "usd")
    sidebar = page.get_by_role("region", name="Editor settings")
    sidebar.get_by_label("Period of the change").select_option("week")
    week = page.request.get(f"{site.service}/v1/ticker?lang=en&period=week").json()["quotes"][0]["text"]["percent"]
    expect(preview.locator(".percent:visible").first).to_have_text(week)
    custom = sidebar.get_by_role("button", name="Background", exact=True)
    custom.click()
    pick_custom_colour(page, "202020")
    sidebar.get_by_role("button", name="Text", exact=True).click()
    pick_custom_colour(page, "fffdf5")
    sidebar.get_by_role("button", name="Rise", exact=True).click()
    pick_custom_colour(page, "303030")
    expect(sidebar.get_by_text("Low contrast")).to_contain_text("against the background: Rise")
    sidebar.get_by_role("button", name="Size and font").click()
    sidebar.get_by_role("spinbutton", name="Text size").fill("20")
    sidebar.get_by_role("spinbutton", name="Duration of one round").fill("60")
    sidebar.get_by_label("Font").select_option("mono")
    screenshot(page, "editor-colours")
    names = ["backgroundColor", "color", "fontSize", "fontFamily", "borderColor"]
    styles = "(node, names) => names.map((name) => getComputedStyle(node)[name])"
    expected = preview.locator(".ticker").evaluate(styles, names)
    assert expected[:2] == ["rgb(32, 32, 32)", "rgb(255, 253, 245)"]
    assert "monospace" in expected[3]
    expect(preview.locator(".up .percent").first).to_have_css("color", "rgb(48, 48, 48)")
    url = publish(page, "Rates in own colours")
    for width in WIDTHS:
        with case(width):
            visitor, _ = visit(browser, url, width)
            ticker = visitor.locator("currency-ticker")
            expect(ticker.locator(".percent:visible").first).to_have_text(week)
            assert ticker.locator(".ticker").evaluate(styles, names) == expected
            expect(ticker.locator("ul").first).to_have_css("animation-duration", "60s")
            screenshot(visitor, f"post-colours-{width}")
            visitor.context.close()


def test_colours_of_a_palette_become_hexadecimal(blog: WordPress, installed: dict[str, Page]) -> None:
    """Themes write them in several notations; a transparent colour, and a variable, cannot be used."""
    page = installed["author"]
    edit(page, blog)
    palette = {
        "Short": ("#FC0", "#ffcc00"), "Function": ("rgb(1, 2, 3)", "#010203"), "Hue": ("hsl(120 100% 25%)", "#008000"),
        "Transparent": ("#00000080", None), "Variable": ("var(--wp--preset--color--x)", None),
    }  # fmt: skip
    insert(page, "currency-ticker/ticker")
    background = page.get_by_role("region", name="Editor settings").get_by_role("button", name="Background", exact=True)

    def colour_of(name: str) -> Locator:
        return page.locator(f".components-circular-option-picker [aria-label*='{name}']")

    def is_offered() -> bool:
        page.evaluate(
            "(colors) => wp.data.dispatch('core/block-editor')"
            ".updateSettings({ colors, __experimentalFeatures: undefined })",
            [{"name": name, "slug": name.lower(), "color": colour} for name, (colour, _) in palette.items()],
        )
        if background.get_attribute("aria-expanded") != "true":
            background.click()
        return colour_of("Short").count() == 1

    # An editor that is still loading replaces it by that of the theme, and closes the menu.
    wait_until(is_offered, "the palette")
    for name, (_, expected) in palette.items():
        with case(name):
            colour_of(name).click()
            chosen = page.evaluate("wp.data.select('core/block-editor').getBlocks().at(-1).attributes.surface ?? null")
            assert chosen == expected


def test_author_pastes_the_url_of_a_page(
    browser: Browser, blog: WordPress, installed: dict[str, Page], site: Site
) -> None:
    """The URL of an /embed page becomes a frame with rates, though its host is a loopback address."""
    page = installed["author"]
    edit(page, blog)
    url = f"{site.service}/embed?currencies=usd,eur&lang=en"
    insert(page, "core/embed", {"url": url})
    expect(canvas(page).locator("figure.wp-block-embed iframe")).to_be_visible()
    post = publish(page, "A pasted URL")
    for width in WIDTHS:
        with case(width):
            visitor, _ = visit(browser, post, width)
            frame = visitor.locator("iframe[src*='/embed']")
            assert frame.get_attribute("src") == url
            expect(frame).to_be_visible()
            shows(visitor.frame_locator("iframe[src*='/embed']").locator("body"), "usd")
            screenshot(visitor, f"oembed-{width}")
            visitor.context.close()


def test_other_requests_to_private_hosts_stay_forbidden(
    blog: WordPress, installed: dict[str, Page], site: Site
) -> None:
    """Only the oEmbed endpoint of the service is allowed: authors choose the URLs that WordPress requests."""
    code = "foreach (json_decode($argv[1]) as $url) echo wp_http_validate_url($url) ? 1 : 0;"
    urls = [
        f"{site.service}/oembed?url=x", f"{site.service}/metrics", f"{site.service}.evil.example/oembed?url=x",
        "http://127.0.0.1:1/oembed?url=x", "http://10.0.0.1/oembed?url=x",
    ]  # fmt: skip
    assert blog.evaluate(f"$argv[1] = {json.dumps(json.dumps(urls))};{code}") == "10000"


def test_shortcode_emits_only_valid_attributes(blog: WordPress, installed: dict[str, Page], site: Site) -> None:
    """Invalid values are left out and named in a comment; nothing is emitted unescaped."""
    link = f'<a href="{site.service}/embed'
    cases = {
        "[currency_ticker]": ("", '">', None),
        "[currency_ticker currencies='USD, eur usd' layout='LIST' show='percent,rate' spark='1' live='no']": (
            ' currencies="usd,eur" layout="list" show="rate,percent" spark', '?currencies=usd,eur">', None
        ),
        "[currency_ticker period='MONTH' show='sell,buy']": (
            ' show="buy,sell" period="month"', '?period=month">', None
        ),
        "[currency_ticker spark period='day' live='false' theme='auto' lang='pt_BR' ticker='gel']": (
            ' ticker="gel" lang="pt-BR" spark', '?ticker=gel&#038;lang=pt-BR">', None
        ),
        "[currency_ticker surface='#FFFDF5' ink='222244' up='0a7a3d' size='18' radius='0' font='mono' speed='60']": (
            (' style="--ticker-surface:#fffdf5;--ticker-ink:#222244;--ticker-up:#0a7a3d;'
            "--ticker-soft:color-mix(in srgb,#222244 75%,#fffdf5);--ticker-line:color-mix(in srgb,#222244 15%,#fffdf5);"
            "--ticker-warn:#222244;--ticker-family:ui-monospace,monospace;--ticker-size:18px;--ticker-radius:0px;"
            '--ticker-speed:60s"'), '">', None
        ),
        "[currency_ticker surface='red' ink='0;x:y' size='99' radius='-1' font='system' speed='1']": (
            "", '">', "surface, ink, size, radius, speed"
        ),
        "[currency_ticker currencies='usd\"><script>' theme='drak' layout='\" onclick=\"alert(1)' show='all' lang='--' "
        "period='decade' ticker='../x' onmouseover='alert(1)']": (
            "", '">', "ticker, currencies, lang, theme, layout, show, period"
        ),
    }  # fmt: skip
    for shortcode, (attributes, query, invalid) in cases.items():
        with case(shortcode):
            shown = blog.evaluate(f"echo do_shortcode(json_decode({json.dumps(json.dumps(shortcode))!s}));")
            comment = f"<!-- currency-ticker: invalid value of {invalid} -->" if invalid else ""
            expected = f"{comment}<currency-ticker{attributes}>{link}{query}Exchange rates</a></currency-ticker>"
            assert shown == expected


def test_url_is_validated(blog: WordPress, installed: dict[str, Page]) -> None:
    """HTTPS, or HTTP to a loopback host, without login, query or fragment."""
    valid = {
        " https://Ticker.Example/ ": "https://ticker.example",
        "https://ticker.example:8443/rates/": "https://ticker.example:8443/rates",
        "http://localhost:8080": "http://localhost:8080",
        "http://127.0.0.1:8080": "http://127.0.0.1:8080",
        "http://[::1]:8080": "http://[::1]:8080",
    }
    invalid = [
        "", "ticker.example", "//ticker.example", "http://ticker.example", "http://127.0.0.1.evil.example", "https://",
        "https://user:pass@ticker.example", "https://ticker.example/?a=b", "https://ticker.example/#a",
        'https://ticker.example/"><script>', "https://ticker.example\n.evil", "https://ticker.example/a b",
        "ftp://localhost", "javascript:alert(1)",
    ]  # fmt: skip
    code = "echo json_encode(array_map('Currency_Ticker\\valid_url', json_decode($texts)));"
    texts = json.dumps(json.dumps([*valid, *invalid]))
    assert json.loads(blog.evaluate(f"$texts = {texts};{code}")) == [*valid.values(), *([""] * len(invalid))]


def test_settings_page_saves_the_url_and_shows_a_preview(
    blog: WordPress, installed: dict[str, Page], site: Site
) -> None:
    """An invalid URL is reported, and the saved one is kept."""
    blog.evaluate("update_option('currency_ticker_url', '');")
    page = installed["administrator"]
    page.goto(f"{blog.url}/wp-admin/plugins.php")
    page.locator(f"[data-plugin='{PLUGIN}'] .row-actions >> text=Settings").click()
    field = page.get_by_label("URL of the service")
    field.fill(f"{site.service}/")
    page.click("#submit")
    expect(field).to_have_value(site.service)
    shows(page.locator("currency-ticker"), "usd +1.35%")
    screenshot(page, "settings")
    field.fill("http://ticker.example")
    page.click("#submit")
    expect(page.get_by_text("The URL of the service must be like")).to_be_visible()
    expect(field).to_have_value(site.service)
    screenshot(page, "settings-error")


def test_without_url_visitors_see_nothing(browser: Browser, blog: WordPress, installed: dict[str, Page]) -> None:
    """The editor says what is missing, and shows administrators the way to the settings."""
    blog.evaluate("update_option('currency_ticker_url', '');")
    page = installed["administrator"]
    edit(page, blog)
    insert(page, "currency-ticker/ticker")
    notice = canvas(page).get_by_text("The URL of the service is not set yet")
    expect(notice).to_be_visible()
    screenshot(page, "editor-without-url")
    post = publish(page, "No ticker yet")
    page.goto(post)
    expect(page.get_by_text("set the URL of your service")).to_be_visible()
    visitor, _ = visit(browser, post, 1280)
    expect(visitor.get_by_text("No ticker yet").first).to_be_visible()
    assert "currency-ticker" not in visitor.locator("main").inner_html()
    visitor.context.close()


def test_deleting_the_plugin_removes_its_option(blog: WordPress, installed: dict[str, Page]) -> None:
    """WordPress calls `uninstall_plugin` before it deletes the files."""
    option = "echo json_encode(get_option('currency_ticker_url'));"
    assert blog.evaluate(option) != "false"
    blog.evaluate(f"uninstall_plugin('{PLUGIN}');")
    assert blog.evaluate(option) == "false"
