"""`sources try`: fetch the document of a source without code once, and show where its rates come from."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import Result

from service.settings.loader import ROOT
from service.sources.banks.boe import SERIES
from tests.sources.answers import ADAPTERS, CONFIGURED, EXAMPLES, digits, document, documents, response_of
from tests.support.cli import command
from tests.support.ports import unused_port

EXAMPLE_FILES = ROOT / "config" / "examples"
SECRET = "key-0123456789"  # noqa: S105 - of a test
REQUESTED = {
    "uzbekistan": "/en/arkhiv-kursov-valyut/json/all/2026-04-02/",
    "russia": "/scripts/XML_daily.asp?date_req=25/04/2026",
    "norway": "/api/data/EXR/B..NOK.SP?format=csvdata&startPeriod=2026-03-17&endPeriod=2026-03-24",
    "britain": "/boeapps/database/_iadb-fromshowcolumns.asp?CSVF=TN&Datefrom=11/Mar/2026&Dateto=18/Mar/2026"
    f"&SeriesCodes={','.join(SERIES)}&UsingCodes=Y&csv.x=yes",
}
"""The path that is requested for the last date in the document."""
SHOP = """
[sources.shop]
adapter = "http"
window = "09:00-10:00"
name = "Shop"
base = "KZT"
url = "{url}/rates?on={{date:%d.%m.%Y}}&key={{secret}}"
timezone = "Asia/Almaty"
format = "csv"
date = "date"
currency = "code"
value = "rate"
may_be_missing = true
"""


@asynccontextmanager
async def serving(body: bytes, status: int = 200) -> AsyncIterator[tuple[str, list[str]]]:
    """Run a bank that sends one document; yield its URL and the requested paths."""
    targets = list[str]()

    async def respond(request: web.Request) -> web.Response:
        targets.append(request.raw_path)
        return web.Response(body=body, status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    async with TestServer(app, shutdown_timeout=0) as server:
        yield f"http://127.0.0.1:{server.port}", targets


async def tried(file: Path, *options: str, **environ: str) -> Result:
    return await asyncio.to_thread(command, environ, "sources", "try", str(file), *options)


@pytest.mark.parametrize("key", EXAMPLES)
async def test_every_rate_is_shown_with_its_cells(key: str) -> None:
    """Of the examples, against a bank that sends its recorded document; as JSON too."""
    (path, *_) = documents(key)
    file = EXAMPLE_FILES / f"{EXAMPLES[key]}.toml"
    parsed = ADAPTERS[key].parse(response_of(key, path.read_bytes()))
    source, on = CONFIGURED[key], str(parsed[-1].date)
    async with serving(path.read_bytes()) as (url, targets):
        environ = {f"TICKER_SOURCES__{key.upper()}__URL": url + source.url.removeprefix(source.base_url)}
        text, printed = [await tried(file, "--date", on, *more, **environ) for more in ((), ("--json",))]
    assert targets == [REQUESTED[key]] * 2
    assert (text.exit_code, printed.exit_code, text.stderr, printed.stderr) == (0, 0, "", "")
    shown = json.loads(printed.stdout)
    rates = {(rate["date"], rate["currency"]): rate for rate in shown["rates"]}
    assert len(rates) == sum(len(fixing.rates) for fixing in parsed)
    lines = text.stdout.splitlines()
    for fixing in parsed:
        for code, rate in fixing.rates.items():
            cells = rates[str(fixing.date), code]["cells"]
            assert cells["value"]["text"].replace(",", ".") == digits(fixing)[code][0] == str(rate.value)
            for cell in cells.values():
                assert any(cell["text"] in line and cell["place"] in line for line in lines)
    assert (shown["source"], shown["left_out"], shown["direction"]) == (key, [], source.direction)


async def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    """The rates beside it are shown, and the exit status is that of success."""
    file = tmp_path / "shop.toml"
    body = b"date,code,rate\n2026-04-02,USD,475.09\n2026-04-02,EUR,n/a\n"
    async with serving(body) as (url, targets):
        file.write_text(SHOP.format(url=url))
        text = await tried(file, "--date", "2026-04-02", TICKER_SOURCES__SHOP__SECRET=SECRET)
        printed = await tried(file, "--json", "--source", "shop", TICKER_SOURCES__SHOP__SECRET=SECRET)
    assert targets[0] == f"/rates?on=02.04.2026&key={SECRET}"
    problem = "has 'n/a' where a number is expected for EUR on 2026-04-02"
    assert f"left out: {problem}" in text.stdout
    assert "line 2, column 3 (rate)" in text.stdout
    shown = json.loads(printed.stdout)
    assert (shown["left_out"], [rate["currency"] for rate in shown["rates"]]) == ([problem], ["USD"])
    assert (shown["rates"][0]["value"], shown["bytes"]) == (475.09, len(body))
    assert (text.exit_code, printed.exit_code) == (0, 0)
    assert SECRET not in text.output + printed.output
    assert "key={secret}" in text.output


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        (b"date,code,rate\n2026-04-02,USD,n/a\n", 200, "has 'n/a' where a number is expected for USD on 2026-04-02"),
        (
            b"date,code,rate\n2026-04-02,USD,n/a\n2026-04-02,EUR,551.06\n2026-04-02,GBP,-\n",
            200,
            "has 'n/a' where a number is expected for USD on 2026-04-02; 2 of 3 rates could not be read",
        ),
        (b"<html>", 200, "the response is an HTML page"),
        (b"", 404, "nothing is published for 2026-04-02 (status 404); choose another date by --date"),
        (b"", 500, "responded with status 500"),
        (b"", 301, "responded with status 301"),
    ],
)
async def test_failure_is_one_line(tmp_path: Path, body: bytes, status: int, problem: str) -> None:
    """One request, exit status 1."""
    file = tmp_path / "shop.toml"
    async with serving(body, status) as (url, targets):
        file.write_text(SHOP.format(url=url))
        result = await tried(file, "--date", "2026-04-02", TICKER_SOURCES__SHOP__SECRET=SECRET)
    assert (result.exit_code, result.stdout, len(targets)) == (1, "", 1)
    assert result.stderr.startswith("error: shop: ")
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1
    assert SECRET not in result.stderr


async def test_unreachable_source_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(SHOP.format(url=f"http://127.0.0.1:{unused_port()}"))
    result = await tried(file, TICKER_SOURCES__SHOP__SECRET=SECRET)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("error: shop: request failed: Cannot connect to host 127.0.0.1")


async def test_document_without_rates_is_a_failure(tmp_path: Path) -> None:
    """It may be correct, but shows nothing of the settings."""
    file = tmp_path / "shop.toml"
    async with serving(document("cbu", "nothing.json")) as (url, _):
        environ = {"TICKER_SOURCES__UZBEKISTAN__URL": f"{url}/{{date}}"}
        result = await tried(EXAMPLE_FILES / "cbu.toml", **environ)
    assert (result.exit_code, file.exists()) == (1, False)
    assert result.stderr == "error: uzbekistan: the document has no rates; choose another date by --date\n"


@pytest.mark.parametrize(
    ("more", "options", "problem"),
    [
        ("", (), "sources.shop: secret is required, since url or headers have {secret}"),
        ('secret = "key-0123456789"\nrows = "[?"', (), "sources.shop.rows: is not a JMESPath"),
        (
            'secret = "key-0123456789"',
            ("--source", "nbk"),
            'sources.nbk: has code; only a source with adapter = "http"',
        ),
        ('secret = "key-0123456789"', ("--source", "x"), "unknown source 'x' (known: "),
        ('secret = "key-0123456789"', ("--date", "today"), "must be a date like 2026-04-02"),
        ('secret = "key-0123456789"\n[tickers]', (), "tickers: must be a list"),
    ],
)
async def test_invalid_settings_have_exit_status_2(
    tmp_path: Path, more: str, options: tuple[str, ...], problem: str
) -> None:
    """Nothing is requested."""
    file = tmp_path / "shop.toml"
    file.write_text(SHOP.format(url="http://127.0.0.1:1") + more)
    result = await tried(file, *options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert problem in result.stderr
    assert SECRET not in result.output


async def test_source_is_chosen_among_several(tmp_path: Path) -> None:
    """By default it is the only one without code."""
    file = tmp_path / "shops.toml"
    both = SHOP.replace("{{secret}}", "1") + SHOP.replace("{{secret}}", "2").replace("sources.shop", "sources.other")
    async with serving(b"date,code,rate\n2026-04-02,USD,475.09\n") as (url, targets):
        file.write_text(both.format(url=url))
        unclear, chosen = await tried(file), await tried(file, "--source", "other")
        none = await tried(ROOT / "config" / "example.toml")
    assert (unclear.exit_code, none.exit_code, chosen.exit_code) == (2, 2, 0)
    assert "the configuration has several (shop, other); choose one by --source" in unclear.stderr
    assert "the configuration has none" in none.stderr
    assert [target[-1] for target in targets] == ["2"]


@pytest.mark.parametrize("key", EXAMPLES)
async def test_configuration_is_checked_without_showing_its_secret(key: str) -> None:
    """`check-config` compiles the paths."""
    variable = f"TICKER_SOURCES__{key.upper()}"
    environ = {f"{variable}__SECRET": SECRET, f"{variable}__HEADERS": '{"X-Key": "{secret}"}'}
    file = str(EXAMPLE_FILES / f"{EXAMPLES[key]}.toml")
    checked = await asyncio.to_thread(command, environ, "check-config", file)
    assert checked.exit_code == 0
    broken = await asyncio.to_thread(command, environ | {f"{variable}__ROWS": "//a["}, "check-config", file)
    assert (broken.exit_code, broken.stderr.partition(": is not ")[0]) == (2, f"error: sources.{key}.rows")
    assert SECRET not in checked.output + broken.output
