"""`make sbom`: a list of parts (CycloneDX 1.6, JSON) of what is deployed, from the lock file.

The same lock file gives the same bytes: no serial number, and no time but that of SOURCE_DATE_EPOCH where it is set.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from service.layers import ROOT
from tests.supply import lock

_COMMAND: Final = ("-W", "ignore", "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--no-validate")
VERSION: Final = SchemaVersion.V1_6


def sbom() -> str:
    """Return the document; raise `ValueError` where it breaks its own schema."""
    command = (
        sys.executable,
        *_COMMAND,
        "--sv",
        VERSION.to_version(),
        "--pyproject",
        str(ROOT / "pyproject.toml"),
        str(lock.DEPLOYED),
    )
    document = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    root = document["metadata"]["component"]["bom-ref"]
    (ours,) = (one for one in document["dependencies"] if one["ref"] == root)
    ours["dependsOn"] = [one["bom-ref"] for one in document["components"]]  # a lock file does not tell who needs whom
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if fault := JsonStrictValidator(VERSION).validate_str(text):
        raise ValueError(f"the list of parts is not valid: {fault}")
    return f"{text}\n"


def main() -> int:
    Path(sys.argv[1]).write_text(sbom(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
