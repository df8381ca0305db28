"""The adapters against what the real banks really answered."""

import csv
import json
import re
from collections import Counter
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
from service.sources.banks import SOURCES, validate
from service.validation.published_change import check
from service.validation.rules import ValidationContext, judge
from tests.sources.answers import CONFIGURED, Asked, answer, parse
from tests.support.fixings import day

EXAMPLE = load(ROOT / "config" / "example.toml", environ={})
# Each bank's figures by another way than the adapters': a pattern over the raw text. Where a day stands before its
# figures, a match with nothing but a day is the heading of those after it.
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
}
RAW["nbt"] = RAW["nbm"]
BOE = re.findall(
    r"\w+", "USD EUR JPY CAD CHF AUD NZD NOK SEK DKK HKD SGD SAR ZAR TWD CZK HUF PLN ILS MYR THB CNY KRW TRY INR RON"
)
"""The currencies of the Bank of England's columns, in their order; that they are these is compared below."""
BANKS = (*RAW, "boe")
AT_LEAST = {
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
}
OTHER_KINDS = re.compile(r"XML_dynamic|dynamics|weekly|tableB|latest")
"""Recorded answers of a kind that we do not ask for."""


def bodies(recordings: Path, key: str) -> dict[str, bytes]:
    """Return the recorded answers of a bank, by file, of the kind that we ask for."""
    names = [entry["file"] for entry in json.loads((recordings / key / "index.json").read_text())]
    return {name: (recordings / key / name).read_bytes() for name in names if not OTHER_KINDS.match(name)}


def raw_figures(key: str, body: bytes) -> Counter[tuple[str, str, str, int]]:
    text = body.decode("windows-1251" if key in ("cbr", "nbkr") else "utf-8")
    if key == "boe":
        rows = [line.split(",") for line in text.splitlines()[1:]]
        return Counter(
            (f"2026-03-{row[0].removesuffix(' Mar 2026')}", code, value, 1)
            for row in rows
            for code, value in zip(BOE, row[1:], strict=True)
        )
    on, figures = "", Counter[tuple[str, str, str, int]]()
    for match in re.finditer(RAW[key], text):
        found = match.groupdict()
        on = found.get("day") or on
        if found["code"]:
            figures[_iso(on), found["code"], found["value"].replace(",", "."), int(found.get("nominal") or 1)] += 1
    return figures


def _iso(published: str) -> str:
    return published if "-" in published else "-".join(reversed(published.split(".")))


def fixings(recordings: Path, key: str) -> list[Fixing]:
    """Return all that is recorded of a bank, oldest first."""
    found = (one for body in bodies(recordings, key).values() for one in parse(key, body))
    return sorted(found, key=lambda fixing: fixing.date)


@pytest.mark.parametrize("key", BANKS)
def test_every_recorded_rate_is_parsed_to_its_digits(recordings: Path, key: str) -> None:
    """All dates, codes, digits and nominals are those that a pattern finds in the raw text, and nothing besides."""
    compared = 0
    for body in bodies(recordings, key).values():
        figures = raw_figures(key, body)
        assert figures == Counter(
            (str(fixing.date), code, str(rate.value), rate.nominal)
            for fixing in parse(key, body)
            for code, rate in fixing.rates.items()
        )
        compared += figures.total()
    assert compared >= AT_LEAST[key]


@pytest.mark.parametrize("key", BANKS)
def test_no_recorded_rate_is_suspicious(recordings: Path, key: str) -> None:
    """What a bank really published is published: read in order, nothing recorded is held."""
    series = Series()
    for fixing in fixings(recordings, key):
        assert judge(fixing, series, ValidationContext(fixing.date)).reasons == ()
        series = series.with_fixing(fixing, 100)


@pytest.mark.parametrize(("key", "at_least"), [("nbk", 39), ("cbu", 75), ("nbg", 42), ("cba", 12 * 30)])
def test_our_subtraction_is_the_banks_own_change_in_every_currency(recordings: Path, key: str, at_least: int) -> None:
    """New minus old equals the bank's own field exactly, in all currencies of every recorded pair."""
    compared = 0
    for old, new in pairwise(fixings(recordings, key)):
        ours = {code: rate.value - old.rates[code].value for code, rate in new.rates.items()}
        assert ours == {code: rate.change for code, rate in new.rates.items()}
        assert check(new, old, CONFIGURED[key]).differences == ()
        compared += len(ours)
    assert compared >= at_least


@pytest.mark.parametrize("key", BANKS)
def test_a_euro_is_worth_more_than_a_dollar_by_every_bank(recordings: Path, key: str) -> None:
    """Direction and nominals are right: the euro in dollars is near 1.15 in all that is recorded, whoever says it."""
    for fixing in fixings(recordings, key):
        assert Fraction("1.05") < fixing.value("EUR") / fixing.value("USD") < Fraction("1.25")


