"""`/v1/ticker.png`: drawn once from the SVG, in a process of its own, with the bundled font."""

import asyncio
import itertools
import re
import struct
import unicodedata
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import psutil
import pytest
from aiohttp.test_utils import TestClient
from fontTools.ttLib import TTFont
from structlog.testing import capture_logs

from service.app import create_app
from service.settings import load
from service.web import rendering
from service.web.http.problems import Problem
from service.web.i18n.messages import STRIP, languages
from service.web.rendering.page_cache import _MAX_SLOW_PAGES, _MAX_SLOW_RENDERINGS
from service.web.rendering.png import CHARACTERS, MAX_PIXELS, PngRenderer, is_drawable
from service.web.rendering.resvg import draw
from tests.conftest import Clock, ProductionServer
from tests.support.http import Client, body, until_ready
from tests.support.pages import SVG, picture_of, published, text_of
from tests.support.standin import Banks, serving

FONTS = Path(rendering.__file__).parents[1] / "fonts"
SVG_OF = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-family="sans-serif">'
    '<text y="20">{text}</text></svg>'
)
UNDRAWABLE = {"ar", "zh"}
"""Translated languages whose scripts the font lacks."""

shared_loop = pytest.mark.asyncio(loop_scope="module")


async def png_of(client: Client, query: str = "", path: str = "/v1/ticker.png") -> bytes:
    async with client.get(f"{path}{query}") as response:
        assert (response.status, response.content_type) == (200, "image/png")
        return await response.read()


