"""The adapters, with recorded responses of the real banks."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from fractions import Fraction
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from lxml import etree

from service.domain.fixing import Fixing, Series
from service.errors import NotUnderstood
from service.settings import load
from service.settings.loader import ROOT
from service.sources.banks import SOURCES
from service.sources.registry import validate
from service.validation.published_change import check
from service.validation.rules import ValidationContext, judge
from tests.sources.answers import CONFIGURED, RecordingSession, parse, response_of
from tests.support.fixings import day

EXAMPLE = load(ROOT / "config" / "example.toml", environ={})
# Patterns that find each bank's rates in the raw text, independently of the adapters. If a day precedes its
# rates, a match with nothing but a day is the heading of those after it.
RAW = {
    "nbk": r"<date>(?P<day>[\d.]+)</date>"
    r"|<title>(?P<code>\w+)</title>\s*<description>(?P<value>.+)</description>\s*<quant>(?P<nominal>\d+)</quant>",
    "cbr": r'Date="(?P<day>[\d.]+)"'
    r"|<CharCode>(?P<code>\w+)<.*?<Nominal>(?P<nominal>\d+)<.*?<Value>(?P<value>[^<]+)<",
    "ecb": r"(?m)^D,(?P<code>\w+),(?P<day>[^,]+),(?P<value>[\d.]+)$",
    "nbu": r'"exchangedate":"(?P<day>[^"]+)".*"cc":"(?P<code>\w+)".*"rate":(?P<value>[^,]+),"units":(?P<nominal>\d+)',
    "cbu": r'"Ccy":"(?P<code>\w+)"[^}]*"Nominal":"(?P<nominal>\d+)","Rate":"(?P<value>.+?)"[^}]*"Date":"(?P<day>.+?)"',
    "nbrb": r'"Date":"(?P<day>.{10})T[^}]*?"(?P<code>[A-Z]{3})","Cur_Scale":(?P<nominal>\d+),'
    r'[^}]*"Cur_OfficialRate":(?P<value>[^}]+)}',
    "nbkr": r'Date="(?P<day>.+?)"'
    r'|ISOCode="(?P<code>\w+)">\s*<Nominal>(?P<nominal>\d+)</Nominal>\s*<Value>(?P<value>[^<]+)<',
    "nbg": r'"date":"(?P<day>.{10})T[^"]*","currencies"'
    r'|"code":"(?P<code>\w+)","quantity":(?P<nominal>\d+),.*?"rate":(?P<value>[\d.]+),',
    "nbm": r'Date="(?P<day>.+?)"'
    r"|<CharCode>(?P<code>\w+)</CharCode>\s*<Nominal>(?P<nominal>\d+)</Nominal>\s*<Name>.*</Name>\s*"
    r"<Value>(?P<value>[^<]+)<",
    "cba": r"<Rate>(?P<value>[^<]+)</Rate><Amount>(?P<nominal>\d+)</Amount><ISO>(?P<code>\w+)</ISO>"
    r"<Diff>[^<]+</Diff><RateDate>(?P<day>.{10})T",
    "nbp": r'"effectiveDate":"(?P<day>[^"]+)"|"code":"(?P<code>\w+)","mid":(?P<value>[\d.]+)}',
    "cnb": r'"(?P<code>[A-Z]{3})","amount":(?P<nominal>\d+),"validFor":"(?P<day>[^"]+)","rate":(?P<value>[^}]+)}',
    "bnr": r'<Cube date="(?P<day>[^"]+)">'
    r'|<Rate currency="(?P<code>\w+)"(?: multiplier="(?P<nominal>\d+)")?>(?P<value>[^<]+)</Rate>',
    "mnb": r'date="(?P<day>[^"]+)"|unit="(?P<nominal>\d+)" curr="(?P<code>\w+)"&gt;(?P<value>[^&]+)&lt;',
    "boc": r'"d": "(?P<day>[^"]+)"|"FX(?P<code>\w{3})CAD": \{\s*"v": "(?P<value>[^"]+)"',
    "nb": r"(?m)^B,(?P<code>(?!TWI)[A-Z]{3}),NOK,SP,\d,\w+,(?P<power>\d),C,(?P<day>[^,]+),(?P<value>.+)$",
    "rb": r'"SEK(?P<code>\w{3})PMI","date":"(?P<day>[^"]+)","value":(?P<value>[^}]+)}',
    "boi": r"(?m)^RER_(?P<code>\w{3})_ILS,.*,(?P<power>\d),,(?P<day>[\d-]+),(?P<value>[\d.]+),YP$",
    "fbil": r'"(?P<day>[\d-]{10}) 00:00:00","subProdName":"INR / (?P<nominal>\d+) (?P<code>\w+)"'
    r'.+?"rate":(?P<value>[\d.]+)',
}
RAW["nbt"] = RAW["nbm"]
BOE = re.findall(
    r"\w+", "USD EUR JPY CAD CHF AUD NZD NOK SEK DKK HKD SGD SAR ZAR TWD CZK HUF PLN ILS MYR THB CNY KRW TRY INR RON"
)
"""The currencies of the Bank of England's columns, in order; verified by a test below."""
BANKS = (*RAW, "boe", "bom", "rba")
MIN_RATES = {
    "nbk": 2 * 39,
    "cbr": 50,
    "ecb": 20 * 25,
    "nbu": 16 * 40,
    "cbu": 2 * 75,
    "nbrb": 30,
    "nbkr": 5,
    "nbg": 2 * 42,
    "nbm": 2 * 40,
    "cba": 13 * 30,
    "nbt": 2 * 36,
    "nbp": 4 * 32,
    "cnb": 65 * 30,
    "bnr": 157 * 37,
    "mnb": 5 * 32,
    "boc": 5 * 23,
    "boe": 4 * 26,
    "nb": 7 * 35,
    "rb": 4 * 29,
    "boi": 26,
    "fbil": 3 * 6,
    "bom": 4 * 38,
    "rba": 14_800,
}
LATER = {"nbk": set(re.findall(r"\w+", "EGP IDR ILS MNT OMR PKR QAR RON VND")), "boc": {"PLN"}}
"""Currencies that were added after the recordings."""
OTHER_DOCUMENTS = re.compile(r"XML_dynamic|dynamics|weekly|tableB|latest")
"""Recorded responses that no adapter requests."""


