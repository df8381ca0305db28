"""The worst documents of the largest size that is read, and what each costs: `python -m tests.fuzz.worst`.

Made by hand, since a fuzzer does not come upon two million bytes of one thing.
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


def _filled(start: bytes, piece: Callable[[int], bytes] | bytes, end: bytes = b"", between: bytes = b"") -> bytes:
    """Put as many pieces between start and end as there is room for."""
    pieces, room = list[bytes](), SIZE - len(start) - len(end)
    for number in count():
        new = piece if isinstance(piece, bytes) else piece(number)
        room -= len(new) + len(between)
        if room < 0:
            return start + between.join(pieces) + end
        pieces.append(new)
    raise AssertionError


def _parsed(start: bytes, piece: bytes, end: bytes, between: bytes = b"") -> bytes:
    """Put as many pieces between start and end as are parsed; spaces fill the rest."""
    return (start + between.join([piece] * (MOST_PARTS - 10)) + end).ljust(SIZE)


def _day(form: str) -> Callable[[int], str]:
    return lambda number: (date(1999, 1, 1) + timedelta(days=number % 36500)).strftime(form)


def worst() -> Iterator[tuple[str, str, bytes]]:
    """Yield what it is, whose it is, and the document."""
    codes = ["".join(code) for code in product(ascii_uppercase, repeat=3)]
    iso, dotted, named = _day("%Y-%m-%d"), _day("%d.%m.%Y"), _day("%d %b %Y")
    yield "elements", "nbk", _filled(DATED, b"<a/>", b"</rates>")
    yield "elements, as many as are parsed", "nbk", _parsed(b"<rates>", b"<a/>", b"</rates>")
    yield "elements in elements", "nbk", _filled(b"<rates>", b"<item>")
    yield "attributes", "nbk", _filled(b"<rates ", lambda n: b'a%d="" ' % n, b"/>")
    yield "namespaces", "nbk", _filled(b"<rates ", lambda n: b'xmlns:a%d="a" ' % n, b"/>")
    yield "namespaces each", "nbk", _filled(DATED, lambda n: b'<a%d:x xmlns:a%d="b%d"/>' % (n, n, n), b"</rates>")
    yield "comments", "nbk", _filled(DATED, b"<!---->", b"</rates>")
    yield "letters by number", "nbk", _filled(DATED + b"<a>", b"&#9;", b"</a></rates>")
    yield "one name", "nbk", _filled(b"<", b"a", b"/>")
    yield "one text", "nbk", _filled(b"<rates><date>", b" ", b"</date></rates>")
    entity = b'<!DOCTYPE rates [<!ENTITY a "' + b"a" * 100_000 + b'">]>'
    yield "entities in a text", "nbk", _filled(entity + DATED, b"&a;", b"</rates>")
    yield "entities in an attribute", "nbk", _filled(entity + b'<rates a="', b"&a;", b'"/>')
    yield "entities declared", "nbk", _filled(b"<!DOCTYPE rates [", lambda n: b'<!ENTITY a%d "b">' % n, b"]><rates/>")
    yield "a model of content", "nbk", _filled(b"<!DOCTYPE rates [<!ELEMENT rates (a", b",a?", b")>]><rates/>")
    yield "rows without figures", "bnr", _filled(b"<DataSet><Body>", b"<Cube/>", b"</Body></DataSet>")
    yield "rows, as many as are parsed", "bnr", _parsed(b"<DataSet><Body>", b"<Cube/>", b"</Body></DataSet>")
    row = b'<Cube date="%b"><Rate currency="USD">1</Rate></Cube>'
    yield "days in XML", "bnr", _filled(b"<DataSet><Body>", lambda n: row % iso(n).encode(), b"</Body></DataSet>")
    inner = _filled(b"&lt;MNBExchangeRates>", b"&lt;a/>", b"&lt;/MNBExchangeRates>" + b" " * len(SOAP))
    yield "a document in a document", "mnb", SOAP % inner
    yield "lists in lists", "cbu", _filled(b"", b"[")
    yield "objects in objects", "cbu", _filled(b"[", b'{"":')
    yield "empty lists", "cbu", _filled(b"[", b"[]", b"]", b",")
    yield "empty lists, as many as are parsed", "cbu", _parsed(b"[", b"[]", b"]", b",")
    yield "objects, as many as are parsed", "cbu", _parsed(b"[", b'{"":""}', b"]", b",")
    yield "empty objects", "cbu", _filled(b"[", b"{}", b"]", b",")
    yield "objects", "cbu", _filled(b"[", b'{"":""}', b"]", b",")
    yield "names", "cbu", _filled(b"[{", lambda n: b'"%x":1' % n, b"}]", b",")
    yield "numbers", "cbu", _filled(b"[", b"10", b"]", b",")
    yield "one number", "cbu", _filled(b"[", b"9", b"]")
    rate = '{"exchangedate":"%s","cc":"%s","rate":1,"units":1}'
    yield "days in JSON", "nbu", _filled(b"[", lambda n: (rate % (dotted(n), "USD")).encode(), b"]", b",")
    yield (
        "all that is allowed", "nbu",
        _filled(b"[", lambda n: (rate % (dotted(n // 90), codes[n % 90])).encode(), b"]", b","),
    )  # fmt: skip
    yield "series", "boc", _filled(b'{"observations":[{"d":"2026-04-02",', lambda n: b'"%d":{"v":""}' % n, b"}]}", b",")
    yield "days in CSV", "boe", _filled(b"DATE,XUDLUSS\n", lambda n: f"{named(n)},1\n".encode())
    yield "cells not quoted", "ecb", _filled(CSV, b",,\n")
    yield "columns", "ecb", _filled(CSV[:-1], lambda n: b",%x" % n, b"\n")
    yield "empty lines", "ecb", _filled(CSV, b"\n")
    yield "one cell", "ecb", _filled(CSV + b'"', b'""', b'"\n')


def main() -> None:
    """Measure each in a process of its own, forked from here: memory that one has had says nothing of the next."""
    for name, key, body in worst():
        if not (child := os.fork()):
            fixings, cost, told = oracle.read(key, body)
            figures = round(cost.seconds, 3), round(cost.grown, 1), told or f"{len(fixings)} fixings"
            print(json.dumps([name, key, len(body), *figures]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
