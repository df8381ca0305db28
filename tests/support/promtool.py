"""Check rules with promtool: evaluate expressions and alerts on given series."""

import json
import os
import re
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any, Final

from ruamel.yaml import YAML

from service.settings.loader import ROOT

PROMTOOL: Final = which("promtool")
FOLDER: Final = ROOT / "config" / "prometheus"
GRAFANA: Final = ROOT / "config" / "grafana"
DASHBOARD: Final = GRAFANA / "dashboards" / "ticker.json"
WATCHDOG: Final = "Watchdog"
"""The alert that fires all the time."""
FIRING: Final = f'count by (alertname) (ALERTS{{alertstate="firing",alertname!="{WATCHDOG}"}})'
"""Number of firing alerts by name: one event must fire one alert, however many instances see it."""


@dataclass(frozen=True)
class Rule:
    """An alert rule as written in the file."""

    expr: str
    severity: str
    annotations: Mapping[str, str]


def rules() -> dict[str, Rule]:
    """Return the alert rules by name, parsed by their fixed layout; promtool reads the file as YAML."""
    found = {}
    for block in re.split(r"\n +- alert: ", (FOLDER / "alerts.yml").read_text(encoding="utf-8"))[1:]:
        name, _, rest = block.partition("\n")
        expr = re.search(r"^ +expr: (?:\|\n)?(.*?)^ +for: ", rest, re.MULTILINE | re.DOTALL)
        severity = re.search(r"^ +labels: { severity: (\w+) }$", rest, re.MULTILINE)
        annotations = dict(re.findall(r'^ +(summary|description|runbook): "?(.*?)"?$', rest, re.MULTILINE))
        assert expr, name
        assert severity, name
        found[name] = Rule(expr[1], severity[1], annotations)
    return found


def promtool(*arguments: str | Path) -> str:
    """Return the output of promtool; fail if it reports an error."""
    done = _run(110, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _run(timeout: float, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    assert PROMTOOL
    env = os.environ | {"GOGC": "800"}  # garbage collection takes a fifth of its time
    return subprocess.run((PROMTOOL, *arguments), capture_output=True, text=True, check=False, timeout=timeout, env=env)


def check_alerts(
    folder: Path,
    series: Mapping[str, str],
    expected: Mapping[str, Mapping[str, int]],
    alerts: Sequence[Any] = (),
    every: str = "1m",
    reading: Collection[str] | None = None,
) -> None:
    """Evaluate the rules on series with one value a minute; exactly the `expected` alerts must fire at each time.

    `alerts` are additional tests in promtool's format; `every` is the evaluation interval. With `reading`, only rules
    whose expression has one of these names, of metrics or functions, are evaluated.
    """
    expression_tests = [
        {
            "expr": FIRING,
            "eval_time": time,
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": count} for name, count in firing.items()],
        }
        for time, firing in expected.items()
    ]
    rule_file = FOLDER / "alerts.yml" if reading is None else _rules_reading(reading, folder)
    _test(folder, series, every, rule_file, promql_expr_test=expression_tests, alert_rule_test=list(alerts))


def _rules_reading(names: Collection[str], folder: Path) -> Path:
    """Write the rules whose expression has one of these names to a file of the folder."""
    groups = [
        {
            **group,
            "rules": [rule for rule in group["rules"] if not {*names}.isdisjoint(re.findall(r"\w+", rule["expr"]))],
        }
        for group in _rule_groups()
    ]
    file = folder / "alerts.json"
    file.write_text(json.dumps({"groups": [group for group in groups if group["rules"]]}), encoding="utf-8")
    return file


@cache
def _rule_groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = YAML(typ="safe").load(FOLDER / "alerts.yml")["groups"]
    return groups


def check_results(folder: Path, series: Mapping[str, str], expressions: Iterable[str], time: str) -> None:
    """Evaluate expressions at a time; each must have a result."""
    expression_tests = [
        {"expr": f"count({_plain(expr)}) > bool 0", "eval_time": time, "exp_samples": [{"labels": "{}", "value": 1}]}
        for expr in expressions
    ]
    _test(folder, series, "5m", FOLDER / "alerts.yml", promql_expr_test=expression_tests)


def _test(folder: Path, series: Mapping[str, str], every: str, rule_file: Path, **tests: Sequence[Any]) -> None:
    input_series = [{"series": name, "values": values} for name, values in series.items()]
    file = folder / "test.json"  # JSON is YAML
    document = {
        "rule_files": [str(rule_file)],
        "evaluation_interval": every,
        "tests": [{"interval": "1m", "input_series": input_series, **tests}],
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    promtool("test", "rules", file)


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def _plain(expr: str) -> str:
    """Return an expression with Grafana's variables replaced."""
    return expr.replace("$__rate_interval", "5m")


def check_syntax(folder: Path, expressions: Iterable[str]) -> None:
    """Check the syntax of expressions."""
    records = [{"record": f"expression{at}", "expr": _plain(expr)} for at, expr in enumerate(expressions)]
    file = folder / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "expressions", "rules": records}]}), encoding="utf-8")
    promtool("check", "rules", file)


def firing(
    folder: Path, series: Mapping[str, str], minutes: int, hours: int, begin: float
) -> list[tuple[int, dict[str, str]]]:
    """Return the alerts that fire on series with a value every `minutes`: each hour, and the labels of an alert.

    Without the watchdog, which fires all the time.
    promtool's time begins at 0: `begin` is the Unix time of the first value, which is subtracted from timestamps.
    """
    values = {
        name: _shifted(text, begin) if name.startswith("ticker_source_last_success") else text
        for name, text in series.items()
    }
    file = folder / "firing.json"
    step = f"{minutes}m"
    expr = f'max_over_time(ALERTS{{alertstate="firing",alertname!="{WATCHDOG}"}}[1h])'
    tests = [{"expr": expr, "eval_time": f"{hour}h", "exp_samples": []} for hour in range(1, hours + 1)]
    document = {
        "rule_files": [str(FOLDER / "alerts.yml")],
        "evaluation_interval": step,
        "tests": [
            {
                "interval": step,
                "input_series": [{"series": name, "values": text} for name, text in values.items()],
                "promql_expr_test": tests,
            }
        ],
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    # It reports what it got instead of nothing, and ends with status 1 if anything fires.
    done = _run(600, "test", "rules", file)
    output = done.stdout + done.stderr
    assert done.returncode == 0 or "FAILED:" in output, output
    found = list[tuple[int, dict[str, str]]]()
    for time, got in re.findall(r", time: (\d[\w]*),\n\s+exp: nil\n\s+got: ?(.*)", output):
        hour = _hours(time)
        found += [(hour, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for labels in re.findall(r"\{(.*?)\}", got)]
    assert len({hour for hour, _ in found}) == output.count("time: "), output[:2000]
    return found


def _hours(duration: str) -> int:
    """Return the hours of a duration such as `1d2h`."""
    sizes = {"h": 1, "d": 24, "w": 168}
    return sum(int(number) * sizes[unit] for number, unit in re.findall(r"(\d+)([hdw])", duration))


def _shifted(values: str, begin: float) -> str:
    """Return the values of a series of timestamps, relative to `begin`."""
    parts = (part if part.startswith("_") else part.partition("x") for part in values.split())
    return " ".join(part if isinstance(part, str) else f"{float(part[0]) - begin:.3f}x{part[2]}" for part in parts)
