"""A bank that publishes false rates, beside honest ones, against the running service: no false rate is shown as true.

`nbk` is the false one, `cbr`, `nbu` and `cbu` are honest. All of them publish one market: rates that move by some
tenths of a percent a day, each bank's in its own base and digits. The service runs in this process, with its store and
over HTTP; its schedule is paused, and every poll is made by the test, so that "in one poll" means exactly one.
"""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from math import exp
from pathlib import Path
from random import Random
from typing import Any, Final, Self

import pytest
from aiohttp.test_utils import TestClient

from service.cli import maintenance
from service.errors import TickerError
from service.polling.poller import Poller
from service.polling.scheduler import PollScheduler
from service.settings import Settings, load
from service.storage.repository import Store
from service.validation.quarantine import Outcome
from tests.conftest import Clock, Started
from tests.support.fixings import fixing, rates
from tests.support.metrics import scraped, value
from tests.support.standin import Banks, RawRates, nbk
from tests.support.wait import until, until_true

DAY: Final = timedelta(days=1)
SHOWN: Final = ("USD", "EUR", "RUB", "GBP", "CNY")
TODAY: Final = date(2026, 4, 2)
"""A Thursday, on which the `clock` stands at 09:00 in Astana."""
KNOWN: Final = 30
"""Publications of each bank that are stored before."""
WRONG: Final = 0.02
"""A rate that is farther off than this is false."""
POINTS: Final = 2.0
"""A percentage that is farther off (in percentage points) is false."""
START: Final[Mapping[str, str]] = {
    "USD": "475.09", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12", "CHF": "590.40", "TRY": "10.71",
    "JPY": "3.02", "PLN": "129.30", "SEK": "50.35", "AED": "129.36", "XDR": "647.20", "UZS": "0.0391", "UAH": "10.82",
    "KGS": "5.43", "BGN": "281.70", "IRR": "0.00036", "XPD": "478300", "KZT": "1",
}  # fmt: skip
"""Tenge for one unit on 2 April."""
QUOTED: Final = {
    "nbk": ("KZT", "USD EUR RUB GBP CNY CHF TRY JPY PLN SEK AED XDR UZS UAH KGS IRR", 2),
    "cbr": ("RUB", "USD EUR GBP CNY CHF TRY JPY PLN SEK AED XDR UZS UAH KGS KZT", 4),
    "nbu": ("UAH", "USD EUR GBP CNY CHF TRY JPY PLN SEK AED XDR KZT BGN XPD", 4),
    "cbu": ("UZS", "USD EUR RUB GBP CNY CHF TRY JPY PLN SEK AED XDR UAH KGS KZT BGN", 2),
}
"""Base, currencies and digits of each bank."""


def true_price(code: str, market_day: date) -> float:
    """Return tenge for one unit on a day of the market: a random walk that depends on the day alone."""
    return _PRICES[market_day][code]


def _walk() -> dict[date, dict[str, float]]:
    random, prices, day = Random(14), dict[date, dict[str, float]](), date(2025, 12, 1)  # noqa: S311 - no secret
    logs = dict.fromkeys(START, 0.0)
    while day < date(2026, 12, 1):
        if day.weekday() < 5:
            common = random.gauss(0, 0.003)
            for code in START:
                move = 0.0 if code == "KZT" else common + random.gauss(0, 0.003) * (code != "USD")
                logs[code] += move
            prices[day] = {code: float(START[code]) * exp(log) for code, log in logs.items()}
        day += DAY
    today = prices[TODAY - DAY]
    return {day: {code: one * float(START[code]) / today[code] for code, one in known.items()}
            for day, known in prices.items()}  # fmt: skip


_PRICES: Final = _walk()


def market_day_of(effective: date) -> date:
    """Return the day of the market that a date's rates are of, at every bank: the last weekday before it."""
    day = effective - DAY
    while day.weekday() > 4:
        day -= DAY
    return day


@cache
def walked(bank: str, market_day: date) -> RawRates:
    return publication(bank, _PRICES[market_day])


def publication(bank: str, prices: Mapping[str, float]) -> RawRates:
    """Return what a bank publishes at these prices, in its base and digits."""
    base, codes, digits = QUOTED[bank]
    return {code: rounded(prices[code] / prices[base], digits) for code in codes.split()}


def rounded(rate: float, digits: int) -> tuple[str, int]:
    """Return a rate with its digits, for as many units as it takes to be more than 1."""
    nominal = 1
    while rate * nominal < 5 and nominal < 10_000_000:
        nominal *= 10
    return str(Decimal(rate * nominal).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)), nominal


def effective_dates(bank: str, market_day: date) -> list[date]:
    """Return the dates under which a bank publishes a market day: weekends and what repeats them included."""
    first = market_day + DAY
    weekend = [first + DAY * number for number in range(3)] if market_day.weekday() == 4 else [first]
    if bank == "nbk":
        return weekend
    if bank == "cbr":
        return weekend[:1]
    return weekend[-1:]  # Monday


def scaled(figures: RawRates, factors: Mapping[str, float]) -> RawRates:
    """Return a document with some rates multiplied."""
    return {code: times(one, factors[code]) if code in factors else one for code, one in figures.items()}


def times(figure: str | tuple[str, int], factor: float) -> tuple[str, int]:
    text, nominal = figure if isinstance(figure, tuple) else (figure, 1)
    places = max(2, -Decimal(text).as_tuple().exponent)  # type: ignore[operator]
    return str((Decimal(text) * Decimal(factor)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)), nominal


def pairs(figures: RawRates) -> Iterable[tuple[str, tuple[str, int]]]:
    """Yield each currency with its digits and nominal."""
    return ((code, one if isinstance(one, tuple) else (one, 1)) for code, one in figures.items())


def all_of(factor: float, bank: str = "nbk") -> dict[str, float]:
    return dict.fromkeys(QUOTED[bank][1].split(), factor)


