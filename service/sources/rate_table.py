"""Build fixings from the rates of a response; check the format of each rate."""

import re
from collections import defaultdict
from datetime import date
from decimal import Decimal

from service.domain.bounds import LATEST
from service.domain.fixing import Fixing, Quotation, Rate
from service.sources.adapter import RawResponse

_CURRENCY = re.compile(r"[A-Z]{3}")
_NOMINAL = re.compile(r"[1-9][0-9]{0,6}")
# Plain digits with the bank's own decimal separator, limited in length: an exponent could expand to a gigabyte of
# zeros, and the other separator may group thousands, so that 1,234 would be read as a little more than one.
_NUMBER = {mark: re.compile(rf"[+-]?[0-9]{{1,15}}(?:[{mark}][0-9]{{1,15}})?") for mark in ".,"}
MOST_DAYS = 400
"""Maximum number of dates in a response: no request covers more than a year."""
MOST_CURRENCIES = 200
"""Maximum number of currencies per date: about 180 exist, and no bank quotes half of them."""


class RateTableBuilder:
    """Builder for the fixings of one response: one rate per date and currency, each checked for its format.

    `mark` is the bank's decimal separator: a point or a comma.
    """

    def __init__(self, response: RawResponse, mark: str = ".") -> None:
        self._response = response
        self._mark = mark
        self._rates: defaultdict[date, dict[str, Rate]] = defaultdict(dict)

    def add(self, on: date, code: str, value: str, nominal: str = "1", change: str = "") -> None:
        """Add one rate as published; `change` is the bank's own change, if it publishes one."""
        if not _CURRENCY.fullmatch(code):
            self._response.reject(f"has {code[:40]!r} where a currency code is expected")
        if on > LATEST:
            self._response.reject(f"has rates of {on}, after {LATEST}, the last possible date")
        if not _NOMINAL.fullmatch(nominal):
            self._response.reject(f"has {nominal[:40]!r} where a nominal is expected")
        if code in self._rates[on]:
            self._response.reject(f"quotes {code} twice for {on}")
        if len(self._rates) > MOST_DAYS:
            self._response.reject(f"has rates for more than {MOST_DAYS} days")
        if len(self._rates[on]) >= MOST_CURRENCIES:
            self._response.reject(f"quotes more than {MOST_CURRENCIES} currencies for {on}")
        own_change = self._number(change) if change else None
        self._rates[on][code] = Rate(self._number(value), int(nominal), own_change)

    def fixings(self, direction: Quotation = Quotation.DIRECT) -> list[Fixing]:
        """Return one fixing per requested date, oldest first."""
        requested_days = sorted(day for day in self._rates if day >= self._response.since)
        return [self._response.fixing(day, self._rates[day], direction) for day in requested_days]

    def _number(self, published: str) -> Decimal:
        if not _NUMBER[self._mark].fullmatch(published):
            self._response.reject(f"has {published[:40]!r} where a number is expected")
        return Decimal(published.replace(self._mark, "."))
