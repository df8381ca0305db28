"""Limits of a valid fixing, shared by all inputs: parsers, Redis, import. Pure.

They are far wider than anything a bank has published (75 currencies, 8 digits, a nominal of 1,000,000), and narrow
enough that no product, fraction or date within them overflows or takes long to compute.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from service.domain import publication_schedule
from service.domain.breaks import Break
from service.domain.fixing import MOST_DIGITS, REVISIONS, Fixing, Quotation, RateLike, RateTable
from service.settings import Settings

EARLIEST: Final = date(1949, 1, 1)
"""The year of the oldest rates of any source: the National Bank of Hungary has rates from 3 January 1949 on."""
LATEST: Final = date(2199, 12, 31)
"""Last date if no calendar applies: date arithmetic beyond it may overflow."""
UNKNOWN_AHEAD: Final = timedelta(days=7)
"""How far ahead of today an unconfigured source may date its rates: farther than any source of the default settings."""
MOST_CURRENCIES: Final = 200
MOST_UNITS: Final = 9_999_999
SMALLEST: Final = Decimal("1E-15")
LIMIT: Final = Decimal("1E+16")
"""Exclusive upper limit of a value."""
_EXPONENTS: Final = range(-15 - MOST_DIGITS, 16)
_CODE: Final = re.compile(r"[A-Z]{3}")
_CODES: Final = re.compile(r"[A-Z]{3}(?:,[A-Z]{3})*")
# No exponent and at most 15 digits on either side of the point: within all limits unless zero.
_VALUES: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?(?: [0-9]{1,15}(?:\.[0-9]{1,15})?)*")
_CHANGES: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?(?: -?[0-9]{1,15}(?:\.[0-9]{1,15})?)*")
_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_YEARS: Final = range(1990, LATEST.year + 1)
_LONGEST: Final = 40
LONGEST_NAME: Final = 80
"""Maximum length of the name of an operator."""
_NAMED: Final = 3


def structural_errors(fixing: Fixing) -> tuple[str, ...]:
    """Return the errors that make a fixing invalid, confirmed or not; empty for a valid one. Dates: `date_errors`."""
    return tuple(_errors(fixing, check_values=True))


def format_errors(fixing: Fixing) -> tuple[str, ...]:
    """Return the errors that make a fixing unsafe to compute with.

    These are `structural_errors` except those with which a fixing may be quarantined: rates of zero or less, the base
    quoted in itself, an empty table.
    """
    return tuple(_errors(fixing, check_values=False))


def rate_errors(table: RateTable) -> dict[str, str]:
    """Return the errors of invalid rates, confirmed or not, by currency."""
    return _rate_errors(table, check_values=True)


def table_errors(table: RateTable) -> tuple[str, ...]:
    """Return the `structural_errors` of a table that has no receipt."""
    empty = () if table.rates else ("it quotes no currency",)
    return (*_header_errors(table), *empty, *rate_errors(table).values())


def is_name(text: str) -> bool:
    """Return whether a text can be the name of the operator who enters rates."""
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and text == text.strip()


def date_errors(day: date, latest: date = LATEST) -> tuple[str, ...]:
    """Return why an effective date is invalid."""
    if day < EARLIEST:
        return (f"it is dated {day}, before {EARLIEST}, the first possible date",)
    if day > latest:
        return (f"it is dated {day}, after {latest}, the last possible date",)
    return ()


def time_errors(name: str, moment: datetime | None) -> Iterator[str]:
    """Yield why a stored time cannot be compared or computed with."""
    if moment is None:
        return
    if moment.tzinfo is None:
        yield f"{name} {moment} has no time zone"
    elif moment.year not in _YEARS:
        yield f"{name} {moment} is outside {_YEARS[0]}-01-01 to {LATEST}"


def break_errors(declared: Break) -> Iterator[str]:
    """Yield the errors of a declared break."""
    if not _CODE.fullmatch(declared.currency):
        yield f"{declared.currency[:_LONGEST]!r} is not a currency code"
    if declared.factor is not None:
        errors = list(number_errors(declared.factor)) or (["is not positive"] if declared.factor <= 0 else [])
        yield from (f"the factor of the break of {declared.currency[:_LONGEST]} {error}" for error in errors)


def number_errors(value: Decimal, *, is_difference: bool = False) -> Iterator[str]:
    """Yield why a number is unsafe to compute with, worded to follow its name: "has 31 digits, …".

    A difference of two valid numbers may be smaller than any of them.
    """
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        yield f"is {_short(value)}, not a finite number"
        return
    if len(digits) > MOST_DIGITS:
        yield f"has {len(digits)} digits, at most {MOST_DIGITS} are allowed"
    smallest = 0 if is_difference else SMALLEST
    if exponent not in _EXPONENTS or (value and not smallest <= abs(value) < LIMIT):
        yield f"is {_short(value)}, outside {SMALLEST} to {LIMIT}"


def last_dates(settings: Settings, now: Callable[[], datetime]) -> Callable[[str], date]:
    """Return a function that maps a source's key to the last effective date that it can have published by now."""

    def last_date(source: str) -> date:
        configured = settings.sources.get(source)
        if configured is None:
            return now().date() + UNKNOWN_AHEAD
        return publication_schedule.latest_possible_date(configured, now())

    return last_date


def summary(errors: Iterable[str]) -> str:
    """Join errors into one line: the first `_NAMED`, and how many more."""
    listed = list(errors)
    more = f"; and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return "; ".join(listed[:_NAMED]) + more


