"""The OpenAPI description matches the service, and schemathesis finds no problems."""

import asyncio
import gzip
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from aiohttp.test_utils import make_mocked_request

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
    "/v1/ticker": ["", "?lang=kk", "?lang=kk&spark=1", "?currencies=zzz", "?on=2026-04-02", "?on=1999-01-01"],
    "/v1/ticker.json": [""],
    "/v1/ticker/{ticker}": [""],
    "/v1/ticker/{ticker}.json": [""],
    "/v1/history/{currency}": ["", "?from=2026-04-02&to=2026-04-01", "?ticker=zzz"],
    "/v1/history/{currency}.json": [""],
    "/v1/chart/{currency}": ["", "?lang=kk", "?ticker=zzz"],
    "/v1/chart/{currency}.json": [""],
    "/v1/rates/{date}": ["", "?currencies=zzz", "?ticker=try"],
    "/v1/convert": ["?from=usd&to=kzt", "", "?from=usd&to=kzt&on=1999-01-01"],
    "/v1/fixings/{source}/{date}": [""],
    "/v1/sources": [""],
    "/oembed": [f"?url={PUBLIC}/embed", "", "?url=https://foreign.example/", f"?url={PUBLIC}/embed&format=xml"],
    "/custom-elements.json": [""],
    "/livez": [""],
    "/readyz": [""],
    "/health": [""],
    "/openapi.json": [""],
}
"""Every path with JSON responses, and queries for its different responses."""
TWO_SIDED = {
    "/v1/ticker/{ticker}": "/v1/ticker/try?lang=kk",
    "/v1/fixings/{source}/{date}": "/v1/fixings/tcmb/2026-04-01",
}
"""Responses with buying and selling rates."""
LONG = bool(os.environ.get("INTERFACE_LONG"))
EXAMPLE_OPTIONS = ["--max-examples", "300"] if LONG else ["--max-examples", "15", "--generation-deterministic"]


def openapi_errors(document: Json) -> list[str]:
    """Return the errors of a description by the schema of OpenAPI 3.1, whose import takes a second."""
    definitions = import_module("schemathesis.specs.openapi.definitions")
    return [str(error) for error in definitions.OPENAPI_31_VALIDATOR.iter_errors(document)]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings of three tickers with a public URL, by which /oembed recognises its own pages."""
    http = settings.http.model_copy(update={"public_url": PUBLIC})
    first = settings.tickers[0]
    two = first.model_copy(update={"id": "two", "currencies": ("CNY", "USD")})
    lira = first.model_copy(update={"id": "try", "base": "TRY", "currencies": ("USD",), "sources": ("tcmb",)})
    tickers = (first, two, lira)
    polled = {**settings.polled, "tcmb": settings.sources["tcmb"]}  # cached: a copy has that of the default tickers
    return settings.model_copy(update={"http": http, "tickers": tickers, "polled": polled})


@pytest.fixture
async def client(start: Started, banks: Banks) -> Client:
    """Return a client of a service with many problems.

    Changes published by a bank differ from the computed ones, a rate of its next fixing is quarantined, and all other
    banks fail.
    """
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    changes = {"USD": "-3.86", "EUR": "2.44", "RUB": "0.00", "GBP": "-0.11", "CNY": "-0.19"}
    banks.faults["fdate=02.04.2026"] = nbk(day(2), APRIL[day(2)], changes)
    banks.published["nbk"] = {**APRIL, day(3): {**APRIL[day(2)], "USD": "900.00"}}
    banks.published["tcmb"] = {day(31, 3): {"USD": "43.9001/43.9791"}, day(1): {"USD": "43.8172/43.8962"}}
    client = await start()
    await until_ready(client)

    async def has_lira() -> bool:
        async with client.get("/v1/ticker/try") as response:
            return response.status == 200

    await until(has_lira)

    async def quarantined() -> bool:
        async with client.get("/health") as response:
            return "is quarantined" in await body(response)

    await until(quarantined)
    return client


def resolved(part: Json) -> Json:
    """Resolve the references of a part of the document."""
    while "$ref" in part:
        kind, name = part["$ref"].split("/")[2:]
        part = DOCUMENT["components"][kind][name]
    return part


def violations(schema: Json, value: object) -> list[str]:
    """Return the violations of a schema."""
    validator = jsonschema_rs.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, validate_formats=True
    )
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


def optional_fields(schema: Json, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the optional fields that a value has, each with the name of its schema."""
    name, part = schema.get("$ref", "").rpartition("/")[2], resolved(schema)
    for branch in part.get("anyOf", ()):
        yield from optional_fields(branch, value)
    if isinstance(value, list):
        for item in value:
            yield from optional_fields(part.get("items") or {}, item)
    if isinstance(value, dict):
        for key, item in value.items():
            if key in part.get("properties", {}):
                if key not in part["required"]:
                    yield name, key
                yield from optional_fields(part["properties"][key], item)
            elif isinstance(part.get("additionalProperties"), dict):
                yield from optional_fields(part["additionalProperties"], item)


