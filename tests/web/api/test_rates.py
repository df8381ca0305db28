"""Rates in force on a date, tickers on a date, and conversion: years of generated fixings in a real store."""

import asyncio
import json
import random
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest

from service.domain.change import half_up
from service.domain.fixing import Fixing, Quotation
from service.domain.periods import LONGER, Period, begin
from service.errors import StoreError
from service.settings import Settings, load
from service.state.memory import KEEP, MemoryState
from service.storage.rates_on_date import RatesOnDate
from service.storage.repository import Store
from service.storage.sync import StoreSync
from service.web.api import rates as api
from tests.conftest import Clock, Started
from tests.support.fixings import day, fixing
from tests.support.http import Client, body, until_ready
from tests.support.pages import json_of, text_of
from tests.support.standin import Banks
from tests.support.years import random_walk, save

FIRST = date(2022, 1, 3)
NBK = random_walk(
    "nbk", "KZT", FIRST, day(2),
    {"USD": ("475.09", 1), "EUR": ("551.06", 1), "RUB": ("58.70", 10), "GBP": ("631.87", 1)},
)  # fmt: skip
CBR = random_walk(
    "cbr", "RUB", FIRST - timedelta(days=60), day(2),
    {"USD": ("80.9000", 1), "EUR": ("93.8700", 1), "CNY": ("11.7700", 1), "KZT": ("17.0300", 100)},
)  # fmt: skip
ECB = random_walk("ecb", "EUR", FIRST, day(2), {"USD": ("1.1500", 1), "GBP": ("0.8700", 1)}, Quotation.INVERSE)
SERIES = {"nbk": NBK, "cbr": CBR, "ecb": ECB}


@pytest.fixture(scope="module")
def filled(valkey: str) -> str:
    """Return the prefix of a store with all series."""
    asyncio.run(save(valkey, "rates:", *SERIES.values()))
    return "rates:"


@pytest.fixture
def settings(banks: Banks, settings: Settings, filled: str) -> Settings:
    """Return settings of two tickers. The series are independent: compared, they would refute each other."""
    banks.faults.update(dict.fromkeys(("nbk", "cbr", "ecb", "nbu", "cbu"), 404))
    kzt = settings.tickers[0].model_copy(update={"sources": ("nbk", "cbr")})
    eur = kzt.model_copy(update={"id": "eur", "base": "EUR", "currencies": ("USD", "GBP"), "sources": ("ecb",)})
    sources = dict(settings.sources)
    for key, fixings in SERIES.items():
        codes = tuple(sorted(fixings[0].rates))
        sources[key] = sources[key].model_copy(update={"not_compared": codes})
    store = settings.store.model_copy(update={"prefix": filled})
    return settings.model_copy(update={"tickers": (kzt, eur), "sources": sources, "store": store})


@pytest.fixture
async def client(start: Started) -> Client:
    client = await start()
    await until_ready(client)
    return client


def scanned(fixings: list[Fixing], code: str, on: date) -> Fixing | None:
    """Return the last fixing up to a date that quotes a currency, by a scan of all."""
    found = None
    for known in fixings:
        if known.date <= on and code in known.rates:
            found = known
    return found


def exact(known: Fixing, code: str, base: str) -> Fraction:
    values = {name: Fraction(rate.value) / rate.nominal for name, rate in known.rates.items()}
    if known.direction is Quotation.INVERSE:
        values = {name: 1 / value for name, value in values.items()}
    values[known.base] = Fraction(1)
    return values[code] / values[base]


def digits(value: Fraction, count: int) -> Decimal:
    with localcontext(prec=count):
        return Decimal(value.numerator) / Decimal(value.denominator)


def random_dates(count: int, seed: int) -> Iterator[date]:
    chance = random.Random(seed)  # noqa: S311 - chance is no secret
    for _ in range(count):
        yield FIRST + timedelta(days=chance.randrange((day(2) - FIRST).days + 1))


async def decimal_json(client: Client, path: str, status: int = 200) -> Any:
    return json.loads(await text_of(client, path, status), parse_float=Decimal, parse_int=Decimal)


