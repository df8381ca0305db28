"""Contract of all sources: a document that is not the bank's own is rejected, never read as "nothing new"."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice, pairwise, product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

import service.sources.banks
from service.domain.fixing import Series
from service.errors import NotUnderstood
from service.settings.loader import DEFAULT
from service.sources.banks import SOURCES
from service.sources.parsing import MOST_PARTS
from service.sources.rate_table import MOST_CURRENCIES, MOST_DAYS
from service.validation.rules import ValidationContext, judge
from tests.sources.answers import FIXTURES, URL, document, parse, response_of
from tests.support.standin import RawRates, nbu

HTML = b'<html lang="ru"><head><title>Access denied</title></head><body>Are you a robot?</body></html>\n'
LAST_DAY = date(2100, 1, 1)
TWINS = {"cbr", "nbm"}
"""Banks with the same format, so that only the URL identifies the document."""


@dataclass(frozen=True)
class Format:
    """The parts of a bank's document that errors change; `{}` is a placeholder for a rate."""

    name: str
    rate: tuple[str, str]
    date: tuple[str, str]
    """The field of the first date, and its replacement without a date."""
    root: tuple[str, str]
    """The element that identifies this bank's document, and a replacement."""
    code: str
    other: str = "GBP"
    """A quoted currency other than the dollar."""
    nominal: tuple[str, str] | None = None
    always_rates: bool = False
    """Whether it responds with its last rates, or with status 404, if it has published nothing."""

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def has_json_numbers(self) -> bool:
        """Whether rates are JSON numbers, so that any other text is invalid JSON."""
        return self.suffix == ".json" and '"{}"' not in self.rate[0]

    @property
    def malformed(self) -> str:
        return {".xml": "is not well-formed XML", ".json": "is not JSON", ".csv": "is truncated"}[self.suffix]


def _format_of(key: str) -> Format:
    table: dict[str, Any] = tomllib.loads((FIXTURES / key / "wire.toml").read_text(encoding="utf-8"))
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    return Format(**fields)


FORMATS = {key: _format_of(key) for key in SOURCES if key != "recorded"}

EMPTY_DOCUMENTS = [
    *((path.parent.name, path.read_bytes()) for path in sorted(FIXTURES.glob("*/nothing*"))),
    ("nbk", document("nbk", "not-set.xml")),
    ("ecb", b""),
    ("ecb", b" \r\n\t "),
    ("frankfurter", b"[[],[]]"),
]
"""Sources and their documents that mean "nothing is published". Other sources have none."""

Fault = tuple[str, bytes, str]
"""Its name, the document with the error, and a pattern of the error message."""


def substituted(body: bytes, old: str, new: str | bytes, count: int = 1) -> bytes:
    assert old.encode() in body, "the fault does not change the document"
    return body.replace(old.encode(), new if isinstance(new, bytes) else new.encode(), count)


def with_rate(key: str, number: str | bytes) -> bytes:
    format_ = FORMATS[key]
    before, after = format_.rate[0].split("{}")
    number = number if isinstance(number, bytes) else number.encode()
    return substituted(
        document(key, format_.name),
        format_.rate[0].replace("{}", format_.rate[1]),
        before.encode() + number + after.encode(),
    )


