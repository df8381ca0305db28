"""Run the service in a process of its own."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil

from service.settings.loader import ROOT
from tests.support.ports import unused_port
from tests.support.standin import RawRates
from tests.support.wait import PATIENCE

OLD: RawRates = {"USD": "400.00", "EUR": "500.00", "RUB": "5.00", "GBP": "600.00", "CNY": "80.00"}
NEW: RawRates = {"USD": "405.40", "EUR": "513.40", "RUB": "5.00", "GBP": "624.66", "CNY": "80.20"}


class Service:
    """A running service; its `TICKER_` variables are those of `env` alone."""

    def __init__(self, env: Mapping[str, str], *arguments: str, port: int | None) -> None:
        self.port = port
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
        listen = ["--port", str(port)] if port else []
        command = [sys.executable, "-m", "service", "serve", *listen, *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean | dict(env),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_for(self, path: str, found: str, within: float = PATIENCE) -> str:
        """Return the body of `path` once it contains `found`."""
        deadline, last = time.monotonic() + within, ""
        while time.monotonic() < deadline:
            try:
                _, last = self.get(path)
            except OSError:
                assert self.process.poll() is None, self.ended()[1]
            if found in last:
                return last
            time.sleep(0.02)
        raise AssertionError(f"{path} has no {found!r} within {within} s, but {last!r}")

    def ended(self, within: float = PATIENCE) -> tuple[int, str]:
        """Wait for the end of the process; return exit status and log."""
        _, log = self.process.communicate(timeout=within)
        return self.process.returncode, log

    def kill_all(self) -> None:
        """Kill the service and its embedded store with SIGKILL."""
        for process in (*psutil.Process(self.process.pid).children(), self.process):
            os.kill(process.pid, signal.SIGKILL)
        self.ended()


@contextmanager
def running(env: Mapping[str, str], *arguments: str, port: int | None = -1) -> Iterator[Service]:
    """Run a service on a free port, on `port`, or on the port of its settings (None)."""
    service = Service(env, *arguments, port=unused_port() if port == -1 else port)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.send_signal(signal.SIGTERM)
            service.ended()


def local(zone: str) -> date:
    return datetime.now(ZoneInfo(zone)).date()


def offline(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which no bank can be reached."""
    closed = f"http://127.0.0.1:{unused_port()}"
    return {f"TICKER_SOURCES__{key}__URL": closed for key in ("NBK", "CBR", "ECB", "NBU", "CBU")} | {
        "TICKER_STORE__DATA_DIR": str(tmp_path / "d"),
        "TICKER_CLIENT__ATTEMPTS": "1",
    }
