"""The described interface: what it says is what there is, and schemathesis finds nothing."""

import asyncio
import gzip
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from aiohttp.test_utils import make_mocked_request
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from service.settings import Settings
from service.settings.loader import ROOT
from service.state.memory import MemoryState
from service.web.api.fixings import receipt
from service.web.openapi import generate
from service.web.openapi.docs import DESCRIPTION, described
from service.web.rendering.formats import to_json
from tests.conftest import Started
from tests.support.fixings import APRIL, day, fixing, later
from tests.support.http import Client, body, until_ready
from tests.support.standin import Banks, nbk
from tests.support.wait import until

Json = dict[str, Any]
DOCUMENT: Json = json.loads(DESCRIPTION.read_bytes())
SCHEMAS: Json = DOCUMENT["components"]["schemas"]
PUBLIC = "https://ticker.example"
EXAMPLES = {
    "ticker": "kzt",
    "currency": "usd",
    "source": "nbk",
    "date": "2026-04-02",
    "hash": "0123456789ab",
    "name": "page.css",
}
JSON = {
    "/v1/ticker": ["", "?lang=kk", "?lang=kk&spark=1", "?currencies=zzz"],
    "/v1/ticker.json": [""],
    "/v1/ticker/{ticker}": [""],
    "/v1/ticker/{ticker}.json": [""],
    "/v1/history/{currency}": ["", "?from=2026-04-02&to=2026-04-01", "?ticker=zzz"],
    "/v1/history/{currency}.json": [""],
    "/v1/fixings/{source}/{date}": [""],
    "/v1/sources": [""],
    "/oembed": [f"?url={PUBLIC}/embed", "", "?url=https://foreign.example/", f"?url={PUBLIC}/embed&format=xml"],
    "/livez": [""],
    "/readyz": [""],
    "/health": [""],
    "/openapi.json": [""],
}
"""Every path that answers as JSON, and queries for its different replies."""
LONG = bool(os.environ.get("INTERFACE_LONG"))
HOW = ["--max-examples", "300"] if LONG else ["--max-examples", "15", "--generation-deterministic"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings of two tickers, and where readers see the service: by that /oembed knows what is its own."""
    http = settings.http.model_copy(update={"public_url": PUBLIC})
    tickers = (settings.tickers[0], settings.tickers[0].model_copy(update={"id": "two", "currencies": ("CNY", "USD")}))
    return settings.model_copy(update={"http": http, "tickers": tickers})


@pytest.fixture
async def client(start: Started, banks: Banks) -> Client:
    """Return a client of a service in which much is wrong.

    A bank's own changes are not those that we compute, a rate of its next fixing is quarantined, all other banks fail.
    """
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    changes = {"USD": "-3.86", "EUR": "2.44", "RUB": "0.00", "GBP": "-0.11", "CNY": "-0.19"}
    banks.faults["fdate=02.04.2026"] = nbk(day(2), APRIL[day(2)], changes)
    banks.published["nbk"] = {**APRIL, day(3): {**APRIL[day(2)], "USD": "900.00"}}
    client = await start()
    await until_ready(client)

    async def quarantined() -> bool:
        async with client.get("/health") as response:
            return "is quarantined" in await body(response)

    await until(quarantined)
    return client


def resolved(part: Json) -> Json:
    """Return a part of the document, or what it refers to."""
    while "$ref" in part:
        kind, name = part["$ref"].split("/")[2:]
        part = DOCUMENT["components"][kind][name]
    return part


def mistakes(schema: Json, value: object) -> list[str]:
    validator = jsonschema_rs.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, validate_formats=True
    )
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


def optional(schema: Json, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields that a value has and might have left out, each with the name of its schema."""
    name, part = schema.get("$ref", "").rpartition("/")[2], resolved(schema)
    for branch in part.get("anyOf", ()):
        yield from optional(branch, value)
    if isinstance(value, list):
        for one in value:
            yield from optional(part.get("items", {}), one)
    if isinstance(value, dict):
        for key, one in value.items():
            if key in part.get("properties", {}):
                if key not in part["required"]:
                    yield name, key
                yield from optional(part["properties"][key], one)
            elif isinstance(part.get("additionalProperties"), dict):
                yield from optional(part["additionalProperties"], one)


def test_it_is_written_from_the_models() -> None:
    """The file that is served is what `make docs` writes of the code as it is."""
    assert generate.document() == DOCUMENT


def test_it_is_openapi() -> None:
    """Valid by the schema of OpenAPI 3.1, its schemas by that of JSON Schema; each reference leads somewhere."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    references = re.findall('"#/components/([^"/]+)/([^"]+)"', json.dumps(DOCUMENT))
    assert len(references) > 100
    for kind, name in references:
        assert DOCUMENT["components"][kind][name]


async def test_it_has_every_route(client: Client) -> None:
    """What is described is routed, and what is routed is described."""
    router, reached = client.app.router, set()
    for path in DOCUMENT["paths"]:
        found = await router.resolve(make_mocked_request("GET", path.format_map(EXAMPLES)))
        assert found.route.resource is not None
        reached.add(found.route.resource)
    assert [one.canonical for one in router.resources() if one not in reached] == ["/{path}"]


async def test_replies_are_as_described(client: Client) -> None:
    """Each JSON reply has the fields of its schema, no others, and what may be left out is sent somewhere."""
    assert JSON.keys() == {
        path
        for path, item in DOCUMENT["paths"].items()
        if any(kind.endswith("json") for kind in item["get"]["responses"]["200"].get("content", {}))
    }
    sent = set()
    for path, queries in JSON.items():
        for query in queries:
            async with client.get(path.format_map(EXAMPLES) + query) as response:
                value, status = json.loads(await body(response)), str(response.status)
            reply = resolved(DOCUMENT["paths"][path]["get"]["responses"][status])
            schema = reply["content"][response.content_type]["schema"]
            assert mistakes(schema, value) == [], path + query
            for name, header in reply["headers"].items():
                told = resolved(header)
                if name in response.headers or told["required"]:
                    assert mistakes(told["schema"], response.headers[name]) == [], (path, name)
            sent |= set(optional(schema, value))
    described = {(name, field) for name, schema in SCHEMAS.items() for field in schema.get("properties", {})} - {
        (name, field) for name, schema in SCHEMAS.items() for field in schema.get("required", [])
    }
    assert sent == described


def test_a_receipt_with_revisions_is_as_described(settings: Settings) -> None:
    """What a bank said before has the fields of a fixing, without those of a receipt."""
    before, new = fixing(day(1), USD="478.77"), fixing(day(2), USD=("475.10", 100))
    others = MemoryState(settings).cross_check
    document = receipt(later(new).with_revision_of(new), before, settings.sources["nbk"], others)
    value = json.loads(to_json(document))
    assert len(value["revisions"]) == 1
    assert mistakes({"$ref": "#/components/schemas/Receipt"}, value) == []


async def test_other_errors_are_as_described(client: Client) -> None:
    """404 and 405, though of no path: a problem document; and nobody is told to wait for what he expects."""
    for method, path, headers, status in (
        ("GET", "/nowhere", {}, 404),
        ("GET", "/no%0Awhere", {}, 404),
        ("POST", "/v1/ticker", {}, 405),
        ("GET", "/nowhere", {"Expect": "the impossible"}, 404),
    ):
        async with client.request(method, path, headers=headers) as response:
            assert (response.status, response.content_type) == (status, "application/problem+json")
            assert mistakes({"$ref": "#/components/schemas/Problem"}, await response.json(content_type=None)) == []
    async with client.get("/v1/ticker.txt", headers={"Expect": "the impossible"}) as response:
        assert response.status == 200


def test_it_names_what_there_is_to_choose_from(settings: Settings) -> None:
    """The tickers, currencies and sources of these settings, an address of ours; and it is still OpenAPI."""
    euro = settings.tickers[0].model_copy(update={"id": "eur", "base": "EUR", "currencies": ("USD", "KZT")})
    document = described(settings.model_copy(update={"tickers": (settings.tickers[0], euro)}))
    parameters = document["components"]["parameters"]
    assert parameters["ticker"]["schema"]["enum"] == ["", "kzt", "eur"]
    assert parameters["id"]["schema"]["enum"] == ["kzt", "eur"]
    codes = ("USD", "EUR", "RUB", "GBP", "CNY", "KZT")
    assert parameters["currency"]["schema"]["enum"] == [code for one in codes for code in (one.lower(), one)]
    # Only what every ticker has is accepted by each.
    for asked, taken in {"usd": True, "USD,usd": True, "": True, "kzt": False, "usd,eur": False}.items():
        assert bool(re.fullmatch(parameters["currencies"]["schema"]["pattern"], asked)) is taken
    assert parameters["source"]["schema"]["enum"] == list(settings.polled)
    assert parameters["url"]["example"] == f"{PUBLIC}/embed"
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []


async def test_the_page_is_locked_down(client: Client) -> None:
    """Its policy is that of the other pages of ours, and nothing of it stands in the page itself."""
    async with client.get("/docs") as response:
        page, headers = await body(response), response.headers
    async with client.get("/") as response:
        assert headers["Content-Security-Policy"] == response.headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert page.count("<script") == page.count("></script>") == 2
    assert "<style" not in page
    assert not re.search(r'(?:src|href)="(?:/|\w+:)', page)  # all of it works behind a prefix too


@pytest.mark.parametrize("kind", ["js", "css"])
async def test_the_viewer_is_as_it_was_released(client: Client, kind: str) -> None:
    """Kept by browsers for good, packed or not, under a name of its own."""
    async with client.get("/docs") as response:
        (path,) = re.findall(rf'"(static/viewer/[^"]+\.{kind})"', await body(response))
    async with client.get(f"/{path}", headers={"Accept-Encoding": "identity"}) as response:
        plain, headers = await response.read(), response.headers
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["Content-Length"] == str(len(plain))
    assert (headers["Vary"], "Content-Encoding" in headers) == ("Accept-Encoding", False)
    async with client.get(f"/{path}", headers={"Accept-Encoding": "gzip"}) as response:
        packed = await response.read()
        assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("gzip", "Accept-Encoding")
        assert response.headers["ETag"] != headers["ETag"]
    assert gzip.decompress(packed) == plain
    async with client.get(
        f"/{path}", headers={"Accept-Encoding": "gzip", "If-None-Match": response.headers["ETag"]}
    ) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with client.head(f"/{path}", headers={"Accept-Encoding": "gzip"}) as response:
        assert (response.headers["Content-Length"], await response.read()) == (str(len(packed)), b"")
    async with client.get("/static/viewer/other.js") as response:
        assert response.status == 404


def test_the_viewer_is_the_one_of_the_makefile() -> None:
    """The release that `make viewer` names, with its licences beside it."""
    folder = ROOT / "service" / "web" / "viewer"
    release = re.search(r"^VIEWER := (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert release
    script = gzip.decompress((folder / "swagger-ui-bundle.js.gz").read_bytes()).decode()
    assert f'PACKAGE_VERSION:"{release[1]}"' in script
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert (folder / "NOTICE").is_file()
    assert (folder / "swagger-ui-bundle.js.LICENSE.txt").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800 if LONG else 300)
async def test_schemathesis_finds_nothing(client: Client, tmp_path: Path) -> None:
    """All checks, all routes: what is allowed is accepted, what is not is refused, every answer is as described."""
    address = str(client.make_url("/openapi.json"))
    asking = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).parent / "st", "--no-color", "--config-file", ROOT / "schemathesis.toml"),
        *("run", address, *HOW),
        cwd=tmp_path, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    told = (await asking.communicate())[0].decode()
    print(told)  # noqa: T201 - for `make interface ARGS=-s`
    assert asking.returncode == 0, told
    assert f"Tested: {len(DOCUMENT['paths'])}" in told
