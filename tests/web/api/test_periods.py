"""Changes over periods, in every output format: more than a year of generated fixings in a real store."""

import asyncio
import json
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from service.domain.change import half_up
from service.domain.fixing import Fixing
from service.domain.periods import LONGER, PERIODS, Changes, Period, begin
from service.settings import Settings
from service.state.memory import KEEP, MemoryState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.conftest import Clock, Started
from tests.support.fixings import day, fixing
from tests.support.http import Client, until_ready
from tests.support.instances import publisher
from tests.support.pages import page_of, picture_of, select, select_one, text_of
from tests.support.standin import Banks
from tests.support.years import random_walk, save

RATES = {"USD": ("475.09", 1), "EUR": ("551.06", 1), "RUB": ("58.70", 10), "GBP": ("631.87", 1), "CNY": ("69.12", 1)}
NBK = random_walk("nbk", "KZT", date(2024, 11, 1), day(2), RATES)


@pytest.fixture
def settings(settings: Settings, banks: Banks) -> Settings:
    banks.faults.update(dict.fromkeys(("nbk", "cbr", "ecb", "nbu", "cbu"), 404))
    return settings


@pytest.fixture
async def client(settings: Settings, start: Started) -> Client:
    """Return a client of a service that was started on a store with 17 months of rates."""
    await save(settings.store.url.get_secret_value(), settings.store.prefix, NBK)
    client = await start()
    await until_ready(client)
    return client


def in_force(on: date) -> Fixing:
    return max((known for known in NBK if known.date <= on), key=lambda known: known.date)


def value(known: Fixing, code: str) -> Fraction:
    return Fraction(known.rates[code].value) / known.rates[code].nominal


def percent(code: str, old: Fixing) -> Decimal:
    return half_up(100 * (value(NBK[-1], code) / value(old, code) - 1), 2)


def text(number: Decimal) -> str:
    return f"{number:+.2f}%" if number else "0.00%"


async def quotes_of(client: Client, path: str = "/v1/ticker") -> dict[str, Any]:
    document = json.loads(await text_of(client, path), parse_float=Decimal)
    return {quote["code"]: quote for quote in document["quotes"]}


async def test_json_has_the_changes_over_all_periods(client: Client) -> None:
    """Exact, with the rate and the date of the publication in force at the beginning, also if it is only stored."""
    quotes = await quotes_of(client)
    for code in RATES:
        changes = quotes[code]["changes"]
        assert list(changes) == list(PERIODS)
        assert changes["day"]["percent"] == quotes[code]["percent"]
        assert changes["day"]["date"] == quotes[code]["previous_date"]
        for period in LONGER:
            old = in_force(begin(period, day(2)))
            assert changes[period]["date"] == str(old.date)
            assert Fraction(changes[period]["previous"]) == value(old, code)
            assert changes[period]["percent"] == percent(code, old)
            assert changes[period]["change"] == Decimal(quotes[code]["rate"]) - changes[period]["previous"]
    assert [quotes["USD"]["changes"][period]["date"] for period in LONGER] == [
        "2026-03-26", "2026-03-02", "2025-04-02", "2025-12-31",
    ]  # fmt: skip


async def test_period_selects_the_change_of_texts(client: Client) -> None:
    """The fields of the quote stay those of the day; `text` has the change over the period, and both its days."""
    today, year = [json.loads(await text_of(client, f"/v1/ticker?lang=en{more}")) for more in ("", "&period=year")]
    assert today["quotes"][0]["percent"] == year["quotes"][0]["percent"]
    shown = year["quotes"][0]["text"]
    old = in_force(date(2025, 4, 2))
    assert shown["percent"] == text(percent("USD", old)).replace("-", "−")
    assert shown["previous_date"] != today["quotes"][0]["text"]["previous_date"]
    assert "2025" in shown["details"]
    assert year["text"]["date"].endswith(f" – {today['text']['date']}")
    assert "2025" in year["text"]["date"]
    assert "2 April 2026 compared with 2 April 2025" in year["text"]["footer"]


