"""The supply chain: locked hashes, licences, SBOM, and audit results."""

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
from tests.supply.audit import CLEAN, NOT_CHECKED, VULNERABLE, audit, verdict
from tests.supply.sbom import sbom, valid
from tests.support.ports import unused_port

VULNERABILITY = {"id": "PYSEC-2026-1", "summary": "oops", "aliases": [], "modified": "2026-01-01T00:00:00Z"}
AFFECTED = {"package": {"name": "redis", "ecosystem": "PyPI"}, "ranges": [
    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}
]}  # fmt: skip


@pytest.mark.parametrize("path", [lock.DEPLOYED, lock.WITH_TRACES, lock.FOR_DEVELOPERS], ids=lambda path: path.name)
def test_installed_packages_are_locked_by_hashes(path: Path) -> None:
    """Each package has one version and hashes of its files, and no URL to download it from."""
    file = lock.read(path)
    assert (file.options, file.invalid_lines) == ([], [])
    assert "://" not in path.read_text(encoding="utf-8")
    assert len(file.requirements) > 20
    for requirement in file.requirements:
        assert requirement.is_pinned, requirement.name
        assert requirement.hash_options, requirement.name
        assert all(option.startswith("sha256:") for option in requirement.hash_options)


def test_deployed_versions_are_the_tested_ones() -> None:
    """The lock file with the packages of traces, and the developers', have the same versions and hashes."""
    assert lock.locked().items() <= lock.locked(lock.WITH_TRACES).items()
    tested = lock.hashes(lock.FOR_DEVELOPERS)
    for path in (lock.DEPLOYED, lock.WITH_TRACES):
        deployed = lock.hashes(path)
        assert lock.locked(path).items() <= lock.locked(lock.FOR_DEVELOPERS).items()
        assert deployed == {name: tested[name] for name in deployed}


def test_licences_of_the_packages_of_traces() -> None:
    """All allowed, but two: BSD-3-Clause under another name, and certificates that may be passed on unchanged."""
    found = licences.licences(lock.WITH_TRACES)
    assert found.keys() == lock.for_this_machine(lock.WITH_TRACES)
    refused = {name: licences.refused(licence) for name, (_, licence) in found.items()}
    assert {name: names for name, names in refused.items() if names} == {
        "certifi": ["Mozilla Public License 2.0 (MPL 2.0)"],
        "protobuf": ["3-Clause BSD License"],
    }


def test_every_licence_is_allowed() -> None:
    """Check each package that is deployed on this machine, in the deployed version."""
    found = licences.licences()
    assert list(licences.faults(found)) == []
    assert found.keys() == lock.for_this_machine()