async def test_entered_rates_hold_until_the_next_ones(store: Store) -> None:
    """On a date too, and with their change, however old they are; those of a bank end after weeks.

    Each currency is entered on its own dates.
    """
    shop = {"adapter": "manual", "base": "KZT", "name": "Shop", "timezone": "Asia/Almaty"}
    tickers = [{"id": key, "base": "KZT", "currencies": ["USD"], "sources": [key]} for key in ("shop", "nbk")]
    settings = load(environ={}, overrides={"sources": {"shop": shop}, "tickers": tickers})
    for key in ("shop", "nbk"):
        await store.save(fixing(date(2024, 5, 3), key, USD="450"), fixing(date(2025, 5, 3), key, USD="495"))
    shop_ticker, nbk_ticker = settings.tickers
    in_store, in_memory = MemoryState(settings), MemoryState(settings)
    in_store.stored_from.update(dict.fromkeys(("shop", "nbk"), date.max))
    await StoreSync(in_memory, store).sync()
    for memory in (in_store, in_memory):
        reader = RatesOnDate(memory, store)
        shown = await reader.snapshot(shop_ticker, day(2))
        assert shown is not None
        quote = shown.quotes[0]
        assert (quote.rate, quote.date, quote.percent) == (Decimal(495), date(2025, 5, 3), Decimal("10.00"))
        assert await reader.snapshot(nbk_ticker, day(2)) is None
    await store.save(*(fixing(day(2) - timedelta(number), "shop", EUR=f"5{number}.00") for number in range(10, 60)))
    await StoreSync(in_memory, store).sync()
    shown = await RatesOnDate(in_memory, store).snapshot(shop_ticker, day(2))
    assert shown is not None
    assert shown.quotes[0].rate == Decimal(495)


async def test_entered_rates_hold_at_the_beginning_of_memory(store: Store) -> None:
    """The store has the entries before it, also of a currency that is entered seldom."""
    shop = {"adapter": "manual", "base": "KZT", "name": "Shop", "timezone": "Asia/Almaty"}
    ticker = {"id": "shop", "base": "KZT", "currencies": ["USD", "EUR"], "sources": ["shop"]}
    settings = load(environ={}, overrides={"sources": {"shop": shop}, "tickers": [ticker]})
    weeks = [day(2) - timedelta(weeks=number) for number in reversed(range(KEEP + 30))]
    for number, on in enumerate(weeks):
        entered = fixing(on, "shop", USD=f"4{number}.00", EUR=f"5{number}.00")
        await store.save(entered if number % 20 == 0 else entered.without({"EUR"}))
    memory = MemoryState(settings)
    await StoreSync(memory, store).sync()
    assert memory.oldest_complete_date("shop") == weeks[30]
    for number in (25, 30, 31, 45, 60):
        shown = await RatesOnDate(memory, store).snapshot(settings.tickers[0], weeks[number])
        assert shown is not None
        assert [quote.date for quote in shown.quotes] == [weeks[number], weeks[number - number % 20]]


def test_last_date_of_a_ticker_without_rates_is_today(settings: Settings, clock: Clock) -> None:
    """Also with one source: the rates that it had were retracted."""
    memory = MemoryState(settings)
    rates = RatesOnDate(memory, Store("redis://127.0.0.1:1/0", "t:"))
    assert [rates.last_date(ticker, clock()) for ticker in settings.tickers] == [day(2), day(2)]
    memory.add(fixing(day(3), "ecb", "EUR", USD="1.15"))
    assert [rates.last_date(ticker, clock()) for ticker in settings.tickers] == [day(2), day(3)]


async def test_rates_on_random_dates_equal_a_scan(client: Client) -> None:
    """Weekends included, from memory and from the store: value, effective date, source and receipt."""
    weekends = 0
    for on in random_dates(40, 7):
        document = await decimal_json(client, f"/v1/rates/{on}")
        assert (document["ticker"], document["base"], document["on"]) == ("kzt", "KZT", str(on))
        weekends += on.weekday() > 4
        for rate in document["rates"]:
            code = rate["code"]
            source = "cbr" if code == "CNY" else "nbk"
            known = scanned(SERIES[source], code, on)
            assert known is not None
            value = exact(known, code, "KZT")
            assert rate["rate"] == (digits(value, 10) if source == "cbr" else value), (on, code)
            assert (rate["source"], rate["cross"], rate["date"]) == (source, source == "cbr", str(known.date))
            assert rate["receipt"] == f"/v1/fixings/{source}/{known.date}"
            assert rate["name"]
    assert weekends > 5


