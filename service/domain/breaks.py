"""Breaks of a series: dates from which a currency has a new unit (redenominations). Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from service.domain.fixing import RateTable

_ONE: Final = Fraction(1)


@dataclass(frozen=True, slots=True)
class Break:
    """A redenomination: from `date` on, 1 unit of `currency` equals `factor` old units; None if unknown.

    Example: on 1 July 2016, 10,000 old Belarusian roubles became 1 new rouble: factor 10000.
    """

    currency: str
    date: date
    factor: Decimal | None = None


def conversion(breaks: Iterable[Break], code: str, base: str, earlier: RateTable, later: RateTable) -> Fraction | None:
    """Return the factor that converts a rate of `code` in `base` from the units of `earlier` to those of `later`.

    1 if no break lies between them (after the earlier date, up to the later one), or if the two rates are nearer to
    each other unconverted: the bank has converted its history itself. None if a factor is unknown.
    """
    factor = _ONE
    for redenomination in breaks:
        currency = redenomination.currency
        if earlier.date < redenomination.date <= later.date and currency in (code, base):
            if redenomination.factor is None:
                return None
            own_factor = Fraction(redenomination.factor)
            factor = factor * own_factor if currency == code else factor / own_factor
    if factor is _ONE:
        return factor
    move = later.cross(code, base) / earlier.cross(code, base)
    return factor if _distance(move / factor) < _distance(move) else _ONE


def _distance(move: Fraction) -> Fraction:
    return max(move, 1 / move)


def _redenomination(currency: str, on: str, factor: int) -> Break:
    return Break(currency, date.fromisoformat(on), Decimal(factor))


REDENOMINATIONS: Final = tuple(
    _redenomination(*row)
    for row in (
        # From ISO 4217, list three ("codes for historic denominations") and its amendments. They matter where a bank
        # publishes the old unit under the new code; where it changed the code too, the code has no earlier rates.
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
"""A configured break replaces a known one of the same currency within this distance."""


def breaks_of(configured: Sequence[Break]) -> tuple[Break, ...]:
    """Return the breaks of one source: those configured for it, and the known redenominations.

    A bank may switch to the new unit some days after the country: a configured break replaces the known one of that
    currency if they are at most `_OVERRIDDEN` apart.
    """
    return (*configured, *(known for known in REDENOMINATIONS if not _is_overridden(known, configured)))


def _is_overridden(known: Break, configured: Iterable[Break]) -> bool:
    return any(own.currency == known.currency and abs(own.date - known.date) <= _OVERRIDDEN for own in configured)