def bodies(recordings: Path, key: str) -> dict[str, bytes]:
    """Return the recorded responses of a bank by file, only those that its adapter requests."""
    names = [entry["file"] for entry in json.loads((recordings / key / "index.json").read_text())]
    return {name: (recordings / key / name).read_bytes() for name in names if not OTHER_DOCUMENTS.match(name)}


def parsed_by_year(key: str, body: bytes) -> Iterator[Fixing]:
    """Parse a response as the service does: of a whole history, a year at a time."""
    if not SOURCES[key].whole_history:
        yield from parse(key, body)
        return
    for year in range(2023, 2027):
        yield from SOURCES[key].parse(replace(response_of(key, body), since=date(year, 1, 1), until=date(year, 12, 31)))


def raw_rates(key: str, body: bytes) -> Counter[tuple[str, str, str, int]]:
    text = body.decode("windows-1251" if key in ("cbr", "nbkr") else "utf-8")
    if key == "boe":
        rows = [line.split(",") for line in text.splitlines()[1:]]
        return Counter(
            (f"2026-03-{row[0].removesuffix(' Mar 2026')}", code, value, 1)
            for row in rows
            for code, value in zip(BOE, row[1:], strict=True)
        )
    if key == "bom":
        return Counter(
            (on, code.replace("SDR", "XDR"), value.replace(",", ""), 1)
            for on, rates in re.findall(r'{"RATE_DATE":"([\d-]+)",([^}]+)}', text)
            for code, value in re.findall(r'"(\w+)":"([\d,.]+)"', rates)
        )
    if key == "rba":
        lines = [line.split(",") for line in text.splitlines()]
        (codes,) = ([code.replace("SDR", "XDR") for code in line[1:]] for line in lines if line[0] == "Units")
        return Counter(
            (str(datetime.strptime(line[0], "%d-%b-%Y").date()), code, value, 1)
            for line in lines
            if line[0][:1].isdigit()
            for code, value in zip(codes, line[1:], strict=True)
            if value and code != "Index"
        )
    on, rates = "", Counter[tuple[str, str, str, int]]()
    for match in re.finditer(RAW[key], text):
        groups = match.groupdict()
        on = groups.get("day") or on
        if groups["code"]:
            rates[_iso(on), groups["code"], groups["value"].replace(",", "."), _nominal(groups)] += 1
    return rates