async def test_inverse_rates_on_random_dates_equal_a_scan(client: Client) -> None:
    for on in random_dates(10, 8):
        document = await decimal_json(client, f"/v1/rates/{on}?ticker=eur&currencies=gbp,usd")
        assert [rate["code"] for rate in document["rates"]] == ["GBP", "USD"]
        for rate in document["rates"]:
            known = scanned(ECB, rate["code"], on)
            assert known is not None
            assert rate["rate"] == digits(exact(known, rate["code"], "EUR"), 10)


async def test_dates_in_memory_and_store_equal_a_scan(store: Store, settings: Settings, clock: Clock) -> None:
    """Before the beginning too, where there is nothing. Memory has the latest dates, the store all of them."""
    await store.save(*NBK[-300:])
    memory, first = MemoryState(settings), NBK[-300].date
    await StoreSync(memory, store).sync()
    assert len(memory.series("nbk").fixings) == KEEP
    ticker = settings.tickers[0].model_copy(update={"currencies": ("USD",), "sources": ("nbk",)})
    reader, chance, missing = RatesOnDate(memory, store), random.Random(1), 0  # noqa: S311 - chance is no secret
    for _ in range(200):
        on = first - timedelta(days=60) + timedelta(days=chance.randrange((day(2) - first).days + 61))
        found = (await reader.rates(ticker, ["USD"], on))["USD"]
        known = scanned(NBK[-300:], "USD", on)
        if known is None:
            missing += 1
            assert found is None
        else:
            assert found is not None
            assert (found.table.date, found.rate) == (known.date, known.rates["USD"].value)
    assert missing


async def test_ticker_on_a_date_has_the_quotes_of_that_date(client: Client) -> None:
    """With the change from the publication before, and those over all periods."""
    for on in (date(2024, 5, 19), date(2026, 1, 1), day(2)):
        document = await decimal_json(client, f"/v1/ticker?on={on}")
        assert (document["on"], document["id"], document["next_update"]) == (str(on), "kzt", None)
        known = scanned(NBK, "USD", on)
        assert known is not None
        before = NBK[NBK.index(known) - 1]
        assert document["as_of"] == str(known.date)
        assert document["updated_at"].startswith(f"{known.date}T11:00:00")
        quote = document["quotes"][0]
        assert (quote["rate"], quote["previous"]) == (known.rates["USD"].value, before.rates["USD"].value)
        assert (quote["date"], quote["previous_date"]) == (str(known.date), str(before.date))
        assert quote["percent"] == half_up(100 * (exact(known, "USD", "KZT") / exact(before, "USD", "KZT") - 1), 2)
        assert quote["changes"]["day"]["percent"] == quote["percent"]
        for period in LONGER:
            start = scanned(NBK, "USD", begin(period, known.date))
            assert start is not None
            percent = half_up(100 * (exact(known, "USD", "KZT") / exact(start, "USD", "KZT") - 1), 2)
            assert quote["changes"][period]["percent"] == percent
            assert quote["changes"][period]["date"] == str(start.date)


async def test_ticker_on_today_is_the_current_one(client: Client) -> None:
    """The same quotes; what only a current ticker has differs."""
    current, dated = (
        await json_of(client, "/v1/ticker?lang=en"),
        await json_of(client, "/v1/ticker?lang=en&on=2026-04-02"),
    )
    for quote in (*current["quotes"], *dated["quotes"]):
        quote |= {"confidence": None, "reason": None}
    assert dated["quotes"] == current["quotes"]
    assert dated["text"] == current["text"]
    assert "on" not in current


async def test_ticker_on_a_date_has_options_and_formats(client: Client) -> None:
    """`currencies`, `period` and texts as without a date; `.txt` and other tickers too."""
    document = await json_of(client, "/v1/ticker/eur?on=2025-07-06&currencies=gbp&lang=kk")
    assert [quote["code"] for quote in document["quotes"]] == ["GBP"]
    assert document["quotes"][0]["text"]["name"]
    lines = (await text_of(client, "/v1/ticker.txt?on=2025-07-06&period=month")).splitlines()
    old, new = scanned(NBK, "USD", date(2025, 6, 4)), scanned(NBK, "USD", date(2025, 7, 6))
    assert old
    assert new
    percent = half_up(100 * (exact(new, "USD", "KZT") / exact(old, "USD", "KZT") - 1), 2)
    assert lines[0] == f"usd {percent:+.2f}%"
    assert json.loads(await text_of(client, "/v1/ticker?on=2025-07-06&period=decade", 400))["available"]
    assert await text_of(client, "/v1/ticker?on=") == await text_of(client, "/v1/ticker")


