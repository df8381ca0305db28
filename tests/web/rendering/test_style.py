"""Custom style of frames and images: `surface`, `ink`, `up`, `down`, `size`, `radius`, `font`, `speed`."""

from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import pytest
from yarl import URL

from service.domain.snapshot import Status
from service.web.rendering.formats import View, sayer
from service.web.rendering.options import Options
from service.web.rendering.style import STYLE, colours, style_sheet
from service.web.rendering.svg import drawn
from tests.support.http import Client, body
from tests.support.pages import SVG, json_of, page_of, picture_of, select, select_one, text_of
from tests.support.snapshots import NBK, SETTINGS, snapshot_of

shared_loop = pytest.mark.asyncio(loop_scope="module")
QUERY = "surface=FFFDF5&ink=222222&up=0a7a3d&down=b3261e&size=18&radius=0&font=serif&speed=60"


@shared_loop
async def test_frame_has_custom_properties_that_its_policy_permits(client: Client) -> None:
    async with client.get(f"/embed?{QUERY}") as response:
        policy = response.headers["Content-Security-Policy"]
        assert "Ticker-Ignored" not in response.headers
    sheet = select_one(await page_of(client, f"/embed?{QUERY}"), "style").to_text()
    assert sheet == (
        ":root{--ticker-surface:#fffdf5;--ticker-ink:#222222;--ticker-up:#0a7a3d;--ticker-down:#b3261e;"
        "--ticker-soft:#595957;--ticker-line:#dedcd5;--ticker-warn:#222222;--ticker-size:1.125rem;"
        "--ticker-family:Georgia,serif;--ticker-radius:0px;--ticker-speed:60s}"
    )
    digest = b64encode(sha256(sheet.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{digest}';" in policy
    assert "unsafe" not in policy


@shared_loop
async def test_frame_without_own_style_has_no_style_sheet(client: Client) -> None:
    for query in ("", "?size=&ink=", "?font=system"):
        assert select(await page_of(client, f"/embed{query}"), "style") == []
        async with client.get(f"/embed{query}") as response:
            assert "style-src 'self'; " in response.headers["Content-Security-Policy"]


@shared_loop
async def test_image_has_attributes(client: Client) -> None:
    """Colours, size, radius and font; no styles, which policies and e-mail clients refuse."""
    plain, own = await picture_of(client, "/v1/ticker.svg"), await picture_of(client, f"/v1/ticker.svg?{QUERY}")
    assert own.get("viewBox") == plain.get("viewBox")
    for side in ("width", "height"):
        assert int(own.get(side, "")) == round(int(plain.get(side, "")) * 18 / 15)
    assert own.get("font-family") == "Georgia,serif"
    box = own.find(f"{SVG}rect")
    assert box is not None
    assert dict(box.attrib).items() >= {"rx": "0", "fill": "#fffdf5", "stroke": "#dedcd5"}.items()
    inks = {run.get("fill") for run in own.iter(f"{SVG}tspan")}
    assert inks == {"#222222", "#0a7a3d", "#b3261e", "#595957"}
    assert "style" not in await text_of(client, f"/v1/ticker.svg?{QUERY}")


@shared_loop
async def test_png_is_as_large_as_the_image(client: Client) -> None:
    """With its width wrapped, it stays as wide as requested."""
    for query, width in (("size=24", None), ("size=24&width=320&scale=2", 640)):
        svg = await picture_of(client, f"/v1/ticker.svg?{query}")
        async with client.get(f"/v1/ticker.png?{query}&surface=102030&ink=ffffff") as response:
            header = (await response.read())[:24]
        scale = 2 if width else 1
        assert int.from_bytes(header[16:20]) == int(svg.get("width", "")) * scale
        assert int(svg.get("width", "")) * scale == pytest.approx(width or int(svg.get("width", "")), abs=scale)


@shared_loop
async def test_radius_of_an_image_is_in_displayed_pixels(client: Client) -> None:
    box = (await picture_of(client, "/v1/ticker.svg?size=12&radius=8")).find(f"{SVG}rect")
    assert box is not None
    assert box.get("rx") == "10"


@shared_loop
@pytest.mark.parametrize(
    "value",
    [
        "surface=fff", "surface=red", "ink=%23222222", "up=12345g", "down=1234567", "ink=222222;}", "size=11",
        "size=25", "size=15px", "size=%D9%A1%D9%A5", "size=-1", "size=015", "radius=25", "radius=1.5", "font=Comic",
        "speed=9", "speed=121", "speed=60%0A", "surface=%3C/style%3E",
    ],
)  # fmt: skip
async def test_invalid_values_are_ignored_and_reported(client: Client, value: str) -> None:
    name = value.partition("=")[0]
    for path in ("/embed", "/v1/ticker.svg"):
        if (name, path) == ("speed", "/v1/ticker.svg"):
            continue
        async with client.get(f"{path}?lang=en&{value}") as response:
            assert response.headers["Ticker-Ignored"] == name
            assert "--ticker" not in await body(response)


@shared_loop
async def test_oembed_keeps_the_style_and_its_size(client: Client) -> None:
    """The frame is as high as the larger row."""
    url = str(client.make_url("")).rstrip("/")
    for layout in ("strip", "list", "tape"):
        sizes = []
        for size in (15, 24):
            query = {"url": f"{url}/embed?layout={layout}&size={size}"}
            document = await json_of(client, str(URL.build(path="/oembed", query=query)))
            assert f"size={size}" in document["html"]
            sizes.append(document["height"])
        assert sizes[1] == pytest.approx(sizes[0] * 24 / 15, abs=1)


def test_image_of_sample_data_keeps_its_colours() -> None:
    """Words mark it; grey is for outdated rates."""
    snapshot = snapshot_of(nbk=NBK)
    texts = sayer(snapshot, SETTINGS)
    for status, inks in ((Status.CURRENT, {"up", "down"}), (Status.RECORDED, {"up", "down"}), (Status.STALE, {"soft"})):
        view = View(replace(snapshot, status=status), SETTINGS, Options(), texts)
        picture = drawn(view.snapshot, *view.texts, view.options, {})
        shown = {run.ink for text in picture.texts for run in text.runs if run.text.endswith("%")}
        assert shown & {"up", "down", "soft"} == inks


def test_neutral_colours_are_mixed_only_from_both() -> None:
    assert colours({"ink": "000000"}) == {"ink": "#000000"}
    assert colours({"ink": "000000", "surface": "ffffff"})["soft"] == "#404040"


def test_every_parameter_has_a_rule() -> None:
    values = {"size": "12", "radius": "1", "font": "mono", "speed": "10"}
    for name in STYLE:
        assert style_sheet({name: values.get(name, "123456")}).startswith(":root{--ticker-")
