"""`make sbom`: a list of parts (CycloneDX 1.6, JSON) of what is deployed, from the lock file.

The same lock file gives the same bytes: no serial number, and no time but that of SOURCE_DATE_EPOCH where it is set.
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


def viewer() -> dict[str, Any]:
    """Return the part that no lock file names: the viewer of /docs, which lies among our own files."""
    (version,) = re.findall(r"^VIEWER := (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    name = f"pkg:npm/swagger-ui-dist@{version}"
    files = [
        {
            "type": "file",
            "name": f"service/web/viewer/{path.name}",
            "hashes": [{"alg": "SHA-256", "content": sha256(path.read_bytes()).hexdigest()}],
        }
        for path in sorted(_VIEWER.glob("*.gz"))
    ]
    return {
        "type": "library",
        "bom-ref": name,
        "name": "swagger-ui-dist",
        "version": version,
        "purl": name,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "components": files,
    }


def sbom() -> str:
    """Return the document; raise `ValueError` where it breaks its own schema."""
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
    document["components"].append(viewer())
    root = document["metadata"]["component"]["bom-ref"]
    (ours,) = (one for one in document["dependencies"] if one["ref"] == root)
    ours["dependsOn"] = [one["bom-ref"] for one in document["components"]]  # a lock file does not tell who needs whom
    return f"{valid(json.dumps(document, indent=2, ensure_ascii=False))}\n"


def valid(text: str) -> str:
    """Return a document; raise `ValueError` where it breaks its schema."""
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - takes five seconds, in every run of the tests
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    if fault := JsonStrictValidator(SchemaVersion.from_version(VERSION)).validate_str(text):
        raise ValueError(f"the list of parts is not valid: {fault}")
    return text


def main() -> int:
    Path(sys.argv[1]).write_text(sbom(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