@pytest.mark.parametrize("path", ["/v1/rates/{}", "/v1/ticker?on={}", "/v1/convert?from=usd&to=kzt&on={}"])
async def test_dates_without_rates_are_refused(client: Client, path: str) -> None:
    """404 before the first publication, with the dates there are; 400 for the future and for what is no date."""
    before = json.loads(await text_of(client, path.format("1998-01-01"), 404))
    assert before["available"] == [str(CBR[0].date), "2026-04-02"]
    assert "from 2021-11-04 to 2026-04-02" in before["detail"]
    future = json.loads(await text_of(client, path.format("2026-04-03"), 400))
    assert future["detail"] == "2026-04-03 is in the future; the last date with rates is 2026-04-02."
    for text in ("yesterday", "20260402", "2026-W14-4", "2026-02-30"):
        problem = json.loads(await text_of(client, path.format(text), 400))
        assert "must be a date like 2026-04-02" in problem["detail"]


async def test_first_day_with_rates_is_found(client: Client) -> None:
    """A currency that no source quoted then is null, the others have a rate."""
    document = await json_of(client, f"/v1/rates/{CBR[0].date}")
    assert {rate["code"]: rate["source"] for rate in document["rates"]} == {
        "USD": "cbr", "EUR": "cbr", "RUB": "cbr", "GBP": None, "CNY": "cbr",
    }  # fmt: skip
    missing = next(rate for rate in document["rates"] if rate["code"] == "GBP")
    assert (missing["rate"], missing["date"], missing["receipt"], missing["cross"]) == (None, None, None, False)
    problem = json.loads(await text_of(client, f"/v1/convert?from=gbp&to=kzt&on={CBR[0].date}", 404))
    assert "GBP" in problem["detail"]


@pytest.mark.parametrize("on", ["", "2025-07-06", "2026-04-02", "2023-01-01"])
async def test_conversion_is_exact(client: Client, on: str) -> None:
    """To the base, from it, and between two currencies through it, by the rates of the ticker."""
    chance = random.Random(on)  # noqa: S311 - chance is no secret
    when = date.fromisoformat(on) if on else day(2)
    for old, new in (("usd", "kzt"), ("kzt", "usd"), ("eur", "usd"), ("CNY", "gbp"), ("usd", "usd"), ("kzt", "kzt")):
        amount = Decimal(chance.randrange(10**7)).scaleb(-2)
        document = await decimal_json(client, f"/v1/convert?from={old}&to={new}&amount={amount}&on={on}")
        value, legs = Fraction(1), dict[str, Any]()
        for code, sign in ((old.upper(), 1), (new.upper(), -1)):
            source = "cbr" if code == "CNY" else "nbk"
            known = scanned(SERIES[source], code, when)
            if code != "KZT":
                assert known
                value *= exact(known, code, "KZT") ** sign
                legs[code] = (str(known.date), source)
        expected = Fraction(amount) * value
        assert (document["from"], document["to"], document["amount"]) == (old.upper(), new.upper(), amount)
        assert document["on"] == (on or None)
        assert abs(Fraction(document["result"]) - expected) <= expected / 10**27
        assert document["exact"] is (Fraction(document["result"]) == expected)
        assert {leg["code"]: (leg["date"], leg["source"]) for leg in document["rates"]} == legs
        assert document["rate"] == digits(value, 10) or Fraction(document["rate"]) == value
    exact_one = await text_of(client, f"/v1/convert?from=usd&to=kzt&amount=100&on={on}")
    assert '"exact":true' in exact_one
    assert f'"rate":{scanned(NBK, "USD", when).rates["USD"].value},' in exact_one  # type: ignore[union-attr]


async def test_amount_defaults_to_one(client: Client) -> None:
    document = await decimal_json(client, "/v1/convert?from=usd&to=kzt")
    assert (document["amount"], document["result"]) == (1, document["rate"])


