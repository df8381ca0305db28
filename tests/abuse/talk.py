"""Raw bytes to a server, and the statuses that come back."""

import asyncio
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

ADDRESS: Final = "127.0.0.66"
"""Whence attacks come: another address than honest readers have."""
_LONGEST: Final = 30.0
"""Seconds to wait for what must come: the first of an answer, and what the caller expects."""
_STATUS: Final = re.compile(rb"^HTTP/1\.[01] (\d{3}) |(?<=[}>\n])HTTP/1\.[01] (\d{3}) ", re.MULTILINE)


@dataclass
class Talk:
    """What came back, and whether the server closed the connection."""

    got: bytes
    closed: bool

    @property
    def statuses(self) -> tuple[int, ...]:
        return tuple(int(first or second) for first, second in _STATUS.findall(self.got))


async def connected(port: int, address: str = ADDRESS, receive: int | None = None) -> socket.socket:
    """Return a connection without any buffer of ours; `receive` makes the kernel's small."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.bind((address, 0))
    if receive:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    try:
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    except BaseException:
        connection.close()
        raise
    return connection


async def talk(
    port: int, sent: bytes, patience: float, address: str = ADDRESS, *, answers: int = 1, closes: bool = False
) -> Talk:
    """Send it and read until the server closes, or has answered and been silent for so many seconds.

    So many `answers` are waited for however long the silence, and a server that `closes` until it has.
    """
    loop = asyncio.get_running_loop()
    connection = await connected(port, address)
    heard = Talk(b"", closed=False)

    async def send() -> None:
        with suppress(ConnectionError):
            await loop.sock_sendall(connection, sent)

    def answered() -> bool:
        return bool(heard.got) and len(heard.statuses) >= answers and not closes

    sending = asyncio.create_task(send())
    try:
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(patience if answered() else _LONGEST):
                    data = await loop.sock_recv(connection, 65536)
                heard.got += data
                if not data:
                    heard.closed = True
                    break
    except ConnectionError:  # it closed without having read all of ours
        heard.closed = True
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        connection.close()
    return heard
