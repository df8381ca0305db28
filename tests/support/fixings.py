"""Short ways to write fixings."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from service.domain.fixing import Fixing, Quotation, Rate, Series
from tests.support.standin import Figures

FETCHED = datetime(2026, 4, 1, 11, 5, 12, tzinfo=UTC)


def day(number: int, month: int = 4) -> date:
    """Return a day of 2026, of April where no month is said."""
    return date(2026, month, number)


def fixing(
    on: date,
    source: str = "nbk",
    base: str = "KZT",
    direction: Quotation = Quotation.DIRECT,
    **figures: str | tuple[str, int],
) -> Fixing:
    return Fixing(source, base, on, rates(figures), f"http://bank/{on}", FETCHED, f"digest of {on}", direction)


def later(one: Fixing, seconds: int = 1) -> Fixing:
    """Return the same as another answer of the bank, fetched later."""
    return replace(
        one, fetched_at=one.fetched_at + timedelta(seconds=seconds), digest=f"{one.digest}, {seconds} s later"
    )


def rates(figures: Figures) -> dict[str, Rate]:
    pairs = ((code, one if isinstance(one, tuple) else (one, 1)) for code, one in figures.items())
    return {code: Rate(Decimal(value), nominal) for code, (value, nominal) in pairs}


def series(*fixings: Fixing) -> Series:
    return Series(tuple(fixings))


APRIL: dict[date, Figures] = {
    day(1): {"USD": "478.77", "EUR": "548.62", "RUB": "5.87", "GBP": "631.98", "CNY": "69.31"},
    day(2): {"USD": "475.09", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12"},
}
