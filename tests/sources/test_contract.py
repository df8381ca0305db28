"""What holds for every source: a document that is not the bank's own is refused, never taken for "nothing new"."""

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
from tests.sources.answers import FIXTURES, URL, answer, document, parse
from tests.support.standin import RawRates, nbu

HTML = b'<html lang="ru"><head><title>Access denied</title></head><body>Are you a robot?</body></html>\n'
FAR = date(2100, 1, 1)
TWINS = {"cbr", "nbm"}
"""Who write one format, so that only the address tells whose document it is."""


@dataclass(frozen=True)
class Wire:
    """Where in a bank's document is what a fault touches; `{}` stands for a figure."""

    name: str
    rate: tuple[str, str]
    date: tuple[str, str]
    """The first date, in its field, and the field left out."""
    root: tuple[str, str]
    """What makes it this bank's document, and something else instead."""
    code: str
    other: str = "GBP"
    """A currency that it quotes besides the dollar."""
    nominal: tuple[str, str] | None = None
    always_rates: bool = False
    """Whether it responds with its last rates, or with status 404, where it has published nothing."""

    @property
    def form(self) -> str:
        return Path(self.name).suffix

    @property
    def bare(self) -> bool:
        """Whether its figures are JSON numbers, so that other text is no JSON at all."""
        return self.form == ".json" and '"{}"' not in self.rate[0]

    @property
    def malformed(self) -> str:
        return {".xml": "is not well-formed XML", ".json": "is not JSON", ".csv": "is truncated"}[self.form]


def _wire(key: str) -> Wire:
    table: dict[str, Any] = tomllib.loads((FIXTURES / key / "wire.toml").read_text(encoding="utf-8"))
    fields: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in table.items()}
    return Wire(**fields)


WIRES = {key: _wire(key) for key in SOURCES if key != "recorded"}

NOTHING = [
    *((path.parent.name, path.read_bytes()) for path in sorted(FIXTURES.glob("*/nothing*"))),
    ("nbk", document("nbk", "not-set.xml")),
    ("ecb", b""),
    ("ecb", b" \r\n\t "),
    ("frankfurter", b"[[],[]]"),
]
"""Whose document says that nothing is published, and the document. Of every other source there is none."""

Fault = tuple[str, bytes, str]
"""Its name, the document with it, and what the error says of it (a pattern)."""


def swapped(body: bytes, old: str, new: str | bytes, count: int = 1) -> bytes:
    assert old.encode() in body, "a fault that changes nothing proves nothing"
    return body.replace(old.encode(), new if isinstance(new, bytes) else new.encode(), count)


def with_rate(key: str, figure: str | bytes) -> bytes:
    wire = WIRES[key]
    before, after = wire.rate[0].split("{}")
    figure = figure if isinstance(figure, bytes) else figure.encode()
    return swapped(
        document(key, wire.name), wire.rate[0].replace("{}", wire.rate[1]), before.encode() + figure + after.encode()
    )


