"""What becomes of a document on a bad day: each change takes the bytes and a source of chance, and is pure."""

import re
from collections.abc import Callable
from random import Random

ODD = (
    "1e3", "1E+500", "NaN", "nan", "Infinity", "-Infinity", "-0", "+1.5", "-478.77", "0", "00", "0.0000000000000001",
    "1,234.5", "1.234,5", "1,234", "1.234", "1 234.5", "1\u00a0234,5", "1'234.5", "1_000", "0x1F", "478.", ".77", "4 7",
    "١٢٣", "４７８.７７", "²", "9" * 400, "9" * 5000, "1" * 15 + "." + "1" * 15, "null", "true", '"1"', "[1]", "", " ",
    "10000000", "9999999", "4\u200b7", "−5", "1\x00", "&#52;7", "&amp;", "\\u0034", "1-2", "5%", "$5", "1/2",
)  # fmt: skip
DATES = (
    "31.02.2026", "00.00.0000", "9999-12-31", "0001-01-01", "2026-04-02", "02.04.2026", "2.4.2026", "20260402",
    "1775088000", "2026-04-02T23:59:59+14:00", "2026-04-02T00:00:00.000Z", "2026-04-02T00:00:00", "02 Apr 2026",
    "02/04/2026", "٠٢.٠٤.٢٠٢٦", "today", "", "29.02.2024", "10000-01-01", "-2026-04-02", "2026-W14-4", "02.04.26",
)  # fmt: skip
INSERTED = (
    "<!-- -->", "<?pi ?>", "<![CDATA[9]]>", "<![CDATA[", "]]>", "<b/>", "<b>7</b>", "&a;", "&#0;", "&#48;", "&lt;",
    "\ufeff", "\x00", "\r", "\n", "\t", "\u2028", "\x1b[2J", "/*9*/", "//", "#", ";", ",", '"', "'", "\\", "\\ud800",
    "{}", "[]", ":", "<!DOCTYPE rates [<!ENTITY a '9'>]>", ' xmlns="a"', ' xmlns:a="a"', "a:", '"a":1,', "\U0001f4b1",
    ' unit="100"', ' multiplier="100"', "<quant>100</quant>", "<Nominal>100</Nominal>", "<Value>1</Value>",
)  # fmt: skip
ENCODINGS = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "windows-1251", "iso-8859-1", "us-ascii", "utf-7", "koi8-r",
    "cp037", "gb18030", "shift_jis", "nonsense", "iso-8859-5", "utf-8-sig",
)  # fmt: skip
_NUMBER = re.compile(rb"[0-9]+(?:[.,][0-9]+)?")
_DATE = re.compile(
    rb"[0-9]{2}\.[0-9]{2}\.[0-9]{4}|[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:.]+Z?)?|[0-9]{2} [A-Z][a-z]{2} [0-9]{4}"
)
_WORD = re.compile(rb"[A-Za-z_]{2,}")
_TOKEN = re.compile(rb"<[^<>]*>|[{}\[\],:\n]|[^<>{}\[\],:\n]+")

Mutation = Callable[[bytes, Random], bytes]


def bytes_flipped(body: bytes, chance: Random) -> bytes:
    found = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        if found:
            found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


def bits_flipped(body: bytes, chance: Random) -> bytes:
    found = bytearray(body)
    if found:
        found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


def cut(body: bytes, chance: Random) -> bytes:
    start, end = sorted(chance.randint(0, len(body)) for _ in range(2))
    return body[:start] + body[end:] if chance.random() < 0.7 else body[:end]


def doubled(body: bytes, chance: Random) -> bytes:
    start, end = sorted(chance.randint(0, len(body)) for _ in range(2))
    return body[:end] + body[start:end] * chance.randint(1, 2) + body[end:]


