"""Sparklines: the line matches its rates and is shown only by formats and layouts that support it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.app import create_app
from service.settings import load
from service.state.memory import MemoryState
from service.storage.repository import Store
from service.web.rendering.sparkline import FEWEST, HEIGHT, WIDTH, path
from tests.conftest import Clock, ProductionServer
from tests.support.fixings import APRIL, day, fixing
from tests.support.http import Client
from tests.support.pages import SVG, json_of, page_of, picture_of, published, select, select_one, text_of
from tests.support.standin import Banks, serving
from tests.support.wait import until

CODES = ("USD", "EUR", "RUB", "GBP")
"""Currencies quoted long enough for a line; the yuan was not."""
LIST = "layout=list&spark=1"
shared_loop = pytest.mark.asyncio(loop_scope="module")
LEFT, RIGHT, TOP, BOTTOM = 4, WIDTH - 4, 4, HEIGHT - 4
RATES = st.lists(st.decimals("0.0001", "20000", places=4), min_size=FEWEST, max_size=30)


def points(line: str) -> list[tuple[int, int]]:
    """Return the points of a path; y grows downwards."""
    assert line.startswith("M")
    numbers = [int(number) for number in line[1:].split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


@given(RATES)
def test_line_matches_its_rates(rates: list[Decimal]) -> None:
    """From edge to edge in equal steps, with the highest rate at the top and the lowest at the bottom."""
    drawn = points(path(rates) or "")
    xs, ys = [x for x, _ in drawn], [y for _, y in drawn]
    assert len(drawn) == len(rates)
    assert (xs[0], xs[-1]) == (LEFT, RIGHT)
    steps = {new - old for old, new in pairwise(xs)}
    assert max(steps) - min(steps) <= 1
    low, high = min(rates), max(rates)
    if low == high:
        assert set(ys) == {(TOP + BOTTOM) // 2}
        return
    for rate, y in zip(rates, ys, strict=True):
        assert abs((high - rate) / (high - low) * (BOTTOM - TOP) + TOP - y) <= Decimal("0.5")
    assert {ys[number] for number, rate in enumerate(rates) if rate == high} == {TOP}
    assert {ys[number] for number, rate in enumerate(rates) if rate == low} == {BOTTOM}


@pytest.mark.parametrize("count", range(FEWEST))
def test_two_publications_have_no_line(count: int) -> None:
    """The change already shows them."""
    assert path([Decimal(475)] * count) is None


def test_backfilled_rates_are_drawn() -> None:
    """A backfill changes no rate, but the ticker is rebuilt because its history changed."""
    memory, now = MemoryState(load(environ={})), datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
    for date in (day(1), day(2)):
        memory.add(fixing(date, USD=str(APRIL[date]["USD"])))
    (before,) = memory.refresh(now)
    memory.add(fixing(day(31, 3), USD="470.00"))
    (after,) = memory.refresh(now)
    assert memory.refresh(now) == ()
    assert [len(snapshot.quotes[0].history) for snapshot in (before, after)] == [2, 3]


def rate(code: str, number: int) -> str:
    """Return the rate published so many working days before 2 April; the rouble never changed."""
    return {"USD": f"47{number % 10}.09", "EUR": f"5{number:02}.06", "RUB": "5.87", "GBP": f"6{99 - number}.87"}[code]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(valkey: str) -> AsyncIterator[Client]:
    """Yield a client of a service whose store has 60 days; the yuan is quoted since 1 April."""
    days = [day(31, 3) - timedelta(number) for number in range(60)]
    async with Store(valkey, "spark:") as store, serving(published(Banks())) as banks:
        for date in days:
            number = sum(date < other and other.weekday() < 5 for other in days) + 2
            usd, eur, rub, gbp = (rate(code, number) for code in CODES)
            await store.save(fixing(date, USD=usd, EUR=eur, RUB=rub, GBP=gbp))
        environ = banks.environ() | {"TICKER_STORE__URL": valkey, "TICKER_STORE__PREFIX": "spark:"}
        app = create_app(load(environ=environ), None, Clock(datetime(2026, 4, 2, 4, 0, tzinfo=UTC)))
        async with TestClient(ProductionServer(app), auto_decompress=False) as client:

            async def rates_are_current() -> bool:
                quotes = (await json_of(client, "/v1/ticker"))["quotes"]
                return all((quote["source"], quote["date"]) == ("nbk", "2026-04-02") for quote in quotes)

            await until(rates_are_current)
            yield client


def expected_path(code: str) -> str:
    """Return the path of a currency from its 30 publications; weekends have none."""
    rates = [rate(code, number) for number in range(29, 1, -1)] + [str(APRIL[on][code]) for on in (day(1), day(2))]
    return str(path([Decimal(published_rate) for published_rate in rates]))


@shared_loop
async def test_json_has_requested_sparklines(client: Client) -> None:
    """The path and its description, of at most 30 publications; null for a currency with fewer than three."""
    document = await json_of(client, "/v1/ticker?lang=en&spark=1")
    texts = {quote["code"]: quote["text"] for quote in document["quotes"]}
    assert {code: texts[code]["spark"] for code in CODES} == {code: expected_path(code) for code in CODES}
    assert (texts["CNY"]["spark"], texts["CNY"]["spark_label"]) == (None, None)
    ends = "20 February 2026 to 2 April 2026"
    assert texts["USD"]["spark_label"] == f"30 publications from {ends}: lowest 470.09, highest 479.09"
    assert texts["RUB"]["spark_label"] == f"30 publications from {ends}: lowest 5.87, highest 5.87"
    assert {y for _, y in points(texts["RUB"]["spark"])} == {HEIGHT // 2}


@shared_loop
@pytest.mark.parametrize("query", ["", "?spark=1", "?lang=kk", "?lang=kk&spark=0", "?currencies=usd", "?spark=false"])
async def test_json_is_unchanged_without_spark(client: Client, query: str) -> None:
    """No field beyond the contract; without a language there are no texts to contain it."""
    text = await text_of(client, f"/v1/ticker{query}")
    assert "spark" not in text
    assert "history" not in text
    assert text == await text_of(client, f"/v1/ticker{query.replace('spark=', 'x=')}")


@shared_loop
@pytest.mark.parametrize("lang", ["kk", "ru", "en", "de", "ar"])
@pytest.mark.parametrize("format_path", ["/embed", "/v1/ticker.html"])
async def test_list_has_sparklines(client: Client, format_path: str, lang: str) -> None:
    """An image with the label of the JSON, exposed to screen readers, without inline styles."""
    document = await json_of(client, f"/v1/ticker?lang={lang}&spark=1")
    page = await page_of(client, f"{format_path}?{LIST}&lang={lang}")
    texts = [quote["text"] for quote in document["quotes"] if quote["text"]["spark"]]
    lines = select(page, "li > svg[role=img]")
    assert [select_one(line, "path").attrs["d"] for line in lines] == [text["spark"] for text in texts]
    assert [select_one(line, "title").to_text() for line in lines] == [text["spark_label"] for text in texts]
    assert lines[0].attrs["viewBox"] == f"0 0 {WIDTH} {HEIGHT}"
    assert select(page, "[style]") == select(page, "li [aria-hidden] svg") == []
    assert len(lines) == len(CODES)


@shared_loop
async def test_only_a_list_with_spark_has_sparklines(client: Client) -> None:
    """Disabled by default and ignored in other layouts, whose bytes stay the same."""
    for path_ in ("/embed", "/v1/ticker.html", "/v1/ticker.svg"):
        for layout in ("strip", "tape"):
            plain = await text_of(client, f"{path_}?layout={layout}&lang=en")
            assert await text_of(client, f"{path_}?layout={layout}&lang=en&spark=1") == plain
        plain = await text_of(client, f"{path_}?layout=list&lang=en")
        assert "M4 " not in plain
        for option, disabled in (("spark=0", True), ("spark=false", True), ("spark=no", True), ("spark", False)):
            assert (await text_of(client, f"{path_}?layout=list&lang=en&{option}") == plain) is disabled
        enabled = {await text_of(client, f"{path_}?layout=list&lang=en&spark={option}") for option in ("1", "true", "")}
        assert len(enabled) == 1


@shared_loop
@pytest.mark.parametrize("lang", ["en", "ar"])
async def test_svg_list_has_sparklines(client: Client, lang: str) -> None:
    """One column of lines, inside the image and clear of names and values; described with the rest."""
    document = await json_of(client, f"/v1/ticker?lang={lang}&spark=1")
    svg = await picture_of(client, f"/v1/ticker.svg?{LIST}&lang={lang}")
    lines = [line for line in svg.findall(f"{SVG}path") if line.get("transform")]
    assert [line.get("d") for line in lines] == [expected_path(code) for code in CODES]
    places = [str(line.get("transform")).partition(")")[0].removeprefix("translate(").split() for line in lines]
    (left,), tops = {int(x) for x, _ in places}, [int(y) for _, y in places]
    assert tops == [11, 49, 87, 125]
    assert 100 < left < int(str(svg.get("width"))) - WIDTH // 4 - 100
    description = str(svg.findtext(f"{SVG}desc"))
    for quote in document["quotes"]:
        label = quote["text"]["spark_label"]
        assert label is None or f"{quote['text']['sentence']}. {label}. " in description


@shared_loop
async def test_themes_have_a_line_colour(client: Client) -> None:
    """A neutral colour in light and dark: the line does not show the direction of the last change."""
    for theme, colour in (("light", "#5b6474"), ("dark", "#98a2b3"), ("transparent", "#5b6474")):
        svg = await picture_of(client, f"/v1/ticker.svg?{LIST}&theme={theme}")
        assert {line.get("stroke") for line in svg.findall(f"{SVG}path") if line.get("transform")} == {colour}


@shared_loop
async def test_selected_currencies_keep_their_lines(client: Client) -> None:
    """Selecting and reordering currencies does not mix up the lines."""
    page = await page_of(client, f"/v1/ticker.html?{LIST}&currencies=gbp,cny,usd")
    assert [line.attrs["d"] for line in select(page, "li path")] == [expected_path("GBP"), expected_path("USD")]
