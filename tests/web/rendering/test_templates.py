"""Templates: compiled once, so that an upgrade in place does not change a running process."""

import shutil
import subprocess
import sys
from pathlib import Path

from service.settings.loader import ROOT

_RUN = """
import asyncio
import sys
from pathlib import Path

from service.app import _LOADED_AFTER_START, ModuleLoader
from service.web.rendering import templates


async def load() -> None:
    async with ModuleLoader() as loader:
        await loader._task


Path("service/web/templates/aaa.html.orig").write_bytes(bytes([0xFF]))
asyncio.run(load())
assert set(_LOADED_AFTER_START) <= sys.modules.keys()
for path in Path("service/web/templates").iterdir():
    path.write_text("{{ broken")
values = {"warnings": [], "viewer": {"swagger-ui.css": "a.css", "swagger-ui-bundle.js": "a.js"}}
print(templates.rendered("docs.html", **values).decode())
"""


def test_loaded_templates_are_not_read_again(tmp_path: Path) -> None:
    """`docs.html` imports another template, which is loaded too. A backup beside them stops nothing."""
    shutil.copytree(ROOT / "service", tmp_path / "service", ignore=shutil.ignore_patterns("__pycache__"))
    command = (sys.executable, "-c", _RUN)
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert '<div id="viewer">' in result.stdout
    assert "<nav" in result.stdout
