"""Rates that an operator enters: as arguments of a command, or as a CSV file. A source with them is never polled.

A file has the columns `date` (2026-04-02), `code`, `value` (units of the source's base currency, with a decimal point)
and, if rates are for more than one unit, `nominal`. The arguments are converted to the same format, so that a receipt
leads to one form of text. Any error rejects the whole entry.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from service.domain.fixing import Fixing
from service.errors import NotUnderstood, TickerError
from service.settings.currencies import CODES
from service.sources import parsing
from service.sources.adapter import RawResponse
from service.sources.rate_table import RateTableBuilder

_COLUMNS: Final = ("date", "code", "value")
_NOMINAL: Final = "nominal"
_LONGEST_SPAN: Final = timedelta(days=400)
"""Maximum time between two dates of an entry: the rates of all sources for it are loaded for its validation."""


def document(day: date, rates: Sequence[str]) -> bytes:
    """Return the text of rates such as `USD=475.09` for a date; raise `TickerError` for another form."""
    rows = [",".join(_COLUMNS)]
    for each in rates:
        code, separator, value = each.partition("=")
        if not (separator and value) or "," in each or not each.isprintable():
            raise TickerError(f"{each[:40]!r} is not a rate like USD=475.09")
        rows.append(f"{day},{code.upper()},{value}")
    return "\n".join([*rows, ""]).encode()


def parse(entry: RawResponse, author: str) -> list[Fixing]:
    """Convert an entered text to fixings, oldest first; raise `TickerError` with the first problem."""
    table = RateTableBuilder(entry)
    try:
        for row in parsing.csv_rows(entry, *_COLUMNS):
            # A misspelt nominal would publish a hundred times the rate.
            if unknown := [name for name in row if name not in (*_COLUMNS, _NOMINAL)]:
                allowed = ", ".join(_COLUMNS)
                entry.reject(f"has the unknown column {unknown[0][:40]!r}; known are {allowed} and {_NOMINAL}")
            day, code, value = parsing.fields(entry, row, *_COLUMNS)
            if code not in CODES:
                entry.reject(f"has {code[:40]!r}, which is not a currency code of ISO 4217")
            table.add(parsing.day(entry, day, "%Y-%m-%d"), code, value, row.get(_NOMINAL, "").strip() or "1")
        fixings = table.fixings()
    except NotUnderstood as error:
        problem = error.problem.removeprefix("the response ")
        raise TickerError(f"{entry.source}: the entered text {problem}; nothing was changed") from None
    if not fixings:
        raise TickerError(f"{entry.source}: the entered text has no rates; nothing was changed")
    first, last = fixings[0].date, fixings[-1].date
    if last - first > _LONGEST_SPAN:
        problem = f"has dates from {first} to {last}, more than {_LONGEST_SPAN.days} days apart; split it"
        raise TickerError(f"{entry.source}: the entered text {problem}; nothing was changed")
    return [replace(fixing, entered_by=author) for fixing in fixings]
