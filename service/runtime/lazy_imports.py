"""Packages whose own module loads all that they have, where we need a part: an empty one in its place.

What a part imports of its package by the full name of a module works as ever. `tests/runtime/test_lazy_imports.py`
holds that the parts that we use do, and what is saved.
"""

import sys
from importlib.util import find_spec
from types import ModuleType


def skip_package_init(package: str) -> None:
    """Let the modules of a package be imported without itself; one that is loaded already stays."""
    if package in sys.modules:
        return
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    module = ModuleType(package)
    module.__spec__ = spec
    module.__path__ = spec.submodule_search_locations
    sys.modules[package] = module