def tokens_changed(body: bytes, chance: Random) -> bytes:
    """Lose, repeat or swap what stands between the signs of the format: elements, members, cells, lines."""
    tokens = _TOKEN.findall(body)
    if not tokens:
        return body
    one, other = sorted(chance.randrange(len(tokens)) for _ in range(2))
    far = min(len(tokens), one + chance.randint(1, 12))
    what = chance.randrange(4)
    if what == 0:
        tokens[one], tokens[other] = tokens[other], tokens[one]
    elif what == 1:
        del tokens[one:far]
    elif what == 2:
        tokens[other:other] = tokens[one:far]
    else:
        tokens[one:far], tokens[other:other] = [], tokens[one:far]
    return b"".join(tokens)


def _replaced(pattern: re.Pattern[bytes], body: bytes, chance: Random, *others: str) -> bytes:
    """Put something else in the place of one that the document has; where nothing is said, another of its own."""
    found = list(pattern.finditer(body))
    if not found:
        return body
    place = chance.choice(found)
    new = chance.choice(others).encode() if others else chance.choice(found)[0]
    return body[: place.start()] + new + body[place.end() :]


def number_odd(body: bytes, chance: Random) -> bytes:
    return _replaced(_NUMBER, body, chance, *ODD)


def number_of_another(body: bytes, chance: Random) -> bytes:
    return _replaced(_NUMBER, body, chance)


def date_odd(body: bytes, chance: Random) -> bytes:
    return _replaced(_DATE, body, chance, *DATES)


def date_of_another(body: bytes, chance: Random) -> bytes:
    return _replaced(_DATE, body, chance)


def name_of_another(body: bytes, chance: Random) -> bytes:
    return _replaced(_WORD, body, chance)


def all_of_a_name(body: bytes, chance: Random) -> bytes:
    """Rename one name everywhere, so that the document stays well-formed."""
    words = _WORD.findall(body)
    return body.replace(chance.choice(words), chance.choice(words)) if words else body


def something_inserted(body: bytes, chance: Random) -> bytes:
    """Often inside a number, where it may cut one."""
    numbers = list(_NUMBER.finditer(body))
    at = chance.randint(0, len(body))
    if numbers and chance.random() < 0.6:
        at = chance.randint(*chance.choice(numbers).span())
    return body[:at] + chance.choice(INSERTED).encode() + body[at:]


def nested(body: bytes, chance: Random) -> bytes:
    depth = chance.choice((2, 50, 260, 1500))
    begin, end = chance.choice((("[", "]"), ("<a>", "</a>"), ('{"a":', "}"), ("<item>", "</item>"), ("<", ">")))
    start, stop = sorted(chance.randint(0, len(body)) for _ in range(2))
    return body[:start] + begin.encode() * depth + body[start:stop] + end.encode() * depth + body[stop:]


def otherwise_encoded(body: bytes, chance: Random) -> bytes:
    """Write it, or declare it, in another encoding."""
    new = chance.choice(ENCODINGS)
    if chance.random() < 0.5 or new == "nonsense":
        declared = re.sub(rb'encoding="[^"]*"', f'encoding="{new}"'.encode(), body, count=1)
        return declared if declared != body else f'<?xml version="1.0" encoding="{new}"?>'.encode() + body
    old = "windows-1251" if b"windows-1251" in body[:80] else "utf-8"
    text = body.decode(old, "replace")
    if chance.random() < 0.5:
        text = re.sub('encoding="[^"]*"', f'encoding="{new}"', text, count=1)
    return text.encode(new, "replace")


MUTATIONS: tuple[Mutation, ...] = (
    bytes_flipped, bits_flipped, cut, doubled, tokens_changed, number_odd, number_of_another, date_odd,
    date_of_another, name_of_another, all_of_a_name, something_inserted, nested, otherwise_encoded,
)  # fmt: skip


def mutated(body: bytes, names: "list[str]", chance: Random) -> bytes:
    """Apply the named changes, one after the other."""
    for name in names:
        body = BY_NAME[name](body, chance)
    return body


BY_NAME = {one.__name__: one for one in MUTATIONS}
