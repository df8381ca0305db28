"""The real nginx with the configuration that is deployed, on a port of its own, in front of any instances."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
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
BELIEVED: Final = "127.0.1.0/24"
"""Addresses of whom stands before the edge, as far as tests are concerned: what they say of a reader is believed."""
_NOBODY: Final = 65534


@dataclass
class Edge:
    """A running edge; `folder` has all that it writes."""

    port: int
    folder: Path
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")  # paths are as they were sent

    def end(self) -> str:
        """End it politely and return all that it has logged."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=60)
        return self.log

    def restart(self) -> None:
        """End it, and start another in its place."""
        self.end()
        self.process = _started(self.folder, _NOBODY if os.geteuid() == 0 else None)
        _wait_for(self)


@contextmanager
def edging(instances: Sequence[int], port: int | None = None, rate: str | None = None) -> Iterator[Edge]:
    """Run the edge, without root, in front of the instances at these ports; skip the test where there is no nginx.

    With a `rate` each address may ask as often, `1000000r/s` or `1r/m`, instead of what is deployed.
    """
    if NGINX is None:
        pytest.skip("NO TESTS OF THE EDGE: no nginx is installed and none could be; name one by NGINX=/path")
    port = port or unused_port()
    # Not pytest's own folder: that is closed to the user as whom it runs.
    with tempfile.TemporaryDirectory(prefix="edge-") as name:
        folder = Path(name)
        config = (CONFIG / "nginx.conf").read_text(encoding="utf-8")
        if rate:
            config = re.sub(r"rate=\d+r/s", f"rate={rate}", config)
        (folder / "nginx.conf").write_text(config, encoding="utf-8")
        servers = "".join(f"server 127.0.0.1:{instance} max_fails=0;\n" for instance in instances)
        (folder / "instances.conf").write_text(servers, encoding="utf-8")
        listen = f"listen 127.0.0.1:{port};\nset_real_ip_from {BELIEVED};\nreal_ip_header X-Forwarded-For;\n"
        (folder / "listen.conf").write_text(listen, encoding="utf-8")
        (folder / "prefix").mkdir()
        (folder / "log").touch()
        user = _NOBODY if os.geteuid() == 0 else None
        if user:
            for path in (folder, folder / "prefix", folder / "log"):
                os.chown(path, user, user)
        edge = Edge(port, folder, _started(folder, user))
        try:
            _wait_for(edge)
            yield edge
        finally:
            edge.end()


def _started(folder: Path, user: int | None) -> subprocess.Popen[str]:
    with (folder / "log").open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [str(NGINX), "-e", "stderr", "-p", f"{folder}/prefix", "-c", f"{folder}/nginx.conf"],
            env={},  # it would take $NGINX for sockets to inherit
            stdout=log, stderr=log, text=True, user=user, group=user, extra_groups=[] if user else None,
        )  # fmt: skip


def _wait_for(edge: Edge) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and edge.process.poll() is None:
        try:
            create_connection(("127.0.0.1", edge.port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError(f"nginx does not start: {edge.log}")
