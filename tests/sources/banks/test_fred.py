"""Federal Reserve, by the FRED API."""

import json
from fractions import Fraction

import pytest

from service.domain.fixing import Quotation
from service.errors import BadAnswer, NotUnderstood, SettingsError
from service.settings import load
from service.sources.banks import SOURCES
from service.sources.banks.fred import SERIES
from service.sources.registry import validate
from tests.sources.answers import RecordingSession, digits, document, parse
from tests.support.fixings import day

BODY = document("fred", "2026-04-06.json")
KEY = "0123456789abcdef0123456789abcdef"


def test_series_are_joined_by_day_in_one_direction() -> None:
    """A point is a missing rate. Dollars for one unit are turned exactly."""
    before, fixing = parse("fred", BODY)
    assert [before.date, fixing.date] == [day(1), day(2)]
    assert (fixing.base, fixing.direction) == ("USD", Quotation.INVERSE)
    assert {code: digits(fixing)[code] for code in ("JPY", "CHF", "EUR", "GBP")} == {
        "JPY": ("158.36", 1, None),
        "CHF": ("0.7922", 1, None),
        "EUR": ("10000", 11599, None),
        "GBP": ("10000", 13300, None),
    }
    assert fixing.value("EUR") == Fraction("1.1599")
    assert fixing.value("JPY") == 1 / Fraction("158.36")
    assert "NZD" in SERIES.values()
    assert "NZD" not in fixing.rates


async def test_every_series_is_requested_and_named() -> None:
    """The URL of the receipt has the dates; a response does not say which series it is."""
    parts = json.loads(BODY)
    query = "file_type=json&observation_start=2026-04-01&observation_end=2026-04-02"
    paths = {series: f"/series/observations?series_id={series}&{query}&api_key={{secret}}" for series in SERIES}
    responses = {path: json.dumps(parts[series]).encode() for series, path in paths.items()}
    session = RecordingSession("fred", base="USD", responses=responses)
    (response,) = [one async for one in SOURCES["fred"].fetch(session, day(1), day(2))]
    assert session.paths == list(paths.values())
    assert response.url == f"http://bank.test/series/observations?{query}"
    assert SOURCES["fred"].parse(response)[1].rates == parse("fred", BODY)[1].rates


async def test_refused_or_odd_series_is_left_out_and_named() -> None:
    """Status 404 for one, a page for another: the rates of all others are read. If all are refused, the poll fails."""
    parts = json.loads(BODY)
    query = "file_type=json&observation_start=2026-04-01&observation_end=2026-04-02"
    paths = {series: f"/series/observations?series_id={series}&{query}&api_key={{secret}}" for series in SERIES}
    responses = {path: json.dumps(parts[series]).encode() for series, path in paths.items()}
    responses |= {paths["DEXJPUS"]: b"<html>Try later</html>", paths["DEXCAUS"]: b'{"observations":"none"}'}
    session = RecordingSession(
        "fred", base="USD", responses=responses, not_found=frozenset({paths["DEXBZUS"], paths["DEXUSUK"]})
    )
    (response,) = [one async for one in SOURCES["fred"].fetch(session, day(1), day(2))]
    parsed = SOURCES["fred"].parse(response)
    whole = parse("fred", BODY)[1].rates
    assert parsed[1].rates == {code: rate for code, rate in whole.items() if code not in ("JPY", "CAD", "BRL", "GBP")}
    assert parsed.left_out == (
        "lacks DEXBZUS, an object",
        "lacks observations, an array of objects",
        "lacks DEXJPUS, an object",
        "lacks DEXUSUK, an object",
    )
    session.not_found = frozenset(paths.values())
    with pytest.raises(BadAnswer, match="status 404"):
        [one async for one in SOURCES["fred"].fetch(session, day(1), day(2))]


def test_document_without_any_series_is_refused() -> None:
    with pytest.raises(NotUnderstood, match="lacks observations, an array of objects, in every series"):
        parse("fred", b"{}")


def test_polls_of_a_day_stay_within_300_requests() -> None:
    assert load(environ={}).sources["fred"].budget * len(SERIES) <= 300


def test_ticker_needs_a_key() -> None:
    """The error names the setting and the variable; a source that no ticker names needs none."""
    ticker = {"id": "usd", "base": "USD", "currencies": ["EUR"], "sources": ["fred"]}
    with pytest.raises(SettingsError, match=r"^sources\.fred\.secret: is required: .*__FRED__SECRET"):
        validate(load(environ={}, overrides={"tickers": [ticker]}))
    settings = validate(load(environ={"TICKER_SOURCES__FRED__SECRET": KEY}, overrides={"tickers": [ticker]}))
    assert KEY not in repr(settings)
    assert "fred" not in validate(load(environ={})).polled


def test_key_is_not_sent_unencrypted() -> None:
    """The adapter sends it in the URL. Without a key, or to this machine, nothing is disclosed."""

    def check(url: str, **source: str) -> None:
        validate(load(environ={}, overrides={"sources": {"fred": {"url": url} | source}}))

    check("http://127.0.0.1:8080/fred", secret=KEY)
    check("http://fred.example")
    with pytest.raises(SettingsError, match=r"^sources\.fred\.url: must begin with https://"):
        check("http://fred.example", secret=KEY)


@pytest.mark.parametrize("value", ["short", "secret\nof two lines"])
def test_invalid_key_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(environ={"TICKER_SOURCES__FRED__SECRET": value})
    assert "sources.fred.secret: must " in str(refused.value)
    assert value not in str(refused.value)
