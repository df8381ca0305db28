"""`/v1/chart`: ten years of fixings in a real store, requested over a real socket."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from unittest.mock import patch

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from lxml import etree

from service.domain.fixing import Fixing, Rate
from service.errors import StoreError
from service.settings import load
from service.state.memory import KEEP, MemoryState
from service.storage.repository import Store
from service.validation.quarantine import QuarantinedFixing
from service.web.api import chart
from service.web.api.history import Histories
from service.web.models import Chart
from service.web.rendering.page_cache import PageCache
from tests.conftest import Clock
from tests.support.fixings import day
from tests.support.http import Client

FIRST, LAST = date(2016, 4, 4), day(2)
REDENOMINATED, CORRECTED, CORRECTED_RECENTLY, SUSPICIOUS = date(2016, 7, 5), date(2019, 3, 5), day(1), day(2)


def fixings() -> list[Fixing]:
    """Return working days of ten years, two of them corrected; BYN has a new unit from the day that NBK used it."""
    series = []
    for ordinal in range(FIRST.toordinal(), LAST.toordinal() + 1):
        on = date.fromordinal(ordinal)
        if on.weekday() > 4 or date(2020, 3, 1) <= on <= date(2020, 4, 30):
            continue
        dollar = Decimal(470 + (ordinal * 7919) % 40) + Decimal(ordinal % 100) / 100
        rouble = (
            (dollar / 2).quantize(Decimal("0.01"))
            if on >= REDENOMINATED
            else (dollar / 20000).quantize(Decimal("0.000001"))
        )
        fetched_at = datetime(on.year, on.month, on.day, 11, tzinfo=UTC)
        rates = {"USD": Rate(dollar), "BYN": Rate(rouble), "EUR": Rate(dollar + ordinal % 3 + 1)}
        published = Fixing("nbk", "KZT", on, rates, "http://nbk/", fetched_at, f"digest of {on}")
        if on in (CORRECTED, CORRECTED_RECENTLY):
            wrong = replace(published, rates=rates | {"USD": Rate(dollar + 1)}, digest=f"first digest of {on}")
            later = replace(published, fetched_at=fetched_at + timedelta(hours=1))
            published = later.with_revision_of(wrong)
        series.append(published)
    return series


ALL = fixings()


@dataclass
class ChartApp:
    """The routes of charts alone, with in-memory state and a store that a test controls."""

    memory: MemoryState
    store: Store
    charts: chart.Charts
    client: Client

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers with lower-case names, and the body."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.get(f"/v1/chart/{path}", headers=sent) as response:
            return (
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                await response.read(),
            )

    async def document(self, path: str) -> Chart:
        status, _, body = await self.get(path)
        assert status == 200, body
        return msgspec.json.decode(body, type=Chart)

    async def picture(self, path: str) -> etree._Element:
        status, _, body = await self.get(path)
        assert status == 200, body
        return etree.fromstring(body)


@pytest.fixture(scope="module")
def filled(valkey: str) -> str:
    """Return the prefix of a store with ten years."""

    async def fill() -> None:
        async with Store(valkey, "charts:") as store:
            await store.save(*ALL)

    asyncio.run(fill())
    return "charts:"


@asynccontextmanager
async def serve(valkey: str, prefix: str, clock: Clock, *, recorded: bool = False) -> AsyncIterator[ChartApp]:
    """Serve charts of a store, with the latest dates in memory."""
    kzt = {"id": "kzt", "base": "KZT", "currencies": ["USD", "BYN", "EUR", "XDR"], "sources": ["nbk"]}
    source = {"nbk": {"not_compared": ["USD", "BYN", "EUR"], "recorded": recorded}}
    memory = MemoryState(load(environ={}, overrides={"tickers": [kzt], "sources": source}))
    for item in ALL[-KEEP:]:
        memory.add(item)
    memory.refresh(clock())
    async with Store(valkey, prefix) as store:
        pages = PageCache(memory, clock)
        charts = chart.Charts(pages, Histories(pages, store))
        application = web.Application()
        application.add_routes(chart.routes(charts))
        async with TestClient(TestServer(application)) as client:
            yield ChartApp(memory, store, charts, client)


@pytest.fixture
async def app(valkey: str, filled: str, clock: Clock) -> AsyncIterator[ChartApp]:
    """Yield the app with ten years in the store. Read-only."""
    async with serve(valkey, filled, clock) as app:
        yield app


async def test_document_has_all_publications(app: ChartApp) -> None:
    """In columns, exact to the digit: those of the store and those of memory."""
    document = await app.document("usd")
    days = [document.first + timedelta(sum(document.days[: index + 1])) for index in range(len(document.days))]
    assert days == [item.date for item in ALL]
    assert [str(rate) for rate in document.rates] == [str(item.rates["USD"].value) for item in ALL]
    assert document.percents[0] is None
    old, new = (item.rates["USD"].value for item in ALL[-2:])
    assert document.percents[-1] == round(100 * (new - old) / old, 2)
    assert (document.ticker, document.currency, document.base, document.decimals) == ("kzt", "USD", "KZT", 2)
    assert (await app.document("USD.json")) == document


async def test_gaps_and_corrections_are_marked(app: ChartApp) -> None:
    """Two months without publications; corrections in memory and in the store, of the corrected currency alone."""
    document = await app.document("usd")
    dates = [item.date for item in ALL]
    assert [dates[index] for index in document.starts] == [date(2020, 5, 1)]
    assert [dates[index] for index in document.revised] == [CORRECTED, CORRECTED_RECENTLY]
    assert (await app.document("eur")).revised == []


async def test_new_unit_begins_a_new_line(app: ChartApp) -> None:
    document = await app.document("byn")
    (unit,) = document.units
    assert ALL[unit].date == REDENOMINATED
    assert unit in document.starts
    assert document.percents[unit] is not None, "converted by the known factor"


async def test_quarantined_days_are_marked(app: ChartApp) -> None:
    """Those with a rate of the currency or of the base."""
    entry = QuarantinedFixing(replace(ALL[-1], rates={"EUR": Rate(Decimal(9))}), ("too high",), ALL[-1].fetched_at)
    app.memory.quarantine["nbk"].waiting[SUSPICIOUS] = entry
    assert (await app.document("eur")).quarantined == [SUSPICIOUS]
    assert (await app.document("usd")).quarantined == []


async def test_picture_shows_the_requested_range(app: ChartApp) -> None:
    """The path has a coordinate for each publication of the range; unknown values are ignored and named."""
    for name, first in (("1m", date(2026, 3, 2)), ("3m", date(2026, 1, 2)), ("1y", date(2025, 4, 2)), ("all", FIRST)):
        picture = await app.picture(f"usd.svg?range={name}")
        (path,) = picture.xpath("//*[@data-currency='USD']")
        assert len(re.findall(r"[\d.]+ [\d.]+", path.get("d"))) == sum(item.date >= first for item in ALL)
    status, headers, body = await app.get("usd.svg?range=2w&theme=neon&width=huge&height=20")
    assert (status, headers["ticker-ignored"]) == (200, "theme, width, range")
    assert etree.fromstring(body).get("viewBox") == "0 0 720 120"


async def test_picture_has_the_size_and_the_language(app: ChartApp) -> None:
    picture = await app.picture("usd.svg?width=480&height=200&lang=kk&theme=dark")
    assert (picture.get("width"), picture.get("height"), picture.get("viewBox")) == ("480", "200", "0 0 480 200")
    assert picture[0].text is not None
    assert picture[0].text.startswith("АҚШ доллары / KZT")


async def test_picture_of_sample_data_says_so(valkey: str, filled: str, clock: Clock) -> None:
    """In its language, after the name of the source."""
    for is_recorded, end in ((False, "NBK"), (True, "NBK · Beispieldaten")):
        async with serve(valkey, filled, clock, recorded=is_recorded) as app:
            texts = (await app.picture("usd.svg?lang=de")).xpath("//*[local-name()='text']/text()")
            assert texts[0].startswith("USD/KZT ")
            assert texts[0].endswith(f" · {end}")


async def test_png_is_drawn_from_the_picture(app: ChartApp) -> None:
    """In its size, as often as pixels allow; in English where the font lacks the language's characters."""
    for query, size in (("", (720, 320)), ("?width=400&height=200&scale=2", (800, 400)), ("?lang=zh", (720, 320))):
        status, headers, body = await app.get(f"usd.png{query}")
        assert (status, headers["content-type"]) == (200, "image/png")
        assert (int.from_bytes(body[16:20]), int.from_bytes(body[20:24])) == size
    assert (await app.get("usd.png?width=1280&height=720&scale=3"))[0] == 200


