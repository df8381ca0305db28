"""Rules for the modules that import-linter (`make check`) cannot check: environment, floats, docstrings."""

import ast
from pathlib import Path

import pytest

from service.settings.loader import ROOT

SERVICE = ROOT / "service"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SERVICE.rglob("*.py"))
}
FLOATS = {
    "service.app",  # how long a lock lives
    "service.cli.main",
    "service.clock",
    "service.cluster.follower",
    "service.cluster.leader_election",
    "service.observability.counters",
    "service.observability.tracing",  # seconds
    "service.polling.lifecycle",
    "service.polling.poller",  # how long a poll took
    "service.polling.scheduler",
    "service.settings.types",
    "service.settings.wording",  # the name of an error
    "service.sources.parsing",
    "service.state.memory",  # the tolerance that JUDGING compares by
    "service.storage.coordination",
    "service.storage.embedded_valkey",
    "service.storage.redis_connection",  # timeouts
    "service.storage.repository",
    "service.storage.server_monitor",  # seconds
    "service.storage.sync",
    "service.web.api.history",  # the deadline of a download
    "service.web.api.stream",
    "service.web.http.responses",
    "service.web.ops.collector",
    "service.web.pages.documents",  # seconds
    "service.web.rendering.chart",  # coordinates
    "service.web.rendering.style",  # sizes and colours
    "service.web.rendering.svg",
    "service.webhooks.delivery",  # seconds between two looks at a queue
    "service.webhooks.recorder",
}
"""Header weights, lengths, durations, metrics and clocks; never money."""
JUDGING = {"service.validation.rules", "service.validation.cross_check"}
"""Modules that compare rates as logarithms; they validate rates but compute none that is shown."""
EXACT = [
    "cli.transfer",
    "domain.bounds",
    "domain.breaks",
    "domain.change",
    "domain.event",
    "domain.fixing",
    "domain.snapshot",
    "polling.backfill",
    "state.events",
    "state.memory",
    "state.selection",
    "validation.published_change",
    "validation.quarantine",
    "validation.swap_detection",
]


def attributes(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}


def test_only_the_loader_reads_settings_from_the_environment() -> None:
    """What systemd passes to the service that it starts is no setting."""
    reading = {module for module, path in MODULES.items() if {"os.environ", "os.getenv"} & attributes(path)}
    assert reading == {"service.settings.loader", "service.runtime.systemd"}


def test_rates_are_not_floats() -> None:
    using_floats = {module for module, path in MODULES.items() if "float" in path.read_text(encoding="utf-8")}
    assert using_floats <= FLOATS | JUDGING


@pytest.mark.parametrize("module", EXACT)
def test_no_float_literal_in_exact_arithmetic(module: str) -> None:
    tree = ast.parse(MODULES[f"service.{module}"].read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, float)]


def test_openapi_document_is_not_generated_at_run_time() -> None:
    """The running service does not import the modules that generate `openapi.json`."""
    for module in ("generate", "json_schema"):
        name = f"service.web.openapi.{module}"
        importing = {
            other
            for other, path in MODULES.items()
            if f"openapi.{module} import" in path.read_text(encoding="utf-8") and other != name
        }
        assert importing <= {"service.web.openapi.generate"}


def test_modules_have_a_docstring() -> None:
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), module


def test_bank_adapters_are_short() -> None:
    for path in (SERVICE / "sources" / "banks").glob("*.py"):
        assert path.read_text(encoding="utf-8").count("\n") <= 100, path


def test_no_class_name_exists_twice() -> None:
    """A class name has the same meaning in every module."""
    names = [
        node.name
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []
