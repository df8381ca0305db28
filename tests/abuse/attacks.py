"""Run one attack on a server in a process of its own: `python -m tests.abuse.attacks NAME PORT`.

It runs until standard input ends, then prints its results as JSON. Rates are limited, so that the attacker's own work
on the same machine is not measured.
"""

import asyncio
import gzip
import json
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle, permutations, product, repeat
from struct import pack
from typing import Final

import uvloop

from tests.abuse.shapes import HOST, OVERSIZED, SHAPES, get
from tests.abuse.talk import connect, send_raw

TICKER: Final = get(b"/v1/ticker", HOST.strip())
_BOMB: Final = gzip.compress(bytes(10_000_000))
_SHAPES: Final = cycle(SHAPES)
_DECADE: Final = b"/v1/history/usd?from=2016-01-01&to=2026-04-01"
_HISTORIES: Final = cycle(
    b"/v1/history/%s?from=2016-01-%02d&to=2026-%02d-%02d" % (code, first, month, day)
    for code, month, day, first in product((b"usd", b"eur", b"rub"), range(1, 4), range(1, 29), range(1, 31))
)
_ORDERS: Final = cycle(
    b"/v1/stream?currencies=" + b",".join(order) for order in permutations((b"usd", b"eur", b"rub", b"gbp", b"cny"))
)
_SILENCE: Final = 0.5
Seen = Counter[str]


@dataclass(frozen=True)
class Attack:
    """A kind of attack: `connection` is started `rate` times a second, at most `most` times."""

    name: str
    connection: Callable[[int, Seen], Awaitable[None]]
    rate: int
    most: int | None = None
    held: bool = False
    """Connections stay open until the server closes them."""

    @property
    def schedule(self) -> str:
        return f"{self.most:,} at {self.rate:,}/s" if self.most else f"{self.rate:,}/s"

    async def run(self, port: int, seen: Seen) -> None:
        started, loop = asyncio.get_running_loop().time(), asyncio.get_running_loop()

        async def run_one() -> None:
            try:
                await self.connection(port, seen)
            except ConnectionError:
                seen["reset"] += 1
            except asyncio.CancelledError:
                seen["open at the end" if self.held else "aborted at the end"] += 1
                raise

        async with asyncio.TaskGroup() as group:
            for number in range(self.most) if self.most else count():
                await asyncio.sleep(max(0, started + number / self.rate - loop.time()))
                group.create_task(run_one())


async def _send(port: int, seen: Seen, sent: bytes) -> None:
    exchange = await send_raw(port, sent, _SILENCE)
    seen.update(map(str, exchange.statuses))
    if not exchange.statuses:
        seen["closed" if exchange.closed else "silence"] += 1


async def _send_any_shape(port: int, seen: Seen) -> None:
    await _send(port, seen, next(_SHAPES).sent)


async def _hold(port: int, seen: Seen, first: bytes, more: bytes = b"", pause: float = 0.2, receive: int = 0) -> None:
    """Send, keep sending and never read, until the server closes the connection."""
    loop = asyncio.get_running_loop()
    connection = await connect(port, receive=receive)
    try:
        await loop.sock_sendall(connection, first)
        while more:
            await asyncio.sleep(pause)
            await loop.sock_sendall(connection, more)
        seen["closed" if not await loop.sock_recv(connection, 1) else "answered"] += 1
    finally:
        connection.close()


async def _read_slowly(port: int, seen: Seen) -> None:
    """Send pipelined requests and read the responses byte by byte."""
    loop = asyncio.get_running_loop()
    connection = await connect(port, receive=4096)
    try:
        await loop.sock_sendall(connection, _PIPELINE)
        while True:
            if not await loop.sock_recv(connection, 1):
                seen["closed"] += 1
                return
            await asyncio.sleep(0.2)
    finally:
        connection.close()


async def _connect_and_reset(port: int, seen: Seen) -> None:
    """Connect and reset the connection."""
    connection = await connect(port)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    connection.close()
    seen["connected"] += 1


async def _send_history(port: int, seen: Seen) -> None:
    """Request about ten years, another range each time, which is in no cache."""
    await _send(port, seen, get(next(_HISTORIES), HOST.strip(), b"Connection: close"))


async def _stream(port: int, seen: Seen, targets: Iterator[bytes]) -> None:
    loop = asyncio.get_running_loop()
    connection = await connect(port)
    try:
        await loop.sock_sendall(connection, get(next(targets), HOST.strip()))
        seen[(await loop.sock_recv(connection, 4096))[9:12].decode() or "closed"] += 1
        while await loop.sock_recv(connection, 65536):
            pass
    finally:
        connection.close()


_UNFINISHED_HEADER: Final = b"GET /v1/ticker HTTP/1.1\r\n" + HOST
_HUGE_BODY: Final = get(b"/v1/ticker", HOST.strip(), b"Content-Length: 1000000000")
_BOMBED: Final = get(b"/v1/ticker", HOST.strip(), b"Content-Encoding: gzip", b"Content-Length: %d" % len(_BOMB)) + _BOMB
_PIPELINE: Final = get(b"/", HOST.strip()) * 100
_NEVER_READ: Final = partial(_hold, first=_PIPELINE, more=b"\r\n", receive=4096)
_SINGLE: Final = get(b"/v1/ticker", HOST.strip(), b"Connection: close")

ATTACKS: Final = (
    Attack("idle connections", partial(_hold, first=b""), rate=2000, most=2500, held=True),
    Attack(
        "headers sent byte by byte", partial(_hold, first=_UNFINISHED_HEADER, more=b"X"), rate=500, most=500, held=True
    ),
    Attack("connect and reset", _connect_and_reset, rate=500),
    Attack("100 pipelined requests, responses not read", _NEVER_READ, rate=50, most=100, held=True),
    Attack("100 pipelined requests, responses read byte by byte", _read_slowly, rate=50, most=100, held=True),
    *(Attack(shape.name, partial(_send, sent=shape.sent), rate=20) for shape in OVERSIZED[:3]),
    Attack("GET with a body of 1 GB", partial(_hold, first=_HUGE_BODY, more=bytes(100_000), pause=0.02), rate=10),
    Attack("body of 10 MB in 10 KB of gzip", partial(_send, sent=_BOMBED), rate=20),
    Attack("all malformed requests", _send_any_shape, rate=100),
    Attack("streams from one address", partial(_stream, targets=repeat(b"/v1/stream")), rate=200, most=300),
    Attack("streams of all orders of currencies", partial(_stream, targets=_ORDERS), rate=200, most=300),
    Attack("histories of ten years, any range", _send_history, rate=50),
    Attack(
        "histories of ten years, not read",
        partial(_hold, first=get(_DECADE, HOST.strip()), more=b"\r\n", receive=4096),
        rate=50,
        most=100,
        held=True,
    ),
    Attack("requests from one address", partial(_send, sent=_SINGLE), rate=300),
)


async def main(name: str, port: int) -> Seen:
    seen: Seen = Counter()
    attack = next(attack for attack in ATTACKS if attack.name == name)
    running = asyncio.create_task(attack.run(port, seen))
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait((running, ended), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    await ended
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return seen


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(sys.argv[1], int(sys.argv[2])))))  # noqa: T201
