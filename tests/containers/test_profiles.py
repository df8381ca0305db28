"""The profile `ha`: a replica and three Sentinels."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.containers.conftest import project, publish, wait_for_dollar
from tests.containers.engine import Engine
from tests.support.process import NEW, OLD, local
from tests.support.standin import Banks
from tests.support.wait import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

TODAY = local("Asia/Almaty")
YESTERDAY, DAY_BEFORE = (TODAY - timedelta(days=days) for days in (1, 2))
STORE_URL = (
    "TICKER_STORE__URL=redis+sentinel://:${STORE_PASSWORD}"
    "@sentinel-1:26379,sentinel-2:26379,sentinel-3:26379/ticker/0\n"
)


def test_nothing_is_lost_by_a_failover_and_a_restart(docker: Engine, banks: Banks, tmp_path: Path) -> None:
    """The store stops, the replica takes over, a rate is published, and all containers are removed and started."""
    banks.published["nbk"] = {DAY_BEFORE: OLD, YESTERDAY: NEW}
    with project(docker, banks, tmp_path, "ha", env=STORE_URL) as stack:
        wait_for_dollar(stack, "405.40")
        wait_until(lambda: len(stack.fixings()) == 2, "fixings")
        wait_until(lambda: stack.follows("valkey-replica"), "replica")
        first = stack.primary()
        stack.compose("stop", "valkey")
        wait_until(lambda: stack.primary() != first, "failover")
        publish(stack, banks, TODAY, USD="406.00")
        wait_until(lambda: stack.get("/health")["checks"]["store"][0]["status"] == "pass", "store")
        wait_until(lambda: len(stack.fixings()) == 3, "fixings")
        banks.faults["nbk"] = 503  # what is lost could not be polled again
        stack.compose("down", "--timeout", "10")
        stack.compose("up", "--detach", "--no-build", "--wait")
        wait_until(lambda: stack.follows("valkey"), "the old store is a replica")
        assert stack.primary() != first
        assert len(stack.fixings()) == 3
        assert stack.rates()["USD"] == 406
        banks.faults.clear()