BAD_CONVERSIONS = (
    ("to=kzt", "from is missing"),
    ("from=usd", "to is missing"),
    ("from=usd&to=xyz", "Unknown currency 'xyz' in to."),
    ("from=usd&to=kzt&amount=-1", "amount must be a number like 100"),
    ("from=usd&to=kzt&amount=1e5", "amount must be a number like 100"),
    ("from=usd&to=kzt&amount=1,5", "amount must be a number like 100"),
    ("from=usd&to=kzt&amount=NaN", "amount must be a number like 100"),
    ("from=usd&to=kzt&amount=٣", "amount must be a number like 100"),
    ("from=usd&to=kzt&amount=1000000000000000", "with up to 15 digits"),
    ("from=usd&to=kzt&amount=0.00000000001", "10 decimals"),
)
"""Query, and a part of the detail."""


async def check_refusal(client: Client, query: str, detail: str) -> None:
    async with client.get(f"/v1/convert?{query}") as response:
        problem = json.loads(await body(response))
    assert (problem["status"], detail in problem["detail"]) == (400, True)
    if "currency" in problem["detail"]:
        assert problem["available"] == ["USD", "EUR", "RUB", "GBP", "CNY", "KZT"]


async def test_bad_conversion_is_refused(client: Client, subtests: pytest.Subtests) -> None:
    for query, detail in BAD_CONVERSIONS:
        with subtests.test(query=query):
            await check_refusal(client, query, detail)


@pytest.mark.parametrize("path", ["/v1/rates/{on}", "/v1/convert?from=usd&to=kzt"])
async def test_unknown_ticker_is_refused(client: Client, path: str) -> None:
    path = path.format(on="2026-04-02")
    path += ("&" if "?" in path else "?") + "ticker=zzz"
    assert json.loads(await text_of(client, path, 404))["available"] == ["kzt", "eur"]


