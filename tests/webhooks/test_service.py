"""Webhooks of a whole service: events from polls of banks, health, metrics, surrogate keys."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.settings import Settings, load
from service.state.deliveries import QueuedEvent
from service.storage.repository import Store
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day
from tests.support.http import Client
from tests.support.metrics import scraped, value
from tests.support.receiver import Received, Receiver, enqueue, receiving, with_webhooks
from tests.support.standin import Banks
from tests.support.wait import PATIENCE, until, until_true

EVENTS = ("ticker.changed", "ticker.late", "ticker.stale", "fixing.quarantined", "fixing.revised")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def settings(settings: Settings, receiver: Receiver, banks: Banks) -> Settings:
    """Return settings with one ticker of one bank that is polled every second, and a webhook."""
    banks.published["nbk"] = dict(APRIL)
    store = {"TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_STORE__PREFIX": settings.store.prefix}
    currencies = settings.tickers[0].currencies
    ticker = {"id": "kzt", "base": "KZT", "currencies": currencies, "sources": ["nbk"]}
    changes = {"tickers": [ticker], "sources": {"nbk": {"sweep": 1}}, "client": {"timeout": 2 * PATIENCE}}
    loaded = load(environ=banks.environ() | store, overrides=changes)
    return with_webhooks(loaded, receiver.webhook(events=EVENTS))


async def health(client: Client) -> dict[str, Any]:
    async with client.get("/health") as response:
        document = (
            json.loads(await response.read()) if "gzip" not in response.headers.get("Content-Encoding", "") else {}
        )
    return dict(document)


async def until_baseline(client: Client, settings: Settings) -> None:
    """Wait until the service has recorded the present rates."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:

        async def is_recorded() -> bool:
            reported = (await store.webhooks.reported()).reported
            return "kzt" in reported.tickers and "nbk" in reported.sources

        await until(is_recorded)


async def test_new_rates_of_a_bank_arrive(
    start: Started, settings: Settings, banks: Banks, receiver: Receiver, clock: Clock
) -> None:
    """Then health and metrics report the delivery."""
    client = await start()
    await until_baseline(client, settings)
    assert receiver.requests == []
    banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "480.00", "EUR": "552.00"}
    clock.forward(hours=8)
    await until_true(lambda: receiver.requests)
    event = json.loads(receiver.requests[0].body)
    assert (event["type"], event["subject"], event["data"]["as_of"]) == ("ticker.changed", "kzt", "2026-04-03")
    assert event["data"]["changed"] == ["USD", "EUR", "RUB", "GBP", "CNY"]

    async def is_counted() -> bool:
        samples = await scraped(client)
        delivered = value(samples, "ticker_webhook_deliveries_total", webhook="receiver", outcome="delivered")
        return delivered == 1 and value(samples, "ticker_webhook_waiting", webhook="receiver") == 0

    await until(is_counted)
    check = (await health(client))["checks"]["webhook:receiver"][0]
    assert (check["status"], check["observedValue"], check["observedUnit"]) == ("pass", 0, "events")


async def test_failing_webhook_is_named_by_health(
    start: Started, settings: Settings, banks: Banks, receiver: Receiver, clock: Clock
) -> None:
    """On every instance, and with the age of the oldest event in the metrics."""
    receiver.default = 500
    leader, follower = await start(), await start()
    await until_baseline(leader, settings)
    banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "580.00"}
    clock.forward(hours=8)
    await until_true(lambda: receiver.requests)
    for client in (leader, follower):

        async def is_reported(client: Client = client) -> bool:
            notes = " ".join((await health(client))["notes"])
            return "webhook receiver: failing since 2026-04-02 12:00:00 UTC" in notes and "status 500" in notes

        await until(is_reported)
        samples = await scraped(client)
        assert value(samples, "ticker_webhook_waiting", webhook="receiver") == 1
        clock.forward(seconds=1)
        age = value(await scraped(client), "ticker_webhook_oldest_seconds", webhook="receiver")
        assert age
        assert age >= 1
    assert json.loads(receiver.requests[0].body)["type"] == "fixing.quarantined"


async def test_responses_have_surrogate_keys_if_enabled(start: Started, settings: Settings) -> None:
    """Those that a purge uses; without the setting none."""
    client = await start()
    await until_baseline(client, settings)
    http = settings.http.model_copy(update={"surrogate_keys": True})
    keyed = await start(settings.model_copy(update={"http": http}))
    await until_baseline(keyed, settings)
    for path, keys in (
        ("/v1/ticker", "ticker-kzt"),
        ("/v1/ticker.png", "ticker-kzt"),
        ("/embed", "ticker-kzt"),
        ("/v1/history/usd", "ticker-kzt source-nbk"),
        ("/v1/fixings/nbk/2026-04-02", "source-nbk"),
        ("/v1/chart/usd", "ticker-kzt source-nbk"),
        ("/v1/chart/usd.svg", "ticker-kzt source-nbk"),
        ("/v1/rates/2026-04-02", "ticker-kzt source-nbk"),
        ("/v1/convert?from=usd&to=kzt", "ticker-kzt source-nbk"),
        ("/v1/convert?from=usd&to=eur&on=2026-04-01", "ticker-kzt source-nbk"),
        ("/v1/ticker?on=2026-04-01", "ticker-kzt source-nbk"),
        ("/rates", "ticker-kzt"),
        ("/rates/usd", "ticker-kzt source-nbk"),
        ("/rates/usd?compare=eur", "ticker-kzt source-nbk"),
        ("/fixings/nbk/2026-04-02", "source-nbk"),
    ):
        async with keyed.get(path) as response:
            assert response.status == 200
            assert response.headers["Surrogate-Key"] == keys
            assert response.headers["Cache-Tag"] == keys.replace(" ", ",")
        async with client.get(path) as response:
            assert "Surrogate-Key" not in response.headers
            assert "Cache-Tag" not in response.headers


async def test_shutdown_does_not_wait_for_a_receiver(
    start: Started, settings: Settings, receiver: Receiver, clock: Clock
) -> None:
    """The event stays in the queue for the next leader."""
    never = asyncio.Event()

    async def hang(_: Received) -> None:
        await never.wait()

    receiver.on_request = hang
    client = await start()
    await until_baseline(client, settings)
    event = QueuedEvent("e1", "ticker.changed", "kzt", clock(), "{}")
    await enqueue(settings, event)
    await until_true(lambda: receiver.requests)
    async with asyncio.timeout(PATIENCE):  # the receiver never responds, and `client.timeout` is a minute longer
        await client.close()
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        assert [item.event for item in await store.webhooks.waiting("receiver")] == [event]
    never.set()
