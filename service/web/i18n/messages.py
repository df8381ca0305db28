"""The messages of the strip, and the gettext catalogues that translate them; numbers, dates and names are CLDR's.

The English text is the message id. To add a language, add `locale/<language>/LC_MESSAGES/strip.po` and run
`make messages`; to translate the pages too, add `builder.po` (those at `/` and `/status`) and `pages.po` (the others)
beside it. Values in braces are filled in by `formatting`.
"""

from collections.abc import Mapping
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Final

from service.domain.change import Trend
from service.domain.snapshot import Status

LOCALE: Final = Path(__file__).parent / "locale"
SOURCE_LANGUAGE: Final = "en"
STRIP: Final = "strip"
BUILDER: Final = "builder"
PAGES: Final = "pages"
"""The domains of the catalogues."""
_NAME_CONTEXT: Final = "name of the catalogue's language"
SPARK_WITHOUT_WORDS: Final = "{first} – {last}: {low} – {high}"
"""Text alternative of a sparkline, in a language without a catalogue."""


def N_(message: str) -> str:  # noqa: N802 - gettext's name for a message that is translated later
    """Mark a message for extraction."""
    return message


CHANGE: Final[Mapping[Trend | None, str]] = {
    Trend.UP: N_("{name}, up {percent} percent against {base}"),
    Trend.DOWN: N_("{name}, down {percent} percent against {base}"),
    Trend.FLAT: N_("{name}, unchanged against {base}"),
    None: N_("{name}, change unknown"),
}
"""The sentence for screen readers, by direction; None: the change is unknown."""
STATUS: Final[Mapping[Status, str]] = {
    Status.CURRENT: N_("up to date"),
    Status.LATE: N_("delayed"),
    Status.STALE: N_("outdated"),
    Status.RECORDED: N_("sample data"),
}
BASE: Final = N_("the {name}")
"""A base currency within a sentence, if the catalogue has no message for it; `{code}` is available too."""
BASE_CONTEXT: Final = "base currency within a sentence"
"""The context of messages that are currency codes: many languages inflect the currency's name in a sentence."""
LABEL: Final = N_("Exchange rate changes against {base}")
COMPARED: Final = N_("{date} compared with {previous}")
PREVIOUS: Final = N_("previously")
BUY: Final = N_("buy {rate}")
SELL: Final = N_("sell {rate}")
"""The rates at which a source buys and sells a currency: as short as possible."""
NOT_AVAILABLE: Final = N_("not available")
CROSS_RATE: Final = N_("cross rate")
FALLBACK: Final = N_("fallback source")
NO_CONNECTION: Final = N_("no connection")
PAUSE: Final = N_("Pause")
CLOSE: Final = N_("Close")
SPARK: Final = (
    "{count} publication from {first} to {last}: lowest {low}, highest {high}",
    "{count} publications from {first} to {last}: lowest {low}, highest {high}",
)
"""Text alternative of a sparkline, singular and plural."""

REVISED: Final = N_("corrected by the source")
QUARANTINED: Final = N_("suspicious rate, not published")
NEW_UNIT: Final = N_("new currency unit")
"""Marks of a chart."""
RANGES: Final[Mapping[str, tuple[str, str]]] = {
    "1m": (N_("1M"), N_("1 month")),
    "3m": (N_("3M"), N_("3 months")),
    "1y": (N_("1Y"), N_("1 year")),
    "5y": (N_("5Y"), N_("5 years")),
    "all": (N_("All"), N_("All publications")),
}
"""Ranges of a chart by their names in the interface: the label of a button, and its name for screen readers."""
RANGE: Final = N_("Range")
DATE: Final = N_("Date")
CHANGE_COLUMN: Final = N_("Change")
TABLE: Final = N_("Show as a table")
INDEXED: Final = N_("First day = 100.")
LOGARITHMIC: Final = N_("Logarithmic scale.")
"""Texts of a chart."""


@cache
def catalogue(language: str, domain: str) -> NullTranslations:
    """Return the catalogue of a language; if it has none, an empty one, which translates nothing."""
    try:
        with _path(language, domain).open("rb") as file:
            return GNUTranslations(file)
    except FileNotFoundError:
        return NullTranslations()


@cache
def languages(domain: str) -> Mapping[str, str]:
    """Return the tags of the languages that have a catalogue, with their native names, sorted by name."""
    tags = [path.parents[1].name for path in LOCALE.glob(f"*/LC_MESSAGES/{domain}.mo")]
    names = {tag: catalogue(tag, domain).pgettext(_NAME_CONTEXT, "English") for tag in tags}
    return dict(sorted(names.items(), key=lambda item: item[1]))


def _path(language: str, domain: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / f"{domain}.mo"


def _extracted() -> None:
    """Mark messages with a plural or a context for extraction; never called."""
    ngettext, pgettext = NullTranslations().ngettext, NullTranslations().pgettext
    ngettext(
        "{count} publication from {first} to {last}: lowest {low}, highest {high}",
        "{count} publications from {first} to {last}: lowest {low}, highest {high}",
        1,
    )
    pgettext("name of the catalogue's language", "English")
    pgettext("base currency within a sentence", "AMD")
    pgettext("base currency within a sentence", "AZN")
    pgettext("base currency within a sentence", "BYN")
    pgettext("base currency within a sentence", "CAD")
    pgettext("base currency within a sentence", "CHF")
    pgettext("base currency within a sentence", "CNY")
    pgettext("base currency within a sentence", "CZK")
    pgettext("base currency within a sentence", "EUR")
    pgettext("base currency within a sentence", "GBP")
    pgettext("base currency within a sentence", "GEL")
    pgettext("base currency within a sentence", "HUF")
    pgettext("base currency within a sentence", "JPY")
    pgettext("base currency within a sentence", "KGS")
    pgettext("base currency within a sentence", "KRW")
    pgettext("base currency within a sentence", "KZT")
    pgettext("base currency within a sentence", "MDL")
    pgettext("base currency within a sentence", "PLN")
    pgettext("base currency within a sentence", "RON")
    pgettext("base currency within a sentence", "RUB")
    pgettext("base currency within a sentence", "TJS")
    pgettext("base currency within a sentence", "TRY")
    pgettext("base currency within a sentence", "UAH")
    pgettext("base currency within a sentence", "USD")
    pgettext("base currency within a sentence", "UZS")
