"""The guide for operators: each alert has its section, and what it tells to type is there."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import cli
from service.settings import load
from service.settings.loader import ROOT
from tests.promtool import rules

GUIDE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ALERTS = GUIDE.split("\n## Alerts\n", 1)[1].split("\n## ", 1)[0]
COMMANDS = sorted({one.strip() for one in re.findall(r"(?:python -m service|--rm .* ticker) ([^`#\n|<>&]+)", GUIDE)})


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    """Under its own name, the anchor that the rule leads to; how bad it is, what to look at, what to do."""
    told = re.findall(r"^### (\w+)\n\n\*\*(\w+)\.\*\* ", ALERTS, re.MULTILINE)
    assert told == [(name, rule.severity.capitalize()) for name, rule in rules().items()]
    for name, rule in rules().items():
        section = ALERTS.split(f"\n### {name}\n", 1)[1].split("\n### ", 1)[0]
        assert re.search(r"^- Check.*:", section, re.MULTILINE), name
        assert re.search(r"^- (Do[:,]|Check and do:) ", section, re.MULTILINE), name
        assert rule.annotations["runbook"] == f"docs/operations.md#{name.lower()}"
        assert rule.annotations.keys() == {"summary", "description", "runbook"}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_real(command: str) -> None:
    """Each is known with all its options, and with as many words as it takes."""
    words = shlex.split(command)
    subcommands = [word for word in words[:2] if word in ("accept", "reject")]
    asked = [words[0], *subcommands, "--help"]
    helped = CliRunner().invoke(cli, asked, prog_name="python -m service")
    assert helped.exit_code == 0, helped.output
    options = [word for word in words if word.startswith("--")]
    assert all(re.search(rf"{option}\b", helped.output) for option in options)
    values = {words[at + 1] for at, word in enumerate(words) if word.startswith("--")}
    usage = re.search(r"Usage: .* service (.*)", helped.output)
    assert usage
    taken = re.findall(r"[{[]\w+[}\]]", usage[1].replace("[OPTIONS]", ""))
    given = [word for word in words[1 + len(subcommands) :] if not word.startswith("--") and word not in values]
    required = [word for word in taken if word.startswith("{")]
    assert len(required) <= len(given) <= len(taken), usage[1]


def test_its_settings_are_read(tmp_path: Path) -> None:
    """As they stand there; nothing recorded is shown with them."""
    (told,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "currency-ticker.toml"
    file.write_text(told, encoding="utf-8")
    settings = load(file, environ={})
    assert not [key for ticker in settings.tickers for key in ticker.sources if settings.sources[key].recorded]


def test_paths_are_real() -> None:
    """Files of the project that it names, in links and in text."""
    links = re.findall(r"\]\(((?:\.\./)?[\w./-]+)(?:#[\w-]+)?\)", GUIDE)
    named = re.findall(r"`((?:config|docs|tests|service)/[\w./-]+)`", GUIDE)
    assert links
    assert named
    for path in (*(ROOT / "docs" / link for link in links), *(ROOT / name for name in named)):
        assert path.exists(), path


def test_event_is_sent_to_new_clients() -> None:
    assert "docs/operations.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_quotes_only_measured_values() -> None:
    """Each figure of its paragraph on speed stands in docs/performance.md, as it is written there."""
    readme, measured = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/performance.md"))
    (told,) = re.findall(r"^- \*\*Fast and small\.\*\* (.*?)^- ", readme, re.MULTILINE | re.DOTALL)
    figures = re.findall(r"\d[\d,.]*\d", told)
    assert len(figures) == 6
    for figure in figures:
        assert re.search(rf"(?<![\d,.]){re.escape(figure)}(?![\d,.]*\d)", measured), figure
