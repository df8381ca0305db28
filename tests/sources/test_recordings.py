"""The adapters against what the real banks really answered."""

import csv
import json
import re
from collections import Counter
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from service.errors import NotUnderstood
from service.fixings import Fixing, Series, objections
from service.sources import SOURCES
from tests.figures import day
from tests.sources.answers import answer, parse

# Each bank's figures by another way than the adapters': a pattern over the raw text.
RAW = {
    "nbk": r"<title>(?P<code>\w+)</title>\s*<description>(?P<value>.+)</description>\s*<quant>(?P<nominal>\d+)</quant>",
    "cbr": r"<CharCode>(?P<code>\w+)<.*?<Nominal>(?P<nominal>\d+)<.*?<Value>(?P<value>[^<]+)<",
    "ecb": r"(?m)^D,(?P<code>\w+),(?P<day>[^,]+),(?P<value>[\d.]+)$",
    "nbu": r'"exchangedate":"(?P<day>[^"]+)".*"cc":"(?P<code>\w+)".*"rate":(?P<value>[^,]+),"units":(?P<nominal>\d+)',
    "cbu": r'"Ccy":"(?P<code>\w+)"[^}]*"Nominal":"(?P<nominal>\d+)","Rate":"(?P<value>.+?)"[^}]*"Date":"(?P<day>.+?)"',
}
DAY = {"nbk": r"<date>([\d.]+)</date>", "cbr": r'Date="([\d.]+)"'}
AT_LEAST = {"nbk": 2 * 39, "cbr": 50, "ecb": 20 * 25, "nbu": 16 * 40, "cbu": 2 * 75}


def bodies(recordings: Path, key: str) -> dict[str, bytes]:
    """Return the recorded answers of a bank, by file; of the Bank of Russia those of the kind we ask for."""
    names = [entry["file"] for entry in json.loads((recordings / key / "index.json").read_text())]
    return {name: (recordings / key / name).read_bytes() for name in names if not name.startswith("XML_dynamic")}


def raw_figures(key: str, body: bytes) -> Counter[tuple[str, str, str, int]]:
    text = body.decode("windows-1251" if key == "cbr" else "utf-8")
    one = re.search(DAY[key], text) if key in DAY else None
    found = [match.groupdict() for match in re.finditer(RAW[key], text)]
    return Counter(
        (
            _iso(one[1] if one else figure["day"]),
            figure["code"],
            figure["value"].replace(",", "."),
            int(figure.get("nominal", "1")),
        )
        for figure in found
    )


def _iso(published: str) -> str:
    return published if "-" in published else "-".join(reversed(published.split(".")))


def pair(recordings: Path, key: str) -> tuple[Fixing, Fixing]:
    """Return the two recorded fixings of consecutive dates."""
    old, new = sorted((parse(key, body)[0] for body in bodies(recordings, key).values()), key=lambda one: one.date)
    assert (old.date, new.date) == (day(1), day(2))
    return old, new


@pytest.mark.parametrize("key", RAW)
def test_every_recorded_figure_is_parsed_to_its_digits(recordings: Path, key: str) -> None:
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


@pytest.mark.parametrize("key", RAW)
def test_no_recorded_fixing_is_objected_to(recordings: Path, key: str) -> None:
    """What a bank really published is published: read in order, nothing recorded is refused."""
    series = Series()
    for fixing in sorted(
        (one for body in bodies(recordings, key).values() for one in parse(key, body)), key=lambda f: f.date
    ):
        assert objections(fixing, series, fixing.date) == ()
        series = series.with_fixing(fixing, 100)


@pytest.mark.parametrize(("key", "at_least"), [("nbk", 39), ("cbu", 75)])
def test_our_subtraction_is_the_banks_own_change_in_every_currency(recordings: Path, key: str, at_least: int) -> None:
    """New minus old equals the bank's own field exactly, in all currencies of the recorded pair."""
    old, new = pair(recordings, key)
    ours = {code: rate.value - old.rates[code].value for code, rate in new.rates.items()}
    assert ours == {code: rate.change for code, rate in new.rates.items()}
    assert len(ours) >= at_least


def test_the_shipped_publications_are_the_recorded_ones(recordings: Path) -> None:
    """`recorded.csv` has all digits, nominals and changes of the recordings, and their digests."""
    shipped = Path(__file__).parents[2] / "service" / "sources" / "recorded.csv"
    fixings = parse("recorded", shipped.read_bytes())
    index = {entry["file"]: entry for entry in json.loads((recordings / "nbk" / "index.json").read_text())}
    for fixing, (name, body) in zip(fixings, bodies(recordings, "nbk").items(), strict=True):
        (published,) = SOURCES["nbk"].parse(answer("nbk", body, index[name]["url"]))
        assert (fixing.date, fixing.url) == (published.date, published.url)
        assert fixing.rates == published.rates
        assert [str(rate.value) for rate in fixing.rates.values()] == [str(r.value) for r in published.rates.values()]
        assert fixing.digest == sha256(body).hexdigest()
        assert fixing.fetched_at == datetime.strptime(
            index[name]["recorded_at"] + "+0000", "%a, %d %b %Y %H:%M:%S GMT%z"
        )
    with shipped.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == sum(len(fixing.rates) for fixing in fixings)


@pytest.mark.parametrize("key", RAW)
def test_no_other_recorded_answer_is_taken_for_a_banks_own(recordings: Path, key: str) -> None:
    """Every recorded document of every other bank, and of another kind of the same bank, is refused."""
    # Moldova writes Russia's format to the letter: what tells them apart is the address, and the name in the head.
    twins = {"nbm"} if key == "cbr" else set()
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
    ("key", "on", "code", "digits"),
    [
        ("nbk", day(2), "USD", "475.09"),
        ("nbk", day(1), "JPY", "3"),
        ("cbr", day(25), "CNY", "11.0270"),
        ("ecb", day(18, 3), "USD", "1.15"),
        ("nbu", day(16, 3), "KZT", "9.0172"),
        ("cbu", day(2), "USD", "12142.10"),
    ],
)
def test_known_figures_are_there(recordings: Path, key: str, on: date, code: str, digits: str) -> None:
    """Figures read by a person from the recorded documents stand where they should, zeros included."""
    found = {fixing.date: fixing for body in bodies(recordings, key).values() for fixing in parse(key, body)}
    assert str(found[on].rates[code].value) == digits
