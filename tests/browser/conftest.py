"""A real Chromium, and a service with a foreign site beside it."""

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from shutil import which
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from tests.browser.site import Site

CHROMIUM = os.environ.get("CHROMIUM") or which("chromium") or which("chromium-browser") or which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--font-render-hinting=none"),
]


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


Open = Callable[..., Watched]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Yield a function that opens an address in a new profile, and watches it."""
    contexts: list[BrowserContext] = []

    def opened(url: str, script: str = "", **options: Any) -> Watched:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        watched = Watched(page)
        page.on("request", lambda request: watched.requests.append(request))  # noqa: PLW0108 - it sets attributes
        page.on("console", lambda message: watched.console.append(message.text))
        page.on("pageerror", lambda error: watched.console.append(str(error)))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', ({ violatedDirective: what, blockedURI: which }) =>"
            "  console.error('violation', what, which));" + script
        )
        page.goto(url)
        return watched

    yield opened
    for context in contexts:
        context.close()


def figures(site: Site, query: str = "") -> dict[str, Any]:
    """Return the ticker as JSON, by a plain client."""
    with urllib.request.urlopen(f"{site.service}/v1/ticker{query}", timeout=5) as response:
        document: dict[str, Any] = json.load(response)
    return document


def wait_until(holds: Callable[[], bool], what: str = "", within: float = 30) -> None:
    give_up = time.monotonic() + within
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        assert time.monotonic() < give_up, f"{what}: it did not come true"
        time.sleep(0.05)


def complaints(page: Page) -> str:
    """Return what axe-core finds wrong with a page; nothing where it is content."""
    results = Axe().run(page)
    assert results.response["passes"], "axe has looked at nothing"
    return results.generate_report() if results.violations_count else ""
