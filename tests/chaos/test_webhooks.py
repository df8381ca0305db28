"""A webhook whose receiver is down for an hour, while the leader is killed: real processes on a real Valkey.

An instance with a clock that is an hour ahead takes over: so the hour passes for the queue.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout

from service.storage.repository import Store
from tests.chaos.stack import CONFIG, REST, Instance, dollar, today
from tests.support.receiver import SECRET, Received, Receiver, receiving
from tests.support.servers import valkey
from tests.support.standin import Banks, serving
from tests.support.wait import until, until_true

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LOCK_LIFE = 3.0
HOUR = timedelta(hours=1)
WEBHOOK = """
[[webhooks]]
url = "{url}/events"
name = "shop"
secret = "{secret}"
events = ["ticker.changed"]
allow_private = true
"""


@dataclass
class Setup:
    """Two instances, of which the first leads, and a receiver."""

    banks: Banks
    leader: Instance
    successor: Instance
    receiver: Receiver
    store: Store
    edition: int = 0

    async def publish(self) -> None:
        """Let the bank publish a new rate; wait until its event is in the queue, or was delivered."""
        numbers = (await self.store.webhooks.reported()).reported.tickers["kzt"].number
        self.edition += 1
        self.banks.published["nbk"][today()] = REST | {"USD": dollar(self.edition)}

        async def is_recorded() -> bool:
            return (await self.store.webhooks.reported()).reported.tickers["kzt"].number > numbers

        await until(is_recorded)

    async def waiting(self) -> list[str]:
        return [item.event.id for item in await self.store.webhooks.waiting("shop")]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Setup]:
    with ExitStack() as resources:
        server = resources.enter_context(valkey(folder / "valkey"))
        url = f"redis://127.0.0.1:{server.port}/0"
        async with AsyncExitStack() as async_resources:
            banks = await async_resources.enter_async_context(serving(Banks()))
            receiver = await async_resources.enter_async_context(receiving())
            banks.published["nbk"] = {
                today() - timedelta(days=number): REST | {"USD": f"{475 - number}.00"} for number in range(5)
            }
            banks.published["cbr"] = {today(): {"USD": "81.00", "KZT": ("17.05", 100)}}
            (folder / "chaos.toml").write_text(CONFIG + WEBHOOK.format(url=receiver.url, secret=SECRET))
            leader, successor = (Instance(url, folder, banks, LOCK_LIFE) for _ in range(2))
            for instance in (leader, successor):
                resources.callback(instance.end, signal.SIGKILL)
            store = await async_resources.enter_async_context(Store(url, "ticker:", timeout=30))
            client = await async_resources.enter_async_context(ClientSession(timeout=ClientTimeout(15)))
            leader.start()

            async def is_reported() -> bool:
                return "kzt" in (await store.webhooks.reported()).reported.tickers

            await until(is_reported)
            successor.start(ahead=HOUR)
            await until(lambda: shows(client, successor))
            yield Setup(banks, leader, successor, receiver, store)


async def shows(client: ClientSession, instance: Instance) -> bool:
    """Return whether an instance serves rates."""
    try:
        async with client.get(f"{instance.base_url}/v1/ticker") as response:
            return response.status == 200
    except OSError:
        return False


def documents(requests: list[Received]) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in requests]


def rates(requests: list[Received]) -> list[str]:
    """Return the dollar of each event."""
    return [f"{document['data']['quotes'][0]['rate']:.2f}" for document in documents(requests)]


async def test_receiver_that_is_down_for_an_hour_gets_each_event_once(tmp_path: Path) -> None:
    """In order, although the leader is killed in between; an event that was being sent arrives again with its id."""
    async with running(tmp_path) as setup:
        receiver = setup.receiver
        receiver.default = 503
        for _ in range(3):
            await setup.publish()
        queued = await setup.waiting()
        assert len(queued) == 3
        await until_true(lambda: receiver.requests)
        assert set(receiver.ids) == {queued[0]}

        receiver.requests.clear()
        setup.leader.end(signal.SIGKILL)
        receiver.default = 204

        async def is_empty() -> bool:
            return await setup.waiting() == []

        await until(is_empty)  # an hour later by the clock of the successor
        assert receiver.ids == queued
        assert rates(receiver.requests) == [dollar(1), dollar(2), dollar(3)]
        await setup.publish()
        await until(is_empty)
        assert rates(receiver.requests) == [dollar(number) for number in (1, 2, 3, 4)]


async def test_leader_that_is_killed_before_it_records_a_delivery(tmp_path: Path) -> None:
    """The receiver has the event; the next leader sends it again with the same id, then the others."""
    async with running(tmp_path) as setup:
        receiver = setup.receiver

        async def kill_the_leader(_: Received) -> None:
            receiver.on_request = None
            await asyncio.to_thread(setup.leader.end, signal.SIGKILL)

        receiver.on_request = kill_the_leader
        await setup.publish()
        await until_true(lambda: setup.leader.process is None)
        await setup.publish()

        async def is_empty() -> bool:
            return await setup.waiting() == []

        await until(is_empty)
        first, again, second = receiver.ids
        assert first == again != second
        assert rates(receiver.requests) == [dollar(1), dollar(1), dollar(2)]
