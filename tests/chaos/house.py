"""A whole house to do harm to: three instances, a Valkey and its replica, three Sentinels, the edge, banks, readers."""

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
from tests.support.edge import Edge, edging
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
LATE = 5.0
"""Seconds in which a reader may be shown again what is older than what it has seen; beside busy loops it was 0.0."""
PAGES = ("/v1/ticker", "/v1/ticker?currencies=usd,eur", "/v1/ticker.txt", "/embed", "/v1/ticker.svg?lang=kk")


def today() -> date:
    return datetime.now(ZoneInfo("Asia/Almaty")).date()


def dollar(edition: int) -> str:
    return f"{Decimal(475) + edition * Decimal('0.01'):.2f}"


def edition(document: dict[str, Any]) -> int:
    """Return which edition of the figures a ticker shows."""
    return round((Decimal(str(document["quotes"][0]["rate"])) - 475) * 100)


@dataclass
class Instance:
    """One process of the service."""

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

    def send(self, what: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(what)

    def end(self, how: signal.Signals) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(how)
            self.process.wait(PATIENCE)
            self.process = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Readers:
    """Constant load at the edge, by readers that remember what they have seen."""

    edge: Edge
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: list[tuple[float, str]] = field(default_factory=list)
    """When each request was sent that nobody answered, and the error."""
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    latest: float = 0.0
    """Seconds after which, at most, something older was shown."""

    async def read(self, number: int) -> None:
        """One reader, until it is cancelled."""
        seen: dict[int, float] = {}
        asked = number
        own = TCPConnector(local_addr=(f"127.0.2.{number + 1}", 0))  # the edge limits what comes from one address
        async with ClientSession(self.edge.url, connector=own, timeout=ClientTimeout(60)) as client:
            while True:
                asked += 1
                page = PAGES[0] if asked % 3 else PAGES[asked // 3 % len(PAGES)]
                begun = time.monotonic()
                try:
                    async with client.get(page) as reply:
                        body = await reply.read()
                except (ClientError, OSError, TimeoutError) as error:
                    self.unanswered.append((begun, repr(error)))
                else:
                    self.answers[reply.status] += 1
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                    if reply.status != 200:
                        self.faults.append(f"{page}: {reply.status} {body[:200]!r}")
                    elif page == PAGES[0]:
                        self._compare(seen, edition(json.loads(body)))
                await asyncio.sleep(0.05)

    def _compare(self, seen: dict[int, float], shown: int) -> None:
        now = time.monotonic()
        seen.setdefault(shown, now)
        since = min((at for newer, at in seen.items() if newer > shown), default=now)
        self.latest = max(self.latest, now - since)
        if now - since > LATE:
            self.faults.append(f"edition {shown} was shown {now - since:.1f} s after a newer one")


@dataclass
class House:
    banks: Banks
    instances: list[Instance]
    servers: list[Server]
    sentinels: list[Server]
    edge: Edge
    readers: Readers
    store: Store
    client: ClientSession
    edition: int = 0
    memory: dict[int, list[int]] = field(default_factory=dict)
    """By process: what it has taken, in bytes, second by second."""

    def publish(self, *, times: int = 1) -> None:
        """Let the National Bank correct today's dollar."""
        self.edition += 1
        figures = REST | {"USD": str(times * Decimal(dollar(self.edition)))}
        self.banks.published["nbk"][today()] = figures

    async def ask(self, instance: Instance, path: str) -> tuple[int, str]:
        try:
            async with self.client.get(f"{instance.address}{path}") as reply:
                return reply.status, await reply.text()
        except (ClientError, OSError, TimeoutError):
            return 0, ""

    async def leaders(self) -> list[Instance]:
        """Return who says that it leads."""
        living = [one for one in self.instances if one.process]
        return [one for one in living if "\nticker_leader 1.0" in (await self.ask(one, "/metrics"))[1]]

    async def leader(self, within: float = PATIENCE) -> Instance:
        """Return the only leader, once there is one."""
        found = list[Instance]()
        with_patience = time.monotonic() + within
        while time.monotonic() < with_patience:
            found = await self.leaders()
            if len(found) == 1:
                return found[0]
            await asyncio.sleep(0.1)
        raise AssertionError(f"{len(found)} leaders after {within} s")

    async def shows(self, instance: Instance) -> int | None:
        status, body = await self.ask(instance, "/v1/ticker")
        return edition(json.loads(body)) if status == 200 else None

    async def all_show(self, edition: int, within: float = PATIENCE) -> None:
        """Wait until every instance that lives shows an edition."""
        give_up, shown = time.monotonic() + within, list[int | None]()
        while time.monotonic() < give_up:
            shown = [await self.shows(one) for one in self.instances if one.process]
            if shown and all(one == edition for one in shown):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"after {within} s they show {shown}, not {edition}")

    async def settled(self) -> Instance:
        """Wait until one leads and news come to all; return who leads."""
        leader = await self.leader()
        self.publish()
        await self.all_show(self.edition)
        return leader

    async def health(self, instance: Instance) -> dict[str, Any]:
        _, body = await self.ask(instance, "/health")
        return dict(json.loads(body or "{}"))

    async def told(self, instance: Instance, what: str, within: float = PATIENCE) -> None:
        """Wait until an instance's health tells something."""
        give_up, notes = time.monotonic() + within, ""
        while time.monotonic() < give_up:
            notes = str((await self.health(instance)).get("notes"))
            if what in notes:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"health does not tell {what!r}, but {notes}")

    async def watch(self) -> None:
        while True:
            for one in self.instances:
                if one.process:
                    with suppress(psutil.Error):
                        taken = psutil.Process(one.process.pid).memory_info().rss
                        self.memory.setdefault(one.process.pid, []).append(taken)
            await asyncio.sleep(1)

    async def replaced(self, master: Server) -> None:
        """Wait until another server is the master."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
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
async def house(folder: Path, *, lock_life: float, readers: int) -> AsyncIterator[House]:
    """Build it, wait until all show the same, and let readers read; `lock_life` is that of the leader's lock."""
    (folder / "chaos.toml").write_text(CONFIG)
    durable = ("--appendonly", "yes", "--appendfsync", "everysec")
    wary = "sentinel down-after-milliseconds main 3000\nsentinel failover-timeout main 5000\n"
    with ExitStack() as stack:
        master = stack.enter_context(valkey(folder / "one", *durable))
        replica = stack.enter_context(valkey(folder / "two", *durable, "--replicaof", f"127.0.0.1 {master.port}"))
        watching = [
            stack.enter_context(sentinel(folder / f"sentinel{number}", master, quorum=2, more=wary))
            for number in range(3)
        ]
        url = f"redis+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in watching)}/main/0"
        async with AsyncExitStack() as more:
            banks = await more.enter_async_context(serving(Banks()))
            banks.published["nbk"] = {
                today() - timedelta(days=number): REST | {"USD": f"{475 - number}.00"} for number in range(5)
            }
            banks.published["cbr"] = {today(): {"USD": "81.00", "KZT": ("17.05", 100)}}
            instances = [Instance(url, folder, banks, lock_life) for _ in range(3)]
            for one in instances:
                stack.callback(one.end, signal.SIGKILL)
                one.start()
            edge = stack.enter_context(edging([one.port for one in instances]))
            client = await more.enter_async_context(ClientSession(timeout=ClientTimeout(15)))
            store = await more.enter_async_context(Store(url, "ticker:"))
            built = House(banks, instances, [master, replica], watching, edge, Readers(edge), store, client)
            await built.all_show(0)
            tasks = [asyncio.create_task(built.readers.read(number)) for number in range(readers)]
            tasks.append(asyncio.create_task(built.watch()))
            try:
                yield built
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