def test_the_series_of_the_bank_of_england_are_the_currencies_that_we_take_them_for(recordings: Path) -> None:
    """Its codes name no currency: each rate is within a percent of the cross by the ECB, or by Canada, of that day."""
    others = {(key, one.date): one for key in ("ecb", "boc") for one in fixings(recordings, key)}
    compared = set()
    for fixing in fixings(recordings, "boe"):
        for other in (others[at] for at in (("ecb", fixing.date), ("boc", fixing.date)) if at in others):
            for code in fixing.rates.keys() & {other.base, *other.rates}:
                assert abs(fixing.value(code) / (other.value(code) / other.value("GBP")) - 1) < Fraction("0.01"), code
                compared.add(code)
    assert compared == set(BOE)


def test_the_shipped_publications_are_the_recorded_ones(recordings: Path) -> None:
    """`recorded.csv` has all digits, nominals and changes of the recordings, and their digests."""
    shipped = Path(__file__).parents[2] / "service" / "sources" / "banks" / "recorded.csv"
    published_once = parse("recorded", shipped.read_bytes())
    index = {entry["file"]: entry for entry in json.loads((recordings / "nbk" / "index.json").read_text())}
    for fixing, (name, body) in zip(published_once, bodies(recordings, "nbk").items(), strict=True):
        (published,) = SOURCES["nbk"].parse(answer("nbk", body, index[name]["url"]))
        assert (fixing.date, fixing.url) == (published.date, published.url)
        assert fixing.rates == published.rates
        assert [str(rate.value) for rate in fixing.rates.values()] == [str(r.value) for r in published.rates.values()]
        assert fixing.digest == sha256(body).hexdigest()
        assert fixing.fetched_at == datetime.strptime(
            index[name]["recorded_at"] + "+0000", "%a, %d %b %Y %H:%M:%S GMT%z"
        )
    with shipped.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == sum(len(fixing.rates) for fixing in published_once)


@pytest.mark.parametrize("key", BANKS)
def test_no_other_recorded_answer_is_taken_for_a_banks_own(recordings: Path, key: str) -> None:
    """Every recorded document of every other bank, and of another kind of the same bank, is refused."""
    # Moldova writes Russia's format to the letter: what tells them apart is the address, and the name in the head.
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
            raise AssertionError(f"{path} was taken for {key}: {parse(key, path.read_bytes())[:1]}")
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
        ("boc", day(12, 3), day(9)),  # up to today: no end is named
        ("boe", day(17, 3), day(20, 3)),
    ],
)
async def test_requests_are_those_that_were_recorded(recordings: Path, key: str, since: date, until: date) -> None:
    """Base and step make the very address that the bank has answered, and a SOAP question the same operation."""
    index = json.loads((recordings / key / "index.json").read_text())
    known = [entry for entry in index if not OTHER_KINDS.match(entry["file"])]
    feed = Asked(key, url=CONFIGURED[key].url)
    ours = [payload.url async for payload in SOURCES[key].fetch(feed, since, until)]
    assert [_address(url) for url in ours] == [_address(entry["url"]) for entry in known]
    for (body, headers), entry in zip(feed.posts, known if feed.posts else [], strict=True):
        assert headers["SOAPAction"] == entry["request"]["headers"]["soapaction"]
        assert headers["Content-Type"] == entry["request"]["headers"]["content-type"]
        asked, recorded = _asked(body), _asked(entry["request"]["body"])
        assert asked.keys() == recorded.keys()
        assert all(set(asked[name].split(",")) <= set(recorded[name].split(",")) for name in asked)


def _address(url: str) -> tuple[str, list[tuple[str, str]]]:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}", sorted(parse_qsl(parts.query, keep_blank_values=True))


def _asked(body: str) -> dict[str, str]:
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
    ],
)
def test_known_rates_are_shown(recordings: Path, key: str, on: date, code: str, digits: str) -> None:
    """Figures read by a person from the recorded documents stand where they should, zeros included."""
    found = {fixing.date: fixing for fixing in fixings(recordings, key)}
    assert str(found[on].rates[code].value) == digits


@pytest.mark.parametrize("key", BANKS)
def test_what_a_bank_quotes_and_since_when_is_what_was_recorded(recordings: Path, key: str) -> None:
    """The registry tells all the currencies that the bank has answered with, and no date after its oldest one."""
    recorded, source = fixings(recordings, key), CONFIGURED[key]
    not_asked = {"cba": {"XAU", "XAG"}}.get(key, set())  # per gram, see the adapter
    assert {code for fixing in recorded for code in fixing.rates} - not_asked == set(source.quotes)
    assert source.since is None or source.since <= recorded[0].date


def test_the_example_needs_nothing_else() -> None:
    """It loads as it is, wakes the banks that it names, and leaves the relay asleep."""
    assert validate(EXAMPLE).adapter("frankfurter_nbk") == "frankfurter"
    assert {key for ticker in EXAMPLE.tickers for key in ticker.sources} <= EXAMPLE.polled.keys()
    assert "frankfurter_nbk" not in EXAMPLE.polled