async def test_receipts_are_of_the_publications_that_a_period_compares(client: Client) -> None:
    """Their pages, in the language of the texts; in the fragment too. Without history only the first one."""
    for path, lang, before in (("period=year&lang=en", "en", "2025-04-02"), ("lang=ru", "ru", "2026-04-01")):
        receipts = [f"/fixings/nbk/2026-04-02?lang={lang}", f"/fixings/nbk/{before}?lang={lang}"]
        quotes = await quotes_of(client, f"/v1/ticker?{path}")
        assert quotes["USD"]["text"]["receipts"] == receipts
        assert quotes["USD"]["receipts"] == ["/v1/fixings/nbk/2026-04-02", "/v1/fixings/nbk/2026-04-01"]
        fragment = await page_of(client, f"/v1/ticker.html?{path}&currencies=usd")
        assert [link.attrs.get("href") for link in select(fragment, ".details a")] == receipts


async def test_details_of_two_periods_do_not_mix(client: Client) -> None:
    """Fragments for both may be on one page, where ids must be unique."""
    pages = [await page_of(client, f"/v1/ticker.html?period={period}") for period in ("day", "week", "year")]
    ids = [details.attrs.get("id") for page in pages for details in select(page, ".details")]
    assert len(set(ids)) == 3 * len(RATES)


@pytest.mark.parametrize("period", LONGER)
async def test_text_has_the_change_over_a_period(client: Client, period: Period) -> None:
    lines = (await text_of(client, f"/v1/ticker.txt?period={period}")).splitlines()
    old = in_force(begin(period, day(2)))
    assert lines == [f"{code.lower()} {text(percent(code, old))}" for code in RATES]


async def test_svg_and_pages_have_the_change_over_a_period(client: Client) -> None:
    """With the first and the last day beside it, in place of the date."""
    expected = text(percent("USD", in_force(day(2, 3)))).replace("-", "−")
    picture = await picture_of(client, "/v1/ticker.svg?period=month&lang=en")
    words = "".join(str(part) for part in picture.itertext())
    assert expected in words
    assert " – " in words
    for path in ("/v1/ticker.html", "/embed"):
        page = await page_of(client, f"{path}?period=month&lang=en")
        assert select(page, ".percent")[0].to_text() == expected
        assert " – " in select_one(page, "time").to_text()
    async with client.get("/v1/ticker.png?period=month") as response, client.get("/v1/ticker.png") as plain:
        assert response.status == 200
        assert await response.read() != await plain.read()


async def test_unknown_period_is_refused_by_the_api_and_ignored_by_pictures(client: Client) -> None:
    for path in ("/v1/ticker", "/v1/ticker.txt", "/v1/ticker/kzt"):
        problem = json.loads(await text_of(client, f"{path}?period=decade", 400))
        assert problem["available"] == list(PERIODS)
        assert "'decade'" in problem["detail"]
        assert await text_of(client, f"{path}?period=") == await text_of(client, path)
    for path in ("/v1/ticker.svg", "/v1/ticker.html", "/embed"):
        async with client.get(f"{path}?period=decade") as response:
            assert (response.status, response.headers["Ticker-Ignored"]) == (200, "period")
    async with client.get("/v1/ticker.svg?period=MONTH") as response:
        assert "Ticker-Ignored" not in response.headers


async def test_oembed_keeps_the_period(client: Client) -> None:
    own = str(client.make_url("/embed?period=week"))
    async with client.get("/oembed", params={"url": own}) as response:
        assert "/embed?period=week" in json.loads(await text_of(client, str(response.url.relative())))["html"]


async def test_stream_has_the_period(client: Client) -> None:
    async with client.get("/v1/stream?lang=en&period=year") as response:
        while not (line := await response.content.readline()).startswith(b"data: "):
            pass
        assert " – " in json.loads(line.removeprefix(b"data: "))["text"]["date"]


async def test_period_is_null_where_history_does_not_reach(settings: Settings, start: Started) -> None:
    """A dash in texts, as for a quote without a predecessor."""
    await save(settings.store.url.get_secret_value(), settings.store.prefix, NBK[-25:])
    client = await start()
    await until_ready(client)
    changes = (await quotes_of(client))["USD"]["changes"]
    assert {period for period, change in changes.items() if change is None} == {"year", "ytd"}
    assert (await text_of(client, "/v1/ticker.txt?period=year")).splitlines()[0] == "usd —"
    assert "—" in await text_of(client, "/v1/ticker.svg?period=year")
    page = await page_of(client, "/v1/ticker.html?period=year&layout=list&lang=en")
    assert "2 April 2026 compared with 2 April 2025" in select_one(page, ".date").to_text()


