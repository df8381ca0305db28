"""Clients of `/v1/stream` in a separate process: the times at which each receives an event, by the monotonic clock.

They use plain sockets and one selector, so that they need less CPU than the server. For each event that all clients
have received the data is printed; when the input ends, all times are printed, one line per event.
"""

import json
import selectors
import socket
import sys
import time
from collections import defaultdict
from itertools import islice

from tests.benchmarks.load import request

_BATCH = 100
"""Connections opened together; fewer than the backlog of the server."""
_TIMEOUT = 20.0


def main(each: int, *ports: int) -> None:
    selector = selectors.DefaultSelector()
    remaining = iter([port for port in ports for _ in range(each)])
    while opened := [_connect(port) for port in islice(remaining, _BATCH)]:
        for connection in opened:
            _read_first_event(connection)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
    _print("open")
    times = _read(selector, each * len(ports))
    for event in times:
        _print(json.dumps(event))


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
    connection.sendall(request("/v1/stream"))
    return connection


def _read_first_event(connection: socket.socket) -> None:
    """Read the headers and the first event."""
    received = b""
    while b"\n\n" not in received.partition(b"event: ")[2]:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError(f"no stream: {received!r}")
        received += chunk


def _read(selector: selectors.BaseSelector, clients: int) -> list[list[float]]:
    """Read until the input ends; return the times of each event."""
    selector.register(sys.stdin, selectors.EVENT_READ)
    times: dict[bytes, list[float]] = defaultdict(list)
    parts: dict[int, bytes] = {}
    while True:
        for key, _ in selector.select():
            if not isinstance(key.fileobj, socket.socket):
                return list(times.values())
            received = key.fileobj.recv(65536)
            now = time.monotonic()
            if not received:
                raise ConnectionError("a stream has ended")
            if key.fd in parts:
                received = parts.pop(key.fd) + received
            if not received.endswith(b"\n\n"):
                parts[key.fd] = received
                continue
            _, found, event = received.rpartition(b"id: ")
            if found:  # otherwise it is a heartbeat
                tag, _, event = event.partition(b"\n")
                times[tag].append(now)
                if len(times[tag]) == clients:
                    _print(event.partition(b"data: ")[2].decode().strip())


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - read by the parent process


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