def faults(key: str) -> Iterator[Fault]:
    format_ = FORMATS[key]
    body = document(key, format_.name)
    for number, empty in enumerate((b"", b" \r\n\t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n")):
        if (key, empty) not in EMPTY_DOCUMENTS:
            yield f"empty {number}", empty, "is empty"
    yield "HTML with a doctype", b"\n<!DOCTYPE html>\n" + HTML, "is an HTML page"
    yield "HTML with a byte order mark", b"\xef\xbb\xbf<!doctype HTML>\n" + HTML, "is an HTML page"
    yield "HTML", HTML, "is an HTML page"
    yield "HTML after a comment", b"<!-- error -->" + HTML, "has the root <html>|is not JSON|lacks the columns"
    yield "a word", b"Service Unavailable\n", "is not well-formed XML|is not JSON|lacks the columns"
    yield "half of it", body[: len(body) // 2], format_.malformed
    yield "nine tenths of it", body[: len(body) * 9 // 10], format_.malformed
    for other in (other for other in FORMATS if other != key and {key, other} != TWINS):
        other_document = document(other, FORMATS[other].name)
        expected = "has the root|is not (?:well-formed XML|JSON|a JSON|CSV)|lacks|is truncated|where a date is expected"
        yield f"foreign: {other}", other_document, expected
    other_root = substituted(body, *format_.root, count=-1 if format_.suffix == ".xml" else 1)
    other_root += b"}" if format_.root[0] == "[" else b""
    yield (
        "another root",
        other_root,
        "has the root|is not a JSON array of (?:arrays of )?objects|lacks (?:the columns|observations|rates)",
    )
    yield "no date", substituted(body, *format_.date), "lacks|where a date is expected"
    yield "a date of text", substituted(body, _date(format_), "today"), "has 'today[^']*' where a date is expected"
    impossible = substituted(body, _date(format_), "31.02.2026")
    yield "a date that is none", impossible, "has '31.02.2026[^']*' where a date is expected"
    arabic = _date(format_).translate({ord("0") + digit: ord("٠") + digit for digit in range(10)})
    yield (
        "a date in the digits of another script",
        substituted(body, _date(format_), arabic),
        "where a date is expected",
    )
    yield from _number_faults(key, format_, body)
    yield from _byte_faults(key, format_, body)


def _date(format_: Format) -> str:
    found = re.search(r"[\d.-]{10}|\d+ \w+ \d{4}", format_.date[0])
    assert found
    return found[0]


def _number_faults(key: str, format_: Format, body: bytes) -> Iterator[Fault]:
    text = rate = "where a number is expected"
    if format_.has_json_numbers:
        rate = f"{text}|is not JSON"
        yield "a rate that is quoted text", with_rate(key, '"n/a"'), f"has 'n/a' {text}"
        for literal in ("null", "true", "[1]", '{"a":1}'):
            yield f"a rate of {literal}", with_rate(key, literal), r"lacks \w+ in a row"
    # An empty value means "not quoted" where the form has a field for each, as NaN does in SDMX: see `test_<key>`.
    not_quoted = () if key == "ecb" else ("NaN",)
    for number in (*not_quoted, "n/a", "Infinity", "-Infinity", "1e3", "1E+500", "0x1F", "1_000", "47 877", "1" * 400):
        yield f"a rate of {number[:9]}", with_rate(key, number), rate
    if key not in ("ecb", "boc", "boe"):
        yield "an empty rate", with_rate(key, ""), f"{rate}|lacks <"
    yield "a rate that is not ASCII", with_rate(key, "١٢٣"), rate
    # The decimal mark decides between a thousand and a little more than one: a bank always writes the same.
    foreign = "1.234" if "," in format_.rate[1] else "1,234"
    yield "a rate with the other decimal mark", with_rate(key, foreign), f"{rate}|another number of fields"
    if format_.nominal:
        suffix, nominal = format_.nominal
        for number in ("0", "-1", "1.5", "1e2", "10000000000"):
            yield (
                f"a nominal of {number}",
                substituted(body, suffix.replace("{}", nominal), suffix.replace("{}", number)),
                "a nominal is expected",
            )
    if key == "boe":  # its documents name series instead of currencies
        yield "a currency twice", substituted(body, "XUDLERS", "XUDLUSS"), "has a duplicate column"
        yield "a series of its own", substituted(body, "XUDLUSS", "XUDLXXX"), "has the unknown series 'XUDLXXX'"
        return
    usd, other = (format_.code.replace("{}", code) for code in ("USD", format_.other))
    yield (
        "a currency twice",
        substituted(body, other, usd),
        r"quotes USD twice for 202\d-|an object has a duplicate name",
    )
    for code in ("usd", "US", "USDT", "840"):
        yield (
            f"a code {code}",
            substituted(body, usd, format_.code.replace("{}", code)),
            f"has '{code}' where a currency code is expected",
        )


def _byte_faults(key: str, format_: Format, body: bytes) -> Iterator[Fault]:
    malformed = {".csv": "is not CSV in UTF-8"}.get(format_.suffix, format_.malformed)
    # In windows-1251 every byte is a letter, so the rate itself must be invalid.
    expected = "where a number is expected" if b"windows-1251" in body else malformed
    yield "bytes of no encoding", with_rate(key, b"\xff\xfe"), expected
    yield "in UTF-16", body.decode("windows-1251", "replace").encode("utf-16"), "contains a null byte"
    if key == "cbr":
        yield "another encoding than declared", substituted(body, "windows-1251", "utf-8"), malformed
    if format_.suffix != ".xml":
        return
    declaration = re.compile(rb"<\?xml[^>]*>")
    for encoding in ("koi8-r", "utf-7", "cp037"):
        declared = f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + declaration.sub(b"", body)
        yield f"written in {encoding}", declared, f"has the unsupported encoding {encoding}|{malformed}"
    element = format_.rate[0].replace("{}", format_.rate[1])
    if element.startswith("<"):
        yield "a rate twice", substituted(body, element, element * 2), r"has <\w+> twice in <|quotes USD twice"
    name = format_.root[0].rstrip(">")
    doctype = "has a document type declaration"
    bomb = '<!ENTITY a "9">' + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in pairwise("abcdefghij"))
    entities = {
        "an entity bomb": (bomb, "&j;"),
        "a file as entity": ('<!ENTITY a SYSTEM "file:///etc/hostname">', "&a;"),
        "an entity": ('<!ENTITY a "478.77">', "&a;"),
    }
    for fault, (entity, number) in entities.items():
        broken = substituted(with_rate(key, number), f"<{name}", f"<!DOCTYPE {name} [{entity}]><{name}")
        yield fault, broken, f"{doctype}|{malformed}"
    yield "a DOCTYPE", substituted(body, f"<{name}", f"<!DOCTYPE {name}><{name}"), doctype
    external = f'<!DOCTYPE {name} SYSTEM "http://bank.test/rates.dtd"><{name}'
    yield "an external DTD", substituted(body, f"<{name}", external), doctype
    if key == "cbr":  # every parser expands entities in attributes
        broken = substituted(substituted(body, "25.04.2026", "&j;"), f"<{name}", f"<!DOCTYPE {name} [{bomb}]><{name}")
        yield "an entity bomb in an attribute", broken, f"{doctype}|{malformed}"


FAULTS = [
    pytest.param(key, body, expected, id=f"{key}-{name}") for key in FORMATS for name, body, expected in faults(key)
]


def test_every_source_is_covered() -> None:
    """Every adapter module is in SOURCES under its name, is configured and has documents and a format here."""
    folder = Path(service.sources.banks.__path__[0])
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(SOURCES)
    assert {key: type(source).__module__ for key, source in SOURCES.items()} == {
        key: f"service.sources.banks.{key}" for key in SOURCES
    }
    assert set(tomllib.loads(DEFAULT.read_text(encoding="utf-8"))["sources"]) == {
        key for key, adapter in SOURCES.items() if not adapter.relay
    }
    assert {path.name for path in FIXTURES.iterdir()} == SOURCES.keys() - {"recorded"} == FORMATS.keys()


@pytest.mark.parametrize("key", FORMATS)
def test_sample_documents_are_valid(key: str) -> None:
    """The unchanged documents have no errors, so that each fault is the only one."""
    fixings = parse(key, document(key, FORMATS[key].name))
    assert all(len(fixing.rates) >= 5 for fixing in fixings)
    judged = [judge(fixing, Series(), ValidationContext(LAST_DAY)) for fixing in fixings]
    assert [judgement.reasons for judgement in judged] == [()] * len(fixings) != []


@pytest.mark.parametrize(("key", "body"), EMPTY_DOCUMENTS)
def test_empty_document_has_no_fixings(key: str, body: bytes) -> None:
    """The response of a bank that has published nothing is not an error."""
    assert parse(key, body) == []


def test_every_source_has_an_empty_document_or_always_rates() -> None:
    """A source either has a document without rates, or never responds without rates."""
    assert {key for key, _ in EMPTY_DOCUMENTS} == {key for key, format_ in FORMATS.items() if not format_.always_rates}


@pytest.mark.parametrize(("key", "body"), EMPTY_DOCUMENTS)
def test_truncated_empty_document_is_rejected(key: str, body: bytes) -> None:
    """A truncated document, however short, never means that nothing is published."""
    whole = body.rstrip()
    for end in range(1, len(whole)):
        with pytest.raises(NotUnderstood):
            parse(key, whole[:end])


@pytest.mark.parametrize(("key", "body", "expected"), FAULTS)
def test_invalid_document_is_rejected_with_a_clear_error(key: str, body: bytes, expected: str) -> None:
    """`NotUnderstood`, in one line, names the source, the problem and the URL."""
    with pytest.raises(NotUnderstood) as refused:
        parse(key, body)
    assert re.fullmatch(rf"{key}: the response .*(?:{expected}).* \({re.escape(URL)}\)", str(refused.value))
    assert (refused.value.source, refused.value.url) == (key, URL)


@pytest.mark.parametrize(("days", "codes"), [(MOST_DAYS, 1), (1, MOST_CURRENCIES)])
def test_number_of_days_and_currencies_is_limited(days: int, codes: int) -> None:
    """Validation of more than a year of days or than all currencies would take minutes."""

    def published(days: int, codes: int) -> bytes:
        rates: RawRates = {"".join(code): "1.5" for code in islice(product(ascii_uppercase, repeat=3), codes)}
        return nbu({date(2026, 1, 1) + timedelta(days=number): rates for number in range(days)})

    fixings = parse("nbu", published(days, codes))
    assert (len(fixings), len(fixings[0].rates)) == (days, codes)
    with pytest.raises(NotUnderstood, match=r"has rates for more than 400 days|quotes more than 200 currencies"):
        parse("nbu", published(days + 1, codes) if days > codes else published(days, codes + 1))


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("nbk", b"<rates>%b</rates>" % (b"<a/>" * MOST_PARTS)),
        ("cbu", b"[%b]" % b",".join([b"[]"] * MOST_PARTS)),
        ("cbu", b"[%b]" % b",".join([b"{}"] * MOST_PARTS)),
    ],
)
def test_number_of_elements_is_limited(key: str, body: bytes) -> None:
    """The document is rejected before it is parsed, which would block the service."""
    with pytest.raises(NotUnderstood, match="has more than 100000 tags, objects or lists"):
        parse(key, body)


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("boc", rb'{"observations": [{"d": "2026-03-17", "FX\n\u001b[2J\ud800": 1}]}'),
        ("nbk", b"<" + b"a" * 40_000 + b"/>"),
        ("nbk", b"<rates>" + b"<a>" * 300),
        ("cbr", '<?xml version="1.0" encoding="utf-8"?><ValCurs\u2028/>'.encode()),
    ],
)
def test_error_is_one_short_line(key: str, body: bytes) -> None:
    """It can be logged, stored and shown whatever it quotes of the response."""
    with pytest.raises(NotUnderstood) as refused:
        parse(key, body)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("key", "begin", "end", "before"),
    [
        ("bnr", '<Cube date="2026-08-18">', "</Cube>", "</Header>"),
        ("mnb", '&lt;Day date="2025-03-28"', "&lt;/Day&gt;", "&lt;/Day&gt;&lt;Day"),
        ("mnb", "<GetExchangeRatesResult>", "</GetExchangeRatesResult>", "</GetExchangeRatesResponse>"),
        ("mnb", "<s:Body>", "</s:Body>", "</s:Envelope>"),
        ("cba", "<diffgr:diffgram", "</diffgr:diffgram>", "</ExchangeRatesByDateRangeByISOResult>"),
    ],
)
def test_duplicate_rates_are_rejected(key: str, begin: str, end: str, before: str) -> None:
    """Two places of a document with rates of the same day are an error (found by fuzzing)."""
    text = document(key, FORMATS[key].name).decode()
    start = text.index(begin)
    part = text[start : text.index(end, start) + len(end)]
    with pytest.raises(NotUnderstood, match=r"quotes USD twice for|has <\w+Result> twice"):
        parse(key, text.replace(before, part + before, 1).encode())


