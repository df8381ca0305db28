"""The committed files are what `make assets` builds, and their names change with their content."""

import shutil
import subprocess
from pathlib import Path

import pytest

from service.settings.loader import ROOT
from service.web.http.assets import ASSETS, Assets

FOLDER = ROOT / "service" / "web" / "assets"


def test_committed_assets_are_what_esbuild_makes(tmp_path: Path) -> None:
    """Built from a copy of the sources, by the release that the Makefile pins."""
    web = tmp_path / "service" / "web"
    shutil.copytree(ROOT / "service" / "web" / "static", web / "static")
    (tmp_path / ".venv").mkdir()
    for release in (ROOT / ".venv").glob("esbuild-*"):
        shutil.copy2(release, tmp_path / ".venv")
    shutil.copy(ROOT / "Makefile", tmp_path)
    if not shutil.which("npm") and not list((tmp_path / ".venv").iterdir()):
        pytest.skip("esbuild is not here, and there is no npm to fetch it: run `make assets` where there is")
    built = subprocess.run(["make", "assets"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
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


def test_style_sheet_is_part_of_the_elements_script() -> None:
    """The element asks for one file."""
    assert b":host{display:block" in ASSETS.files[ASSETS.names["embed.js"]][0]
