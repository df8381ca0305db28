"""Run a real Prometheus on the rules of the project, with what it scrapes and whom it notifies.

The configuration and the rules are those in `config/prometheus`, with intervals and durations of seconds.
"""

import json
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from typing import Any, Final

from ruamel.yaml import YAML

from tests.support.ports import unused_port
from tests.support.promtool import FOLDER, WATCHDOG
from tests.support.wait import wait_until

PROMETHEUS: Final = which("prometheus")
Value = float | Callable[[float], float]
"""A value of a series, or what computes it from the time of the scrape (Unix time)."""
Targets = Mapping[tuple[str, str], Mapping[str, Value] | None]
"""By job and instance: the values of its series (`name{label="..."}`), or None if it is down."""
_INTERVAL: Final = "500ms"
_RANGES: Final = {"m": "6s", "h": "9s", "d": "9s"}
"""By unit of a range in the rules: its duration here. Longer than what a busy machine may take for a scrape."""


def shortened(rules: str) -> str:
    """Return alert rules that fire within a second, with ranges and offsets of seconds."""
    rules = re.sub(r"^( +for): \w+", r"\1: 1s", rules, flags=re.MULTILINE)
    rules = re.sub(r"\[\d+([mhd])\]", lambda match: f"[{_RANGES[match[1]]}]", rules)
    rules = re.sub(r"\boffset \d+[mhd]\b", "offset 2s", rules)
    code = re.sub(r"#.*|(summary|description): .*", "", rules)
    assert not re.search(r"\b\d+(m|h|d|w|y)\b", code), "a duration of another form"
    return rules


@dataclass(frozen=True)
class Notification:
    """What Prometheus sent to its Alertmanager about one alert."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started: str
    resolved: bool


@dataclass
class World:
    """What Prometheus sees: its targets; and what it reports."""

    folder: Path
    port: int = 0
    notifications: list[Notification] = field(default_factory=list)
    _targets: Targets = field(default_factory=dict)
    _past: set[tuple[str, str]] = field(default_factory=set)

    def forget(self) -> None:
        """Forget what was reported, and ignore its repetitions."""
        self._past |= {(sent.name, sent.started) for sent in self.notifications}
        self.notifications.clear()

    def show(self, targets: Targets) -> None:
        """Replace all targets. One that is removed responds until Prometheus has read that it is removed."""
        self._targets = {**self._targets, **targets}
        jobs: dict[str, list[Any]] = {path.stem: [] for path in self.folder.glob("*.json")}
        for job, instance in targets:
            labels = {"instance": instance, "__metrics_path__": f"/{job}/{instance}"}
            jobs[job].append({"targets": [f"127.0.0.1:{self.port}"], "labels": labels})
        for job, groups in jobs.items():  # replaced as a whole: Prometheus watches the files
            (self.folder / f"{job}.new").write_text(json.dumps(groups), encoding="utf-8")
            (self.folder / f"{job}.new").replace(self.folder / f"{job}.json")

    def exposition(self, path: str) -> str | None:
        """Return the metrics of the target with this path; None if it is down."""
        job, _, instance = path.strip("/").partition("/")
        series, now = self._targets.get((job, instance)), time.time()
        if series is None:
            return None
        values = {name: value(now) if callable(value) else value for name, value in series.items()}
        return "".join(f"{name} {value!r}\n" for name, value in values.items())

    def notify(self, body: bytes) -> None:
        """Take over alerts in the format of Alertmanager's API."""
        for alert in json.loads(body):
            resolved = datetime.fromisoformat(alert["endsAt"]) <= datetime.now(UTC)
            name = alert["labels"].pop("alertname")
            sent = Notification(name, alert["labels"], alert["annotations"], alert["startsAt"], resolved)
            if (sent.name, sent.started) not in self._past:
                self.notifications.append(sent)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    world: World
    port: int
    process: "subprocess.Popen[bytes]"

    def active(self) -> set[str]:
        """Return the alerts that fire or are about to."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/alerts", timeout=60) as response:
            return {alert["labels"]["alertname"] for alert in json.load(response)["data"]["alerts"]}

    def has(self, alert: str, *, resolved: bool) -> bool:
        """Return whether it has reported that an alert fires, or that it is resolved."""
        assert self.process.poll() is None, (self.world.folder / "log").read_text(encoding="utf-8")
        return any(sent.name == alert and sent.resolved is resolved for sent in [*self.world.notifications])


def _serve(world: World) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_GET(self) -> None:
            body = world.exposition(self.path)
            self._respond(503 if body is None else 200, (body or "").encode())

        def do_POST(self) -> None:
            world.notify(self.rfile.read(int(self.headers["Content-Length"])))
            self._respond(200, b"")

        def _respond(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Prometheus closes connections when it ends."""

    return Server(("127.0.0.1", 0), Handler)


def _configure(folder: Path, port: int) -> None:
    """Write the configuration of the project, with this server as each job's targets and as the Alertmanager."""
    yaml = YAML(typ="safe")
    config = yaml.load(FOLDER / "prometheus.yml")
    for job in config["scrape_configs"]:
        for key in [key for key in job if key.endswith("_configs")]:
            del job[key]
        job["file_sd_configs"] = [{"files": [f"{job['job_name']}.json"], "refresh_interval": "1s"}]
        (folder / f"{job['job_name']}.json").write_text("[]", encoding="utf-8")
    config["global"] = {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL, "scrape_timeout": _INTERVAL}
    config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]}
    yaml.dump(config, folder / "prometheus.yml")
    for name in config["rule_files"]:
        (folder / name).write_text(shortened((FOLDER / name).read_text(encoding="utf-8")), encoding="utf-8")


@contextmanager
def run_prometheus(folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus in a folder of its own, on loopback, until its rules are evaluated."""
    assert PROMETHEUS
    world = World(folder)
    server = _serve(world)
    world.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    _configure(folder, world.port)
    port = unused_port()
    command = (
        PROMETHEUS, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=10s",  # what fires before the Alertmanager is discovered is sent then
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    running = Prometheus(world, port, process)
    try:
        wait_until(lambda: running.has(WATCHDOG, resolved=False), "Prometheus")
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        server.shutdown()
        server.server_close()
        thread.join()
