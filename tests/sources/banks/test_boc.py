"""Bank of Canada."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, digits, document, metadata, parse, requested_paths
from tests.support.fixings import FETCHED, day

PUBLISHED = {
    day(17, 3): {
        "USD": ("1.3699", 1, None),
        "EUR": ("1.5798", 1, None),
        "GBP": ("1.8286", 1, None),
        "CNY": ("0.1989", 1, None),
        "RUB": ("0.01661", 1, None),
        "JPY": ("0.008620", 1, None),
        "IDR": ("0.000081", 1, None),
    },
    day(18, 3): {
        "USD": ("1.3706", 1, None),
        "EUR": ("1.5774", 1, None),
        "GBP": ("1.8258", 1, None),
        "CNY": ("0.1994", 1, None),
        "RUB": ("0.01633", 1, None),
        "JPY": ("0.008590", 1, None),
        "IDR": ("0.000081", 1, None),
    },
}
BODY = document("boc", "2026-03-17-to-18.json")


def test_response_has_one_fixing_per_day() -> None:
    """Strings keep their zeros; FXUSDCAD is the price of one US dollar; each observation is a day."""
    fixings = parse("boc", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert metadata(fixing) == ("boc", "CAD", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


@pytest.mark.parametrize("missing", [b'""', b"null", b'"Bank holiday"'])
def test_missing_value_is_not_quoted(missing: bytes) -> None:
    """A day without any value has no fixing; a currency without a value is missing from its day."""
    good = b'{"d":"2026-04-02","FXUSDCAD":{"v":"1.3902"},"FXEURCAD":{"v":"1.6040"}}'
    holiday = b'{"d":"2026-04-03","FXUSDCAD":{"v":%b},"FXEURCAD":{"v":%b}}' % (missing, missing)
    (fixing,) = parse("boc", b'{"observations":[%b,%b]}' % (good, holiday))
    assert fixing.date == day(2)
    euro = b'{"d":"2026-04-07","FXUSDCAD":{"v":%b},"FXEURCAD":{"v":"1.6041"}}' % missing
    known, incomplete = parse("boc", b'{"observations":[%b,%b]}' % (good, euro))
    assert known.rates.keys() - incomplete.rates.keys() == {"USD"}


TWO_SERIES = b'{"observations":[{"d":"2026-04-02","FXEURCAD":{"v":"1.6040"},"FXUSDCAD":{"v":"1.3902"}}]}'


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (b'"FXUSDCAD":{}', "lacks v in FXUSDCAD"),
        (b'"FXUSDCAD":"1.3902"', "lacks FXUSDCAD, an object"),
        (b'"FXUSDCAD":null', "lacks FXUSDCAD, an object"),
        (b'"FXUSDCAD":{"v":true}', "has a v that is not text in a row"),
        (b'"V39079":{"v":"1"}', "has the series 'V39079', which is not a rate in CAD"),
        (b'"USD":{"v":"1"}', "has the series 'USD', which is not a rate in CAD"),
        (b'"FXCADUSD":{"v":"0.72"}', "has the series 'FXCADUSD', which is not a rate in CAD"),
    ],
)
def test_series_of_another_form_is_left_out(series: bytes, message: str) -> None:
    """Every field besides the day is the series of a currency with its value."""
    parsed = parse("boc", TWO_SERIES.replace(b'"FXUSDCAD":{"v":"1.3902"}', series))
    assert [fixing.rates.keys() for fixing in parsed] == [{"EUR"}]
    assert len(parsed.left_out) == 1
    assert message in parsed.left_out[0]


def test_duplicate_series_is_rejected() -> None:
    with pytest.raises(NotUnderstood, match="an object has a duplicate name"):
        parse("boc", TWO_SERIES.replace(b"FXUSDCAD", b"FXEURCAD"))


def test_response_without_observations_has_no_fixings() -> None:
    """An empty array means that nothing is published since the date."""
    assert parse("boc", document("boc", "nothing.json")) == []


@pytest.mark.parametrize("text", ["Bank holidays", "bank holiday", "Holiday", "n/a"])
def test_other_text_instead_of_a_number_is_rejected(text: str) -> None:
    """Only the bank's exact text for a holiday means that a value is not quoted."""
    with pytest.raises(NotUnderstood, match=f"has '{text}' where a number is expected"):
        parse("boc", f'{{"observations":[{{"d":"2026-04-03","FXUSDCAD":{{"v":"{text}"}}}}]}}'.encode())


async def test_range_is_one_request() -> None:
    """The request has only the first date, since the bank publishes nothing ahead."""
    assert await requested_paths("boc", day(31, 3), day(2)) == [
        "/observations/group/FX_RATES_DAILY/json?start_date=2026-03-31"
    ]
