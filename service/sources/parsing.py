"""Parse responses (XML, JSON, CSV, HTML) strictly; raise `NotUnderstood` with the problem for anything unexpected."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import Any, NoReturn, TypeAlias, TypeGuard

from lxml import etree

from service.domain.fixing import MOST_DIGITS
from service.sources.adapter import ParsedResponse, RawResponse, is_blank, is_html
from service.sources.rate_table import RateTableBuilder

Element: TypeAlias = etree._Element  # noqa: SLF001 - lxml's name for it
"""An XML element, for type annotations in modules that do not import lxml."""
XPath: TypeAlias = etree.XPath
"""A compiled XPath."""
XPathError: TypeAlias = etree.XPathError

MOST_PARTS = 100_000
"""Maximum number of tags, objects and lists in a response: five times that of a year of any bank. Building a million in
C would hold the interpreter lock and block all threads."""
_QUOTED = 60
"""Characters of a row that an error quotes."""
_LONGEST_DATE = 40
_LONGEST_MANTISSA = MOST_DIGITS + len("-.")
_LARGEST_POWER = 15
_LONGEST_POWER = 9
# The encodings that banks use, and that all parsers agree on. Others (UTF-7, EBCDIC) can hide content from a parser.
_ENCODINGS = {"utf-8", "cp1251", "iso8859-1", "iso8859-9", "ascii"}


def xml(response: RawResponse, root: str, inner: str | None = None, encoding: str | None = None) -> Element:
    """Parse XML and return the root element, which must be named `root`; `{*}name` matches any namespace, `{*}*` all.

    Entities, DTDs and network access are disabled. `inner` is a document embedded in the response, parsed instead of
    its body. `encoding` is used instead of the declared one.
    """
    body = _body(response, response.body if inner is None else inner.encode())
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, encoding=encoding
    )
    try:
        element = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        response.reject(f"is not well-formed XML: {error}")
    if element.getroottree().docinfo.doctype:
        response.reject("has a document type declaration, which is not allowed")
    declared = element.getroottree().docinfo.encoding or "utf-8"
    if not encoding and _encoding(declared) not in _ENCODINGS:
        response.reject(f"has the unsupported encoding {declared[:40]}")
    name = f"{{*}}{etree.QName(element).localname}" if root.startswith("{*}") else str(element.tag)
    if root not in (name, "{*}*"):
        response.reject(f"has the root <{element.tag!s}> instead of <{root}>")
    return element


def html(response: RawResponse, encoding: str | None = None) -> Element:
    """Parse an HTML page and return its root element. Errors of its markup are repaired, as browsers do.

    Entities of a DTD and network access are disabled. A truncated page, which would be repaired too, is an error.
    """
    body = _bounded(response, response.body)
    page = _text(response, body, encoding, "HTML")
    lower = page.lower().rstrip()
    if "</html>" not in lower and ("<html" in lower or not lower.endswith(">")):
        response.reject("is truncated: the page is not closed")
    parser = etree.HTMLParser(no_network=True, huge_tree=False, encoding="utf-8", remove_pis=True)
    try:
        element: object = etree.fromstring(page.encode(), parser)
    except etree.XMLSyntaxError as error:
        response.reject(f"is not an HTML page: {error}")
    return element if is_element(element) else response.reject("is not an HTML page")


def without_namespaces(root: Element) -> Element:
    """Remove the namespaces of all elements, so that paths need none."""
    for element in root.iter(etree.Element):
        element.tag = etree.QName(element).localname
    return root


def xpath(expression: str) -> XPath:
    """Compile an XPath; raise `ValueError` if it is invalid."""
    try:
        compiled = etree.XPath(expression, regexp=False)
        probe(compiled)
    except etree.XPathError as error:
        raise ValueError(f"is not an XPath: {str(error).lower()}") from None
    return compiled


def probe(compiled: XPath) -> object:
    """Return what an XPath finds in an empty element: its type is that of its results."""
    return compiled(etree.Element("probe"))


def is_element(value: object) -> TypeGuard[Element]:
    return isinstance(value, etree._Element)  # noqa: SLF001 - lxml's name for it


def element_path(found: object, context: Element) -> str:
    """Return the path and line of what an XPath has found: an element, an attribute or text; else of its context."""
    element = found if is_element(found) else getattr(found, "getparent", lambda: None)()
    element = context if element is None else element
    attribute = getattr(found, "attrname", None)
    path = element.getroottree().getpath(element) + (f"/@{attribute}" if attribute else "")
    return f"{path}, line {element.sourceline}"


def page_text(response: RawResponse, element: Element) -> str:
    """Return the text of an element of a page, which must be in one piece.

    Two pieces could be two numbers, or a number with its decimals raised: read as one they would be another number.
    """
    pieces = [piece for piece in map(str.strip, element.itertext(etree.Element)) if piece]
    if len(pieces) > 1:
        response.reject(f"has several texts in <{element.tag!s}> ({' | '.join(pieces)[:_QUOTED]})")
    return pieces[0] if pieces else ""


def _encoding(name: str) -> str:
    """Return Python's canonical name of an encoding."""
    try:
        return codecs.lookup(name).name
    except LookupError:
        return name