def _nominal(groups: dict[str, str | None]) -> int:
    power, nominal = int(groups.get("power") or 0), int(groups.get("nominal") or 1)
    return int(10**power) * nominal


def _iso(published: str) -> str:
    return published if "-" in published else "-".join(reversed(published.split(".")))


def fixings(recordings: Path, key: str) -> list[Fixing]:
    """Return all recorded fixings of a bank, oldest first."""
    found = (fixing for body in bodies(recordings, key).values() for fixing in parsed_by_year(key, body))
    return sorted(found, key=lambda fixing: fixing.date)


@pytest.mark.parametrize("key", BANKS)
def test_every_recorded_rate_is_parsed_to_its_digits(recordings: Path, key: str) -> None:
    """Dates, codes, digits and nominals are exactly those found by a pattern in the raw text."""
    compared = 0
    for body in bodies(recordings, key).values():
        rates = raw_rates(key, body)
        assert rates == Counter(
            (str(fixing.date), code, str(rate.value), rate.nominal)
            for fixing in parsed_by_year(key, body)
            for code, rate in fixing.rates.items()
        )
        compared += rates.total()
    assert compared >= MIN_RATES[key]


def test_older_format_of_the_turkish_bank_is_parsed(recordings: Path) -> None:
    """The recorded response is of 2016: each rate is the exact mean of buying and selling."""
    body = (recordings / "tcmb" / "today.xml").read_bytes()
    raw = re.findall(
        r'CurrencyCode="(\w+)".*?<Unit>(\d+)<.*?<ForexBuying>([\d.]+)<.*?<ForexSelling>([\d.]*)<',
        body.decode("iso-8859-9"),
        re.DOTALL,
    )
    (fixing,) = parse("tcmb", body)
    assert fixing.date == date(2016, 3, 15)
    assert {code: Fraction(rate.value) / rate.nominal for code, rate in fixing.rates.items()} == {
        code: (Fraction(buying) + Fraction(selling or buying)) / 2 / int(unit) for code, unit, buying, selling in raw
    }
    assert len(raw) == 19


@pytest.mark.parametrize("key", BANKS)
def test_no_recorded_rate_is_suspicious(recordings: Path, key: str) -> None:
    """All recorded fixings, validated in order, are published."""
    series = Series()
    for fixing in fixings(recordings, key):
        assert judge(fixing, series, ValidationContext(fixing.date)).reasons == ()
        series = series.with_fixing(fixing, 100)


@pytest.mark.parametrize(("key", "at_least"), [("nbk", 39), ("cbu", 75), ("nbg", 42), ("cba", 12 * 30)])
def test_computed_change_equals_the_published_one(recordings: Path, key: str, at_least: int) -> None:
    """New minus old equals the bank's own field exactly, in all currencies of every recorded pair."""
    compared = 0
    for old, new in pairwise(fixings(recordings, key)):
        computed = {code: rate.value - old.rates[code].value for code, rate in new.rates.items()}
        assert computed == {code: rate.change for code, rate in new.rates.items()}
        assert check(new, old, CONFIGURED[key]).differences == ()
        compared += len(computed)
    assert compared >= at_least


@pytest.mark.parametrize("key", BANKS)
def test_every_bank_has_the_euro_above_the_dollar(recordings: Path, key: str) -> None:
    """Direction and nominals are right: the euro is between 1.05 and 1.25 dollars, and was above 1 in 2023 to 2025."""
    for fixing in fixings(recordings, key):
        lowest = 1 if key == "rba" and fixing.date < date(2026, 1, 1) else Fraction("1.05")
        assert lowest < fixing.value("EUR") / fixing.value("USD") < Fraction("1.25")


