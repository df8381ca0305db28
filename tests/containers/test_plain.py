"""The plain deployment: two instances behind a cache, with one store."""

import os
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.containers.conftest import Project, project, publish, wait_for_dollar
from tests.containers.engine import IMAGE, Engine
from tests.support.process import NEW, OLD, local
from tests.support.standin import Banks
from tests.support.wait import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

TODAY = local("Asia/Almaty")
YESTERDAY = TODAY - timedelta(days=1)
DAY_BEFORE = TODAY - timedelta(days=2)


@pytest.fixture(scope="module")
def plain(docker: Engine, banks: Banks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    banks.published["nbk"] = {DAY_BEFORE: OLD, YESTERDAY: NEW}
    with project(docker, banks, tmp_path_factory.mktemp("plain")) as running:
        yield running


def test_image_runs_as_a_user_without_pip(docker: Engine) -> None:
    assert docker.run("run", "--rm", "--entrypoint", "id", IMAGE, "-u").strip() == "10001"
    finds_pip = "import importlib.util as util; print(util.find_spec('pip'), util.find_spec('ensurepip'))"
    assert docker.run("run", "--rm", "--entrypoint", ".venv/bin/python", IMAGE, "-c", finds_pip).split() == ["None"] * 2
    assert docker.run("run", "--rm", IMAGE, "--help").strip()


def test_rates_are_served_through_the_edge(plain: Project) -> None:
    wait_for_dollar(plain, "405.40")
    document = plain.get("/v1/ticker")
    assert [str(quote["percent"]) for quote in document["quotes"]] == ["1.35", "2.68", "0.00", "4.11", "0.25"]
    assert plain.get("/metrics")["status"] == 404


def test_killed_instance_is_restarted_and_no_request_fails(plain: Project, docker: Engine) -> None:
    """The edge passes a failed request on to the other instance; the engine restarts the process."""
    (name, _) = plain.names("ticker")
    with plain.requests():
        os.kill(docker.inspect(name)["State"]["Pid"], signal.SIGKILL)
        wait_until(lambda: docker.inspect(name)["RestartCount"] == 1, "restart")
        wait_until(lambda: plain.health(name) == "healthy", "health")


def test_store_may_be_killed_without_a_loss(plain: Project, docker: Engine, banks: Banks) -> None:
    """Rates are served meanwhile; what was published before and meanwhile is stored."""
    (name,) = plain.names("valkey")
    with plain.requests():
        os.kill(docker.inspect(name)["State"]["Pid"], signal.SIGKILL)
        publish(plain, banks, TODAY, USD="406.00")
        wait_until(lambda: plain.health(name) == "healthy", "health")
        wait_until(lambda: plain.get("/health")["checks"]["store"][0]["status"] == "pass", "store")
    wait_until(lambda: len(plain.fixings()) == 3, "fixings")


def test_upgrade_by_the_guide_fails_no_request(plain: Project, docker: Engine) -> None:
    """The commands of docs/operations.md: two new instances beside the old ones, which are then stopped."""
    old = plain.names("ticker")
    assert len(old) == 2
    with plain.requests():
        plain.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "ticker=4", "ticker")
        wait_until(lambda: {plain.health(name) for name in plain.names("ticker")} == {"healthy"}, "four instances")
        assert len(plain.names("ticker")) == 4
        docker.run("stop", *old)
        docker.run("rm", *old)
        plain.compose("up", "-d", "--no-build")
        wait_until(lambda: len(plain.names("ticker")) == 2, "two instances")
    assert not set(old) & set(plain.names("ticker"))


def test_everything_remains_after_down_and_up(plain: Project) -> None:
    before = plain.fixings()
    plain.compose("down", "--timeout", "10")
    plain.compose("up", "--detach", "--no-build", "--wait")
    assert plain.fixings() == before
    assert plain.rates()["USD"] == 406
