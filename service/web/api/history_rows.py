"""Convert fixings to the rows of a history, and encode these in each format. Pure.

A row is a publication. A fixing that repeats its predecessor in every currency is not one.
"""

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Final, NamedTuple

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
        self, part: RowRange, form: RowFormat, breaks: Sequence[Break] = (), start: Predecessor = NO_PREDECESSOR
    ) -> None:
        self._part = part
        self._form = form
        self._breaks = breaks
        self._last, self._published = start
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
                    row = self._change(new)
                    point = PointDocument(new.date, row.rate, row.previous, row.change, row.percent)
                    self._dates.append(new.date)
                    self._encoded.append(self._form.row(self._part, point))
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