async def test_language_follows_accept_language_for_auto_only(app: ChartApp) -> None:
    _, headers, body = await app.get("usd?lang=auto", Accept_Language="de")
    assert "Accept-Language" in headers["vary"]
    assert json.loads(body)["text"]["lang"] == "de"
    _, headers, body = await app.get("usd", Accept_Language="de")
    assert json.loads(body)["text"]["lang"] == "en"
    assert headers["vary"] == "Accept-Encoding"


async def test_responses_are_cacheable(app: ChartApp) -> None:
    for path in ("usd", "usd.svg", "usd.png"):
        _, headers, _ = await app.get(path)
        assert headers["cache-control"].startswith("public, max-age=")
        assert headers["access-control-allow-origin"] == "*"
        assert (await app.get(path, If_None_Match=headers["etag"]))[0] == 304
    assert "style-src 'sha256-" in (await app.get("usd.svg"))[1]["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("xdr", 404, "No source of the ticker kzt quotes 'XDR'."),
        ("usd?ticker=none", 404, "Unknown ticker 'none'."),
        ("usd.pdf", 404, "Unknown format .pdf."),
    ],
)
async def test_unknown_charts_are_not_found(app: ChartApp, path: str, status: int, detail: str) -> None:
    received, headers, body = await app.get(path)
    assert (received, json.loads(body)["detail"]) == (status, detail)
    assert headers["content-type"].startswith("application/problem+json")


