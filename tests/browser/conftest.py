"""A real Chromium, and a service with a foreign site beside it."""

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from shutil import which
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.browser.site import NEW, Site
from tests.support.wait import wait_until

CHROMIUM = os.environ.get("CHROMIUM") or which("chromium") or which("chromium-browser") or which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--font-render-hinting=none"),
]
MEDIA = ("color_scheme", "reduced_motion", "forced_colors")
"""What a page can change without a browser context of its own."""
expect.set_options(timeout=30_000)


@pytest.fixture(scope="package")  # not longer: while it is open, no other test can have an event loop
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("NO BROWSER TESTS: no Chromium is installed and none could be; name one by CHROMIUM=/path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def make_site(valkey: str) -> Iterator[Callable[..., Site]]:
    """Yield a function that starts a service with a foreign site, once its figures can be read."""
    with ExitStack() as stack:

        def made(**options: Any) -> Site:
            site = stack.enter_context(Site(valkey, **options).serving())
            wait_until(lambda: figures(site)["quotes"][0]["source"] == "nbk")
            return site

        yield made


@pytest.fixture(scope="package")
def site(valkey: str) -> Iterator[Site]:
    """Return the site of all tests that change nothing of it."""
    with Site(valkey).serving() as site:
        wait_until(lambda: figures(site)["quotes"][0]["source"] == "nbk")
        yield site


@dataclass
class Watched:
    """What a page asked for and what the browser complained of."""

    page: Page
    requests: list[Request] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def of(self, part: str) -> list[str]:
        """Return the addresses asked for that hold `part`."""
        return [request.url for request in self.requests if part in request.url]

    def settled(self, site: Site) -> "Watched":
        """Return it once all is reported that the page has requested, drawn and complained of until now.

        The page draws two frames and then sends a request of its own, after which any other would have been seen.
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
        wait_until(lambda: bool(self.page.title() and self.of(marker)), marker)
        self.requests = [request for request in self.requests if request.url != marker]
        return self

    def let_pass(self, until: Callable[[], bool], what: str = "", seconds: int = 60) -> None:
        """Move the page's clock until it is so, by so many seconds at a time; the page is opened with `clock=True`.

        It is moved at most 120 times within the deadline: what was requested gets time to arrive.
        """
        moved = 0.0

        def done() -> bool:
            nonlocal moved
            if until():
                return True
            if time.monotonic() - moved >= 0.25:
                self.page.clock.fast_forward(seconds * 1000)
                moved = time.monotonic()
            return False

        wait_until(done, what)

    def now(self) -> float:
        """Return the time by the page's clock, in seconds."""
        return float(self.page.evaluate("Date.now() / 1000"))


Open = Callable[..., Watched]
Profile = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[Profile]:
    """Yield a function that returns the module's browser context with these options."""
    contexts: dict[str, BrowserContext] = {}

    def made(**options: Any) -> BrowserContext:
        key = repr(sorted(options.items()))
        if key not in contexts:
            contexts[key] = browser.new_context(**options)
        return contexts[key]

    yield made
    for context in contexts.values():
        context.close()


@pytest.fixture
def open_page(browser: Browser, profile: Profile) -> Iterator[Open]:
    """Yield a function that opens an address in a new page, and watches it.

    Pages of a module with the same options share a browser context. With `new=True` a page has its own, without
    anything cached; with `clock=True` too, and its clock can be moved.
    """
    opened_pages: list[Page | BrowserContext] = []

    def opened(
        url: str, script: str = "", *, new: bool = False, clock: bool = False, viewport: Any = None, **options: Any
    ) -> Watched:
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
        watched = Watched(page)
        page.on("request", lambda request: watched.requests.append(request))  # noqa: PLW0108 - it is replaced
        page.on("console", lambda message: watched.console.append(message.text))
        page.on("pageerror", lambda error: watched.console.append(str(error)))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', ({ violatedDirective: what, blockedURI: which }) =>"
            "  console.error('violation', what, which));" + script
        )
        page.goto(url)
        return watched

    yield opened
    for one in opened_pages:
        one.close()


@contextmanager
def case(*names: object) -> Iterator[None]:
    """Name the case of a loop in the failure of what it holds."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"case: {', '.join(map(str, names))}")
        raise


def figures(site: Site, query: str = "") -> dict[str, Any]:
    """Return the ticker as JSON, by a plain client."""
    with urllib.request.urlopen(f"{site.service}/v1/ticker{query}", timeout=30) as response:
        document: dict[str, Any] = json.load(response)
    return document


def publish(site: Site, **rates: str) -> None:
    """Publish other rates, and wait until the service has them."""
    before = figures(site)["quotes"]
    site.publish({**NEW, **rates})
    wait_until(lambda: figures(site)["quotes"] != before)


def complaints(page: Page) -> str:
    """Return what axe-core finds wrong with a page, once no colour changes any more; nothing where it is content."""
    page.evaluate(
        """() => Promise.allSettled(
          document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished)
        )"""
    )
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    results = AxeResults(page.evaluate("axe.run({ resultTypes: ['violations'] })"))
    assert results.response["passes"], "axe has looked at nothing"
    return results.generate_report() if results.violations_count else ""
