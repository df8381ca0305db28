"""A bank with wrong rates beside correct ones, in the running service: no wrong rate is shown.

`nbk` is wrong; `cbr`, `nbu` and `cbu` are correct. All of them publish one market: rates that move by some
tenths of a percent a day, each bank's in its own base and digits. The service runs in this process, with its store and
over HTTP; its scheduler is paused, and every poll is made by the test, so that "in one poll" means exactly one.
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
PATIENT: Final = {"timeout": 60, "connect_timeout": 60}
"""Timeouts of requests that a busy machine does not reach: a poll that fails shows older rates."""
STORED: Final = 30
"""Publications of each bank that are stored before the start."""
MAX_RATE_ERROR: Final = 0.02
"""Relative error above which a rate is wrong."""
MAX_PERCENT_ERROR: Final = 2.0
"""Error in percentage points above which a percentage is wrong."""
START_PRICES: Final[Mapping[str, str]] = {
    "USD": "475.09", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12", "CHF": "590.40", "TRY": "10.71",
    "JPY": "3.02", "PLN": "129.30", "SEK": "50.35", "AED": "129.36", "XDR": "647.20", "UZS": "0.0391", "UAH": "10.82",
    "KGS": "5.43", "BGN": "281.70", "IRR": "0.00036", "XPD": "478300", "KZT": "1",
}  # fmt: skip
"""Tenge for one unit on 2 April."""
BANKS: Final = {
    "nbk": ("KZT", "USD EUR RUB GBP CNY CHF TRY JPY PLN SEK AED XDR UZS UAH KGS IRR", 2),
    "cbr": ("RUB", "USD EUR GBP CNY CHF TRY JPY PLN SEK AED XDR UZS UAH KGS KZT", 4),
    "nbu": ("UAH", "USD EUR GBP CNY CHF TRY JPY PLN SEK AED XDR KZT BGN XPD", 4),
    "cbu": ("UZS", "USD EUR RUB GBP CNY CHF TRY JPY PLN SEK AED XDR UAH KGS KZT BGN", 2),
}
"""Base, currencies and digits of each bank."""


def price_of(code: str, market_day: date) -> float:
    """Return the price of a unit in tenge on a market day: a random walk that depends on the day alone."""
    return _PRICES[market_day][code]


def _walk() -> dict[date, dict[str, float]]:
    random, prices, day = Random(14), dict[date, dict[str, float]](), date(2025, 12, 1)  # noqa: S311 - no secret
    logs = dict.fromkeys(START_PRICES, 0.0)
    while day < date(2026, 12, 1):
        if day.weekday() < 5:
            common = random.gauss(0, 0.003)
            for code in START_PRICES:
                move = 0.0 if code == "KZT" else common + random.gauss(0, 0.003) * (code != "USD")
                logs[code] += move
            prices[day] = {code: float(START_PRICES[code]) * exp(log) for code, log in logs.items()}
        day += DAY
    today = prices[TODAY - DAY]
    return {day: {code: price * float(START_PRICES[code]) / today[code] for code, price in known.items()}
            for day, known in prices.items()}  # fmt: skip


_PRICES: Final = _walk()


def market_day_of(effective: date) -> date:
    """Return the market day of an effective date at every bank: the last weekday before it."""
    day = effective - DAY
    while day.weekday() > 4:
        day -= DAY
    return day


@cache
def walk_publication(bank: str, market_day: date) -> RawRates:
    return publication(bank, _PRICES[market_day])


def publication(bank: str, prices: Mapping[str, float]) -> RawRates:
    """Return the rates of a bank at these prices, in its base and digits."""
    base, codes, digits = BANKS[bank]
    return {code: rounded(prices[code] / prices[base], digits) for code in codes.split()}


def rounded(rate: float, digits: int) -> tuple[str, int]:
    """Return a rate with its digits, for a nominal that makes it larger than 5."""
    nominal = 1
    while rate * nominal < 5 and nominal < 10_000_000:
        nominal *= 10
    return str(Decimal(rate * nominal).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)), nominal


def effective_dates(bank: str, market_day: date) -> list[date]:
    """Return the dates under which a bank publishes a market day, including carry-overs."""
    first = market_day + DAY
    weekend = [first + DAY * number for number in range(3)] if market_day.weekday() == 4 else [first]
    if bank == "nbk":
        return weekend
    if bank == "cbr":
        return weekend[:1]
    return weekend[-1:]  # Monday


def with_factors(document: RawRates, factors: Mapping[str, float]) -> RawRates:
    """Return a document with some rates multiplied."""
    return {code: multiplied(rate, factors[code]) if code in factors else rate for code, rate in document.items()}


def multiplied(rate: str | tuple[str, int], factor: float) -> tuple[str, int]:
    text, nominal = rate if isinstance(rate, tuple) else (rate, 1)
    places = max(2, -Decimal(text).as_tuple().exponent)  # type: ignore[operator]
    return str((Decimal(text) * Decimal(factor)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)), nominal


def pairs(document: RawRates) -> Iterable[tuple[str, tuple[str, int]]]:
    """Yield each currency with its digits and nominal."""
    return ((code, rate if isinstance(rate, tuple) else (rate, 1)) for code, rate in document.items())


def all_by(factor: float, bank: str = "nbk") -> dict[str, float]:
    return dict.fromkeys(BANKS[bank][1].split(), factor)


@dataclass
class Market:
    """The publications of all banks up to a market day; wrong ones replace them by bank and date."""

    banks: Banks
    clock: Clock
    keys: tuple[str, ...] = ("nbk", "cbr", "nbu")
    day: date = TODAY - DAY
    """The latest market day that is published."""
    wrong: dict[str, dict[date, RawRates]] = field(default_factory=dict)
    changed_prices: dict[date, Mapping[str, float]] = field(default_factory=dict)
    """Market days with other prices than those of the walk."""
    down: set[str] = field(default_factory=set)

    def prices(self, market_day: date) -> Mapping[str, float]:
        return self.changed_prices.get(market_day, _PRICES[market_day])

    def correct(self, bank: str, effective: date) -> RawRates:
        return self.published(bank, market_day_of(effective))

    def published(self, bank: str, market_day: date) -> RawRates:
        prices = self.changed_prices.get(market_day)
        return publication(bank, prices) if prices else walk_publication(bank, market_day)

    @property
    def latest(self) -> date:
        """The effective date of the latest publication of nbk, on which the clock stands."""
        return self.day + DAY

    def before(self, number: int) -> date:
        """Return the first effective date, at nbk, of the publication `number` before the latest."""
        day = self.day
        for _ in range(number):
            day = market_day_of(day)
        return day + DAY

    def forward(self, days: int = 1) -> None:
        """Advance by `days` market days."""
        for _ in range(days):
            self.day += DAY
            while self.day.weekday() > 4:
                self.day += DAY
        self.clock.time = datetime(self.latest.year, self.latest.month, self.latest.day, 4, tzinfo=UTC)

    def move(self, factor: float, *codes: str) -> None:
        """Multiply the prices of these currencies (by default all) on the latest market day."""
        codes = codes or tuple(code for code in START_PRICES if code != "KZT")
        prices = self.prices(self.day)
        self.changed_prices[self.day] = {
            code: price * factor if code in codes else price for code, price in prices.items()
        }

    def publish(self) -> None:
        """Let the banks publish everything up to now."""
        for key in self.keys:
            published: dict[date, RawRates] = {}
            for market_day in _PRICES:
                if self.day - 60 * DAY <= market_day <= self.day:
                    published |= dict.fromkeys(effective_dates(key, market_day), self.published(key, market_day))
            self.banks.published[key] = published | self.wrong.get(key, {})
            self.banks.faults.pop(key, None)
        self.banks.faults |= dict.fromkeys(self.down, 503)

    def falsify(self, number: int, factors: Mapping[str, float], bank: str = "nbk") -> None:
        """Multiply rates of the publication `number` before the latest."""
        first = self.before(number)
        document = with_factors(self.correct(bank, first), factors)
        for day in effective_dates(bank, market_day_of(first)):
            self.wrong.setdefault(bank, {})[day] = document


@dataclass
class RunningService:
    """The running service: its polls, and its responses over HTTP."""

    market: Market
    client: TestClient[Any, Any]
    poller: Poller
    settings: Settings

    async def poll(self, *keys: str, allowed: float = 0.0) -> None:
        """Publish, and poll these banks (by default all, nbk last) in order; nothing wrong may be shown after each.

        `allowed` is the error allowed for unconfirmed rates before the last poll.
        """
        keys = keys or (*self.market.keys[1:], "nbk")
        for key in keys:
            await self.poll_unchecked(key)
            wrong = await self.wrong_quotes(allowed=allowed if key != keys[-1] or len(keys) == 1 else 0.0)
            assert wrong == [], f"after polling {key}"

    async def poll_unchecked(self, *keys: str) -> None:
        """Publish, and poll these banks without checks."""
        self.market.publish()
        for key in keys:
            self.market.clock.forward(seconds=20)
            await self.poller.poll(key)

    async def get(self, path: str) -> Any:
        async with self.client.get(path, headers={"Accept-Encoding": "identity"}) as response:
            assert response.status in {200, 503}, (path, response.status, await response.text())
            text = await response.text()
        return text if path.endswith(".txt") else json.loads(text, parse_float=Decimal)

    async def quotes(self) -> dict[str, Any]:
        return {quote["code"]: quote for quote in (await self.get("/v1/ticker")).get("quotes", ())}

    async def _quotes_and_text(self) -> tuple[dict[str, Any], str]:
        """Return the quotes and the text format of one snapshot: a poll may change it between two requests."""
        quotes = await self.quotes()
        while True:
            text = await self.get("/v1/ticker.txt") if quotes else ""
            quotes_before, quotes = quotes, await self.quotes()
            if quotes == quotes_before:
                return quotes, text

    async def wrong_quotes(self, *, allowed: float = 0.0) -> list[str]:
        """Return the wrong rates and percentages of the ticker; check that the text format has the same ones.

        `allowed` is the error allowed for unconfirmed rates.
        """
        found, lines = [], list[str]()
        quotes, text = await self._quotes_and_text()
        as_of = max((quote["date"] for quote in quotes.values() if quote["date"]), default=None)
        for code, quote in quotes.items():
            percent = "—" if quote["percent"] is None else f"{quote['percent']:+.2f}%".replace("+0.00", "0.00")
            own_date = f" {quote['date']}" if quote["date"] not in (None, as_of) else ""
            lines.append(f"{code.lower()} {percent}{own_date}")
            if quote["rate"] is None:
                continue
            correct = self.market.prices(market_day_of(date.fromisoformat(quote["date"])))[code]
            if quote["confidence"] != "confirmed" and abs(float(quote["rate"]) / correct - 1) < allowed:
                continue
            since = f"{quote['percent']} % since {quote['previous_date']}"
            description = (
                f"{code} {quote['rate']} of {quote['date']} ({since}, {quote['source']}, {quote['confidence']})"
            )
            found += self.errors(code, quote, description)
        if lines:
            assert text.splitlines() == lines
        return found

    def errors(self, code: str, point: Mapping[str, Any], description: str) -> list[str]:
        """Return the errors of a rate and of its percentage."""
        correct = self.market.prices(market_day_of(date.fromisoformat(point["date"])))[code]
        found = (
            []
            if abs(float(point["rate"]) / correct - 1) <= MAX_RATE_ERROR
            else [f"rate: {description}, true {correct:.2f}"]
        )
        if point["percent"] is not None:
            before = float(point["rate"]) / (1 + float(point["percent"]) / 100)
            if previous := point.get("previous_date"):
                before = self.market.prices(market_day_of(date.fromisoformat(previous)))[code]
            elif abs(float(point["percent"])) > 15:
                found.append(f"percentage: {description}")
            if abs(100 * (correct / before - 1) - float(point["percent"])) > MAX_PERCENT_ERROR:
                found.append(f"percentage: {description}, true {100 * (correct / before - 1):.2f}")
        return found

    async def wrong_history(self, code: str = "usd") -> list[str]:
        """Return the errors of the history."""
        series = await self.get(f"/v1/history/{code}?from={self.market.latest - 60 * DAY}")
        return [
            error
            for point in series["history"]
            for error in self.errors(code.upper(), point, f"{series['source']} {point}")
        ]

    async def percentages_beyond_limit(self, path: str) -> list[str]:
        """Return the percentages of a response that are larger than the limit of 15 %."""

        def beyond(value: Any) -> Iterable[str]:
            if isinstance(value, dict):
                if abs(value.get("percent") or 0) > 15:
                    yield str(value)
                value = list(value.values())
            if isinstance(value, list):
                for item in value:
                    yield from beyond(item)

        return list(beyond(await self.get(path)))

    async def problems(self, source: str = "nbk", codes: Collection[str] = SHOWN, *, percent: bool = True) -> list[str]:
        """Return why the latest correct rates of a source are not shown; `percent`: with their changes."""
        quotes, found = await self.quotes(), []
        for code in codes:
            item = quotes[code]
            known = item["percent"] is not None or not percent
            if (item["source"], item["date"]) != (source, str(self.market.latest)) or not known:
                found.append(
                    f"{code} {item['rate']} of {item['date']}, {item['percent']} %, {item['source']}: {item['reason']}"
                )
        return found + await self.wrong_quotes()

    async def quarantined(self, key: str = "nbk") -> dict[date, set[str]]:
        """Return the quarantined currencies by date, as `quarantine --json` lists them."""
        return {entry.fixing.date: set(entry.fixing.rates) for entry in await self.poller.store_sync.store.waiting(key)}

    async def health(self, key: str = "nbk") -> str:
        """Return the output of /health for a source."""
        (check,) = (await self.get("/health"))["checks"][f"source:{key}"]
        return str(check.get("output", ""))

    async def fixing(self, day: date, key: str = "nbk") -> Any:
        return await self.get(f"/v1/fixings/{key}/{day}")


StartService = Callable[..., Awaitable[RunningService]]


@pytest.fixture
async def start_service(
    start: Started, settings: Settings, banks: Banks, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> StartService:
    """Return a function that starts the service on these banks; `stored` publications of each are in the store."""
    pollers: list[Poller] = []

    class PausedScheduler(PollScheduler):
        async def __aenter__(self) -> Self:
            entered = await super().__aenter__()
            self._scheduler.pause()
            pollers.append(self._poller)
            return entered

    monkeypatch.setattr("service.polling.scheduler.PollScheduler", PausedScheduler)

    async def started(
        keys: tuple[str, ...] = ("nbk", "cbr", "nbu"), stored: int = STORED, *, polled: bool = True
    ) -> RunningService:
        market = Market(banks, clock, keys)
        environ = banks.environ() | {
            "TICKER_STORE__URL": settings.store.url.get_secret_value(),
            "TICKER_STORE__PREFIX": settings.store.prefix,
        }
        off = {key: {"enabled": False} for key in ("cbr", "ecb", "nbu", "cbu") if key not in keys}
        ticker = {"id": "kzt", "base": "KZT", "currencies": list(SHOWN), "sources": list(keys)}
        overrides = {"tickers": [ticker], "sources": off, "client": PATIENT}
        service_settings = load(environ=environ, overrides=overrides)
        async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
            for key in keys if stored else ():
                await store.save(
                    *(
                        replace(fixing(day, key, BANKS[key][0]), rates=rates(walk_publication(key, market_day)))
                        for market_day in [earlier for earlier in _PRICES if earlier < market.day][-stored:]
                        for day in effective_dates(key, market_day)
                    )
                )
        client = await start(service_settings)
        await until_true(lambda: pollers)
        running = RunningService(market, client, pollers.pop(), service_settings)
        if polled:
            await running.poll()
            assert await running.problems() == []
        return running

    return started


async def test_correct_banks_are_shown_and_confirmed(start_service: StartService) -> None:
    """The baseline of all other tests: the first source is shown, confirmed, for two weeks."""
    service = await start_service()
    for _ in range(10):
        service.market.forward()
        await service.poll()
        assert await service.problems() == []
        assert {quote["confidence"] for quote in (await service.quotes()).values()} == {"confirmed"}
    assert (await service.health(), await service.health("cbr"), await service.health("nbu")) == ("", "", "")
    assert await service.wrong_history() == []


LAST: Final = ("cbr", "nbu", "nbk")
FIRST: Final = ("nbk", "cbr", "nbu")


def slow(*values: object) -> Any:
    """Return another case of a kind that a case of `make test` has too."""
    return pytest.param(*values, marks=pytest.mark.slow)


class TestPastRevisions:
    """Today's rate is correct, earlier ones are revised to wrong ones."""

    @pytest.mark.parametrize("stored", [slow(0), STORED])
    async def test_one_date_per_poll(self, start_service: StartService, stored: int) -> None:
        """Earlier dates are revised one by one by less than 15 %, in eight polls."""
        service = await start_service(stored=stored)
        for number in range(1, 9):
            for offset in range(1, number + 1):
                service.market.falsify(offset, {"USD": 1.14 ** (number - offset + 1)})
            await service.poll("nbk")
            assert await service.wrong_history() == []
        assert "USD" in (await service.quarantined())[service.market.before(1)]
        assert "USD" in await service.health()

    async def test_many_dates_in_one_response(self, start_service: StartService) -> None:
        """One response with many dates, each within 15 % of the next one."""
        service = await start_service()
        for offset in range(1, 10):
            service.market.falsify(offset, {"USD": 1.14 ** (10 - offset)})
        await service.poll("nbk")
        assert await service.wrong_history() == []
        assert "USD" in (await service.quarantined())[service.market.before(1)]

    @pytest.mark.parametrize("factor", [3.5, slow(1.149), 1.06, slow(0.5)])
    async def test_inserted_date(self, start_service: StartService, factor: float) -> None:
        """The publication before the latest was missing; it is inserted, with a wrong rate."""
        service = await start_service(polled=False)
        market = service.market
        market.forward(2)
        missing = market.before(1)
        market.wrong["nbk"] = {missing: {}}
        await service.poll()
        assert await service.problems() == []
        market.falsify(1, {"USD": factor})
        await service.poll("nbk")
        await service.poll("nbk")
        assert await service.wrong_history() == []
        assert "USD" in (await service.quarantined())[missing]
        assert (await service.fixing(missing))["rates"].keys() >= {"EUR", "RUB"}

    async def test_latest_date_revised_often(self, start_service: StartService) -> None:
        """The latest date is revised by 14 % per poll, and then back."""
        service = await start_service()
        for number in range(1, 7):
            service.market.falsify(0, {"USD": 1.14**number, "CNY": 0.88**number})
            await service.poll("nbk")
        assert {"USD", "CNY"} <= (await service.quarantined())[service.market.latest]
        assert "USD" in await service.health()
        service.market.wrong.clear()
        await service.poll("nbk")
        assert await service.problems() == []
        assert await service.quarantined() == {}


