"""Contract of all sources: a document that is not the bank's own is rejected, never read as "nothing new"."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice, pairwise, product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

import service.sources.banks
from service.domain.fixing import Fixing, Rate, Series
from service.errors import NotUnderstood
from service.settings.loader import DEFAULT
from service.sources.banks import SOURCES
from service.sources.parsing import MOST_PARTS
from service.sources.rate_table import MOST_CURRENCIES, MOST_DAYS
from service.validation.rules import ValidationContext, judge
from tests.sources.answers import ADAPTERS, EXAMPLES, FIXTURES, URL, document, folder, parse, response_of
from tests.support.standin import RawRates, nbu

HTML = b'<html lang="ru"><head><title>Access denied</title></head><body>Are you a robot?</body></html>\n'
LAST_DAY = date(2100, 1, 1)
TWINS = ({"cbr", "nbm", "russia"}, *({key, bank} for key, bank in EXAMPLES.items()))
"""Sources with the same format, so that only the URL identifies the document."""


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
    main: str = "USD"
    """The currency of `rate`."""
    other: str = "GBP"
    """Another quoted currency."""
    nominal: tuple[str, str] | None = None
    grouped: bool = False
    """Whether commas separate thousands."""
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
        return {
            ".xml": "is not well-formed XML",
            ".json": "is not JSON",
            ".csv": "is truncated",
            ".html": "is truncated",
        }[self.suffix]


def _format_of(key: str) -> Format:
    table: dict[str, Any] = tomllib.loads((folder(key) / "wire.toml").read_text(encoding="utf-8"))
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    return Format(**fields)


FORMATS = {key: _format_of(key) for key in ADAPTERS if key != "recorded"}

EMPTY_DOCUMENTS = [
    *((path.parent.name, path.read_bytes()) for path in sorted(FIXTURES.glob("*/nothing*"))),
    ("nbk", document("nbk", "not-set.xml")),
    ("ecb", b""),
    ("ecb", b" \r\n\t "),
    ("frankfurter", b"[[],[]]"),
    ("uzbekistan", document("cbu", "nothing.json")),
    ("britain", document("boe", "nothing.csv")),
]
"""Sources and their documents that mean "nothing is published". Other sources have none."""

Fault = tuple[str, bytes, str]
"""Its name, the document with the error, and a pattern of the error message."""


def substituted(body: bytes, old: str, new: str | bytes, count: int = 1) -> bytes:
    assert old.encode() in body, "the fault does not change the document"
    return body.replace(old.encode(), new if isinstance(new, bytes) else new.encode(), count)


def with_rate(key: str, number: str | bytes) -> bytes:
    format_ = FORMATS[key]
    number = number if isinstance(number, bytes) else number.encode()
    return substituted(
        document(key, format_.name),
        format_.rate[0].replace("{}", format_.rate[1]),
        format_.rate[0].encode().replace(b"{}", number),
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
    yield (
        "HTML after a comment",
        b"<!-- error -->" + HTML,
        "has the root <html>|is not JSON|lacks (?:the columns|a table)",
    )
    yield "a word", b"Service Unavailable\n", "is not well-formed XML|is not JSON|lacks (?:the columns|a table)"
    yield "half of it", body[: len(body) // 2], format_.malformed
    yield "nine tenths of it", body[: len(body) * 9 // 10], format_.malformed
    banks = [other for other in FORMATS if other in SOURCES and other != key]
    for other in (other for other in banks if not any({key, other} <= twins for twins in TWINS)):
        other_document = document(other, FORMATS[other].name)
        expected = (
            "has the root|is not (?:well-formed XML|JSON|a JSON|CSV|HTML)|lacks|is truncated|where a date is expected"
        )
        yield f"foreign: {other}", other_document, expected + ("|has no rows" if key in EXAMPLES else "")
    # The document of this bank joins several, of which each has a root.
    count = -1 if format_.suffix == ".xml" or key == "fred" else 1
    other_root = substituted(body, *format_.root, count=count)
    other_root += b"}" if format_.root[0] == "[" else b""
    yield (
        "another root",
        other_root,
        "has the root|is not a JSON array of (?:arrays of )?objects|"
        "lacks (?:the columns|observations|rates|data|a table)" + ("|lacks rows, an array" if key in EXAMPLES else ""),
    )
    if format_.has_json_numbers:
        for literal in ("NaN", "n/a", "Infinity", "-Infinity", "0x1F", "1_000", "47 877", "", "1,234", "١٢٣"):
            yield f"a rate of {literal}", with_rate(key, literal), "is not JSON|lacks"
    if key == "boe":  # its documents name series instead of currencies
        yield "a currency twice", substituted(body, "XUDLERS", "XUDLUSS"), "has a duplicate column"
        yield "a series of its own", substituted(body, "XUDLUSS", "XUDLXXX"), "has the unknown series 'XUDLXXX'"
    yield from _byte_faults(key, format_, body)


def odd_dates(key: str) -> Iterator[Fault]:
    """Yield documents whose first date cannot be read: that of the document, of a day or of a row."""
    format_ = FORMATS[key]
    body = document(key, format_.name)
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


def _date(format_: Format) -> str:
    found = re.search(r"[\d.-]{10}|\d+[ -]\w+[ -]\d{4}", format_.date[0])
    assert found
    return found[0]


def odd_entries(key: str) -> Iterator[Fault]:
    """Yield documents in which one rate, nominal or code cannot be read."""
    yield from _odd_rates(key, FORMATS[key])
    yield from _odd_nominals(key, FORMATS[key])
    if key in ("boe", "britain", "fred", "cbuae"):  # their documents name series, or currencies in words
        return
    format_ = FORMATS[key]
    body = document(key, format_.name)
    usd, other = (format_.code.replace("{}", code) for code in ("USD", format_.other))
    if key not in ("boc", "rba", "bom"):  # there it is a duplicate name
        yield "a currency twice", substituted(body, other, usd), r"quotes USD twice for 202\d-"
    for code in ("usd", "US", "USDT", "840"):
        odd = substituted(body, usd, format_.code.replace("{}", code))
        yield f"a code {code}", odd, f"has '{code}' where a currency code is expected"


def _odd_rates(key: str, format_: Format) -> Iterator[Fault]:
    expected = f"where a number is expected for {format_.main} on 202"
    yield "a rate of 400 digits", with_rate(key, "1" * 400), expected
    if format_.has_json_numbers:
        yield "a rate that is quoted text", with_rate(key, '"n/a"'), f"has 'n/a' {expected}"
        for literal in ("null", "true", "[1]", '{"a":1}'):
            yield f"a rate of {literal}", with_rate(key, literal), r"lacks \w+ in a row"
        yield "a rate with a large exponent", with_rate(key, "1E+500"), expected
        yield "a rate with an exponent of 5,000 digits", with_rate(key, f"1E+{'9' * 5000}"), expected
        return
    for number in ("n/a", "Bank", "Infinity", "-Infinity", "1e3", "1E+500", "0x1F", "1_000", "47 877", "١٢٣"):
        yield f"a rate of {number}", with_rate(key, number), expected
    # An empty value means "not quoted" where the form has a field for each, as NaN does in SDMX: see `test_<key>`.
    if key != "ecb":
        yield "a rate of NaN", with_rate(key, "NaN"), expected
    if key not in ("ecb", "boc", "boe", "britain", "rba", "bom"):
        yield "an empty rate", with_rate(key, ""), f"{expected}|lacks <"
    # The decimal mark decides between a thousand and a little more than one: a bank always writes the same.
    if format_.suffix != ".csv":
        foreign = "1,23" if format_.grouped else "1.234" if "," in format_.rate[1] else "1,234"
        yield "a rate with the other decimal mark", with_rate(key, foreign), expected


def _odd_nominals(key: str, format_: Format) -> Iterator[Fault]:
    if not format_.nominal:
        return
    suffix, nominal = format_.nominal
    is_json_number = format_.suffix == ".json" and '"{}"' not in suffix
    for number in ("0", "-1", "1.5", "10000000000", *(() if is_json_number else ("1e2",))):
        odd = substituted(document(key, format_.name), suffix.replace("{}", nominal), suffix.replace("{}", number))
        yield f"a nominal of {number}", odd, "a nominal is expected"


def _byte_faults(key: str, format_: Format, body: bytes) -> Iterator[Fault]:
    malformed = {".csv": "is not CSV in UTF-8", ".html": "is not HTML in UTF-8"}.get(format_.suffix, format_.malformed)
    if b"windows-1251" not in body:  # there every byte is a letter
        yield "bytes of no encoding", with_rate(key, b"\xff\xfe"), malformed
    yield "in UTF-16", body.decode("windows-1251", "replace").encode("utf-16"), "contains a null byte"
    if key == "cbr":
        yield "another encoding than declared", substituted(body, "windows-1251", "utf-8"), malformed
    if format_.suffix != ".xml":
        return
    declaration = re.compile(rb"<\?xml[^>]*>")
    for encoding in ("koi8-r", "utf-7", "cp037"):
        declared = f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + declaration.sub(b"", body)
        yield f"written in {encoding}", declared, f"has the unsupported encoding {encoding}|{malformed}"
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
    assert (
        {path.name for path in FIXTURES.iterdir()} == SOURCES.keys() - {"recorded"} == FORMATS.keys() - EXAMPLES.keys()
    )


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


@pytest.mark.parametrize("key", FORMATS)
def test_invalid_document_is_rejected_with_a_clear_error(key: str, subtests: pytest.Subtests) -> None:
    """`NotUnderstood`, in one line, names the source, the problem and the URL."""
    for fault, body, expected in faults(key):
        with subtests.test(fault):
            with pytest.raises(NotUnderstood) as refused:
                parse(key, body)
            assert re.fullmatch(rf"{key}: the response .*(?:{expected}).* \({re.escape(URL)}\)", str(refused.value))
            assert (refused.value.source, refused.value.url) == (key, URL)


@pytest.mark.parametrize("key", FORMATS)
def test_odd_entry_is_left_out_alone(key: str, subtests: pytest.Subtests) -> None:
    """The problem is named; all other rates of the document are used, unchanged."""
    whole = rates_of(parse(key, document(key, FORMATS[key].name)))
    for fault, body, expected in odd_entries(key):
        with subtests.test(fault):
            parsed = parse(key, body)
            assert len(parsed.left_out) == 1
            assert re.search(expected, parsed.left_out[0])
            missing = whole.keys() - rates_of(parsed).keys()
            assert rates_of(parsed) == {place: rate for place, rate in whole.items() if place not in missing}
            codes = {code for _, code in missing}
            assert len(missing) <= 2  # two, if one of them has the code of the other
            assert codes <= {FORMATS[key].main, FORMATS[key].other} or "nominal" in expected


@pytest.mark.parametrize("key", FORMATS)
def test_odd_date_is_left_out_or_rejected(key: str, subtests: pytest.Subtests) -> None:
    """A day, or a row, without a readable date is left out; a document without one is rejected. No rate is changed."""
    whole = rates_of(parse(key, document(key, FORMATS[key].name)))
    for fault, body, expected in odd_dates(key):
        with subtests.test(fault):
            try:
                parsed = parse(key, body)
            except NotUnderstood as error:
                assert re.search(expected, str(error))  # noqa: PT017 - one of two results
            else:
                assert re.search(expected, parsed.left_out[0])
                assert rates_of(parsed).items() < whole.items()


@pytest.mark.parametrize("key", FORMATS)
def test_document_of_odd_entries_is_rejected(key: str) -> None:
    """If most rates cannot be read it is another document, for example with another decimal mark."""
    format_ = FORMATS[key]
    body = document(key, format_.name)
    digits = re.compile(rb"(\d)[.,](\d+)")
    with pytest.raises(NotUnderstood):
        parse(key, digits.sub(rb"\1~\2", body))


@pytest.mark.parametrize("key", [key for key in FORMATS if FORMATS[key].has_json_numbers])
@pytest.mark.parametrize(("number", "digits"), [("4.7509E2", "475.09"), ("47509e-2", "475.09"), ("5E-3", "0.005")])
def test_json_number_with_an_exponent_is_read(key: str, number: str, digits: str) -> None:
    """It is a number as JSON allows it, of the same digits."""
    parsed = parse(key, with_rate(key, number))
    assert (str(parsed[0].rates["USD"].value), parsed.left_out) == (digits, ())


@pytest.mark.parametrize("key", [key for key in FORMATS if ADAPTERS[key].publishes_changes])
def test_odd_change_is_left_out_without_its_rate(key: str) -> None:
    """The bank's own change is only compared with ours: the rate is used without it."""
    body = document(key, FORMATS[key].name)
    whole = parse(key, body)
    change = next(rate.change for rate in whole[0].rates.values() if rate.change)
    place = re.compile(rb'(<change>|<Diff>|"Diff": ?"|"diff":)%b' % re.escape(str(change).encode()))
    odd, count = place.subn(lambda found: found[1] + (b'"n/a"' if found[1] == b'"diff":' else b"n/a"), body, count=1)
    assert count == 1
    parsed = parse(key, odd)
    assert len(parsed.left_out) == 1
    assert "'n/a' where a number is expected for the change of" in parsed.left_out[0]
    without_changes = [
        {place: (rate.value, rate.nominal) for place, rate in rates_of(fixings).items()} for fixings in (whole, parsed)
    ]
    assert without_changes[0] == without_changes[1]