@dataclass
class World:
    """The banks' publications until a market day; what is false of them lies over that, by bank and date."""

    banks: Banks
    clock: Clock
    keys: tuple[str, ...] = ("nbk", "cbr", "nbu")
    day: date = TODAY - DAY
    """The latest market day that is published."""
    false: dict[str, dict[date, RawRates]] = field(default_factory=dict)
    moved: dict[date, Mapping[str, float]] = field(default_factory=dict)
    """Market days with other prices than the walk's."""
    silent: set[str] = field(default_factory=set)

    def prices(self, market_day: date) -> Mapping[str, float]:
        return self.moved.get(market_day, _PRICES[market_day])

    def truth(self, bank: str, effective: date) -> RawRates:
        return self.published(bank, market_day_of(effective))

    def published(self, bank: str, market_day: date) -> RawRates:
        prices = self.moved.get(market_day)
        return publication(bank, prices) if prices else walked(bank, market_day)

    @property
    def latest(self) -> date:
        """The effective date of the latest publication of nbk: the day on which the clock stands."""
        return self.day + DAY

    def before(self, number: int) -> date:
        """Return the first effective date, at nbk, of the publication so many before the latest."""
        day = self.day
        for _ in range(number):
            day = market_day_of(day)
        return day + DAY

    def forward(self, days: int = 1) -> None:
        """Go on by so many market days."""
        for _ in range(days):
            self.day += DAY
            while self.day.weekday() > 4:
                self.day += DAY
        self.clock.time = datetime(self.latest.year, self.latest.month, self.latest.day, 4, tzinfo=UTC)

    def move(self, factor: float, *codes: str) -> None:
        """Let these currencies (by default all) cost so much more tenge on the latest market day than in the walk."""
        codes = codes or tuple(code for code in START if code != "KZT")
        prices = self.prices(self.day)
        self.moved[self.day] = {code: price * factor if code in codes else price for code, price in prices.items()}

    def publish(self) -> None:
        """Let the banks publish all there is until now."""
        for key in self.keys:
            published: dict[date, RawRates] = {}
            for market_day in _PRICES:
                if self.day - 60 * DAY <= market_day <= self.day:
                    published |= dict.fromkeys(effective_dates(key, market_day), self.published(key, market_day))
            self.banks.published[key] = published | self.false.get(key, {})
            self.banks.faults.pop(key, None)
        self.banks.faults |= dict.fromkeys(self.silent, 503)

    def lie(self, number: int, factors: Mapping[str, float], bank: str = "nbk") -> None:
        """Multiply rates of the publication so many before the latest."""
        first = self.before(number)
        figures = scaled(self.truth(bank, first), factors)
        for day in effective_dates(bank, market_day_of(first)):
            self.false.setdefault(bank, {})[day] = figures


@dataclass
class Running:
    """The running service: what is polled, and what it shows over HTTP."""

    world: World
    client: TestClient[Any, Any]
    poller: Poller
    settings: Settings

    async def poll(self, *keys: str, allowed: float = 0.0) -> None:
        """Publish, and poll these banks (by default all, nbk last) one after the other; nothing false is shown then.

        `allowed` is how far a rate that is not marked as confirmed may be off, before the last of them is polled.
        """
        keys = keys or (*self.world.keys[1:], "nbk")
        for key in keys:
            await self.unchecked(key)
            false = await self.false_quotes(allowed=allowed if key != keys[-1] or len(keys) == 1 else 0.0)
            assert false == [], f"after polling {key}"

    async def unchecked(self, *keys: str) -> None:
        """Publish, and poll these banks; whatever is shown then."""
        self.world.publish()
        for key in keys:
            self.world.clock.forward(seconds=20)
            await self.poller.poll(key)

    async def get(self, path: str) -> Any:
        async with self.client.get(path, headers={"Accept-Encoding": "identity"}) as response:
            assert response.status in {200, 503}, (path, response.status, await response.text())
            text = await response.text()
        return text if path.endswith(".txt") else json.loads(text, parse_float=Decimal)

    async def quotes(self) -> dict[str, Any]:
        return {one["code"]: one for one in (await self.get("/v1/ticker")).get("quotes", ())}

    async def false_quotes(self, *, allowed: float = 0.0) -> list[str]:
        """Return what is false in the ticker: rates and percentages; check that its text says the same.

        `allowed` is how far a rate that is not marked as confirmed may be off.
        """
        found, lines = [], list[str]()
        for code, one in (await self.quotes()).items():
            shown = "—" if one["percent"] is None else f"{one['percent']:+.2f}%".replace("+0.00", "0.00")
            lines.append(f"{code.lower()} {shown}")
            if one["rate"] is None:
                continue
            new = self.world.prices(market_day_of(date.fromisoformat(one["date"])))[code]
            if one["confidence"] != "confirmed" and abs(float(one["rate"]) / new - 1) < allowed:
                continue
            since = f"{one['percent']} % since {one['previous_date']}"
            what = f"{code} {one['rate']} of {one['date']} ({since}, {one['source']}, {one['confidence']})"
            found += self.errors(code, one, what)
        if lines:
            assert (await self.get("/v1/ticker.txt")).splitlines() == lines
        return found

    def errors(self, code: str, point: Mapping[str, Any], what: str) -> list[str]:
        """Return what is false about a rate, and about its percentage."""
        new = self.world.prices(market_day_of(date.fromisoformat(point["date"])))[code]
        found = [] if abs(float(point["rate"]) / new - 1) <= WRONG else [f"rate: {what}, true {new:.2f}"]
        if point["percent"] is not None:
            before = float(point["rate"]) / (1 + float(point["percent"]) / 100)
            if previous := point.get("previous_date"):
                before = self.world.prices(market_day_of(date.fromisoformat(previous)))[code]
            elif abs(float(point["percent"])) > 15:
                found.append(f"percentage: {what}")
            if abs(100 * (new / before - 1) - float(point["percent"])) > POINTS:
                found.append(f"percentage: {what}, true {100 * (new / before - 1):.2f}")
        return found

    async def false_history(self, code: str = "usd") -> list[str]:
        """Return the points of the series that are false."""
        series = await self.get(f"/v1/history/{code}?from={self.world.latest - 60 * DAY}")
        return [
            error
            for point in series["history"]
            for error in self.errors(code.upper(), point, f"{series['source']} {point}")
        ]

    async def is_true(self, source: str = "nbk", codes: Collection[str] = SHOWN, *, percent: bool = True) -> list[str]:
        """Return what keeps the latest true rates of a source from being shown; `percent`: their changes too."""
        quotes, found = await self.quotes(), []
        for code in codes:
            one = quotes[code]
            known = one["percent"] is not None or not percent
            if (one["source"], one["date"]) != (source, str(self.world.latest)) or not known:
                found.append(
                    f"{code} {one['rate']} of {one['date']}, {one['percent']} %, {one['source']}: {one['reason']}"
                )
        return found + await self.false_quotes()

    async def held(self, key: str = "nbk") -> dict[date, set[str]]:
        """Return what `quarantine --json` would say: the currencies in quarantine, by date."""
        return {one.fixing.date: set(one.fixing.rates) for one in await self.poller.store_sync.store.waiting(key)}

    async def health(self, key: str = "nbk") -> str:
        """Return what /health says of a source."""
        (check,) = (await self.get("/health"))["checks"][f"source:{key}"]
        return str(check.get("output", ""))

    async def receipt(self, day: date, key: str = "nbk") -> Any:
        return await self.get(f"/v1/fixings/{key}/{day}")


Run = Callable[..., Awaitable[Running]]


