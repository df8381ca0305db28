"""`make licences`: under which licences the deployed packages come; exit status 1 where one is not on the list."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
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
"""Who deploys us owes no more than their texts, which lie in the packages. Each name as packages tell it."""
_JOINED: Final = re.compile(r" AND | OR |;")


def licences() -> dict[str, tuple[str, str]]:
    """Return version and licence of each package that is deployed and installed here, as it tells itself."""
    command = (sys.executable, "-m", "piplicenses", "--from", "mixed", "--format", "json", "--packages", *lock.locked())
    told: list[Mapping[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {canonicalize_name(one["Name"]): (one["Version"], one["License"]) for one in told}


def refused(licence: str) -> list[str]:
    """Return what is not on the list; of several that may be chosen from each has to be."""
    return [one for one in (part.strip() for part in _JOINED.split(licence)) if one not in ALLOWED]


def faults(found: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Tell what is wrong: a licence that is not allowed, a package that is not looked at, or in another version."""
    wanted = lock.locked()
    for name, (version, licence) in found.items():
        if bad := refused(licence):
            yield f"{name} {version}: {', '.join(bad)} is not on the list of tests/supply/licences.py"
        if version != wanted[name]:
            yield f"{name}: {version} is installed, {wanted[name]} is deployed: make setup"
    for name in sorted(lock.here() - found.keys()):
        yield f"{name}: is not installed, so its licence is not known: make setup"


def main() -> int:
    found = licences()
    for name, (version, licence) in sorted(found.items()):
        print(f"{name:20} {version:14} {licence}")
    for name in sorted(lock.locked().keys() - lock.here()):
        print(f"{name:20} not for a machine like this one")
    wrong = list(faults(found))
    for fault in wrong:
        print(f"REFUSED {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
