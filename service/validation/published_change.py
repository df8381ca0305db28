"""Compare computed changes with the absolute changes that the bank publishes itself. Pure.

A change is per nominal, relative to the publication before. The National Bank of Kazakhstan uses the day before, so its
changes are all zero on Sundays and Mondays: a document with only zeros is not compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Final

from service.domain import publication_schedule
from service.domain.fixing import Fixing
from service.settings import SourceSettings

_EXACT: Final = 64
"""Precision in which a rate of 30 digits for another nominal is exact."""


class Result(StrEnum):
    """Result of the comparison."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True)
class Difference:
    """A currency whose published and computed changes differ; both in the bank's currency, per nominal."""

    code: str
    published: Decimal
    computed: Decimal


@dataclass(frozen=True, slots=True)
class Check:
    """The comparison of a fixing with that of `against`.

    `compared` is the number of currencies; `reason` says why nothing was compared.
    """

    result: Result
    against: date | None = None
    compared: int = 0
    differences: tuple[Difference, ...] = ()
    reason: str | None = None


def check(new: Fixing, before: Fixing | None, source: SourceSettings) -> Check:
    """Compare the bank's own changes in `new` with those computed from `before`, the last known fixing before it."""
    own = {code: rate.change for code, rate in new.rates.items() if rate.change is not None}
    if not own:
        return Check(Result.NOT_COMPARED, reason="the bank publishes no changes")
    if before is None:
        return Check(Result.NOT_COMPARED, reason="no earlier publication is known")
    if publication_schedule.between(source, before.date, new.date) > 1:
        reason = f"a publication between {before.date} and {new.date} is missing"
        return Check(Result.NOT_COMPARED, before.date, reason=reason)
    if not any(own.values()) and not new.repeats(before):
        reason = "the bank's changes are all zero, as on days without a publication"
        return Check(Result.NOT_COMPARED, before.date, reason=reason)
    differences = tuple(_differences(own, new, before))
    result = Result.DIFFERENT if differences else Result.EQUAL
    return Check(result, before.date, len(own.keys() & before.rates.keys()), differences)


def _differences(own: dict[str, Decimal], new: Fixing, before: Fixing) -> Iterator[Difference]:
    for code in sorted(own.keys() & before.rates.keys()):
        rate, previous = new.rates[code], before.rates[code]
        with localcontext(prec=_EXACT):
            computed = rate.value - previous.value * rate.nominal / previous.nominal
        if computed != own[code]:
            yield Difference(code, own[code], computed)
