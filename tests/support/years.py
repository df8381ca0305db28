"""Generated fixings of more than a year, for comparisons over long periods."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from service.domain.fixing import Fixing, Quotation, Rate
from service.storage.repository import Store

Start = tuple[str, int]


def days(since: date, until: date) -> Iterator[date]:
    return map(date.fromordinal, range(since.toordinal(), until.toordinal() + 1))


def random_walk(
    source: str,
    base: str,
    since: date,
    until: date,
    starts: Mapping[str, Start],
    direction: Quotation = Quotation.DIRECT,
) -> list[Fixing]:
    """Return a fixing for each day from Monday to Friday: small steps from the given rates, the same in each run."""
    chance, fixings = random.Random(source), list[Fixing]()  # noqa: S311 - chance is no secret
    rates = {code: Rate(Decimal(value), nominal) for code, (value, nominal) in starts.items()}
    for on in days(since, until):
        if on.weekday() > 4:
            continue
        for code, rate in rates.items():
            unit = Decimal(1).scaleb(rate.value.as_tuple().exponent)  # type: ignore[arg-type]
            step = max(Decimal(2), (rate.value / unit / 300).to_integral_value())
            rates[code] = replace(rate, value=rate.value + unit * chance.randint(-int(step), int(step)))
        fetched_at = datetime(on.year, on.month, on.day, 11, tzinfo=UTC)
        fixings.append(
            Fixing(source, base, on, dict(rates), f"http://{source}/", fetched_at, f"digest of {on}", direction)
        )
    return fixings


async def save(url: str, prefix: str, *series: list[Fixing]) -> None:
    """Save series to the store with a URL and a prefix."""
    async with Store(url, prefix) as store:
        for fixings in series:
            await store.save(*fixings)
