"""What is deployed is known: locked by hashes, licensed, listed; and an audit that could not ask says so."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from packaging.utils import canonicalize_name

from service import __version__
from service.settings.loader import ROOT
from tests.supply import licences, lock
from tests.supply.audit import CLEAN, KNOWN, NOT_ASKED, audit, verdict
from tests.supply.sbom import sbom, valid
from tests.support.ports import unused_port

FAULT = {"id": "PYSEC-2026-1", "summary": "oops", "aliases": [], "modified": "2026-01-01T00:00:00Z"}
AFFECTED = {"package": {"name": "redis", "ecosystem": "PyPI"}, "ranges": [
    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}
]}  # fmt: skip


@pytest.mark.parametrize("path", [lock.DEPLOYED, lock.FOR_DEVELOPERS], ids=lambda path: path.name)
def test_all_that_is_installed_is_locked_by_hashes(path: Path) -> None:
    """Each package has one version and hashes of its files, and nobody says where to fetch it."""
    file = lock.read(path)
    assert (file.options, file.invalid_lines) == ([], [])
    assert "://" not in path.read_text(encoding="utf-8")
    assert len(file.requirements) > 20
    for one in file.requirements:
        assert one.is_pinned, one.name
        assert one.hash_options, one.name
        assert all(option.startswith("sha256:") for option in one.hash_options)


def test_what_is_deployed_is_what_is_tested() -> None:
    """The developers' lock file has the same versions, by the same hashes."""
    deployed, tested = lock.hashes(), lock.hashes(lock.FOR_DEVELOPERS)
    assert lock.locked().items() <= lock.locked(lock.FOR_DEVELOPERS).items()
    assert deployed == {name: tested[name] for name in deployed}


def test_every_licence_is_allowed() -> None:
    """Of each package that is deployed on a machine like this one, in the version that is."""
    found = licences.licences()
    assert list(licences.faults(found)) == []
    assert found.keys() == lock.here()


@pytest.mark.parametrize(
    ("licence", "bad"),
    [
        ("GPL-3.0-only", ["GPL-3.0-only"]),
        ("MIT AND LGPL-2.1", ["LGPL-2.1"]),
        ("MIT OR AGPL-3.0-only", ["AGPL-3.0-only"]),
        ("MIT License; GNU General Public License (GPL)", ["GNU General Public License (GPL)"]),
        ("UNKNOWN", ["UNKNOWN"]),
        ("", [""]),
        ("Apache-2.0 AND BSD-2-Clause", []),
    ],
)
def test_a_licence_that_is_not_on_the_list_is_refused(licence: str, bad: list[str]) -> None:
    """Wherever in what a package says of itself; saying nothing is no licence either."""
    assert licences.refused(licence) == bad
    told = list(
        licences.faults(dict.fromkeys(lock.here(), ("0", "MIT")) | {"redis": (lock.locked()["redis"], licence)})
    )
    assert any(line.startswith("redis ") for line in told) is bool(bad)


VIEWER = ROOT / "service" / "web" / "viewer"
VENDORED = {"swagger-ui-bundle.js.gz", "swagger-ui.css.gz"}


def test_what_is_vendored_has_its_licence_beside_it() -> None:
    """The viewer of /docs, in a folder of its own; whatever else is served was written here."""
    assert {path.name for path in VIEWER.iterdir()} == VENDORED | {
        *("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")
    }
    assert "Apache License" in (VIEWER / "LICENSE").read_text(encoding="utf-8")
    files = [path for name in ("service", "config") for path in (ROOT / name).rglob("*") if path.is_file()]
    for path in files:
        if path.suffix not in (".pyc", ".mo") and path.parent != VIEWER:
            text = path.read_text(encoding="utf-8").lower()
            assert not {"copyright", "@license", "spdx-license-identifier:"} & set(text.split()), path


