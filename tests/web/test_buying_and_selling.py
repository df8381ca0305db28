"""Buying and selling rates of a source that publishes both, in every output."""

import json
from decimal import Decimal
from typing import Any

import pytest

from service.domain.fixing import Fixing
from service.settings import Settings
from service.storage.repository import Store
from tests.conftest import Started
from tests.support.fixings import day, fixing, later, with_sides
from tests.support.http import Client, until_ready
from tests.support.pages import page_of, select, text_of
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
