"""Convert fixings to the rows of a history, and encode these in each format. Pure.

A row is a publication. A fixing that repeats its predecessor in every currency is not one.
"""

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from service.domain.breaks import Break, conversion
from service.domain.change import change
from service.domain.fixing import RateTable
from service.web.models import History, PointDocument
from service.web.rendering.chart import ChartPoint
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
    row: Callable[[RowRange, "Row"], bytes]
    between: bytes
    tail: bytes


class Row(NamedTuple):
    """A publication. `is_new_unit`: since the one before there was a redenomination. `is_revised`: it was corrected."""

    point: PointDocument
    is_new_unit: bool = False
    is_revised: bool = False


class Predecessor(NamedTuple):
    """What the next row is compared with: the last fixing, and the publication whose rates it has."""

    last: RateTable | None = None
    publication: RateTable | None = None


NO_PREDECESSOR: Final = Predecessor()


@dataclass(frozen=True, slots=True)
class Rows:
    """The encoded rows of consecutive publications, oldest first, with their dates, and the predecessor of the next."""

    dates: Sequence[dt.date]
    encoded: Sequence[bytes]
    end: Predecessor

    def between(self, since: dt.date, until: dt.date) -> Sequence[bytes]:
        """Return the rows from `since` to `until`, both included."""
        return self.encoded[bisect_left(self.dates, since) : bisect_right(self.dates, until)]


class RowBuilder:
    """Encodes the rows of a currency in a base, incrementally from fixings, oldest first.

    A row depends on its own fixing and those before it only, not on the requested range.
    """

    def __init__(
        self,
        part: RowRange,
        form: RowFormat,
        breaks: Sequence[Break] = (),
        start: Predecessor = NO_PREDECESSOR,
        without_change: Collection[dt.date] = (),
    ) -> None:
        self._part = part
        self._form = form
        self._breaks = breaks
        self._last, self._published = start
        self._without_change = without_change
        self._dates = list[dt.date]()
        self._encoded = list[bytes]()

    @property
    def rows(self) -> Rows:
        return Rows(self._dates, self._encoded, Predecessor(self._last, self._published))

    def add(self, fixings: Iterable[RateTable], since: dt.date = dt.date.min) -> None:
        """Encode the rows of the next fixings; those before `since` are only used for comparison."""
        code, base = self._part.currency, self._part.base
        for new in fixings:
            if not new.quotes(code, base):
                continue
            if self._last is None or not new.carries_over(self._last) or new.moves(self._last, code, base):
                if new.date >= since:
                    self._dates.append(new.date)
                    self._encoded.append(self._form.row(self._part, self._row(new)))
                self._published = new
            self._last = new

    def _row(self, new: RateTable) -> Row:
        """Return a row with the change since the previous publication.

        There is none across a break with an unknown factor, and where the change may not be shown.
        """
        code, base, old = self._part.currency, self._part.base, self._published
        factor = conversion(self._breaks, code, base, old, new) if old else None
        is_comparable = factor and new.date not in self._without_change
        moved = change(code, base, new, old if is_comparable else None, factor or Fraction(1))
        point = PointDocument(new.date, moved.rate, moved.previous, moved.change, moved.percent)
        return Row(point, old is not None and factor != 1, new.is_revised(code, base))


_JSON_TAIL: Final = b"]}"


def _json_head(part: RowRange) -> bytes:
    return to_json(History(**asdict(part), history=())).removesuffix(_JSON_TAIL)


def _json_row(_: RowRange, row: Row) -> bytes:
    return to_json(row.point)


def _csv_head(_: RowRange) -> bytes:
    return b"date,currency,base,rate,change,percent,source\r\n"


def _csv_row(part: RowRange, row: Row) -> bytes:
    """Return a record of RFC 4180; codes, keys and numbers need no quoting."""
    point = row.point
    values = ",".join("" if value is None else f"{value:f}" for value in (point.rate, point.change, point.percent))
    return f"{point.date},{part.currency},{part.base},{values},{part.source}\r\n".encode()


FORMS: Final[Mapping[str, RowFormat]] = {
    "json": RowFormat("application/json", _json_head, _json_row, b",", _JSON_TAIL),
    "csv": RowFormat("text/csv; charset=utf-8; header=present", _csv_head, _csv_row, b"", b""),
}


def _chart_row(_: RowRange, row: Row) -> bytes:
    """Return what a chart needs of a publication; `chart_point` reads it."""
    percent = "" if row.point.percent is None else f"{row.point.percent}"
    return f"{row.point.date},{row.point.rate:f},{percent},{row.is_new_unit:d},{row.is_revised:d}".encode()


def chart_point(row: bytes) -> tuple[ChartPoint, bool]:
    """Return a publication of a chart, and whether the source has corrected it."""
    day, rate, percent, is_new_unit, is_revised = row.decode().split(",")
    point = ChartPoint(
        dt.date.fromisoformat(day),
        Decimal(rate),
        Decimal(percent) if percent else None,
        is_new_unit == "1",
        without_change=not percent,
    )
    return point, is_revised == "1"


CHART: Final = RowFormat("", lambda _: b"", _chart_row, b"", b"")
"""Rows for charts: small, since they are cached."""
