"""Breaks of a series: dates from which a currency is another unit (a redenomination). Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from service.domain.fixing import RateTable


@dataclass(frozen=True, slots=True)
class Break:
    """From `date` on, 1 unit of `currency` is what `factor` units were before; None where that is not known.

    10,000 old Belarusian roubles became 1 new one on 1 July 2016: factor 10000.
    """

    currency: str
    date: date
    factor: Decimal | None = None


def conversion(breaks: Iterable[Break], code: str, base: str, earlier: RateTable, later: RateTable) -> Fraction | None:
    """Return what a rate of `code` in `base` is multiplied by to carry it from one date's units to a later one's.

    1 where no break lies between (after the earlier date, up to the later one), and where the two rates are nearer to
    each other as they stand: then the bank has converted its past itself. None where a factor is not known.
    """
    factor = Fraction(1)
    for one in breaks:
        if earlier.date < one.date <= later.date and one.currency in (code, base):
            if one.factor is None:
                return None
            factor = factor * Fraction(one.factor) if one.currency == code else factor / Fraction(one.factor)
    if factor == 1:
        return factor
    move = later.cross(code, base) / earlier.cross(code, base)
    return factor if _distance(move / factor) < _distance(move) else Fraction(1)


def _distance(move: Fraction) -> Fraction:
    return max(move, 1 / move)


def _redenomination(currency: str, on: str, factor: int) -> Break:
    return Break(currency, date.fromisoformat(on), Decimal(factor))


REDENOMINATIONS: Final = tuple(
    _redenomination(*one)
    for one in (
        # ISO 4217, list three ("codes for historic denominations") and its amendments. They matter where a bank has the
        # old unit under the new code; where it changed the code too, there is nothing before the date.
        ("MXN", "1993-01-01", 1000),
        ("BRL", "1994-07-01", 2750),
        ("PLN", "1995-01-01", 10_000),
        ("UAH", "1996-09-02", 100_000),
        ("RUB", "1998-01-01", 1000),
        ("BGN", "1999-07-05", 1000),
        ("BYR", "2000-01-01", 1000),
        ("TJS", "2000-10-30", 1000),
        ("TRY", "2005-01-01", 1_000_000),
        ("RON", "2005-07-01", 10_000),
        ("AZN", "2006-01-01", 5000),
        ("MZN", "2006-07-01", 1000),
        ("GHS", "2007-07-01", 10_000),
        ("TMT", "2009-01-01", 5000),
        ("ZMW", "2013-01-01", 1000),
        ("BYN", "2016-07-01", 10_000),
        ("MRU", "2018-01-01", 10),
        ("STN", "2018-01-01", 1000),
        ("VES", "2018-08-20", 100_000),
        ("VES", "2021-10-01", 1_000_000),
        ("SLE", "2022-07-01", 1000),
    )
)
_OVERRIDDEN: Final = timedelta(days=366)


def breaks_of(configured: Sequence[Break]) -> tuple[Break, ...]:
    """Return the breaks of one source: those configured for it, and the known redenominations.

    A bank may change the unit some days after the country does: a configured break of a currency replaces the known one
    of about that date.
    """
    known = (
        one
        for one in REDENOMINATIONS
        if not any(own.currency == one.currency and abs(own.date - one.date) <= _OVERRIDDEN for own in configured)
    )
    return (*configured, *known)
