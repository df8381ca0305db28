"""The full stack for chaos tests: three instances, Valkey with a replica, three Sentinels, edge, banks, clients."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from service.settings.loader import ROOT
from service.storage.repository import Store
from tests.support.edge import Edge, run_edge
from tests.support.ports import unused_port
from tests.support.servers import Server, sentinel, valkey
from tests.support.standin import Banks, serving
from tests.support.wait import PATIENCE

CONFIG = """
[http]
max_age = 1
[[tickers]]
id = "kzt"
base = "KZT"
currencies = ["USD", "EUR", "RUB", "GBP", "CNY"]
sources = ["nbk", "cbr"]
[sources.nbk]
window = "00:00-23:59"
every = 1
sweep = 1
[client]
timeout = 2
connect_timeout = 1
attempts = 1
"""
REST: dict[str, str | tuple[str, int]] = {"EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12"}
MAX_DELAY = 5.0
"""Seconds for which a client may get older rates after newer ones; with all cores busy 0.0 was measured."""
PAGES = ("/v1/ticker", "/v1/ticker?currencies=usd,eur", "/v1/ticker.txt", "/embed", "/v1/ticker.svg?lang=kk")


def today() -> date:
    return datetime.now(ZoneInfo("Asia/Almaty")).date()


def dollar(edition: int) -> str:
    return f"{Decimal(475) + edition * Decimal('0.01'):.2f}"


def edition(document: dict[str, Any]) -> int:
    """Return the edition of the rates in a ticker's document."""
    return round((Decimal(str(document["quotes"][0]["rate"])) - 475) * 100)