def test_unreadable_rate_before_the_requested_dates_is_not_reported() -> None:
    """A year's document keeps a cell of January until December."""
    body = with_rate("cnb", '"n/a"')
    first, *others = parse("cnb", document("cnb", FORMATS["cnb"].name))
    response = replace(response_of("cnb", body), since=first.date + timedelta(days=1))
    parsed = SOURCES["cnb"].parse(response)
    assert (list(map(rates_of, [parsed])), parsed.left_out) == ([rates_of(others)], ())


def rates_of(fixings: Iterable[Fixing]) -> dict[tuple[date, str], Rate]:
    return {(fixing.date, code): rate for fixing in fixings for code, rate in fixing.rates.items()}


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
def test_duplicate_rates_are_not_used(key: str, begin: str, end: str, before: str) -> None:
    """Which of two places with rates of the same day is right is unknown (found by fuzzing)."""
    text = document(key, FORMATS[key].name).decode()
    start = text.index(begin)
    part = text[start : text.index(end, start) + len(end)]
    doubled = text.replace(before, part + before, 1).encode()
    if "Day" in begin or "Cube" in begin:
        parsed, (day,) = parse(key, doubled), re.findall(r"\d{4}-\d\d-\d\d", begin)
        expected_rates = {
            place: rate for place, rate in rates_of(parse(key, text.encode())).items() if str(place[0]) != day
        }
        assert rates_of(parsed) == expected_rates != {}
        assert f"quotes USD twice for {day}" in parsed.left_out[0]
    else:
        with pytest.raises(NotUnderstood, match=r"quotes USD twice for|has <\w+Result> twice"):
            parse(key, doubled)


