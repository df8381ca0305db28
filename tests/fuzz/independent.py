"""Independent parsers of all documents, with other libraries than the adapters, as a reference for the adapters.

XML by expat, JSON as raw tokens by msgspec, CSV by a pattern. They are naive: names are found anywhere, and all
possible values are returned, so that a currency with two rates on one day has two.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from itertools import product
from typing import NamedTuple
from xml.etree import ElementTree as ET

import msgspec

JSON = dict[str, msgspec.Raw]
BOM = b"\xef\xbb\xbf"
ALWAYS_RATES = ("cbr", "nbkr", "nbt", "nbp", "bnr", "nb", "rb", "cbar", "boi", "fbil", "cbt")
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
SERIES = {
    "USD": "XUDLUSS", "EUR": "XUDLERS", "JPY": "XUDLJYS", "CAD": "XUDLCDS", "CHF": "XUDLSFS", "AUD": "XUDLADS",
    "NZD": "XUDLNDS", "NOK": "XUDLNKS", "SEK": "XUDLSKS", "DKK": "XUDLDKS", "HKD": "XUDLHDS", "SGD": "XUDLSGS",
    "SAR": "XUDLSRS", "ZAR": "XUDLZRS", "TWD": "XUDLTWS", "CZK": "XUDLBK25", "HUF": "XUDLBK33", "PLN": "XUDLBK47",
    "ILS": "XUDLBK78", "MYR": "XUDLBK83", "THB": "XUDLBK87", "CNY": "XUDLBK89", "KRW": "XUDLBK93", "TRY": "XUDLBK95",
    "INR": "XUDLBK97", "RON": "XUDLZOS4",
}  # fmt: skip


class RawRate(NamedTuple):
    """One rate as text."""

    day: str
    code: str
    value: str
    nominal: str = "1"
    change: str = ""


class ParsedRate(NamedTuple):
    value: Decimal
    nominal: int
    change: Decimal | None

    def same(self, other: "ParsedRate") -> bool:
        """Return whether both have the same digits, including trailing zeros."""
        return self.nominal == other.nominal and repr((self.value, self.change)) == repr((other.value, other.change))


READ = frozenset(
    re.findall(
        r"\w+",
        "nbk cbr ecb nbu cbu nbrb nbkr nbg nbm cba nbt nbp cnb bnr mnb boc boe nb rb cbar boi fbil cbt "
        "frankfurter recorded",
    )
)
"""Sources with an independent parser; not every adapter needs one."""


def read(key: str, body: bytes) -> dict[tuple[date, str], list[ParsedRate]]:
    """Return all distinct rates of a document, by date and currency."""
    rates: dict[tuple[date, str], list[ParsedRate]] = {}
    for raw in _raw_rates(key, body):
        try:
            rate = ParsedRate(_number(key, raw.value), int(_number(key, raw.nominal)), _change(key, raw.change))
            known = rates.setdefault((_day(key, raw.day), raw.code), [])
        except (ValueError, ArithmeticError):  # a value that is invalid here must be rejected by adapters too
            continue
        if not any(rate.same(other) for other in known):
            known.append(rate)
    return rates


def is_empty(key: str, body: bytes) -> bool:
    """Return whether a document means that nothing is published: it has no rate anywhere.

    An empty body does so for the ECB only. Banks that respond with their last rates, or with status 404, have none.
    """
    if not body.strip():
        return key == "ecb"
    return key not in ALWAYS_RATES and not read(key, body)


def _number(key: str, text: str) -> Decimal:
    if key not in XML and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?[eE][-+]?[0-9]{1,2}", text):  # a JSON number
        return Decimal(f"{Decimal(text):f}")
    mark = "," if key in ("cbr", "nbkr", "mnb") else "."
    whole, _, part = text.strip().partition(mark)
    if not re.fullmatch(r"[-+]?[0-9]+", whole) or not re.fullmatch(r"[0-9]*", part):
        raise ValueError(text)
    return Decimal(f"{whole}.{part}" if part else whole)


def _change(key: str, text: str) -> Decimal | None:
    """Return the bank's own change; None if it is missing or invalid: the rate is used without it."""
    try:
        return _number(key, text) if text.strip() else None
    except ValueError:
        return None


