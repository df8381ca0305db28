"""The sample data shipped with the project."""

from datetime import UTC, datetime

import pytest

from service.domain.fixing import Quotation
from service.errors import NotUnderstood
from service.sources.banks import SOURCES
from tests.sources.answers import RecordingSession, digits, metadata, parse
from tests.sources.published import PUBLISHED
from tests.support.fixings import day

CSV = b"""date,code,value,nominal,change,url,fetched_at,digest
2026-04-02,RUB,5.870,1,,http://bank/2,2026-04-01T11:05:12+00:00,two
2026-04-01,UZS,3.93,100,-0.02,http://bank/1,2026-03-31T11:05:12+00:00,one
"""


async def test_sample_data_is_read_from_the_package() -> None:
    """Any range yields both shipped days without a request, with the bank's URL, time and digest."""
    session = RecordingSession("recorded")
    (payload,) = [payload async for payload in SOURCES["recorded"].fetch(session, day(20), day(21))]
    fixings = SOURCES["recorded"].parse(payload)
    assert session.paths == []
    assert [fixing.date for fixing in fixings] == list(PUBLISHED)
    for fixing in fixings:
        assert (fixing.source, fixing.base, fixing.direction) == ("recorded", "KZT", Quotation.DIRECT)
        assert fixing.url == f"https://nationalbank.kz/rss/get_rates.cfm?fdate={fixing.date:%d.%m.%Y}"
        assert fixing.fetched_at == datetime(2026, 4, 8, 13, 43, 25, tzinfo=UTC)
        assert len(fixing.digest) == 64
        assert fixing.digest != payload.digest
        published = digits(fixing)
        assert {code: published[code] for code in PUBLISHED[fixing.date]} == PUBLISHED[fixing.date]


def test_days_are_sorted_and_have_their_own_metadata() -> None:
    """Digits, nominals and changes are those of the file; the metadata is that of the day's rows."""
    first, second = parse("recorded", CSV)
    assert (first.date, second.date) == (day(1), day(2))
    assert (digits(first), digits(second)) == ({"UZS": ("3.93", 100, "-0.02")}, {"RUB": ("5.870", 1, None)})
    assert metadata(first)[3:] == ("http://bank/1", datetime(2026, 3, 31, 11, 5, 12, tzinfo=UTC), "one")
    assert metadata(second)[3:] == ("http://bank/2", datetime(2026, 4, 1, 11, 5, 12, tzinfo=UTC), "two")


def test_invalid_fetch_time_is_rejected() -> None:
    """An invalid time, or one without a time zone."""
    for invalid in (b"yesterday", b"2026-04-01T11:05:12", b""):
        with pytest.raises(NotUnderstood, match="where a date is expected"):
            parse("recorded", CSV.replace(b"2026-04-01T11:05:12+00:00", invalid))