def test_series_of_the_bank_of_england_are_the_assumed_currencies(recordings: Path) -> None:
    """The codes name no currency: each rate is within 1 % of the cross by the ECB or Canada on that day."""
    others = {(key, item.date): item for key in ("ecb", "boc") for item in fixings(recordings, key)}
    compared = set()
    for fixing in fixings(recordings, "boe"):
        for other in (others[pair] for pair in (("ecb", fixing.date), ("boc", fixing.date)) if pair in others):
            for code in fixing.rates.keys() & {other.base, *other.rates}:
                assert abs(fixing.value(code) / (other.value(code) / other.value("GBP")) - 1) < Fraction("0.01"), code
                compared.add(code)
    assert compared == set(BOE)


def test_shipped_sample_data_equals_the_recordings(recordings: Path) -> None:
    """`recorded.csv` has all digits, nominals, changes and digests of the recordings."""
    shipped = Path(__file__).parents[2] / "service" / "sources" / "banks" / "recorded.csv"
    sample_fixings = parse("recorded", shipped.read_bytes())
    index = {entry["file"]: entry for entry in json.loads((recordings / "nbk" / "index.json").read_text())}
    for fixing, (name, body) in zip(sample_fixings, bodies(recordings, "nbk").items(), strict=True):
        (published,) = SOURCES["nbk"].parse(response_of("nbk", body, index[name]["url"]))
        assert (fixing.date, fixing.url) == (published.date, published.url)
        assert fixing.rates == published.rates
        assert [str(rate.value) for rate in fixing.rates.values()] == [str(r.value) for r in published.rates.values()]
        assert fixing.digest == sha256(body).hexdigest()
        assert fixing.fetched_at == datetime.strptime(
            index[name]["recorded_at"] + "+0000", "%a, %d %b %Y %H:%M:%S GMT%z"
        )
    with shipped.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == sum(len(fixing.rates) for fixing in sample_fixings)


@pytest.mark.parametrize("key", BANKS)
def test_recorded_documents_of_others_are_rejected(recordings: Path, key: str) -> None:
    """Every recorded document of another bank, or of another kind, is rejected."""
    # Moldova uses exactly Russia's format: only the URL and the name in the header differ.
    twins = {"cbr": {"nbm"}, "nbm": {"cbr"}}.get(key, set())
    own = bodies(recordings, key)
    foreign = [
        path
        for path in sorted(recordings.glob("*/*"))
        if path.suffix in {".xml", ".json", ".csv"}
        and (path.parent.name, path.name in own) != (key, True)
        and path.parent.name not in twins
    ]
    for path in foreign:
        with pytest.raises(NotUnderstood):
            raise AssertionError(f"{path} was accepted as {key}: {parse(key, path.read_bytes())[:1]}")
    assert len(foreign) > 30


@pytest.mark.parametrize(
    ("key", "since", "until"),
    [
        ("nbk", day(1), day(2)),
        ("nbu", day(1, 3), day(16, 3)),
        ("cbu", day(1), day(2)),
        ("nbkr", day(24, 5), day(24, 5)),
        ("nbg", day(2, 3), day(3, 3)),
        ("nbm", day(6), day(7)),
        ("cba", day(1, 3), day(19, 3)),
        ("nbt", day(18, 5), day(19, 5)),
        ("nbp", day(1, 3), day(5, 3)),
        ("cnb", day(1), day(2)),
        ("bnr", day(18, 8), day(19, 8)),
        ("mnb", date(2025, 3, 24), date(2025, 3, 28)),
        ("boc", day(12, 3), day(9)),  # up to today: the request has no end
        ("boe", day(17, 3), day(20, 3)),
        ("nb", day(16, 3), day(24, 3)),
        ("rb", day(24, 3), day(28, 3)),
        ("boi", day(1, 3), day(20, 3)),
        ("fbil", day(17, 3), day(21, 3)),
        ("bom", day(19, 5), day(22, 5)),
        ("rba", day(20, 3), day(20, 3)),
    ],
)
async def test_requests_equal_the_recorded_ones(recordings: Path, key: str, since: date, until: date) -> None:
    """Base and path form the URL that the bank responded to, and a SOAP request the same operation."""
    index = json.loads((recordings / key / "index.json").read_text())
    known = [entry for entry in index if not OTHER_DOCUMENTS.match(entry["file"])]
    session = RecordingSession(key, url=CONFIGURED[key].url)
    urls = [payload.url async for payload in SOURCES[key].fetch(session, since, until)]
    assert [_split_url(url) for url in urls] == [_split_url(entry["url"]) for entry in known]
    for (body, headers), entry in zip(session.posts, known if session.posts else [], strict=True):
        if headers["Content-Type"] == "application/json":
            assert body == entry["request"]
            continue
        assert headers["SOAPAction"] == entry["request"]["headers"]["soapaction"]
        assert headers["Content-Type"] == entry["request"]["headers"]["content-type"]
        sent, recorded = _elements(body), _elements(entry["request"]["body"])
        assert sent.keys() == recorded.keys()
        assert all(set(sent[name].split(",")) <= set(recorded[name].split(",")) for name in sent)