@pytest.mark.slow
def test_the_list_of_parts_is_what_is_locked() -> None:
    """Valid by its schema, with us as the root, each package once with version and hashes, and the same each time."""
    text = sbom()
    assert text == sbom()
    document = json.loads(text)
    assert document["bomFormat"] == "CycloneDX"
    assert "serialNumber" not in document
    assert "timestamp" not in document["metadata"]
    root = document["metadata"]["component"]
    assert (root["name"], root["version"]) == ("currency-ticker", __version__)
    assert [one["license"]["id"] for one in root["licenses"]] == ["MIT"]
    parts = {canonicalize_name(one["name"]): one for one in document["components"]}
    dependencies = {one["bom-ref"] for one in parts.values()}
    viewer = parts.pop(canonicalize_name("swagger-ui-dist"))
    assert [one["name"].rpartition("/")[2] for one in viewer["components"]] == sorted(VENDORED)
    assert {name: one["version"] for name, one in parts.items()} == lock.locked()
    assert len(parts) + 1 == len(document["components"])
    for name, one in parts.items():
        told = {f"sha256:{each['content']}" for ref in one["externalReferences"] for each in ref["hashes"]}
        assert told == lock.hashes()[name]
    (ours,) = (one for one in document["dependencies"] if one["ref"] == root["bom-ref"])
    assert set(ours["dependsOn"]) == dependencies


@pytest.mark.slow
def test_a_list_of_parts_that_is_not_valid_is_refused() -> None:
    """The library's own validator looks at what is written."""
    with pytest.raises(ValueError, match="is not valid"):
        valid('{"bomFormat": "CycloneDX"}')


async def database(status: int, body: object) -> TestServer:
    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        mine = asked["package"]["name"] == "redis" or status != 200
        return web.json_response(body if mine else {}, status=status)

    app = web.Application()
    app.router.add_post("/v1/query", answer)
    return TestServer(app)


@pytest.mark.parametrize(
    ("status", "body", "verdict", "told"),
    [
        (200, {}, CLEAN, "nothing is known of "),
        (200, {"vulns": [FAULT | {"affected": [AFFECTED]}]}, KNOWN, "PYSEC-2026-1, mended in 99.0"),
        (503, {}, NOT_ASKED, "COULD NOT ASK"),
        (200, "no database", NOT_ASKED, "COULD NOT ASK"),
    ],
)
async def test_an_audit_says_what_it_could_find_out(status: int, body: object, verdict: int, told: str) -> None:
    """By pip-audit itself and a database that stands in: nothing, something, and that it could not be asked."""
    async with await database(status, body) as server:
        found, said = await asyncio.to_thread(audit, str(server.make_url("/v1/query")))
    assert (found, told in said) == (verdict, True), said
    assert found != CLEAN or said == f"nothing is known of {len(lock.here())} packages"


def test_an_audit_that_nobody_answers_is_no_clean_one() -> None:
    """Neither a closed port nor packages that are not known there pass for "nothing found"."""
    command = (sys.executable, "-m", "tests.supply.audit", "--url", f"http://127.0.0.1:{unused_port()}/v1/query")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == NOT_ASKED
    assert done.stdout.startswith("COULD NOT ASK, so nothing is known either way: ")
    skipped = {"name": "Redis", "skip_reason": "Dependency not found and could not be audited"}
    told = json.dumps({"dependencies": [skipped, {"name": "lxml", "version": "1", "vulns": []}], "fixes": []})
    assert verdict(told, {"redis", "lxml"}) == (NOT_ASKED, "COULD NOT ASK about 1 of 2: redis")
    assert verdict(told, {"lxml", "yarl"}) == (NOT_ASKED, "COULD NOT ASK about 1 of 2: yarl")
    both = told.replace('"vulns": []', '"vulns": [{"id": "X-1", "fix_versions": []}]')
    assert verdict(both, {"redis", "lxml"}) == (
        KNOWN,
        "lxml 1: X-1, mended in nothing yet\nCOULD NOT ASK about 1 of 2: redis",
    )
