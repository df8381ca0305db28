"""Free ports for servers that run as a process of their own."""

import random
import socket
from contextlib import suppress
from pathlib import Path

from aiohttp import test_utils

_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000


def unused_port() -> int:
    """Return a free port that the system gives to nobody else: below those of outgoing connections.

    A server may bind it seconds later, on a busy machine. A port of that range may be in use by then.
    """
    end = int(_GIVEN_OUT.read_text(encoding="ascii").split()[0]) if _GIVEN_OUT.exists() else 0
    for port in random.SystemRandom().sample(range(_LOWEST, end), k=min(100, max(0, end - _LOWEST))):
        with suppress(OSError), socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("", port))
            return port
    return test_utils.unused_port()
