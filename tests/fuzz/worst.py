"""The most expensive documents of the largest accepted size, and their costs: `python -m tests.fuzz.worst`.

Written manually, since a fuzzer does not find two million bytes of one kind.
"""

import json
import os
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import count, product
from string import ascii_uppercase

from service.settings import ClientSettings
from service.sources.parsing import MOST_PARTS
from tests.fuzz import oracle

SIZE = ClientSettings().max_bytes
SOAP = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><GetExchangeRatesResponse \
xmlns="http://www.mnb.hu/webservices/"><GetExchangeRatesResult>%b</GetExchangeRatesResult></GetExchangeRatesResponse>\
</s:Body></s:Envelope>'
DATED = b"<rates><date>01.04.2026</date>"
CSV = b"CURRENCY,TIME_PERIOD,OBS_VALUE\n"


def _fill(start: bytes, piece: Callable[[int], bytes] | bytes, end: bytes = b"", between: bytes = b"") -> bytes:
    """Put as many pieces between start and end as fit."""
    pieces, remaining = list[bytes](), SIZE - len(start) - len(end)
    for number in count():
        next_piece = piece if isinstance(piece, bytes) else piece(number)
        remaining -= len(next_piece) + len(between)
        if remaining < 0:
            return start + between.join(pieces) + end
        pieces.append(next_piece)
    raise AssertionError


def _fill_to_limit(start: bytes, piece: bytes, end: bytes, between: bytes = b"") -> bytes:
    """Put as many pieces between start and end as are parsed, padded with spaces."""
    return (start + between.join([piece] * (MOST_PARTS - 10)) + end).ljust(SIZE)


def _day(form: str) -> Callable[[int], str]:
    return lambda number: (date(1999, 1, 1) + timedelta(days=number % 36500)).strftime(form)


def expensive_documents() -> Iterator[tuple[str, str, bytes]]:
    """Yield the name, the source and the document."""
    codes = ["".join(code) for code in product(ascii_uppercase, repeat=3)]
    iso, dotted, named = _day("%Y-%m-%d"), _day("%d.%m.%Y"), _day("%d %b %Y")
    yield "elements", "nbk", _fill(DATED, b"<a/>", b"</rates>")
    yield "elements, as many as are parsed", "nbk", _fill_to_limit(b"<rates>", b"<a/>", b"</rates>")
    yield "elements in elements", "nbk", _fill(b"<rates>", b"<item>")
    yield "attributes", "nbk", _fill(b"<rates ", lambda n: b'a%d="" ' % n, b"/>")
    yield "namespaces", "nbk", _fill(b"<rates ", lambda n: b'xmlns:a%d="a" ' % n, b"/>")
    yield "namespaces each", "nbk", _fill(DATED, lambda n: b'<a%d:x xmlns:a%d="b%d"/>' % (n, n, n), b"</rates>")
    yield "comments", "nbk", _fill(DATED, b"<!---->", b"</rates>")
    yield "letters by number", "nbk", _fill(DATED + b"<a>", b"&#9;", b"</a></rates>")
    yield "one name", "nbk", _fill(b"<", b"a", b"/>")
    yield "one text", "nbk", _fill(b"<rates><date>", b" ", b"</date></rates>")
    entity = b'<!DOCTYPE rates [<!ENTITY a "' + b"a" * 100_000 + b'">]>'
    yield "entities in a text", "nbk", _fill(entity + DATED, b"&a;", b"</rates>")
    yield "entities in an attribute", "nbk", _fill(entity + b'<rates a="', b"&a;", b'"/>')
    yield "entities declared", "nbk", _fill(b"<!DOCTYPE rates [", lambda n: b'<!ENTITY a%d "b">' % n, b"]><rates/>")
    yield "a model of content", "nbk", _fill(b"<!DOCTYPE rates [<!ELEMENT rates (a", b",a?", b")>]><rates/>")
    yield "rows without figures", "bnr", _fill(b"<DataSet><Body>", b"<Cube/>", b"</Body></DataSet>")
    yield "rows, as many as are parsed", "bnr", _fill_to_limit(b"<DataSet><Body>", b"<Cube/>", b"</Body></DataSet>")
    row = b'<Cube date="%b"><Rate currency="USD">1</Rate></Cube>'
    yield "days in XML", "bnr", _fill(b"<DataSet><Body>", lambda n: row % iso(n).encode(), b"</Body></DataSet>")
    inner = _fill(b"&lt;MNBExchangeRates>", b"&lt;a/>", b"&lt;/MNBExchangeRates>" + b" " * len(SOAP))
    yield "a document in a document", "mnb", SOAP % inner
    yield "lists in lists", "cbu", _fill(b"", b"[")
    yield "objects in objects", "cbu", _fill(b"[", b'{"":')
    yield "empty lists", "cbu", _fill(b"[", b"[]", b"]", b",")
    yield "empty lists, as many as are parsed", "cbu", _fill_to_limit(b"[", b"[]", b"]", b",")
    yield "objects, as many as are parsed", "cbu", _fill_to_limit(b"[", b'{"":""}', b"]", b",")
    yield "empty objects", "cbu", _fill(b"[", b"{}", b"]", b",")
    yield "objects", "cbu", _fill(b"[", b'{"":""}', b"]", b",")
    yield "names", "cbu", _fill(b"[{", lambda n: b'"%x":1' % n, b"}]", b",")
    yield "numbers", "cbu", _fill(b"[", b"10", b"]", b",")
    yield "one number", "cbu", _fill(b"[", b"9", b"]")
    rate = '{"exchangedate":"%s","cc":"%s","rate":1,"units":1}'
    yield "days in JSON", "nbu", _fill(b"[", lambda n: (rate % (dotted(n), "USD")).encode(), b"]", b",")
    yield (
        "all that is allowed", "nbu",
        _fill(b"[", lambda n: (rate % (dotted(n // 90), codes[n % 90])).encode(), b"]", b","),
    )  # fmt: skip
    yield "series", "boc", _fill(b'{"observations":[{"d":"2026-04-02",', lambda n: b'"%d":{"v":""}' % n, b"}]}", b",")
    yield "days in CSV", "boe", _fill(b"DATE,XUDLUSS\n", lambda n: f"{named(n)},1\n".encode())
    yield "cells not quoted", "ecb", _fill(CSV, b",,\n")
    yield "columns", "ecb", _fill(CSV[:-1], lambda n: b",%x" % n, b"\n")
    yield "empty lines", "ecb", _fill(CSV, b"\n")
    yield "one cell", "ecb", _fill(CSV + b'"', b'""', b'"\n')


def main() -> None:
    """Measure each in a forked process of its own, since peak memory is that of a process."""
    for name, key, body in expensive_documents():
        if not (child := os.fork()):
            fixings, cost, error = oracle.read(key, body)
            results = round(cost.seconds, 3), round(cost.grown, 1), error or f"{len(fixings)} fixings"
            print(json.dumps([name, key, len(body), *results]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
