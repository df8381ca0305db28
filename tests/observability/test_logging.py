"""Log output, tested in a separate process because logging is configured once per process."""

import json
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from service.settings.loader import ROOT
from tests.support.process import offline, running

LOGGING_SCRIPT = """
import logging, structlog
from service.observability.logging import configure
from service.settings import LogSettings
configure(LogSettings(format={format!r}))
structlog.get_logger().warning("store.lost", error="it is full")
logging.getLogger("asyncio").warning("Executing %s took %.3f seconds", "it", 0.2)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("redis").exception("oops")
logging.getLogger("apscheduler").warning("missed")
logging.getLogger("aiohttp.server").error("Error handling request from 203.0.113.9")
"""


@cache
def log_lines(log_format: str) -> list[str]:
    """Run the script with a log format and return the lines of its stderr."""
    result = subprocess.run(
        [sys.executable, "-c", LOGGING_SCRIPT.format(format=log_format)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == ""
    assert "203.0.113.9" not in result.stderr
    assert "missed" not in result.stderr
    return result.stderr.splitlines()


def test_json_log_has_one_document_per_line() -> None:
    """Cover our events, those of libraries, and exceptions."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in log_lines("json")]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("store.lost", "warning"),
        ("Executing it took 0.200 seconds", "warning"),
        ("oops", "error"),
    ]
    assert lines[0]["error"] == "it is full"
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert [line.get("logger") for line in lines] == [None, "asyncio", "redis"]
    assert all(line["time"].endswith("Z") for line in lines)


@pytest.mark.parametrize("text", ["store.lost", "error='it is full'", "Executing it took", "[asyncio]"])
def test_console_log_has_one_line_per_event(text: str) -> None:
    """Each text is in exactly one line."""
    assert sum(text in line for line in log_lines("console")) == 1


def test_no_client_address_is_logged(tmp_path: Path) -> None:
    """Cover requests that are not HTTP, an unknown path and a stream that is aborted."""
    with running(offline(tmp_path)) as service:
        service.wait_for("/v1/ticker.txt", "usd")
        for line in (b"\x16\x03\x01", b"GET /nowhere HTTP/1.1", b"GET /v1/stream HTTP/1.1"):
            with socket.create_connection(("127.0.0.1", service.port), 30, ("127.0.0.77", 0)) as connection:
                connection.sendall(line + b"\r\nHost: h\r\n\r\n")
                connection.recv(100)
        service.process.terminate()
        status, log = service.ended()
    assert status == 0
    assert "service.ready" in log
    assert "127.0.0.77" not in log
