"""Locales: numbers, dates and currency names, formatted on the server by Babel with CLDR data.

Browsers cannot do it: `Intl` in Chromium has no Kazakh or Uzbek, and silently falls back to English.
"""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from service.web.i18n.messages import BASE, BASE_CONTEXT, SOURCE_LANGUAGE, STRIP, catalogue, languages

if TYPE_CHECKING:
    from babel import Locale

ENGLISH: Final = SOURCE_LANGUAGE
_MAX_TAG: Final = 35
"""Characters of a language tag that are parsed (RFC 5646, 4.4.1)."""
_TAG: Final = re.compile(r"[A-Za-z0-9_-]+")
_WEIGHT: Final = re.compile(r"q=([01](?:\.[0-9]{0,3})?)", re.IGNORECASE)
_NOT_ZERO: Final = re.compile("[1-9]")
_MAX_ACCEPTED: Final = 10
"""Languages of an Accept-Language header that are parsed."""
_MAX_LOADED: Final = 10
"""Cached locales, each about 0.3 MB."""
_UNUSED: Final = (
    *("unit_patterns", "unit_display_names", "compound_unit_patterns", "time_zones", "meta_zones", "languages"),
    *("territories", "scripts", "variants", "date_fields", "compact_decimal_formats", "compact_currency_formats"),
)
"""CLDR data that the strip does not use: three quarters of a locale."""
_DASH: Final = "—"
_MOST_DIGITS: Final = 64
"""Precision in which numbers are formatted: 16 digits before the separator, and 45 after it."""
_ISOLATE: Final = "\u2068{}\u2069"
"""First strong isolate: a text in its own direction, whatever is around it."""


_SOME_YEAR, _SOME_DAY = 2222, 28
"""A year and a day whose digits occur in no date pattern and not in each other."""


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """Format of numbers: symbols, sizes of the last group of digits and of the others, percent with `{}` for digits."""

    decimal: str
    group: str
    sizes: tuple[int, int]
    plus: str
    minus: str
    percent: str


class Language:
    """Formats and messages of one CLDR locale; without a catalogue its messages are English (`words_tag`)."""

    def __init__(self, tag: str, locale: "Locale") -> None:
        """Take the language tag and its CLDR data."""
        from babel import numbers  # noqa: PLC0415 - loaded with the first page, not at start

        self.tag = tag
        self.dir = locale.text_direction
        self.spoken = locale.language in languages(STRIP) and _in_usual_script(locale)
        """Whether the language has a catalogue. If not, sentences consist of a name and a value, without words."""
        self.words_tag = locale.language if self.spoken else ENGLISH
        messages = catalogue(self.words_tag, STRIP)
        self.gettext, self.ngettext, self._pgettext = messages.gettext, messages.ngettext, messages.pgettext
        self._locale = locale
        # CLDR's `en` formats dates as in the United States; `en-001` (world) has the day before the month.
        self._dates = _loaded("en-001") if tag == ENGLISH else locale
        self._percent = re.sub("0(?!.*0)", "0.00", locale.percent_formats[None].pattern.split(";")[0])
        self._number = locale.decimal_formats[None].pattern.split(";")[0].partition(".")[0]
        self._signs = {1: numbers.get_plus_sign_symbol(locale), -1: numbers.get_minus_sign_symbol(locale), 0: ""}

    def percent(self, value: Decimal | None) -> str:
        """`+1,35 %`: signed unless zero, two decimals; a dash for None."""
        from babel.numbers import format_percent  # noqa: PLC0415

        if value is None:
            return _DASH
        # The sign is added here: Babel writes no plus sign, and its minus sign is not the locale's.
        return self._signed(value, format_percent(abs(value) / 100, self._percent, self._locale))

    def number(self, value: Decimal | None, decimals: int, *, signed: bool = False) -> str:
        """`1 475,09`, with `decimals` digits after the separator; a dash for None. A `signed` zero has no sign."""
        from babel.numbers import format_decimal  # noqa: PLC0415

        if value is None:
            return _DASH
        pattern = f"{self._number}.{'0' * decimals}" if decimals else self._number
        with localcontext(prec=_MOST_DIGITS):
            text = format_decimal(abs(value), pattern, self._locale)
        return self._signed(value, text) if signed else text

    def date(self, day: dt.date | None) -> str:
        """`2 Apr 2026`; empty for None."""
        from babel.dates import format_skeleton  # noqa: PLC0415

        return format_skeleton("yMMMd", day, locale=self._dates) if day else ""

    def moment(self, at: dt.datetime) -> str:
        """`2 Apr 2026, 11:05 UTC`."""
        at = at.astimezone(dt.UTC)
        return f"{self.date(at.date())}, {at:%R} UTC"

    def long_date(self, day: dt.date) -> str:
        """`2 April 2026`."""
        from babel.dates import format_date  # noqa: PLC0415

        return format_date(day, "long", locale=self._dates)

    def day_month(self, day: dt.date) -> str:
        """`2 Apr`."""
        return self._skeleton("MMMd", day)

    def month_year(self, day: dt.date) -> str:
        """`Apr 2026`."""
        return self._skeleton("yMMM", day)

    def year(self, day: dt.date) -> str:
        """`2026`."""
        return self._skeleton("y", day)

    def isolated(self, text: str) -> str:
        """Return a part of a plain text whose order does not depend on the parts beside it; for right-to-left texts.

        After a Latin name the day of an Arabic date would be on the other side of its month.
        """
        return _ISOLATE.format(text) if self.dir == "rtl" else text

    def number_format(self) -> "NumberFormat":
        """Return how scripts format numbers as `number` and `percent` do."""
        from babel.numbers import get_decimal_symbol, get_group_symbol  # noqa: PLC0415

        *_, second, first = ["", *str(self._number).split(",")]
        sizes = (len(first), len(second) if self._number.count(",") > 1 else len(first))
        zero = self.number(Decimal(0), 2)
        return NumberFormat(
            decimal=get_decimal_symbol(self._locale),
            group=get_group_symbol(self._locale),
            sizes=sizes if "," in self._number else (99, 99),
            plus=self._signs[1],
            minus=self._signs[-1],
            percent=self.percent(Decimal(0)).replace(zero, "{}"),
        )

    def date_format(self, skeleton: str) -> Sequence[str]:
        """Return a pattern for each month, with `{d}` or `{dd}` (two digits) for the day, and `{y}` for the year."""
        patterns = []
        for month in range(1, 13):
            day = "{dd}" if "05" in self._skeleton(skeleton, dt.date(_SOME_YEAR, month, 5)) else "{d}"
            text = self._skeleton(skeleton, dt.date(_SOME_YEAR, month, _SOME_DAY))
            patterns.append(text.replace(str(_SOME_YEAR), "{y}").replace(str(_SOME_DAY), day))
        return patterns

    def _skeleton(self, skeleton: str, day: dt.date) -> str:
        from babel.dates import format_skeleton  # noqa: PLC0415

        return format_skeleton(skeleton, day, locale=self._dates)

    def name(self, code: str) -> str:
        """Return the name of a currency on its own: `US Dollar`."""
        return str(self._locale.currencies.get(code, code))

    def name_of_one(self, code: str) -> str:
        """Return the name of a currency within a sentence: `US dollar`."""
        from babel.numbers import get_currency_name  # noqa: PLC0415

        return get_currency_name(code, count=1, locale=self._locale)

    def base(self, code: str) -> str:
        """Return the name of a base currency within a sentence, in the language of the messages: `the tenge`."""
        translated = self._pgettext(BASE_CONTEXT, code)
        if translated != code:
            return translated
        return self.gettext(BASE).format(code=code, name=language(self.words_tag).name_of_one(code))

    def _signed(self, value: Decimal, text: str) -> str:
        """Return the text of a value without its sign, with it; unsigned if the value is shown as zero."""
        return self._signs[(value > 0) - (value < 0) if _NOT_ZERO.search(text) else 0] + text