def _day(key: str, text: str) -> date:
    if key == "boe":
        day, month, year = text.split()
        return date(int(year), MONTHS.index(month.lower()) + 1, int(day))
    first, second, third = (int(part) for part in re.findall(r"[0-9]+", text)[:3])
    is_reversed = key in ("nbk", "cbr", "nbu", "cbu", "nbkr", "nbm", "cbar") or (key == "cbt" and first < 100)
    return date(third, second, first) if is_reversed else date(first, second, third)


def _raw_rates(key: str, body: bytes) -> Iterator[RawRate]:
    if key in XML:
        yield from _xml_rates(key, body)
    elif key in ("ecb", "boe", "nb", "boi", "recorded"):
        yield from _csv_rates(key, body)
    else:
        # msgspec rejects lone surrogates; no field that is used has one.
        whole = re.sub(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}", rb"\\ufffd", body)
        yield from _json_rates(key, whole.removeprefix(BOM))


# The element of a row, then the places of date, code, value, nominal and change: `@` is an attribute, `^` the
# row's parent, `/` the root, and `.` the row's own text.
XML = {
    "nbk": ("item", "/date", "title", "description", "quant", "change"),
    "cbr": ("Valute", "/@Date", "CharCode", "Value", "Nominal"),
    "nbm": ("Valute", "/@Date", "CharCode", "Value", "Nominal"),
    "nbt": ("Valute", "/@Date", "CharCode", "Value", "Nominal"),
    "nbkr": ("Currency", "/@Date", "@ISOCode", "Value", "Nominal"),
    "cbar": ("Valute", "/@Date", "@Code", "Value", "Nominal"),
    "cbt": ("rate", "/date", "@code", "rate_tmt", "multiplier"),
    "cba": ("ExchangeRatesByRange", "RateDate", "ISO", "Rate", "Amount", "Diff"),
    "bnr": ("Rate", "^@date", "@currency", ".", "@multiplier"),
    "mnb": ("Rate", "^@date", "@curr", ".", "@unit"),
}


def _xml_rates(key: str, body: bytes) -> Iterator[RawRate]:
    root = ET.fromstring(_ascii(body))
    roots = [root]
    if key == "mnb":
        results = [_text_of(node) for node in root.iter() if _name(node) == "GetExchangeRatesResult"]
        roots = [ET.fromstring(result) for result in results if result.strip()]
    row, *paths = XML[key]
    for root in roots:
        for parent in root.iter():
            for node in parent:
                if (_name(node) if key == "bnr" else node.tag) == row:  # its namespace has changed in the past
                    for texts in product(*(_values_at(path, node, parent, root) for path in paths)):
                        yield RawRate(*("XDR" if text == "SDR" else text.strip() for text in texts))


def _ascii(body: bytes) -> str:
    """Replace all non-ASCII letters by x: parsers disagree on which of them are allowed in names."""
    declared = re.match(rb"<\?xml [^>]*encoding=.([A-Za-z0-9-]+)", body)
    encoding = "utf-8-sig" if body.startswith(BOM) or not declared else declared[1].decode()
    text = body.decode(encoding, "replace")
    return "".join(char if char.isascii() else " " if char.isspace() else "x" for char in text)


def _values_at(path: str, row: ET.Element, parent: ET.Element, root: ET.Element) -> list[str]:
    """Return all values at a path; the default if there is none."""
    if path == ".":
        return [_text_of(row)]
    element = {"^": parent, "/": root}.get(path[0], row)
    path = path.lstrip("^/")
    if path.startswith("@"):
        return [element.get(path[1:], "1" if path == "@multiplier" else "")]
    values = [_text_of(child) for child in element if child.tag == path]
    return values or ([""] if path in ("change", "Diff") else [])


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text_of(element: ET.Element) -> str:
    return "".join(element.itertext())


# The names of date, code, value, nominal and change in a row.
ROWS = {
    "nbu": ("exchangedate", "cc", "rate", "units"),
    "cbu": ("Date", "Ccy", "Rate", "Nominal", "Diff"),
    "nbrb": ("Date", "Cur_Abbreviation", "Cur_OfficialRate", "Cur_Scale"),
    "cnb": ("validFor", "currencyCode", "rate", "amount"),
}


def _json_rates(key: str, body: bytes) -> Iterator[RawRate]:
    parsers = {"nbg": _nbg, "nbp": _nbp, "boc": _boc, "rb": _rb, "fbil": _fbil, "frankfurter": _frankfurter}
    if key in parsers:
        yield from parsers[key](body)
    else:
        for row in _rows(msgspec.json.decode(body, type=JSON)["rates"] if key == "cnb" else body):
            if (key, _text_value(row, "cc")) != ("nbu", "___"):  # settlements with India, which is not a currency
                yield RawRate(*(_text_value(row, name) for name in ROWS[key]))


