"""Rates that an operator enters: as arguments of a command, or as a CSV file. A source with them is never polled.

A file has the columns `date` (2026-04-02), `code`, `value` (units of the source's base currency, with a decimal point)
and, if rates are for more than one unit, `nominal`; `buying` and `selling` beside `value`, or in place of it, which is
their mean then. The arguments are converted to the same format, so that a receipt leads to one form of text. Any error
rejects the whole entry.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from service.domain.fixing import Fixing
from service.errors import NotUnderstood, SettingsError, TickerError
from service.settings.currencies import CODES
from service.sources import parsing
from service.sources.adapter import RawResponse
from service.sources.rate_table import RateTableBuilder

_COLUMNS: Final = ("date", "code", "value")
_SIDES: Final = ("buying", "selling")
_NOMINAL: Final = "nominal"
_NUMBER: Final = "[^,:/]+"
_RATE: Final = re.compile(
    rf"(?P<code>[^=,]+)=(?:(?P<value>{_NUMBER}):)?(?P<buying>{_NUMBER})/(?P<selling>{_NUMBER})"
    rf"|(?P<only_code>[^=,]+)=(?P<only_value>{_NUMBER})"
)
_DECIMAL_COMMA: Final = re.compile(r"[0-9],[0-9]")
_LONGEST_SPAN: Final = timedelta(days=400)
"""Maximum time between two dates of an entry: the rates of all sources for it are loaded for its validation."""


def document(day: date, rates: Sequence[str]) -> bytes:
    """Return the text of rates for a date, such as `USD=475.09`; raise `SettingsError` for another form.

    With buying and selling rates: `USD=470/480`, whose mean is the rate, or `USD=475.09:470/480`.
    """
    parts = list[tuple[str, ...]]()
    for each in rates:
        found = _RATE.fullmatch(each) if each.isprintable() else None
        if not found:
            examples = "USD=475.09, USD=470/480 (buying/selling) or USD=475.09:470/480"
            comma = "; decimals follow a point, not a comma" if _DECIMAL_COMMA.search(each) else ""
            raise SettingsError(f"{each[:40]!r} is not a rate like {examples}{comma}")
        code, value = found["code"] or found["only_code"], found["value"] or found["only_value"] or ""
        parts.append((str(day), code.upper(), value, found["buying"] or "", found["selling"] or ""))
    columns = (*_COLUMNS, *_SIDES) if any(part[3] for part in parts) else _COLUMNS
    rows = [columns, *(part[: len(columns)] for part in parts)]
    return "".join(",".join(row) + "\n" for row in rows).encode()


def parse(entry: RawResponse, author: str) -> list[Fixing]:
    """Convert an entered text to fixings, oldest first; raise `TickerError` with the first problem."""
    table, header = RateTableBuilder(entry), entry.body.partition(b"\n")[0].decode(errors="replace")
    required = ("date", "code", *_SIDES) if all(side in header for side in _SIDES) else _COLUMNS
    try:
        for row in parsing.csv_rows(entry, *required):
            _add(table, entry, row)
        fixings = table.fixings()
        if fixings.left_out:  # a buying or selling rate
            entry.reject(fixings.left_out[0])
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


def _add(table: RateTableBuilder, entry: RawResponse, row: dict[str, str]) -> None:
    # A misspelt nominal would publish a hundred times the rate.
    if unknown := [name for name in row if name not in (*_COLUMNS, *_SIDES, _NOMINAL)]:
        allowed = ", ".join((*_COLUMNS, *_SIDES))
        entry.reject(f"has the unknown column {unknown[0][:40]!r}; known are {allowed} and {_NOMINAL}")
    day, code = parsing.fields(entry, row, "date", "code")
    if code not in CODES:
        entry.reject(f"has {code[:40]!r}, which is not a currency code of ISO 4217")
    value, buying, selling, nominal = (row.get(name, "").strip() for name in ("value", *_SIDES, _NOMINAL))
    if bool(buying) != bool(selling):
        entry.reject(f"has only one of buying and selling for {code} on {day}")
    on = parsing.day(entry, day, "%Y-%m-%d")
    table.add(on, code, value, nominal or "1", buying=buying, selling=selling)
