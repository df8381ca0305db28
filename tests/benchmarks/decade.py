"""A store with ten years of artificial fixings, one per working day, as large as a national bank's."""

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from service.domain.fixing import Fixing, Rate
from service.storage.repository import Store
from tests.benchmarks.bank import CODES
from tests.benchmarks.processes import Service

_FIRST, _LAST = date(2015, 12, 1), date(2026, 3, 31)
"""Up to the day before the sample data."""


def service_with_decade(folder: Path, environ: Mapping[str, str] | None = None) -> Service:
    """Return a service whose store has ten years of fixings."""
    service = Service(folder, environ=environ)
    with service.running():
        asyncio.run(_fill(f"unix://{service.data / 'valkey.sock'}"))
    return service


async def _fill(url: str) -> None:
    generator = random.Random(39)  # noqa: S311 - the same at each run
    days = (date.fromordinal(day) for day in range(_FIRST.toordinal(), _LAST.toordinal() + 1))
    async with Store(url, "ticker:") as store:
        for day in (day for day in days if day.weekday() < 5):
            rates = {code: Rate(Decimal(generator.randint(100, 99_999)).scaleb(-2)) for code in CODES}
            fetched_at = datetime(day.year, day.month, day.day, 11, tzinfo=UTC)
            await store.save(Fixing("recorded", "KZT", day, rates, f"https://bank.example/{day}", fetched_at, "0" * 64))