def content(response: RawResponse, element: Element) -> str:
    """Return the text of an element, which must not have child elements or comments."""
    if len(element):
        response.reject(f"has other content than text in <{element.tag!s}>")
    return (element.text or "").strip()


def text(response: RawResponse, parent: Element, name: str) -> str:
    """Return the text of a child, which must exist and not be empty."""
    value = optional_text(response, parent, name)
    if not value:
        content_words = " ".join(" ".join(parent.itertext()).split())
        response.reject(f"lacks <{name}> in <{parent.tag!s}> ({content_words[:_QUOTED]})")
    return value


def optional_text(response: RawResponse, parent: Element, name: str) -> str:
    """Return the text of a child; an empty string if it is missing."""
    children = parent.findall(name)
    if len(children) > 1:
        response.reject(f"has <{name}> twice in <{parent.tag!s}>")
    return content(response, children[0]) if children else ""


def html_table(response: RawResponse) -> tuple[list[str], list[list[str]]]:
    """Parse a fragment of HTML with one table; return the texts of its paragraphs, and the cells of each row.

    The parser repairs what is broken, so that every row and cell must be closed: otherwise the response is truncated.
    """
    body = _body(response, response.body)
    try:
        markup = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        response.reject(f"is not HTML in UTF-8: {error}")
    parser = etree.HTMLParser(no_network=True, huge_tree=False, encoding="utf-8")
    root = etree.fromstring(f"<html>{markup}".encode(), parser)  # without any element there would be no root
    tables = root.findall(".//table")
    if len(tables) != 1:
        response.reject(f"lacks a table of rates, or has several: {len(tables)}")
    for tag in ("table", "tr", "td"):
        if len(re.findall(rf"<{tag}[\s>]", markup, re.IGNORECASE)) != markup.lower().count(f"</{tag}>"):
            response.reject(f"is truncated: a <{tag}> is not closed")
    rows = [[_words(cell) for cell in row.iter("td")] for row in tables[0].iter("tr")]
    return [_words(paragraph) for paragraph in root.iter("p")], [row for row in rows if row]


def _words(element: Element) -> str:
    """Return all text of an element, with single spaces."""
    return " ".join("".join(element.itertext()).split())


def val_curs(response: RawResponse, form: str, mark: str = ".") -> ParsedResponse:
    """Parse `<ValCurs>`, the Bank of Russia's format, which other banks use too.

    `form` is the date format, `mark` the decimal separator.
    """
    root = xml(response, "ValCurs")
    on = day(response, root.get("Date", ""), form)
    table = RateTableBuilder(response, mark)
    for row in root.iter("Valute"):
        with table.entry():
            code, value, nominal = (text(response, row, name) for name in ("CharCode", "Value", "Nominal"))
            table.add(on, code, value, nominal)
    return table.fixings()


def json_rows(response: RawResponse) -> list[dict[str, Any]]:
    """Parse a JSON array of objects; numbers are returned as their published text."""
    document = _json(response)
    return document if _are_rows(document) else response.reject("is not a JSON array of objects")


def json_row_lists(response: RawResponse) -> list[dict[str, Any]]:
    """Parse a JSON array of arrays of objects; return the objects in one list."""
    document = _json(response)
    if not (isinstance(document, list) and document and all(map(_are_rows, document))):
        response.reject("is not a JSON array of arrays of objects")
    return list(chain.from_iterable(document))


def json_document(response: RawResponse, encoding: str | None = None) -> object:
    """Parse any JSON; numbers are returned as their published text."""
    return _json(response, encoding)


def json_object(response: RawResponse) -> dict[str, Any]:
    """Parse a JSON object; numbers are returned as their published text."""
    document = _json(response)
    return document if isinstance(document, dict) else response.reject("is not a JSON object")


