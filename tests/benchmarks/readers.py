"""Readers of `/v1/stream`, a process of their own: when each of them has an event, by the clock that processes share.

Plain sockets and one selector: so many readers have to cost less than what they read from. For each event that all
have it prints its data; once its input ends, all times, one line an event.
"""

import json
import selectors
import socket
import sys
import time
from collections import defaultdict
from itertools import islice

from tests.benchmarks.load import request

_AT_ONCE = 100
"""Connections that are opened together; fewer than what may wait to be accepted."""
_TIMEOUT = 20.0


def main(each: int, *ports: int) -> None:
    selector = selectors.DefaultSelector()
    asked = iter([port for port in ports for _ in range(each)])
    while opened := [_connected(port) for port in islice(asked, _AT_ONCE)]:
        for connection in opened:
            _begun(connection)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
    _tell("open")
    times = _read(selector, each * len(ports))
    for event in times:
        _tell(json.dumps(event))


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
    connection.sendall(request("/v1/stream"))
    return connection


def _begun(connection: socket.socket) -> None:
    """Read the head and the first event."""
    got = b""
    while b"\n\n" not in got.partition(b"event: ")[2]:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError(f"no stream: {got!r}")
        got += chunk


def _read(selector: selectors.BaseSelector, readers: int) -> list[list[float]]:
    """Read until the input ends; return the times of each event."""
    selector.register(sys.stdin, selectors.EVENT_READ)
    times: dict[bytes, list[float]] = defaultdict(list)
    parts: dict[int, bytes] = {}
    while True:
        for key, _ in selector.select():
            if not isinstance(key.fileobj, socket.socket):
                return list(times.values())
            got = key.fileobj.recv(65536)
            now = time.monotonic()
            if not got:
                raise ConnectionError("a stream has ended")
            if key.fd in parts:
                got = parts.pop(key.fd) + got
            if not got.endswith(b"\n\n"):
                parts[key.fd] = got
                continue
            _, found, event = got.rpartition(b"id: ")
            if found:  # else it was a heartbeat
                tag, _, event = event.partition(b"\n")
                times[tag].append(now)
                if len(times[tag]) == readers:
                    _tell(event.partition(b"data: ")[2].decode().strip())


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is read


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
