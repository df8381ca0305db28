"""Build fixings from the rates of a response; check the format of each rate, and leave out what cannot be read."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal, localcontext
from typing import NoReturn

from service.domain.bounds import LATEST, number_errors
from service.domain.fixing import Quotation, Rate
from service.errors import NotUnderstood
from service.sources.adapter import ParsedResponse, RawResponse

_CURRENCY = re.compile(r"[A-Z]{3}")
_NOMINAL = re.compile(r"[1-9][0-9]{0,6}")
# Plain digits with the bank's own decimal separator: an exponent could expand to a gigabyte of zeros, and the other
# separator may group thousands, so that 1,234 would be read as a little more than one. `number_errors` limits them.
_NUMBER = {mark: re.compile(rf"[+-]?[0-9]+(?:[{mark}][0-9]+)?") for mark in ".,"}
_LONGEST_NUMBER = 64
"""Characters of a published number: with leading zeros, more than 30 digits."""
_EXACT = 64
"""Precision in which the mean of two numbers is exact: both have at most 16 digits before the point and 45 after it."""
MOST_DAYS = 400
"""Maximum number of dates in a response: no request covers more than a year."""
MOST_CURRENCIES = 200
"""Maximum number of currencies per date: about 180 exist, and no bank quotes half of them."""


class _TooMuch(NotUnderstood):
    """More rates than any bank publishes: a fault of the whole document."""


class RateTableBuilder:
    """Builder for the fixings of one response: one rate per date and currency, each checked for its format.

    `mark` is the bank's decimal separator: a point or a comma.
    """

    def __init__(self, response: RawResponse, mark: str = ".") -> None:
        self._response = response
        self._mark = mark
        self._rates: defaultdict[date, dict[str, Rate]] = defaultdict(dict)
        self._ambiguous = set[tuple[date, str]]()
        self._left_out = list[str]()
        self._unreadable = 0
        """Number of rates and days that were left out."""

    @contextmanager
    def entry(self, *, is_rate: bool = True) -> Iterator[None]:
        """Read one rate, or one day: if it cannot be read, leave it out, and name the problem."""
        try:
            yield
        except _TooMuch:
            raise
        except NotUnderstood as error:
            self._left_out.append(error.problem.removeprefix("the response "))
            self._unreadable += is_rate

    def add(
        self,
        on: date,
        code: str,
        value: str = "",
        nominal: str = "1",
        change: str = "",
        *,
        buying: str = "",
        selling: str = "",
    ) -> None:
        """Add one rate as published; `change`, `buying` and `selling` are the bank's own, if it publishes them.

        Without `value` the rate is the exact mean of `buying` and `selling`. `buying` is the rate at which the bank
        buys the currency: in an inverse quotation the higher one. A change that cannot be read is left out alone, and
        so is a buying or selling rate beside a `value`. A currency that is quoted twice is left out: which of the rates
        is right is unknown. Rates of other dates than the requested ones are ignored.
        """
        if not self._response.since <= on <= self._response.until:
            return
        if not _CURRENCY.fullmatch(code):
            self._response.reject(f"has {code[:40]!r} where a currency code is expected")
        if on > LATEST:
            self._response.reject(f"has rates of {on}, after {LATEST}, the last possible date")
        if not _NOMINAL.fullmatch(nominal):
            self._response.reject(f"has {nominal[:40]!r} where a nominal is expected for {code} on {on}")
        if code in self._rates[on] or (on, code) in self._ambiguous:
            self._rates[on].pop(code, None)
            self._ambiguous.add((on, code))
            self._response.reject(f"quotes {code} twice for {on}")
        if len(self._rates) > MOST_DAYS:
            self._too_much(f"has rates for more than {MOST_DAYS} days")
        if len(self._rates[on]) >= MOST_CURRENCIES:
            self._too_much(f"quotes more than {MOST_CURRENCIES} currencies for {on}")
        name = f"{code} on {on}"
        if value:
            rate = Rate(
                self._number(value, name),
                int(nominal),
                buying=self._optional_number(buying, f"the buying rate of {name}"),
                selling=self._optional_number(selling, f"the selling rate of {name}"),
            )
        else:
            sides = [self._number(side, name) for side in (buying, selling)]
            mean = _mean(*sides)
            for error in number_errors(mean):
                self._response.reject(f"has {name} at {sides[0]} and {sides[1]}, whose mean {error}")
            rate = Rate(mean, int(nominal), None, *sides)
        self._rates[on][code] = replace(
            rate, change=self._optional_number(change, f"the change of {name}", is_difference=True)
        )

    def optional(self, read: Callable[..., str], *arguments: object) -> str:
        """Return a value that a rate can do without, by a function of `parsing`; empty if it cannot be read."""
        value = ""
        with self.entry(is_rate=False):
            value = read(self._response, *arguments)
        return value  # noqa: RET504 - `entry` may have ended the block

    def fixings(self, direction: Quotation = Quotation.DIRECT) -> ParsedResponse:
        """Return one fixing per requested date, oldest first.

        If more entries are left out than read, it is not the expected document: raises `NotUnderstood`.
        """
        read = sum(map(len, self._rates.values()))
        if self._unreadable > read:
            total = self._unreadable + read
            count = f"; {self._unreadable} of {total} rates could not be read" if total > 1 else ""
            self._response.reject(f"{self._left_out[0]}{count}")
        requested_days = sorted(day for day, rates in self._rates.items() if rates and day >= self._response.since)
        fixings = [self._response.fixing(day, self._rates[day], direction) for day in requested_days]
        return ParsedResponse(fixings, self._left_out)

    def _optional_number(self, published: str, name: str, *, is_difference: bool = False) -> Decimal | None:
        """Return a number that a rate can do without; None if it is missing, or cannot be read."""
        number = None
        if published:
            with self.entry(is_rate=False):
                number = self._number(published, name, is_difference=is_difference)
        return number

    def _number(self, published: str, name: str, *, is_difference: bool = False) -> Decimal:
        problem = f"has {published[:40]!r} where a number is expected for {name}"
        if len(published) > _LONGEST_NUMBER or not _NUMBER[self._mark].fullmatch(published):
            self._response.reject(problem)
        number = Decimal(published.replace(self._mark, "."))
        for error in number_errors(number, is_difference=is_difference):
            self._response.reject(f"{problem}: it {error}")
        return number

    def _too_much(self, problem: str) -> NoReturn:
        raise _TooMuch(self._response.source, self._response.url, f"the response {problem}")


def _mean(low: Decimal, high: Decimal) -> Decimal:
    with localcontext(prec=_EXACT):
        return (low + high) / 2
