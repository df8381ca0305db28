"""Mutations of documents: each is a pure function of the bytes and a random generator."""

import re
from collections.abc import Callable
from random import Random

INVALID_NUMBERS = (
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


def bytes_flipped(body: bytes, random: Random) -> bytes:
    flipped = bytearray(body)
    for _ in range(random.randint(1, 4)):
        if flipped:
            flipped[random.randrange(len(flipped))] = random.randrange(256)
    return bytes(flipped)


def bits_flipped(body: bytes, random: Random) -> bytes:
    flipped = bytearray(body)
    if flipped:
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def cut(body: bytes, random: Random) -> bytes:
    start, end = sorted(random.randint(0, len(body)) for _ in range(2))
    return body[:start] + body[end:] if random.random() < 0.7 else body[:end]


def doubled(body: bytes, random: Random) -> bytes:
    start, end = sorted(random.randint(0, len(body)) for _ in range(2))
    return body[:end] + body[start:end] * random.randint(1, 2) + body[end:]


def tokens_changed(body: bytes, random: Random) -> bytes:
    """Delete, repeat, move or swap tokens between delimiters: elements, members, cells, lines."""
    tokens = _TOKEN.findall(body)
    if not tokens:
        return body
    first, second = sorted(random.randrange(len(tokens)) for _ in range(2))
    end = min(len(tokens), first + random.randint(1, 12))
    operation = random.randrange(4)
    if operation == 0:
        tokens[first], tokens[second] = tokens[second], tokens[first]
    elif operation == 1:
        del tokens[first:end]
    elif operation == 2:
        tokens[second:second] = tokens[first:end]
    else:
        tokens[first:end], tokens[second:second] = [], tokens[first:end]
    return b"".join(tokens)


def _replaced(pattern: re.Pattern[bytes], body: bytes, random: Random, *others: str) -> bytes:
    """Replace one match, by one of `others` if given, else by another match of the document."""
    matches = list(pattern.finditer(body))
    if not matches:
        return body
    replaced = random.choice(matches)
    replacement = random.choice(others).encode() if others else random.choice(matches)[0]
    return body[: replaced.start()] + replacement + body[replaced.end() :]


def number_odd(body: bytes, random: Random) -> bytes:
    return _replaced(_NUMBER, body, random, *INVALID_NUMBERS)


def number_of_another(body: bytes, random: Random) -> bytes:
    return _replaced(_NUMBER, body, random)


def date_odd(body: bytes, random: Random) -> bytes:
    return _replaced(_DATE, body, random, *DATES)


def date_of_another(body: bytes, random: Random) -> bytes:
    return _replaced(_DATE, body, random)


def name_of_another(body: bytes, random: Random) -> bytes:
    return _replaced(_WORD, body, random)


def all_of_a_name(body: bytes, random: Random) -> bytes:
    """Rename one name everywhere, so that the document stays well-formed."""
    words = _WORD.findall(body)
    return body.replace(random.choice(words), random.choice(words)) if words else body


def something_inserted(body: bytes, random: Random) -> bytes:
    """Insert something, often inside a number, which it may truncate."""
    numbers = list(_NUMBER.finditer(body))
    at = random.randint(0, len(body))
    if numbers and random.random() < 0.6:
        at = random.randint(*random.choice(numbers).span())
    return body[:at] + random.choice(INSERTED).encode() + body[at:]


def nested(body: bytes, random: Random) -> bytes:
    depth = random.choice((2, 50, 260, 1500))
    begin, end = random.choice((("[", "]"), ("<a>", "</a>"), ('{"a":', "}"), ("<item>", "</item>"), ("<", ">")))
    start, stop = sorted(random.randint(0, len(body)) for _ in range(2))
    return body[:start] + begin.encode() * depth + body[start:stop] + end.encode() * depth + body[stop:]


def otherwise_encoded(body: bytes, random: Random) -> bytes:
    """Encode the document, or declare it, in another encoding."""
    new = random.choice(ENCODINGS)
    if random.random() < 0.5 or new == "nonsense":
        declared = re.sub(rb'encoding="[^"]*"', f'encoding="{new}"'.encode(), body, count=1)
        return declared if declared != body else f'<?xml version="1.0" encoding="{new}"?>'.encode() + body
    old = "windows-1251" if b"windows-1251" in body[:80] else "utf-8"
    text = body.decode(old, "replace")
    if random.random() < 0.5:
        text = re.sub('encoding="[^"]*"', f'encoding="{new}"', text, count=1)
    return text.encode(new, "replace")


MUTATIONS: tuple[Mutation, ...] = (
    bytes_flipped, bits_flipped, cut, doubled, tokens_changed, number_odd, number_of_another, date_odd,
    date_of_another, name_of_another, all_of_a_name, something_inserted, nested, otherwise_encoded,
)  # fmt: skip


def mutated(body: bytes, names: "list[str]", random: Random) -> bytes:
    """Apply the named mutations in order."""
    for name in names:
        body = BY_NAME[name](body, random)
    return body


BY_NAME = {mutation.__name__: mutation for mutation in MUTATIONS}
