"""Sparklines: the line is that of the rates, every form that has a place for it has it, and no other."""

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
from tests.conftest import Clock, Served
from tests.support.fixings import APRIL, day, fixing
from tests.support.http import Client
from tests.support.pages import SVG, found, json_of, one, page_of, picture_of, published, text_of
from tests.support.standin import Banks, serving
from tests.support.wait import until

CODES = ("USD", "EUR", "RUB", "GBP")
"""What was quoted long enough for a line; the yuan was not."""
LIST = "layout=list&spark=1"
together = pytest.mark.asyncio(loop_scope="module")
LEFT, RIGHT, TOP, BOTTOM = 4, WIDTH - 4, 4, HEIGHT - 4
RATES = st.lists(st.decimals("0.0001", "20000", places=4), min_size=FEWEST, max_size=30)


def points(line: str) -> list[tuple[int, int]]:
    """Return the points of a path; y grows downwards."""
    assert line.startswith("M")
    numbers = [int(number) for number in line[1:].split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


@given(RATES)
def test_a_line_is_that_of_its_rates(rates: list[Decimal]) -> None:
    """From edge to edge in equal steps, the highest rate at the top, the lowest at the bottom, each in its place."""
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
def test_two_publications_are_no_line(count: int) -> None:
    """They are the change, which is told as such."""
    assert path([Decimal(475)] * count) is None


def test_a_past_that_comes_later_is_drawn() -> None:
    """A backfill changes no figure; the ticker is made anew all the same, for what is remembered with it."""
    memory, now = MemoryState(load(environ={})), datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
    for on in (day(1), day(2)):
        memory.add(fixing(on, USD=str(APRIL[on]["USD"])))
    (before,) = memory.refresh(now)
    memory.add(fixing(day(31, 3), USD="470.00"))
    (after,) = memory.refresh(now)
    assert memory.refresh(now) == ()
    assert [len(made.quotes[0].history) for made in (before, after)] == [2, 3]


def rate(code: str, number: int) -> str:
    """Return what the bank published so many working days before 2 April; the rouble never moved."""
    return {"USD": f"47{number % 10}.09", "EUR": f"5{number:02}.06", "RUB": "5.87", "GBP": f"6{99 - number}.87"}[code]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(valkey: str) -> AsyncIterator[Client]:
    """Yield a client of a service whose store remembers 60 days; the yuan is quoted since 1 April."""
    days = [day(31, 3) - timedelta(number) for number in range(60)]
    async with Store(valkey, "spark:") as store, serving(published(Banks())) as banks:
        for on in days:
            number = sum(on < other and other.weekday() < 5 for other in days) + 2
            usd, eur, rub, gbp = (rate(code, number) for code in CODES)
            await store.save(fixing(on, USD=usd, EUR=eur, RUB=rub, GBP=gbp))
        environ = banks.environ() | {"TICKER_STORE__URL": valkey, "TICKER_STORE__PREFIX": "spark:"}
        app = create_app(load(environ=environ), None, Clock(datetime(2026, 4, 2, 4, 0, tzinfo=UTC)))
        async with TestClient(Served(app), auto_decompress=False) as client:

            async def ready() -> bool:
                quotes = (await json_of(client, "/v1/ticker"))["quotes"]
                return all((quote["source"], quote["date"]) == ("nbk", "2026-04-02") for quote in quotes)

            await until(ready)
            yield client


def expected(code: str) -> str:
    """Return the line of a currency by its 30 publications: weekends are none."""
    rates = [rate(code, number) for number in range(29, 1, -1)] + [str(APRIL[on][code]) for on in (day(1), day(2))]
    return str(path([Decimal(one) for one in rates]))


@together
async def test_the_texts_have_it_where_it_is_wanted(client: Client) -> None:
    """The path and what it shows, of 30 publications at most; nothing for a currency that has no three."""
    document = await json_of(client, "/v1/ticker?lang=en&spark=1")
    texts = {quote["code"]: quote["text"] for quote in document["quotes"]}
    assert {code: texts[code]["spark"] for code in CODES} == {code: expected(code) for code in CODES}
    assert (texts["CNY"]["spark"], texts["CNY"]["spark_label"]) == (None, None)
    ends = "20 February 2026 to 2 April 2026"
    assert texts["USD"]["spark_label"] == f"30 publications from {ends}: lowest 470.09, highest 479.09"
    assert texts["RUB"]["spark_label"] == f"30 publications from {ends}: lowest 5.87, highest 5.87"
    assert {y for _, y in points(texts["RUB"]["spark"])} == {HEIGHT // 2}


@together
@pytest.mark.parametrize("query", ["", "?spark=1", "?lang=kk", "?lang=kk&spark=0", "?currencies=usd", "?spark=false"])
async def test_json_is_unchanged_without_spark(client: Client, query: str) -> None:
    """No field more than the contract's; without a language there are no texts that could have it."""
    text = await text_of(client, f"/v1/ticker{query}")
    assert "spark" not in text
    assert "history" not in text
    assert text == await text_of(client, f"/v1/ticker{query.replace('spark=', 'x=')}")


@together
@pytest.mark.parametrize("lang", ["kk", "ru", "en", "de", "ar"])
@pytest.mark.parametrize("form", ["/embed", "/v1/ticker.html"])
async def test_a_list_has_it(client: Client, form: str, lang: str) -> None:
    """A picture with its text, the same as in JSON, outside of what is hidden from screen readers; nothing inline."""
    document = await json_of(client, f"/v1/ticker?lang={lang}&spark=1")
    page = await page_of(client, f"{form}?{LIST}&lang={lang}")
    said = [quote["text"] for quote in document["quotes"] if quote["text"]["spark"]]
    lines = found(page, "li > svg[role=img]")
    assert [one(line, "path").attrs["d"] for line in lines] == [text["spark"] for text in said]
    assert [one(line, "title").to_text() for line in lines] == [text["spark_label"] for text in said]
    assert lines[0].attrs["viewBox"] == f"0 0 {WIDTH} {HEIGHT}"
    assert found(page, "[style]") == found(page, "li [aria-hidden] svg") == []
    assert len(lines) == len(CODES)


@together
async def test_only_a_list_that_wants_it_has_it(client: Client) -> None:
    """Off where nothing is said, passed over in the other layouts, and then the very same bytes."""
    for path_ in ("/embed", "/v1/ticker.html", "/v1/ticker.svg"):
        for layout in ("strip", "tape"):
            plain = await text_of(client, f"{path_}?layout={layout}&lang=en")
            assert await text_of(client, f"{path_}?layout={layout}&lang=en&spark=1") == plain
        plain = await text_of(client, f"{path_}?layout=list&lang=en")
        assert "M4 " not in plain
        for said, same in (("spark=0", True), ("spark=false", True), ("spark=no", True), ("spark", False)):
            assert (await text_of(client, f"{path_}?layout=list&lang=en&{said}") == plain) is same
        on = {await text_of(client, f"{path_}?layout=list&lang=en&spark={said}") for said in ("1", "true", "")}
        assert len(on) == 1


@together
@pytest.mark.parametrize("lang", ["en", "ar"])
async def test_a_picture_of_a_list_has_it(client: Client, lang: str) -> None:
    """One column of lines, inside the picture and clear of names and figures; described with the rest."""
    document = await json_of(client, f"/v1/ticker?lang={lang}&spark=1")
    picture = await picture_of(client, f"/v1/ticker.svg?{LIST}&lang={lang}")
    lines = [line for line in picture.findall(f"{SVG}path") if line.get("transform")]
    assert [line.get("d") for line in lines] == [expected(code) for code in CODES]
    places = [str(line.get("transform")).partition(")")[0].removeprefix("translate(").split() for line in lines]
    (left,), tops = {int(x) for x, _ in places}, [int(y) for _, y in places]
    assert tops == [11, 49, 87, 125]
    assert 100 < left < int(str(picture.get("width"))) - WIDTH // 4 - 100
    description = str(picture.findtext(f"{SVG}desc"))
    for quote in document["quotes"]:
        label = quote["text"]["spark_label"]
        assert label is None or f"{quote['text']['sentence']}. {label}. " in description


@together
async def test_a_theme_has_its_line(client: Client) -> None:
    """The colour of what is no news, in light and dark: which way the last change went is not what the line tells."""
    for theme, colour in (("light", "#5b6474"), ("dark", "#98a2b3"), ("transparent", "#5b6474")):
        picture = await picture_of(client, f"/v1/ticker.svg?{LIST}&theme={theme}")
        assert {line.get("stroke") for line in picture.findall(f"{SVG}path") if line.get("transform")} == {colour}


@together
async def test_a_picked_currency_keeps_its_own_line(client: Client) -> None:
    """Order and choice of currencies do not mix the lines up."""
    page = await page_of(client, f"/v1/ticker.html?{LIST}&currencies=gbp,cny,usd")
    assert [line.attrs["d"] for line in found(page, "li path")] == [expected("GBP"), expected("USD")]
