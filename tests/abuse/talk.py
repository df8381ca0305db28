"""Send raw bytes to a server and read the statuses of its responses."""

import asyncio
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

ADDRESS: Final = "127.0.0.66"
"""Source address of attacks; honest clients have other addresses."""
_TIMEOUT: Final = 30.0
"""Seconds to wait for the first byte of a response, and for the responses that the caller expects."""
_STATUS: Final = re.compile(rb"^HTTP/1\.[01] (\d{3}) |(?<=[}>\n])HTTP/1\.[01] (\d{3}) ", re.MULTILINE)


@dataclass
class Exchange:
    """The bytes received, and whether the server closed the connection."""

    received: bytes
    closed: bool

    @property
    def statuses(self) -> tuple[int, ...]:
        return tuple(int(first or second) for first, second in _STATUS.findall(self.received))


async def connect(port: int, address: str = ADDRESS, receive: int | None = None) -> socket.socket:
    """Return a socket without a buffer in this process; `receive` limits the kernel's receive buffer, in bytes."""
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


async def send_raw(
    port: int, sent: bytes, silence: float, address: str = ADDRESS, *, responses: int = 1, closes: bool = False
) -> Exchange:
    """Send bytes; read until the server closes, or has responded and then been silent for `silence` seconds.

    Wait for the number of `responses` however long the silence, and until the server closes if it `closes`.
    """
    loop = asyncio.get_running_loop()
    connection = await connect(port, address)
    exchange = Exchange(b"", closed=False)

    async def send() -> None:
        with suppress(ConnectionError):
            await loop.sock_sendall(connection, sent)

    def complete() -> bool:
        return bool(exchange.received) and len(exchange.statuses) >= responses and not closes

    sending = asyncio.create_task(send())
    try:
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(silence if complete() else _TIMEOUT):
                    data = await loop.sock_recv(connection, 65536)
                exchange.received += data
                if not data:
                    exchange.closed = True
                    break
    except ConnectionError:  # it closed before it had read everything
        exchange.closed = True
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        connection.close()
    return exchange