def _split_url(url: str) -> tuple[str, list[tuple[str, str]]]:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}", sorted(parse_qsl(parts.query, keep_blank_values=True))


def _elements(body: str) -> dict[str, str]:
    return {str(element.tag): (element.text or "").strip() for element in etree.fromstring(body.encode()).iter()}


@pytest.mark.parametrize(
    ("key", "on", "code", "digits"),
    [
        ("nbk", day(2), "USD", "475.09"),
        ("nbk", day(1), "JPY", "3"),
        ("cbr", day(25), "CNY", "11.0270"),
        ("ecb", day(18, 3), "USD", "1.15"),
        ("nbu", day(16, 3), "KZT", "9.0172"),
        ("cbu", day(2), "USD", "12142.10"),
        ("nbrb", day(17, 3), "AUD", "2.0700"),
        ("nbkr", day(24, 5), "USD", "87.4500"),
        ("nbg", day(28, 2), "CNY", "3.9010"),
        ("nbm", day(7), "CAD", "12.5900"),
        ("cba", day(18, 3), "IRR", "0.028677"),
        ("nbt", day(19, 5), "EUR", "10.8600"),
        ("nbp", day(2, 3), "IDR", "0.00021385"),
        ("cnb", day(2), "EUR", "24.540"),
        ("bnr", day(19, 8), "RUB", "0.0530"),
        ("mnb", date(2025, 3, 28), "GBP", "484.00"),
        ("boc", day(12, 3), "JPY", "0.008550"),
        ("boe", day(20, 3), "USD", "1.3302"),
        ("nb", day(24, 3), "JPY", "6.1065"),
        ("rb", day(24, 3), "AUD", "6.5"),
        ("boi", day(6, 3), "JPY", "1.966"),
        ("fbil", day(20, 3), "JPY", "58.940000"),
        ("bom", day(22, 5), "XAU", "16172267.24"),
        ("rba", day(20, 3), "IDR", "12039"),
    ],
)
def test_known_rates_are_parsed(recordings: Path, key: str, on: date, code: str, digits: str) -> None:
    """Rates read manually from the recorded documents, zeros included."""
    found = {fixing.date: fixing for fixing in fixings(recordings, key)}
    assert str(found[on].rates[code].value) == digits


@pytest.mark.parametrize("key", BANKS)
def test_registry_agrees_with_the_recordings(recordings: Path, key: str) -> None:
    """The registry lists all recorded currencies, later ones, and no start after the oldest recording."""
    recorded, source = fixings(recordings, key), CONFIGURED[key]
    not_requested = {"cba": {"XAU", "XAG"}}.get(key, set())  # per gram, see the adapter
    later = LATER.get(key, set())
    assert {code for fixing in recorded for code in fixing.rates} - not_requested == set(source.quotes) - later
    assert source.since is None or source.since <= recorded[0].date


def test_example_configuration_is_valid() -> None:
    """It loads as shipped, enables the banks that it names, and does not enable the relay."""
    assert validate(EXAMPLE).adapter("frankfurter_nbk") == "frankfurter"
    assert {key for ticker in EXAMPLE.tickers for key in ticker.sources} <= EXAMPLE.polled.keys()
    assert "frankfurter_nbk" not in EXAMPLE.polled
