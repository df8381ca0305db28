"""What a document says, read by other libraries and in another way than the adapters do: to hold them against it.

XML by expat, JSON as raw tokens by msgspec, CSV by a pattern. Naive: it takes names wherever they stand, and gives all
that may be meant, so that two figures for one currency and day are two.
"""

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import product
from typing import NamedTuple
from xml.etree import ElementTree as ET

import msgspec

JSON = dict[str, msgspec.Raw]
BOM = b"\xef\xbb\xbf"
NEVER_NOTHING = ("cbr", "nbkr", "nbt", "nbp", "bnr")
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
SERIES = {
    "USD": "XUDLUSS", "EUR": "XUDLERS", "JPY": "XUDLJYS", "CAD": "XUDLCDS", "CHF": "XUDLSFS", "AUD": "XUDLADS",
    "NZD": "XUDLNDS", "NOK": "XUDLNKS", "SEK": "XUDLSKS", "DKK": "XUDLDKS", "HKD": "XUDLHDS", "SGD": "XUDLSGS",
    "SAR": "XUDLSRS", "ZAR": "XUDLZRS", "TWD": "XUDLTWS", "CZK": "XUDLBK25", "HUF": "XUDLBK33", "PLN": "XUDLBK47",
    "ILS": "XUDLBK78", "MYR": "XUDLBK83", "THB": "XUDLBK87", "CNY": "XUDLBK89", "KRW": "XUDLBK93", "TRY": "XUDLBK95",
    "INR": "XUDLBK97", "RON": "XUDLZOS4",
}  # fmt: skip


class Text(NamedTuple):
    """One figure as it is written."""

    day: str
    code: str
    value: str
    nominal: str = "1"
    change: str = ""


class Figure(NamedTuple):
    value: Decimal
    nominal: int
    change: Decimal | None

    def same(self, other: "Figure") -> bool:
        """Whether both have the same digits, trailing zeros too."""
        return self.nominal == other.nominal and repr((self.value, self.change)) == repr((other.value, other.change))


READ = frozenset(
    "nbk cbr ecb nbu cbu nbrb nbkr nbg nbm cba nbt nbp cnb bnr mnb boc boe frankfurter recorded".split()  # noqa: SIM905
)
"""The sources that have an independent reader here; an adapter needs none."""


def read(key: str, body: bytes) -> dict[tuple[date, str], list[Figure]]:
    """Return all figures of a document, by date and currency, each once."""
    found: dict[tuple[date, str], list[Figure]] = {}
    for text in _texts(key, body):
        try:
            figure = Figure(_number(key, text.value), int(text.nominal), _change(key, text.change))
            known = found.setdefault((_day(key, text.day), text.code), [])
        except (ValueError, ArithmeticError):  # what is no figure for us, no adapter may take for one
            continue
        if not any(figure.same(one) for one in known):
            known.append(figure)
    return found


def says_nothing(key: str, body: bytes) -> bool:
    """Return whether a document is the bank's own way to say that nothing is published: no figure, wherever it stands.

    An empty body is one for the ECB only. Banks that answer with their last rates, or with status 404, have none.
    """
    if not body.strip():
        return key == "ecb"
    return key not in NEVER_NOTHING and not read(key, body)


def _number(key: str, text: str) -> Decimal:
    mark = "," if key in ("cbr", "nbkr", "mnb") else "."
    whole, _, part = text.strip().partition(mark)
    if not re.fullmatch(r"[-+]?[0-9]+", whole) or not re.fullmatch(r"[0-9]*", part):
        raise ValueError(text)
    return Decimal(f"{whole}.{part}" if part else whole)


def _change(key: str, text: str) -> Decimal | None:
    return _number(key, text) if text.strip() else None


def _day(key: str, text: str) -> date:
    if key == "boe":
        day, month, year = text.split()
        return date(int(year), MONTHS.index(month.lower()) + 1, int(day))
    one, two, three = (int(part) for part in re.findall(r"[0-9]+", text)[:3])
    return date(three, two, one) if key in ("nbk", "cbr", "nbu", "cbu", "nbkr", "nbm") else date(one, two, three)


def _texts(key: str, body: bytes) -> Iterator[Text]:
    if key in XML:
        yield from _xml_texts(key, body)
    elif key in ("ecb", "boe", "recorded"):
        yield from _csv_texts(key, body)
    else:
        # Half a character is no text for msgspec; it stands for none of ours.
        whole = re.sub(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}", rb"\\ufffd", body)
        yield from _json_texts(key, whole.removeprefix(BOM))


# Where in a row, which is named first, is date, code, value, nominal and change: `@` is an attribute, `^` the row's
# parent, `/` the root, and `.` the row's own text.
XML = {
    "nbk": ("item", "/date", "title", "description", "quant", "change"),
    "cbr": ("Valute", "/@Date", "CharCode", "Value", "Nominal"),
    "nbm": ("Valute", "/@Date", "CharCode", "Value", "Nominal"),
    "nbt": ("Valute", "/@Date", "CharCode", "Value", "Nominal"),
    "nbkr": ("Currency", "/@Date", "@ISOCode", "Value", "Nominal"),
    "cba": ("ExchangeRatesByRange", "RateDate", "ISO", "Rate", "Amount", "Diff"),
    "bnr": ("Rate", "^@date", "@currency", ".", "@multiplier"),
    "mnb": ("Rate", "^@date", "@curr", ".", "@unit"),
}