class TestDrift:
    """Rates that leave the market in small steps, or do not follow it."""

    @pytest.mark.parametrize(("step", "order"), [(1.149, FIRST), slow(0.86, LAST), (1.05, LAST), slow(1.03, FIRST)])
    async def test_one_currency(self, start_service: StartService, step: float, order: tuple[str, ...]) -> None:
        """For five days; then correct rates are shown after one poll. The wrong bank is polled first or last."""
        service = await start_service()
        for number in range(1, 6):
            service.market.forward()
            service.market.falsify(0, {"USD": step**number})
            await service.poll(*order, allowed=0.052)
        assert "USD" in await service.health()
        assert (await service.quotes())["USD"]["source"] == "cbr"
        service.market.forward()
        await service.poll(*order)
        assert await service.problems() == []
        assert await service.wrong_history() == []

    @pytest.mark.parametrize("order", [FIRST, slow(LAST)], ids=["first", "last"])
    async def test_all_currencies(self, start_service: StartService, order: tuple[str, ...]) -> None:
        """The base drifts by 4 % per day."""
        service = await start_service()
        for number in range(1, 6):
            service.market.forward()
            service.market.falsify(0, all_by(1.04**number))
            await service.poll(*order, allowed=0.052)
        assert {quote["source"] for quote in (await service.quotes()).values()} == {"cbr"}
        service.market.forward()
        await service.poll(*order)
        assert await service.problems() == []

    @pytest.mark.parametrize(("days", "every_day"), [(29, False), slow(60, True)], ids=["29 days", "60 days"])
    async def test_swap_after_an_outage(self, start_service: StartService, days: int, every_day: bool) -> None:
        """After an outage of weeks the dollar and the euro are swapped."""
        service = await start_service()
        market = service.market
        market.down.add("nbk")
        for _ in range(days * 5 // 7 // 4):
            market.forward(4)
            await service.poll("cbr", "nbu")
        market.down.clear()
        for offset in range(12):
            correct = market.correct("nbk", market.before(offset))
            dates = effective_dates("nbk", market_day_of(market.before(offset)))
            swapped = {**correct, "USD": correct["EUR"], "EUR": correct["USD"]} if every_day or not offset else {}
            market.wrong.setdefault("nbk", {}).update(dict.fromkeys(dates, swapped))
        await service.poll("nbk")
        quotes = await service.quotes()
        assert {code: quotes[code]["source"] for code in ("USD", "EUR")} == {"USD": "cbr", "EUR": "cbr"}
        assert {"USD", "EUR"} <= (await service.quarantined())[market.latest]
        assert "USD" in await service.health()
        market.wrong.clear()
        market.forward()
        await service.poll()
        assert await service.problems() == []

    @pytest.mark.parametrize(
        ("whole_document", "order"), [(True, LAST), slow(False, FIRST)], ids=["document", "dollar"]
    )
    async def test_frozen_with_a_noisy_digit(
        self, start_service: StartService, whole_document: bool, order: tuple[str, ...]
    ) -> None:
        """The bank repeats its rates but for one digit of IRR, while the tenge falls by 2 % per day elsewhere."""
        service = await start_service()
        market, frozen = service.market, service.market.correct("nbk", service.market.latest)
        since = market.latest
        for number in range(1, 6):
            market.forward()
            market.move(1.02**number)
            noisy = {**frozen, "IRR": multiplied(frozen["IRR"], 1 + number / 50)}
            if not whole_document:
                noisy = {**market.correct("nbk", market.latest), "USD": frozen["USD"]}
            for day in effective_dates("nbk", market.day):
                market.wrong.setdefault("nbk", {})[day] = noisy
            await service.poll(*order, allowed=0.052)
            snapshot = await service.get("/v1/ticker")
            quote = next(item for item in snapshot["quotes"] if item["code"] == "USD")
            current = snapshot["status"] == "current"
            assert quote["source"] != "nbk" or quote["date"] == str(since), quote
            assert quote["source"] != "nbk" or not current, quote
        assert quote["source"] == "cbr"
        assert await service.health() != ""
        market.forward()
        market.move(1.02**6)
        await service.poll(*order)
        assert await service.problems() == []

    @pytest.mark.parametrize(
        ("jump", "own_move", "first"),
        [(1.1, 1.0, True), (1.3, 1.0, False), slow(1.14, 0.99, False), slow(1.3, 1.01, True)],
    )
    async def test_frozen_at_a_jump(
        self, start_service: StartService, jump: float, own_move: float, first: bool
    ) -> None:
        """The tenge falls at all banks, except for the dollar of one, which hardly moves."""
        service = await start_service()
        market, before = service.market, service.market.correct("nbk", service.market.latest)
        market.forward()
        market.move(jump)
        market.wrong["nbk"] = {
            market.latest: {**market.correct("nbk", market.latest), "USD": multiplied(before["USD"], own_move)}
        }
        if first:  # until the others have published, this looks like an ordinary day
            await service.poll_unchecked("nbk")
            await service.poll_unchecked("cbr")
        await service.poll("cbr", "nbu", "nbk")
        quote = (await service.quotes())["USD"]
        assert quote["date"] != str(market.latest) or quote["source"] == "cbr"
        assert "USD" in await service.health()
        market.wrong.clear()
        await service.poll("nbk")
        assert await service.problems() == []


class TestBankWithoutTheJump:
    """The tenge falls by 30 % in a day, and one bank does not follow, or revises the day before."""

    @pytest.mark.parametrize("order", [("nbk", "cbr", "nbu"), slow(("cbr", "nbu", "nbk")), slow(("nbu", "nbk", "cbr"))])
    async def test_frozen_second_bank(self, start_service: StartService, order: tuple[str, ...]) -> None:
        """Two correct banks publish in time: the old rate of the third is not shown with the new date."""
        service = await start_service()
        service.market.forward()
        service.market.move(1.3)
        service.market.falsify(0, {"KZT": 1.3}, "cbr")
        await service.poll_unchecked(*order)
        await service.poll_unchecked(*order)
        wrong = await service.wrong_quotes()
        assert [error for error in wrong if "RUB" not in error] == []  # only the two banks that differ quote the rouble

    async def test_yesterday_revised_to_todays_level(self, start_service: StartService) -> None:
        """A wrong revision of yesterday is not confirmed by today's correct rate."""
        service = await start_service()
        service.market.forward()
        service.market.move(1.3)
        await service.poll_unchecked("nbk", "cbr", "nbu")
        await service.poll()
        service.market.falsify(1, {"USD": 1.3})
        await service.poll_unchecked("nbk", "cbr", "nbu")
        assert await service.wrong_quotes() == []
        assert "USD" in await service.health()

    async def test_rate_is_not_refuted_by_a_bank_that_stopped(self, start_service: StartService) -> None:
        """The only other bank was 3 % off and then went down: after a week it is not compared any more."""
        service = await start_service(("nbk", "cbr"))
        market = service.market
        for number in range(10):
            market.forward()
            if number >= 2:
                market.move(1.1, "CNY")
            if number in {0, 1, 3}:
                market.falsify(0, {"CNY": 1.03}, "cbr")
            await service.poll_unchecked(*(("cbr", "nbk") if number in {0, 1, 3} else ("nbk",)))
        assert await service.problems(codes=["CNY"]) == []


FIRST_ERRORS: Final[Mapping[str, Callable[[int], Mapping[str, float]]]] = {
    "x1000": lambda _: all_by(1000),
    "dollar x1000": lambda _: {"USD": 1000},
    "14.9 % a day": lambda offset: {"USD": 1.149 ** (20 - offset)},
    "all 14.9 % a day": lambda offset: all_by(1.149 ** (20 - offset)),
    "10 % off": lambda _: {"USD": 1.1},
}


class TestFirstStart:
    """The store is empty."""

    @pytest.mark.parametrize(
        "error", ["x1000", slow("dollar x1000"), "14.9 % a day", slow("all 14.9 % a day"), slow("10 % off")]
    )
    async def test_wrong_bank_first(self, start_service: StartService, error: str) -> None:
        """Its rates are shown as unconfirmed until other banks respond; then they are replaced."""
        service = await start_service(stored=0, polled=False)
        for offset in range(16):
            service.market.falsify(offset, FIRST_ERRORS[error](offset))
        await service.poll("nbk", allowed=float("inf"))
        assert "confirmed" not in {quote["confidence"] for quote in (await service.quotes()).values()}
        await service.poll("cbr", "nbu")
        assert (await service.quotes())["USD"]["source"] == "cbr"
        assert (await service.quotes())["USD"]["confidence"] == "confirmed"
        assert await service.wrong_history() == []
        assert "USD" in await service.health()
        samples = await scraped(service.client)
        assert (value(samples, "ticker_source_diverging", source="nbk") or 0) + (
            value(samples, "ticker_quarantine_waiting", source="nbk") or 0
        ) > 0
        service.market.forward()
        await service.poll("nbk")
        await service.poll()
        assert await service.problems(percent=False) == []
        assert await service.wrong_history() == []

    @pytest.mark.parametrize(
        ("error", "others"),
        [
            ("x1000", ("cbr",)),
            slow("14.9 % a day", ("cbr",)),
            slow("10 % off", ("cbr",)),
            slow("x1000", ("cbr", "nbu")),
            slow("all 14.9 % a day", ("cbr", "nbu")),
            ("10 % off", ("cbr", "nbu")),
        ],
    )
    async def test_correct_bank_first(self, start_service: StartService, error: str, others: tuple[str, ...]) -> None:
        """The wrong rates are not shown, with one correct bank or two."""
        service = await start_service(stored=0, polled=False)
        for offset in range(16):
            service.market.falsify(offset, FIRST_ERRORS[error](offset))
        await service.poll(*others, "nbk")
        assert (await service.quotes())["USD"]["source"] in ({"cbr", None} if len(others) == 1 else {"cbr"})
        assert "USD" in await service.health()
        service.market.forward()
        await service.poll(*others, "nbk")
        assert await service.problems(percent=False) == []
        assert await service.wrong_history() == []


WRONG_DOCUMENTS: Final[Mapping[str, Callable[[RawRates], RawRates]]] = {
    "one x10": lambda correct: with_factors(correct, {"USD": 10}),
    "one x100": lambda correct: with_factors(correct, {"CNY": 100}),
    "one x1000": lambda correct: with_factors(correct, {"RUB": 1000}),
    "one / 100": lambda correct: with_factors(correct, {"GBP": 0.01}),
    "one inverted": lambda correct: {**correct, "EUR": "0.00181"},
    "one at zero": lambda correct: {**correct, "EUR": "0.00"},
    "two swapped": lambda correct: {**correct, "USD": correct["EUR"], "EUR": correct["USD"]},
    "near ones swapped": lambda correct: {**correct, "EUR": correct["CHF"], "CHF": correct["EUR"]},
    "one of another": lambda correct: {**correct, "USD": correct["GBP"]},
}
"""Documents with some wrong rates; the others are correct."""
FAST_DOCUMENTS: Final = ("one x10", "one inverted", "one at zero", "two swapped")


class TestScale:
    """Rates with another unit, code or direction."""

    @pytest.mark.parametrize("name", [name if name in FAST_DOCUMENTS else slow(name) for name in WRONG_DOCUMENTS])
    async def test_some_rates(self, start_service: StartService, name: str) -> None:
        """They are quarantined while they are wrong; the others of the document are published."""
        service = await start_service()
        for _ in range(2):
            service.market.forward()
            correct = service.market.correct("nbk", service.market.latest)
            wrong = WRONG_DOCUMENTS[name](correct)
            wrong_codes = {code for code in correct if correct[code] != wrong[code]}
            service.market.wrong["nbk"] = dict.fromkeys(effective_dates("nbk", service.market.day), wrong)
            await service.poll()
            assert (await service.quarantined())[service.market.latest] == wrong_codes
            assert await service.problems(codes=set(SHOWN) - wrong_codes) == []
            health = await service.health()
            assert [code for code in wrong_codes & set(SHOWN) if code not in health] == []
            fixing = await service.fixing(service.market.latest)
            assert set(fixing["rates"]) == set(correct) - wrong_codes
            assert {fixing["confidence"][code] for code in set(SHOWN) - wrong_codes} == {"confirmed"}
        service.market.wrong.clear()
        await service.poll("nbk")
        assert await service.problems() == []
        assert (await service.quarantined()).keys() <= {service.market.before(1)}
        assert await service.wrong_history() == []

    @pytest.mark.parametrize(
        ("factor", "order"),
        [slow(10, FIRST), (1000, LAST), slow(0.01, FIRST), slow(1.2, LAST), (1.2, FIRST), ("inverted", LAST),
         slow("shifted", FIRST), slow("other base", LAST)],
        ids=str,
    )  # fmt: skip
    async def test_all_rates(self, start_service: StartService, factor: float | str, order: tuple[str, ...]) -> None:
        """The document is quarantined as a whole, for days; the next correct one is published at once."""
        service = await start_service()
        for _ in range(2):
            service.market.forward()
            correct, wrong = service.market.correct("nbk", service.market.latest), dict[str, str | tuple[str, int]]()
            if factor == "inverted":
                wrong = {
                    code: (f"{Decimal(rate[1]) ** 2 / Decimal(rate[0]):.6f}", rate[1]) for code, rate in pairs(correct)
                }
            elif factor == "shifted":
                wrong = {
                    code: correct[until_changed] for code, until_changed in zip(correct, [*correct][1:], strict=False)
                }
            elif factor == "other base":
                price = Decimal(correct["USD"][0])
                wrong = {code: (f"{Decimal(rate[0]) / price:.6f}", rate[1]) for code, rate in pairs(correct)}
            else:
                wrong = {**with_factors(correct, all_by(float(factor)))}
            service.market.wrong["nbk"] = dict.fromkeys(effective_dates("nbk", service.market.day), wrong)
            await service.poll(*order)
            assert set(wrong) <= (await service.quarantined())[service.market.latest]
            assert {"quarantined", "USD"} <= set((await service.health()).replace(",", " ").replace(":", " ").split())
        service.market.forward()
        await service.poll(*order)
        assert await service.problems() == []
        assert await service.wrong_history() == []

    @pytest.mark.parametrize(
        ("bank", "error"),
        [slow("nbk", "missing"), ("nbk", "x1000"), ("nbu", "missing"), slow("nbu", "zero"), slow("nbu", "frozen")],
    )
    async def test_currency_without_a_ticker(self, start_service: StartService, bank: str, error: str) -> None:
        """A currency that no ticker shows is wrong or missing: others are not delayed, and no alert is raised."""
        service = await start_service()
        code = "IRR" if bank == "nbk" else "XPD"
        others = {"BGN"} if bank == "nbu" else {"KGS"}
        frozen = service.market.correct(bank, service.market.latest)
        for _ in range(3):
            service.market.forward()
            for day in effective_dates(bank, service.market.day):
                document = dict(service.market.correct(bank, day))
                for missing_code in others:
                    del document[missing_code]
                if error == "missing":
                    del document[code]
                else:
                    factor = {"x1000": 1000.0, "zero": 0.0, "frozen": 1.0}[error]
                    document[code] = multiplied((frozen if error == "frozen" else document)[code], factor)
                service.market.wrong.setdefault(bank, {})[day] = document
            await service.poll()
            assert await service.problems() == []
            day = effective_dates(bank, service.market.day)[0]
            assert set((await service.fixing(day, bank))["rates"]) >= set(document) - {code}
            assert await service.health(bank) == ""


class TestRealJump:
    """A devaluation: on 20 August 2015 the dollar rose by 35.5 %."""

    @pytest.mark.parametrize(
        "order", [("nbk", "cbr"), slow(("cbr", "nbk")), slow(("nbk", "nbu")), ("nbu", "nbk")], ids="-".join
    )
    async def test_confirmed_by_one_bank(self, start_service: StartService, order: tuple[str, str]) -> None:
        """Quarantined until a second bank has it, and published with that poll, in either order."""
        service = await start_service()
        service.market.forward()
        service.market.move(1.355)
        await service.poll(order[0])
        assert (await service.quotes())["USD"]["date"] == str(service.market.before(1))
        assert (await service.quarantined(order[0])) != {}
        await service.poll(order[1])
        codes = SHOWN if "cbr" in order else ("USD", "EUR", "GBP", "CNY")
        assert await service.problems(codes=codes) == []
        quote = (await service.quotes())["USD"]
        assert (quote["confidence"], round(quote["percent"])) == ("confirmed", 35)
        assert (await service.fixing(service.market.latest))["confidence"]["USD"] == "confirmed"
        await service.poll()
        assert await service.problems() == []
        for key in service.market.keys:
            assert (await service.quarantined(key), await service.health(key)) == ({}, "")

    @pytest.mark.parametrize("code", ["USD", slow("RUB"), slow("CNY")])
    async def test_one_moved_currency(self, start_service: StartService, code: str) -> None:
        """One currency falls by 30 % at all banks; no operator is needed."""
        service = await start_service()
        service.market.forward()
        service.market.move(0.7, code)
        await service.poll("nbk")
        assert code in (await service.quarantined())[service.market.latest]
        await service.poll("cbr", "nbu")
        assert await service.problems() == []
        for key in service.market.keys:
            assert (await service.quarantined(key), await service.health(key)) == ({}, "")

    async def test_unconfirmed(self, start_service: StartService) -> None:
        """No other bank has the jump yet: quarantined, and published once another bank has it."""
        service = await start_service()
        service.market.forward()
        service.market.move(1.355)
        for _ in range(3):
            await service.poll("nbk")
            assert (await service.quotes())["USD"]["date"] == str(service.market.before(1))
        assert "other banks have not published for that day yet" in await service.health()
        await service.poll("cbr")
        assert await service.problems() == []

    async def test_after_a_drift(self, start_service: StartService) -> None:
        """The correct rate is beyond the limit from the last published one: it is shown after one poll."""
        service = await start_service()
        for number in range(1, 5):
            service.market.forward()
            service.market.falsify(0, {"USD": 1.149**number, "EUR": 0.87**number})
            await service.poll()
        service.market.forward()
        service.market.move(1.355)
        await service.poll("cbr", "nbu", "nbk")
        assert await service.problems() == []


class TestTemporaryErrors:
    """One or two banks are wrong for some days, and then correct again."""

    @pytest.mark.parametrize(
        ("factor", "corrected", "order"),
        [(1.06, True, LAST), (1.3, False, FIRST), slow(1.06, False, LAST), slow(0.2, True, FIRST)],
        ids=str,
    )
    async def test_three_days(
        self, start_service: StartService, factor: float, corrected: bool, order: tuple[str, ...]
    ) -> None:
        """The wrong dates are corrected later, or never."""
        service = await start_service()
        for _ in range(3):
            service.market.forward()
            service.market.falsify(0, {"USD": factor, "RUB": factor})
            await service.poll(*order)
        assert {"USD", "RUB"} <= (await service.quarantined())[service.market.latest]
        service.market.forward()
        if corrected:
            service.market.wrong.clear()
        await service.poll(*order)
        assert await service.problems() == []
        assert await service.wrong_history() == []
        service.market.forward()
        await service.poll(*order)
        assert await service.problems() == []

    @pytest.mark.parametrize(
        ("factor", "wrong_currency", "order", "correct"),
        [
            (1.1, "dollar", "wrong first", "cbr"),
            slow(1.4, "tenge", "wrong first", "cbr"),
            slow(1.1, "tenge", "wrong last", "cbr"),
            (1.4, "dollar", "wrong last", "cbr+cbu"),
            slow(1.1, "tenge", "wrong first", "cbr+cbu"),
        ],
    )
    async def test_two_banks_copy_each_other(
        self, start_service: StartService, factor: float, wrong_currency: str, order: str, correct: str
    ) -> None:
        """Two banks (nbk, nbu) have the same wrong rate, with one or two correct banks."""
        keys = ("nbk", "cbr", "nbu", *(["cbu"] if correct == "cbr+cbu" else []))
        service, correct_banks = await start_service(keys), tuple(correct.split("+"))
        for _ in range(3):
            service.market.forward()
            service.market.falsify(0, {"USD": factor} if wrong_currency == "dollar" else all_by(factor))
            service.market.falsify(0, {"USD": factor} if wrong_currency == "dollar" else {"KZT": 1 / factor}, "nbu")
            if order == "wrong first":  # until a correct bank has published, this looks like a real jump
                await service.poll_unchecked("nbk", "nbu")
            await service.poll(*correct_banks, "nbk", "nbu", allowed=0.052)
        assert "USD" in await service.health()
        service.market.forward()
        await service.poll()
        await service.poll()
        assert await service.problems() == []

    async def test_wrong_witness(self, start_service: StartService) -> None:
        """Another bank has the tenge at half its value: that one is quarantined, the first source stays shown."""
        service = await start_service()
        for _ in range(3):
            service.market.forward()
            service.market.falsify(0, {"KZT": 0.5}, "cbr")
            await service.poll()
            assert await service.problems() == []
        assert "KZT" in await service.health("cbr")
        assert await service.health() == ""


class TestCorrection:
    """A bank corrects its published rates."""

    @pytest.mark.parametrize(("code", "factor"), [("USD", 1.01), slow("RUB", 1.008)])
    async def test_correction_of_the_previous_date(self, start_service: StartService, code: str, factor: float) -> None:
        """Yesterday's rate was off by about 1 %: the correction is shown after the next poll."""
        service = await start_service()
        service.market.forward()
        service.market.falsify(0, {code: factor})
        await service.poll()
        service.market.forward()
        await service.poll()
        wrong = (await service.quotes())[code]["percent"]
        service.market.wrong.clear()
        await service.poll("nbk")
        quote = (await service.quotes())[code]
        new, old = (
            Decimal(service.market.correct("nbk", day)[code][0])
            for day in (service.market.latest, service.market.before(1))
        )
        assert quote["percent"] == (100 * (new / old - 1)).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert abs(quote["percent"] - wrong) > Decimal(factor - 1) * Decimal("0.8") * 100
        revisions = (await service.fixing(service.market.before(1)))["revisions"]
        assert [revision["rates"][code]["value"] for revision in revisions] != []

    async def test_correction_of_the_latest_date(self, start_service: StartService) -> None:
        """It is shown after the next poll; the first shown rate is kept among the revisions."""
        service = await start_service()
        shown = (await service.quotes())["USD"]["rate"]
        for number in range(1, 14):
            service.market.falsify(0, {"USD": 1 + number / 2000})
            await service.poll("nbk")
            assert (await service.quotes())["USD"]["rate"] == Decimal(
                service.market.wrong["nbk"][service.market.latest]["USD"][0]
            )
        revisions = (await service.fixing(service.market.latest))["revisions"]
        assert (len(revisions), revisions[-1]["rates"]["USD"]["value"]) == (10, shown)


class TestOperator:
    """Decisions of an operator apply to the rates that were listed."""

    async def listed(self, service: RunningService, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        """Return the entry of the latest date in `quarantine --json`."""
        capsys.readouterr()
        await asyncio.to_thread(maintenance.quarantine, service.settings, as_json=True)
        printed = capsys.readouterr().out
        listed = json.loads(printed[printed.index("[\n") : printed.rindex("]") + 1])
        (found,) = [entry for entry in listed if entry["date"] == str(service.market.latest)]
        return dict(found)

    async def decide(self, service: RunningService, digest: str | None, *codes: str, **more: Any) -> None:
        """Accept rates without a confirmation prompt."""
        day, accepted = service.market.latest, Outcome.ACCEPTED
        await asyncio.to_thread(
            maintenance.decide, service.settings, "nbk", day, accepted, lambda _: False, codes, digest, **more
        )

    async def until_changed(self, service: RunningService, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition, notifying the service of changes, which it would otherwise see seconds later."""

        async def is_met() -> bool:
            await service.poller.store_sync.store.coordination.publish_change()
            return await condition()

        await until(is_met)

    async def rate(self, service: RunningService, code: str = "USD") -> tuple[str, str]:
        quote = (await service.quotes())[code]
        return str(quote["rate"]), quote["source"]

    async def test_decision_applies_to_the_listed_rate(
        self, start_service: StartService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """600.00 was listed, then replaced by 0.01: neither the digest of 600.00 nor a missing one publishes it."""
        service = await start_service()
        service.market.forward()
        correct = service.market.correct("nbk", service.market.latest)
        service.market.wrong["nbk"] = {service.market.latest: {**correct, "USD": "600.00"}}
        await service.poll()
        listed = await self.listed(service, capsys)
        assert (listed["rates"], "cbr" in listed["reasons"][0], "nbu" in listed["reasons"][0]) == (
            {"USD": ["600.00", 1]}, True, True,
        )  # fmt: skip
        service.market.wrong["nbk"] = {service.market.latest: {**correct, "USD": "0.01"}}
        await service.poll("nbk")
        for digest in (listed["digest"], None, "0" * 12):
            with pytest.raises(TickerError, match=r"nbk .* (0\.01|not confirmed)"):
                await self.decide(service, digest)
        await service.poll()
        assert "USD" not in (await service.fixing(service.market.latest))["rates"]
        assert (await service.quarantined())[service.market.latest] == {"USD"}

    async def test_accept_and_retract(self, start_service: StartService, capsys: pytest.CaptureFixture[str]) -> None:
        """An accepted rate is shown; once retracted it stays hidden, although the bank repeats it."""
        service = await start_service()
        service.market.forward()
        correct = service.market.correct("nbk", service.market.latest)
        service.market.wrong["nbk"] = {service.market.latest: {**correct, "USD": "600.00"}}
        await service.poll()
        await self.decide(service, (await self.listed(service, capsys))["digest"], "USD")
        assert "USD 600.00: accepted" in capsys.readouterr().out

        async def is_shown() -> bool:
            return await self.rate(service) == ("600.00", "nbk")

        async def is_retracted() -> bool:
            return (await self.rate(service))[0] != "600.00"

        await until(is_shown)
        await service.poll_unchecked("cbr", "nbu", "nbk")
        assert await is_shown()
        fixing = await service.fixing(service.market.latest)
        assert (fixing["rates"]["USD"]["value"], fixing["rates"].keys()) == (Decimal("600.00"), correct.keys())
        await asyncio.to_thread(
            maintenance.retract, service.settings, "nbk", service.market.latest, ["USD"], lambda _: True
        )
        await self.until_changed(service, is_retracted)
        for _ in range(3):
            await service.poll()
            assert await service.wrong_quotes() == []
        assert "USD" not in (await service.fixing(service.market.latest))["rates"]
        assert await service.quarantined() == {}
        service.market.wrong.clear()
        await service.poll()
        assert await service.problems() == []
        assert await service.wrong_history() == []

    async def test_accepted_rate_does_not_confirm_others(
        self, start_service: StartService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """600.00 was accepted; 0.01 and 6000.00 are quarantined, on that date and on the next."""
        service = await start_service()
        service.market.forward()
        correct = service.market.correct("nbk", service.market.latest)
        service.market.wrong["nbk"] = {service.market.latest: {**correct, "USD": "600.00"}}
        await service.poll()
        await self.decide(service, (await self.listed(service, capsys))["digest"])
        for _ in range(2):
            for wrong in ("0.01", "6000.00"):
                service.market.wrong["nbk"][service.market.latest] = {
                    **service.market.correct("nbk", service.market.latest),
                    "USD": wrong,
                }
                await service.poll_unchecked("cbr", "nbu", "nbk")
                assert (await self.rate(service))[0] not in {"0.01", "6000.00"}
                assert (await service.quarantined())[service.market.latest] == {"USD"}
            service.market.forward()

    @pytest.mark.parametrize("everywhere", [True, False])
    async def test_redenomination(
        self, start_service: StartService, everywhere: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """1 new yuan is 1000 old ones: no change of 99,900 % is shown; accepted as a break it is converted."""
        service = await start_service()
        service.market.forward()
        if everywhere:
            service.market.move(1000, "CNY")
        else:
            service.market.falsify(0, {"CNY": 1000})
        await service.poll_unchecked("cbr", "nbu", "nbk")
        quote = (await service.quotes())["CNY"]
        assert quote["percent"] is None or abs(quote["percent"]) < 15
        if everywhere:
            return
        await self.decide(service, (await self.listed(service, capsys))["digest"], "CNY", is_break=True)
        assert "(1 new = 1000 old)" in capsys.readouterr().out

        async def is_shown() -> bool:
            quote = (await service.quotes())["CNY"]
            return bool(quote["source"] == "nbk" and quote["rate"] > 60_000 and abs(quote["percent"] or 99) < 3)

        await self.until_changed(service, is_shown)
        history = (await service.get("/v1/history/cny"))["history"]
        assert max(abs(point["percent"] or 0) for point in history) < 15


class TestStore:
    """Records written into the store by others."""

    async def import_error(self, service: RunningService, folder: Path, *lines: Mapping[str, Any]) -> str:
        """Import a file with these fixings; return the error message, if any."""
        path = folder / "fixings.ndjson.gz"
        header = {"format": "currency-ticker fixings", "version": 1}
        path.write_bytes(gzip.compress("\n".join(json.dumps(line) for line in (header, *lines)).encode() + b"\n"))
        try:
            await asyncio.to_thread(maintenance.load, service.settings, path)
        except TickerError as error:
            return str(error)
        return ""

    def line(self, day: str, **rates: str) -> dict[str, Any]:
        return {
            "source": "nbk", "base": "KZT", "date": day, "url": "http://bank", "fetched_at": "2026-04-02T04:00:00Z",
            "rates": {code: {"value": value, "nominal": 1, "change": None} for code, value in rates.items()},
            "digest": "0" * 64, "direction": "direct", "revisions": [],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("day", "usd"),
        [("2030-01-01", "600.00"), slow("9999-12-31", "600.00"), ("2026-04-01", "1E+2000000"),
         slow("2026-03-31", "1e-400"), slow("0001-01-01", "470.00")],
    )  # fmt: skip
    async def test_import(
        self, start_service: StartService, start: Started, tmp_path: Path, day: str, usd: str
    ) -> None:
        """An impossible line is rejected by number; the running service and a new one are not affected."""
        service = await start_service()
        valid = self.line("2024-02-01", USD="450.00")
        assert "line 3" in await self.import_error(service, tmp_path, valid, self.line(day, USD=usd, EUR="551.00"))
        await service.poll()
        assert await service.problems() == []
        second = await start(service.settings)
        restarted = RunningService(service.market, second, service.poller, service.settings)
        assert await restarted.problems() == []

    @pytest.mark.parametrize(
        ("usd", "offset", "announced"),
        [("1696.07", 0, True), slow("1696.07", 0, False), slow("1696.07", 1, True), ("540.00", 1, False),
         slow("540.00", 0, True), ("1E+2000000", 0, False), ("NaN", 1, True), slow("0", 0, True), slow("-5", 0, False)],
    )  # fmt: skip
    async def test_manual_edit(
        self, start_service: StartService, start: Started, offset: int, usd: str, announced: bool
    ) -> None:
        """A stored rate of today or yesterday is changed: neither this instance nor a new one shows it."""
        service = await start_service()
        store = service.poller.store_sync.store
        name, day = store._key("fixings", "nbk"), str(service.market.before(offset))
        stored = json.loads(str(await store._redis.hget(name, day)))
        stored["rates"]["USD"]["value"] = usd
        await store._redis.hset(name, day, json.dumps(stored))
        if announced:
            await store._redis.hset(store._key("stamps"), "nbk", "by hand")
        else:
            second = await start(service.settings)
            assert await RunningService(service.market, second, service.poller, service.settings).wrong_quotes() == []
        await service.poll()
        assert await service.wrong_quotes() == []
        assert await service.problems(codes=("EUR", "RUB", "GBP", "CNY")) == []

    @pytest.mark.parametrize("keys", [("nbk",), ("nbk", "cbr", "nbu")], ids=len)
    @pytest.mark.parametrize("offset", [1, slow(3), 25])
    async def test_earlier_rate_edited_by_hand(
        self, start_service: StartService, keys: tuple[str, ...], offset: int
    ) -> None:
        """It is shown neither on its date nor in the history, also if no other bank can refute it."""
        service = await start_service(keys)
        store, day = service.poller.store_sync.store, service.market.before(offset)
        name = store._key("fixings", "nbk")
        stored = json.loads(str(await store._redis.hget(name, str(day))))
        stored["rates"]["USD"]["value"] = "1696.07"
        await store._redis.hset(name, str(day), json.dumps(stored))
        await store._redis.hset(store._key("stamps"), "nbk", "by hand")
        await service.poll_unchecked("nbk")
        await service.poll_unchecked("nbk")
        for ago in range(offset + 5):
            assert await service.percentages_beyond_limit(f"/v1/ticker?on={service.market.latest - ago * DAY}") == []
        assert await service.percentages_beyond_limit(f"/v1/history/usd?from={service.market.latest - 60 * DAY}") == []

    @pytest.mark.parametrize("keys", [("nbk",), ("nbk", "cbr", "nbu")], ids=len)
    async def test_edited_earlier_than_memory(self, start_service: StartService, keys: tuple[str, ...]) -> None:
        """Some wrong rates at the beginning of a year, older than those in memory, are not compared with the latest."""
        service = await start_service(keys, stored=86)
        store = service.poller.store_sync.store
        name = store._key("fixings", "nbk")
        for day in ("2025-12-30", "2025-12-31", "2026-01-01"):
            stored = json.loads(str(await store._redis.hget(name, day)))
            stored["rates"]["USD"]["value"] = "47.51"
            await store._redis.hset(name, day, json.dumps(stored))
        await store._redis.hset(store._key("stamps"), "nbk", "by hand")
        for path in ("/v1/ticker", f"/v1/ticker?on={service.market.latest}"):
            await service.poll_unchecked("nbk")
            await service.poll_unchecked("nbk")
            assert (await service.get(path))["quotes"][0]["changes"]["ytd"]["date"] == "2025-12-27"
            assert await service.percentages_beyond_limit(path) == []

    @pytest.mark.parametrize("keys", [("nbk",), ("nbk", "cbr", "nbu")], ids=len)
    async def test_imported_earlier_rates(
        self, start_service: StartService, tmp_path: Path, keys: tuple[str, ...]
    ) -> None:
        """Wrong rates before all others are not compared with later ones, over any period."""
        service = await start_service(keys)
        days = (date(2025, 4, 1), date(2025, 12, 30), service.market.latest - 45 * DAY)
        lines = [self.line(str(day), USD="4750.90", EUR="55.10") for day in days]
        assert await self.import_error(service, tmp_path, *lines) == ""
        store = service.poller.store_sync.store
        await store._redis.hset(store._key("stamps"), "nbk", "import")
        await service.poll_unchecked("nbk")
        await service.poll_unchecked("nbk")
        for path in ("/v1/ticker", *(f"/v1/ticker?on={service.market.latest - ago * DAY}" for ago in range(12))):
            assert await service.percentages_beyond_limit(path) == []
        for code in ("usd", "eur"):
            chart = await service.get(f"/v1/chart/{code}.json")
            summary = {shown["id"]: shown["summary"] for shown in chart["text"]["ranges"]}["1y"]
            assert ("publications from" in summary, "%" in summary) == (True, False)
            assert await service.percentages_beyond_limit(f"/v1/history/{code}?from=2026-01-01") == []

    @pytest.mark.parametrize("day", ["2030-01-01", slow("9999-12-31"), "nonsense"])
    async def test_manually_written_impossible_date(
        self, start_service: StartService, start: Started, day: str
    ) -> None:
        """It is never shown, and stops neither this instance nor a new one."""
        service = await start_service()
        store = service.poller.store_sync.store
        line = self.line(day, USD="600.00", EUR="700.00", RUB="7.00", GBP="800.00", CNY="80.00")
        await store._redis.hset(store._key("fixings", "nbk"), day, json.dumps(line))
        await store._redis.hset(store._key("stamps"), "nbk", "by hand")
        await service.poll()
        assert await service.problems() == []
        second = await start(service.settings)
        assert await RunningService(service.market, second, service.poller, service.settings).problems() == []


async def test_confidence_and_divergence_are_reported(start_service: StartService) -> None:
    """In quotes, fixings, /health and metrics."""
    service = await start_service()
    quotes = (await service.quotes()).values()
    assert {quote["confidence"] for quote in quotes} == {"confirmed"}
    fixing = await service.fixing(service.market.latest)
    assert fixing["confidence"] == dict.fromkeys(BANKS["nbk"][1].split(), "confirmed") | {"IRR": "unconfirmed"}
    service.market.forward()
    service.market.falsify(0, {"USD": 1.045})
    await service.poll("nbk", allowed=0.05)
    assert (await service.quotes())["USD"]["confidence"] == "unconfirmed"
    await service.poll("cbr", "nbu")
    quote = (await service.quotes())["USD"]
    assert (quote["source"], quote["confidence"], "nbk diverges" in quote["reason"]) == ("cbr", "confirmed", True)
    assert (await service.fixing(service.market.latest))["confidence"]["USD"] == "diverging"
    health = await service.get("/health")
    (check,) = health["checks"]["source:nbk"]
    assert (health["status"], check["status"]) == ("warn", "warn")
    assert "nbk: diverges from other banks: USD" in check["output"]
    assert all(key in check["output"] for key in ("cbr -4.", "nbu -4."))
    (ticker,) = health["checks"]["ticker:kzt"]
    assert (ticker["choices"]["USD"]["confidence"], ticker["choices"]["USD"]["source"]) == ("confirmed", "cbr")
    samples = await scraped(service.client)
    diverging = {key: value(samples, "ticker_source_diverging", source=key) for key in service.market.keys}
    assert diverging == {"nbk": 1, "cbr": 0, "nbu": 0}
    service.market.wrong.clear()
    await service.poll("nbk")
    assert await service.problems() == []
    assert value(await scraped(service.client), "ticker_source_diverging", source="nbk") == 0


@pytest.mark.parametrize(
    "day", [date(2030, 1, 1), slow(date(9999, 12, 31)), TODAY + 5 * DAY, slow(date(1990, 1, 1))], ids=str
)
async def test_response_for_another_date(start_service: StartService, day: date) -> None:
    """The document has another date than the requested one: none of its rates are shown."""
    service = await start_service()
    service.market.forward()
    wrong = with_factors(service.market.correct("nbk", service.market.latest), all_by(1.12))
    service.market.publish()
    service.market.banks.faults["nbk"] = nbk(day, wrong)
    for key in ("cbr", "nbu", "nbk", "nbk"):
        await service.poller.poll(key)
        assert await service.wrong_quotes() == []
    await service.poll("nbk")
    assert await service.problems() == []
    assert await service.wrong_history() == []


async def test_single_source(start_service: StartService) -> None:
    """No other bank can confirm its rates: they are unconfirmed, and moves beyond the limit are quarantined."""
    service = await start_service(("nbk",), polled=False)
    await service.poll("nbk")
    assert {quote["confidence"] for quote in (await service.quotes()).values()} == {"unconfirmed"}
    for factors in ({"USD": 1.2}, {"USD": 0.01}, all_by(10), all_by(1.3)):
        service.market.forward()
        service.market.falsify(0, factors)
        await service.poll("nbk")
        assert set(factors) <= (await service.quarantined())[service.market.latest]
        assert "USD" in await service.health()
    service.market.forward()
    await service.poll("nbk")
    assert await service.problems() == []


@pytest.mark.slow
async def test_concurrent_polls_every_second(start: Started, settings: Settings, banks: Banks, clock: Clock) -> None:
    """With the real scheduler, all banks at once, while the past is revised: nothing wrong is ever shown."""
    market = Market(banks, clock)
    market.publish()
    environ = banks.environ() | {
        "TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_STORE__PREFIX": settings.store.prefix,
    }  # fmt: skip
    sources = {key: {"sweep": 1} for key in market.keys} | {key: {"enabled": False} for key in ("ecb", "cbu")}
    ticker = {"id": "kzt", "base": "KZT", "currencies": list(SHOWN), "sources": list(market.keys)}
    service_settings = load(environ=environ, overrides={"tickers": [ticker], "sources": sources, "client": PATIENT})
    client = await start(service_settings)
    service = RunningService(market, client, None, service_settings)  # type: ignore[arg-type]

    async def polls() -> float:
        return value(await scraped(client), "ticker_polls_total", source="nbk", result="ok") or 0

    async def all_shown() -> bool:
        return len(await service.quotes()) == 5 and await service.problems() == []

    await until(all_shown)
    for number in range(1, 4):
        for offset in range(1, number + 1):
            market.falsify(offset, {"USD": 1.14 ** (number - offset + 1)})
        market.falsify(0, {"EUR": 1.149**number})
        market.publish()
        target = await polls() + 2

        async def polled(target: float = target) -> bool:
            assert await service.wrong_quotes() == []
            return await polls() >= target

        await until(polled)
    assert await service.wrong_history() == []
    market.wrong.clear()
    market.publish()
    await until(all_shown)
