"""Measured servers as separate processes; every process started here is also stopped here."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

from tests.benchmarks.load import MeasureError
from tests.support.ports import unused_port

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
_START_TIMEOUT = 20.0
_COMMAND_TIMEOUT = 500.0
"""Maximum seconds of a command."""
_CONFIG = """\
[[tickers]]
id = "kzt"
base = "KZT"
currencies = ["USD", "EUR", "RUB", "GBP", "CNY"]
sources = [{sources}]
"""
_BANKS = ("nbk", "cbr", "ecb", "nbu", "cbu")


@dataclass(frozen=True)
class Cores:
    """The cores of the server and of the load, so that they do not affect each other.

    None, for both, if processes cannot be pinned: one core only, or no Linux.
    """

    server: int | None = None
    load: int | None = None


def available_cores() -> Cores:
    if sys.platform != "linux":
        return Cores()
    cores = sorted(os.sched_getaffinity(0))
    return Cores(cores[0], cores[-1]) if len(cores) > 1 else Cores()


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Pin this process, and those started meanwhile, to one core; None does not pin."""
    if sys.platform != "linux" or core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    started_in: float
    """Seconds from the spawn to the first response with status 200."""

    @property
    def resident(self) -> float:
        return resident(self.process.pid)


def resident(pid: int) -> float:
    """Return the resident memory of one process, without its children, in MB (1,000,000 bytes)."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


class Service:
    """The service with its own data directory and the sample data as its only source.

    With the port of a `bank`, that is the preferred source; `url` is another store; `config` and `environ` replace the
    default ones; `root` is the checkout whose service is run.
    """

    def __init__(
        self,
        folder: Path,
        bank_port: int | None = None,
        url: str | None = None,
        config: str = "",
        environ: Mapping[str, str] | None = None,
        root: Path = ROOT,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._root = root
        self.data = folder / "data"
        self._log = folder / "service.log"
        self._config = folder / "ticker.toml"
        enabled = _BANKS[:1] if bank_port else ()
        tables = "".join(f"\n[sources.{key}]\nenabled = {str(key in enabled).lower()}\n" for key in _BANKS)
        sources = ", ".join(f'"{key}"' for key in (*enabled, "recorded"))
        self._config.write_text(config or _CONFIG.format(sources=sources) + tables, encoding="utf-8")
        self._environ = {key: value for key, value in os.environ.items() if not key.startswith("TICKER_")}
        self._environ["TICKER_STORE__DATA_DIR"] = str(self.data)
        self._environ |= environ or {}
        if url:
            self._environ["TICKER_STORE__URL"] = url
        if bank_port:
            self._environ["TICKER_SOURCES__NBK__URL"] = f"http://{HOST}:{bank_port}/rss"

    @contextmanager
    def running(self) -> Iterator[Server]:
        port = unused_port()
        command = ("-m", "service", "serve", "--config", str(self._config))
        environ = {**self._environ, "TICKER_HTTP__PORT": str(port)}
        with _serving(command, port, "/readyz", self._log, environ, self._root) as server:
            yield server

    def run(self, *arguments: str) -> float:
        """Run a command on the same store; return its duration in seconds."""
        command = (sys.executable, "-m", "service", *arguments, "--config", str(self._config))
        started = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=self._root,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_TIMEOUT,
        )
        if done.returncode:
            raise MeasureError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        return time.perf_counter() - started


def processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


@contextmanager
def mock_server(name: str, folder: Path) -> Iterator[Server]:
    """Run a server of this package by the name of its module: `hello`, `bank` or `banks`."""
    port = unused_port()
    command = ("-m", f"tests.benchmarks.{name}", str(port))
    with _serving(command, port, "/", folder / f"{name}.log", os.environ) as server:
        yield server


def seconds_to_run(code: str) -> float:
    """Return the seconds that a new Python process needs to run `code` and to exit."""
    started = time.perf_counter()
    subprocess.run((sys.executable, "-c", code), cwd=ROOT, check=True, timeout=_START_TIMEOUT)
    return time.perf_counter() - started


def resident_after(code: str) -> float:
    """Return the resident memory of a new Python process that has run `code`, in MB."""
    command = (sys.executable, "-c", f"{code}; import sys; print(flush=True); sys.stdin.read()")
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise MeasureError(f"the bare process did not run: {code}")
        return resident(process.pid)  # leaving the context closes its input, which ends it


@contextmanager
def _serving(
    command: tuple[str, ...], port: int, ready: str, log: Path, environ: Mapping[str, str], root: Path = ROOT
) -> Iterator[Server]:
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            (sys.executable, *command), cwd=root, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        while not _is_ready(port, ready):
            if process.poll() is not None or time.perf_counter() - started > _START_TIMEOUT:
                log_tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise MeasureError(f"{' '.join(command)}: not ready, exit status {process.returncode}\n{log_tail}")
            time.sleep(0.005)
        yield Server(process, port, time.perf_counter() - started)
    finally:
        _stop(process)


def _is_ready(port: int, path: str) -> bool:
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process; a service that does not stop is killed together with the store that it started."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        raise MeasureError(f"{process.args!r} did not stop within 10 s of SIGTERM") from None