def size_of(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG, of its header (https://www.w3.org/TR/png-3/#11IHDR)."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


async def size_of_svg(client: Client, query: str) -> tuple[int, int]:
    svg = await picture_of(client, f"/v1/ticker.svg{query}")
    return int(str(svg.get("width"))), int(str(svg.get("height")))


@shared_loop
@pytest.mark.parametrize(
    ("scale", "factor"), [("", 1), ("1", 1), ("2", 2), ("3", 3), ("0", 1), ("9", 3), ("two", 1), ("1.5", 1)]
)
async def test_png_has_the_size_of_the_svg_times_scale(client: Client, scale: str, factor: int) -> None:
    """A scale outside the bounds is moved into them, anything else is 1."""
    for query in ("?layout=strip", "?width=320", "?layout=list&lang=kk&width=240"):
        width, height = await size_of_svg(client, query)
        assert size_of(await png_of(client, f"{query}&scale={scale}")) == (width * factor, height * factor)


@shared_loop
async def test_png_is_cacheable(client: Client) -> None:
    """ETag, 304, HEAD and Cache-Control as for other formats; not compressed again."""
    async with client.get("/v1/ticker/kzt.png", headers={"Accept-Encoding": "gzip"}) as response:
        tag, png = response.headers["ETag"], await response.read()
        assert response.headers["Cache-Control"].startswith("public, max-age=")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert not {"Content-Encoding", "Vary"} & set(response.headers)
    assert png == await png_of(client)
    async with client.head("/v1/ticker.png") as response:
        assert (response.status, response.headers["ETag"]) == (200, tag)
        assert response.headers["Content-Length"] == str(len(png))
    async with client.get("/v1/ticker.png", headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")


@shared_loop
async def test_png_takes_the_options_of_the_svg(client: Client) -> None:
    """Each makes another picture; `auto` is light, since a PNG cannot follow the visitor's colour scheme."""
    default = await png_of(client)
    queries = ("theme=dark", "theme=transparent", "layout=list", "show=rate", "currencies=usd", "lang=kk", "width=320")
    pictures = [await png_of(client, f"?{query}") for query in queries]
    assert len({default, *pictures}) == len(queries) + 1
    assert await png_of(client, "?theme=auto") == await png_of(client, "?theme=light") == default
    async with client.get("/v1/ticker.png?lang=auto", headers={"Accept-Language": "kk"}) as response:
        assert response.headers["Vary"] == "Accept-Language"
        assert await response.read() == pictures[queries.index("lang=kk")]


@shared_loop
@pytest.mark.parametrize("lang", [*languages(STRIP), "ja", "el", "vi", "sv"])
async def test_language_without_glyphs_is_english(client: Client, lang: str) -> None:
    """English texts instead of boxes where the font lacks the script; other languages have their own."""
    for query in ("?layout=list", "?layout=strip"):
        svg = await picture_of(client, f"/v1/ticker.svg{query}&lang={lang}")
        texts = "".join(map(str, chain.from_iterable(text.itertext() for text in svg.findall(f"{SVG}text"))))
        drawable = lang not in UNDRAWABLE | {"ja"}
        assert is_drawable(texts) is drawable
        english = await png_of(client, f"{query}&lang=en")
        assert (await png_of(client, f"{query}&lang={lang}") == english) is (not drawable or lang == "en")


async def rendered(client: Client) -> int:
    metrics = await text_of(client, "/metrics")
    (count,) = re.findall(r"^ticker_pages_rendered_total (\d+)", metrics, re.MULTILINE)
    return int(count)


@shared_loop
async def test_picture_is_drawn_once(client: Client) -> None:
    """However many requests wait for it, or come later."""
    before = await rendered(client)
    pictures = await asyncio.gather(*(png_of(client, f"?width=333&other={number}") for number in range(12)))
    assert len(set(pictures)) == 1
    assert await png_of(client, "?width=333&scale=1", "/v1/ticker/kzt.png") == pictures[0]
    assert await rendered(client) == before + 1


@shared_loop
async def test_many_new_pictures_at_once_are_refused(client: Client) -> None:
    """503 with Retry-After beyond the limit; a refused picture is drawn when it is requested again."""

    async def status(width: int) -> int:
        async with client.get(f"/v1/ticker.png?width={width}") as response:
            if response.status == 503:
                assert response.headers["Retry-After"] == "5"
                assert "Too many concurrent requests for new pages." in await body(response)
            return response.status

    statuses = await asyncio.gather(*map(status, range(400, 430)))
    assert {200, 503} == set(statuses)
    assert await status(400 + statuses.index(503)) == 200


@shared_loop
async def test_least_recently_requested_picture_is_drawn_again(client: Client) -> None:
    """Beyond the number of pictures that are kept. `uncached` makes a URL that the response cache does not have."""
    for width in range(500, 500 + _MAX_SLOW_PAGES):
        await png_of(client, f"?currencies=usd&width={width}")
    await png_of(client, "?currencies=usd&width=500&uncached=0")
    before = await rendered(client)
    for width in (600, 500):
        await png_of(client, f"?currencies=usd&width={width}&uncached=1")
    assert await rendered(client) == before + 1
    await png_of(client, "?currencies=usd&width=501&uncached=1")
    assert await rendered(client) == before + 2


@shared_loop
async def test_evicted_pictures_count_until_they_are_drawn(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for other pages cannot make room for more than eight pictures at once."""
    started, release, draw_now = asyncio.Semaphore(0), asyncio.Event(), PngRenderer.draw

    async def draw_later(self: PngRenderer, svg: bytes) -> bytes:
        started.release()
        await release.wait()
        return await draw_now(self, svg)

    async def status(path: str) -> int:
        async with client.get(path) as response:
            return response.status

    monkeypatch.setattr(PngRenderer, "draw", draw_later)
    drawing = [
        asyncio.create_task(status(f"/v1/ticker.png?width={width}")) for width in range(700, 700 + _MAX_SLOW_RENDERINGS)
    ]
    for _ in drawing:
        await started.acquire()
    codes = itertools.permutations(("usd", "eur", "rub", "gbp", "cny"), 3)
    for feed in itertools.islice(codes, _MAX_SLOW_PAGES + 1):
        assert await status(f"/v1/ticker.atom?currencies={','.join(feed)}") == 200
    assert await status("/v1/ticker.png?width=698") == 503
    release.set()
    assert await asyncio.gather(*drawing) == [200] * _MAX_SLOW_RENDERINGS


@shared_loop
async def test_unknown_ticker_is_a_problem_and_an_unknown_option_is_ignored(client: Client) -> None:
    async with client.get("/v1/ticker/xyz.png") as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    async with client.get("/v1/ticker/kzt.png?currencies=usd,xyz&theme=pink&scale=x") as response:
        assert (response.status, response.content_type) == (200, "image/png")
        assert response.headers["Ticker-Ignored"] == "currencies, theme, scale"


async def test_large_picture_has_a_lower_scale(valkey: str) -> None:
    """A list of all currencies of a bank at scale 3 would take 100 MB while it is drawn; with large text, 30 at 1."""
    codes = ["USD", "EUR", "RUB", "GBP", "CNY", *(f"{first}{last}A" for first in "ABCDEFGH" for last in "BCDEFGH")]
    async with serving(published(Banks())) as banks:
        environ = banks.environ() | {"TICKER_STORE__URL": valkey, "TICKER_STORE__PREFIX": "large png:"}
        settings = load(environ=environ)
        ticker = settings.tickers[0].model_copy(update={"currencies": tuple(codes)})
        app = create_app(
            settings.model_copy(update={"tickers": (ticker,)}), None, Clock(datetime(2026, 4, 2, 4, 0, tzinfo=UTC))
        )
        async with TestClient(ProductionServer(app), auto_decompress=False) as client:
            await until_ready(client)
            query = "?layout=list&width=1280"
            width, height = await size_of_svg(client, query)
            assert width * height * 4 > MAX_PIXELS
            assert size_of(await png_of(client, f"{query}&scale=3")) == (width, height)
            query += "&size=24"
            width, height = await size_of_svg(client, query)
            assert width * height > MAX_PIXELS
            drawn_width, drawn_height = size_of(await png_of(client, query))
            assert 0.9 * MAX_PIXELS < drawn_width * drawn_height <= MAX_PIXELS
            assert drawn_width / drawn_height == pytest.approx(width / height, rel=0.01)


async def test_failure_of_the_renderer_is_reported() -> None:
    """503 for the client, the reason in the log; the next picture is drawn."""
    renderer = PngRenderer()
    with capture_logs() as logs, pytest.raises(Problem, match="Service Unavailable"):
        await renderer.draw(b"<svg")
    (event,) = logs
    assert event["event"] == "picture.failed"
    assert "ValueError" in event["error"]
    assert size_of(await renderer.draw(SVG_OF.format(size=30, text="1").encode())) == (30, 30)


async def test_cancelled_drawing_leaves_no_process() -> None:
    """The process ends with its task, e.g. at a shutdown."""
    before = set(psutil.Process().children())
    drawing = asyncio.create_task(PngRenderer().draw(SVG_OF.format(size=4000, text="1").encode()))
    while not set(psutil.Process().children()) - before:  # noqa: ASYNC110 - no event announces a process
        await asyncio.sleep(0.001)
    drawing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drawing
    assert set(psutil.Process().children()) <= before


def test_bundled_font_has_the_listed_characters() -> None:
    """Regular and bold, with the symbols of directions; its licence is beside it. `make fonts` writes it."""
    available = {path.stem: set(TTFont(path).getBestCmap()) for path in FONTS.glob("*.ttf")}
    assert available["NotoSans-Regular"] == available["NotoSans-Bold"]
    for part in CHARACTERS.replace("U+", "").split(","):
        first, _, last = part.partition("-")
        codes = range(int(first, 16), int(last or first, 16) + 1)
        assigned = {code for code in codes if unicodedata.category(chr(code)) != "Cn"}
        assert assigned <= set().union(*available.values()), part
    assert "SIL OPEN FONT LICENSE Version 1.1" in (FONTS / "OFL.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [*"USDжүқһ▲▼■—−ʻ%"])
def test_bundled_font_is_used(text: str) -> None:
    """Each character leaves a mark, and not that of a missing one."""
    assert draw(SVG_OF.format(size=30, text=text)) not in {
        draw(SVG_OF.format(size=30, text=missing)) for missing in (" ", "\u4e00")
    }


def test_no_other_font_is_used() -> None:
    """A picture does not depend on the fonts of the machine, which have characters that ours lacks."""
    one, other = (draw(SVG_OF.format(size=30, text=missing)) for missing in ("\u4e00", "\u4e8c"))
    assert one == other
