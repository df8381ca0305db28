"""Run the real nginx with the deployed configuration, on a port of its own, in front of any instances."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from typing import Final

import pytest

from service.settings.loader import ROOT
from tests.support.ports import unused_port

NGINX: Final = os.environ.get("NGINX") or shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIG: Final = ROOT / "config" / "edge"
TRUSTED_PROXIES: Final = "127.0.1.0/24"
"""Addresses whose X-Forwarded-For the edge trusts in tests."""
_NOBODY: Final = 65534


@dataclass
class Edge:
    """A running edge; it writes only to `folder`."""

    port: int
    folder: Path
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")  # paths are logged as received

    def stop(self) -> str:
        """Stop it gracefully and return its whole log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=60)
        return self.log

    def restart(self) -> None:
        """Stop it and start another in its place."""
        self.stop()
        self.process = _start(self.folder, _NOBODY if os.geteuid() == 0 else None)
        _wait_for(self)


@contextmanager
def run_edge(
    instances: Sequence[int],
    port: int | None = None,
    rate: str | None = None,
    closed: str = "",
    metrics: int | None = None,
) -> Iterator[Edge]:
    """Run the edge, without root, in front of the instances at these ports; skip the test if nginx is missing.

    `rate` replaces the deployed limit of requests per address, for example `1000000r/s` or `1r/m`; `closed` is the
    content of closed.conf; `metrics` the port of the metrics, which are not served by default.
    """
    port = port or unused_port()
    config = (CONFIG / "nginx.conf").read_text(encoding="utf-8")
    if rate:
        config = re.sub(r"rate=\d+r/s", f"rate={rate}", config)
    servers = "".join(f"server 127.0.0.1:{instance} max_fails=0;\n" for instance in instances)
    listen = f"listen 127.0.0.1:{port};\nset_real_ip_from {TRUSTED_PROXIES};\nreal_ip_header X-Forwarded-For;\n"
    files = {"nginx.conf": config, "instances.conf": servers, "listen.conf": listen}
    if closed:
        files["closed.conf"] = closed
    if metrics:
        deployed = (CONFIG / "metrics.conf").read_text(encoding="utf-8")
        files["metrics.conf"] = deployed.replace("listen 8081", f"listen 127.0.0.1:{metrics}")
    with run_nginx(files, port) as edge:
        yield edge


@contextmanager
def run_nginx(files: Mapping[str, str], port: int) -> Iterator[Edge]:
    """Run nginx with the configuration `nginx.conf`, which listens at `port`; skip the test if nginx is missing.

    `files` maps paths in its folder to contents; the prefix is the folder `prefix`.
    """
    if NGINX is None:
        pytest.skip("NO TESTS OF THE EDGE: nginx is not installed and could not be; set NGINX=/path")
    # Not pytest's own folder: the user that nginx runs as cannot read it.
    with tempfile.TemporaryDirectory(prefix="edge-") as name:
        folder = Path(name)
        (folder / "prefix").mkdir()
        for file, content in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(content, encoding="utf-8")
        (folder / "log").touch()
        user = _NOBODY if os.geteuid() == 0 else None
        if user:
            for path in (folder, folder / "prefix", folder / "log"):
                os.chown(path, user, user)
        edge = Edge(port, folder, _start(folder, user))
        try:
            _wait_for(edge)
            yield edge
        finally:
            edge.stop()


def _start(folder: Path, user: int | None) -> subprocess.Popen[str]:
    with (folder / "log").open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [str(NGINX), "-e", "stderr", "-p", f"{folder}/prefix", "-c", f"{folder}/nginx.conf"],
            env={},  # nginx would read $NGINX as sockets to inherit
            stdout=log, stderr=log, text=True, user=user, group=user, extra_groups=[] if user else None,
        )  # fmt: skip


def _wait_for(edge: Edge) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and edge.process.poll() is None:
        try:
            create_connection(("127.0.0.1", edge.port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError(f"nginx does not start: {edge.log}")
