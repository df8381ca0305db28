"""`make licences`: list the licences of the deployed packages; exit status 1 if one is not allowed."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name

from tests.supply import lock

ALLOWED: Final = {
    "Apache Software License",
    "Apache-2.0",
    "BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC License (ISCL)",
    "MIT",
    "MIT License",
    "PSF-2.0",
    "Python Software Foundation License",
}
"""Licences that only require their texts, which the packages contain; spelled as in package metadata."""
_BY_TEXT: Final = {"resvg-py": "MIT"}
"""Licences of packages whose metadata name none, by their licence text; resvg itself is Apache-2.0 OR MIT."""
_SEPARATOR: Final = re.compile(r" AND | OR |;")


def licences(path: Path = lock.DEPLOYED) -> dict[str, tuple[str, str]]:
    """Return version and licence of each package of a lock file that is installed here, from its metadata."""
    command = (
        sys.executable,
        "-m",
        "piplicenses",
        "--from",
        "mixed",
        "--format",
        "json",
        "--packages",
        *lock.locked(path),
    )
    packages: list[Mapping[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    named = {canonicalize_name(package["Name"]): (package["Version"], package["License"]) for package in packages}
    unnamed = {name for name, (_, licence) in named.items() if licence == "UNKNOWN"}
    return named | {name: (named[name][0], _BY_TEXT.get(name, "UNKNOWN")) for name in unnamed}


def refused(licence: str) -> list[str]:
    """Return the licences that are not allowed; of alternatives (OR), each has to be allowed."""
    return [name for name in (part.strip() for part in _SEPARATOR.split(licence)) if name not in ALLOWED]


def faults(found: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Yield problems: a licence that is not allowed, a package that is not installed or has another version."""
    locked = lock.locked()
    for name, (version, licence) in found.items():
        if not_allowed := refused(licence):
            yield f"{name} {version}: {', '.join(not_allowed)} is not allowed by tests/supply/licences.py"
        if version != locked[name]:
            yield f"{name}: {version} is installed, {locked[name]} is deployed: make setup"
    for name in sorted(lock.for_this_machine() - found.keys()):
        yield f"{name}: not installed, so its licence is unknown: make setup"


def main() -> int:
    found = licences()
    for name, (version, licence) in sorted(found.items()):
        print(f"{name:20} {version:14} {licence}")
    for name in sorted(lock.locked().keys() - lock.for_this_machine()):
        print(f"{name:20} not needed on this machine")
    problems = list(faults(found))
    for problem in problems:
        print(f"REFUSED {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
