"""A source without code: its URL and its document are described by settings (`adapter = "http"`).

A value, nominal or date that cannot be read is left out with its rate and named, as in the adapters of banks.
"""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from service.domain.fixing import Quotation
from service.errors import NotUnderstood, SettingsError
from service.settings import SourceSettings
from service.settings.types import UNIX, fill
from service.sources import parsing
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession, by_day
from service.sources.paths import FORMATS, MOST_ROWS, Document, named
from service.sources.rate_table import RateTableBuilder

_SPACES: Final = str.maketrans("\u00a0\u202f\u2009", "   ")
_UNIX: Final = re.compile(r"[0-9]{1,10}")
_TIME: Final = re.compile("%[HIcX]")
"""What a date format with a time of day has; the offset of a date without one changes nothing."""


class Cell(NamedTuple):
    """A cell of a document: the setting of its path, its text as published, and where it is."""

    name: str
    text: str
    place: str


class Origin(NamedTuple):
    """The cells that a rate came from."""

    date: date
    code: str
    cells: tuple[Cell, ...]


class Configured(SourceAdapter):
    def __init__(self, key: str, source: SourceSettings) -> None:
        """Compile the paths; raise `SettingsError` that names an invalid one."""
        assert source.format  # noqa: S101 - required by the settings
        self.source = source
        self.publishes_changes = bool(source.change)
        self.latest_only = not source.requested
        self.yearly = "since" in source.requested
        self._path = source.url.removeprefix(source.base_url)
        grouped = rf"[+-]?[0-9]{{1,3}}(?:[{source.thousands_mark}][0-9]{{3}})+(?:[{source.decimal_mark}][0-9]+)?"
        self._grouped = re.compile(grouped) if source.thousands_mark else None
        try:
            self._paths = FORMATS[source.format](source)
        except ValueError as error:
            raise SettingsError(f"sources.{key}.{error}") from None

    async def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        may_be_missing = self.source.may_be_missing
        if "date" in self.source.requested:
            each = by_day(session, since, until, lambda day: fill(self._path, date=day), may_be_missing=may_be_missing)
            async for response in each:
                yield replace(response, since=since)
            return
        request = session.find if may_be_missing else session.get
        if latest := await request(fill(self._path, since=since, until=until)):
            if not self.source.date:  # the time of a cached response (status 304) is that of another day
                latest = replace(latest, fetched_at=session.now().replace(microsecond=0))
            is_past = self.source.requested and until < session.now().date()
            yield replace(latest, since=since, until=until if is_past else date.max)

    def parse(self, response: RawResponse) -> ParsedResponse:
        return self.read(response)[0]

    def read(self, response: RawResponse, *, with_places: bool = False) -> tuple[ParsedResponse, list[Origin]]:
        """Return the fixings; with `with_places` also the cells that each rate came from.

        A document may have older dates than the requested ones, e.g. a whole year: they are ignored. Its newest date is
        used in any case, because a bank may return its last rates for a date without rates.
        """
        document = self._paths.open(response)
        if len(document.rows) > MOST_ROWS:
            response.reject(f"has more than {MOST_ROWS} rows")
        if not document.rows:
            self._check_empty(response, document)
        table = RateTableBuilder(replace(response, since=date.min), self.source.decimal_mark)
        for problem in document.problems:
            with table.entry(is_rate=False):
                response.reject(problem)
        days = dict[int, date]()
        for rate in range(0, len(document.rows) * document.width, document.width):
            with table.entry():
                days[rate] = self._day(response, document, rate)
        first = min(response.since, max(days.values(), default=date.max))
        requested = [(rate, day) for rate, day in days.items() if first <= day <= response.until]
        if len(requested) * document.width > MOST_ROWS:
            response.reject(f"has more than {MOST_ROWS} rates")
        origins = list[Origin]()
        for rate, day in ((first + column, day) for first, day in requested for column in range(document.width)):
            with table.entry():
                if self._is_quoted(document, rate):
                    self._add(table, response, document, rate, day)
                    if with_places:
                        origins.append(self._origin(document, rate, day))
        parsed = table.fixings(Quotation(self.source.direction))
        used = {(fixing.date, code) for fixing in parsed for code in fixing.rates}
        return parsed, [origin for origin in origins if origin[:2] in used]

    def _check_empty(self, response: RawResponse, document: Document) -> None:
        """Accept a document without rows if it may be empty, and is the expected one."""
        if not self.source.may_be_empty:
            response.reject("has no rows")
        if self.source.format in ("xml", "html"):
            self._day(response, document, 0)

    def _is_quoted(self, document: Document, rate: int) -> bool:
        """Return whether a currency is not ignored and its rate is published."""
        source = self.source
        if source.codes.get(document.cell(rate, "currency")) == "":
            return False
        if source.has_columns:  # a cell is empty where a line has no rate of a currency
            return document.cell(rate, "value") not in ("", source.no_rate)
        names = ("value",) if source.value else ("buying", "selling")
        return not source.no_rate or source.no_rate not in [document.cell(rate, name) for name in names]

    def _day(self, response: RawResponse, document: Document, rate: int) -> date:
        if not self.source.date:
            return response.fetched_at.astimezone(self.source.timezone).date()
        text = document.cell(rate, "date")
        if self.source.date_format != UNIX:
            return self._local_day(response, text)
        if not _UNIX.fullmatch(text):
            response.reject(f"has {text[:40]!r} where a date is expected")
        return datetime.fromtimestamp(int(text), UTC).astimezone(self.source.timezone).date()

    def _local_day(self, response: RawResponse, text: str) -> date:
        """Return the date of a text; that of a time with an offset is the one in the time zone of the source."""
        moment = parsing.moment(response, text, self.source.date_format)
        if moment.tzinfo is None or not _TIME.search(self.source.date_format):
            return moment.date()
        try:
            return moment.astimezone(self.source.timezone).date()
        except OverflowError:  # in the year 1 or 9999
            response.reject(f"has {text[:40]!r} where a date is expected")

    def _add(self, table: RateTableBuilder, response: RawResponse, document: Document, rate: int, day: date) -> None:
        def read(name: str) -> str:
            return document.cell(rate, name)

        def number(name: str) -> str:
            return "" if read(name) == self.source.no_rate else self._plain(read(name))

        code, nominal = self._code(document, rate)
        if "power" in self._paths.names:
            nominal = parsing.power_of_ten(response, read("power"))
        elif "nominal" in self._paths.names:
            nominal = self._plain(read("nominal"))
        numbers = dict.fromkeys(("change", "buying", "selling"), "")
        value = self._plain(read("value")) if "value" in self._paths.names else ""
        for name in numbers.keys() & self._paths.names:
            if name == "change" or "value" in self._paths.names:  # the rate can do without it
                with table.entry(is_rate=False):
                    numbers[name] = number(name)
            else:
                numbers[name] = number(name)
        if "value" in self._paths.names and not value:  # an empty cell is not replaced by their mean
            numbers["buying"] = numbers["selling"] = ""
        table.add(day, code, value, nominal, **numbers)

    def _code(self, document: Document, rate: int) -> tuple[str, str]:
        """Return the currency code of a rate, and its nominal unless that is in a cell of its own."""
        name = document.cell(rate, "currency")
        return (
            named(self.source, name)
            if self.source.has_columns
            else (self.source.codes.get(name, name), self.source.nominal)
        )

    def _plain(self, number: str) -> str:
        """Return a number without its separators of thousands, if they are where they belong."""
        text = number.translate(_SPACES)
        if self._grouped and self._grouped.fullmatch(text):
            return text.replace(self.source.thousands_mark, "")
        return number

    def _origin(self, document: Document, rate: int, day: date) -> Origin:
        """Return the cells of a rate that was read; those that it does without are left out if they cannot be read."""
        cells = list[Cell]()
        for name in self._paths.names:
            with suppress(NotUnderstood):  # the problem is already named
                cells.append(Cell(name, document.cell(rate, name), document.place(rate, name)))
        return Origin(day, self._code(document, rate)[0], tuple(cells))