def _header_errors(table: RateTable) -> tuple[str, ...]:
    """Return the errors of a table as a whole: its base, its size, its receipt."""
    errors = list[str]()
    if not _CODE.fullmatch(table.base):
        errors.append(f"the base {table.base[:_LONGEST]!r} is not a currency code")
    if len(table.rates) > MOST_CURRENCIES:
        errors.append(f"it quotes {len(table.rates)} currencies, at most {MOST_CURRENCIES} are allowed")
    if isinstance(table, Fixing):
        if not _SOURCE.fullmatch(table.source):
            errors.append(f"{table.source[:_LONGEST]!r} is not a source key")
        errors += time_errors("fetched_at", table.fetched_at)
        if table.entered_by and not is_name(table.entered_by):
            errors.append(f"entered_by is not a name of at most {LONGEST_NAME} printable characters")
    return tuple(errors)


def _errors(fixing: Fixing, *, check_values: bool) -> Iterator[str]:
    yield from _header_errors(fixing)
    if check_values and not fixing.rates:
        yield "it quotes no currency"
    yield from _rate_errors(fixing, check_values=check_values).values()
    if len(fixing.revisions) > REVISIONS:
        yield f"it has {len(fixing.revisions)} revisions, at most {REVISIONS} are allowed"
        return
    for number, revision in enumerate(fixing.revisions, 1):
        if (revision.source, revision.date) != (fixing.source, fixing.date):
            yield f"revision {number} is of another fixing"
        if revision.revisions:
            yield f"revision {number} has revisions"
        else:
            yield from (f"revision {number}: {error}" for error in _errors(revision, check_values=check_values))


def _rate_errors(table: RateTable, *, check_values: bool) -> dict[str, str]:
    rates = table.rates
    if not rates or len(rates) > MOST_CURRENCIES:  # reported by `_header_errors` or its caller
        return {}
    if _CODES.fullmatch(",".join(rates)) and table.base not in rates and _are_sound(table):
        return {}
    errors = {
        code: list(_errors_of_rate(table, code, rates[code], check_values=check_values)) for code in sorted(rates)
    }
    return {code: "; ".join(problems) for code, problems in errors.items() if problems}


def _are_sound(table: RateTable) -> bool:
    """Return whether all rates are certainly valid: a fast path that nearly all tables take.

    Matching one pattern against all numbers takes a third of the time of checking each.
    """
    rates = table.rates.values()
    nominals = [rate.nominal for rate in rates]
    values = [rate.value for rate in rates]
    sides = [(rate, side) for rate in rates for side in (rate.buying, rate.selling) if side is not None]
    values += [side for _, side in sides]
    changes = [change for rate in rates if (change := getattr(rate, "change", None)) is not None]
    return (
        min(nominals) > 0
        and max(nominals) <= MOST_UNITS
        and all(values)
        and _VALUES.fullmatch(" ".join(map(str, values))) is not None
        and (not changes or _CHANGES.fullmatch(" ".join(map(str, changes))) is not None)
        and all(_is_near(rate, side) and _is_ordered(table, rate) for rate, side in sides)
    )


def _errors_of_rate(table: RateTable, code: str, rate: RateLike, *, check_values: bool) -> Iterator[str]:
    if not _CODE.fullmatch(code):
        yield f"{code[:_LONGEST]!r} is not a currency code"
        return
    value, nominal = rate.value, rate.nominal
    if not value.is_finite() or (check_values and (value <= 0 or nominal <= 0)):
        yield f"{code} is {_short(value)} for {_short(nominal)}, not a positive finite rate"
    else:
        yield from (f"{code} {error}" for error in number_errors(value))
        if not -MOST_UNITS <= nominal <= MOST_UNITS:
            yield f"{code} is quoted for {_short(nominal)} units, at most {MOST_UNITS} are allowed"
        if check_values and code == table.base and value != nominal:
            yield f"the base {code} is quoted in itself at {_short(value)} for {nominal}"
    change: Decimal | None = getattr(rate, "change", None)
    if change is not None:
        yield from (f"the change of {code} {error}" for error in number_errors(change, is_difference=True))
    yield from _errors_of_sides(table, code, rate, check_values=check_values)


def _errors_of_sides(table: RateTable, code: str, rate: RateLike, *, check_values: bool) -> Iterator[str]:
    """Yield the errors of a buying and a selling rate."""
    sides = {name: side for name, side in (("buying", rate.buying), ("selling", rate.selling)) if side is not None}
    errors = [f"the {name} rate of {code} {error}" for name, side in sides.items() for error in number_errors(side)]
    yield from errors
    if errors or not check_values or any(number_errors(rate.value)) or rate.value <= 0:
        return
    for name, side in sides.items():
        if not _is_near(rate, side):
            yield f"the {name} rate of {code} is {_short(side)}, beyond half or double its rate of {_short(rate.value)}"
    if not _is_ordered(table, rate):
        named = ", ".join(f"{name} {_short(side)}" for name, side in sides.items())
        yield f"the buying and the selling rate of {code} are in the wrong order: {named}"


def _is_near(rate: RateLike, side: Decimal) -> bool:
    """Return whether a buying or selling rate is of the magnitude of the rate: the nominal and the column are right."""
    return rate.value <= 2 * side and side <= 2 * rate.value


def _is_ordered(table: RateTable, rate: RateLike) -> bool:
    """Return whether the source buys a currency for no more than it sells it for."""
    if rate.buying is None or rate.selling is None:
        return True
    return rate.buying >= rate.selling if table.direction is Quotation.INVERSE else rate.buying <= rate.selling


def _short(number: Decimal | int) -> str:
    text = str(number)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
