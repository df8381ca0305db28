"""Docker Compose, operated by the commands of docs/operations.md, copied from it.

Not as in production: the published port, the limit of open files, the banks and how often one is polled. Images are not
pulled, so `docker compose build --pull` is left out.
"""

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from service.settings.loader import ROOT
from tests.containers.conftest import OFTEN, Project, block, repository_of_this_checkout
from tests.containers.engine import Engine
from tests.support.ports import unused_port
from tests.support.process import NEW, OLD, local
from tests.support.promtool import WATCHDOG, rules
from tests.support.standin import Banks
from tests.support.wait import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

YESTERDAY = local("Asia/Almaty") - timedelta(days=1)
OVERRIDE = "docker-compose.override.yml"
REPLICA = "172.30.231.3"
SERVICES = sorted(YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"].keys() - {"grafana"})
"""Grafana is no package of Debian."""
NBK_DOLLAR = Decimal("405.40")
OWN_TICKER = """
[[tickers]]
id = "own"
base = "KZT"
currencies = ["EUR"]
sources = ["nbk"]
"""


@dataclass
class Guided(Project):
    """A project whose commands are those of the guide."""

    backups: Path = Path()

    def compose(self, *arguments: str) -> str:
        return self.engine.run("compose", *arguments, cwd=self.folder)

    def follow(self, commands: str, folder: Path | None = None) -> str:
        """Run commands of the guide in its shell; they end at the first one that fails."""
        folders = {"/opt/currency-ticker": self.folder, "/var/backups/ticker": self.backups}
        for name, own in folders.items():
            commands = commands.replace(name, str(own))
        done = subprocess.run(
            ("bash", "-euc", commands),
            cwd=folder or self.folder,
            env=self.engine.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def exported(self) -> list[str]:
        """Return the lines of an export."""
        command = ".venv/bin/python -m service export --config config/production.toml - | gzip -dc"
        return sorted(self.execute("ticker", "sh", "-c", command).splitlines())

    def lose_records(self, store: str) -> None:
        """Stop the instances, which would write what they have in memory again, and empty a store."""
        self.compose("stop", "ticker")
        self.execute(store, "valkey-cli", "flushall")

    def fail_over(self) -> bool:
        """Have the replica take over, unless a failover is in progress; return whether it has."""
        if self.primary() == REPLICA:
            return True
        self.execute("sentinel-1", "valkey-cli", "-p", "26379", "sentinel", "failover", "ticker")
        return False

    def health_of_store(self) -> str:
        """Return the store's status; empty while no instance responds."""
        (store,) = self.get("/health").get("checks", {}).get("store", [{}])
        return str(store.get("status", ""))


@pytest.fixture(scope="module")
def guided(docker: Engine, banks: Banks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guided]:
    """Follow the first block of the section on Docker Compose."""
    banks.published["nbk"] = {YESTERDAY - timedelta(days=1): OLD, YESTERDAY: NEW}
    folder = tmp_path_factory.mktemp("opt")
    repository = repository_of_this_checkout(folder)
    backups = folder / "backups"
    backups.mkdir()
    project = Guided(docker, folder / "currency-ticker", unused_port(), backups=backups)
    commands = block("Docker Compose", "git clone").replace("REPOSITORY_URL", str(repository))
    clone, start = commands.split("make passwords")
    try:
        project.follow(clone, folder)
        write_override(project, banks, "services:\n  ticker:\n")
        project.follow(f"make passwords{start}")
        wait_until(lambda: project.rates().get("USD") == NBK_DOLLAR, "rates")
        yield project
    finally:
        if project.folder.is_dir():
            project.compose("--profile", "*", "down", "--volumes", "--timeout", "10")


def write_override(project: Project, banks: Banks, text: str) -> None:
    """Write the override that the guide shows, which ends with the service `ticker`, and what tests need."""
    additions = f"""
    environment: {json.dumps(banks.environ() | OFTEN)}
    ulimits: {{ nofile: 4096 }}
  edge: {{ ports: !override ["127.0.0.1:{project.port}:8080"], ulimits: {{ nofile: 4096 }} }}
  grafana: {{ deploy: {{ replicas: 0 }} }}
"""
    (project.folder / OVERRIDE).write_text(f"{text.rstrip()}{additions}", encoding="utf-8")


def test_passwords_are_random_and_private(guided: Guided) -> None:
    env = guided.folder / ".env"
    assert len(set(re.findall(r"=(\w{48})$", env.read_text(encoding="utf-8"), re.MULTILINE))) == 2
    assert env.stat().st_mode & 0o777 == 0o600


def test_request_is_found_in_the_logs(guided: Guided) -> None:
    """By the id in the error response that its client reports."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{guided.port}/v1/ticker/none", timeout=30)
    refused.value.close()
    search = block("Logs", "REQUEST_ID").replace("REQUEST_ID", refused.value.headers["X-Request-ID"]).strip()
    # written within a second
    wait_until(lambda: '"path":"/v1/ticker/none"' in guided.follow(f"{search} || true"), "the request")


def test_own_settings_are_checked_and_used(guided: Guided, banks: Banks) -> None:
    """Also those that are changed later; a mistake is reported before a restart."""
    section = "Docker Compose"
    settings = guided.folder / "my.toml"
    original = (guided.folder / "config" / "production.toml").read_text(encoding="utf-8")
    settings.write_text(original, encoding="utf-8")
    write_override(guided, banks, block(section, "my.toml", "yaml"))
    *check, start, _, restart = block(section, "check-config").splitlines()
    for command in (*check, start):
        guided.follow(command)
    wait_until(lambda: guided.get("/v1/ticker/own")["status"] == 404, "instances with the file")
    settings.write_text(original + OWN_TICKER.replace("EUR", "EUX"), encoding="utf-8")
    with pytest.raises(AssertionError, match="ISO 4217"):
        guided.follow(check[-1])
    settings.write_text(original + OWN_TICKER, encoding="utf-8")
    guided.follow(check[-1])
    with guided.requests():
        guided.follow(restart)
    wait_until(lambda: guided.get("/v1/ticker/own").get("id") == "own", "own ticker")


def test_backup_is_written_and_restored(guided: Guided) -> None:
    """Into an empty store, while the banks publish no more than the last two days."""
    (nightly,) = re.findall(r"^30 3 \* \* \* root (.*)$", block("Backup and restore", "root", ""), re.MULTILINE)
    (restore,) = re.findall(r"^docker compose run .*$", block("Backup and restore", "# Docker Compose"), re.MULTILINE)
    guided.follow(nightly)
    guided.follow(nightly)
    files = sorted(path.name for path in guided.backups.iterdir())
    assert files == ["fixings.ndjson.gz", "fixings.ndjson.gz.1"]
    assert "0 added, " in guided.follow(restore)
    guided.compose("stop", "ticker")
    guided.compose("exec", "-T", "valkey", "valkey-cli", "flushall")
    assert "0 unchanged" in guided.follow(restore)
    guided.compose("up", "-d")
    wait_until(lambda: guided.health_of_store() == "pass", "store")
    assert len(guided.fixings()) == 2
    assert guided.rates()["USD"] == NBK_DOLLAR


@contextmanager
def files_copied(guided: Guided, banks: Banks) -> Iterator[None]:
    """Copy the files of the store; at the end, all records are there again, although no bank responds."""
    banks.faults["nbk"] = 503
    try:
        before = guided.exported()
        assert len(before) > 2
        guided.follow(block("Backup and restore", "docker compose stop valkey"))
        yield
        wait_until(lambda: guided.health_of_store() == "pass", "store")
        assert guided.exported() == before
        assert len(guided.fixings()) == 2
        assert guided.rates()["USD"] == NBK_DOLLAR
    finally:
        banks.faults.clear()


def test_files_of_the_store_are_restored(guided: Guided, banks: Banks) -> None:
    with files_copied(guided, banks):
        guided.lose_records("valkey")
        guided.follow(block("Backup and restore", "docker compose down\n"))


def test_upgrade_fails_no_request(guided: Guided) -> None:
    """Two new instances start beside the old ones, which are then stopped."""
    old = guided.names("ticker")
    lines = block("Upgrade", "--scale ticker=4").splitlines()
    assert lines.pop(1) == "docker compose build --pull"
    pull, more, _, stop, finish = lines
    with guided.requests():
        guided.follow(f"{pull}\n{more}")
        wait_until(lambda: {guided.health(name) for name in guided.names("ticker")} == {"healthy"}, "four instances")
        assert len(guided.names("ticker")) == 4
        guided.follow(re.sub(r"OLD_(\d)", lambda found: old[int(found[1]) - 1], stop))
        guided.follow(finish)
        wait_until(lambda: len(guided.names("ticker")) == 2, "two instances")
    assert not set(old) & set(guided.names("ticker"))


@pytest.fixture(scope="module")
def monitored(guided: Guided) -> Guided:
    guided.follow(block("Monitoring", "--profile monitoring up"))
    return guided


@pytest.fixture(scope="module")
def replicated(guided: Guided) -> Guided:
    """Add one line to .env, and the profile `ha`."""
    with (guided.folder / ".env").open("a", encoding="utf-8") as env:
        env.write(block("High availability", "TICKER_STORE__URL", ""))
    guided.follow(block("High availability", "--profile ha up"))
    wait_until(lambda: guided.primary().startswith("172."), "primary")
    wait_until(lambda: guided.follows("valkey-replica"), "replica")
    wait_until(lambda: guided.health_of_store() == "pass", "store")
    return guided


def test_prometheus_loads_all_rules_and_scrapes_everything(monitored: Guided) -> None:
    def targets() -> list[tuple[str, str]]:
        active = monitored.fetch("prometheus", "inner", "9090/api/v1/targets")["data"]["activeTargets"]
        return sorted((target["scrapePool"], target["health"]) for target in active)

    jobs = ("alertmanager", "edge", "prometheus", "ticker", "ticker")
    wait_until(lambda: targets() == [(job, "up") for job in jobs], "targets", within=300)
    groups = monitored.fetch("prometheus", "inner", "9090/api/v1/rules")["data"]["groups"]
    loaded = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
    assert {rule["name"] for rule in loaded} == rules().keys()
    assert {rule["health"] for rule in loaded} <= {"ok", "unknown"}


def test_alerts_of_prometheus_reach_alertmanager(monitored: Guided) -> None:
    """Watchdog fires all the time, and is routed to the receiver of that name."""

    def received() -> dict[str, list[str]]:
        alerts = monitored.fetch("alertmanager", "monitoring", "9093/api/v2/alerts")
        return {alert["labels"]["alertname"]: [to["name"] for to in alert["receivers"]] for alert in alerts}

    # Prometheus looks Alertmanager up every 30 s, and evaluates its rules every 15 s
    wait_until(lambda: received().get(WATCHDOG) == ["watchdog"], WATCHDOG, within=300)


def test_high_availability_is_added(replicated: Guided) -> None:
    assert len(replicated.fixings()) == 2
    assert replicated.rates()["USD"] == NBK_DOLLAR


@pytest.mark.usefixtures("monitored")
@pytest.mark.parametrize("service", SERVICES)
def test_containers_are_confined(replicated: Guided, service: str) -> None:
    """As the kernel enforces it: an ordinary user without capabilities, who cannot gain any or write to the image."""
    names = replicated.names(service)
    assert names
    for name in names:
        status = replicated.engine.run("exec", name, "cat", "/proc/1/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in fields["Uid"].split()
        assert {fields[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
        for folder in ("/etc", "/usr", "/app" if service == "ticker" else "/var"):
            written = replicated.engine.run("exec", name, "sh", "-c", f"touch {folder}/x 2>&1 || true")
            assert "Read-only file system" in written or "Permission denied" in written


def test_files_of_the_store_are_restored_with_the_profile_ha(replicated: Guided, banks: Banks) -> None:
    """The replica is the primary when the records are lost."""
    with files_copied(replicated, banks):
        wait_until(replicated.fail_over, "failover")
        wait_until(lambda: replicated.follows("valkey"), "the old primary is a replica")
        replicated.lose_records("valkey-replica")
        replicated.follow(block("Backup and restore", "docker volume rm"))
    wait_until(lambda: replicated.follows("valkey-replica"), "replica")
