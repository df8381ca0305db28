"""`python -m service webhooks`: list, test and resume."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.settings import Settings
from service.settings.loader import ROOT
from service.state.deliveries import DeliveryState, QueuedEvent
from service.state.events import Reported
from service.storage.repository import Store
from tests.support.cli import command
from tests.support.receiver import SECRET, Receiver, receiving

TIME = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
FAILING = DeliveryState(3, TIME, "responded with status 500", TIME, TIME, 7)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def environ(settings: Settings, receiver: Receiver) -> dict[str, str]:
    """Return the environment of a service with a webhook and a cache that is purged."""
    webhooks = [
        {"url": f"{receiver.url}/secret-path", "name": "shop", "secret": SECRET, "allow_private": True},
        {"url": f"{receiver.url}/purge", "name": "cdn", "format": "fastly", "allow_private": True},
    ]
    store = {"TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_STORE__PREFIX": settings.store.prefix}
    return store | {"TICKER_WEBHOOKS": json.dumps(webhooks)}


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        yield store


async def run(environ: dict[str, str], *arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(command, environ, "webhooks", *arguments)
    assert "secret-path" not in result.output
    return result.exit_code, result.output


@pytest.mark.parametrize("which", ["shop", "1", "URL"])
async def test_test_event_is_signed_and_its_response_printed(
    environ: dict[str, str], receiver: Receiver, which: str
) -> None:
    """The webhook is named, numbered, or given by its URL."""
    which = f"{receiver.url}/secret-path" if which == "URL" else which
    assert await run(environ, "test", which) == (0, "shop: accepted with status 204\n")
    (request,) = receiver.requests
    assert json.loads(request.body)["type"] == "webhook.test"
    assert request.headers["webhook-signature"].startswith("v1,")


async def test_all_webhooks_are_tested(environ: dict[str, str], receiver: Receiver) -> None:
    """A cache is sent a purge. Exit status 1 if one of them fails."""
    receiver.responses = [(500, {})]
    status, output = await run(environ, "test")
    assert (status, output.splitlines()[:2]) == (
        1,
        ["shop: responded with status 500", "cdn: accepted with status 204"],
    )
    assert "error: not accepted: shop" in output
    assert receiver.requests[1].headers["surrogate-key"] == "ticker-kzt"


async def test_unknown_webhook_is_reported(environ: dict[str, str]) -> None:
    assert await run(environ, "test", "http://x.example/secret") == (2, "error: unknown webhook (known: shop, cdn)\n")
    none = {name: value for name, value in environ.items() if name != "TICKER_WEBHOOKS"}
    assert (await run(none, "test"))[0] == 2
    assert await run(none, "list") == (0, "No webhooks are configured.\n")


async def test_waiting_events_are_listed(environ: dict[str, str], store: Store) -> None:
    queued = QueuedEvent("e1", "ticker.changed", "kzt", TIME, "{}")
    await store.webhooks.add(await store.webhooks.reported(), Reported(), {"shop": [queued]})
    await store.webhooks.save("shop", FAILING)
    status, output = await run(environ, "list")
    assert status == 0
    assert "responded with status 500" in output
    assert "2026-04-02 04:00 UTC" in output
    assert [line.split()[0] for line in output.splitlines()] == ["webhook", "shop", "cdn"], "one line a row in a pipe"
    shop, cdn = json.loads((await run(environ, "list", "--json"))[1])
    assert (shop["webhook"], shop["waiting"], shop["oldest"]) == ("shop", 1, "2026-04-02T04:00:00+00:00")
    assert (shop["failures"], shop["failing_since"], shop["dropped"]) == (3, "2026-04-02T04:00:00+00:00", 7)
    assert (cdn["webhook"], cdn["waiting"], cdn["oldest"], cdn["error"]) == ("cdn", 0, None, None)


async def test_stopped_webhook_is_resumed(environ: dict[str, str], store: Store) -> None:
    assert (await run(environ, "resume", "shop"))[0] == 1
    await store.webhooks.save("shop", replace(FAILING, stopped_at=TIME))
    assert "stopped: responded" in " ".join((await run(environ, "list"))[1].split())
    assert await run(environ, "resume", "shop") == (0, "shop: resumed\n")
    state, _, _ = await store.webhooks.status("shop")
    assert state == DeliveryState(delivered_at=TIME, dropped=7)


def test_commands_are_documented() -> None:
    document = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    assert all(f"python -m service webhooks {name}" in document for name in ("test", "list", "resume"))