@pytest.mark.parametrize(
    "path", ["/v1/rates/2025-07-06", "/v1/ticker?on=2025-07-06", "/v1/convert?from=usd&to=kzt&on=2025-07-06"]
)
async def test_responses_are_cacheable(client: Client, path: str) -> None:
    """A strong ETag and 304, a lifetime that ends at the next publication, any origin, HEAD."""
    async with client.get(path) as response:
        tag, headers = response.headers["ETag"], response.headers
    assert headers["Cache-Control"].startswith("public, max-age=")
    assert headers["Access-Control-Allow-Origin"] == "*"
    async with client.get(path, headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with client.head(path) as response:
        assert (response.status, response.headers["ETag"], await response.read()) == (200, tag, b"")


async def test_rates_in_memory_are_served_without_the_store(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store is down, old dates are temporarily unavailable (503)."""

    async def down(*_: object) -> None:
        raise StoreError("down")

    for method in ("rates", "fixing", "dates"):
        monkeypatch.setattr(Store, method, down)
    assert (await json_of(client, "/v1/rates/2026-04-02"))["rates"][0]["date"] == "2026-04-02"
    assert (await json_of(client, "/v1/convert?from=usd&to=kzt&on=2026-04-01"))["rates"][0]["date"] == "2026-04-01"
    for path in ("/v1/rates/2024-04-02", "/v1/ticker?on=2024-04-02", "/v1/convert?from=usd&to=kzt&on=2024-04-02"):
        async with client.get(path) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "30")


async def test_requests_in_progress_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are refused at once (503), and the service goes on afterwards."""
    monkeypatch.setattr(api, "_MAX_WAITING", 3)
    released, read = asyncio.Event(), Store.rates

    async def slow(store: Store, source: str, since: date, until: date) -> Any:
        await released.wait()
        return await read(store, source, since, until)

    monkeypatch.setattr(Store, "rates", slow)

    async def status(number: int) -> int:
        async with client.get(f"/v1/rates/2024-04-{number + 10}") as response:
            return response.status

    requests = [asyncio.create_task(status(number)) for number in range(6)]
    done, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 3:
        more, _ = await asyncio.wait(
            [task for task in requests if task not in done], return_when=asyncio.FIRST_COMPLETED
        )
        done |= more
    assert {task.result() for task in done} == {503}
    released.set()
    assert sorted([await task for task in requests]) == [200, 200, 200, 503, 503, 503]
    assert await status(0) == 200


async def test_redenomination_is_no_change(store: Store, clock: Clock) -> None:
    """The rate before is shown in the new unit, on a date after it."""
    settings = load(environ={}, overrides={
        "tickers": [{"id": "kzt", "base": "KZT", "currencies": ["BYN"], "sources": ["nbk"]}]
    })  # fmt: skip
    await store.save(fixing(date(2016, 7, 4), BYN=("0.17", 10)), fixing(date(2016, 7, 5), BYN="171.70"))
    memory = MemoryState(settings)
    await StoreSync(memory, store).sync()
    snapshot = await RatesOnDate(memory, store).snapshot(settings.tickers[0], date(2016, 7, 9))
    assert snapshot is not None
    quote = snapshot.quotes[0]
    assert (quote.percent, quote.previous, quote.date) == (Decimal("1.00"), Decimal(170), date(2016, 7, 5))


async def test_fallback_is_never_older_than_what_it_replaces(store: Store, clock: Clock) -> None:
    """On a holiday that only the second source's calendar has: the first source is stale, and yet newer."""
    settings = load(environ={}, overrides={"sources": {"nbk": {"calendar": ""}}})
    for known in (
        *(fixing(date(2022, 12, 29 + number), USD=f"50{number}.00") for number in range(3)),
        *(
            fixing(date(2022, 12, 28 + number), "cbr", "RUB", USD=f"8{number}.0000", KZT=("16.0000", 100))
            for number in range(3)
        ),
    ):
        await store.save(known)
    memory = MemoryState(settings)
    await StoreSync(memory, store, now=clock).sync()
    rates = await RatesOnDate(memory, store).rates(settings.tickers[0], ["USD"], date(2023, 1, 6))
    found = rates["USD"]
    assert found is not None
    assert (found.source, found.table.date) == ("nbk", date(2022, 12, 31))


def three_banks(wrong: Mapping[str, float], level: Mapping[date, float]) -> MemoryState:
    """Return the rates of three banks, Tuesday to Friday in January and February 2026.

    On 21 January, the rates of the dollar at some of them are `wrong` by a factor. `level`: that of the tenge by date.
    """
    memory, first = MemoryState(load(environ={})), date(2026, 1, 1)
    draws = random.Random(1)  # noqa: S311 - reproducible
    for number in range(60):
        on, tenge, rouble, euro = first + timedelta(number), *(1 + draws.randrange(100) / 10_000 for _ in range(3))
        if not 1 <= on.weekday() <= 4:
            continue
        tenge *= level.get(on, 1)
        dollar = {"KZT": 500 * tenge, "RUB": 90 * rouble, "UAH": 40.0, "EUR": 0.9 * euro, "GBP": 0.8 * euro, "USD": 1.0}
        for source, base in (("nbk", "KZT"), ("cbr", "RUB"), ("nbu", "UAH")):
            values = {code: dollar[base] / value for code, value in dollar.items() if code != base}
            if on == date(2026, 1, 21):
                values["USD"] *= wrong.get(source, 1)
            rates: dict[str, Any] = {code: f"{value:.6f}" for code, value in values.items()}
            memory.add(fixing(on, source, base, **rates))
    return memory


async def test_rate_that_other_banks_refute_is_not_used(store: Store) -> None:
    """On a date weeks ago too: of the rates up to that date, as many are compared with other banks as of the latest."""
    memory = three_banks({"nbk": 1.08}, {})
    found = await RatesOnDate(memory, store).rates(memory.settings.tickers[0], ["USD"], date(2026, 1, 21))
    assert found["USD"] is not None
    assert found["USD"].table.date == date(2026, 1, 20)


@pytest.mark.parametrize(
    ("wrong", "level", "start"),
    [({"nbk": 1.3}, 1, 20), ({"nbk": 1.08}, 1, 20), ({}, 1.3, 21)],
    ids=["jump", "refuted", "true jump of a day"],
)
async def test_period_begins_with_the_last_trusted_rate(
    store: Store, wrong: dict[str, float], level: float, start: int
) -> None:
    """With that of the day before if the one of its first day is wrong; with a true one even if it was reversed."""
    memory = three_banks(wrong, {date(2026, 1, 21): level})
    snapshot = await RatesOnDate(memory, store).snapshot(memory.settings.tickers[0], date(2026, 1, 28))
    assert snapshot is not None
    change = snapshot.quotes[0].changes[Period.WEEK]
    assert snapshot.quotes[0].code == "USD"
    assert change is not None
    assert change.date == date(2026, 1, start)