@pytest.mark.parametrize("column", ["FREQ", "CURRENCY_DENOM", "UNIT_MULT"])
def test_euro_rate_with_another_meaning_is_rejected(column: str) -> None:
    """A monthly rate, one of another denominator, or one scaled by a power of ten."""
    header, first, *rest = document("ecb", "2026-03-17-to-18.csv").decode().splitlines(keepends=True)
    cells = first.rstrip("\n").split(",")
    at = -1 if column == "UNIT_MULT" else header.split(",").index(column)  # a title before the last column has commas
    cells[at] = "2"
    with pytest.raises(NotUnderstood, match=f"has '2' as {column} instead of"):
        parse("ecb", "".join([header, ",".join(cells) + "\n", *rest]).encode())


@pytest.mark.parametrize("number", ["0", "0.00", "-0", "-478.77"])
@pytest.mark.parametrize("key", FORMATS)
def test_rate_that_is_not_positive_is_parsed_and_quarantined(key: str, number: str) -> None:
    """Adapters do not validate: the rate is parsed as published and quarantined by the rules."""
    mark = "," if "," in FORMATS[key].rate[1] else "."
    fixing = SOURCES[key].parse(response_of(key, with_rate(key, number.replace(".", mark))))[0]
    assert str(fixing.rates["USD"].value) == number
    judged = judge(fixing, Series(), ValidationContext(LAST_DAY))
    assert judged.reasons == (f"USD is {number} for 1, not a positive finite rate",)
    assert judged.held is not None
    assert judged.held.rates.keys() == {"USD"}


@pytest.mark.parametrize("inside", ["<!-- -->", "<?pi?>", "<b/>"])
@pytest.mark.parametrize("key", [key for key in FORMATS if FORMATS[key].suffix == ".xml"])
def test_value_is_not_truncated(key: str, inside: str) -> None:
    """A comment, an instruction or an element inside a rate never truncates it."""
    whole = FORMATS[key].rate[1]
    body = with_rate(key, f"{whole[:2]}{inside}{whole[2:]}")
    try:
        (fixing,) = parse(key, body)
    except NotUnderstood:
        return
    assert str(fixing.rates["USD"].value) == whole.replace(",", ".")