@pytest.fixture
async def run(start: Started, settings: Settings, banks: Banks, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that starts the service on these banks, all polled once; `known` publications are stored."""
    pollers: list[Poller] = []

    class Paused(PollScheduler):
        async def __aenter__(self) -> Self:
            entered = await super().__aenter__()
            self._scheduler.pause()
            pollers.append(self._poller)
            return entered

    monkeypatch.setattr("service.polling.scheduler.PollScheduler", Paused)

    async def started(
        keys: tuple[str, ...] = ("nbk", "cbr", "nbu"), known: int = KNOWN, *, polled: bool = True
    ) -> Running:
        world = World(banks, clock, keys)
        environ = banks.environ() | {
            "TICKER_STORE__URL": settings.store.url.get_secret_value(),
            "TICKER_STORE__PREFIX": settings.store.prefix,
        }
        off = {key: {"enabled": False} for key in ("cbr", "ecb", "nbu", "cbu") if key not in keys}
        ticker = {"id": "kzt", "base": "KZT", "currencies": list(SHOWN), "sources": list(keys)}
        own = load(environ=environ, overrides={"tickers": [ticker], "sources": off})
        async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
            for key in keys if known else ():
                await store.save(
                    *(
                        replace(fixing(day, key, QUOTED[key][0]), rates=rates(walked(key, market_day)))
                        for market_day in [one for one in _PRICES if one < world.day][-known:]
                        for day in effective_dates(key, market_day)
                    )
                )
        client = await start(own)
        await until_true(lambda: pollers)
        running = Running(world, client, pollers.pop(), own)
        if polled:
            await running.poll()
            assert await running.is_true() == []
        return running

    return started


async def test_honest_banks(run: Run) -> None:
    """The ground of all the rest: the first source is shown, confirmed, for two weeks."""
    here = await run()
    for _ in range(10):
        here.world.forward()
        await here.poll()
        assert await here.is_true() == []
        assert {one["confidence"] for one in (await here.quotes()).values()} == {"confirmed"}
    assert (await here.health(), await here.health("cbr"), await here.health("nbu")) == ("", "", "")
    assert await here.false_history() == []


LAST: Final = ("cbr", "nbu", "nbk")
FIRST: Final = ("nbk", "cbr", "nbu")
SECOND_HALF: Final = pytest.mark.xdist_group("tests/attacks/test_false_rates.py, second half")
"""Tests that may run beside the others: there are too many for one worker."""
ORDERS: Final = pytest.mark.parametrize("order", [FIRST, LAST], ids=["first", "last"])


class TestPastRevised:
    """Today's rate is true, earlier ones are not."""

    @pytest.mark.parametrize("known", [0, KNOWN])
    async def test_step_by_step(self, run: Run, known: int) -> None:
        """One earlier date after the other is revised by less than 15 %, eight polls long."""
        here = await run(known=known)
        for number in range(1, 9):
            for back in range(1, number + 1):
                here.world.lie(back, {"USD": 1.14 ** (number - back + 1)})
            await here.poll("nbk")
            assert await here.false_history() == []
        assert "USD" in (await here.held())[here.world.before(1)]
        assert "USD" in await here.health()

    async def test_at_once(self, run: Run) -> None:
        """One answer with many dates, each within 15 % of its neighbour."""
        here = await run()
        for back in range(1, 10):
            here.world.lie(back, {"USD": 1.14 ** (10 - back)})
        await here.poll("nbk")
        assert await here.false_history() == []
        assert "USD" in (await here.held())[here.world.before(1)]

    @pytest.mark.parametrize("factor", [3.5, 1.149, 1.06, 0.5])
    async def test_inserted_date(self, run: Run, factor: float) -> None:
        """The publication before the latest was missing; it is inserted, and false."""
        here = await run(polled=False)
        world = here.world
        world.forward(2)
        missing = world.before(1)
        world.false["nbk"] = {missing: {}}
        await here.poll()
        assert await here.is_true() == []
        world.lie(1, {"USD": factor})
        await here.poll("nbk")
        await here.poll("nbk")
        assert await here.false_history() == []
        assert "USD" in (await here.held())[missing]
        assert (await here.receipt(missing))["rates"].keys() >= {"EUR", "RUB"}

    async def test_latest_date_revised_often(self, run: Run) -> None:
        """The latest date itself, by 14 % a poll, and then back."""
        here = await run()
        for number in range(1, 7):
            here.world.lie(0, {"USD": 1.14**number, "CNY": 0.88**number})
            await here.poll("nbk")
        assert {"USD", "CNY"} <= (await here.held())[here.world.latest]
        assert "USD" in await here.health()
        here.world.false.clear()
        await here.poll("nbk")
        assert await here.is_true() == []
        assert await here.held() == {}


class TestDrift:
    """Rates that leave the market in small steps, or do not follow it."""

    @pytest.mark.parametrize(("step", "order"), [(1.149, FIRST), (0.86, LAST), (1.05, LAST), (1.03, FIRST)])
    async def test_one_currency(self, run: Run, step: float, order: tuple[str, ...]) -> None:
        """For five days; then the truth, which is back in one poll. The false bank is polled first or last."""
        here = await run()
        for number in range(1, 6):
            here.world.forward()
            here.world.lie(0, {"USD": step**number})
            await here.poll(*order, allowed=0.052)
        assert "USD" in await here.health()
        assert (await here.quotes())["USD"]["source"] == "cbr"
        here.world.forward()
        await here.poll(*order)
        assert await here.is_true() == []
        assert await here.false_history() == []

    @ORDERS
    async def test_all_currencies(self, run: Run, order: tuple[str, ...]) -> None:
        """The base drifts by 4 % a day."""
        here = await run()
        for number in range(1, 6):
            here.world.forward()
            here.world.lie(0, all_of(1.04**number))
            await here.poll(*order, allowed=0.052)
        assert {one["source"] for one in (await here.quotes()).values()} == {"cbr"}
        here.world.forward()
        await here.poll(*order)
        assert await here.is_true() == []

    @pytest.mark.parametrize(("days", "whole"), [(29, False), (60, True)], ids=["29 days", "60 days"])
    async def test_swapped_after_silence(self, run: Run, days: int, whole: bool) -> None:
        """After weeks without an answer the dollar and the euro have each other's rate."""
        here = await run()
        world = here.world
        world.silent.add("nbk")
        for _ in range(days * 5 // 7 // 4):
            world.forward(4)
            await here.poll("cbr", "nbu")
        world.silent.clear()
        for back in range(12):
            there = world.truth("nbk", world.before(back))
            dates = effective_dates("nbk", market_day_of(world.before(back)))
            swapped = {**there, "USD": there["EUR"], "EUR": there["USD"]} if whole or not back else {}
            world.false.setdefault("nbk", {}).update(dict.fromkeys(dates, swapped))
        await here.poll("nbk")
        quotes = await here.quotes()
        assert {code: quotes[code]["source"] for code in ("USD", "EUR")} == {"USD": "cbr", "EUR": "cbr"}
        assert {"USD", "EUR"} <= (await here.held())[world.latest]
        assert "USD" in await here.health()
        world.false.clear()
        world.forward()
        await here.poll()
        assert await here.is_true() == []

    @pytest.mark.parametrize(("every", "order"), [(True, LAST), (False, FIRST)], ids=["document", "dollar"])
    async def test_frozen_with_a_noisy_digit(self, run: Run, every: bool, order: tuple[str, ...]) -> None:
        """It repeats itself under new dates, but for one digit in IRR, while the tenge falls by 2 % a day elsewhere."""
        here = await run()
        world, frozen = here.world, here.world.truth("nbk", here.world.latest)
        since = world.latest
        for number in range(1, 6):
            world.forward()
            world.move(1.02**number)
            noisy = {**frozen, "IRR": times(frozen["IRR"], 1 + number / 50)}
            if not every:
                noisy = {**world.truth("nbk", world.latest), "USD": frozen["USD"]}
            for day in effective_dates("nbk", world.day):
                world.false.setdefault("nbk", {})[day] = noisy
            await here.poll(*order, allowed=0.052)
            snapshot = await here.get("/v1/ticker")
            quote = next(one for one in snapshot["quotes"] if one["code"] == "USD")
            current = snapshot["status"] == "current"
            assert quote["source"] != "nbk" or quote["date"] == str(since), quote
            assert quote["source"] != "nbk" or not current, quote
        assert quote["source"] == "cbr"
        assert await here.health() != ""
        world.forward()
        world.move(1.02**6)
        await here.poll(*order)
        assert await here.is_true() == []

    @pytest.mark.parametrize(
        ("jump", "own", "first"), [(1.1, 1.0, True), (1.3, 1.0, False), (1.14, 0.99, False), (1.3, 1.01, True)]
    )
    async def test_frozen_at_a_jump(self, run: Run, jump: float, own: float, first: bool) -> None:
        """The tenge falls, as all banks publish, but for the dollar of one, which stays about where it was."""
        here = await run()
        world, before = here.world, here.world.truth("nbk", here.world.latest)
        world.forward()
        world.move(jump)
        world.false["nbk"] = {world.latest: {**world.truth("nbk", world.latest), "USD": times(before["USD"], own)}}
        if first:  # until the others have published, this looks like any day
            await here.unchecked("nbk")
            await here.unchecked("cbr")
        await here.poll("cbr", "nbu", "nbk")
        quote = (await here.quotes())["USD"]
        assert quote["date"] != str(world.latest) or quote["source"] == "cbr"
        assert "USD" in await here.health()
        world.false.clear()
        await here.poll("nbk")
        assert await here.is_true() == []


class TestOneBankDoesNotFollow:
    """The tenge falls by 30 % in a day, and one bank does not follow, or rewrites the day before."""

    @pytest.mark.parametrize("order", [("nbk", "cbr", "nbu"), ("cbr", "nbu", "nbk"), ("nbu", "nbk", "cbr")])
    async def test_frozen_second_bank(self, run: Run, order: tuple[str, ...]) -> None:
        """Two honest banks have it in time: the old rate of the third is not shown under the new date."""
        here = await run()
        here.world.forward()
        here.world.move(1.3)
        here.world.lie(0, {"KZT": 1.3}, "cbr")
        await here.unchecked(*order)
        await here.unchecked(*order)
        false = await here.false_quotes()
        assert [one for one in false if "RUB" not in one] == []  # of the rouble only the two that differ have a rate

    async def test_yesterday_revised_to_todays_level(self, run: Run) -> None:
        """A false revision of yesterday is not confirmed by what is true today."""
        here = await run()
        here.world.forward()
        here.world.move(1.3)
        await here.unchecked("nbk", "cbr", "nbu")
        await here.poll()
        here.world.lie(1, {"USD": 1.3})
        await here.unchecked("nbk", "cbr", "nbu")
        assert await here.false_quotes() == []
        assert "USD" in await here.health()

    async def test_rate_is_not_refuted_by_a_bank_that_stopped(self, run: Run) -> None:
        """The only other bank was 3 % off and fell silent: a week later it no longer speaks against an honest one."""
        here = await run(("nbk", "cbr"))
        world = here.world
        for number in range(10):
            world.forward()
            if number >= 2:
                world.move(1.1, "CNY")
            if number in {0, 1, 3}:
                world.lie(0, {"CNY": 1.03}, "cbr")
            await here.unchecked(*(("cbr", "nbk") if number in {0, 1, 3} else ("nbk",)))
        assert await here.is_true(codes=["CNY"]) == []


FIRST_LIES: Final[Mapping[str, Callable[[int], Mapping[str, float]]]] = {
    "x1000": lambda _: all_of(1000),
    "dollar x1000": lambda _: {"USD": 1000},
    "14.9 % a day": lambda back: {"USD": 1.149 ** (20 - back)},
    "all 14.9 % a day": lambda back: all_of(1.149 ** (20 - back)),
    "10 % off": lambda _: {"USD": 1.1},
}


class TestFirstStart:
    """Nothing is known of any bank."""

    @pytest.mark.parametrize("lie", FIRST_LIES)
    async def test_false_bank_first(self, run: Run, lie: str) -> None:
        """Its rates are shown, as unconfirmed, until others have answered; then they are replaced."""
        here = await run(known=0, polled=False)
        for back in range(16):
            here.world.lie(back, FIRST_LIES[lie](back))
        await here.poll("nbk", allowed=float("inf"))
        assert "confirmed" not in {one["confidence"] for one in (await here.quotes()).values()}
        await here.poll("cbr", "nbu")
        assert (await here.quotes())["USD"]["source"] == "cbr"
        assert (await here.quotes())["USD"]["confidence"] == "confirmed"
        assert await here.false_history() == []
        assert "USD" in await here.health()
        samples = await scraped(here.client)
        assert (value(samples, "ticker_source_diverging", source="nbk") or 0) + (
            value(samples, "ticker_quarantine_waiting", source="nbk") or 0
        ) > 0
        here.world.forward()
        await here.poll("nbk")
        await here.poll()
        assert await here.is_true(percent=False) == []
        assert await here.false_history() == []

    @pytest.mark.parametrize(
        ("lie", "honest"),
        [
            ("x1000", ("cbr",)),
            ("14.9 % a day", ("cbr",)),
            ("10 % off", ("cbr",)),
            ("x1000", ("cbr", "nbu")),
            ("all 14.9 % a day", ("cbr", "nbu")),
            ("10 % off", ("cbr", "nbu")),
        ],
    )
    async def test_honest_bank_first(self, run: Run, lie: str, honest: tuple[str, ...]) -> None:
        """What the false one says is not shown, with one honest bank or two."""
        here = await run(known=0, polled=False)
        for back in range(16):
            here.world.lie(back, FIRST_LIES[lie](back))
        await here.poll(*honest, "nbk")
        assert (await here.quotes())["USD"]["source"] in ({"cbr", None} if len(honest) == 1 else {"cbr"})
        assert "USD" in await here.health()
        here.world.forward()
        await here.poll(*honest, "nbk")
        assert await here.is_true(percent=False) == []
        assert await here.false_history() == []


DOCUMENTS: Final[Mapping[str, Callable[[RawRates], RawRates]]] = {
    "one x10": lambda true: scaled(true, {"USD": 10}),
    "one x100": lambda true: scaled(true, {"CNY": 100}),
    "one x1000": lambda true: scaled(true, {"RUB": 1000}),
    "one / 100": lambda true: scaled(true, {"GBP": 0.01}),
    "one inverted": lambda true: {**true, "EUR": "0.00181"},
    "one at zero": lambda true: {**true, "EUR": "0.00"},
    "two swapped": lambda true: {**true, "USD": true["EUR"], "EUR": true["USD"]},
    "near ones swapped": lambda true: {**true, "EUR": true["CHF"], "CHF": true["EUR"]},
    "one of another": lambda true: {**true, "USD": true["GBP"]},
}
"""A fault of some rates; the others are true."""


@SECOND_HALF
class TestScale:
    """Rates under another unit, name or direction."""

    @pytest.mark.parametrize("fault", DOCUMENTS)
    async def test_of_some_rates(self, run: Run, fault: str) -> None:
        """They are held for as long as they are false; the others of the document are published."""
        here = await run()
        for _ in range(2):
            here.world.forward()
            true = here.world.truth("nbk", here.world.latest)
            false = DOCUMENTS[fault](true)
            wrong = {code for code in true if true[code] != false[code]}
            here.world.false["nbk"] = dict.fromkeys(effective_dates("nbk", here.world.day), false)
            await here.poll()
            assert (await here.held())[here.world.latest] == wrong
            assert await here.is_true(codes=set(SHOWN) - wrong) == []
            health = await here.health()
            assert [code for code in wrong & set(SHOWN) if code not in health] == []
            receipt = await here.receipt(here.world.latest)
            assert set(receipt["rates"]) == set(true) - wrong
            assert {receipt["confidence"][code] for code in set(SHOWN) - wrong} == {"confirmed"}
        here.world.false.clear()
        await here.poll("nbk")
        assert await here.is_true() == []
        assert (await here.held()).keys() <= {here.world.before(1)}
        assert await here.false_history() == []

    @pytest.mark.parametrize(
        ("factor", "order"),
        [(10, FIRST), (1000, LAST), (0.01, FIRST), (1.2, LAST), (1.2, FIRST), ("inverted", LAST), ("slipped", FIRST),
         ("other base", LAST)],
        ids=str,
    )  # fmt: skip
    async def test_of_all_rates(self, run: Run, factor: float | str, order: tuple[str, ...]) -> None:
        """The document is held whole, days long; the next one is published at once."""
        here = await run()
        for _ in range(2):
            here.world.forward()
            true, false = here.world.truth("nbk", here.world.latest), dict[str, str | tuple[str, int]]()
            if factor == "inverted":
                false = {code: (f"{Decimal(one[1]) ** 2 / Decimal(one[0]):.6f}", one[1]) for code, one in pairs(true)}
            elif factor == "slipped":
                false = {code: true[after] for code, after in zip(true, [*true][1:], strict=False)}
            elif factor == "other base":
                price = Decimal(true["USD"][0])
                false = {code: (f"{Decimal(one[0]) / price:.6f}", one[1]) for code, one in pairs(true)}
            else:
                false = {**scaled(true, all_of(float(factor)))}
            here.world.false["nbk"] = dict.fromkeys(effective_dates("nbk", here.world.day), false)
            await here.poll(*order)
            assert set(false) <= (await here.held())[here.world.latest]
            assert {"quarantined", "USD"} <= set((await here.health()).replace(",", " ").replace(":", " ").split())
        here.world.forward()
        await here.poll(*order)
        assert await here.is_true() == []
        assert await here.false_history() == []

    @pytest.mark.parametrize(
        ("bank", "how"), [("nbk", "missing"), ("nbk", "x1000"), ("nbu", "missing"), ("nbu", "zero"), ("nbu", "frozen")]
    )
    async def test_of_what_no_ticker_shows(self, run: Run, bank: str, how: str) -> None:
        """A currency that no ticker needs is odd or missing: nothing else is held up, and nobody is told to act."""
        here = await run()
        code = "IRR" if bank == "nbk" else "XPD"
        others = {"BGN"} if bank == "nbu" else {"KGS"}
        frozen = here.world.truth(bank, here.world.latest)
        for _ in range(3):
            here.world.forward()
            for day in effective_dates(bank, here.world.day):
                figures = dict(here.world.truth(bank, day))
                for one in others:
                    del figures[one]
                if how == "missing":
                    del figures[code]
                else:
                    factor = {"x1000": 1000.0, "zero": 0.0, "frozen": 1.0}[how]
                    figures[code] = times((frozen if how == "frozen" else figures)[code], factor)
                here.world.false.setdefault(bank, {})[day] = figures
            await here.poll()
            assert await here.is_true() == []
            day = effective_dates(bank, here.world.day)[0]
            assert set((await here.receipt(day, bank))["rates"]) >= set(figures) - {code}
            assert await here.health(bank) == ""


@SECOND_HALF
class TestTrueJump:
    """The tenge is floated: on 20 August 2015 the dollar rose by 35.5 %."""

    @pytest.mark.parametrize("order", [("nbk", "cbr"), ("cbr", "nbk"), ("nbk", "nbu"), ("nbu", "nbk")], ids="-".join)
    async def test_confirmed_by_one(self, run: Run, order: tuple[str, str]) -> None:
        """Held until a second bank has it; published when that is polled, whichever comes first."""
        here = await run()
        here.world.forward()
        here.world.move(1.355)
        await here.poll(order[0])
        assert (await here.quotes())["USD"]["date"] == str(here.world.before(1))
        assert (await here.held(order[0])) != {}
        await here.poll(order[1])
        codes = SHOWN if "cbr" in order else ("USD", "EUR", "GBP", "CNY")
        assert await here.is_true(codes=codes) == []
        quote = (await here.quotes())["USD"]
        assert (quote["confidence"], round(quote["percent"])) == ("confirmed", 35)
        assert (await here.receipt(here.world.latest))["confidence"]["USD"] == "confirmed"
        await here.poll()
        assert await here.is_true() == []
        for key in here.world.keys:
            assert (await here.held(key), await here.health(key)) == ({}, "")

    @pytest.mark.parametrize("code", ["USD", "RUB", "CNY"])
    async def test_of_one_currency(self, run: Run, code: str) -> None:
        """One falls by 30 % at all banks; nobody waits for an operator."""
        here = await run()
        here.world.forward()
        here.world.move(0.7, code)
        await here.poll("nbk")
        assert code in (await here.held())[here.world.latest]
        await here.poll("cbr", "nbu")
        assert await here.is_true() == []
        for key in here.world.keys:
            assert (await here.held(key), await here.health(key)) == ({}, "")

    async def test_unconfirmed(self, run: Run) -> None:
        """No other bank has it on that day nor on the next: held; then the other bank has it, and it is published."""
        here = await run()
        here.world.forward()
        here.world.move(1.355)
        for _ in range(3):
            await here.poll("nbk")
            assert (await here.quotes())["USD"]["date"] == str(here.world.before(1))
        assert "other banks have not published for that day yet" in await here.health()
        await here.poll("cbr")
        assert await here.is_true() == []

    async def test_after_a_drift(self, run: Run) -> None:
        """What is true is beyond the limit from what the bank said before: it is back in one poll."""
        here = await run()
        for number in range(1, 5):
            here.world.forward()
            here.world.lie(0, {"USD": 1.149**number, "EUR": 0.87**number})
            await here.poll()
        here.world.forward()
        here.world.move(1.355)
        await here.poll("cbr", "nbu", "nbk")
        assert await here.is_true() == []


@SECOND_HALF
class TestLie:
    """For some days, by one bank or two, and then the truth."""

    @pytest.mark.parametrize(
        ("factor", "corrected", "order"),
        [(1.06, True, LAST), (1.3, False, FIRST), (1.06, False, LAST), (0.2, True, FIRST)],
        ids=str,
    )
    async def test_three_days(self, run: Run, factor: float, corrected: bool, order: tuple[str, ...]) -> None:
        """The lie's dates are corrected with the truth, or never."""
        here = await run()
        for _ in range(3):
            here.world.forward()
            here.world.lie(0, {"USD": factor, "RUB": factor})
            await here.poll(*order)
        assert {"USD", "RUB"} <= (await here.held())[here.world.latest]
        here.world.forward()
        if corrected:
            here.world.false.clear()
        await here.poll(*order)
        assert await here.is_true() == []
        assert await here.false_history() == []
        here.world.forward()
        await here.poll(*order)
        assert await here.is_true() == []

    @pytest.mark.parametrize(
        ("factor", "what", "order", "honest"),
        [
            (1.1, "dollar", "liars first", "cbr"),
            (1.4, "tenge", "liars first", "cbr"),
            (1.1, "tenge", "liars last", "cbr"),
            (1.4, "dollar", "liars last", "cbr+cbu"),
            (1.1, "tenge", "liars first", "cbr+cbu"),
        ],
    )
    async def test_two_banks_copy_each_other(self, run: Run, factor: float, what: str, order: str, honest: str) -> None:
        """Two banks (nbk, nbu) have the same lie, against one honest bank or two."""
        keys = ("nbk", "cbr", "nbu", *(["cbu"] if honest == "cbr+cbu" else []))
        here, honests = await run(keys), tuple(honest.split("+"))
        for _ in range(3):
            here.world.forward()
            here.world.lie(0, {"USD": factor} if what == "dollar" else all_of(factor))
            here.world.lie(0, {"USD": factor} if what == "dollar" else {"KZT": 1 / factor}, "nbu")
            if order == "liars first":  # until an honest bank has published, this looks like a true jump
                await here.unchecked("nbk", "nbu")
            await here.poll(*honests, "nbk", "nbu", allowed=0.052)
        assert "USD" in await here.health()
        here.world.forward()
        await here.poll()
        await here.poll()
        assert await here.is_true() == []

    async def test_another_bank_lies(self, run: Run) -> None:
        """A witness has the tenge at half its value: it is the one that is held, and the first source stays shown."""
        here = await run()
        for _ in range(3):
            here.world.forward()
            here.world.lie(0, {"KZT": 0.5}, "cbr")
            await here.poll()
            assert await here.is_true() == []
        assert "KZT" in await here.health("cbr")
        assert await here.health() == ""


@SECOND_HALF
class TestCorrection:
    """A bank that corrects what it has published."""

    @pytest.mark.parametrize(("code", "off"), [("USD", 1.01), ("RUB", 1.008)])
    async def test_of_the_predecessor(self, run: Run, code: str, off: float) -> None:
        """Yesterday's rate was off by about one percent, and is corrected today: the next poll takes it up."""
        here = await run()
        here.world.forward()
        here.world.lie(0, {code: off})
        await here.poll()
        here.world.forward()
        await here.poll()
        wrong = (await here.quotes())[code]["percent"]
        here.world.false.clear()
        await here.poll("nbk")
        quote = (await here.quotes())[code]
        new, old = (Decimal(here.world.truth("nbk", day)[code][0]) for day in (here.world.latest, here.world.before(1)))
        assert quote["percent"] == (100 * (new / old - 1)).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert abs(quote["percent"] - wrong) > Decimal(off - 1) * Decimal("0.8") * 100
        revisions = (await here.receipt(here.world.before(1)))["revisions"]
        assert [one["rates"][code]["value"] for one in revisions] != []

    async def test_of_the_latest(self, run: Run) -> None:
        """It is shown with the next poll; the form that was shown stays in the receipt after many more."""
        here = await run()
        shown = (await here.quotes())["USD"]["rate"]
        for number in range(1, 14):
            here.world.lie(0, {"USD": 1 + number / 2000})
            await here.poll("nbk")
            assert (await here.quotes())["USD"]["rate"] == Decimal(here.world.false["nbk"][here.world.latest]["USD"][0])
        revisions = (await here.receipt(here.world.latest))["revisions"]
        assert (len(revisions), revisions[-1]["rates"]["USD"]["value"]) == (10, shown)


@SECOND_HALF
class TestOperator:
    """What an operator decides is what was seen."""

    async def seen(self, here: Running, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        """Return what `quarantine --json` prints of the latest date."""
        capsys.readouterr()
        await asyncio.to_thread(maintenance.quarantine, here.settings, as_json=True)
        printed = capsys.readouterr().out
        listed = json.loads(printed[printed.index("[\n") : printed.rindex("]") + 1])
        (found,) = [one for one in listed if one["date"] == str(here.world.latest)]
        return dict(found)

    async def decide(self, here: Running, digest: str | None, *codes: str, **more: Any) -> None:
        """Accept; nobody is there to confirm."""
        day, accepted = here.world.latest, Outcome.ACCEPTED
        await asyncio.to_thread(
            maintenance.decide, here.settings, "nbk", day, accepted, lambda _: False, codes, digest, **more
        )

    async def after(self, here: Running, so: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is so; the service is told of changes, which it would see by itself seconds later."""

        async def told() -> bool:
            await here.poller.store_sync.store.coordination.publish_change()
            return await so()

        await until(told)

    async def rate(self, here: Running, code: str = "USD") -> tuple[str, str]:
        quote = (await here.quotes())[code]
        return str(quote["rate"]), quote["source"]

    async def test_accept_what_was_seen(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        """600.00 was seen, 0.01 came after it: the digest of 600.00 publishes nothing, nor does no digest at all."""
        here = await run()
        here.world.forward()
        true = here.world.truth("nbk", here.world.latest)
        here.world.false["nbk"] = {here.world.latest: {**true, "USD": "600.00"}}
        await here.poll()
        seen = await self.seen(here, capsys)
        assert (seen["rates"], "cbr" in seen["reasons"][0], "nbu" in seen["reasons"][0]) == (
            {"USD": ["600.00", 1]}, True, True,
        )  # fmt: skip
        here.world.false["nbk"] = {here.world.latest: {**true, "USD": "0.01"}}
        await here.poll("nbk")
        for digest in (seen["digest"], None, "0" * 12):
            with pytest.raises(TickerError, match=r"nbk .* (0\.01|not confirmed)"):
                await self.decide(here, digest)
        await here.poll()
        assert "USD" not in (await here.receipt(here.world.latest))["rates"]
        assert (await here.held())[here.world.latest] == {"USD"}

    async def test_accept_and_retract(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        """An accepted rate is shown by itself; retracted it goes and stays away, though the bank repeats it."""
        here = await run()
        here.world.forward()
        true = here.world.truth("nbk", here.world.latest)
        here.world.false["nbk"] = {here.world.latest: {**true, "USD": "600.00"}}
        await here.poll()
        await self.decide(here, (await self.seen(here, capsys))["digest"], "USD")
        assert "USD 600.00: accepted" in capsys.readouterr().out

        async def shown() -> bool:
            return await self.rate(here) == ("600.00", "nbk")

        async def taken_back() -> bool:
            return (await self.rate(here))[0] != "600.00"

        await until(shown)
        await here.unchecked("cbr", "nbu", "nbk")
        assert await shown()
        receipt = await here.receipt(here.world.latest)
        assert (receipt["rates"]["USD"]["value"], receipt["rates"].keys()) == (Decimal("600.00"), true.keys())
        await asyncio.to_thread(maintenance.retract, here.settings, "nbk", here.world.latest, ["USD"], lambda _: True)
        await self.after(here, taken_back)
        for _ in range(3):
            await here.poll()
            assert await here.false_quotes() == []
        assert "USD" not in (await here.receipt(here.world.latest))["rates"]
        assert await here.held() == {}
        here.world.false.clear()
        await here.poll()
        assert await here.is_true() == []
        assert await here.false_history() == []

    async def test_an_accepted_rate_vouches_for_no_other(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        """600.00 was accepted; 0.01 and 6000.00 are held, on that date and on the next."""
        here = await run()
        here.world.forward()
        true = here.world.truth("nbk", here.world.latest)
        here.world.false["nbk"] = {here.world.latest: {**true, "USD": "600.00"}}
        await here.poll()
        await self.decide(here, (await self.seen(here, capsys))["digest"])
        for _ in range(2):
            for false in ("0.01", "6000.00"):
                here.world.false["nbk"][here.world.latest] = {
                    **here.world.truth("nbk", here.world.latest),
                    "USD": false,
                }
                await here.unchecked("cbr", "nbu", "nbk")
                assert (await self.rate(here))[0] not in {"0.01", "6000.00"}
                assert (await here.held())[here.world.latest] == {"USD"}
            here.world.forward()

    @pytest.mark.parametrize("everywhere", [True, False])
    async def test_redenomination(self, run: Run, everywhere: bool, capsys: pytest.CaptureFixture[str]) -> None:
        """1 new yuan is 1000 old ones: no change of 99,900 % is shown; accepted as a break it is by the factor."""
        here = await run()
        here.world.forward()
        if everywhere:
            here.world.move(1000, "CNY")
        else:
            here.world.lie(0, {"CNY": 1000})
        await here.unchecked("cbr", "nbu", "nbk")
        quote = (await here.quotes())["CNY"]
        assert quote["percent"] is None or abs(quote["percent"]) < 15
        if everywhere:
            return
        await self.decide(here, (await self.seen(here, capsys))["digest"], "CNY", is_break=True)
        assert "(1 new = 1000 old)" in capsys.readouterr().out

        async def shown() -> bool:
            quote = (await here.quotes())["CNY"]
            return bool(quote["source"] == "nbk" and quote["rate"] > 60_000 and abs(quote["percent"] or 99) < 3)

        await self.after(here, shown)
        history = (await here.get("/v1/history/cny"))["history"]
        assert max(abs(one["percent"] or 0) for one in history) < 15


@SECOND_HALF
class TestStore:
    """What others write into the store."""

    async def imported(self, here: Running, folder: Path, *lines: Mapping[str, Any]) -> str:
        """Import a file with these fixings; return the error, if one was raised."""
        path = folder / "fixings.ndjson.gz"
        head = {"format": "currency-ticker fixings", "version": 1}
        path.write_bytes(gzip.compress("\n".join(json.dumps(one) for one in (head, *lines)).encode() + b"\n"))
        try:
            await asyncio.to_thread(maintenance.load, here.settings, path)
        except TickerError as error:
            return str(error)
        return ""

    def line(self, day: str, **rates: str) -> dict[str, Any]:
        return {
            "source": "nbk", "base": "KZT", "date": day, "url": "http://bank", "fetched_at": "2026-04-02T04:00:00Z",
            "rates": {code: {"value": one, "nominal": 1, "change": None} for code, one in rates.items()},
            "digest": "0" * 64, "direction": "direct", "revisions": [],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("day", "usd"),
        [("2030-01-01", "600.00"), ("9999-12-31", "600.00"), ("2026-04-01", "1E+2000000"), ("2026-03-31", "1e-400"),
         ("0001-01-01", "470.00")],
    )  # fmt: skip
    async def test_import(self, run: Run, start: Started, tmp_path: Path, day: str, usd: str) -> None:
        """An impossible line is refused and named; the running service goes on, and another one starts."""
        here = await run()
        good = self.line("2024-02-01", USD="450.00")
        assert "line 3" in await self.imported(here, tmp_path, good, self.line(day, USD=usd, EUR="551.00"))
        await here.poll()
        assert await here.is_true() == []
        second = await start(here.settings)
        again = Running(here.world, second, here.poller, here.settings)
        assert await again.is_true() == []

    @pytest.mark.parametrize(
        ("usd", "back", "announced"),
        [("1696.07", 0, True), ("1696.07", 0, False), ("1696.07", 1, True), ("540.00", 1, False), ("540.00", 0, True),
         ("1E+2000000", 0, False), ("NaN", 1, True), ("0", 0, True), ("-5", 0, False)],
    )  # fmt: skip
    async def test_edited_by_hand(self, run: Run, start: Started, back: int, usd: str, announced: bool) -> None:
        """A stored rate of today or yesterday is changed: neither this instance shows it nor one that starts then."""
        here = await run()
        store = here.poller.store_sync.store
        name, day = store._key("fixings", "nbk"), str(here.world.before(back))
        stored = json.loads(str(await store._redis.hget(name, day)))
        stored["rates"]["USD"]["value"] = usd
        await store._redis.hset(name, day, json.dumps(stored))
        if announced:
            await store._redis.hset(store._key("stamps"), "nbk", "by hand")
        else:
            second = await start(here.settings)
            assert await Running(here.world, second, here.poller, here.settings).false_quotes() == []
        await here.poll()
        assert await here.false_quotes() == []
        assert await here.is_true(codes=("EUR", "RUB", "GBP", "CNY")) == []

    @pytest.mark.parametrize("day", ["2030-01-01", "9999-12-31", "nonsense"])
    async def test_impossible_date_written_by_hand(self, run: Run, start: Started, day: str) -> None:
        """It is never shown, and stops neither this instance nor a start."""
        here = await run()
        store = here.poller.store_sync.store
        line = self.line(day, USD="600.00", EUR="700.00", RUB="7.00", GBP="800.00", CNY="80.00")
        await store._redis.hset(store._key("fixings", "nbk"), day, json.dumps(line))
        await store._redis.hset(store._key("stamps"), "nbk", "by hand")
        await here.poll()
        assert await here.is_true() == []
        second = await start(here.settings)
        assert await Running(here.world, second, here.poller, here.settings).is_true() == []


async def test_confidence_and_divergence_are_reported(run: Run) -> None:
    """On quotes, on receipts, in /health and in metrics."""
    here = await run()
    quotes = (await here.quotes()).values()
    assert {one["confidence"] for one in quotes} == {"confirmed"}
    receipt = await here.receipt(here.world.latest)
    assert receipt["confidence"] == dict.fromkeys(QUOTED["nbk"][1].split(), "confirmed") | {"IRR": "unconfirmed"}
    here.world.forward()
    here.world.lie(0, {"USD": 1.045})
    await here.poll("nbk", allowed=0.05)
    assert (await here.quotes())["USD"]["confidence"] == "unconfirmed"
    await here.poll("cbr", "nbu")
    quote = (await here.quotes())["USD"]
    assert (quote["source"], quote["confidence"], "nbk diverges" in quote["reason"]) == ("cbr", "confirmed", True)
    assert (await here.receipt(here.world.latest))["confidence"]["USD"] == "diverging"
    health = await here.get("/health")
    (check,) = health["checks"]["source:nbk"]
    assert (health["status"], check["status"]) == ("warn", "warn")
    assert "nbk: diverges from other banks: USD" in check["output"]
    assert all(key in check["output"] for key in ("cbr -4.", "nbu -4."))
    (ticker,) = health["checks"]["ticker:kzt"]
    assert (ticker["choices"]["USD"]["confidence"], ticker["choices"]["USD"]["source"]) == ("confirmed", "cbr")
    samples = await scraped(here.client)
    diverging = {key: value(samples, "ticker_source_diverging", source=key) for key in here.world.keys}
    assert diverging == {"nbk": 1, "cbr": 0, "nbu": 0}
    here.world.false.clear()
    await here.poll("nbk")
    assert await here.is_true() == []
    assert value(await scraped(here.client), "ticker_source_diverging", source="nbk") == 0


@pytest.mark.parametrize("day", [date(2030, 1, 1), date(9999, 12, 31), TODAY + 5 * DAY, date(1990, 1, 1)], ids=str)
async def test_answer_of_another_date(run: Run, day: date) -> None:
    """The document says another date than was asked for: nothing of it is shown."""
    here = await run()
    here.world.forward()
    false = scaled(here.world.truth("nbk", here.world.latest), all_of(1.12))
    here.world.publish()
    here.world.banks.faults["nbk"] = nbk(day, false)
    for key in ("cbr", "nbu", "nbk", "nbk"):
        await here.poller.poll(key)
        assert await here.false_quotes() == []
    await here.poll("nbk")
    assert await here.is_true() == []
    assert await here.false_history() == []


async def test_only_one_source(run: Run) -> None:
    """Nobody can confirm it: its rates are unconfirmed, and what is beyond the limit is held."""
    here = await run(("nbk",), polled=False)
    await here.poll("nbk")
    assert {one["confidence"] for one in (await here.quotes()).values()} == {"unconfirmed"}
    for factors in ({"USD": 1.2}, {"USD": 0.01}, all_of(10), all_of(1.3)):
        here.world.forward()
        here.world.lie(0, factors)
        await here.poll("nbk")
        assert set(factors) <= (await here.held())[here.world.latest]
        assert "USD" in await here.health()
    here.world.forward()
    await here.poll("nbk")
    assert await here.is_true() == []


@pytest.mark.slow
async def test_polled_each_second(start: Started, settings: Settings, banks: Banks, clock: Clock) -> None:
    """By the schedule as it is, all banks at once, while the past is revised: nothing false is shown at any moment."""
    world = World(banks, clock)
    world.publish()
    environ = banks.environ() | {
        "TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_STORE__PREFIX": settings.store.prefix,
    }  # fmt: skip
    sources = {key: {"sweep": 1} for key in world.keys} | {key: {"enabled": False} for key in ("ecb", "cbu")}
    ticker = {"id": "kzt", "base": "KZT", "currencies": list(SHOWN), "sources": list(world.keys)}
    own = load(environ=environ, overrides={"tickers": [ticker], "sources": sources})
    client = await start(own)
    here = Running(world, client, None, own)  # type: ignore[arg-type]

    async def polls() -> float:
        return value(await scraped(client), "ticker_polls_total", source="nbk", result="ok") or 0

    async def well() -> bool:
        return len(await here.quotes()) == 5 and await here.is_true() == []

    await until(well)
    for number in range(1, 4):
        for back in range(1, number + 1):
            world.lie(back, {"USD": 1.14 ** (number - back + 1)})
        world.lie(0, {"EUR": 1.149**number})
        world.publish()
        enough = await polls() + 2

        async def polled(enough: float = enough) -> bool:
            assert await here.false_quotes() == []
            return await polls() >= enough

        await until(polled)
    assert await here.false_history() == []
    world.false.clear()
    world.publish()
    await until(well)
