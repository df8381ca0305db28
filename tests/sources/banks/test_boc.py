"""Bank of Canada."""

from hashlib import sha256

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from tests.sources.answers import URL, asked, digits, document, parse, receipt
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


def test_an_answer_is_a_fixing_a_day_with_the_published_digits_and_its_receipt() -> None:
    """Text keeps its zeros; FXUSDCAD is what one US dollar costs; each observation is a day."""
    fixings = parse("boc", BODY)
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    assert [digits(fixing) for fixing in fixings] == list(PUBLISHED.values())
    for fixing in fixings:
        assert receipt(fixing) == ("boc", "CAD", Quotation.DIRECT, URL, FETCHED, sha256(BODY).hexdigest())


@pytest.mark.parametrize("nothing", [b'""', b"null", b'"Bank holiday"'])
def test_a_value_that_is_not_there_was_not_quoted(nothing: bytes) -> None:
    """An observation without any value is no fixing; one currency without a value is missing from its day."""
    good = b'{"d":"2026-04-02","FXUSDCAD":{"v":"1.3902"},"FXEURCAD":{"v":"1.6040"}}'
    holiday = b'{"d":"2026-04-03","FXUSDCAD":{"v":%b},"FXEURCAD":{"v":%b}}' % (nothing, nothing)
    (fixing,) = parse("boc", b'{"observations":[%b,%b]}' % (good, holiday))
    assert fixing.date == day(2)
    euro = b'{"d":"2026-04-07","FXUSDCAD":{"v":%b},"FXEURCAD":{"v":"1.6041"}}' % nothing
    known, lacking = parse("boc", b'{"observations":[%b,%b]}' % (good, euro))
    assert known.rates.keys() - lacking.rates.keys() == {"USD"}


@pytest.mark.parametrize(
    ("series", "told"),
    [
        (b'"FXUSDCAD":{}', "lacks v in FXUSDCAD"),
        (b'"FXUSDCAD":"1.3902"', "lacks FXUSDCAD, an object"),
        (b'"FXUSDCAD":null', "lacks FXUSDCAD, an object"),
        (b'"FXUSDCAD":{"v":true}', "has a v that is not text in a row"),
        (b'"FXEURCAD":{"v":"1.6040"}', "an object has a duplicate name"),
        (b'"V39079":{"v":"1"}', "has the series 'V39079', which is not a rate in CAD"),
        (b'"USD":{"v":"1"}', "has the series 'USD', which is not a rate in CAD"),
        (b'"FXCADUSD":{"v":"0.72"}', "has the series 'FXCADUSD', which is not a rate in CAD"),
    ],
)
def test_a_series_of_another_form_is_not_understood(series: bytes, told: str) -> None:
    """Whatever stands beside the day is a currency's series with its value."""
    body = b'{"observations":[{"d":"2026-04-02","FXEURCAD":{"v":"1.6040"},"FXUSDCAD":{"v":"1.3902"}}]}'
    with pytest.raises(NotUnderstood, match=told):
        parse("boc", body.replace(b'"FXUSDCAD":{"v":"1.3902"}', series))


def test_no_observations_are_nothing() -> None:
    """An array without observations says that nothing is published since the date."""
    assert parse("boc", document("boc", "nothing.json")) == []


@pytest.mark.parametrize("word", ["Bank holidays", "bank holiday", "Holiday", "n/a"])
def test_any_other_word_in_place_of_a_number_rejects_the_document(word: str) -> None:
    """Only the bank's exact words for a holiday say that a value was not quoted."""
    with pytest.raises(NotUnderstood, match=f"has '{word}' where a number is expected"):
        parse("boc", f'{{"observations":[{{"d":"2026-04-03","FXUSDCAD":{{"v":"{word}"}}}}]}}'.encode())


async def test_range_is_one_request() -> None:
    """One request from the first date on; the bank publishes nothing ahead, so no end is said."""
    assert await asked("boc", day(31, 3), day(2)) == ["/observations/group/FX_RATES_DAILY/json?start_date=2026-03-31"]