@pytest.mark.parametrize(
    ("licence", "not_allowed"),
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
def test_licence_that_is_not_allowed_is_refused(licence: str, not_allowed: list[str]) -> None:
    """Also as a part of the metadata; missing metadata is refused too."""
    assert licences.refused(licence) == not_allowed
    problems = list(
        licences.faults(
            dict.fromkeys(lock.for_this_machine(), ("0", "MIT")) | {"redis": (lock.locked()["redis"], licence)}
        )
    )
    assert any(line.startswith("redis ") for line in problems) is bool(not_allowed)


VIEWER = ROOT / "service" / "web" / "viewer"
FONTS = ROOT / "service" / "web" / "fonts"
UPLOT = ROOT / "service" / "web" / "static" / "uplot"
CHARTS = [ROOT / "service" / "web" / "assets" / name for name in ("chart.js", "rates.js")]
"""The scripts that contain uPlot, with its licence."""
VENDORED = {"swagger-ui-bundle.js.gz", "swagger-ui.css.gz"}


def test_vendored_files_include_their_licence() -> None:
    """The viewer of /docs, the font and uPlot have directories of their own; other files are the project's own."""
    assert "SIL OPEN FONT LICENSE Version 1.1" in (FONTS / "OFL.txt").read_text(encoding="utf-8")
    assert {path.name for path in VIEWER.iterdir()} == VENDORED | {
        *("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")
    }
    assert "Apache License" in (VIEWER / "LICENSE").read_text(encoding="utf-8")
    licence = (UPLOT / "LICENSE").read_text(encoding="utf-8").rstrip()
    assert {path.name for path in UPLOT.iterdir()} == {"LICENSE", "uPlot.js"}
    assert all(licence in path.read_text(encoding="utf-8") for path in (UPLOT / "uPlot.js", *CHARTS))
    files = [path for name in ("service", "config") for path in (ROOT / name).rglob("*") if path.is_file()]
    for path in files:
        if path.suffix not in (".pyc", ".mo") and path.parent not in (VIEWER, FONTS, UPLOT) and path not in CHARTS:
            text = path.read_text(encoding="utf-8").lower()
            assert not {"copyright", "@license", "spdx-license-identifier:"} & set(text.split()), path


@pytest.mark.slow
def test_sbom_lists_the_locked_packages() -> None:
    """Valid, reproducible, with the project as the root and each package once with its version and hashes."""
    text = sbom()
    assert text == sbom()
    document = json.loads(text)
    assert document["bomFormat"] == "CycloneDX"
    assert "serialNumber" not in document
    assert "timestamp" not in document["metadata"]
    root = document["metadata"]["component"]
    assert (root["name"], root["version"]) == ("currency-ticker", __version__)
    assert [item["license"]["id"] for item in root["licenses"]] == ["MIT"]
    components = {canonicalize_name(item["name"]): item for item in document["components"]}
    dependencies = {component["bom-ref"] for component in components.values()}
    viewer = components.pop(canonicalize_name("swagger-ui-dist"))
    assert [file["name"].rpartition("/")[2] for file in viewer["components"]] == sorted(VENDORED)
    font = components.pop(canonicalize_name("noto-sans"))
    assert [file["name"].rpartition("/")[2] for file in font["components"]] == sorted(
        path.name for path in FONTS.glob("*.ttf")
    )
    charts = components.pop(canonicalize_name("uplot"))
    assert [file["name"].rpartition("/")[2] for file in charts["components"]] == ["uPlot.js"]
    assert {name: component["version"] for name, component in components.items()} == lock.locked()
    assert len(components) + 3 == len(document["components"])
    for name, component in components.items():
        hashes = {f"sha256:{item['content']}" for ref in component["externalReferences"] for item in ref["hashes"]}
        assert hashes == lock.hashes()[name]
    (project,) = (item for item in document["dependencies"] if item["ref"] == root["bom-ref"])
    assert set(project["dependsOn"]) == dependencies


@pytest.mark.slow
def test_invalid_sbom_is_refused() -> None:
    """The document is validated by the library's own validator."""
    with pytest.raises(ValueError, match="is not valid"):
        valid('{"bomFormat": "CycloneDX"}')


async def stand_in_database(status: int, body: object) -> TestServer:
    async def respond(request: web.Request) -> web.Response:
        query = await request.json()
        affected = query["package"]["name"] == "redis" or status != 200
        return web.json_response(body if affected else {}, status=status)

    app = web.Application()
    app.router.add_post("/v1/query", respond)
    return TestServer(app)


@pytest.mark.parametrize(
    ("status", "body", "verdict", "message"),
    [
        (200, {}, CLEAN, "no known vulnerabilities in "),
        (200, {"vulns": [VULNERABILITY | {"affected": [AFFECTED]}]}, VULNERABLE, "PYSEC-2026-1, fixed in 99.0"),
        (503, {}, NOT_CHECKED, "NOT CHECKED"),
        (200, "no database", NOT_CHECKED, "NOT CHECKED"),
    ],
)
async def test_audit_reports_its_result(status: int, body: object, verdict: int, message: str) -> None:
    """Run pip-audit on a stand-in database: without and with a vulnerability, failing, and with invalid data."""
    async with await stand_in_database(status, body) as server:
        status_found, output = await asyncio.to_thread(audit, str(server.make_url("/v1/query")))
    assert (status_found, message in output) == (verdict, True), output
    assert status_found != CLEAN or output == f"no known vulnerabilities in {len(lock.for_this_machine())} packages"


def test_audit_without_a_response_is_not_clean() -> None:
    """An unreachable database or skipped packages do not count as a clean audit."""
    command = (sys.executable, "-m", "tests.supply.audit", "--url", f"http://127.0.0.1:{unused_port()}/v1/query")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == NOT_CHECKED
    assert done.stdout.startswith("NOT CHECKED, the result is unknown: ")
    skipped = {"name": "Redis", "skip_reason": "Dependency not found and could not be audited"}
    output = json.dumps({"dependencies": [skipped, {"name": "lxml", "version": "1", "vulns": []}], "fixes": []})
    assert verdict(output, {"redis", "lxml"}) == (NOT_CHECKED, "NOT CHECKED: 1 of 2: redis")
    assert verdict(output, {"lxml", "yarl"}) == (NOT_CHECKED, "NOT CHECKED: 1 of 2: yarl")
    both = output.replace('"vulns": []', '"vulns": [{"id": "X-1", "fix_versions": []}]')
    assert verdict(both, {"redis", "lxml"}) == (
        VULNERABLE,
        "lxml 1: X-1, fixed in no version yet\nNOT CHECKED: 1 of 2: redis",
    )
