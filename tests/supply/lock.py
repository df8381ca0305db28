"""The lock files, as pip-audit reads them: `pip_requirements_parser` is its own."""

from functools import cache
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name
from pip_requirements_parser import RequirementsFile

from service.settings.loader import ROOT

DEPLOYED: Final = ROOT / "requirements.lock"
FOR_DEVELOPERS: Final = ROOT / "requirements-dev.lock"


@cache
def read(path: Path) -> Any:
    """Return a file with its `requirements`, `options` and `invalid_lines`."""
    return RequirementsFile.from_file(str(path))


def locked(path: Path = DEPLOYED) -> dict[str, str]:
    """Return the version of each package."""
    return {canonicalize_name(one.name): one.get_pinned_version for one in read(path).requirements}


def hashes(path: Path = DEPLOYED) -> dict[str, set[str]]:
    """Return the hashes of each package's files: `sha256:…`."""
    return {canonicalize_name(one.name): set(one.hash_options) for one in read(path).requirements}


def here(path: Path = DEPLOYED) -> set[str]:
    """Return the packages that are wanted on a machine like this one."""
    return {canonicalize_name(one.name) for one in read(path).requirements if not one.marker or one.marker.evaluate()}
