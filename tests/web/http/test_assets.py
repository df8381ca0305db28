"""Committed assets equal the output of `make assets`, and their names depend on their content."""

import shutil
import subprocess
from pathlib import Path

import pytest

from service.settings.loader import ROOT
from service.web.http.assets import ASSETS, Assets

FOLDER = ROOT / "service" / "web" / "assets"


def test_committed_assets_equal_the_esbuild_output(tmp_path: Path) -> None:
    """Built from a copy of the sources by the release that the Makefile pins."""
    web = tmp_path / "service" / "web"
    shutil.copytree(ROOT / "service" / "web" / "static", web / "static")
    shutil.copytree(ROOT / "packages" / "element", tmp_path / "packages" / "element")
    (tmp_path / ".venv").mkdir()
    for release in (ROOT / ".venv").glob("esbuild-*"):
        shutil.copy2(release, tmp_path / ".venv")
    shutil.copy(ROOT / "Makefile", tmp_path)
    if not shutil.which("npm") and not list((tmp_path / ".venv").iterdir()):
        pytest.skip("neither esbuild nor npm is installed: run `make assets` where npm is available")
    result = subprocess.run(["make", "assets"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {path.name: path.read_bytes() for path in (web / "assets").iterdir()} == {
        path.name: path.read_bytes() for path in FOLDER.iterdir()
    }, "service/web/assets is outdated: run `make assets`"


def test_name_and_integrity_change_with_the_content(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "assets")
    same = Assets(tmp_path / "assets", tmp_path / "none")
    assert (same.names, same.integrity) == (ASSETS.names, ASSETS.integrity)
    with (tmp_path / "assets" / "embed.js").open("a") as script:
        script.write("// another\n")
    changed = Assets(tmp_path / "assets", tmp_path / "none")
    assert {name for name in ASSETS.names if changed.names[name] != ASSETS.names[name]} == {"embed.js"}
    assert changed.integrity["embed.js"] != ASSETS.integrity["embed.js"]


def test_element_script_contains_its_style_sheet() -> None:
    """The element loads one file."""
    assert b":host{display:block" in ASSETS.files[ASSETS.names["embed.js"]][0]
