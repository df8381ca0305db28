"""The status page in a browser: it refreshes itself, counts down, and works without JavaScript."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from service.settings import Settings
from service.storage.repository import Store
from tests.browser.conftest import Open, axe_report, case
from tests.browser.site import Site
from tests.support.publications import fill
from tests.support.wait import wait_until

LANGUAGES = ("en", pytest.param("kk", marks=pytest.mark.slow), pytest.param("ru", marks=pytest.mark.slow))
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PHONE = {"width": 375, "height": 800}


@dataclass
class FilledSite(Site):
    """A service with 90 days of publications, late, missed and quarantined ones, whose bank is down."""

    @cached_property
    def settings(self) -> Settings:
        return super().settings

    async def _start(self) -> None:
        self.banks.faults["nbk"] = 503
        store = self.settings.store
        async with Store(store.url.get_secret_value(), store.prefix) as filled:
            await fill(filled, self.settings, self.clock(), {"nbk"})
        await super()._start()


@pytest.fixture(scope="module")
def filled_site(valkey: str) -> Iterator[Site]:
    with FilledSite(valkey).serving() as site:
        yield site


@pytest.fixture
def own_site(valkey: str) -> Iterator[Site]:
    """Yield a site that the test stops."""
    with FilledSite(valkey).serving() as site:
        yield site


def summary(page: Page) -> str:
    return page.locator("#summary b").inner_text()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_status_page_is_accessible(filled_site: Site, open_page: Open, lang: str) -> None:
    """In light and dark, with the details open."""
    page = open_page(f"{filled_site.service}/status?lang={lang}").page
    page.locator("summary").first.click()
    for scheme in SCHEMES:
        with case(scheme):
            page.emulate_media(color_scheme=scheme)
            assert axe_report(page) == ""


def test_status_page_needs_no_other_origin_and_violates_no_policy(filled_site: Site, open_page: Open) -> None:
    watched = open_page(f"{filled_site.service}/status").settled(filled_site)
    assert watched.console == []
    assert {request.url.startswith(filled_site.service) for request in watched.requests} == {True}


def test_status_page_fits_a_phone(filled_site: Site, open_page: Open) -> None:
    """Nothing is wider than the screen; tables scroll in their own box."""
    page = open_page(f"{filled_site.service}/status", viewport=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_status_page_is_complete_without_javascript(filled_site: Site, open_page: Open) -> None:
    page = open_page(f"{filled_site.service}/status", java_script_enabled=False).page
    expect(page.get_by_role("heading", level=1)).to_have_text("Service status")
    expect(page.locator("#source-nbk")).to_be_visible()
    expect(page.locator("[aria-labelledby=quarantine] pre").first).to_contain_text("quarantine accept nbk")
    assert re.fullmatch(r"\d+:\d\d:\d\d", page.locator(".countdown").first.inner_text())
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "30"


def test_states_of_days_differ_in_shape(filled_site: Site, open_page: Open) -> None:
    """Not only in colour: each path draws another figure."""
    page = open_page(f"{filled_site.service}/status").page
    shapes = page.locator(".legend path").evaluate_all("nodes => nodes.map((node) => node.getAttribute('d'))")
    assert len(set(shapes)) == len(shapes) == 7
    drawn = page.locator(".source .strip path").evaluate_all("nodes => nodes.map((node) => node.getAttribute('class'))")
    assert {"on_time", "late", "missed", "quarantined", "due"} <= set(drawn)


def test_countdown_runs_and_page_refreshes_itself(filled_site: Site, open_page: Open) -> None:
    """The details that a visitor has opened stay open, and the focus stays."""
    watched = open_page(f"{filled_site.service}/status", clock=True)
    page = watched.page
    due, shown_at = page.locator("[data-due]").first, page.locator("main").get_attribute("data-now")
    before = due.inner_text()
    watched.advance_until(lambda: due.inner_text() != before, "the countdown runs", seconds=1)
    page.locator("summary").first.click()
    page.locator("summary").first.focus()
    watched.advance_until(lambda: page.locator("main").get_attribute("data-now") != shown_at, "it refreshes", seconds=6)
    assert page.locator("details").first.get_attribute("open") is not None
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_page_reports_that_the_service_does_not_respond(own_site: Site, open_page: Open) -> None:
    """The last state stays visible; the message disappears with the next response."""
    watched = open_page(f"{own_site.service}/status", clock=True)
    offline = watched.page.locator("#offline")
    assert offline.inner_text() == ""
    before = summary(watched.page)
    own_site.stop()
    watched.advance_until(lambda: "does not respond" in offline.inner_text(), "the message appears", seconds=6)
    assert summary(watched.page) == before
    own_site.start()
    watched.advance_until(lambda: offline.inner_text() == "", "the message disappears", seconds=6)


def test_change_of_the_state_is_announced(own_site: Site, open_page: Open) -> None:
    """To screen readers, once it changes."""
    watched = open_page(f"{own_site.service}/status", clock=True)
    page = watched.page
    wait_until(lambda: summary(page) == "Rates are served, but something needs attention")
    page.evaluate("document.querySelector('#summary b').textContent = 'Everything works'")
    announcement = page.locator("#announcement")
    watched.advance_until(lambda: announcement.inner_text() != "", "it is announced", seconds=6)
    assert announcement.inner_text() == "Rates are served, but something needs attention"
    assert announcement.get_attribute("role") == "status"
