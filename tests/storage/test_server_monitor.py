"""Monitor of the store's server, on real servers, replicas and Sentinels."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.settings import Settings
from service.storage.embedded_valkey import EmbeddedValkey
from service.storage.redis_connection import SentinelStatus
from service.storage.repository import Store
from service.storage.server_monitor import ServerMonitor, ServerStatus
from tests.conftest import Started
from tests.support.metrics import Samples, scraped, value
from tests.support.ports import unused_port
from tests.support.servers import Server, sentinel
from tests.support.servers import valkey as server
from tests.support.wait import until

METRICS = {
    f"ticker_store_{name}"
    for name in (
        "memory_bytes", "memory_limit_bytes", "saved", "disk_size_bytes", "disk_free_bytes", "replicas",
        "replicas_known", "sentinels", "sentinels_up",
    )
}  # fmt: skip


def monitored(samples: Samples) -> dict[str, float]:
    """Return the metrics of the monitor that have a value."""
    return {name: number for (name, labels), number in samples.items() if name in METRICS and not labels}


@dataclass
class Stores:
    """A server, its replica, and a Sentinel; a second Sentinel of the URL does not run."""

    master: Server
    replica: Server
    watcher: Server
    url: str


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    with ExitStack() as running:
        master = running.enter_context(server(tmp_path / "master"))
        follows = ("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")
        replica = running.enter_context(server(tmp_path / "replica", *follows))
        watcher = running.enter_context(sentinel(tmp_path / "sentinel", master))
        url = f"redis+sentinel://127.0.0.1:{watcher.port},127.0.0.1:{unused_port()}/main/0"
        yield Stores(master, replica, watcher, url)


async def until_inspected(monitor: ServerMonitor, condition: Callable[[ServerMonitor], object]) -> None:
    async def holds() -> bool:
        await monitor.inspect()
        return bool(condition(monitor))

    await until(holds)


async def test_memory_is_that_which_counts_against_the_limit(tmp_path: Path) -> None:
    """In bytes; without a limit there is none."""
    with server(tmp_path) as own, own.client() as client:
        async with Store(f"redis://127.0.0.1:{own.port}/0", "t:") as store:
            monitor = ServerMonitor(store)
            await monitor.inspect()
            before = monitor.server
            for number in range(100):  # the buffers of one large command would count too
                client.set(f"filler{number}", b"x" * 100_000)
            client.config_set("maxmemory", "100mb")
            await monitor.inspect()
            after = monitor.server
            assert before.memory
            assert after.memory
            assert 10_000_000 < after.memory - before.memory < 15_000_000
            assert (before.memory_limit, after.memory_limit) == (None, 100 * 1024 * 1024)
            assert after.is_saved is True
            assert (monitor.sentinels, monitor.disk) == (None, None)


async def test_server_that_cannot_save_is_reported(tmp_path: Path) -> None:
    """The folder of its snapshots has vanished; when it is back, the next one succeeds."""
    folder = tmp_path / "own"
    with server(folder, "--enable-protected-configs", "yes") as own, own.client() as client:
        async with Store(f"redis://127.0.0.1:{own.port}/0", "t:") as store:
            monitor = ServerMonitor(store)
            client.set("key", "value")
            shutil.rmtree(folder)
            client.bgsave()
            await until_inspected(monitor, lambda found: found.server.is_saved is False)
            client.config_set("dir", str(tmp_path))
            client.bgsave()
            await until_inspected(monitor, lambda found: found.server.is_saved is True)


async def test_replicas_and_sentinels_are_counted(stores: Stores) -> None:
    """Sentinels remember a replica that is down. One that hangs does not count, and the inspection ends."""
    async with Store(stores.url, "t:", timeout=1) as store:
        monitor = ServerMonitor(store)
        both = SentinelStatus(configured=2, responding=1, replicas=1)
        await until_inspected(monitor, lambda found: (found.server.replicas, found.sentinels) == (1, both))
        stores.replica.kill()
        await until_inspected(monitor, lambda found: found.server.replicas == 0)
        assert monitor.sentinels == both
        assert stores.watcher.process
        stores.watcher.end()
        await monitor.inspect()
        assert monitor.sentinels == SentinelStatus(configured=2, responding=0, replicas=None)


async def test_sentinel_of_another_store_does_not_count(stores: Stores) -> None:
    """It responds, but does not know the master of this name."""
    async with Store(stores.url.replace("/main/", "/other/"), "t:", timeout=1) as store:
        monitor = ServerMonitor(store)
        await monitor.inspect()
        assert monitor.sentinels == SentinelStatus(configured=2, responding=0, replicas=None)


async def test_outage_is_unknown(tmp_path: Path) -> None:
    """No metric keeps its last value."""
    with server(tmp_path) as own:
        async with Store(f"redis://127.0.0.1:{own.port}/0", "t:") as store:
            monitor = ServerMonitor(store)
            await monitor.inspect()
            assert monitor.server != ServerStatus()
            own.kill()
            await monitor.inspect()
            assert monitor.server == ServerStatus()


async def test_user_without_the_right_to_info_is_served(tmp_path: Path) -> None:
    with server(tmp_path) as own:
        with own.client() as client:
            client.execute_command("ACL SETUSER ticker on >s3cret ~* &* +@all -info")
        async with Store(f"redis://ticker:s3cret@127.0.0.1:{own.port}/0", "t:") as store:
            monitor = ServerMonitor(store)
            await monitor.inspect()
            assert monitor.server == ServerStatus()


@pytest.mark.parametrize("info", [{}, {"used_memory": "?", "connected_slaves": 2, "slave0": "junk"}])
def test_unusual_reply_is_unknown(info: dict[str, object]) -> None:
    """A proxy or a managed service may report other fields; replicas that are not described do not count."""
    status = ServerStatus.of(info)
    assert status == ServerStatus(replicas=0 if info else None)


async def test_crash_is_logged_once_and_ends(tmp_path: Path) -> None:
    """The metrics are unknown until an inspection succeeds."""
    pauses: asyncio.Queue[float] = asyncio.Queue(1)

    async def sleep(seconds: float) -> None:
        await pauses.put(seconds)

    with server(tmp_path) as own:
        async with Store(f"redis://127.0.0.1:{own.port}/0", "t:") as store:
            monitor, working = ServerMonitor(store, sleep=sleep), store.server_info
            with capture_logs() as logs:
                store.server_info = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
                async with monitor:
                    for _ in range(3):
                        assert await pauses.get() == 30
                    assert monitor.server == ServerStatus()
                    store.server_info = working  # type: ignore[method-assign]

                    async def is_back() -> bool:
                        await pauses.get()
                        return monitor.server != ServerStatus()

                    await until(is_back)
            assert [entry["event"] for entry in logs] == ["monitor.crashed"]


async def test_metrics_of_a_store_with_sentinels(start: Started, settings: Settings, stores: Stores) -> None:
    """All metrics but the disk, which is on another machine, and the limit, which is not set."""
    store = settings.store.model_copy(update={"url": SecretStr(stores.url)})
    client = await start(settings.model_copy(update={"store": store}))

    async def are_known() -> dict[str, float]:
        found = monitored(await scraped(client))
        return found if "ticker_store_sentinels" in found else {}

    found = await until(are_known)
    disk = {"ticker_store_disk_size_bytes", "ticker_store_disk_free_bytes"}
    assert found.keys() >= METRICS - disk - {"ticker_store_memory_limit_bytes", "ticker_store_replicas_known"}
    assert not found.keys() & disk
    assert found["ticker_store_sentinels"] == 2
    assert found["ticker_store_sentinels_up"] == 1
    await client.close()


async def test_disk_of_the_embedded_server(settings: Settings, tmp_path: Path) -> None:
    """Size and free space of the file system of its folder; unknown if the folder has vanished."""
    async with (
        EmbeddedValkey(tmp_path / "data", exclusive=True) as embedded,
        Store(embedded.url, "t:") as store,
    ):
        monitor = ServerMonitor(store, embedded.data_dir)
        await monitor.inspect()
        assert monitor.disk
        assert 0 < monitor.disk.free <= monitor.disk.size
        monitor.data_dir = tmp_path / "missing"
        await monitor.inspect()
        assert monitor.disk is None


async def test_metrics_of_a_store_without_sentinels(start: Started) -> None:
    """Memory, saving and replicas."""
    client = await start()

    async def are_known() -> dict[str, float]:
        found = monitored(await scraped(client))
        return found if "ticker_store_memory_bytes" in found else {}

    found = await until(are_known)
    assert found.keys() == {"ticker_store_memory_bytes", "ticker_store_saved", "ticker_store_replicas"}
    assert value(await scraped(client), "ticker_store_saved") == 1
