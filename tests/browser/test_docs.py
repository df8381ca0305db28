"""The API documentation at `/docs`, in the bundled viewer."""

import json
import re
import urllib.request
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open, WatchedPage, axe_report, case
from tests.browser.site import Site


def open_docs(site: Site, open_page: Open, scheme: Literal["light", "dark"] = "light") -> WatchedPage:
    """Open the page and wait until the viewer has loaded the API description."""
    watched = open_page(f"{site.service}/docs", color_scheme=scheme)
    expect(watched.page.locator(".opblock").first).to_be_visible()
    return watched


def test_docs_show_every_path(site: Site, open_page: Open) -> None:
    """Every described path is listed with its summary."""
    page = open_docs(site, open_page).page
    with urllib.request.urlopen(f"{site.service}/openapi.json", timeout=30) as response:
        paths = json.load(response)["paths"]
    blocks = page.locator(".opblock-summary-path")
    assert {text.replace("\u200b", "") for text in blocks.all_inner_texts()} == set(paths)
    assert page.locator(".opblock-summary-description").count() == len(paths)


def test_links_of_the_header_are_below_the_name(site: Site, open_page: Open) -> None:
    """This page has no choice of languages, which leaves the name alone in its row."""
    page = open_page(f"{site.service}/docs").page
    for width in (320, 375):
        with case(width):
            page.set_viewport_size({"width": width, "height": 700})
            name = page.get_by_role("banner").get_by_role("link", name="Currency ticker").bounding_box()
            first = page.get_by_role("banner").get_by_role("link", name="Builder").bounding_box()
            assert name
            assert first
            assert name["y"] + name["height"] <= first["y"]


@pytest.mark.slow
def test_docs_work_under_the_security_policy(site: Site, open_page: Open) -> None:
    """Open paths and schemas and try a request: it succeeds, the console is empty, and no other host is requested."""
    watched = open_docs(site, open_page)
    page = watched.page
    for summary in page.locator(".opblock-summary-control").all()[::5]:
        summary.click()
    page.locator(".models-control").click()
    page.get_by_role("button", name="Try it out").first.click()
    page.locator(".execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(page.locator(".live-responses-table")).to_contain_text('"code": "USD"')
    assert watched.console == []
    assert {request.url.split("/")[2] for request in watched.requests} == {site.service.removeprefix("http://")}
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


@pytest.mark.slow
def test_docs_are_accessible_in_the_visitors_theme(site: Site, open_page: Open) -> None:
    """Follow the system's theme, also when it changes; axe-core finds no violations with a path opened and tried."""
    page = open_docs(site, open_page, "dark").page
    page.locator(".opblock-summary-control").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.locator(".execute").click()
    expect(page.locator(".live-responses-table").first).to_be_visible()
    expect(page.locator("html")).to_have_class(re.compile("dark-mode"))
    background = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(background)
    assert axe_report(page) == ""
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).not_to_have_class(re.compile("dark-mode"))
    assert page.evaluate(background) != dark
    assert axe_report(page) == ""


@pytest.mark.slow
def test_docs_work_behind_a_prefix(site: Site, open_page: Open) -> None:
    """Everything that is loaded or tried is below the path where the service is mounted."""
    watched = open_page(f"{site.service}/livez")
    page, mounted = watched.page, "http://mounted.test/money/"
    page.route(
        f"{mounted}**",
        lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace(mounted, f"{site.service}/"))),
    )
    watched.requests.clear()
    page.goto(f"{mounted}docs")
    page.locator(".opblock-summary-control").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.locator(".execute").click()
    expect(page.locator(".live-responses-table")).to_contain_text('"code": "USD"')
    assert [request.url for request in watched.requests if not request.url.startswith(mounted)] == []


def test_docs_link_to_the_description_without_javascript(site: Site, open_page: Open) -> None:
    """The page is not empty."""
    page = open_page(f"{site.service}/docs", java_script_enabled=False).page
    page.get_by_role("link", name="openapi.json").click()
    expect(page.locator("body")).to_contain_text('"openapi":"3.1.1"')
