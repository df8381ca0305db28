"""Convert fixings to the rows of a history, and encode these in each format. Pure.

A row is a publication. A fixing that repeats its predecessor in every currency is not one.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Final

from service.domain.breaks import Break, conversion
from service.domain.change import Change, change
from service.domain.fixing import RateTable
from service.web.models import History, PointDocument
from service.web.rendering.formats import to_json


@dataclass(frozen=True, slots=True)
class RowRange:
    """A range of a history: `currency` in `base` by one source, from `since` to `until`, both included.

    `name` is the name of the source; `cross` marks cross rates, computed with the source's own rate of the base.
    """

    ticker: str
    base: str
    currency: str
    source: str
    name: str
    cross: bool
    since: dt.date
    until: dt.date


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A format: `head`, the rows separated by `between`, `tail`."""

    content_type: str
    head: Callable[[RowRange], bytes]
    row: Callable[[RowRange, PointDocument], bytes]
    between: bytes
    tail: bytes


class Body:
    """The body of a response, encoded incrementally from fixings, oldest first.

    It needs fixings before the range too: the change of the first row is computed from them.
    """

    def __init__(self, part: RowRange, form: RowFormat, breaks: Sequence[Break] = ()) -> None:
        self._part = part
        self._form = form
        self._breaks = breaks
        self._last: RateTable | None = None
        self._published: RateTable | None = None
        """The publication that `_last` belongs to: the first fixing with its rates."""
        self._begun = False
        self.head = form.head(part)
        self.tail = form.tail

    def rows(self, fixings: Iterable[RateTable]) -> bytes:
        """Return the encoded rows of the next fixings, with the separator before them if needed."""
        rows = self._form.between.join(self._form.row(self._part, point) for point in self._points(fixings))
        if not rows:
            return b""
        has_rows_before, self._begun = self._begun, True
        return self._form.between + rows if has_rows_before else rows

    def _points(self, fixings: Iterable[RateTable]) -> Iterator[PointDocument]:
        code, base = self._part.currency, self._part.base
        for new in fixings:
            if not new.quotes(code, base):
                continue
            if self._last is None or not new.carries_over(self._last) or new.moves(self._last, code, base):
                if new.date >= self._part.since:
                    row = self._change(new)
                    yield PointDocument(new.date, row.rate, row.previous, row.change, row.percent)
                self._published = new
            self._last = new

    def _change(self, new: RateTable) -> Change:
        """Return the change since the previous publication; across a break with an unknown factor, none."""
        code, base, old = self._part.currency, self._part.base, self._published
        factor = conversion(self._breaks, code, base, old, new) if old else None
        return change(code, base, new, old if factor else None, factor or Fraction(1))


_JSON_TAIL: Final = b"]}"


def _json_head(part: RowRange) -> bytes:
    return to_json(History(**asdict(part), history=())).removesuffix(_JSON_TAIL)


def _json_row(_: RowRange, point: PointDocument) -> bytes:
    return to_json(point)


def _csv_head(_: RowRange) -> bytes:
    return b"date,currency,base,rate,change,percent,source\r\n"


def _csv_row(part: RowRange, point: PointDocument) -> bytes:
    """Return a record of RFC 4180; codes, keys and numbers need no quoting."""
    values = ",".join("" if value is None else f"{value:f}" for value in (point.rate, point.change, point.percent))
    return f"{point.date},{part.currency},{part.base},{values},{part.source}\r\n".encode()


FORMS: Final[Mapping[str, RowFormat]] = {
    "json": RowFormat("application/json", _json_head, _json_row, b",", _JSON_TAIL),
    "csv": RowFormat("text/csv; charset=utf-8; header=present", _csv_head, _csv_row, b"", b""),
}
