"""Frankfurter: a relay of official rates of many banks, requested per currency."""

from datetime import date

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.clock import Clock
from service.domain.fixing import Quotation
from service.errors import NotUnderstood, SettingsError
from service.polling.poller import published
from service.settings import SourceSettings, load
from service.sources.banks import SOURCES
from service.sources.http_client import Client
from service.sources.registry import validate
from service.sources.session import BankSession
from tests.sources.answers import RecordingSession, digits, document, metadata, parse, response_of
from tests.support.fixings import day

KEY = "frankfurter"
NAME = "2026-04-01-to-02.json"
RELAY = {
    "adapter": KEY,
    "provider": "NBK",
    "base": "KZT",
    "url": "http://relay.test/v2",
    "timezone": "Asia/Almaty",
    "name": "National Bank of Kazakhstan, by Frankfurter",
}


def test_published_digits_are_kept() -> None:
    """One fixing per date with all its currencies, quoted directly."""
    first, second = parse(KEY, document(KEY, NAME))
    assert (first.date, second.date) == (day(1), day(2))
    assert digits(second) == {
        "USD": ("475.09", 1, None), "EUR": ("551.06", 1, None), "RUB": ("5.87", 1, None),
        "GBP": ("631.87", 1, None), "CNY": ("69.12", 1, None),
    }  # fmt: skip
    payload = response_of(KEY, document(KEY, NAME))
    assert metadata(second) == (KEY, "KZT", Quotation.DIRECT, payload.url, payload.fetched_at, payload.digest)


async def test_each_currency_is_requested_as_base() -> None:
    """The relay does not invert rates then; the provider is always given; the responses form one payload."""
    step = "/rates?base={}&quotes=KZT&providers=NBK&from=2026-04-01&to=2026-04-02"
    responses = {
        step.format(code): f'[{{"date":"2026-04-02","base":"{code}","quote":"KZT","rate":{rate}}}]'.encode()
        for code, rate in (("USD", "475.09"), ("EUR", "551.06"))
    }
    session = RecordingSession(KEY, provider="NBK", wanted=("USD", "EUR"), responses=responses)
    (payload,) = [payload async for payload in SOURCES[KEY].fetch(session, date(2026, 4, 1), date(2026, 4, 2))]
    assert session.paths == [step.format(code) for code in ("USD", "EUR")]
    assert payload.url == "http://bank.test/rates?quotes=KZT&providers=NBK&from=2026-04-01&to=2026-04-02"
    (fixing,) = SOURCES[KEY].parse(payload)
    assert digits(fixing) == {"USD": ("475.09", 1, None), "EUR": ("551.06", 1, None)}
    assert [payload async for payload in SOURCES[KEY].fetch(RecordingSession(KEY), day(1), day(2))] == []


def test_rates_in_another_currency_are_refused() -> None:
    """A response in another currency is rejected; one broken response rejects all of them."""
    with pytest.raises(NotUnderstood, match="has rates in 'RUB' instead of KZT"):
        parse(KEY, document(KEY, NAME).replace(b'"quote":"KZT"', b'"quote":"RUB"', 1))
    with pytest.raises(NotUnderstood, match="is not JSON"):
        parse(KEY, b'[[{"date":"2026-04-02","base":"USD","quote":"KZT","rate":475.09}],<html>]')


def test_several_sources_share_an_adapter() -> None:
    """A source names its adapter; its requested currencies are those of the tickers that use it."""
    tickers = [
        {"id": "kzt", "base": "KZT", "currencies": ["USD", "EUR"], "sources": ["frankfurter_nbk"]},
        {"id": "rub", "base": "RUB", "currencies": ["USD", "CNY"], "sources": ["frankfurter_nbk"]},
    ]
    settings = load(environ={}, overrides={"tickers": tickers, "sources": {"frankfurter_nbk": RELAY}})
    assert validate(settings).adapter("frankfurter_nbk") == KEY
    assert settings.adapter("nbk") == "nbk"
    assert settings.wanted("frankfurter_nbk") == ("USD", "EUR", "CNY", "RUB")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter": "frankfurt"}, r"sources\.relay\.adapter: unknown adapter \(known: nbk,"),
        ({"adapter": None}, r"sources\.relay: unknown source \(known: nbk,"),
        ({"provider": ""}, "sources.relay.provider: is required"),
    ],
)
def test_incomplete_relay_is_a_settings_error(change: dict[str, str | None], message: str) -> None:
    """The error names the setting and the known values."""
    with pytest.raises(SettingsError, match=message):
        validate(load(environ={}, overrides={"sources": {"relay": {**RELAY, **change}}}))


async def test_relay_is_requested_as_configured() -> None:
    """Over a real socket: one request per currency, with the provider and the dates, and nothing else."""
    rates = {"USD": "475.09", "EUR": "551.06"}
    queries: list[dict[str, str]] = []

    async def respond(request: web.Request) -> web.Response:
        queries.append(dict(request.query))
        code = request.query["base"]
        row = f'{{"date":"{request.query["to"]}","base":"{code}","quote":"KZT","rate":{rates[code]}}}'
        return web.Response(text=f"[{row}]", content_type="application/json")

    app = web.Application()
    app.router.add_get("/v2/rates", respond)
    async with TestServer(app) as server, Client(load(environ={}).client) as client:
        source = SourceSettings.model_validate(RELAY | {"url": str(server.make_url("/v2"))})
        session = BankSession("frankfurter_nbk", source, client, Clock(), ("USD", "EUR"))
        (fixing,) = [item async for _, item in published(SOURCES[KEY], session, day(1), day(2), [])]
    assert (fixing.source, fixing.date, digits(fixing)["EUR"]) == ("frankfurter_nbk", day(2), ("551.06", 1, None))
    expected = {"quotes": "KZT", "providers": "NBK", "from": "2026-04-01", "to": "2026-04-02"}
    assert queries == [{"base": code, **expected} for code in rates]
