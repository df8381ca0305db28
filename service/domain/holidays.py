"""Which days are no working days of a bank: the only import of holidays.

The library is loaded at the first use of a calendar, without the 250 countries that are not used. What it does not
know yet (a day off by decree) counts as a working day: a ticker is then late for a day, never wrong.
"""

from datetime import date
from functools import lru_cache
from typing import Final

from service.errors import SettingsError
from service.runtime.lazy_imports import skip_package_init

_CATEGORIES: Final = ("public", "bank", "government")
"""Kinds of holidays on which a central bank does not work, as far as a country has them."""


@lru_cache(maxsize=256)
def days_off(calendar: str, year: int) -> frozenset[date]:
    """Return the holidays of a calendar in a year, on whatever weekday they fall.

    A calendar is a country (`KZ`), a part of one (`GB-ENG`), or a market (`XECB`, the days on which the
    ECB's TARGET is closed); an empty one has no holidays. Raises `SettingsError` for one that is not known.
    """
    if not calendar:
        return frozenset()
    skip_package_init("holidays.countries")  # it would load each of them: 8 MB and 70 ms
    skip_package_init("holidays.financial")
    import holidays  # noqa: PLC0415 - not before it is needed

    name, _, part = calendar.partition("-")
    try:
        if len(name) > 2:
            return frozenset(holidays.financial_holidays(name, years=year))
        kinds = holidays.country_holidays(name).supported_categories
        wanted = tuple(kind for kind in _CATEGORIES if kind in kinds)
        return frozenset(holidays.country_holidays(name, subdiv=part or None, years=year, categories=wanted))
    except NotImplementedError:
        raise SettingsError(
            f"calendar: {calendar!r} is no country (KZ), part of one (GB-ENG) or market (XECB) that `holidays` knows"
        ) from None
