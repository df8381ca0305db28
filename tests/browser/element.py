"""Pages with <currency-ticker>, and the text that is visible in it."""

from playwright.sync_api import Locator, Page, expect

from tests.browser.site import Site

SCRIPT = '<script type="module" src="{service}/embed.js"></script>'
STRIP = "usd +1.35% ▲ eur +2.68% ▲ rub 0.00% ■ gbp -0.89% ▼ cny +0.25% ▲"
COUNT_EVENTS = (
    "const Real = EventSource; window.received = 0;"
    "window.EventSource = class extends Real {"
    "  constructor(url) { super(url); this.addEventListener('ticker', () => received++) } }"
)
"""A script that counts the events of all streams of a page."""


def with_script(site: Site, markup: str) -> str:
    return SCRIPT.format(service=site.service) + markup


def visible_text(element: Locator) -> str:
    """Return the visible text of an element's quotes, without the text for assistive technology."""
    parts = element.locator("ul:visible").first.locator(".seen > span").all_inner_texts()
    return " ".join(part.strip() for part in parts)


def wait_for_elements(page: Page, count: int = 1) -> Locator:
    """Wait until the elements show rates, and return them."""
    elements = page.locator("currency-ticker")
    for number in range(count):
        expect(elements.nth(number).locator("li:visible").first).to_be_visible()
    return elements


def has_class(element: Locator, name: str) -> bool:
    return bool(element.evaluate("(node, name) => node.classList.contains(name)", name))