@dataclass
class Instance:
    """A process of the service."""

    url: str
    folder: Path
    banks: Banks
    lock_life: float
    port: int = field(default_factory=unused_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, ahead: timedelta = timedelta()) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
        config = str(self.folder / "chaos.toml")
        arguments = [config, str(self.port), str(ahead.total_seconds()), str(self.lock_life)]
        with (self.folder / f"{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.instance", *arguments],
                cwd=ROOT, env=clean | self.banks.environ() | {"TICKER_STORE__URL": self.url},
                stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    def send(self, signal_number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(signal_number)

    def end(self, signal_number: signal.Signals) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(signal_number)
            self.process.wait(PATIENCE)
            self.process = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Clients:
    """Constant load on the edge by clients that check the order of what they get."""

    edge: Edge
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: list[tuple[float, str]] = field(default_factory=list)
    """Requests without a response: when each was sent, and the error."""
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    max_delay: float = 0.0
    """Longest time after newer rates at which older ones were shown, in seconds."""

    async def run(self, number: int) -> None:
        """Run one client until it is cancelled."""
        seen: dict[int, float] = {}
        count = number
        connector = TCPConnector(local_addr=(f"127.0.2.{number + 1}", 0))  # the edge limits requests per address
        async with ClientSession(self.edge.url, connector=connector, timeout=ClientTimeout(60)) as client:
            while True:
                count += 1
                page = PAGES[0] if count % 3 else PAGES[count // 3 % len(PAGES)]
                started = time.monotonic()
                try:
                    async with client.get(page) as response:
                        body = await response.read()
                except (ClientError, OSError, TimeoutError) as error:
                    self.unanswered.append((started, repr(error)))
                else:
                    self.statuses[response.status] += 1
                    self.slowest = max(self.slowest, time.monotonic() - started)
                    if response.status != 200:
                        self.faults.append(f"{page}: {response.status} {body[:200]!r}")
                    elif page == PAGES[0]:
                        self._compare(seen, edition(json.loads(body)))
                await asyncio.sleep(0.05)

    def _compare(self, seen: dict[int, float], shown: int) -> None:
        now = time.monotonic()
        seen.setdefault(shown, now)
        since = min((at for newer, at in seen.items() if newer > shown), default=now)
        self.max_delay = max(self.max_delay, now - since)
        if now - since > MAX_DELAY:
            self.faults.append(f"edition {shown} was shown {now - since:.1f} s after a newer one")


@dataclass
class Stack:
    banks: Banks
    instances: list[Instance]
    servers: list[Server]
    sentinels: list[Server]
    edge: Edge
    clients: Clients
    store: Store
    client: ClientSession
    edition: int = 0
    memory: dict[int, list[int]] = field(default_factory=dict)
    """Resident memory by process, in bytes, one value a second."""

    def publish(self, *, times: int = 1) -> None:
        """Let the National Bank publish a new rate of today's dollar."""
        self.edition += 1
        rates = REST | {"USD": str(times * Decimal(dollar(self.edition)))}
        self.banks.published["nbk"][today()] = rates

    async def get(self, instance: Instance, path: str) -> tuple[int, str]:
        try:
            async with self.client.get(f"{instance.base_url}{path}") as response:
                return response.status, await response.text()
        except (ClientError, OSError, TimeoutError):
            return 0, ""

    async def leaders(self) -> list[Instance]:
        """Return the instances that report to be the leader."""
        running = [instance for instance in self.instances if instance.process]
        return [item for item in running if "\nticker_leader 1.0" in (await self.get(item, "/metrics"))[1]]

    async def leader(self, within: float = PATIENCE) -> Instance:
        """Return the leader as soon as exactly one instance leads."""
        found = list[Instance]()
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found = await self.leaders()
            if len(found) == 1:
                return found[0]
            await asyncio.sleep(0.1)
        raise AssertionError(f"{len(found)} leaders after {within} s")

    async def shown_by(self, instance: Instance) -> int | None:
        status, body = await self.get(instance, "/v1/ticker")
        return edition(json.loads(body)) if status == 200 else None

    async def until_all_show(self, edition: int, within: float = PATIENCE) -> None:
        """Wait until every running instance shows an edition."""
        deadline, shown = time.monotonic() + within, list[int | None]()
        while time.monotonic() < deadline:
            shown = [await self.shown_by(instance) for instance in self.instances if instance.process]
            if shown and all(item == edition for item in shown):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"after {within} s the instances show {shown}, not {edition}")

    async def until_settled(self) -> Instance:
        """Wait until one instance leads and an update reaches all; return the leader."""
        leader = await self.leader()
        self.publish()
        await self.until_all_show(self.edition)
        return leader

    async def health(self, instance: Instance) -> dict[str, Any]:
        _, body = await self.get(instance, "/health")
        return dict(json.loads(body or "{}"))

    async def until_reported(self, instance: Instance, text: str, within: float = PATIENCE) -> None:
        """Wait until the notes of an instance's health contain a text."""
        deadline, notes = time.monotonic() + within, ""
        while time.monotonic() < deadline:
            notes = str((await self.health(instance)).get("notes"))
            if text in notes:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"health does not report {text!r}, but {notes}")

    async def watch_memory(self) -> None:
        while True:
            for instance in self.instances:
                if instance.process:
                    with suppress(psutil.Error):
                        resident = psutil.Process(instance.process.pid).memory_info().rss
                        self.memory.setdefault(instance.process.pid, []).append(resident)
            await asyncio.sleep(1)

    async def until_replaced(self, master: Server) -> None:
        """Wait until a server other than `master` is the master."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(AssertionError):
                if self.master() is not master:
                    return
            await asyncio.sleep(0.1)
        raise AssertionError("no other server became the master")

    def master(self) -> Server:
        for server in self.servers:
            if server.process:
                with server.client() as client, suppress(Exception):
                    if client.info("replication")["role"] == "master":
                        return server
        raise AssertionError("no server is the master")


@asynccontextmanager
async def run_stack(folder: Path, *, lock_life: float, clients: int) -> AsyncIterator[Stack]:
    """Start the stack, wait until all instances show the same, and start clients; `lock_life` is in seconds."""
    (folder / "chaos.toml").write_text(CONFIG)
    persistence = ("--appendonly", "yes", "--appendfsync", "everysec")
    timeouts = "sentinel down-after-milliseconds main 3000\nsentinel failover-timeout main 5000\n"
    with ExitStack() as resources:
        master = resources.enter_context(valkey(folder / "one", *persistence))
        replica = resources.enter_context(
            valkey(folder / "two", *persistence, "--replicaof", f"127.0.0.1 {master.port}")
        )
        sentinels = [
            resources.enter_context(sentinel(folder / f"sentinel{number}", master, quorum=2, more=timeouts))
            for number in range(3)
        ]
        url = f"redis+sentinel://{','.join(f'127.0.0.1:{server.port}' for server in sentinels)}/main/0"
        async with AsyncExitStack() as async_resources:
            banks = await async_resources.enter_async_context(serving(Banks()))
            banks.published["nbk"] = {
                today() - timedelta(days=number): REST | {"USD": f"{475 - number}.00"} for number in range(5)
            }
            banks.published["cbr"] = {today(): {"USD": "81.00", "KZT": ("17.05", 100)}}
            instances = [Instance(url, folder, banks, lock_life) for _ in range(3)]
            for instance in instances:
                resources.callback(instance.end, signal.SIGKILL)
                instance.start()
            edge = resources.enter_context(run_edge([instance.port for instance in instances]))
            client = await async_resources.enter_async_context(ClientSession(timeout=ClientTimeout(15)))
            store = await async_resources.enter_async_context(Store(url, "ticker:"))
            stack = Stack(banks, instances, [master, replica], sentinels, edge, Clients(edge), store, client)
            await stack.until_all_show(0)
            tasks = [asyncio.create_task(stack.clients.run(number)) for number in range(clients)]
            tasks.append(asyncio.create_task(stack.watch_memory()))
            try:
                yield stack
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
