"""Fill a store with the publications of the last months of every source, as a running instance stores them."""

from collections.abc import Collection
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Final
from zlib import crc32

from service.domain.fixing import Fixing, Rate
from service.domain.publication_schedule import publications_for, today
from service.settings import Settings
from service.state.memory import SourceState
from service.storage.repository import Store
from service.validation.quarantine import QuarantinedFixing

DAYS: Final = 100
LATE: Final = (9, 30)
MISSED: Final = (17, 41, 42)
"""Which of the last publications, counted from the latest, are late and missing."""


async def fill(store: Store, settings: Settings, now: datetime, unusual: Collection[str] = ()) -> None:
    """Store publications of all polled sources, and their last poll.

    Those of the `unusual` sources have late and missed ones, and a rate of the latest is quarantined; their last polls
    failed.
    """
    for key, source in settings.polled.items():
        current = today(source, now)
        expected = publications_for(source, current - timedelta(days=DAYS), current)
        fixings = list[Fixing]()
        for number, (day, publication) in enumerate(reversed(expected.items())):
            if publication.closes > now or (key in unusual and number in MISSED):
                continue
            seen = publication.opens + (publication.closes - publication.opens) / 2
            if key in unusual and number in LATE:
                seen = publication.closes + timedelta(hours=2)
            codes = dict.fromkeys(code for code in (*settings.wanted(key), *source.quotes) if code != source.base)
            rates = {code: Rate(_rate(code, source.base, day)) for code in codes}
            fixings.append(Fixing(key, source.base, day, rates, source.url, seen, f"{key} {day}"))
        if key in unusual:
            latest = fixings[0]
            code, rate = next(iter(latest.rates.items()))
            held, fixings[0] = replace(latest, rates={code: Rate(rate.value * 2)}), latest.without({code})
            reasons = (f"{code} moved by +100.00%; no other bank confirms it",)
            await store.quarantine(QuarantinedFixing(held, reasons, latest.fetched_at))
        if fixings:  # the sample data has no calendar
            await store.save(*fixings)
        polled = now - timedelta(minutes=4)
        state = SourceState(polled, polled)
        if key in unusual:
            failing = state.after_failure(polled, f"{key}: responded with status 503 ({source.url})")
            state = replace(failing, succeeded_at=now - timedelta(days=1), failing_since=now - timedelta(hours=3))
        await store.save_state(key, state)


@cache
def _rate(code: str, base: str, day: date) -> Decimal:
    """Return a rate on which all banks agree, and which moves a little every day."""
    return (_value(code, day) / _value(base, day)).quantize(Decimal("0.0001"))


def _value(code: str, day: date) -> Decimal:
    size = Decimal(100 + crc32(code.encode()) % 900)
    return size * (1 + Decimal(crc32(f"{code} {day}".encode()) % 1000) / 200_000)
