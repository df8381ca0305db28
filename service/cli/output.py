"""Print to a terminal, or to a pipe or file: tables, and untrusted text."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from service.errors import safe

_UNLIMITED = 100_000
"""Width of a pipe or file, in columns: nothing is wrapped or cut off there."""


def console(*, soft_wrap: bool = False, stderr: bool = False) -> Console:
    """Return a console without markup, emoji codes and highlighting: the text of a bank may contain any of them.

    It has colours only on a terminal, and not if the environment has NO_COLOR.
    """
    output = Console(markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap, stderr=stderr)
    if not output.is_terminal:
        output.width = _UNLIMITED
    return output


def table(*columns: Column | str, title: str | None = None) -> Table:
    """Return a table: with lines on a terminal; elsewhere with aligned columns and one line a row."""
    columns = tuple(Column(header=column) if isinstance(column, str) else column for column in columns)
    if console().is_terminal:
        return Table(*columns, title=safe(title) if title else None)
    return Table(*columns, title=safe(title) if title else None, title_justify="left", box=None, pad_edge=False)


def add_row(table: Table, cells: Iterable[object], style: str = "") -> None:
    """Add a row of untrusted values; several lines of a cell become one where output is not a terminal."""
    texts = [cell if isinstance(cell, Text) else Text(text(cell), style) for cell in cells]
    if table.box is None:
        texts = [Text(cell.plain.replace("\n", "; "), cell.style) for cell in texts]
    table.add_row(*texts)


def coloured(value: object, change: Decimal | None) -> Text:
    """Return a value in green for a rise, in red for a fall."""
    style = "" if not change else "green" if change > 0 else "red"
    return Text(text(value), style)


def text(value: object) -> str:
    """Format a value: a dash for None, a number without an exponent, a time in UTC to the minute."""
    if value is None:
        return "—"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else safe(str(value))


def write_json(document: bytes) -> None:
    """Write a JSON document and a line break to standard output."""
    sys.stdout.write(document.decode() + "\n")
    sys.stdout.flush()


def lines(output: Console, texts: Sequence[str]) -> None:
    """Print untrusted lines, unchanged in their length."""
    for line in texts:
        output.print(safe(line), soft_wrap=True)
