"""A hostile bank with one attack per path, run as a separate process: `python -m tests.attacks.attacker`.

It prints its port on standard output and stops when its standard input is closed.
"""

import gzip
import itertools
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (
    b'<?xml version="1.0" encoding="utf-8"?><rates><date>02.04.2026</date><item><title>USD</title>'
    b"<description>475.09</description><quant>1</quant><change>-3.68</change></item></rates>"
)
MEGABYTE = b"0" * 1_000_000
Response = Callable[[], Iterator[bytes]]


def _head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: text/xml", *headers, "", ""]).encode("latin-1")


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _complete(body: bytes, *headers: str, status: str = "200 OK") -> Response:
    return lambda: iter([_head(f"Content-Length: {len(body)}", *headers, status=status), body])


def _chunks(*start: bytes, repeated: bytes, count: int | None = None, pause: float = 0) -> Response:
    def parts() -> Iterator[bytes]:
        yield _head("Transfer-Encoding: chunked")
        yield from start
        for _ in itertools.count() if count is None else range(count):
            yield repeated
            time.sleep(pause)
        yield b"0\r\n\r\n"

    return parts


def _endless(*start: bytes, repeated: bytes, pause: float = 0) -> Response:
    def parts() -> Iterator[bytes]:
        yield from start
        while True:
            yield repeated
            time.sleep(pause)

    return parts


@cache
def _bomb() -> bytes:
    """Return 80 MB of zeros, a thousandth of that on the wire; not made by who imports the names of the attacks."""
    return gzip.compress(b"\0" * 80_000_000)


def _compressed(body: Callable[[], bytes], encoding: str) -> Response:
    def parts() -> Iterator[bytes]:
        yield from _complete(body(), f"Content-Encoding: {encoding}")()

    return parts


def _entities(doctype: str, value: str) -> Response:
    body = DOCUMENT.replace(b"<rates>", f"<!DOCTYPE rates [{doctype}]><rates>".encode())
    return _complete(body.replace(b"475.09", value.encode()))


