"""Notify systemd: that the service is ready, that it is stopping, and that its event loop runs (watchdog).

The protocol of sd_notify(3): one datagram to the socket that `NOTIFY_SOCKET` names; without it nothing is sent. Gain: a
unit of `Type=notify` counts as started when it serves, and a process whose event loop hangs is restarted. Switched off
by `Type=exec` in the unit.
"""

import asyncio
import os
import socket
from collections.abc import Mapping

from service.runtime.background import BackgroundTask


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send a state such as `READY=1`; a socket that cannot be reached is ignored, as systemd's own library does."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except OSError:
            return


class Watchdog(BackgroundTask):
    """Background task that reports twice in the interval of `WATCHDOG_USEC` that the event loop runs."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    async def _run(self) -> None:
        interval = self._environ.get("WATCHDOG_USEC", "")
        if not interval.isdecimal():
            return
        while True:
            notify("WATCHDOG=1", self._environ)
            await asyncio.sleep(int(interval) / 2_000_000)
