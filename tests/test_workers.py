"""Several worker processes on one port under gunicorn: each is an instance of the service."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.settings.loader import ROOT
from tests.support.ports import unused_port
from tests.support.process import NEW, OLD, Service, local
from tests.support.servers import valkey
from tests.support.standin import Banks, serving
from tests.support.wait import PATIENCE, wait_until

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "gunicorn", "--config", "config/gunicorn.conf.py"]
CORRECTED = {**NEW, "USD": "406.00"}


def environ(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")} | dict(env)


class Workers(Service):
    """A gunicorn manager with two workers."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.port = unused_port()
        self.process = subprocess.Popen(
            [*COMMAND, "--workers", "2"], cwd=ROOT, env=environ(env) | {"TICKER_HTTP__PORT": str(self.port)},
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    @property
    def pids(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def get_from_each(self, path: str) -> dict[int, tuple[int, str, bytes]]:
        """Request a path until each worker has responded; return status, ETag and body by process id."""
        responses: dict[int, tuple[int, str, bytes]] = {}
        deadline = time.monotonic() + PATIENCE
        while len(responses) < 2:
            assert time.monotonic() < deadline, f"only {set(responses)} of {self.pids} responded"
            with suppress(OSError), self.connection() as (connection, pid):
                connection.request("GET", path)
                response = connection.getresponse()
                responses[pid] = response.status, response.headers.get("ETag", ""), response.read()
        return responses

    @contextmanager
    def connection(self) -> Iterator[tuple[HTTPConnection, int]]:
        """Yield a connection and the process id of its worker; raise `OSError` if no worker has accepted it yet."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/livez")
            connection.getresponse().read()
            address = connection.sock.getsockname()
            for pid in self.pids:
                with suppress(psutil.Error):
                    if any(item.raddr == address for item in psutil.Process(pid).net_connections("tcp")):
                        yield connection, pid
                        return
            raise OSError("no worker has accepted the connection")
        finally:
            connection.close()

    def until(self, path: str, found: bytes) -> dict[int, tuple[int, str, bytes]]:
        """Return the responses of both workers once both contain `found`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            responses = self.get_from_each(path)
            if all(found in body for _, _, body in responses.values()):
                return responses
            assert time.monotonic() < deadline, responses
            time.sleep(0.05)


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[tuple[Workers, Banks]]:
    with valkey(tmp_path / "v") as server:
        async with serving(Banks()) as banks:
            today = local("Asia/Almaty")
            banks.published["nbk"] = {today - timedelta(days=1): OLD, today: NEW}
            env = banks.environ() | {
                "TICKER_STORE__URL": f"redis://127.0.0.1:{server.port}/0",
                "TICKER_SOURCES__NBK__SWEEP": "1",
                "TICKER_LOG__FORMAT": "json",
            }
            running = Workers(env)
            try:
                yield running, banks
            finally:
                if running.process.poll() is None:
                    running.process.kill()  # the workers notice it and exit
                    await asyncio.to_thread(running.ended)


def pids_by_role(workers: Workers) -> dict[str, int]:
    """Return the process ids by role."""
    responses = workers.get_from_each("/health")
    return {json.loads(body)["checks"]["leader"][0]["observedValue"]: pid for pid, (_, _, body) in responses.items()}


async def test_two_workers_serve_the_same(workers: tuple[Workers, Banks]) -> None:
    """Same bytes and ETag; one polls; both get updates; a killed worker is replaced; all exit in time."""
    service, banks = workers

    def same() -> None:
        responses = service.until("/v1/ticker", b'"source":"nbk"')
        assert len(set(responses.values())) == 1
        ((status, tag, body),) = set(responses.values())
        assert (status, bool(tag)) == (200, True)
        assert json.loads(body)["quotes"][0]["percent"] == 1.35
        assert pids_by_role(service).keys() == {"leader", "follower"}

    def replaced() -> None:
        killed = pids_by_role(service)["follower"]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in service.pids and len(service.pids) == 2, "another worker")
        assert len(set(service.until("/v1/ticker", b'"rate":406.00').values())) == 1
        assert pids_by_role(service).keys() == {"leader", "follower"}

    def ended() -> tuple[int, list[dict[str, Any]]]:
        with service.connection() as (connection, _):
            connection.request("GET", "/v1/stream")
            assert connection.getresponse().read1().startswith(b"retry: ")
            service.process.send_signal(signal.SIGTERM)
            status, log = service.ended()
        return status, [json.loads(line) for line in log.splitlines()]

    await asyncio.to_thread(same)
    banks.published["nbk"][local("Asia/Almaty")] = CORRECTED
    await asyncio.to_thread(service.until, "/v1/ticker", b'"rate":406.00')
    await asyncio.to_thread(replaced)
    status, log = await asyncio.to_thread(ended)
    assert status == 0
    assert sum(line["event"] == "worker.started" for line in log) == 3
    assert "SIGKILL" in next(line["event"] for line in log if line.get("logger") == "gunicorn.error")
    assert not [line for line in log if "127.0.0.1" in json.dumps(line) and line["event"] != "source.failing"]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "error: store.url: several workers need a shared store, e.g. redis://localhost:6379/0"),
        ({"TICKER_HTTP__PORT": "x"}, "error: TICKER_HTTP__PORT: http.port: "),
        ({"TICKER_STORE__URL": "nonsense"}, "error: store.url: is none of "),
    ],
)
def test_invalid_settings_are_reported_before_a_worker_starts(env: dict[str, str], message: str) -> None:
    """One line and exit status 2, as for every command."""
    done = subprocess.run(COMMAND, cwd=ROOT, env=environ(env), capture_output=True, text=True, check=False, timeout=90)
    assert (done.returncode, done.stderr.startswith(message), done.stderr.count("\n")) == (2, True, 1), done.stderr
