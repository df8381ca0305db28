"""Buying and selling rates of a source that publishes both, in every output."""

import json
from decimal import Decimal
from typing import Any

import pytest
from justhtml import Node

from service.domain.fixing import Fixing, Quotation
from service.settings import Settings
from service.storage.repository import Store
from service.web.i18n.formatting import quote_text
from service.web.i18n.locale import language
from tests.conftest import Started
from tests.support.fixings import day, fixing, later, series, with_sides
from tests.support.http import Client, until_ready
from tests.support.pages import SVG, page_of, picture_of, select, select_one, text_of
from tests.support.snapshots import KZT, SETTINGS, snapshot_of
from tests.support.standin import Banks

OLD = with_sides(fixing(day(1), USD="478.77", EUR="548.62", RUB="5.87"), USD=("476.5", "481.04"))
FIRST = with_sides(fixing(day(2), USD="475.09", EUR="551.06", JPY=("300.5", 100)), USD=("473", "477"))
LATEST = later(
    with_sides(FIRST, USD=("473.00", "477.18"), JPY=("298.00", "303.00")),
).with_revision_of(FIRST)


async def decimals(client: Client, path: str) -> Any:
    return json.loads(await text_of(client, path), parse_float=Decimal, parse_int=Decimal)


@pytest.fixture
async def client(settings: Settings, start: Started, banks: Banks) -> Client:
    """Return a client of a service whose store has rates of one bank, which is down."""
    banks.faults.update(dict.fromkeys(("nbk", "cbr", "ecb", "nbu", "cbu"), 404))
    await save(settings, OLD, LATEST)
    client = await start(settings.model_copy(update={"tickers": (_ticker(settings), _rubles(settings))}))
    await until_ready(client)
    return client


async def save(settings: Settings, *fixings: Fixing) -> None:
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        for each in fixings:
            await store.save(each)


def _ticker(settings: Settings) -> Any:
    return settings.tickers[0].model_copy(update={"currencies": ("USD", "EUR", "JPY"), "sources": ("nbk",)})


def _rubles(settings: Settings) -> Any:
    return _ticker(settings).model_copy(update={"id": "rub", "base": "RUB", "currencies": ("USD",)})


async def test_receipt_has_both_rates_as_published(client: Client) -> None:
    """Also those of earlier versions; a rate without them has no such fields."""
    receipt = await decimals(client, "/v1/fixings/nbk/2026-04-02")
    assert receipt["rates"] == {
        "USD": {"value": Decimal("475.09"), "nominal": 1, "change": None, "buying": 473, "selling": Decimal("477.18")},
        "EUR": {"value": Decimal("551.06"), "nominal": 1, "change": None},
        "JPY": {"value": Decimal("300.5"), "nominal": 100, "change": None, "buying": 298, "selling": 303},
    }
    assert receipt["revisions"][0]["rates"]["USD"]["selling"] == 477
    assert '"buying":473.00,' in await text_of(client, "/v1/fixings/nbk/2026-04-02")


async def test_page_of_the_receipt_has_both_rates(client: Client) -> None:
    page = await page_of(client, "/fixings/nbk/2026-04-02?lang=en")
    tables = [
        [[" ".join(cell.to_text().split()) for cell in select(row, "th, td")] for row in select(table, "tr")]
        for table in select(page, "table.published")
    ]
    latest, first = tables
    assert latest[0][2:5] == ["Published value", "Buying", "Selling"]
    assert [row[1:5] for row in latest[1:]] == [
        ["1", "475.09", "473.00", "477.18"],
        ["1", "551.06", "—", "—"],
        ["100", "300.5", "298.00", "303.00"],
    ]
    assert first[1][1:5] == ["1", "475.09", "473", "477"]


@pytest.mark.parametrize("path", ["/v1/ticker", "/v1/rates/2026-04-02", "/v1/ticker?on=2026-04-02"])
async def test_current_rates_have_both_for_one_unit(client: Client, path: str) -> None:
    """Only where the source publishes both."""
    document = await decimals(client, path)
    quotes = {quote["code"]: quote for quote in document.get("quotes") or document["rates"]}
    assert (quotes["USD"]["buying"], quotes["USD"]["selling"]) == (473, Decimal("477.18"))
    assert (quotes["JPY"]["buying"], quotes["JPY"]["selling"]) == (Decimal("2.98"), Decimal("3.03"))
    assert not {"buying", "selling"} & quotes["EUR"].keys()


