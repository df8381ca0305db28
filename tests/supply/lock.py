"""Read the lock files with `pip_requirements_parser`, the parser that pip-audit uses."""

from functools import cache
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name
from pip_requirements_parser import RequirementsFile

from service.settings.loader import ROOT

DEPLOYED: Final = ROOT / "requirements.lock"
WITH_TRACES: Final = ROOT / "requirements-otel.lock"
FOR_DEVELOPERS: Final = ROOT / "requirements-dev.lock"


@cache
def read(path: Path) -> Any:
    """Return a file with its `requirements`, `options` and `invalid_lines`."""
    return RequirementsFile.from_file(str(path))


def locked(path: Path = DEPLOYED) -> dict[str, str]:
    """Return the locked version of each package."""
    return {
        canonicalize_name(requirement.name): requirement.get_pinned_version for requirement in read(path).requirements
    }


def hashes(path: Path = DEPLOYED) -> dict[str, set[str]]:
    """Return the hashes of each package's files: `sha256:…`."""
    return {
        canonicalize_name(requirement.name): set(requirement.hash_options) for requirement in read(path).requirements
    }


def for_this_machine(path: Path = DEPLOYED) -> set[str]:
    """Return the packages whose markers apply to this machine."""
    return {
        canonicalize_name(requirement.name)
        for requirement in read(path).requirements
        if not requirement.marker or requirement.marker.evaluate()
    }
