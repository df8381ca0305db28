"""From the bytes of an answer to a document, or a `NotUnderstood` that says what was wrong."""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NoReturn

from lxml import etree

from service.fixings import Direction, Fixing, Rate
from service.sources.base import Payload

_CURRENCY = re.compile(r"[A-Z]{3}")
_NOMINAL = re.compile(r"[1-9][0-9]{0,6}")
# Plain digits with a point or a comma, bounded: an exponent could ask for a gigabyte of zeros.
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:[.,][0-9]{1,15})?")
_HTML = (b"<!doctype html", b"<html")


def xml(payload: Payload, root: str) -> etree._Element:
    """Return the root element, which must be named `root`. Entities, DTDs and the network stay off."""
    body = _body(payload)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        element = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        payload.reject(f"is not well-formed XML: {error}")
    if element.getroottree().docinfo.doctype:
        payload.reject("has a document type declaration, which no rate feed needs")
    if element.tag != root:
        payload.reject(f"has the root <{element.tag!s}> instead of <{root}>")
    return element


def text(payload: Payload, parent: etree._Element, name: str) -> str:
    found = optional_text(payload, parent, name)
    return found or payload.reject(f"lacks <{name}> in <{parent.tag!s}>")


def optional_text(payload: Payload, parent: etree._Element, name: str) -> str:
    """Return the text of a child, which must be nothing but text; an empty one where there is none."""
    found = parent.find(name)
    if found is not None and len(found):
        payload.reject(f"has something else than text in <{name}>")
    return (parent.findtext(name) or "").strip()


def json_rows(payload: Payload) -> list[dict[str, Any]]:
    """Return an array of objects; every number as its published text."""
    try:
        rows = json.loads(_body(payload), parse_float=str, parse_int=str, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        payload.reject(f"is not JSON: {error}")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        payload.reject("is not a JSON array of objects")
    return rows


def csv_rows(payload: Payload, *columns: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV with a header that has `columns`; a cut last line is an error."""
    body = _body(payload)
    if not body.endswith(b"\n"):
        payload.reject("ends within a line")
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        if missing := set(columns) - set(reader.fieldnames or ()):
            payload.reject(f"lacks the columns {', '.join(sorted(missing))}")
        for row in reader:
            if None in row or None in row.values():
                payload.reject(f"has a row of another length than its header, in line {reader.line_num}")
            yield row
    except (csv.Error, UnicodeDecodeError) as error:
        payload.reject(f"is not CSV in UTF-8: {error}")


def fields(payload: Payload, row: dict[str, Any], *names: str) -> list[str]:
    """Return the named fields of a JSON object, as text; each must be there."""
    found = [row.get(name) for name in names]
    for name, value in zip(names, found, strict=True):
        if not isinstance(value, str):
            payload.reject(f"lacks {name} in a row")
    return [str(value).strip() for value in found]


def optional_field(payload: Payload, row: dict[str, Any], name: str) -> str:
    """Return a field that may be absent or null, as text; an empty one then."""
    found = row.get(name)
    if found is not None and not isinstance(found, str):
        payload.reject(f"has {name} of another kind than text in a row")
    return (found or "").strip()


def day(payload: Payload, published: str, form: str) -> date:
    try:
        return datetime.strptime(published, form).date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        payload.reject(f"has {published[:40]!r} where a date should be")


class Figures:
    """Collects the figures of one answer, a rate a date and currency, each checked for its form."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._rates: defaultdict[date, dict[str, Rate]] = defaultdict(dict)

    def add(self, on: date, code: str, value: str, nominal: str = "1", change: str = "") -> None:
        """Take one figure as published; `change` is the bank's own, where it has one."""
        if not _CURRENCY.fullmatch(code):
            self._payload.reject(f"has {code[:40]!r} where a currency code should be")
        if not _NOMINAL.fullmatch(nominal):
            self._payload.reject(f"has {nominal[:40]!r} where a nominal should be")
        if code in self._rates[on]:
            self._payload.reject(f"quotes {code} twice for {on}")
        own = self._number(change) if change else None
        self._rates[on][code] = Rate(self._number(value), int(nominal), own)

    def fixings(self, direction: Direction = Direction.DIRECT) -> list[Fixing]:
        """Return one fixing a date, oldest first."""
        return [self._payload.fixing(on, rates, direction) for on, rates in sorted(self._rates.items())]

    def _number(self, published: str) -> Decimal:
        if not _NUMBER.fullmatch(published):
            self._payload.reject(f"has {published[:40]!r} where a number should be")
        return Decimal(published.replace(",", "."))


def _body(payload: Payload) -> bytes:
    start = payload.body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        payload.reject("is empty")
    if start[:20].lower().startswith(_HTML):
        payload.reject("is an HTML page")
    return payload.body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
