"""`make sbom`: write the SBOM (CycloneDX 1.6, JSON) of what is deployed, from the lock file.

The same lock file gives the same bytes: no serial number, and no timestamp except SOURCE_DATE_EPOCH if set.
"""

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from service.settings.loader import ROOT
from tests.supply import lock

_COMMAND: Final = ("-W", "ignore", "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--no-validate")
VERSION: Final = "1.6"
_VIEWER: Final = ROOT / "service" / "web" / "viewer"
_FONTS: Final = ROOT / "service" / "web" / "fonts"
_UPLOT: Final = ROOT / "service" / "web" / "static" / "uplot"


def viewer() -> dict[str, Any]:
    """Return a component that is not in the lock file: the vendored viewer of /docs."""
    return _vendored("swagger-ui-dist", "VIEWER", "Apache-2.0", _files(_VIEWER, "*.gz"))


def charts() -> dict[str, Any]:
    """Return the component of the vendored library of charts."""
    return _vendored("uplot", "UPLOT", "MIT", _files(_UPLOT, "*.js"))


def _vendored(package: str, variable: str, licence: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the component of a package of npm; the Makefile has its version."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (version,) = re.findall(rf"^{variable} := (\S+)$", makefile, re.MULTILINE)
    name = f"pkg:npm/{package}@{version}"
    return {
        "type": "library",
        "bom-ref": name,
        "name": package,
        "version": version,
        "purl": name,
        "licenses": [{"license": {"id": licence}}],
        "components": files,
    }


def font() -> dict[str, Any]:
    """Return the component of the bundled font: subsets of fonts of one project."""
    return {
        "type": "library",
        "bom-ref": "noto-sans",
        "name": "noto-sans",
        "description": "Subsets of Noto Sans, Noto Sans Math and Noto Sans Symbols2 (make fonts)",
        "licenses": [{"license": {"id": "OFL-1.1"}}],
        "components": _files(_FONTS, "*.ttf"),
    }


def _files(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "name": path.relative_to(ROOT).as_posix(),
            "hashes": [{"alg": "SHA-256", "content": sha256(path.read_bytes()).hexdigest()}],
        }
        for path in sorted(folder.glob(pattern))
    ]


def sbom() -> str:
    """Return the document; raise `ValueError` if it violates its schema."""
    command = (
        sys.executable,
        *_COMMAND,
        "--sv",
        VERSION,
        "--pyproject",
        str(ROOT / "pyproject.toml"),
        str(lock.DEPLOYED),
    )
    document = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    document["components"] += [viewer(), charts(), font()]
    root = document["metadata"]["component"]["bom-ref"]
    (project,) = (item for item in document["dependencies"] if item["ref"] == root)
    # A lock file does not contain the dependencies between packages.
    project["dependsOn"] = [component["bom-ref"] for component in document["components"]]
    return f"{valid(json.dumps(document, indent=2, ensure_ascii=False))}\n"


def valid(text: str) -> str:
    """Return the document unchanged; raise `ValueError` if it violates the schema."""
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - takes five seconds, in every run of the tests
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    if error := JsonStrictValidator(SchemaVersion.from_version(VERSION)).validate_str(text):
        raise ValueError(f"the SBOM is not valid: {error}")
    return text


def main() -> int:
    Path(sys.argv[1]).write_text(sbom(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