def faults(key: str) -> Iterator[Fault]:
    wire = WIRES[key]
    body = document(key, wire.name)
    for number, empty in enumerate((b"", b" \r\n\t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n")):
        if (key, empty) not in NOTHING:
            yield f"empty {number}", empty, "is empty"
    yield "HTML with a doctype", b"\n<!DOCTYPE html>\n" + HTML, "is an HTML page"
    yield "HTML with a byte order mark", b"\xef\xbb\xbf<!doctype HTML>\n" + HTML, "is an HTML page"
    yield "HTML", HTML, "is an HTML page"
    yield "HTML after a comment", b"<!-- error -->" + HTML, "has the root <html>|is not JSON|lacks the columns"
    yield "a word", b"Service Unavailable\n", "is not well-formed XML|is not JSON|lacks the columns"
    yield "half of it", body[: len(body) // 2], wire.malformed
    yield "nine tenths of it", body[: len(body) * 9 // 10], wire.malformed
    for other in (other for other in WIRES if other != key and {key, other} != TWINS):
        foreign = document(other, WIRES[other].name)
        says = "has the root|is not (?:well-formed XML|JSON|a JSON|CSV)|lacks|is truncated|where a date is expected"
        yield f"foreign: {other}", foreign, says
    other_root = swapped(body, *wire.root, count=-1 if wire.form == ".xml" else 1)
    other_root += b"}" if wire.root[0] == "[" else b""
    yield (
        "another root",
        other_root,
        "has the root|is not a JSON array of (?:arrays of )?objects|lacks (?:the columns|observations|rates)",
    )
    yield "no date", swapped(body, *wire.date), "lacks|where a date is expected"
    yield "a date of text", swapped(body, _date(wire), "today"), "has 'today[^']*' where a date is expected"
    none = swapped(body, _date(wire), "31.02.2026")
    yield "a date that is none", none, "has '31.02.2026[^']*' where a date is expected"
    arabic = _date(wire).translate({ord("0") + digit: ord("٠") + digit for digit in range(10)})
    yield "a date in the digits of another script", swapped(body, _date(wire), arabic), "where a date is expected"
    yield from _of_numbers(key, wire, body)
    yield from _of_bytes(key, wire, body)


def _date(wire: Wire) -> str:
    found = re.search(r"[\d.-]{10}|\d+ \w+ \d{4}", wire.date[0])
    assert found
    return found[0]


def _of_numbers(key: str, wire: Wire, body: bytes) -> Iterator[Fault]:
    text = rate = "where a number is expected"
    if wire.bare:
        rate = f"{text}|is not JSON"
        yield "a rate that is quoted text", with_rate(key, '"n/a"'), f"has 'n/a' {text}"
        for literal in ("null", "true", "[1]", '{"a":1}'):
            yield f"a rate of {literal}", with_rate(key, literal), r"lacks \w+ in a row"
    # An empty value is "not quoted that day" where the form has a place for each, and NaN is so in SDMX: `test_<key>`.
    not_quoted = () if key == "ecb" else ("NaN",)
    for figure in (*not_quoted, "n/a", "Infinity", "-Infinity", "1e3", "1E+500", "0x1F", "1_000", "47 877", "1" * 400):
        yield f"a rate of {figure[:9]}", with_rate(key, figure), rate
    if key not in ("ecb", "boc", "boe"):
        yield "an empty rate", with_rate(key, ""), f"{rate}|lacks <"
    yield "a rate that is not ASCII", with_rate(key, "١٢٣"), rate
    # To the one a thousand and more, to the other a little more than one: a bank writes as it always does.
    foreign = "1.234" if "," in wire.rate[1] else "1,234"
    yield "a rate with the other decimal mark", with_rate(key, foreign), f"{rate}|another number of fields"
    if wire.nominal:
        form, nominal = wire.nominal
        for figure in ("0", "-1", "1.5", "1e2", "10000000000"):
            yield (
                f"a nominal of {figure}",
                swapped(body, form.replace("{}", nominal), form.replace("{}", figure)),
                "a nominal is expected",
            )
    if key == "boe":  # which names its series, and not currencies
        yield "a currency twice", swapped(body, "XUDLERS", "XUDLUSS"), "has a duplicate column"
        yield "a series of its own", swapped(body, "XUDLUSS", "XUDLXXX"), "has the unknown series 'XUDLXXX'"
        return
    usd, other = (wire.code.replace("{}", code) for code in ("USD", wire.other))
    yield "a currency twice", swapped(body, other, usd), r"quotes USD twice for 202\d-|an object has a duplicate name"
    for code in ("usd", "US", "USDT", "840"):
        yield (
            f"a code {code}",
            swapped(body, usd, wire.code.replace("{}", code)),
            f"has '{code}' where a currency code is expected",
        )


def _of_bytes(key: str, wire: Wire, body: bytes) -> Iterator[Fault]:
    malformed = {".csv": "is not CSV in UTF-8"}.get(wire.form, wire.malformed)
    # Every byte is a letter of windows-1251, so there the figure itself must show it.
    says = "where a number is expected" if b"windows-1251" in body else malformed
    yield "bytes of no encoding", with_rate(key, b"\xff\xfe"), says
    yield "in UTF-16", body.decode("windows-1251", "replace").encode("utf-16"), "contains a null byte"
    if key == "cbr":
        yield "another encoding than declared", swapped(body, "windows-1251", "utf-8"), malformed
    if wire.form != ".xml":
        return
    declaration = re.compile(rb"<\?xml[^>]*>")
    for encoding in ("koi8-r", "utf-7", "cp037"):
        declared = f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + declaration.sub(b"", body)
        yield f"written in {encoding}", declared, f"has the unsupported encoding {encoding}|{malformed}"
    element = wire.rate[0].replace("{}", wire.rate[1])
    if element.startswith("<"):
        yield "a rate twice", swapped(body, element, element * 2), r"has <\w+> twice in <|quotes USD twice"
    name = wire.root[0].rstrip(">")
    doctype = "has a document type declaration"
    bomb = '<!ENTITY a "9">' + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in pairwise("abcdefghij"))
    entities = {
        "an entity bomb": (bomb, "&j;"),
        "a file as entity": ('<!ENTITY a SYSTEM "file:///etc/hostname">', "&a;"),
        "an entity": ('<!ENTITY a "478.77">', "&a;"),
    }
    for fault, (entity, figure) in entities.items():
        spoilt = swapped(with_rate(key, figure), f"<{name}", f"<!DOCTYPE {name} [{entity}]><{name}")
        yield fault, spoilt, f"{doctype}|{malformed}"
    yield "a DOCTYPE", swapped(body, f"<{name}", f"<!DOCTYPE {name}><{name}"), doctype
    external = f'<!DOCTYPE {name} SYSTEM "http://bank.test/rates.dtd"><{name}'
    yield "an external DTD", swapped(body, f"<{name}", external), doctype
    if key == "cbr":  # entities in attributes are expanded by every parser
        spoilt = swapped(swapped(body, "25.04.2026", "&j;"), f"<{name}", f"<!DOCTYPE {name} [{bomb}]><{name}")
        yield "an entity bomb in an attribute", spoilt, f"{doctype}|{malformed}"


FAULTS = [pytest.param(key, body, says, id=f"{key}-{name}") for key in WIRES for name, body, says in faults(key)]


def test_no_source_is_forgotten() -> None:
    """Every adapter file is in SOURCES under its name, is configured, has tests, documents and a place in here."""
    folder = Path(service.sources.banks.__path__[0])
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(SOURCES)
    assert {key: type(source).__module__ for key, source in SOURCES.items()} == {
        key: f"service.sources.banks.{key}" for key in SOURCES
    }
    assert set(tomllib.loads(DEFAULT.read_text(encoding="utf-8"))["sources"]) == {
        key for key, adapter in SOURCES.items() if not adapter.relay
    }
    assert {path.name for path in FIXTURES.iterdir()} == SOURCES.keys() - {"recorded"} == WIRES.keys()


@pytest.mark.parametrize("key", WIRES)
def test_the_documents_of_these_tests_are_good_ones(key: str) -> None:
    """Without a fault the same document is figures without objections, so that each fault is the only one."""
    fixings = parse(key, document(key, WIRES[key].name))
    assert all(len(fixing.rates) >= 5 for fixing in fixings)
    judged = [judge(fixing, Series(), ValidationContext(FAR)) for fixing in fixings]
    assert [one.reasons for one in judged] == [()] * len(fixings) != []


@pytest.mark.parametrize(("key", "body"), NOTHING)
def test_documented_nothing_is_read_as_no_fixing(key: str, body: bytes) -> None:
    """No data is not a broken feed: what the bank answers where it has published nothing is an empty list."""
    assert parse(key, body) == []


def test_every_source_has_a_documented_nothing_or_always_rates() -> None:
    """A source either has a document that says so, or never answers without rates."""
    assert {key for key, _ in NOTHING} == {key for key, wire in WIRES.items() if not wire.always_rates}


@pytest.mark.parametrize(("key", "body"), NOTHING)
def test_truncated_nothing_is_refused(key: str, body: bytes) -> None:
    """A document that was cut off is never taken for nothing published, however little it holds."""
    whole = body.rstrip()
    for end in range(1, len(whole)):
        with pytest.raises(NotUnderstood):
            parse(key, whole[:end])


@pytest.mark.parametrize(("key", "body", "says"), FAULTS)
def test_what_is_not_the_banks_document_is_refused_in_one_clear_line(key: str, body: bytes, says: str) -> None:
    """Never an empty list: `NotUnderstood`, whose line names the source, what was wrong, and the URL."""
    with pytest.raises(NotUnderstood) as refused:
        parse(key, body)
    assert re.fullmatch(rf"{key}: the response .*(?:{says}).* \({re.escape(URL)}\)", str(refused.value))
    assert (refused.value.source, refused.value.url) == (key, URL)


@pytest.mark.parametrize(("days", "codes"), [(MOST_DAYS, 1), (1, MOST_CURRENCIES)])
def test_an_answer_has_no_more_than_a_bank_publishes(days: int, codes: int) -> None:
    """A year and more of days, and all the currencies there are: to judge more would cost us minutes."""

    def published(days: int, codes: int) -> bytes:
        figures: RawRates = {"".join(code): "1.5" for code in islice(product(ascii_uppercase, repeat=3), codes)}
        return nbu({date(2026, 1, 1) + timedelta(days=number): figures for number in range(days)})

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
def test_an_answer_has_no_more_parts_than_a_bank_writes(key: str, body: bytes) -> None:
    """Refused before it is parsed, which would hold up everything else."""
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
def test_what_is_said_of_an_answer_is_one_short_line(key: str, body: bytes) -> None:
    """Whatever the bank has sent, and the error quotes: it can be logged, stored and shown."""
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
def test_duplicated_rates_are_still_found(key: str, begin: str, end: str, before: str) -> None:
    """Of two places in a document that tell one day, neither is passed over in silence: fuzzing found this."""
    text = document(key, WIRES[key].name).decode()
    start = text.index(begin)
    part = text[start : text.index(end, start) + len(end)]
    with pytest.raises(NotUnderstood, match=r"quotes USD twice for|has <\w+Result> twice"):
        parse(key, text.replace(before, part + before, 1).encode())


@pytest.mark.parametrize("column", ["FREQ", "CURRENCY_DENOM", "UNIT_MULT"])
def test_euro_rate_with_another_meaning_is_refused(column: str) -> None:
    """Of a month, for another currency than the euro, or by a power of ten: not what we would show it as."""
    header, first, *rest = document("ecb", "2026-03-17-to-18.csv").decode().splitlines(keepends=True)
    cells = first.rstrip("\n").split(",")
    at = -1 if column == "UNIT_MULT" else header.split(",").index(column)  # a title before the last one has commas
    cells[at] = "2"
    with pytest.raises(NotUnderstood, match=f"has '2' as {column} instead of"):
        parse("ecb", "".join([header, ",".join(cells) + "\n", *rest]).encode())


@pytest.mark.parametrize("figure", ["0", "0.00", "-0", "-478.77"])
@pytest.mark.parametrize("key", WIRES)
def test_a_rate_that_is_not_positive_is_parsed_and_then_held(key: str, figure: str) -> None:
    """An adapter does not judge: such a rate is taken as published, and quarantined by the rules."""
    mark = "," if "," in WIRES[key].rate[1] else "."
    fixing = SOURCES[key].parse(answer(key, with_rate(key, figure.replace(".", mark))))[0]
    assert str(fixing.rates["USD"].value) == figure
    judged = judge(fixing, Series(), ValidationContext(FAR))
    assert judged.reasons == (f"USD is {figure} for 1, not a positive finite rate",)
    assert judged.held is not None
    assert judged.held.rates.keys() == {"USD"}


@pytest.mark.parametrize("inside", ["<!-- -->", "<?pi?>", "<b/>"])
@pytest.mark.parametrize("key", [key for key in WIRES if WIRES[key].form == ".xml"])
def test_value_is_parsed_whole_or_refused(key: str, inside: str) -> None:
    """A comment, an instruction or an element inside a figure never cuts it to a smaller one."""
    whole = WIRES[key].rate[1]
    body = with_rate(key, f"{whole[:2]}{inside}{whole[2:]}")
    try:
        (fixing,) = parse(key, body)
    except NotUnderstood:
        return
    assert str(fixing.rates["USD"].value) == whole.replace(",", ".")
