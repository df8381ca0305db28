"""A real Chromium, and a service beside a site of another origin that embeds it."""

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from shutil import which
from typing import Any, Final

import pytest
from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.browser.site import NEW, Site
from tests.support.wait import wait_until

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The headless shell is the same engine without a browser's window, twice as fast."""
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(which, COMMANDS)), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--font-render-hinting=none"),
    *("--in-process-gpu", "--process-per-site"),  # fewer processes: a tenth faster
]
MEDIA = ("color_scheme", "reduced_motion", "forced_colors")
"""Options that a page can change without a separate browser context."""
expect.set_options(timeout=30_000)


@pytest.fixture(scope="package")  # while it is open, no other test can run an event loop
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("NO BROWSER TESTS: Chromium was not found; set CHROMIUM=/path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def make_site(valkey: str) -> Iterator[Callable[..., Site]]:
    """Yield a function that starts a service with an embedding site and waits until its rates are served."""
    with ExitStack() as stack:

        def start_site(**options: Any) -> Site:
            site = stack.enter_context(Site(valkey, **options).serving())
            wait_until(lambda: ticker_json(site)["quotes"][0]["source"] == "nbk")
            for ticker in site.tickers:
                wait_until(partial(ticker_json, site, f"/{ticker['id']}"))
            return site

        yield start_site


@pytest.fixture(scope="package")
def site(valkey: str) -> Iterator[Site]:
    """Yield the site that all tests share which do not change it."""
    with Site(valkey).serving() as site:
        wait_until(lambda: ticker_json(site)["quotes"][0]["source"] == "nbk")
        yield site


@dataclass
class WatchedPage:
    """A page, its requests and its console messages."""

    page: Page
    requests: list[Request] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def urls_with(self, substring: str) -> list[str]:
        """Return the requested URLs that contain a substring."""
        return [request.url for request in self.requests if substring in request.url]

    def settled(self, site: Site) -> "WatchedPage":
        """Wait until all earlier requests, paints and console messages of the page are recorded, and return the page.

        The page draws two frames and then sends a marker request; any earlier request is recorded before it.
        """
        marker = f"{site.service}/livez?marker={len(self.requests)}"
        self.page.evaluate(
            """async (marker) => {
              const frame = () => new Promise((done) => requestAnimationFrame(done));
              await frame();
              await frame();
              await fetch(marker);
            }""",
            marker,
        )
        wait_until(lambda: bool(self.page.title() and self.urls_with(marker)), marker)
        self.requests = [request for request in self.requests if request.url != marker]
        return self

    def advance_until(self, condition: Callable[[], bool], description: str = "", seconds: int = 60) -> None:
        """Advance the page's clock in steps of `seconds` until the condition holds; open the page with `clock=True`.

        At most 120 steps fit into the deadline, so that requested data gets time to arrive.
        """
        last_moved = 0.0

        def done() -> bool:
            nonlocal last_moved
            if condition():
                return True
            if time.monotonic() - last_moved >= 0.25:
                self.page.clock.fast_forward(seconds * 1000)
                last_moved = time.monotonic()
            return False

        wait_until(done, description)

    def now(self) -> float:
        """Return the time of the page's clock, in seconds."""
        return float(self.page.evaluate("Date.now() / 1000"))


WITHOUT_POLLS: Final = """
  const { setTimeout } = window, now = Date.now();
  Date.now = () => now;
  AbortSignal.timeout = () => new AbortController().signal;
  window.setTimeout = (callback, delay, ...rest) => (delay >= 4000 ? 0 : setTimeout(callback, delay, ...rest));
"""
"""A script for a page whose requests are counted: its rates never become due again, and no request times out,
however long the test takes."""

Open = Callable[..., WatchedPage]
Profile = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[Profile]:
    """Yield a function that returns the module's browser context with these options."""
    contexts: dict[str, BrowserContext] = {}

    def context_with(**options: Any) -> BrowserContext:
        key = repr(sorted(options.items()))
        if key not in contexts:
            contexts[key] = browser.new_context(**options)
        return contexts[key]

    yield context_with
    for context in contexts.values():
        context.close()


@pytest.fixture
def open_page(browser: Browser, profile: Profile) -> Iterator[Open]:
    """Yield a function that opens a URL in a new page and records its requests and console.

    Pages of a module with the same options share a browser context. With `new=True` a page has its own context with an
    empty cache; so it has with `clock=True`, and its clock can be advanced.
    """
    opened_pages: list[Page | BrowserContext] = []

    def open_in_new_page(
        url: str, script: str = "", *, new: bool = False, clock: bool = False, viewport: Any = None, **options: Any
    ) -> WatchedPage:
        media = {name: options.pop(name) for name in MEDIA if name in options}
        context = browser.new_context(**options) if new or clock else profile(**options)
        page = context.new_page()
        opened_pages.append(context if new or clock else page)
        if media:
            page.emulate_media(**media)
        if viewport:
            page.set_viewport_size(viewport)
        if clock:
            page.clock.install()
        watched = WatchedPage(page)
        page.on("request", lambda request: watched.requests.append(request))  # noqa: PLW0108 - it is replaced
        page.on("console", lambda message: watched.console.append(message.text))
        page.on("pageerror", lambda error: watched.console.append(str(error)))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', ({ violatedDirective: what, blockedURI: which }) =>"
            "  console.error('violation', what, which));" + script
        )
        page.goto(url)
        return watched

    yield open_in_new_page
    for page_or_context in opened_pages:
        page_or_context.close()


@contextmanager
def case(*names: object) -> Iterator[None]:
    """Add the case of a loop to a failure inside the block."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"case: {', '.join(map(str, names))}")
        raise


def ticker_json(site: Site, query: str = "") -> dict[str, Any]:
    """Return the ticker as JSON, requested by a plain client."""
    with urllib.request.urlopen(f"{site.service}/v1/ticker{query}", timeout=30) as response:
        document: dict[str, Any] = json.load(response)
    return document


def publish(site: Site, **rates: str) -> None:
    """Publish other rates, and wait until the service serves them."""
    before = ticker_json(site)["quotes"]
    site.publish({**NEW, **rates})
    wait_until(lambda: ticker_json(site)["quotes"] != before)


def axe_report(page: Page) -> str:
    """Return the violations that axe-core finds once colour transitions have ended; empty if there are none."""
    page.evaluate(
        """() => Promise.allSettled(
          document.getAnimations().filter((effect) => effect instanceof CSSTransition).map((effect) => effect.finished)
        )"""
    )
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    results = AxeResults(page.evaluate("axe.run({ resultTypes: ['violations'] })"))
    assert results.response["passes"], "axe has checked nothing"
    return results.generate_report() if results.violations_count else ""