@pytest.mark.parametrize("path", ["/v1/ticker/rub?on=2026-04-01", "/v1/rates/2026-04-01?ticker=rub"])
async def test_cross_rate_has_neither(client: Client, path: str) -> None:
    """Nobody buys or sells at the quotient of two rates."""
    document = await decimals(client, path)
    (quote,) = document.get("quotes") or document["rates"]
    assert quote["cross"]
    assert quote["rate"]
    assert not {"buying", "selling"} & quote.keys()


def cells(page: Node) -> list[list[str]]:
    """Return the class and the text of each visible value of each quote."""
    return [
        [f"{value.attrs['class']}: {value.to_text().strip()}" for value in select(item, ".seen > span")[1:]]
        for item in select(page, "li")
    ]


@pytest.mark.parametrize("path", ["/embed", "/v1/ticker.html"])
async def test_strip_shows_both_where_requested(client: Client, path: str) -> None:
    """With labels and the published digits; the rate of a currency of which the source publishes one only."""
    assert cells(await page_of(client, f"{path}?lang=en&show=sell,buy")) == [
        ["buy: buy 473.00", "sell: sell 477.18"],
        ["rate: 551.06"],
        ["buy: buy 2.9800", "sell: sell 3.0300"],
    ]
    page = await page_of(client, f"{path}?lang=ru&show=rate,buy,sell,percent&currencies=usd")
    assert cells(page)[0][:3] == ["rate: 475,09", "buy: пок. 473,00", "sell: прод. 477,18"]
    said = select_one(page, ".said").to_text()
    assert said.endswith(", 475,09, пок. 473,00, прод. 477,18")
    assert cells(await page_of(client, f"{path}?lang=en&currencies=usd"))[0][0].startswith("percent: ")


async def test_texts_of_both_are_in_json(client: Client) -> None:
    usd, eur, _ = [quote["text"] for quote in (await decimals(client, "/v1/ticker?lang=kk"))["quotes"]]
    assert (usd["buy"], usd["sell"]) == ("алу 473,00", "сату 477,18")
    assert not {"buy", "sell"} & eur.keys()


@pytest.mark.parametrize("query", ["", "&layout=list", "&width=200", "&layout=list&width=200"])
async def test_picture_shows_both(client: Client, query: str) -> None:
    picture = await picture_of(client, f"/v1/ticker.svg?lang=en&show=buy,sell{query}")
    drawn = "".join("".join(map(str, text.itertext())) for text in picture.findall(f"{SVG}text"))
    for value in ("buy 473.00", "sell 477.18", "551.06", "buy 2.9800"):
        assert value in drawn.replace("\u00a0", " ")
    assert "▼" not in drawn  # an arrow belongs to a change
    async with client.get(f"/v1/ticker.png?lang=en&show=buy,sell{query}") as response:
        assert (response.status, (await response.read())[:4]) == (200, b"\x89PNG")


async def test_text_has_the_requested_values(client: Client) -> None:
    """For programs: without labels, a dash for a missing value."""
    assert await text_of(client, "/v1/ticker.txt?show=buy,sell") == "usd 473.00 477.18\neur — —\njpy 2.9800 3.0300\n"
    first = (await text_of(client, "/v1/ticker.txt?show=rate,buy,sell,change,percent")).splitlines()[0]
    assert first == "usd 475.09 473.00 477.18 -3.68 -0.77%"
    assert (await text_of(client, "/v1/ticker.txt")).splitlines()[0] == "usd -0.77%"


async def test_builder_offers_them_where_a_source_has_them(client: Client) -> None:
    def offered(page: Node) -> list[str]:
        return [str(box.attrs["value"]) for box in select(page, "input[name=show]")]

    assert offered(await page_of(client, "/?lang=en")) == ["rate", "buy", "sell", "change", "percent"]
    assert offered(await page_of(client, "/?lang=en&ticker=rub")) == ["rate", "change", "percent"]


def test_sides_that_are_derived_have_six_digits() -> None:
    """Those of an inverse quotation, as other derived rates."""
    ticker = KZT.model_copy(update={"base": "EUR", "currencies": ("USD",), "sources": ("ecb",)})
    inverse = with_sides(fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="1.1525"), USD=("1.1600", "1.1450"))
    snapshot = snapshot_of(ticker, ecb=series(inverse))
    text = quote_text(snapshot.quotes[0], snapshot, SETTINGS, language("en"))
    assert (text.buy, text.sell) == ("buy 0.862069", "sell 0.873362")