async def test_new_publication_is_compared_at_once(store: Store, settings: Settings, clock: Clock) -> None:
    """Its snapshot is published once, with all periods: their publications are read before it is built."""
    store_sync = StoreSync(MemoryState(settings), store)
    await store.save(*NBK[:-1])
    publishing, shown = publisher(store_sync), list[Changes]()
    await store_sync.sync()
    await publishing.publish(clock())
    store_sync.memory.watchers.append(lambda snapshot: shown.append(snapshot.quotes[0].changes))
    store_sync.memory.add(NBK[-1])
    await publishing.publish(clock())
    await store_sync.sync()
    await publishing.publish(clock())
    (changes,) = shown
    starts: dict[Period, Fixing] = {period: in_force(begin(period, day(2))) for period in LONGER}
    expected = {period: percent("USD", start) for period, start in {**starts, Period.DAY: NBK[-2]}.items()}
    assert {period: change and change.percent for period, change in changes.items()} == expected


async def test_backfill_completes_the_periods(store: Store, settings: Settings, clock: Clock) -> None:
    """What another process stores of the past is used by the next refresh."""
    store_sync = StoreSync(MemoryState(settings), store)
    await store.save(*NBK[-KEEP:])
    publishing, memory = publisher(store_sync), store_sync.memory
    await store_sync.sync()
    await publishing.publish(clock())
    assert memory.snapshots["kzt"].quotes[0].changes[Period.YEAR] is None
    await store.save(*NBK[:-KEEP])
    await store_sync.sync()
    await publishing.publish(clock())
    change = memory.snapshots["kzt"].quotes[0].changes[Period.YEAR]
    assert change is not None
    assert change.percent == percent("USD", in_force(date(2025, 4, 2)))


async def test_few_publications_of_the_store_stay_in_memory(store: Store, settings: Settings, clock: Clock) -> None:
    """Only those with which the latest rates may be compared, without the currencies that no ticker needs."""
    store_sync = StoreSync(MemoryState(settings), store)
    await store.save(*NBK)
    await store_sync.sync()
    await publisher(store_sync).publish(clock())
    starts = store_sync.memory.period_starts["nbk"]
    assert 0 < len({table.date for table in starts.values()}) < 15
    assert {code for table in starts.values() for code in table.rates} == set(RATES)
    assert all(table.date < NBK[-KEEP].date for table in starts.values())


async def test_store_that_hangs_does_not_hold_up_a_publication(
    store: Store, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot is published without the long periods, and completed later."""
    store_sync = StoreSync(MemoryState(settings), store, patience=0.05)
    await store.save(*NBK[:-1])
    publishing, memory, released = publisher(store_sync), store_sync.memory, asyncio.Event()
    await store_sync.sync()
    read = store.rates

    async def hanging(*args: Any) -> Any:
        await released.wait()
        return await read(*args)

    monkeypatch.setattr(store, "rates", hanging)
    memory.add(NBK[-1])
    await publishing.publish(clock())
    quote = memory.snapshots["kzt"].quotes[0]
    assert (quote.date, quote.changes[Period.YEAR]) == (day(2), None)
    assert quote.changes[Period.WEEK] is not None
    released.set()
    store_sync.patience = 60
    await publishing.publish(clock())
    assert memory.snapshots["kzt"].quotes[0].changes[Period.YEAR] is not None
    await store_sync.close()


def test_change_across_a_weekend_is_from_the_publication_before_it(settings: Settings, clock: Clock) -> None:
    """2 March to 2 April: on Sunday 1 March the rates of Friday were in force."""
    memory = MemoryState(settings)
    first = day(1) - timedelta(days=33)
    for known in (fixing(first, USD="470.00"), fixing(day(31, 3), USD="478.77"), fixing(day(1), USD="475.09")):
        memory.add(known)
    memory.refresh(clock())
    changes = memory.snapshots["kzt"].quotes[0].changes
    month = changes[Period.MONTH]
    assert month is not None
    assert (month.date, begin(Period.MONTH, day(1)).weekday(), first.weekday()) == (first, 6, 4)
