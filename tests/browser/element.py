"""Pages with <currency-ticker>, and what is visible of it."""

from playwright.sync_api import Locator, Page, expect

from tests.browser.site import Site

SCRIPT = '<script type="module" src="{service}/embed.js"></script>'
STRIP = "usd +1.35% ▲ eur +2.68% ▲ rub 0.00% ■ gbp -0.89% ▼ cny +0.25% ▲"
COUNT_EVENTS = (
    "const Real = EventSource; window.heard = 0;"
    "window.EventSource = class extends Real {"
    "  constructor(url) { super(url); this.addEventListener('ticker', () => heard++) } }"
)
"""A script that counts the events of all streams of a page."""


def with_script(site: Site, markup: str) -> str:
    return SCRIPT.format(service=site.service) + markup


def seen(element: Locator) -> str:
    """Return what is seen of an element's quotes: not what only screen readers get."""
    parts = element.locator("ul:visible").first.locator(".seen > span").all_inner_texts()
    return " ".join(part.strip() for part in parts)


def ready(page: Page, count: int = 1) -> Locator:
    """Wait for the figures; return the elements."""
    elements = page.locator("currency-ticker")
    for number in range(count):
        expect(elements.nth(number).locator("li:visible").first).to_be_visible()
    return elements


def has_class(element: Locator, name: str) -> bool:
    return bool(element.evaluate("(node, name) => node.classList.contains(name)", name))
