"""From the bytes of an answer to a document, or a `NotUnderstood` that says what was wrong."""

import codecs
import csv
import io
import json
from collections.abc import Iterator
from datetime import date, datetime
from functools import lru_cache
from itertools import chain
from typing import Any, NoReturn, TypeAlias, TypeGuard

from lxml import etree

from service.domain.fixing import Fixing
from service.sources.adapter import RawResponse
from service.sources.rate_table import RateTableBuilder

Element: TypeAlias = etree._Element  # noqa: SLF001 - what lxml calls it
"""An XML element, for the signatures of who has no lxml."""

MOST_PARTS = 100_000
"""Tags, objects and lists of an answer: a year of any bank has a fifth of it, and what C makes of a million at once
holds up all of Python, whichever thread it is in."""
_LONGEST_DATE = 40
_HTML = (b"<!doctype html", b"<html")
# What banks write, and what every parser reads alike. Others (UTF-7, EBCDIC) hide content from some parsers.
_ENCODINGS = {"utf-8", "cp1251", "iso8859-1", "ascii"}


def xml(response: RawResponse, root: str, inner: str | None = None) -> Element:
    """Return the root element, which must be named `root`; `{*}name` is that name in any namespace.

    Entities, DTDs and the network stay off. `inner` is a document that was found within the answer.
    """
    body = _body(response, response.body if inner is None else inner.encode())
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        element = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        response.reject(f"is not well-formed XML: {error}")
    if element.getroottree().docinfo.doctype:
        response.reject("has a document type declaration, which no rate feed needs")
    encoding = element.getroottree().docinfo.encoding or "utf-8"
    if _encoding(encoding) not in _ENCODINGS:
        response.reject(f"is written in {encoding[:40]}, which no rate feed is")
    found = f"{{*}}{etree.QName(element).localname}" if root.startswith("{*}") else str(element.tag)
    if found != root:
        response.reject(f"has the root <{element.tag!s}> instead of <{root}>")
    return element


def _encoding(name: str) -> str:
    """Return the one name that Python has for an encoding, whatever a document calls it."""
    try:
        return codecs.lookup(name).name
    except LookupError:
        return name


def content(response: RawResponse, element: Element) -> str:
    """Return the text of an element, which must be nothing but text."""
    if len(element):
        response.reject(f"has something else than text in <{element.tag!s}>")
    return (element.text or "").strip()


def text(response: RawResponse, parent: Element, name: str) -> str:
    found = optional_text(response, parent, name)
    return found or response.reject(f"lacks <{name}> in <{parent.tag!s}>")


def optional_text(response: RawResponse, parent: Element, name: str) -> str:
    """Return the text of a child, which must be nothing but text; an empty one where there is none."""
    found = parent.findall(name)
    if len(found) > 1:
        response.reject(f"has <{name}> twice in <{parent.tag!s}>")
    return content(response, found[0]) if found else ""


def val_curs(response: RawResponse, form: str, mark: str = ".") -> list[Fixing]:
    """Return the rates of `<ValCurs>`, the Bank of Russia's format, which other banks write too."""
    root = xml(response, "ValCurs")
    on = day(response, root.get("Date", ""), form)
    table = RateTableBuilder(response, mark)
    for row in root.iter("Valute"):
        code, value, nominal = (text(response, row, name) for name in ("CharCode", "Value", "Nominal"))
        table.add(on, code, value, nominal)
    return table.fixings()


def json_rows(response: RawResponse) -> list[dict[str, Any]]:
    """Return an array of objects; every number as its published text."""
    found = _json(response)
    return found if _are_rows(found) else response.reject("is not a JSON array of objects")


def json_row_lists(response: RawResponse) -> list[dict[str, Any]]:
    """Return the objects of an array of arrays of objects, one after the other."""
    found = _json(response)
    if not (isinstance(found, list) and found and all(map(_are_rows, found))):
        response.reject("is not a JSON array of objects for each currency")
    return list(chain.from_iterable(found))


def json_object(response: RawResponse) -> dict[str, Any]:
    """Return an object; every number as its published text."""
    found = _json(response)
    return found if isinstance(found, dict) else response.reject("is not a JSON object")


def rows(response: RawResponse, parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the array of objects that an object has under `name`."""
    found = parent.get(name)
    return found if _are_rows(found) else response.reject(f"lacks {name}, an array of objects")


def member(response: RawResponse, parent: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object that an object has under `name`."""
    found = parent.get(name)
    return found if isinstance(found, dict) else response.reject(f"lacks {name[:40]}, an object")


def csv_rows(response: RawResponse, *columns: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV with a header that has `columns`; a cut last line is an error."""
    body = _body(response, response.body)
    if not body.endswith(b"\n"):
        response.reject("ends within a line")
    try:
        rows = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        if missing := set(columns) - set(header := rows.fieldnames or ()):
            response.reject(f"lacks the columns {', '.join(sorted(missing))}")
        if len(set(header)) < len(header):
            response.reject("names a column twice")
        for row in rows:
            if None in row or None in row.values():
                response.reject(f"has a row of another length than its header, in line {rows.line_num}")
            yield row
    except (csv.Error, UnicodeDecodeError) as error:
        response.reject(f"is not CSV in UTF-8: {error}")


def fields(response: RawResponse, row: dict[str, Any], *names: str) -> list[str]:
    """Return the named fields of a JSON object, as text; each must be there."""
    found = [row.get(name) for name in names]
    for name, value in zip(names, found, strict=True):
        if not isinstance(value, str):
            response.reject(f"lacks {name} in a row")
    return [str(value).strip() for value in found]


def optional_field(response: RawResponse, row: dict[str, Any], name: str) -> str:
    """Return a field that may be absent or null, as text; an empty one then."""
    found = row.get(name)
    if found is not None and not isinstance(found, str):
        response.reject(f"has {name} of another kind than text in a row")
    return (found or "").strip()


def day(response: RawResponse, published: str, form: str) -> date:
    return moment(response, published, form).date()


def moment(response: RawResponse, published: str, form: str) -> datetime:
    wrong = f"has {published[:40]!r} where a date should be"
    if len(published) > _LONGEST_DATE:  # it would be kept: any space may be as long as it likes
        response.reject(wrong)
    try:
        return _moment(published, form)
    except ValueError:
        response.reject(wrong)


@lru_cache(1024)  # a year's document has each date some forty times, and this was most of what it took to read
def _moment(published: str, form: str) -> datetime:
    # strptime takes the digits of every script; a bank that changed its script has changed its document.
    return datetime.strptime(published.encode("ascii").decode(), form)  # noqa: DTZ007 - a date has no zone


def _body(response: RawResponse, body: bytes) -> bytes:
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        response.reject("is empty")
    if start[:20].lower().startswith(_HTML):
        response.reject("is an HTML page")
    if sum(map(body.count, (b"<", b"{", b"["))) > MOST_PARTS:
        response.reject(f"has more than {MOST_PARTS} tags, objects or lists, as no bank's has")
    if b"\0" in body:  # UTF-16, too
        response.reject("has a zero byte, which no text of a bank has")
    return body


def _json(response: RawResponse) -> object:
    body = _body(response, response.body)
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            parse_float=str,
            parse_int=str,
            parse_constant=_no_constant,
            object_pairs_hook=_named_once,
        )
    except (ValueError, RecursionError) as error:
        response.reject(f"is not JSON: {error}")


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate names, of which json would silently take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _are_rows(found: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(found, list) and all(isinstance(row, dict) for row in found)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
