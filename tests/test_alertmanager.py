"""The sample configuration of Alertmanager: who is notified of which severity, checked by its own tool."""

import json
import re
import subprocess
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from ruamel.yaml import YAML

from service.settings.loader import ROOT
from tests.support.ports import unused_port
from tests.support.promtool import WATCHDOG, rules
from tests.support.wait import wait_until

AMTOOL = which("amtool")
ALERTMANAGER = which("prometheus-alertmanager") or which("alertmanager")
PAGE = "NoInstance"
FAILING = "NotificationsFailing"
FILE = ROOT / "config" / "alertmanager" / "alertmanager.yml"
CONFIG: dict[str, Any] = YAML(typ="safe").load(FILE)
RECEIVERS: dict[str, dict[str, Any]] = {receiver["name"]: receiver for receiver in CONFIG["receivers"]}
ROUTES = {"page": "pager", "ticket": "tickets", "info": "nobody", "watchdog": "watchdog"}
needs_amtool = pytest.mark.skipif(
    AMTOOL is None, reason="NO TESTS OF ALERTMANAGER: not installed (Debian's package prometheus-alertmanager)"
)


def amtool(*arguments: str) -> str:
    done = subprocess.run((str(AMTOOL), *arguments), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_amtool
def test_configuration_is_valid() -> None:
    assert "SUCCESS" in amtool("check-config", str(FILE))


@needs_amtool
@pytest.mark.parametrize(("severity", "receiver"), {**ROUTES, "another": "tickets"}.items())
def test_each_severity_has_its_receiver(severity: str, receiver: str) -> None:
    """What is of a severity that the file does not name is a ticket."""
    routed = amtool("config", "routes", "test", f"--config.file={FILE}", f"severity={severity}")
    assert routed.strip() == receiver


@needs_amtool
def test_failing_notifications_are_sent_both_ways() -> None:
    """The pager cannot report that it does not work itself."""
    labels = (f"alertname={FAILING}", f"severity={rules()[FAILING].severity}")
    routed = amtool("config", "routes", "test", f"--config.file={FILE}", *labels)
    assert routed.strip() == "tickets,pager"


def test_every_severity_of_the_rules_is_routed() -> None:
    assert {rule.severity for rule in rules().values()} == ROUTES.keys()
    assert {route["receiver"] for route in CONFIG["route"]["routes"]} == {*ROUTES.values()} == RECEIVERS.keys()


def test_dead_mans_switch_is_sent_every_minute() -> None:
    """Only while it fires: that it is resolved would be a request too. Nothing else goes to its receiver."""
    (route,) = (route for route in CONFIG["route"]["routes"] if route["receiver"] == "watchdog")
    assert route["group_wait"] == "0s"
    assert route["group_interval"] == route["repeat_interval"] == "1m"
    assert [webhook["send_resolved"] for webhook in RECEIVERS["watchdog"]["webhook_configs"]] == [False]
    assert [name for name, rule in rules().items() if rule.severity == "watchdog"] == [WATCHDOG]


def test_inhibited_alerts_exist() -> None:
    """A rule with a misspelt name would have no effect."""
    for rule in CONFIG["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            (names,) = re.findall(r'^alertname=~?"([\w|]+)"$', matcher)
            assert {*names.split("|")} <= rules().keys()


def test_sample_names_no_real_address_and_no_password() -> None:
    """Domains at `example` are reserved (RFC 2606): nobody is notified by accident."""
    text = re.sub(r"#.*", "", FILE.read_text(encoding="utf-8"))
    hosts = re.findall(r"(?:https://|@|smarthost: \")([\w.-]+)", text)
    assert len(hosts) == 6
    assert all(host.endswith(".example") or host == "example" for host in hosts)
    assert not re.search(r"password: |_key: |token: ", text)


@pytest.mark.skipif(ALERTMANAGER is None, reason="NO TESTS OF ALERTMANAGER: not installed")
def test_alerts_reach_their_receivers(tmp_path: Path) -> None:
    """A real Alertmanager sends the dead man's switch again and again, and a page to the pager alone."""
    received = list[tuple[str, str]]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.extend((self.path, alert["labels"]["alertname"]) for alert in body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        local = f"http://127.0.0.1:{server.server_port}"
        text = re.sub(r"https://\w+\.example", local, FILE.read_text(encoding="utf-8"))
        (tmp_path / "alertmanager.yml").write_text(text.replace("1m", "1s").replace("10s", "1s"), encoding="utf-8")
        port = unused_port()
        options = (f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--storage.path=data")
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                (str(ALERTMANAGER), "--config.file=alertmanager.yml", *options), cwd=tmp_path, stdout=log, stderr=log
            )
        try:
            alerts = [{"labels": {"alertname": name, "severity": rules()[name].severity}} for name in (WATCHDOG, PAGE)]
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/v2/alerts",
                json.dumps(alerts).encode(),
                {"Content-Type": "application/json"},
            )
            wait_until(lambda: urllib.request.urlopen(request, timeout=60).status == 200, "Alertmanager")
            wait_until(lambda: received.count(("/ping/RANDOM_ID", WATCHDOG)) >= 2, "the dead man's switch")
            wait_until(lambda: ("/alerts", PAGE) in received, "the page")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
                existing = set(re.findall(r"^\w+", response.read().decode(), re.MULTILINE))
            named = set(re.findall(r"\balertmanager_\w+", rules()[FAILING].expr))
            assert named
            assert named <= existing
            assert {*received} == {("/ping/RANDOM_ID", WATCHDOG), ("/alerts", PAGE)}
        finally:
            process.terminate()
            process.wait(60)
            server.shutdown()
