"""The examples of docs/frameworks.md, built and opened: they show the rates of a running service."""

import functools
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import WITHOUT_POLLS, Open, WatchedPage, case, ticker_json
from tests.browser.element import visible_text, wait_for_elements
from tests.browser.site import Site
from tests.support.examples import TIMEOUT, bin_of, run, working_copy
from tests.support.ports import unused_port
from tests.support.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * TIMEOUT)]

FRAMEWORKS: Final = ("react", "vue", "svelte")
TICKERS: Final = [
    {"id": "kzt", "base": "KZT", "currencies": ["USD", "EUR", "RUB", "GBP", "CNY"], "sources": ["nbk"]},
    {"id": "other", "base": "KZT", "currencies": ["CNY", "USD"], "sources": ["nbk"]},
]
POLICY: Final = (
    "default-src 'none'; script-src 'self' {service}; connect-src {service}; style-src 'unsafe-inline'; "
    "require-trusted-types-for 'script'"
)
"""Under a policy that requires trusted types, `load` must not set the URL of a script element."""
PERCENTS: Final = ["+1,35\u00a0%", "+2,68\u00a0%", "0,00\u00a0%", "-0,89\u00a0%", "+0,25\u00a0%"]
WIDTHS: Final = (375, 1280)


@pytest.fixture
def examples(make_site: Callable[..., Site]) -> Iterator[tuple[Site, Path]]:
    """Yield a service with two tickers, and a copy of the examples that use it."""
    site = make_site(tickers=TICKERS)
    with working_copy(site.service) as folder:
        yield site, folder


@contextmanager
def serving(folder: Path, policy: str) -> Iterator[str]:
    """Serve a folder with a Content-Security-Policy, and yield its URL."""

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", policy)
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def opened(site: Site, folder: Path, framework: str, open_page: Open) -> Iterator[WatchedPage]:
    """Build an example with Vite, and open it."""
    run(bin_of(folder, "vite"), "build", "--logLevel", "warn", cwd=folder / framework)
    with serving(folder / framework / "dist", POLICY.format(service=site.service)) as url:
        yield open_page(url, WITHOUT_POLLS, new=True)


def hosts(watched: WatchedPage) -> set[str]:
    return {re.sub(r"^(\w+://[^/]+).*", r"\1", request.url) for request in watched.requests}


def expect_rates(page: Page) -> None:
    """Expect the five currencies in Russian, at the widths of a phone and of a desktop."""
    element = wait_for_elements(page).first
    expect(element.locator("li:visible .percent")).to_have_text(PERCENTS)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 720})
        with case(width):
            expect(element.locator("li:visible .rate").first).to_be_in_viewport(ratio=1)
            expect(element.locator("li:visible .percent").first).to_be_in_viewport(ratio=1)
    assert "доллар США" in visible_text(element)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_example_shows_rates(examples: tuple[Site, Path], open_page: Open, framework: str) -> None:
    """Under a strict policy: rates, no message in the console, one script, and only the service is contacted."""
    site, folder = examples
    with opened(site, folder, framework, open_page) as watched:
        expect_rates(watched.page)
        watched.settled(site)
        assert watched.console == []
        assert len(watched.urls_with("/embed.js")) == len(watched.urls_with("/v1/ticker")) == 1
        page_host = re.sub(r"/$", "", watched.page.url)
        assert hosts(watched) == {site.service, page_host}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_example_receives_events_and_changes_the_ticker(
    examples: tuple[Site, Path], open_page: Open, framework: str
) -> None:
    """`ticker-ready` brings the date of the rates; another ticker is requested and shown."""
    site, folder = examples
    as_of = ticker_json(site)["as_of"]
    with opened(site, folder, framework, open_page) as watched:
        page = watched.page
        expect(page.locator("section > p")).to_have_text(as_of)
        page.get_by_role("button", name="Another ticker").click()
        codes = wait_for_elements(page).first.locator("li:visible .code")
        expect(codes).to_have_text(["cny", "usd"])
        assert watched.console == []


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_example_without_a_service_shows_its_fallback(
    examples: tuple[Site, Path], open_page: Open, framework: str
) -> None:
    """The script cannot be loaded: the content of the tag stays, and there is no unhandled rejection."""
    site, folder = examples
    site.stop()
    with opened(site, folder, framework, open_page) as watched:
        expect(watched.page.get_by_role("link", name="Exchange rates")).to_be_visible()
        wait_until(lambda: any("ERR_CONNECTION_REFUSED" in text for text in watched.console if watched.page.title()))
        assert [text for text in watched.console if "ERR_" not in text] == []


def test_next_example_shows_rates_with_and_without_javascript(examples: tuple[Site, Path], open_page: Open) -> None:
    """The response of the server contains the fragment; in a browser the web component replaces it."""
    site, folder = examples
    run(bin_of(folder, "next"), "build", cwd=folder / "next")
    url = f"http://127.0.0.1:{(port := unused_port())}"
    server = subprocess.Popen(
        [bin_of(folder, "next"), "start", "--hostname", "127.0.0.1", "--port", str(port)],
        cwd=folder / "next", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: _responds(url), "next start")
        plain = open_page(url, java_script_enabled=False).page
        content = plain.locator("currency-ticker .ticker.list")
        expect(content.locator(".percent")).to_have_text(PERCENTS)
        expect(content).to_have_css("border-top-style", "solid")
        watched = open_page(url, WITHOUT_POLLS, new=True)
        expect_rates(watched.page)
        watched.settled(site)
        assert watched.console == []
        assert len(watched.urls_with("/embed.js")) == len(watched.urls_with("/embed.css")) == 1
        assert hosts(watched) == {site.service, url}
    finally:
        server.terminate()
        server.wait()


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return bool(response.status == 200)
    except urllib.error.URLError:
        return False
