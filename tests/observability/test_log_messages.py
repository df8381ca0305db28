"""Log messages of operators: start, shutdown, and the source of a quote."""

from pathlib import Path

from structlog.testing import capture_logs

from service.domain.fixing import Series
from service.state.publisher import log_change
from tests.support.process import offline, running
from tests.support.snapshots import CBR, NBK, snapshot_of


def test_shutdown_is_logged(tmp_path: Path) -> None:
    """First that it begins, then, as the last line, that it has ended."""
    with running(offline(tmp_path)) as service:
        service.wait_for("/readyz", "pass")
        service.process.terminate()
        _, log = service.ended()
    assert log.count("service.stopping") == log.count("service.stopped") == 1
    assert log.index("service.ready") < log.index("service.stopping") < log.index("service.stopped")
    assert "service.stopped" in log.splitlines()[-1]


def test_change_to_a_fallback_source_is_a_warning_with_its_reason() -> None:
    preferred, fallback = snapshot_of(nbk=NBK, cbr=CBR), snapshot_of(nbk=Series(), cbr=CBR)
    with capture_logs() as logs:
        log_change(fallback, preferred)
        log_change(preferred, fallback)
    changes = [entry for entry in logs if entry["event"] == "ticker.source_changed"]
    assert [(entry["log_level"], entry["before"], entry["source"]) for entry in changes] == [
        ("warning", "nbk", "cbr"),
        ("info", "cbr", "nbk"),
    ]
    assert changes[0]["reason"] == "nbk has no rates"
    assert "back" not in changes[1]["reason"]  # it may be the first start, after sample data
