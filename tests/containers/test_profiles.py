"""The profiles `ha` (a replica and three Sentinels) and `monitoring` (Prometheus)."""

import json
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import Project, project, publish, wait_for_dollar
from tests.containers.engine import Engine
from tests.support.process import NEW, OLD, local
from tests.support.promtool import rules
from tests.support.standin import Banks
from tests.support.wait import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

TODAY = local("Asia/Almaty")
YESTERDAY, DAY_BEFORE = (TODAY - timedelta(days=days) for days in (1, 2))
STORE_URL = (
    "TICKER_STORE__URL=redis+sentinel://:${STORE_PASSWORD}"
    "@sentinel-1:26379,sentinel-2:26379,sentinel-3:26379/ticker/0\n"
)


def primary(project: Project) -> str:
    """Return the address of the primary that a Sentinel knows."""
    command = ("valkey-cli", "-p", "26379", "sentinel", "get-master-addr-by-name", "ticker")
    return project.compose("exec", "-T", "sentinel-1", *command).split()[0]


def link(project: Project, service: str) -> str:
    return project.compose("exec", "-T", service, "valkey-cli", "info", "replication")


def test_nothing_is_lost_by_a_failover_and_a_restart(docker: Engine, banks: Banks, tmp_path: Path) -> None:
    """The store stops, the replica takes over, a rate is published, and all containers are removed and started."""
    banks.published["nbk"] = {DAY_BEFORE: OLD, YESTERDAY: NEW}
    with project(docker, banks, tmp_path, "ha", env=STORE_URL) as stack:
        wait_for_dollar(stack, "405.40")
        wait_until(lambda: len(stack.fixings()) == 2, "fixings")
        wait_until(lambda: "master_link_status:up" in link(stack, "valkey-replica"), "replica")
        first = primary(stack)
        stack.compose("stop", "valkey")
        wait_until(lambda: primary(stack) != first, "failover")
        publish(stack, banks, TODAY, USD="406.00")
        wait_until(lambda: stack.get("/health")["checks"]["store"][0]["status"] == "pass", "store")
        wait_until(lambda: len(stack.fixings()) == 3, "fixings")
        banks.faults["nbk"] = 503  # what is lost could not be polled again
        stack.compose("down", "--timeout", "10")
        stack.compose("up", "--detach", "--no-build", "--wait")
        wait_until(lambda: "master_link_status:up" in link(stack, "valkey"), "the old store is a replica")
        assert primary(stack) != first
        assert len(stack.fixings()) == 3
        assert stack.rates()["USD"] == 406
        banks.faults.clear()


def test_prometheus_loads_all_rules_and_scrapes_all_instances(docker: Engine, banks: Banks, tmp_path: Path) -> None:
    banks.published["nbk"] = {DAY_BEFORE: OLD, YESTERDAY: NEW}
    with project(docker, banks, tmp_path, "monitoring") as stack:
        (name,) = stack.names("prometheus")
        networks = docker.inspect(name)["NetworkSettings"]["Networks"]
        address = networks["currency-ticker_inner"]["IPAddress"]

        def query(path: str) -> Any:
            with urllib.request.urlopen(f"http://{address}:9090/api/v1/{path}", timeout=30) as response:
                return json.load(response)["data"]

        def health(job: str) -> list[str]:
            return [target["health"] for target in query("targets")["activeTargets"] if target["scrapePool"] == job]

        wait_until(lambda: health("ticker") == ["up"] * 2, "instances")
        wait_until(lambda: health("edge") == ["up"], "edge")
        loaded = [rule for group in query("rules")["groups"] for rule in group["rules"] if rule["type"] == "alerting"]
        assert {rule["name"] for rule in loaded} == rules().keys()
        assert {rule["health"] for rule in loaded} <= {"ok", "unknown"}