async def test_concurrent_requests_share_one_rendering(app: ChartApp) -> None:
    responses = await asyncio.gather(*(app.get("usd.svg?range=all") for _ in range(20)))
    assert {status for status, _, _ in responses} == {200}
    assert app.charts.pages.counters.rendered == 1


async def test_too_many_different_charts_are_refused(app: ChartApp) -> None:
    """Those that can be rendered are; the others are asked to try again."""
    responses = await asyncio.gather(*(app.get(f"usd.png?width={300 + index}") for index in range(30)))
    statuses = [status for status, _, _ in responses]
    assert set(statuses) == {200, 503}
    assert all(headers["retry-after"] == "5" for status, headers, _ in responses if status == 503)
    assert (await app.get("usd.png?width=300"))[0] == 200


async def test_older_publications_that_arrive_later_are_shown(valkey: str, clock: Clock) -> None:
    """A backfill changes no snapshot."""
    async with serve(valkey, "chart backfill:", clock) as app:
        assert (await app.document("usd")).first == ALL[-KEEP].date
        await app.store.save(*ALL[-KEEP - 50 : -KEEP])
        assert (await app.document("usd")).first == ALL[-KEEP - 50].date


async def test_wrong_rate_is_not_shown_while_the_store_is_unavailable(valkey: str, filled: str, clock: Clock) -> None:
    """One that moved beyond the limit and was reversed, among the publications of the quote."""
    async with serve(valkey, filled, clock) as app:
        wrong = replace(ALL[-3], rates={**ALL[-3].rates, "USD": Rate(Decimal("4704.70"))})
        app.memory.add(wrong)
        app.memory.refresh(clock())
        quote = app.memory.snapshots["kzt"].quotes[0]
        points = chart.recent_points(quote, "KZT", app.memory)
        assert [point.day for point in points[-3:]] == [ALL[index].date for index in (-4, -2, -1)]
        assert all(abs(point.percent) < 15 for point in points if point.percent is not None)


async def test_chart_stays_while_the_store_is_unavailable(valkey: str, filled: str, clock: Clock) -> None:
    """A chart that was read before is shown; another one is refused."""
    async with serve(valkey, filled, clock) as app:
        before = await app.document("usd")
        with patch.object(app.store, "version", side_effect=StoreError("connection refused")):
            assert await app.document("usd") == before
            assert (await app.get("usd.svg"))[0] == 200
            status, headers, _ = await app.get("eur")
        assert (status, headers["retry-after"]) == (503, "30")
