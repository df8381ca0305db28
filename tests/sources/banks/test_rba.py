"""Reserve Bank of Australia."""

from datetime import date
from fractions import Fraction

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import RecordingSession, digits, document, parse
from tests.support.fixings import day

BODY = document("rba", "2026-03-19.csv")
TWO_DAYS = BODY.replace(b"\n19-Mar", b"\n18-Mar-2026,0.7101,66.20,4.9,113,0.61,0.53,12000,,0.52\n19-Mar", 1)


def test_rates_are_inverse_and_named_by_the_titles() -> None:
    """The index is not a rate, an empty cell is a currency that was not quoted, `SDR` is XDR."""
    (fixing,) = parse("rba", BODY)
    assert (fixing.date, fixing.base, fixing.direction) == (day(19, 3), "AUD", Quotation.INVERSE)
    assert digits(fixing) == {
        "USD": ("0.7038", 1, None),
        "CNY": ("4.8564", 1, None),
        "JPY": ("112.37", 1, None),
        "EUR": ("0.6137", 1, None),
        "GBP": ("0.5302", 1, None),
        "IDR": ("11954", 1, None),
        "XDR": ("0.5167", 1, None),
    }
    assert fixing.value("USD") == Fraction(10000, 7038)


def test_column_of_another_meaning_is_left_out() -> None:
    """A rate of another currency than the Australian dollar."""
    parsed = parse("rba", BODY.replace(b"A$1=EUR", b"NZ$1=EUR"))
    assert parsed.left_out == ("has the series 'NZ$1=EUR', which is not a rate of the dollar",)


def test_document_without_rates_is_rejected() -> None:
    """It has titles only, or ends before the first rate."""
    with pytest.raises(NotUnderstood, match="has no rates"):
        parse("rba", BODY[: BODY.index(b"19-Mar-2026,")])


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        (day(18, 3), day(18, 3), [day(18, 3)]),
        (day(19, 3), day(20, 3), [day(19, 3)]),
        (day(18, 3), day(19, 3), [day(18, 3), day(19, 3)]),
        (date(2025, 1, 1), date(2025, 12, 31), []),
    ],
)
async def test_only_requested_dates_are_used(since: date, until: date, days: list[date]) -> None:
    """The document has the whole history, whatever is requested."""
    session = RecordingSession("rba", responses={"/f11.1-data.csv": TWO_DAYS})
    (response,) = [one async for one in SOURCES["rba"].fetch(session, since, until)]
    assert [fixing.date for fixing in SOURCES["rba"].parse(response)] == days
