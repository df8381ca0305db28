"""What systemd is notified of, received by a socket like its own."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.runtime.systemd import Watchdog, notify
from tests.support.wait import until_true


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(60)
        yield receiver


def test_state_is_sent_to_the_socket(receiver: socket.socket) -> None:
    notify("READY=1", {"NOTIFY_SOCKET": receiver.getsockname()})
    assert receiver.recv(100) == b"READY=1"


def test_state_is_sent_to_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0currency-ticker-test")
        receiver.settimeout(60)
        notify("STOPPING=1", {"NOTIFY_SOCKET": "@currency-ticker-test"})
        assert receiver.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/notify", "vsock:2:1"])
def test_unusable_socket_is_ignored(address: str) -> None:
    """The service runs without systemd, and when systemd is restarted."""
    notify("READY=1", {"NOTIFY_SOCKET": address})


async def test_watchdog_reports_while_the_loop_runs(receiver: socket.socket) -> None:
    """Twice in its interval; nothing without an interval."""
    receiver.setblocking(False)
    environ = {"NOTIFY_SOCKET": receiver.getsockname(), "WATCHDOG_USEC": "20000"}
    reports = []

    def received() -> bool:
        try:
            reports.append(receiver.recv(100))
        except BlockingIOError:
            return False
        return len(reports) >= 3

    async with Watchdog({"NOTIFY_SOCKET": receiver.getsockname()}):
        await asyncio.sleep(0)
        assert not received()
    async with Watchdog(environ):
        await until_true(received)
    assert set(reports) == {b"WATCHDOG=1"}
