"""Bank holidays by calendar: the only import of the `holidays` library.

The library is loaded at the first use of a calendar, without the 250 countries that are not used. A holiday that it
does not know yet (by decree) is added here or in the settings (`days_off`). Otherwise it counts as a working day: a
ticker is then `late` for a day, and its rates stay correct.
"""

from datetime import date
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from service.errors import SettingsError
from service.runtime.lazy_imports import skip_package_init

if TYPE_CHECKING:
    from holidays import HolidayBase

_CATEGORIES: Final = ("public", "bank", "government")
"""Categories of holidays on which a central bank does not publish; a country may lack some."""
_BY_DECREE: Final = {
    # Transferred from weekends, to join New Year and Christmas (7 January); missing in version 0.109 of the library.
    # As announced: the number of the decree, and the days worked instead, are not known here.
    "KZ": (date(2027, 1, 5), date(2027, 1, 6), date(2027, 1, 8)),
}
"""Holidays that the library does not have, by country."""
_DECREED_EVERY_YEAR: Final = ("BY", "CN", "HU", "KZ", "RU", "UZ")
"""Countries whose governments transfer days off every year: a year without such days is one that is not known yet."""


@lru_cache(maxsize=256)
def days_off(calendar: str, year: int) -> frozenset[date]:
    """Return the holidays of a calendar in a year, weekends included.

    A calendar is a country (`KZ`), a subdivision (`GB-ENG`), or a market (`XECB`: closing days of the ECB's TARGET);
    the empty string has no holidays. Raises `SettingsError` for an unknown calendar.
    """
    if not calendar:
        return frozenset()
    return frozenset(_holidays(calendar, year)) | {day for day in _BY_DECREE.get(calendar[:2], ()) if day.year == year}


@lru_cache(maxsize=256)
def worked_weekend_days(calendar: str, year: int) -> frozenset[date]:
    """Return the weekend days of a year that are worked, because a day off was transferred from them."""
    if not calendar:
        return frozenset()
    return frozenset(day for day in _holidays(calendar, year).weekend_workdays if day.year == year)


@cache
def known_until(calendar: str) -> int | None:
    """Return the last year whose days off by decree are known; None if they are not decreed every year."""
    country = calendar.partition("-")[0]
    if country not in _DECREED_EVERY_YEAR:
        return None
    _skip_all_countries()
    import holidays  # noqa: PLC0415 - loaded on first use

    transferred: dict[int, object] = holidays.country_holidays(country).special_public_holidays
    return max([*transferred, *(day.year for day in _BY_DECREE.get(country, ()))])


def check(calendar: str) -> None:
    """Raise `SettingsError` for an unknown calendar, without loading a known one unless it is a subdivision.

    Some thirty sources are configured, of which few are polled: all their calendars take 1 MB and 50 ms.
    """
    if "-" in calendar:
        days_off(calendar, date.today().year)  # noqa: DTZ011 - any year raises for an unknown subdivision
    elif calendar and calendar not in _names():
        raise _unknown(calendar)


@cache
def _names() -> frozenset[str]:
    """Return the names of all countries and markets."""
    _skip_all_countries()
    from holidays.registry import EntityLoader  # noqa: PLC0415 - loaded on first use

    return frozenset((*EntityLoader.get_country_codes(), *EntityLoader.get_financial_codes()))


def _skip_all_countries() -> None:
    """Make the library importable without its countries, which take 8 MB and 70 ms."""
    skip_package_init("holidays.countries")
    skip_package_init("holidays.financial")


def _holidays(calendar: str, year: int) -> "HolidayBase":
    _skip_all_countries()
    import holidays  # noqa: PLC0415 - loaded on first use

    name, _, part = calendar.partition("-")
    try:
        if len(name) > 2:
            return holidays.financial_holidays(name, years=year)
        kinds = holidays.country_holidays(name).supported_categories
        categories = tuple(kind for kind in _CATEGORIES if kind in kinds)
        return holidays.country_holidays(name, subdiv=part or None, years=year, categories=categories)
    except NotImplementedError:
        raise _unknown(calendar) from None


def _unknown(calendar: str) -> SettingsError:
    return SettingsError(
        f"calendar: unknown calendar {calendar!r}; use a country (KZ), a subdivision (GB-ENG) or a market (XECB) "
        "of the `holidays` library"
    )
