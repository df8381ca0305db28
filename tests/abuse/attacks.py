"""What is done to a server, by a process of its own: `python -m tests.abuse.attacks NAME PORT`.

It goes on until its input ends, and then tells what it saw. Each has its rate: what is measured is the attack's kind,
not that one machine has to make it as well.
"""

import asyncio
import gzip
import json
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle
from struct import pack
from typing import Final

import uvloop

from tests.abuse.shapes import HOST, OVERSIZED, SHAPES, get
from tests.abuse.talk import connected, talk

TICKER: Final = get(b"/v1/ticker", HOST.strip())
_BOMB: Final = gzip.compress(bytes(10_000_000))
_SHAPES: Final = cycle(SHAPES)
_SILENCE: Final = 0.5
Seen = Counter[str]


@dataclass(frozen=True)
class Attack:
    """One kind: `one` is begun `rate` times a second, `most` times in all."""

    name: str
    one: Callable[[int, Seen], Awaitable[None]]
    rate: int
    most: int | None = None
    held: bool = False
    """It goes on until the server ends it."""

    @property
    def told(self) -> str:
        return f"{self.most:,} at {self.rate:,}/s" if self.most else f"{self.rate:,}/s"

    async def run(self, port: int, seen: Seen) -> None:
        begun, loop = asyncio.get_running_loop().time(), asyncio.get_running_loop()

        async def one() -> None:
            try:
                await self.one(port, seen)
            except ConnectionError:
                seen["reset"] += 1
            except asyncio.CancelledError:
                seen["open to the end" if self.held else "cut off at the end"] += 1
                raise

        async with asyncio.TaskGroup() as group:
            for number in range(self.most) if self.most else count():
                await asyncio.sleep(max(0, begun + number / self.rate - loop.time()))
                group.create_task(one())


async def _ask(port: int, seen: Seen, sent: bytes) -> None:
    heard = await talk(port, sent, _SILENCE)
    seen.update(map(str, heard.statuses))
    if not heard.statuses:
        seen["closed" if heard.closed else "silence"] += 1


async def _any_shape(port: int, seen: Seen) -> None:
    await _ask(port, seen, next(_SHAPES).sent)


async def _hold(port: int, seen: Seen, first: bytes, more: bytes = b"", pause: float = 0.2, receive: int = 0) -> None:
    """Send, go on to send and never read, until the server ends it."""
    loop = asyncio.get_running_loop()
    connection = await connected(port, receive=receive)
    try:
        await loop.sock_sendall(connection, first)
        while more:
            await asyncio.sleep(pause)
            await loop.sock_sendall(connection, more)
        seen["closed" if not await loop.sock_recv(connection, 1) else "answered"] += 1
    finally:
        connection.close()


async def _sip(port: int, seen: Seen) -> None:
    """Ask for much and read a byte at a time."""
    loop = asyncio.get_running_loop()
    connection = await connected(port, receive=4096)
    try:
        await loop.sock_sendall(connection, _PIPELINE)
        while True:
            if not await loop.sock_recv(connection, 1):
                seen["closed"] += 1
                return
            await asyncio.sleep(0.2)
    finally:
        connection.close()


async def _knock(port: int, seen: Seen) -> None:
    """Connect and go, by a reset."""
    connection = await connected(port)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    connection.close()
    seen["connected"] += 1


async def _stream(port: int, seen: Seen) -> None:
    loop = asyncio.get_running_loop()
    connection = await connected(port)
    try:
        await loop.sock_sendall(connection, get(b"/v1/stream", HOST.strip()))
        seen[(await loop.sock_recv(connection, 4096))[9:12].decode() or "closed"] += 1
        while await loop.sock_recv(connection, 65536):
            pass
    finally:
        connection.close()


_SLOW: Final = b"GET /v1/ticker HTTP/1.1\r\n" + HOST
_ENDLESS: Final = get(b"/v1/ticker", HOST.strip(), b"Content-Length: 1000000000")
_BOMBED: Final = get(b"/v1/ticker", HOST.strip(), b"Content-Encoding: gzip", b"Content-Length: %d" % len(_BOMB)) + _BOMB
_PIPELINE: Final = get(b"/", HOST.strip()) * 100
_UNREAD: Final = partial(_hold, first=_PIPELINE, more=b"\r\n", receive=4096)
_CLOSED: Final = get(b"/v1/ticker", HOST.strip(), b"Connection: close")

ATTACKS: Final = (
    Attack("connections that say nothing", partial(_hold, first=b""), rate=2000, most=2500, held=True),
    Attack("headers, a byte at a time", partial(_hold, first=_SLOW, more=b"X"), rate=500, most=500, held=True),
    Attack("connect and reset", _knock, rate=500),
    Attack("100 requests at once, nothing read", _UNREAD, rate=50, most=100, held=True),
    Attack("100 at once, read a byte at a time", _sip, rate=50, most=100, held=True),
    *(Attack(shape.name, partial(_ask, sent=shape.sent), rate=20) for shape in OVERSIZED[:3]),
    Attack("a body of 1 GB on GET", partial(_hold, first=_ENDLESS, more=bytes(100_000), pause=0.02), rate=10),
    Attack("a body of 10 MB in 10 KB of gzip", partial(_ask, sent=_BOMBED), rate=20),
    Attack("every odd request there is", _any_shape, rate=100),
    Attack("streams from one address", _stream, rate=200, most=300),
    Attack("requests from one address", partial(_ask, sent=_CLOSED), rate=300),
)


async def main(name: str, port: int) -> Seen:
    seen: Seen = Counter()
    attack = next(one for one in ATTACKS if one.name == name)
    going = asyncio.create_task(attack.run(port, seen))
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait((going, ended), return_when=asyncio.FIRST_COMPLETED)
    if going.done():
        going.result()
    await ended
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    return seen


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(sys.argv[1], int(sys.argv[2])))))  # noqa: T201
