"""Rules judged by Prometheus' own tool: what is made of series, and the alerts that must come of them."""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any, Final

from service.settings.loader import ROOT

PROMTOOL: Final = which("promtool")
FOLDER: Final = ROOT / "config" / "prometheus"
GRAFANA: Final = ROOT / "config" / "grafana"
DASHBOARD: Final = GRAFANA / "dashboards" / "ticker.json"
FIRING: Final = 'count by (alertname) (ALERTS{alertstate="firing"})'
"""How many of each alert: one event must make one, however many instances see it."""


@dataclass(frozen=True)
class Rule:
    """An alert as it is written."""

    expr: str
    severity: str
    annotations: Mapping[str, str]


def rules() -> dict[str, Rule]:
    """Return the alerts by name. The file is read as it is written here; promtool reads it as YAML."""
    read = {}
    for block in re.split(r"\n +- alert: ", (FOLDER / "alerts.yml").read_text(encoding="utf-8"))[1:]:
        name, _, rest = block.partition("\n")
        expr = re.search(r"^ +expr: (?:\|\n)?(.*?)^ +for: ", rest, re.MULTILINE | re.DOTALL)
        severity = re.search(r"^ +labels: { severity: (\w+) }$", rest, re.MULTILINE)
        annotations = dict(re.findall(r'^ +(summary|description|runbook): "?(.*?)"?$', rest, re.MULTILINE))
        assert expr, name
        assert severity, name
        read[name] = Rule(expr[1], severity[1], annotations)
    return read


def promtool(*arguments: str | Path) -> str:
    """Return what promtool says; it must be content."""
    assert PROMTOOL
    env = os.environ | {"GOGC": "800"}  # a fifth of its time goes to collecting garbage
    done = subprocess.run((PROMTOOL, *arguments), capture_output=True, text=True, check=False, timeout=110, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def judged(
    folder: Path,
    series: Mapping[str, str],
    expected: Mapping[str, Mapping[str, int]],
    alerts: Sequence[Any] = (),
    every: str = "1m",
) -> None:
    """Let the rules judge series of a value a minute: at each time exactly these alerts must be firing.

    `alerts` are more tests in promtool's own words; the rules are worked out `every` so often.
    """
    asked = [
        {
            "expr": FIRING,
            "eval_time": time,
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": count} for name, count in firing.items()],
        }
        for time, firing in expected.items()
    ]
    _test(folder, series, every, promql_expr_test=asked, alert_rule_test=list(alerts))


def with_data(folder: Path, series: Mapping[str, str], expressions: Iterable[str], time: str) -> None:
    """Let expressions be worked out: each must have a result."""
    asked = [
        {"expr": f"count({_plain(expr)}) > bool 0", "eval_time": time, "exp_samples": [{"labels": "{}", "value": 1}]}
        for expr in expressions
    ]
    _test(folder, series, "5m", promql_expr_test=asked)


def _test(folder: Path, series: Mapping[str, str], every: str, **tests: Sequence[Any]) -> None:
    given = [{"series": name, "values": values} for name, values in series.items()]
    file = folder / "test.json"  # JSON is YAML
    whole = {
        "rule_files": [str(FOLDER / "alerts.yml")],
        "evaluation_interval": every,
        "tests": [{"interval": "1m", "input_series": given, **tests}],
    }
    file.write_text(json.dumps(whole), encoding="utf-8")
    promtool("test", "rules", file)


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def _plain(expr: str) -> str:
    """Return an expression without what Grafana fills in."""
    return expr.replace("$__rate_interval", "5m")


def parsed(folder: Path, expressions: Iterable[str]) -> None:
    """Let promtool read expressions."""
    written = [{"record": f"expression{at}", "expr": _plain(expr)} for at, expr in enumerate(expressions)]
    file = folder / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "expressions", "rules": written}]}), encoding="utf-8")
    promtool("check", "rules", file)