_NESTED_ENTITIES = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
ATTACKS: dict[str, Response] = {
    "valid": _complete(DOCUMENT),
    "invalid validator": _complete(DOCUMENT, 'ETag: "\xff\x80"'),
    "cookies": _complete(DOCUMENT, "Set-Cookie: session=1; Path=/", "Set-Cookie: other=2; Domain=127.0.0.1"),
    # responses that are too large
    "80 MB": lambda: itertools.chain([_head("Content-Length: 80000000")], itertools.repeat(MEGABYTE, 80)),
    "80 MB in chunks": _chunks(repeated=_chunk(MEGABYTE), count=80),
    "80 MB until close": lambda: itertools.chain([_head("Connection: close")], itertools.repeat(MEGABYTE, 80)),
    "endless chunks": _chunks(repeated=_chunk(MEGABYTE[:65536])),
    "endless chunks of one byte": _chunks(repeated=_chunk(b" ") * 1000),
    "endless chunk extension": _chunks(b"1;", repeated=MEGABYTE),
    "endless trailers": _chunks(_chunk(DOCUMENT), b"0\r\n", repeated=b"X-Trailer: 1\r\n" * 1000),
    "chunk of 2**63": _chunks(b"8000000000000000\r\n", repeated=MEGABYTE),
    # compression
    "gzip bomb": _compressed(_bomb, "gzip"),
    "gzip bomb in gzip": _compressed(lambda: gzip.compress(_bomb()), "gzip"),
    "gzip bomb, encoded twice": _compressed(lambda: gzip.compress(_bomb()), "gzip, gzip"),
    "gzip bomb as transfer encoding": lambda: iter(
        [_head("Transfer-Encoding: gzip, chunked"), _chunk(_bomb()), b"0\r\n\r\n"]
    ),
    "gzip with many members": _compressed(lambda: gzip.compress(b"") * 80_000, "gzip"),
    "gzip with a second member": _complete(gzip.compress(DOCUMENT) + gzip.compress(b"more"), "Content-Encoding: gzip"),
    "deflate": _complete(DOCUMENT, "Content-Encoding: deflate"),
    "br": _complete(DOCUMENT, "Content-Encoding: br"),
    "zstd": _complete(DOCUMENT, "Content-Encoding: zstd"),
    # time
    "one byte per second": _chunks(repeated=_chunk(b" "), pause=1),
    "headers at one byte per second": _endless(b"HTTP/1.1 200 OK\r\nX: ", repeated=b"x", pause=1),
    "no response": _endless(b"", repeated=b"", pause=1),
    # heads
    "header of 1 MB": lambda: iter([_head("Content-Length: 0", f"X-Big: {MEGABYTE.decode()}")]),
    "cookie of 1 MB": lambda: iter([_head("Content-Length: 0", f"Set-Cookie: a={MEGABYTE.decode()}")]),
    "100000 headers": lambda: iter([_head("Content-Length: 0", *(f"X-{n}: 1" for n in range(100_000)))]),
    "endless headers": _endless(b"HTTP/1.1 200 OK\r\n", repeated=b"X-More: 1\r\n" * 1000),
    "endless header": _endless(b"HTTP/1.1 200 OK\r\nX: ", repeated=MEGABYTE),
    "reason phrase of 1 MB": lambda: iter([_head("Content-Length: 0", status=f"200 {MEGABYTE.decode()}")]),
    "endless early hints": _endless(repeated=b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" * 1000),
    # invalid HTTP
    "junk": lambda: iter([b"\x00\xff\x16\x03\x01junk\r\n\r\n"]),
    "endless junk": _endless(repeated=MEGABYTE),
    "document without headers": lambda: iter([DOCUMENT]),
    "two lengths": lambda: iter([_head("Content-Length: 10", f"Content-Length: {len(DOCUMENT)}"), DOCUMENT]),
    "negative length": lambda: iter([_head("Content-Length: -1"), DOCUMENT]),
    "length and chunks": lambda: iter([_head("Content-Length: 3", "Transfer-Encoding: chunked"), _chunk(DOCUMENT)]),
    "length too large": lambda: iter([_head("Content-Length: 100000"), DOCUMENT]),
    "length too small": lambda: iter([_head("Content-Length: 100"), DOCUMENT]),
    "protocol upgrade": lambda: iter([_head("Upgrade: websocket", "Connection: Upgrade", status="101 Go"), MEGABYTE]),
    "connection reset": lambda: iter([_head("Content-Length: 100000"), DOCUMENT]),
    # documents
    "billion laughs": _entities(_NESTED_ENTITIES, "&a11;"),
    "quadratic blowup": _entities(f'<!ENTITY a "{"9" * 100_000}">', "&a;" * 100_000),
    "external entity": _entities('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"),
    "parameter entity": _entities('<!ENTITY % a SYSTEM "http://127.0.0.1:1/"> %a;', "1"),
    "unknown encoding": _complete(DOCUMENT.replace(b'"utf-8"', b'"nonsense"')),
    "unsupported encoding": _complete(DOCUMENT.replace(b'"utf-8"', b'"utf-7"')),
    "deep nesting": _complete(b"<rates>" + b"<a>" * 90_000),
    "empty page": _complete(b"", status="204 No Content"),
}
WRONG_CONTENT_TYPES = {
    "invalid charset": "text/xml; charset=nonsense",
    "image type": "image/png",
    "broken type": ";;=\x80",
}
ATTACKS |= {name: _complete(DOCUMENT, f"Content-Type: {kind}") for name, kind in WRONG_CONTENT_TYPES.items()}


def _serve(connection: socket.socket) -> None:
    with suppress(OSError), connection:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536) or b"\r\n\r\n"
        name = unquote(request.split(b" ")[1].decode().split("?")[0].split("/")[1])
        for part in ATTACKS[name]():
            connection.sendall(part)
        if name == "connection reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        print(server.getsockname()[1], flush=True)  # noqa: T201 - read by the parent process

        def accept() -> None:
            while True:
                threading.Thread(target=_serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()


@contextmanager
def attacking() -> Iterator[str]:
    """Run the attacker; yield its URL."""
    arguments = [sys.executable, "-m", "tests.attacks.attacker"]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


if __name__ == "__main__":
    main()
