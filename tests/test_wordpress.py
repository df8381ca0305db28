"""The files of the WordPress plugin, without WordPress; `tests/browser/test_wordpress.py` runs them in a real one."""

import json
import re
import subprocess
import zipfile
from pathlib import Path

import service
from service.domain.periods import PERIODS
from service.settings.loader import ROOT
from service.web.rendering.options import LAYOUTS, SHOWN_VALUES, THEMES
from service.web.rendering.style import COLOURS, STYLE

PLUGIN = ROOT / "packages" / "wordpress" / "currency-ticker"


def text_of(name: str) -> str:
    return (PLUGIN / name).read_text(encoding="utf-8")


def php_list(code: str) -> set[str]:
    """Return the strings of the PHP array that follows `code` in the plugin."""
    found = re.search(re.escape(code) + r"\s*=>?\s*array\(([^)]*)\)", text_of("currency-ticker.php"))
    assert found, code
    return set(re.findall(r"'([^']+)'", found[1]))


def test_plugin_accepts_every_value_of_the_service() -> None:
    """A value that the service knows is not removed by the plugin."""
    assert set(THEMES) <= php_list("'theme' ")
    assert set(LAYOUTS) == php_list("'layout'")
    assert set(PERIODS) == php_list("'period'")
    assert set(SHOWN_VALUES) == php_list("const SHOWN_VALUES")
    (style,) = re.findall(r"const STYLE = array\(\n(.*?)\n\);", text_of("currency-ticker.php"), re.DOTALL)
    assert dict(re.findall(r"'(\w+)' +=> '([^']+)'", style)) == STYLE


def test_block_has_every_option_of_the_shortcode() -> None:
    """An attribute for each, and a control in the editor."""
    options = {"ticker", "currencies", "lang", "theme", "layout", "show", "period", "spark", "live", *STYLE}
    block = json.loads(text_of("block/block.json"))["attributes"]
    assert set(block) == options
    controls = set(re.findall(r"(?:text|choice|flag|range)\( '(\w+)'", text_of("block/editor.js")))
    assert options - controls == {"show", "font", *COLOURS}  # of other kinds
    assert re.findall(r"const COLOURS = \[ '(\w+)', '(\w+)', '(\w+)', '(\w+)' \]", text_of("block/editor.js")) == [
        COLOURS
    ]


def test_versions_and_requirements_are_the_same_everywhere() -> None:
    plugin, readme, block = (
        text_of("currency-ticker.php"),
        text_of("readme.txt"),
        json.loads(text_of("block/block.json")),
    )
    versions = {
        *re.findall(r"Version: +(\S+)", plugin),
        *re.findall(r"^\t*'?(\d+\.\d+\.\d+)'", plugin, re.MULTILINE),
        *re.findall(r"Stable tag: (\S+)", readme),
        block["version"],
    }
    assert versions == {service.__version__}
    for name in ("Requires at least", "Requires PHP"):
        (in_plugin,), (in_readme,) = (re.findall(rf"{name}: +(\S+)", text) for text in (plugin, readme))
        assert in_plugin == in_readme
    assert "License:           GPL-2.0-or-later" in plugin
    assert "GNU GENERAL PUBLIC LICENSE" in text_of("LICENSE")


def test_zip_contains_the_plugin(tmp_path: Path) -> None:
    """`make wordpress` packs all files of the plugin in one folder, named like the plugin."""
    subprocess.run(["make", "wordpress", f"DIST={tmp_path}"], cwd=ROOT, check=True, capture_output=True, timeout=60)
    with zipfile.ZipFile(tmp_path / "currency-ticker-wordpress.zip") as archive:
        packed = {name for name in archive.namelist() if not name.endswith("/")}
    assert packed == {path.relative_to(PLUGIN.parent).as_posix() for path in PLUGIN.rglob("*") if path.is_file()}
    assert "currency-ticker/currency-ticker.php" in packed