def rows(response: RawResponse, parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the member `name` of an object, which must be an array of objects."""
    value = parent.get(name)
    return value if _are_rows(value) else response.reject(f"lacks {name}, an array of objects")


def member(response: RawResponse, parent: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the member `name` of an object, which must be an object."""
    value = parent.get(name)
    return value if isinstance(value, dict) else response.reject(f"lacks {name[:40]}, an object")


def csv_rows(
    response: RawResponse, *columns: str, encoding: str | None = None, delimiter: str = ","
) -> Iterator[dict[str, str]]:
    """Parse a CSV document whose header has at least `columns`; a truncated last line is an error."""
    for _, row in csv_lines(response, *columns, encoding=encoding, delimiter=delimiter):
        yield row


def csv_lines(
    response: RawResponse, *columns: str, encoding: str | None = None, delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Parse a CSV document like `csv_rows`; yield each row with the number of its last line."""
    body = _body(response, response.body)
    if not body.endswith(b"\n"):
        response.reject("is truncated: the last line has no line break")
    document = _text(response, body, encoding, "CSV")
    try:
        rows = csv.DictReader(io.StringIO(document, newline=""), strict=True, delimiter=delimiter)
        header = rows.fieldnames or ()
        missing = set(columns) - set(header)
        if missing:
            found = ", ".join(map(repr, header))
            response.reject(f"lacks the columns {', '.join(sorted(missing))}; it has {found[:_QUOTED]}")
        if len(set(header)) < len(header):
            response.reject("has a duplicate column")
        for row in rows:
            if None in row or None in row.values():
                response.reject(f"has a row with another number of fields than the header, in line {rows.line_num}")
            yield rows.line_num, row
    except csv.Error as error:
        response.reject(f"is not CSV in {_named(encoding)}: {error}")


def fields(response: RawResponse, row: dict[str, Any], *names: str) -> list[str]:
    """Return the named fields of a row as text; each is required."""
    values = [row.get(name) for name in names]
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, str):
            cells = ", ".join(cell for cell in row.values() if isinstance(cell, str))
            response.reject(f"lacks {name} in a row ({cells[:_QUOTED]})")
    return [str(value).strip() for value in values]


def optional_field(response: RawResponse, row: dict[str, Any], name: str) -> str:
    """Return a field of a row as text; an empty string if it is missing or null."""
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        response.reject(f"has a {name} that is not text in a row")
    return (value or "").strip()


def power_of_ten(response: RawResponse, exponent: str) -> str:
    """Return the nominal that an SDMX attribute `UNIT_MULT` denotes: its power of ten."""
    if len(exponent) != 1 or exponent not in "0123456":
        response.reject(f"has {exponent[:40]!r} where a power of ten is expected")
    return str(10 ** int(exponent))


def day(response: RawResponse, published: str, form: str) -> date:
    """Parse a date in the format `form`."""
    return moment(response, published, form).date()


def moment(response: RawResponse, published: str, form: str) -> datetime:
    """Parse a date and time in the format `form`."""
    problem = f"has {published[:40]!r} where a date is expected"
    if len(published) > _LONGEST_DATE:  # strptime accepts any amount of whitespace, and the cache would keep it
        response.reject(problem)
    try:
        return _moment(published, form)
    except ValueError:
        response.reject(problem)


@lru_cache(1024)  # a year's document repeats each date about forty times: strptime took most of the parsing time
def _moment(published: str, form: str) -> datetime:
    # ASCII only: strptime accepts the digits of any script, which no bank publishes.
    return datetime.strptime(published.encode("ascii").decode(), form)  # noqa: DTZ007 - a date has no zone


def _body(response: RawResponse, body: bytes) -> bytes:
    if is_html(body):
        response.reject("is an HTML page")
    return _bounded(response, body)


def _bounded(response: RawResponse, body: bytes) -> bytes:
    if is_blank(body):
        response.reject("is empty")
    if sum(map(body.count, (b"<", b"{", b"["))) > MOST_PARTS:
        response.reject(f"has more than {MOST_PARTS} tags, objects or lists")
    if b"\0" in body:  # also in UTF-16
        response.reject("contains a null byte")
    return body


def _text(response: RawResponse, body: bytes, encoding: str | None, form: str) -> str:
    try:
        return body.decode(_codec(encoding))
    except UnicodeDecodeError as error:
        response.reject(f"is not {form} in {_named(encoding)}: {error}")


def _codec(encoding: str | None) -> str:
    """Return Python's codec of an encoding: a byte order mark is allowed in UTF-8, the default."""
    return "utf-8-sig" if encoding in (None, "utf-8") else str(encoding)


def _named(encoding: str | None) -> str:
    return "UTF-8" if encoding in (None, "utf-8") else str(encoding)


def _json(response: RawResponse, encoding: str | None = None) -> object:
    body = _body(response, response.body)
    try:
        return json.loads(
            body.decode(_codec(encoding)),
            parse_float=_without_exponent,
            parse_int=str,
            parse_constant=_no_constant,
            object_pairs_hook=_named_once,
        )
    except (ValueError, RecursionError) as error:
        response.reject(f"is not JSON: {error}")


def _without_exponent(number: str) -> str:
    """Return a JSON number in plain digits; one with a large exponent, which no rate has, unchanged."""
    mantissa, exponent, power = number.lower().partition("e")
    if not exponent or len(mantissa) > _LONGEST_MANTISSA or len(power) > _LONGEST_POWER:
        return number
    if not -_LARGEST_POWER <= int(power) <= _LARGEST_POWER:
        return number
    return f"{Decimal(number):f}"


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject duplicate names, of which the json module would silently use the last."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has a duplicate name")
    return members


def _are_rows(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