def _xml_texts(key: str, body: bytes) -> Iterator[Text]:
    root = ET.fromstring(_ascii(body))
    roots = [root]
    if key == "mnb":
        results = [_all(one) for one in root.iter() if _name(one) == "GetExchangeRatesResult"]
        roots = [ET.fromstring(one) for one in results if one.strip()]
    row, *paths = XML[key]
    for root in roots:
        for parent in root.iter():
            for one in parent:
                if (_name(one) if key == "bnr" else one.tag) == row:  # whose namespace has changed before
                    for texts in product(*(_at(path, one, parent, root) for path in paths)):
                        yield Text(*(text.strip() for text in texts))


def _ascii(body: bytes) -> str:
    """Return the document with an x for every letter of no figure's: which of them may be in a name is disputed."""
    declared = re.match(rb"<\?xml [^>]*encoding=.([A-Za-z0-9-]+)", body)
    encoding = "utf-8-sig" if body.startswith(BOM) or not declared else declared[1].decode()
    text = body.decode(encoding, "replace")
    return "".join(one if one.isascii() else " " if one.isspace() else "x" for one in text)


def _at(path: str, row: ET.Element, parent: ET.Element, root: ET.Element) -> list[str]:
    """Return all that stands there; where nothing does, what that means."""
    if path == ".":
        return [_all(row)]
    element = {"^": parent, "/": root}.get(path[0], row)
    path = path.lstrip("^/")
    if path.startswith("@"):
        return [element.get(path[1:], "1" if path == "@multiplier" else "")]
    found = [_all(one) for one in element if one.tag == path]
    return found or ([""] if path in ("change", "Diff") else [])


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: ET.Element) -> str:
    return "".join(element.itertext())


# The list of rows, where it is not the document itself, and their names.
ROWS = {
    "nbu": ("exchangedate", "cc", "rate", "units"),
    "cbu": ("Date", "Ccy", "Rate", "Nominal", "Diff"),
    "nbrb": ("Date", "Cur_Abbreviation", "Cur_OfficialRate", "Cur_Scale"),
    "cnb": ("validFor", "currencyCode", "rate", "amount"),
}


def _json_texts(key: str, body: bytes) -> Iterator[Text]:
    if key in ("nbg", "nbp", "boc", "frankfurter"):
        yield from {"nbg": _nbg, "nbp": _nbp, "boc": _boc, "frankfurter": _frankfurter}[key](body)
    else:
        for row in _rows(msgspec.json.decode(body, type=JSON)["rates"] if key == "cnb" else body):
            if (key, _told(row, "cc")) != ("nbu", "___"):  # settlements with India, which is no currency
                yield Text(*(_told(row, name) for name in ROWS[key]))


def _nbg(body: bytes) -> Iterator[Text]:
    for valid in _rows(body):
        for row in _rows(valid["currencies"]):
            yield Text(_told(valid, "date"), *(_told(row, name) for name in ("code", "rate", "quantity", "diff")))


def _nbp(body: bytes) -> Iterator[Text]:
    for table in _rows(body):
        for row in _rows(table["rates"]):
            yield Text(_told(table, "effectiveDate"), _told(row, "code"), _told(row, "mid"))


def _boc(body: bytes) -> Iterator[Text]:
    for row in _rows(msgspec.json.decode(body, type=JSON)["observations"]):
        for name, seen in row.items():
            if series := re.fullmatch("FX(.*)CAD", name):
                yield Text(_told(row, "d"), series[1], _told(msgspec.json.decode(seen, type=JSON), "v"))


def _frankfurter(body: bytes) -> Iterator[Text]:
    for rows in msgspec.json.decode(body, type=list[list[JSON]]):
        for row in rows:
            if _told(row, "quote") == "KZT":
                yield Text(_told(row, "date"), _told(row, "base"), _told(row, "rate"))


def _rows(raw: bytes | msgspec.Raw) -> list[JSON]:
    return msgspec.json.decode(raw, type=list[JSON])


def _told(row: JSON, name: str) -> str:
    """Return a token as text, a number's digits untouched."""
    raw = bytes(row.get(name, msgspec.Raw(b"null"))).strip()
    found = msgspec.json.decode(raw) if raw.startswith(b'"') else raw.decode()
    return "" if raw == b"null" else str(found).strip()


def _csv_texts(key: str, body: bytes) -> Iterator[Text]:
    header, *rows = _cells(body.removeprefix(BOM).decode())
    for cells in rows:
        row = dict(zip(header, cells, strict=False))
        if key == "ecb":
            yield Text(row["TIME_PERIOD"], row["CURRENCY"], row["OBS_VALUE"])
        elif key == "recorded":
            yield Text(*(row[name] for name in ("date", "code", "value", "nominal", "change")))
        else:
            for code, series in SERIES.items():
                yield Text(row["DATE"], code, row.get(series, ""))


def _cells(text: str) -> Iterator[list[str]]:
    cells: list[str] = []
    for quoted, plain, end in re.findall(r'(?:"((?:[^"]|"")*)"|([^",\r\n][^,\r\n]*|))(,|\r\n|\n|\r|\Z)', text):
        cells.append(quoted.replace('""', '"') or plain)
        if end != ",":
            if cells != [""]:
                yield cells
            cells = []
