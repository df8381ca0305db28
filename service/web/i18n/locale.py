"""How a language writes numbers, dates and names: CLDR's rules, by Babel, on the server.

Browsers cannot: Chromium's `Intl` has no Kazakh and no Uzbek, and formats them as English in silence.
"""

import datetime as dt
import re
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from service.web.i18n.messages import BASE, BASE_CONTEXT, SOURCE_LANGUAGE, STRIP, catalogue, languages

if TYPE_CHECKING:
    from babel import Locale

ENGLISH: Final = SOURCE_LANGUAGE
_LONGEST: Final = 35
"""Characters of a language tag that are looked at (RFC 5646, 4.4.1)."""
_TAG: Final = re.compile(r"[A-Za-z0-9_-]+")
_WEIGHT: Final = re.compile(r"q=([01](?:\.[0-9]{0,3})?)", re.IGNORECASE)
_MOST: Final = 10
"""Languages of an Accept-Language header that are looked at."""
_LOADED: Final = 10
"""Locales that are kept ready, each about 0.3 MB."""
_UNUSED: Final = (
    *("unit_patterns", "unit_display_names", "compound_unit_patterns", "time_zones", "meta_zones", "languages"),
    *("territories", "scripts", "variants", "date_fields", "compact_decimal_formats", "compact_currency_formats"),
)
"""Three quarters of what CLDR has of a language, which the strip does not need."""
_DASH: Final = "—"


class Language:
    """Formats and messages for one CLDR locale; without a catalogue its messages are English (`words_tag`)."""

    def __init__(self, tag: str, locale: "Locale") -> None:
        """Take the language tag and its CLDR data."""
        from babel import numbers  # noqa: PLC0415 - with the first page, not with the start

        self.tag = tag
        self.dir = locale.text_direction
        self.spoken = locale.language in languages(STRIP) and _in_usual_script(locale)
        """Whether there is a catalogue; if not, sentences are a name and a value, which need no words."""
        self.words_tag = locale.language if self.spoken else ENGLISH
        messages = catalogue(self.words_tag, STRIP)
        self.gettext, self.ngettext, self._pgettext = messages.gettext, messages.ngettext, messages.pgettext
        self._locale = locale
        # English of no country has the day before the month, as all of the world but the United States.
        self._dates = _loaded("en-001") if tag == ENGLISH else locale
        self._percent = re.sub("0(?!.*0)", "0.00", locale.percent_formats[None].pattern.split(";")[0])
        self._number = locale.decimal_formats[None].pattern.split(";")[0].partition(".")[0]
        self._signs = {1: numbers.get_plus_sign_symbol(locale), -1: numbers.get_minus_sign_symbol(locale), 0: ""}

    def percent(self, value: Decimal | None) -> str:
        """`+1,35 %`: signed unless zero, two decimals; a dash for None."""
        from babel.numbers import format_percent  # noqa: PLC0415

        if value is None:
            return _DASH
        # CLDR's sign is put before by us: Babel knows no plus, and its minus is not the locale's.
        return self._sign(value) + format_percent(abs(value) / 100, self._percent, self._locale)

    def number(self, value: Decimal | None, decimals: int, *, signed: bool = False) -> str:
        """`1 475,09`, with `decimals` digits after the separator; a dash for None."""
        from babel.numbers import format_decimal  # noqa: PLC0415

        if value is None:
            return _DASH
        pattern = f"{self._number}.{'0' * decimals}" if decimals else self._number
        sign = self._sign(value) if signed else ""
        return sign + format_decimal(abs(value), pattern, self._locale)

    def date(self, day: dt.date | None) -> str:
        """`2 Apr 2026`; nothing for None."""
        from babel.dates import format_skeleton  # noqa: PLC0415

        return format_skeleton("yMMMd", day, locale=self._dates) if day else ""

    def long_date(self, day: dt.date) -> str:
        """`2 April 2026`."""
        from babel.dates import format_date  # noqa: PLC0415

        return format_date(day, "long", locale=self._dates)

    def name(self, code: str) -> str:
        """Name a currency, as it stands alone: `US Dollar`."""
        return str(self._locale.currencies.get(code, code))

    def name_of_one(self, code: str) -> str:
        """Name a currency inside a sentence: `US dollar`."""
        from babel.numbers import get_currency_name  # noqa: PLC0415

        return get_currency_name(code, count=1, locale=self._locale)

    def base(self, code: str) -> str:
        """Name a base inside a sentence of the messages' language: `the tenge`."""
        translated = self._pgettext(BASE_CONTEXT, code)
        if translated != code:
            return translated
        return self.gettext(BASE).format(code=code, name=language(self.words_tag).name_of_one(code))

    def _sign(self, value: Decimal) -> str:
        return self._signs[(value > 0) - (value < 0)]


def _in_usual_script(locale: "Locale") -> bool:
    """Return whether a locale is written as its language mostly is: a catalogue of `zh` is no use for `zh-Hant`."""
    from babel.core import get_global  # noqa: PLC0415

    usual = get_global("likely_subtags").get(locale.language, "").split("_")
    return locale.script is None or locale.script in usual


@lru_cache(_LOADED)
def language(tag: str) -> Language:
    """Return the language that `resolve` has named."""
    return Language(tag, _loaded(tag))


def _loaded(tag: str) -> "Locale":
    """Load a locale with data of its own.

    Babel keeps every locale that was ever loaded, 350 MB of them all, and lets them share their roots, into
    which each writes: after Walloon, Arabic has no names of months. There is no public way; a test holds this one.
    """
    from babel import Locale, localedata  # noqa: PLC0415

    localedata._cache.clear()  # noqa: SLF001
    locale = Locale.parse(tag, sep="-")
    _ = locale.text_direction  # by which it is loaded, before another one is
    for name in _UNUSED:
        locale._data.pop(name, None)  # noqa: SLF001
    return locale


@lru_cache(512)
def resolve(tag: str) -> str:
    """Return the tag of the nearest language that CLDR knows: `kk` for `kk-KZ-x-y`; English for an unknown one."""
    return _known(tag[:_LONGEST]) or ENGLISH


@lru_cache(512)
def negotiate(header: str) -> str:
    """Return the language that suits an Accept-Language header best (RFC 9110, 12.5.4)."""
    wanted = sorted(_weighed(header.split(",")[:_MOST]), key=lambda pair: -pair[1])
    return next((found for tag, weight in wanted if weight > 0 and (found := _known(tag[:_LONGEST]))), ENGLISH)


def _weighed(items: Iterable[str]) -> Iterable[tuple[str, Decimal]]:
    for item in items:
        tag, _, parameter = item.partition(";")
        weight = _WEIGHT.fullmatch(parameter.strip())
        yield tag.strip(), Decimal(weight[1]) if weight else Decimal(not parameter.strip())


def _known(tag: str) -> str | None:
    """Return what CLDR has of a tag, dropping subtags from its end."""
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415

    parts = tag.replace("_", "-").split("-") if _TAG.fullmatch(tag) else []
    while parts and parts[0] not in ("", "root"):
        try:
            return str(Locale.parse("-".join(parts), sep="-")).replace("_", "-")
        except (UnknownLocaleError, ValueError):
            parts.pop()
    return None