def _nbg(body: bytes) -> Iterator[RawRate]:
    for valid in _rows(body):
        for row in _inner_rows(valid, "currencies"):
            yield RawRate(
                _text_value(valid, "date"), *(_text_value(row, name) for name in ("code", "rate", "quantity", "diff"))
            )


def _nbp(body: bytes) -> Iterator[RawRate]:
    for table in _rows(body):
        for row in _inner_rows(table, "rates"):
            yield RawRate(_text_value(table, "effectiveDate"), _text_value(row, "code"), _text_value(row, "mid"))


def _boc(body: bytes) -> Iterator[RawRate]:
    for row in _rows(msgspec.json.decode(body, type=JSON)["observations"]):
        for name, observation in row.items():
            series = re.fullmatch("FX(.*)CAD", name)
            with suppress(msgspec.ValidationError):  # it is no object: left out
                value = _text_value(msgspec.json.decode(observation, type=JSON), "v")
                if series:
                    yield RawRate(_text_value(row, "d"), series[1], value)


def _rb(body: bytes) -> Iterator[RawRate]:
    for row in _rows(body):
        series = re.fullmatch("SEK(.*)PMI", _text_value(row, "seriesId"))
        if series:
            yield RawRate(_text_value(row, "date"), series[1], _text_value(row, "value"))


def _fbil(body: bytes) -> Iterator[RawRate]:
    for row in _rows(body):
        pair = re.fullmatch("INR / (.*) (.*)", _text_value(row, "subProdName"))
        if pair:
            yield RawRate(_text_value(row, "processRunDate"), pair[2], _text_value(row, "rate"), pair[1])


def _frankfurter(body: bytes) -> Iterator[RawRate]:
    for rows in msgspec.json.decode(body, type=list[list[JSON]]):
        for row in rows:
            if _text_value(row, "quote") == "KZT":
                yield RawRate(_text_value(row, "date"), _text_value(row, "base"), _text_value(row, "rate"))


def _rows(raw: bytes | msgspec.Raw) -> list[JSON]:
    return msgspec.json.decode(raw, type=list[JSON])


def _inner_rows(row: JSON, name: str) -> list[JSON]:
    """Return the rows of a day; none if they are missing or no array of objects: the day is left out."""
    try:
        return _rows(row.get(name, msgspec.Raw(b"[]")))
    except msgspec.ValidationError:
        return []


def _text_value(row: JSON, name: str) -> str:
    """Return a token as text, with the digits of a number unchanged."""
    raw = bytes(row.get(name, msgspec.Raw(b"null"))).strip()
    decoded = msgspec.json.decode(raw) if raw.startswith(b'"') else raw.decode()
    return "" if raw == b"null" else str(decoded).strip()


def _csv_rates(key: str, body: bytes) -> Iterator[RawRate]:
    header, *rows = _cells(body.removeprefix(BOM).decode())
    for cells in rows:
        row = dict(zip(header, cells, strict=False))
        if key == "ecb":
            yield RawRate(row["TIME_PERIOD"], row["CURRENCY"], row["OBS_VALUE"])
        elif key in ("nb", "boi"):
            code = row["BASE_CUR" if key == "nb" else "BASE_CURRENCY"]
            power = row["UNIT_MULT"]
            if code not in ("TWI", "I44") and re.fullmatch("[0-6]", power):
                yield RawRate(row["TIME_PERIOD"], code, row["OBS_VALUE"], "1" + "0" * int(power))
        elif key == "recorded":
            yield RawRate(*(row[name] for name in ("date", "code", "value", "nominal", "change")))
        else:
            for code, series in SERIES.items():
                yield RawRate(row["DATE"], code, row.get(series, ""))


def _cells(text: str) -> Iterator[list[str]]:
    cells: list[str] = []
    for quoted, plain, end in re.findall(r'(?:"((?:[^"]|"")*)"|([^",\r\n][^,\r\n]*|))(,|\r\n|\n|\r|\Z)', text):
        cells.append(quoted.replace('""', '"') or plain)
        if end != ",":
            if cells != [""]:
                yield cells
            cells = []
