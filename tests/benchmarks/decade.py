"""Ten years of made-up fixings, one a working day, as large as a national bank's."""

import asyncio
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from service.domain.fixing import Fixing, Rate
from service.storage.repository import Store
from tests.benchmarks.bank import CODES
from tests.benchmarks.processes import Service

_FIRST, _LAST = date(2015, 12, 1), date(2026, 3, 31)
"""Up to the day before the publications that ship with the project."""


def filled(folder: Path) -> Service:
    """Return a service on a store that has them all."""
    service = Service(folder)
    with service.running():
        asyncio.run(_fill(f"unix://{service.data / 'valkey.sock'}"))
    return service


async def _fill(url: str) -> None:
    figures = random.Random(39)  # noqa: S311 - the same at each run
    days = (date.fromordinal(day) for day in range(_FIRST.toordinal(), _LAST.toordinal() + 1))
    async with Store(url, "ticker:") as store:
        for day in (day for day in days if day.weekday() < 5):
            rates = {code: Rate(Decimal(figures.randint(100, 99_999)).scaleb(-2)) for code in CODES}
            at = datetime(day.year, day.month, day.day, 11, tzinfo=UTC)
            await store.save(Fixing("recorded", "KZT", day, rates, f"https://bank.example/{day}", at, "0" * 64))
