"""Central Bank of Azerbaijan."""

import pytest

from service.errors import NotUnderstood
from tests.sources.answers import digits, document, parse, requested_paths
from tests.support.fixings import day

BODY = document("cbar", "2026-04-30.xml")


def test_currencies_are_read_and_metals_are_not() -> None:
    """The date is that of the document; `SDR` is XDR."""
    (fixing,) = parse("cbar", BODY)
    assert (fixing.date, fixing.base) == (day(30), "AZN")
    assert digits(fixing) == {
        "USD": ("1.7", 1, None),
        "EUR": ("1.9824", 1, None),
        "GBP": ("2.2886", 1, None),
        "KRW": ("0.1144", 100, None),
        "RUB": ("2.2701", 100, None),
        "XDR": ("2.3249", 1, None),
    }


def test_document_without_currencies_is_rejected() -> None:
    """It has no list of currencies, or an empty one."""
    with pytest.raises(NotUnderstood, match="lacks <ValType> with currencies"):
        parse("cbar", BODY.replace(b"Xarici", b"Daxili"))
    start, end = BODY.index(b'<Valute Code="USD"'), BODY.rindex(b"</ValType>")
    with pytest.raises(NotUnderstood, match="has a date but no rates"):
        parse("cbar", BODY[:start] + BODY[end:])


async def test_day_is_one_request() -> None:
    """Each date has a document."""
    assert await requested_paths("cbar", day(29), day(30)) == ["/29.04.2026.xml", "/30.04.2026.xml"]
