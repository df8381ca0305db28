"""Snapshots from two days of rates of two banks."""

from datetime import UTC, datetime

from service.domain.fixing import Series
from service.domain.snapshot import Snapshot
from service.settings import TickerSettings, load
from service.state.selection import snapshot
from tests.support.fixings import day, fixing, series

SETTINGS = load(environ={})
KZT = SETTINGS.tickers[0]
NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
NBK = series(
    fixing(day(1), USD="478.77", EUR="548.62", RUB="5.87", GBP="631.98", CNY="69.31"),
    fixing(day(2), USD="475.09", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12"),
)
CBR = series(
    fixing(day(1), "cbr", "RUB", USD="80.0000", EUR="90.0000", GBP="100.0000", CNY="11.0000", KZT=("16.0000", 100)),
    fixing(day(2), "cbr", "RUB", USD="81.0000", EUR="90.0000", GBP="100.0000", CNY="11.0000", KZT=("16.2000", 100)),
)


def snapshot_of(ticker: TickerSettings = KZT, now: datetime = NOW, **known: Series) -> Snapshot:
    created = snapshot(ticker, SETTINGS.polled, known, now)
    assert created is not None
    return created
