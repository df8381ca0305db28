"""Messages of the options on the page at `/`, the builder; its other messages are in its template."""

from collections.abc import Mapping
from gettext import NullTranslations
from typing import Final

from service.web.i18n.messages import N_

VALUES: Final[Mapping[str, str]] = {
    "auto": N_("Same as the page"),
    "system": N_("Visitor's system"),
    "light": N_("Light"),
    "dark": N_("Dark"),
    "transparent": N_("Transparent"),
    "strip": N_("Strip"),
    "list": N_("List"),
    "tape": N_("Scrolling"),
    "rate": N_("Rate"),
    "buy": N_("Buying"),
    "sell": N_("Selling"),
    "change": N_("Change"),
    "percent": N_("Percent"),
    "day": N_("Day"),
    "week": N_("Week"),
    "month": N_("Month"),
    "year": N_("Year"),
    "ytd": N_("Year to date"),
}
"""Names of the values of theme, layout, values and period."""
FONTS: Final[Mapping[str, str]] = {"system": N_("System"), "serif": N_("Serif"), "mono": N_("Monospace")}
COLOURS: Final[Mapping[str, tuple[str, str]]] = {
    "surface": (N_("Background"), "#ffffff"),
    "ink": (N_("Text"), "#1c2230"),
    "up": (N_("Rise"), "#0a7a3d"),
    "down": (N_("Fall"), "#b3261e"),
}
"""Names and initial values of the colours."""
WIDTHS: Final[Mapping[str, str]] = {"phone": N_("Phone"), "column": N_("Column"), "full": N_("Full")}
"""Names of the widths of the preview."""
SNIPPETS: Final[Mapping[str, tuple[str, str]]] = {
    "element": (
        N_("Web component"),
        N_("Recommended. Paste it where the ticker should appear: it follows the language and width of your page."),
    ),
    "iframe": (N_("iframe"), N_("For pages that allow no scripts of other sites. Complete without JavaScript.")),
    "wordpress": (
        N_("WordPress"),
        N_("Needs the WordPress plugin. Without it, paste the web component into a Custom HTML block."),
    ),
    "react": (N_("React"), N_("Load the script once, in index.html.")),
    "svg": (N_("Image"), N_("For README files, and pages that show only images.")),
    "email": (
        N_("E-mail"),
        N_("A picture that mail clients show, with a link. Select the width Phone for 320 pixels instead of 600."),
    ),
    "json": (N_("JSON"), N_("For programs. The response contains all texts, ready to show.")),
    "html": (N_("Server-side include"), N_("Your server inserts the HTML fragment into the page.")),
    "oembed": (N_("oEmbed"), N_("Paste this URL into an editor that supports oEmbed.")),
}
"""Headings and hints of the kinds of embed code, in display order."""


def _extracted() -> None:
    """Mark the name of the catalogue's language for extraction; never called."""
    pgettext = NullTranslations().pgettext
    pgettext("name of the catalogue's language", "English")
