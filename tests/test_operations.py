"""docs/operations.md: every alert has a runbook section, and the commands, settings and paths exist."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import cli
from service.settings import load
from service.settings.loader import ROOT
from tests.support.promtool import rules

GUIDE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ALERTS = GUIDE.split("\n## Alerts\n", 1)[1].split("\n## ", 1)[0]
COMMANDS = sorted(
    {command.strip() for command in re.findall(r"(?:python -m service|--rm .* ticker) ([^`#\n|<>&]+)", GUIDE)}
)


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    """The heading is the alert's name (the anchor of its rule); then severity, checks and actions."""
    documented = re.findall(r"^### (\w+)\n\n\*\*(\w+)\.\*\* ", ALERTS, re.MULTILINE)
    assert documented == [(name, rule.severity.capitalize()) for name, rule in rules().items()]
    for name, rule in rules().items():
        section = ALERTS.split(f"\n### {name}\n", 1)[1].split("\n### ", 1)[0]
        assert re.search(r"^- Check: ", section, re.MULTILINE), name
        assert re.search(r"^- Action(, [^:]+)?: ", section, re.MULTILINE), name
        assert rule.annotations["runbook"] == f"docs/operations.md#{name.lower()}"
        assert rule.annotations.keys() == {"summary", "description", "runbook"}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_real(command: str) -> None:
    """The command, its options and its number of arguments are valid."""
    words = shlex.split(command)
    subcommands = [word for word in words[:2] if word in ("accept", "reject", "list", "test", "resume")]
    result = CliRunner().invoke(cli, [words[0], *subcommands, "--help"], prog_name="python -m service")
    assert result.exit_code == 0, result.output
    options = [word for word in words if word.startswith("--")]
    assert all(re.search(rf"{option}\b", result.output) for option in options)
    values = {value for option, value in pairwise(words) if option.startswith("--")}
    usage = re.search(r"Usage: .* service (.*?)\n\n", result.output, re.DOTALL)
    assert usage
    parameters = re.findall(r"[{[][\w=]+[}\]]", usage[1].replace("[OPTIONS]", ""))
    given = [word for word in words[1 + len(subcommands) :] if not word.startswith("--") and word not in values]
    required = [word for word in parameters if word.startswith("{")]
    if usage[1].endswith("[CODE=VALUE]..."):  # a rate per currency
        parameters += [word for word in given if "=" in word][1:]
    assert len(required) <= len(given) <= len(parameters), usage[1]


def test_example_configuration_is_valid(tmp_path: Path) -> None:
    """The example configuration is valid, and does not use the sample data."""
    (example,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "currency-ticker.toml"
    file.write_text(example, encoding="utf-8")
    settings = load(file, environ={})
    assert not [key for ticker in settings.tickers for key in ticker.sources if settings.sources[key].recorded]


def test_paths_are_real() -> None:
    """Every file that a link or the text names exists."""
    links = re.findall(r"\]\(((?:\.\./)?[\w./-]+)(?:#[\w-]+)?\)", GUIDE)
    named = re.findall(r"`((?:config|docs|tests|service)/[\w./-]+)`", GUIDE)
    assert links
    assert named
    for path in (*(ROOT / "docs" / link for link in links), *(ROOT / name for name in named)):
        assert path.exists(), path


def test_readme_links_the_guide() -> None:
    assert "docs/operations.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_quotes_only_measured_values() -> None:
    """Each number of its paragraph on speed is in docs/performance.md, in the same notation."""
    readme, measured = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/performance.md"))
    (paragraph,) = re.findall(r"^- \*\*Fast and small\.\*\* (.*?)^- ", readme, re.MULTILINE | re.DOTALL)
    values = re.findall(r"\d[\d,.]*\d", paragraph)
    assert len(values) == 6
    for value in values:
        assert re.search(rf"(?<![\d,.]){re.escape(value)}(?![\d,.]*\d)", measured), value
