"""Create fixings."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from service.domain.fixing import Fixing, Quotation, Rate, Series
from tests.support.standin import RawRates

FETCHED = datetime(2026, 4, 1, 11, 5, 12, tzinfo=UTC)


def day(number: int, month: int = 4) -> date:
    """Return a date in 2026, by default in April."""
    return date(2026, month, number)


def fixing(
    on: date,
    source: str = "nbk",
    base: str = "KZT",
    direction: Quotation = Quotation.DIRECT,
    **published: str | tuple[str, int],
) -> Fixing:
    return Fixing(source, base, on, rates(published), f"http://bank/{on}", FETCHED, f"digest of {on}", direction)


def with_sides(original: Fixing, **sides: tuple[str, str]) -> Fixing:
    """Return a fixing with the buying and the selling rates of some currencies, per nominal."""
    both = {code: [Decimal(side) for side in pair] for code, pair in sides.items()}
    rates = {
        code: replace(original.rates[code], buying=buying, selling=selling) for code, (buying, selling) in both.items()
    }
    return replace(original, rates={**original.rates, **rates})


def later(original: Fixing, seconds: int = 1) -> Fixing:
    """Return the same fixing from another response of the bank, fetched later."""
    return replace(
        original,
        fetched_at=original.fetched_at + timedelta(seconds=seconds),
        digest=f"{original.digest}, {seconds} s later",
    )


def rates(published: RawRates) -> dict[str, Rate]:
    pairs = ((code, rate if isinstance(rate, tuple) else (rate, 1)) for code, rate in published.items())
    return {code: Rate(Decimal(value), nominal) for code, (value, nominal) in pairs}


def series(*fixings: Fixing) -> Series:
    return Series(tuple(fixings))


APRIL: dict[date, RawRates] = {
    day(1): {"USD": "478.77", "EUR": "548.62", "RUB": "5.87", "GBP": "631.98", "CNY": "69.31"},
    day(2): {"USD": "475.09", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12"},
}
