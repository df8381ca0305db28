"""A simulated month with random faults: each rate that could be read is kept, and no other one is shown.

Two banks publish one market; each is polled at the times that its schedule demands. They publish early or late, correct
their rates, write words where numbers belong, demand pauses, fail, and respond with pages instead of rates.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from urllib.parse import unquote

import pytest

from service.domain.fixing import Fixing
from service.domain.publication_schedule import effective_date, is_publication_day
from service.domain.snapshot import Snapshot
from service.polling.poller import Poller
from service.settings import Settings, TickerSettings
from tests.conftest import Clock
from tests.support.pollers import polling
from tests.support.standin import Banks, RawRates, Refusal

pytestmark = pytest.mark.slow

FIRST, BEGIN, LAST = date(2026, 5, 18), date(2026, 6, 1), date(2026, 6, 30)
"""First publication, first poll, last publication."""
END = datetime(2026, 7, 1, 20, tzinfo=UTC)
DAY = timedelta(days=1)
PRICES = {"USD": Decimal(475), "EUR": Decimal(551), "RUB": Decimal("5.87"), "GBP": Decimal(631), "CNY": Decimal(69)}
"""In tenge."""
PUBLISHED_AT = {"nbk": timedelta(hours=11), "cbr": timedelta(hours=13)}
"""Usual time of a publication, in UTC."""
PAGE = b"<!DOCTYPE html><title>The page was not found</title>"


def outages(random: Random) -> Iterator[tuple[timedelta, object]]:
    """Yield faults of all requests with their durations."""
    while True:
        minutes = random.randint(5, 300)
        pause = f"{random.randint(60, 7200)}"
        faults = (Refusal(429, pause), Refusal(503, pause), Refusal(403, pause), 500, 404, 403, PAGE, b"", "reset")
        yield timedelta(minutes=minutes), random.choice(faults)


def published_value(bank: str, code: str, prices: Mapping[str, Decimal]) -> str | tuple[str, int]:
    if bank == "nbk":
        return f"{prices[code]:.2f}"
    if code == "KZT":
        return f"{100 / prices['RUB']:.4f}", 100
    return f"{prices[code] / prices['RUB']:.4f}"


def value_of(cell: str | tuple[str, int]) -> str:
    return cell if isinstance(cell, str) else cell[0]


@dataclass
class Publication:
    """What a bank publishes for a date: versions with the time from which each is served."""

    bank: str
    day: date
    versions: list[tuple[datetime, RawRates]]
    polled: list[tuple[datetime, RawRates]] = field(default_factory=list)
    """What polls have received, with their times."""

    def at(self, now: datetime) -> RawRates | None:
        return next((rates for begin, rates in reversed(self.versions) if begin <= now), None)

    def readable(self, code: str, now: datetime) -> list[str]:
        """Return the readable values of a currency that polls have received until `now`, the latest last."""
        values = [value_of(rates[code]) for at, rates in self.polled if at <= now]
        return [value for value in values if re.fullmatch(r"[0-9]+\.[0-9]+", value)]


@dataclass
class Month:
    settings: Settings
    random: Random
    publications: list[Publication] = field(default_factory=list)
    faults: dict[str, list[tuple[datetime, datetime, object]]] = field(default_factory=dict)
    shown: list[tuple[datetime, Snapshot]] = field(default_factory=list)

    def __post_init__(self) -> None:
        prices, faults = dict(PRICES), outages(self.random)
        for number in range((LAST - FIRST).days + 1):
            day = FIRST + number * DAY
            prices = {code: price * (1 + Decimal(self.random.randint(-3, 3)) / 1000) for code, price in prices.items()}
            for bank, source in self.settings.polled.items():
                usual = datetime(day.year, day.month, day.day, tzinfo=UTC) + PUBLISHED_AT[bank]
                if is_publication_day(source, day):
                    at = usual + timedelta(minutes=self.random.choice((0, 0, 0, 1, 7, -25, 90, 300)))
                    codes = PRICES if bank == "nbk" else ("USD", "EUR", "GBP", "CNY", "KZT")
                    rates = {code: published_value(bank, code, prices) for code in codes}
                    versions = list(self.versions(at, rates))
                    self.publications.append(Publication(bank, effective_date(source, day), versions))
                begin = usual + timedelta(minutes=self.random.randint(-240, 240))
                if day >= BEGIN and self.random.random() < 0.4:
                    length, fault = next(faults)
                    self.faults.setdefault(bank, []).append((begin, begin + length, fault))

    def versions(self, at: datetime, rates: RawRates) -> Iterator[tuple[datetime, RawRates]]:
        """Yield the versions of a publication: with errors that are corrected or stay, and with corrections."""
        code = self.random.choice(list(rates))
        later = at + timedelta(minutes=self.random.randint(3, 240))
        odd = {**rates, code: self.random.choice(("n/a", "Bank holiday", "-", "4,75.09", "NaN"))}
        wrong_value = f"{Decimal(value_of(rates[code])) * Decimal('1.004'):.4f}"
        cell = rates[code]
        wrong = {**rates, code: wrong_value if isinstance(cell, str) else (wrong_value, cell[1])}
        kind = self.random.choice(("fine", "fine", "stays odd", "is repaired", "is corrected", "becomes odd"))
        if at.date() < BEGIN:
            kind = "fine"
        if kind in ("fine", "becomes odd"):
            yield at, rates
        if kind in ("stays odd", "is repaired"):
            yield at, odd
        if kind == "is corrected":
            yield at, wrong
        if kind in ("is repaired", "is corrected"):
            yield later, rates
        if kind == "becomes odd":
            yield later, odd

    def serve(self, banks: Banks, now: datetime) -> None:
        banks.faults.clear()
        for bank, faults in self.faults.items():
            banks.faults.update((bank, fault) for begin, end, fault in faults if begin <= now < end)
        for publication in self.publications:
            rates = publication.at(now)
            if rates:
                banks.published[publication.bank][publication.day] = rates

    def note_received(self, bank: str, targets: Iterable[str], now: datetime) -> None:
        for target in targets:
            numbers = [int(number) for number in re.findall(r"\d+", unquote(target))]
            requested = date(*reversed(numbers))
            received = [each for each in self.publications if each.bank == bank and each.day <= requested]
            received = [each for each in received if each.at(now)][-1:]
            for publication in received:
                rates = publication.at(now)
                if rates and (bank == "cbr" or publication.day == requested):
                    publication.polled.append((now, rates))

    async def run(self, poller: Poller, banks: Banks, clock: Clock) -> None:
        poller.memory.watchers.append(lambda snapshot: self.shown.append((clock(), snapshot)))
        due = dict.fromkeys(self.settings.polled, clock())
        while min(due.values()) < END:
            bank = min(due, key=lambda key: due[key])
            clock.time = due[bank].replace(microsecond=0)  # as it is stored
            self.serve(banks, clock())
            count = len(banks.targets)
            await poller.poll(bank)
            if bank not in banks.faults:
                self.note_received(bank, banks.targets[count:], clock())
            due[bank] = poller.memory.next_poll(bank, clock()) + timedelta(seconds=self.random.randint(1, 15))


@pytest.fixture
def two_banks(settings: Settings) -> Settings:
    ticker = TickerSettings(id="kzt", base="KZT", currencies=tuple(PRICES), sources=("nbk", "cbr"))
    sources = {key: settings.sources[key] for key in PUBLISHED_AT}
    return Settings(store=settings.store, client=settings.client, tickers=(ticker,), sources=sources)


@pytest.mark.parametrize("seed", range(4))
async def test_no_readable_rate_is_lost_and_no_other_is_shown(
    two_banks: Settings, clock: Clock, banks: Banks, seed: int
) -> None:
    month = Month(two_banks, Random(seed))  # noqa: S311 - reproducible
    banks.published = {bank: {} for bank in PUBLISHED_AT}
    clock.time = datetime.combine(BEGIN, time(1), UTC)
    stored = dict[tuple[str, date], Fixing]()
    async with polling(two_banks, clock) as poller:
        await month.run(poller, banks, clock)
        for publication in month.publications:
            fixing = await poller.store_sync.store.fixing(publication.bank, publication.day)
            if fixing:
                stored[publication.bank, publication.day] = fixing
        assert not any(quarantine.waiting for quarantine in poller.memory.quarantine.values())
    for publication in month.publications:
        key = publication.bank, publication.day
        for code in publication.versions[-1][1]:
            rate = stored[key].rates.get(code) if key in stored else None
            readable = publication.readable(code, END)
            latest = readable[-1] if readable else None
            assert (str(rate.value) if rate else None) == latest, (key, code, publication.versions)
        for version in (stored[key], *stored[key].revisions) if key in stored else ():
            for code, rate in version.rates.items():
                assert str(rate.value) in publication.readable(code, version.fetched_at), (key, code)
    values = {(each.bank, each.day): each for each in month.publications}
    assert len(month.shown) > 40
    for at, snapshot in month.shown:
        for quote in snapshot.quotes:
            if quote.source == "nbk" and quote.date is not None:
                assert str(quote.rate) in values["nbk", quote.date].readable(quote.code, at), (at, quote)
