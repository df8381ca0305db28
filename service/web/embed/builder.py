"""Messages of the options on the page at `/`, the builder; its other messages are in its template."""

from collections.abc import Mapping
from gettext import NullTranslations
from typing import Final

from service.web.i18n.messages import N_

VALUES: Final[Mapping[str, str]] = {
    "auto": N_("same as the page"),
    "system": N_("visitor's system"),
    "light": N_("light"),
    "dark": N_("dark"),
    "transparent": N_("transparent"),
    "strip": N_("strip"),
    "list": N_("list"),
    "tape": N_("scrolling"),
    "rate": N_("rate"),
    "change": N_("change"),
    "percent": N_("percent"),
}
"""Names of the values of theme, layout and values."""
SNIPPETS: Final[Mapping[str, str]] = {
    "element": N_("Web component (recommended)"),
    "iframe": N_("iframe, without a script"),
    "svg": N_("Image, for README files"),
    "html": N_("Server-side include"),
    "oembed": N_("oEmbed"),
    "json": N_("JSON"),
}
"""Headings of the snippets, in display order."""


def _extracted() -> None:
    """Mark the name of the catalogue's language for extraction; never called."""
    pgettext = NullTranslations().pgettext
    pgettext("name of the catalogue's language", "English")
