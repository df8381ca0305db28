"""Bank of Mongolia."""

from datetime import date

import pytest

from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import RecordingSession, digits, document, parse
from tests.support.fixings import day

BODY = document("bom", "2026-05-21-to-22.json")


def test_commas_separate_thousands() -> None:
    """The newest day is first in the document; `SDR` is XDR."""
    older, newer = parse("bom", BODY)
    assert (older.date, newer.date, newer.base) == (day(21, 5), day(22, 5), "MNT")
    assert digits(newer) == {
        "USD": ("3576.42", 1, None),
        "EUR": ("4151.69", 1, None),
        "GBP": ("4801.52", 1, None),
        "RUB": ("49.98", 1, None),
        "KZT": ("7.59", 1, None),
        "CNY": ("526.35", 1, None),
        "IDR": ("0.20", 1, None),
        "XDR": ("4887.93", 1, None),
    }


@pytest.mark.parametrize("number", ["3,57", "35,76", "3576,420.1", ",357", "3,,576", "3,576,42"])
def test_odd_groups_are_left_out(number: str) -> None:
    """A comma that does not separate thousands may be a decimal one."""
    parsed = parse("bom", BODY.replace(b"3,576.42", number.encode()))
    assert parsed.left_out == (f"has {number!r} where a number is expected for USD on 2026-05-22",)


@pytest.mark.parametrize("empty", [b'""', b"null"])
def test_empty_rate_is_not_quoted(empty: bytes) -> None:
    """The document has a member for each currency."""
    parsed = parse("bom", BODY.replace(b'"49.98"', empty))
    assert (parsed.left_out, "RUB" in parsed[1].rates, "RUB" in parsed[0].rates) == ((), False, True)


def test_document_without_days_is_rejected() -> None:
    """The bank always returns its whole history."""
    with pytest.raises(NotUnderstood, match="has no rates"):
        parse("bom", b'{"success":true,"data":[]}')


async def test_only_requested_dates_are_used() -> None:
    """The request names the dates, but the response has all."""
    session = RecordingSession("bom", responses={"/currency-rate-movement/data": BODY.replace(b"2026-05", b"2026-02")})
    for since, until, days in (
        (day(22, 2), day(23, 2), [day(22, 2)]),
        (day(1, 2), day(21, 2), [day(21, 2)]),
        (date(2002, 1, 1), date(2002, 12, 31), []),
    ):
        (response,) = [one async for one in SOURCES["bom"].fetch(session, since, until)]
        assert [fixing.date for fixing in SOURCES["bom"].parse(response)] == days
    assert session.posts[0] == (
        '{"startDate":"2026-02-22","endDate":"2026-02-23"}',
        {"Content-Type": "application/json"},
    )
