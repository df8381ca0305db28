"""What is logged, by a process of its own: logging is set up once in each."""

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

SAYS = """
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
def logged(form: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", SAYS.format(format=form)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    assert "203.0.113.9" not in ran.stderr
    assert "missed" not in ran.stderr
    return ran.stderr.splitlines()


def test_each_line_is_a_document() -> None:
    """Ours and those of libraries alike, with their exceptions, for whoever reads logs by machine."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in logged("json")]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("store.lost", "warning"),
        ("Executing it took 0.200 seconds", "warning"),
        ("oops", "error"),
    ]
    assert lines[0]["error"] == "it is full"
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert [line.get("logger") for line in lines] == [None, "asyncio", "redis"]
    assert all(line["timestamp"].endswith("Z") for line in lines)


@pytest.mark.parametrize("word", ["store.lost", "error='it is full'", "Executing it took", "[asyncio]"])
def test_a_console_has_lines_for_people(word: str) -> None:
    """One event a line."""
    assert sum(word in line for line in logged("console")) == 1


def test_no_client_address_is_logged(tmp_path: Path) -> None:
    """Whatever a stranger sends: what is no HTTP, what is not there, a stream that breaks off."""
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