@pytest.mark.parametrize("column", ["FREQ", "CURRENCY_DENOM", "UNIT_MULT"])
def test_euro_rate_with_another_meaning_is_rejected(column: str) -> None:
    """A monthly rate, one of another denominator, or one scaled by a power of ten."""
    header, first, *rest = document("ecb", "2026-03-17-to-18.csv").decode().splitlines(keepends=True)
    cells = first.rstrip("\n").split(",")
    at = -1 if column == "UNIT_MULT" else header.split(",").index(column)  # a title before the last column has commas
    cells[at] = "2"
    with pytest.raises(NotUnderstood, match=f"has '2' as {column} instead of"):
        parse("ecb", "".join([header, ",".join(cells) + "\n", *rest]).encode())


@pytest.mark.parametrize("key", FORMATS)
def test_rate_that_is_not_positive_is_parsed_and_quarantined(key: str, subtests: pytest.Subtests) -> None:
    """Adapters do not validate: the rate is parsed as published and quarantined by the rules."""
    mark = "," if "," in FORMATS[key].rate[1] and not FORMATS[key].grouped else "."
    main = FORMATS[key].main
    for number in ("0", "0.00", "-0", "-478.77"):
        with subtests.test(number):
            fixing = ADAPTERS[key].parse(response_of(key, with_rate(key, number.replace(".", mark))))[0]
            assert str(fixing.rates[main].value) == number
            judged = judge(fixing, Series(), ValidationContext(LAST_DAY))
            assert judged.reasons == (f"{main} is {number} for 1, not a positive finite rate",)
            assert judged.held is not None
            assert judged.held.rates.keys() == {main}


@pytest.mark.parametrize("inside", ["<!-- -->", "<?pi?>", "<b/>"])
@pytest.mark.parametrize("key", [key for key in FORMATS if FORMATS[key].suffix == ".xml"])
def test_value_is_not_truncated(key: str, inside: str) -> None:
    """A comment, an instruction or an element inside a rate never truncates it."""
    whole = FORMATS[key].rate[1]
    try:
        parsed = parse(key, with_rate(key, f"{whole[:2]}{inside}{whole[2:]}"))
    except NotUnderstood:
        assert key == "mnb"  # there it is inside the text of another document
        return
    if "USD" in parsed[0].rates:
        assert str(parsed[0].rates["USD"].value) == whole.replace(",", ".")
    else:
        assert len(parsed.left_out) == 1
