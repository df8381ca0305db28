"""Find free ports for servers that run in a process of their own."""

import random
import socket
from contextlib import suppress
from pathlib import Path

from aiohttp import test_utils

_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000


def unused_port() -> int:
    """Return a free port below the range that the system uses for outgoing connections.

    On a busy machine a server binds it seconds later; by then a port of that range could be in use.
    """
    end = int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0]) if _EPHEMERAL_RANGE.exists() else 0
    for port in random.SystemRandom().sample(range(_LOWEST, end), k=min(100, max(0, end - _LOWEST))):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            return port
    return test_utils.unused_port()
