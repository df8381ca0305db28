"""Find free ports for servers that run in a process of their own."""

import fcntl
import os
import random
import socket
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from aiohttp import test_utils

_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_RESERVED = set[int]()
"""Ports that this process has returned."""


def unused_port() -> int:
    """Return a free port below the range that the system uses for outgoing connections.

    On a busy machine a server binds it seconds later; by then a port of that range could be in use. The port is
    reserved until this process ends: no other process that calls this function gets it.
    """
    end = int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0]) if _EPHEMERAL_RANGE.exists() else 0
    for port in random.SystemRandom().sample(range(_LOWEST, end), k=min(100, max(0, end - _LOWEST))):
        if port in _RESERVED:
            continue
        with suppress(OSError), socket.socket() as probe:
            fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            _RESERVED.add(port)
            return port
    return test_utils.unused_port()


@cache
def _reservations() -> BinaryIO:
    """Return a file in which the processes of this user lock a byte for each port; its content is never used."""
    path = Path(tempfile.gettempdir()) / f"currency-ticker-tests-{os.getuid()}.ports"
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+b")