def test_description_is_generated_from_the_models() -> None:
    """The served file equals the output of `make docs`."""
    assert generate.document() == DOCUMENT


def test_description_is_valid_openapi() -> None:
    """Valid by the schemas of OpenAPI 3.1 and JSON Schema; all references resolve."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert openapi_errors(DOCUMENT) == []
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    references = re.findall('"#/components/([^"/]+)/([^"]+)"', json.dumps(DOCUMENT))
    assert len(references) > 100
    for kind, name in references:
        assert DOCUMENT["components"][kind][name]


async def test_description_has_every_route(client: Client) -> None:
    """Every described path is routed, and every route is described."""
    router, reached = client.app.router, set()
    for path in DOCUMENT["paths"]:
        match = await router.resolve(make_mocked_request("GET", path.format_map(EXAMPLES)))
        assert match.route.resource is not None
        reached.add(match.route.resource)
    assert [resource.canonical for resource in router.resources() if resource not in reached] == ["/{path}"]


async def test_responses_match_their_schemas(client: Client, settings: Settings) -> None:
    """No undescribed fields; every optional field occurs in a response, or in the receipt of entered rates."""
    assert JSON.keys() == {
        path
        for path, item in DOCUMENT["paths"].items()
        if any(kind.endswith("json") for kind in item["get"]["responses"]["200"].get("content", {}))
    }
    sent = set()
    for path, queries in JSON.items():
        requests = [path.format_map(EXAMPLES) + query for query in queries]
        for request in [*requests, TWO_SIDED[path]] if path in TWO_SIDED else requests:
            async with client.get(request) as response:
                value, status = json.loads(await body(response)), str(response.status)
            expected = resolved(DOCUMENT["paths"][path]["get"]["responses"][status])
            schema = expected["content"][response.content_type]["schema"]
            assert violations(schema, value) == [], request
            for name, header in expected["headers"].items():
                specification = resolved(header)
                if name in response.headers or specification["required"]:
                    assert violations(specification["schema"], response.headers[name]) == [], (path, name)
            sent |= set(optional_fields(schema, value))
    entered = replace(fixing(day(2), USD="475.10"), entered_by="Aigul")
    revised = later(entered).with_revision_of(entered)
    value = json.loads(to_json(receipt(revised, None, settings.sources["nbk"], MemoryState(settings).cross_check)))
    reference = {"$ref": "#/components/schemas/Receipt"}
    assert violations(reference, value) == []
    sent |= set(optional_fields(reference, value))
    described = {(name, field) for name, schema in SCHEMAS.items() for field in schema.get("properties", {})} - {
        (name, field) for name, schema in SCHEMAS.items() for field in schema.get("required", [])
    }
    assert sent == described


def test_receipt_with_revisions_matches_its_schema(settings: Settings) -> None:
    """Revisions have the fields of a fixing, without those of a receipt."""
    before, new = fixing(day(1), USD="478.77"), fixing(day(2), USD=("475.10", 100))
    cross_check = MemoryState(settings).cross_check
    document = receipt(later(new).with_revision_of(new), before, settings.sources["nbk"], cross_check)
    value = json.loads(to_json(document))
    assert len(value["revisions"]) == 1
    assert violations({"$ref": "#/components/schemas/Receipt"}, value) == []


async def test_errors_outside_the_paths_match_the_schema(client: Client) -> None:
    """404 and 405 are problem documents, and `Expect` is ignored instead of causing 417."""
    for method, path, headers, status in (
        ("GET", "/nowhere", {}, 404),
        ("GET", "/no%0Awhere", {}, 404),
        ("POST", "/v1/ticker", {}, 405),
        ("GET", "/nowhere", {"Expect": "the impossible"}, 404),
    ):
        async with client.request(method, path, headers=headers) as response:
            assert (response.status, response.content_type) == (status, "application/problem+json")
            assert violations({"$ref": "#/components/schemas/Problem"}, await response.json(content_type=None)) == []
    async with client.get("/v1/ticker.txt", headers={"Expect": "the impossible"}) as response:
        assert response.status == 200


def test_description_lists_the_configured_values(settings: Settings) -> None:
    """Tickers, currencies and sources of the settings, and our URL; it is still valid OpenAPI."""
    euro = settings.tickers[0].model_copy(update={"id": "eur", "base": "EUR", "currencies": ("USD", "KZT")})
    document = described(settings.model_copy(update={"tickers": (settings.tickers[0], euro)}))
    parameters = document["components"]["parameters"]
    assert parameters["ticker"]["schema"]["enum"] == ["", "kzt", "eur"]
    assert parameters["id"]["schema"]["enum"] == ["kzt", "eur"]
    codes = ("USD", "EUR", "RUB", "GBP", "CNY", "KZT")
    assert parameters["currency"]["schema"]["enum"] == [spelling for code in codes for spelling in (code.lower(), code)]
    # Only currencies of every ticker are accepted by each of them.
    for value, accepted in {"usd": True, "USD,usd": True, "": True, "kzt": False, "usd,eur": False}.items():
        assert bool(re.fullmatch(parameters["currencies"]["schema"]["pattern"], value)) is accepted
    assert parameters["source"]["schema"]["enum"] == list(settings.polled)
    assert parameters["url"]["example"] == f"{PUBLIC}/embed"
    assert openapi_errors(document) == []


async def test_docs_page_has_strict_security_headers(client: Client) -> None:
    """The policy is that of the builder, without its frame; there are no inline scripts or styles."""
    async with client.get("/docs") as response:
        page, headers = await body(response), response.headers
    async with client.get("/") as response:
        builder = response.headers["Content-Security-Policy"]
    assert "frame-src 'self'; " in builder
    assert headers["Content-Security-Policy"] == builder.replace("frame-src 'self'; ", "")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert page.count("<script") == page.count("></script>") == 2
    assert "<style" not in page
    assert not re.search(r'(?:src|href)="(?:/|\w+:)', page)  # URLs are relative, for a deployment behind a prefix


@pytest.mark.parametrize("kind", ["js", "css"])
async def test_viewer_is_served_unchanged_and_immutable(client: Client, kind: str) -> None:
    """Compressed or not, with HEAD and ETags, under a versioned name."""
    async with client.get("/docs") as response:
        (path,) = re.findall(rf'"(static/viewer/[^"]+\.{kind})"', await body(response))
    async with client.get(f"/{path}", headers={"Accept-Encoding": "identity"}) as response:
        uncompressed, headers = await response.read(), response.headers
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["Content-Length"] == str(len(uncompressed))
    assert (headers["Vary"], "Content-Encoding" in headers) == ("Accept-Encoding", False)
    async with client.get(f"/{path}", headers={"Accept-Encoding": "gzip"}) as response:
        compressed = await response.read()
        assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("gzip", "Accept-Encoding")
        assert response.headers["ETag"] != headers["ETag"]
    assert gzip.decompress(compressed) == uncompressed
    async with client.get(
        f"/{path}", headers={"Accept-Encoding": "gzip", "If-None-Match": response.headers["ETag"]}
    ) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with client.head(f"/{path}", headers={"Accept-Encoding": "gzip"}) as response:
        assert (response.headers["Content-Length"], await response.read()) == (str(len(compressed)), b"")
    async with client.get("/static/viewer/other.js") as response:
        assert response.status == 404


def test_viewer_is_the_pinned_release() -> None:
    """The release that `make viewer` names, with its licences."""
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
    """All checks on all routes: valid requests are accepted, invalid ones refused, responses match the description."""
    url = str(client.make_url("/openapi.json"))
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).parent / "st", "--no-color", "--config-file", ROOT / "schemathesis.toml"),
        *("run", url, *EXAMPLE_OPTIONS),
        cwd=tmp_path, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    print(output)  # noqa: T201 - for `make interface ARGS=-s`
    assert process.returncode == 0, output
    assert f"Tested: {len(DOCUMENT['paths'])}" in output
