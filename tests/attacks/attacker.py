"""A bank that attacks, by one path in one way: a process of its own, `python -m tests.attacks.attacker`.

It tells its port on standard output, and ends with its standard input.
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
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (
    b'<?xml version="1.0" encoding="utf-8"?><rates><date>02.04.2026</date><item><title>USD</title>'
    b"<description>475.09</description><quant>1</quant><change>-3.68</change></item></rates>"
)
MEGABYTE = b"0" * 1_000_000
Answer = Callable[[], Iterator[bytes]]


def _head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: text/xml", *headers, "", ""]).encode("latin-1")


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _whole(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    return lambda: iter([_head(f"Content-Length: {len(body)}", *headers, status=status), body])


def _chunks(*start: bytes, each: bytes, times: int | None = None, pause: float = 0) -> Answer:
    def parts() -> Iterator[bytes]:
        yield _head("Transfer-Encoding: chunked")
        yield from start
        for _ in itertools.count() if times is None else range(times):
            yield each
            time.sleep(pause)
        yield b"0\r\n\r\n"

    return parts


def _for_ever(*start: bytes, each: bytes, pause: float = 0) -> Answer:
    def parts() -> Iterator[bytes]:
        yield from start
        while True:
            yield each
            time.sleep(pause)

    return parts


# 80 MB of nothing, a thousandth of it on the wire; made before anybody is attacked.
_BOMB = gzip.compress(b"\0" * 80_000_000)


def _entities(doctype: str, figure: str) -> Answer:
    body = DOCUMENT.replace(b"<rates>", f"<!DOCTYPE rates [{doctype}]><rates>".encode())
    return _whole(body.replace(b"475.09", figure.encode()))


_LAUGHS = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
ATTACKS: dict[str, Answer] = {
    "good": _whole(DOCUMENT),
    "a validator that is none": _whole(DOCUMENT, 'ETag: "\xff\x80"'),
    "cookies": _whole(DOCUMENT, "Set-Cookie: session=1; Path=/", "Set-Cookie: other=2; Domain=127.0.0.1"),
    # answers that are too large
    "80 MB": lambda: itertools.chain([_head("Content-Length: 80000000")], itertools.repeat(MEGABYTE, 80)),
    "80 MB in chunks": _chunks(each=_chunk(MEGABYTE), times=80),
    "80 MB until it hangs up": lambda: itertools.chain([_head("Connection: close")], itertools.repeat(MEGABYTE, 80)),
    "endless chunks": _chunks(each=_chunk(MEGABYTE[:65536])),
    "endless chunks of one byte": _chunks(each=_chunk(b" ") * 1000),
    "a chunk extension without end": _chunks(b"1;", each=MEGABYTE),
    "trailers without end": _chunks(_chunk(DOCUMENT), b"0\r\n", each=b"X-Trailer: 1\r\n" * 1000),
    "a chunk of 2**63": _chunks(b"8000000000000000\r\n", each=MEGABYTE),
    # compression
    "a gzip bomb": _whole(_BOMB, "Content-Encoding: gzip"),
    "a gzip bomb in a gzip": _whole(gzip.compress(_BOMB), "Content-Encoding: gzip"),
    "a gzip bomb, twice encoded": _whole(gzip.compress(_BOMB), "Content-Encoding: gzip, gzip"),
    "a gzip bomb for the transfer": lambda: iter(
        [_head("Transfer-Encoding: gzip, chunked"), _chunk(_BOMB), b"0\r\n\r\n"]
    ),
    "a gzip of many members": _whole(gzip.compress(b"") * 80_000, "Content-Encoding: gzip"),
    "a gzip with a second member": _whole(gzip.compress(DOCUMENT) + gzip.compress(b"more"), "Content-Encoding: gzip"),
    "deflate": _whole(DOCUMENT, "Content-Encoding: deflate"),
    "br": _whole(DOCUMENT, "Content-Encoding: br"),
    "zstd": _whole(DOCUMENT, "Content-Encoding: zstd"),
    # time
    "a byte a second": _chunks(each=_chunk(b" "), pause=1),
    "a head of a byte a second": _for_ever(b"HTTP/1.1 200 OK\r\nX: ", each=b"x", pause=1),
    "silence": _for_ever(b"", each=b"", pause=1),
    # heads
    "a header of 1 MB": lambda: iter([_head("Content-Length: 0", f"X-Big: {MEGABYTE.decode()}")]),
    "a cookie of 1 MB": lambda: iter([_head("Content-Length: 0", f"Set-Cookie: a={MEGABYTE.decode()}")]),
    "100000 headers": lambda: iter([_head("Content-Length: 0", *(f"X-{n}: 1" for n in range(100_000)))]),
    "headers without end": _for_ever(b"HTTP/1.1 200 OK\r\n", each=b"X-More: 1\r\n" * 1000),
    "a header without end": _for_ever(b"HTTP/1.1 200 OK\r\nX: ", each=MEGABYTE),
    "a reason of 1 MB": lambda: iter([_head("Content-Length: 0", status=f"200 {MEGABYTE.decode()}")]),
    "early hints without end": _for_ever(each=b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" * 1000),
    # what is no HTTP
    "junk": lambda: iter([b"\x00\xff\x16\x03\x01junk\r\n\r\n"]),
    "junk without end": _for_ever(each=MEGABYTE),
    "a document without a head": lambda: iter([DOCUMENT]),
    "two lengths": lambda: iter([_head("Content-Length: 10", f"Content-Length: {len(DOCUMENT)}"), DOCUMENT]),
    "a length below zero": lambda: iter([_head("Content-Length: -1"), DOCUMENT]),
    "a length and chunks": lambda: iter([_head("Content-Length: 3", "Transfer-Encoding: chunked"), _chunk(DOCUMENT)]),
    "a length too large": lambda: iter([_head("Content-Length: 100000"), DOCUMENT]),
    "a length too small": lambda: iter([_head("Content-Length: 100"), DOCUMENT]),
    "another protocol": lambda: iter([_head("Upgrade: websocket", "Connection: Upgrade", status="101 Go"), MEGABYTE]),
    "a reset": lambda: iter([_head("Content-Length: 100000"), DOCUMENT]),
    # documents
    "billion laughs": _entities(_LAUGHS, "&a11;"),
    "quadratic blowup": _entities(f'<!ENTITY a "{"9" * 100_000}">', "&a;" * 100_000),
    "a file as entity": _entities('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"),
    "a parameter entity": _entities('<!ENTITY % a SYSTEM "http://127.0.0.1:1/"> %a;', "1"),
    "an encoding that is none": _whole(DOCUMENT.replace(b'"utf-8"', b'"nonsense"')),
    "an encoding of another": _whole(DOCUMENT.replace(b'"utf-8"', b'"utf-7"')),
    "deep nesting": _whole(b"<rates>" + b"<a>" * 90_000),
    "an empty page": _whole(b"", status="204 No Content"),
}
LIES = {"a charset that is none": "text/xml; charset=nonsense", "a picture": "image/png", "a broken type": ";;=\x80"}
ATTACKS |= {name: _whole(DOCUMENT, f"Content-Type: {kind}") for name, kind in LIES.items()}


def _serve(connection: socket.socket) -> None:
    with suppress(OSError), connection:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536) or b"\r\n\r\n"
        name = unquote(request.split(b" ")[1].decode().split("?")[0].split("/")[1])
        for part in ATTACKS[name]():
            connection.sendall(part)
        if name == "a reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        print(listening.getsockname()[1], flush=True)  # noqa: T201 - to who has started it

        def accepting() -> None:
            while True:
                threading.Thread(target=_serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accepting, daemon=True).start()
        sys.stdin.read()


@contextmanager
def attacking() -> Iterator[str]:
    """Run it; give its address."""
    arguments = [sys.executable, "-m", "tests.attacks.attacker"]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


if __name__ == "__main__":
    main()