def _in_usual_script(locale: "Locale") -> bool:
    """Return whether a locale uses the usual script of its language: `zh-Hant` must not use the catalogue of `zh`."""
    from babel.core import get_global  # noqa: PLC0415

    usual = get_global("likely_subtags").get(locale.language, "").split("_")
    return locale.script is None or locale.script in usual


@lru_cache(_MAX_LOADED)
def language(tag: str) -> Language:
    """Return the language of a tag that `resolve` or `negotiate` returned."""
    return Language(tag, _loaded(tag))


def _loaded(tag: str) -> "Locale":
    """Load a locale without sharing data with others.

    Babel caches every locale that is loaded, 350 MB for all of them. They share the data of their parents, and loading
    modifies it: after Walloon, Arabic has no month names. Babel has no public API to avoid this; a test covers the use
    of private names.
    """
    from babel import Locale, localedata  # noqa: PLC0415

    localedata._cache.clear()  # noqa: SLF001
    locale = Locale.parse(tag, sep="-")
    _ = locale.text_direction  # loads the data now, before any other locale is loaded
    for name in _UNUSED:
        locale._data.pop(name, None)  # noqa: SLF001
    return locale


@lru_cache(512)
def resolve(tag: str) -> str:
    """Return the tag of the nearest CLDR locale: `kk` for `kk-KZ-x-y`; English if the language is unknown."""
    return _known(tag[:_MAX_TAG]) or ENGLISH


@lru_cache(512)
def negotiate(header: str) -> str:
    """Return the tag of the CLDR locale that matches an Accept-Language header best (RFC 9110, 12.5.4)."""
    accepted = sorted(_weighed(header.split(",")[:_MAX_ACCEPTED]), key=lambda pair: -pair[1])
    for tag, weight in accepted:
        locale = _known(tag[:_MAX_TAG]) if weight > 0 else None
        if locale:
            return locale
    return ENGLISH


def _weighed(items: Iterable[str]) -> Iterable[tuple[str, Decimal]]:
    for item in items:
        tag, _, parameter = item.partition(";")
        weight = _WEIGHT.fullmatch(parameter.strip())
        yield tag.strip(), Decimal(weight[1]) if weight else Decimal(not parameter.strip())


def _known(tag: str) -> str | None:
    """Return the nearest CLDR locale of a tag, by removing subtags from its end; None if the language is unknown."""
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415

    parts = tag.replace("_", "-").split("-") if _TAG.fullmatch(tag) else []
    while parts and parts[0] not in ("", "root"):
        try:
            return str(Locale.parse("-".join(parts), sep="-")).replace("_", "-")
        except (UnknownLocaleError, ValueError):
            parts.pop()
    return None
