"""Malformed and unusual requests, with the statuses that the service and the edge return."""

from dataclasses import dataclass
from typing import Final

HOST: Final = b"Host: ticker.example\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: ticker.example\r\n\r\n"
"""A request hidden in a body; it must never get a response."""


@dataclass(frozen=True)
class Shape:
    """Bytes to send, the statuses of the service, and those that the edge may return (they depend on its version)."""

    name: str
    sent: bytes
    direct: tuple[int, ...] = (400,)
    edge: tuple[int, ...] = (400,)


def get(target: bytes, *headers: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    """Return a request as bytes, valid or not."""
    return b"%s %s %s\r\n%s\r\n" % (method, target, version, b"".join(header + b"\r\n" for header in headers))


def _ticker(*headers: bytes, body: bytes = b"", method: bytes = b"GET") -> bytes:
    return get(b"/v1/ticker", HOST.strip(), *headers, method=method) + body


def _at(target: bytes, **more: bytes) -> bytes:
    return get(target, HOST.strip(), **more)


OVERSIZED: Final = (
    Shape("URL of 100 KB", _at(b"/v1/ticker?" + b"a" * 100_000), edge=(414,)),
    Shape("header of 1 MB", _ticker(b"X-Long: " + b"a" * 1_000_000), edge=(431,)),
    Shape("10,000 headers", _ticker(*(b"X-%d: a" % number for number in range(10_000))), edge=(431,)),
    Shape("cookies of 9 KB", _ticker(b"Cookie: " + b"a=b;" * 2300), edge=(431,)),
    Shape("header name of 9 KB", _ticker(b"X" * 9000 + b": 1"), edge=(431,)),
)

BODIES: Final = (
    Shape("a body on GET", _ticker(b"Content-Length: 5", body=b"hello"), (200,), (200,)),
    Shape("a body that is not sent", _ticker(b"Content-Length: 500000", body=b"hello"), (200,), (413,)),
    Shape("invalid gzip", _ticker(b"Content-Encoding: gzip", b"Content-Length: 5", body=b"hello"), (200,), (200,)),
    Shape("Expect", _ticker(b"Expect: 100-continue", b"Content-Length: 1", body=b"a"), (200,), (100, 200)),
    Shape("another Expect", _ticker(b"Expect: tea"), (200,), (200,)),
    Shape("Upgrade: websocket", _ticker(b"Connection: Upgrade", b"Upgrade: websocket"), (200,), (200,)),
    Shape("Upgrade: h2c", _ticker(b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AA"), (200,), (200,)),
)  # fmt: skip

METHODS: Final = (
    Shape("TRACE", _ticker(method=b"TRACE"), (405,), (405,)),
    Shape("POST", _ticker(b"Content-Length: 0", method=b"POST"), (405,), (405,)),
    Shape("PROPFIND", _ticker(method=b"PROPFIND"), (405,), (405,)),
    Shape("CONNECT", _at(b"evil.example:443", method=b"CONNECT"), (404,)),
    Shape("an unknown method", _ticker(method=b"BREW"), (400,), (405,)),
    Shape("a method in lower case", _ticker(method=b"get")),
    Shape("a method of 9 KB", _ticker(method=b"G" * 9000), (400,), (414,)),
)

TARGETS: Final = (
    Shape("absolute-form", _at(b"http://evil.example/v1/ticker"), (200,), (200,)),
    Shape("absolute-form without a path", _at(b"http://evil.example"), (404,), (200,)),
    Shape("absolute-form, invalid port", _at(b"https://evil.example:99999/"), (400,), (200,)),
    Shape("absolute-form, incomplete address", _at(b"http://[::1/")),
    Shape("a scheme alone", _at(b"javascript:alert(1)")),
    Shape("*", _at(b"*")),
    Shape("OPTIONS *", _at(b"*", method=b"OPTIONS"), (404,)),
    Shape("//", _at(b"//"), (404,), (200,)),
    Shape("//evil.example/embed", _at(b"//evil.example/embed"), (404,), (404,)),
    Shape("%00", _at(b"/%00"), (404,)),
    Shape("a NUL", _at(b"/\0")),
    Shape("/..;/metrics", _at(b"/..;/metrics"), (404,), (404,)),
    Shape("/../../etc/passwd", _at(b"/../../etc/passwd"), (404,)),
    Shape("%2e%2e out of static", _at(b"/static/..%2f..%2fsettings.py"), (404,)),
    Shape("%ff in a path", _at(b"/v1/ticker/%ff"), (404,), (404,)),
    Shape("%ff in a query", _at(b"/v1/ticker?lang=%ff"), (200,), (200,)),
    Shape("an invalid percent-encoding", _at(b"/%zz"), (404,)),
    Shape("raw bytes in a path", _at(b"/\xff\xfe")),
    Shape("raw bytes in a query", _at(b"/v1/ticker?lang=\xff")),
    Shape("a fragment", _at(b"/v1/ticker#x"), (200,), (200,)),
    Shape("no target", _at(b"")),
    Shape("no slash", _at(b"v1/ticker")),
)

HOSTS: Final = (
    Shape("two hosts", get(b"/embed", b"Host: a", b"Host: b")),
    Shape("no host", get(b"/embed")),
    Shape("no host, HTTP/1.0", get(b"/embed", version=b"HTTP/1.0"), (200,), (200,)),
    Shape("a host with markup", get(b"/embed", b'Host: "><script>x</script>'), (200,), (400,)),
    Shape("a host with a path", get(b"/oembed?url=http://h/embed", b"Host: h/evil"), (404,)),
    Shape("an incomplete IPv6 host", get(b"/embed", b"Host: [::1"), (200,), (200,)),
)

PROTOCOLS: Final = (
    Shape("HTTP/0.9", b"GET /v1/ticker\r\n\r\n", (200,), ()),  # in HTTP/0.9 the edge sends the page without a status
    Shape("HTTP/2.0 in the request line", _at(b"/", version=b"HTTP/2.0"), (200,), (505,)),
    Shape("HTTP/9.9", _at(b"/", version=b"HTTP/9.9"), (400,), (505,)),
    Shape("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    Shape("a TLS ClientHello", bytes.fromhex("16030100c8010000c40303") + b"\1" * 190),
    Shape("zeros", bytes(1000)),
    Shape("all byte values", bytes(range(256)) * 40),
)

HEADERS: Final = (
    Shape("a folded header", _ticker(b"X: a\r\n b")),
    Shape("a NUL in a header", _ticker(b"X: a\0b")),
    Shape("a bare CR", _ticker(b"X: a\rY: b")),
    Shape("bare LFs", _ticker().replace(b"\r\n", b"\n"), (400,), (200,)),
    Shape("a space before the colon", _ticker(b"Content-Length : 0")),
    Shape("no name", _ticker(b": x")),
    Shape("no colon", _ticker(b"nonsense"), (400,), (200,)),
    Shape("an unterminated ETag", _ticker(b'If-None-Match: "'), (200,), (200,)),
    Shape("ranges", _ticker(b"Range: bytes=0-1,5-,-99999"), (200,), (200, 206, 416)),
    Shape("a bare control character", _ticker(b"Last-Event-ID: \1"), (400,), (200,)),
)

# Each hides a request in what one of two parsers might read as a body. RFC 9112 requires 501 and 505.
_CHUNKS: Final = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
_LENGTH: Final = b"Content-Length: %d" % len(SMUGGLED)
_FOUR: Final = b"Content-Length: 4"
_TE: Final = b"Transfer-Encoding: chunked"
SMUGGLING: Final = (
    Shape("CL.0", _ticker(_LENGTH, body=SMUGGLED), (200,), (200,)),
    Shape("CL.0 on POST", _ticker(_LENGTH, body=SMUGGLED, method=b"POST"), (405,), (405,)),
    Shape("chunked", _ticker(_TE, body=_CHUNKS), (200,), (200,)),
    Shape("CL.TE", _ticker(b"Content-Length: %d" % (5 + len(SMUGGLED)), _TE, body=b"0\r\n\r\n" + SMUGGLED)),
    Shape("TE.CL", _ticker(_TE, _FOUR, body=_CHUNKS)),
    Shape("TE.TE", _ticker(_TE, b"Transfer-Encoding: x", body=_CHUNKS)),
    Shape("TE: xchunked", _ticker(b"Transfer-Encoding: xchunked", _FOUR, body=_CHUNKS), edge=(400, 501)),
    Shape("TE: chunked, identity", _ticker(_TE + b", identity", body=_CHUNKS), edge=(400, 501)),
    Shape("TE with a tab", _ticker(b"Transfer-Encoding:\tchunked", _FOUR, body=_CHUNKS), edge=(400, 501)),
    Shape("TE with a space", _ticker(b"Transfer-Encoding : chunked", _FOUR, body=_CHUNKS)),
    Shape("TE after a bare LF", _ticker(b"X: y\n" + _TE, _FOUR, body=_CHUNKS)),
    Shape("TE after a bare CR", _ticker(b"X: y\r" + _TE, _FOUR, body=_CHUNKS)),
    Shape("TE in a folded line", _ticker(b"Transfer-Encoding:\r\n chunked", _FOUR, body=_CHUNKS)),
    Shape("CL twice", _ticker(b"Content-Length: 0", _LENGTH, body=SMUGGLED)),
    Shape("CL as a list", _ticker(b"Content-Length: 0, 4", body=SMUGGLED)),
    Shape("CL with a sign", _ticker(b"Content-Length: +4", body=SMUGGLED)),
    Shape("negative CL", _ticker(b"Content-Length: -1", body=SMUGGLED)),
    Shape("CL beyond 64 bits", _ticker(b"Content-Length: %d" % (2**64 + 5), body=SMUGGLED)),
    Shape("a chunk size with a 0x prefix", _ticker(_TE, body=b"0x" + _CHUNKS)),
    Shape("a negative chunk size", _ticker(_TE, body=b"-" + _CHUNKS)),
    Shape("a chunk size beyond 64 bits", _ticker(_TE, body=b"f" * 17 + b"\r\n" + SMUGGLED)),
    Shape("a chunk that ends in LF", _ticker(_TE, body=_CHUNKS.replace(b"\r\n", b"\n", 1)), edge=(200, 400)),
)

SHAPES: Final = (*OVERSIZED, *BODIES, *METHODS, *TARGETS, *HOSTS, *PROTOCOLS, *HEADERS, *SMUGGLING)
