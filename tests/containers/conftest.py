"""Compose projects on an engine of their own."""

import asyncio
import itertools
import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from service.settings.loader import ROOT
from tests.containers.engine import GATEWAY, Engine, Unavailable, engine, prepare
from tests.support.ports import unused_port
from tests.support.process import OLD
from tests.support.standin import Banks, serving
from tests.support.wait import wait_until

PROJECT = "currency-ticker"
OVERRIDE = """
services:
  edge: {{ ports: !override ["127.0.0.1:{port}:8080"], ulimits: {{ nofile: 4096 }} }}
  ticker: {{ environment: {environ}, ulimits: {{ nofile: 4096 }} }}
  grafana: {{ deploy: {{ replicas: 0 }} }}
"""
"""What is not as in production: the published port, the limit of open files, the banks and how often one is polled."""
OFTEN = {
    f"TICKER_SOURCES__NBK__{name}": value for name, value in (("EVERY", "1"), ("SWEEP", "1"), ("BUDGET", "100000"))
}
"""Settings with which a publication is found at once."""


@dataclass
class Project:
    """The compose file in a copy of the repository."""

    engine: Engine
    folder: Path
    port: int
    profiles: tuple[str, ...] = ()

    def compose(self, *arguments: str) -> str:
        files = ("-f", "docker-compose.yml", "-f", "override.yml")
        profiles = [option for name in self.profiles for option in ("--profile", name)]
        return self.engine.run("compose", "-p", PROJECT, *files, *profiles, *arguments, cwd=self.folder)

    def names(self, service: str) -> list[str]:
        """Return the containers of a service that run, oldest first."""
        labels = (f"project={PROJECT}", f"service={service}", "oneoff=False")
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        ids = self.engine.run("ps", "--quiet", *filters).split()
        containers = sorted(map(self.engine.inspect, ids), key=lambda container: str(container["Created"]))
        return [str(container["Name"]).lstrip("/") for container in containers]

    def execute(self, service: str, *command: str, check: bool = True) -> str:
        """Return what a command prints in the oldest container of a service."""
        return self.engine.run("exec", self.names(service)[0], *command, check=check)

    def primary(self) -> str:
        """Return the address of the primary that a Sentinel knows."""
        command = ("valkey-cli", "-p", "26379", "sentinel", "get-master-addr-by-name", "ticker")
        return self.execute("sentinel-1", *command, check=False).partition("\n")[0]

    def follows(self, service: str) -> bool:
        """Return whether a store is a replica that is connected to its primary."""
        return "master_link_status:up" in self.execute(service, "valkey-cli", "info", "replication", check=False)

    def fetch(self, service: str, network: str, path: str) -> Any:
        """Return the JSON of a path, requested at a port that is not published."""
        networks = self.engine.inspect(self.names(service)[0])["NetworkSettings"]["Networks"]
        address = networks[f"{PROJECT}_{network}"]["IPAddress"]
        with urllib.request.urlopen(f"http://{address}:{path}", timeout=30) as response:
            return json.load(response)

    def health(self, name: str) -> str:
        return str(self.engine.inspect(name)["State"]["Health"]["Status"])

    def get(self, path: str) -> Any:
        """Return the JSON of a path, requested through the edge; an error response has JSON too."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
                return json.load(response, parse_float=Decimal)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def rates(self) -> dict[str, Decimal]:
        return {quote["code"]: quote["rate"] for quote in self.get("/v1/ticker").get("quotes", ())}

    def fixings(self) -> set[str]:
        """Return the dates of the publications of nbk that have a receipt."""
        document = self.get("/v1/history/usd?days=30")
        return {point["date"] for point in document.get("history", ())}

    @contextmanager
    def requests(self) -> Iterator[None]:
        """Request rates that no cache has all the time, below the edge's limit; fail if one request fails."""
        stopped, count, failures = threading.Event(), 0, list[str]()

        def request() -> None:
            nonlocal count
            for number in itertools.count():
                if stopped.wait(0.25):
                    return
                code = ("usd", "eur", "rub", "gbp", "cny")[number % 5]
                url = f"http://127.0.0.1:{self.port}/v1/ticker?currencies={code}"
                try:
                    with urllib.request.urlopen(url, timeout=30) as response:
                        json.load(response)
                        count += 1
                except OSError as error:
                    failures.append(f"{url}: {error}")

        client = threading.Thread(target=request)
        client.start()
        try:
            yield
        finally:
            stopped.set()
            client.join()
        assert failures == []
        assert count > 0


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    try:
        with engine(tmp_path_factory.mktemp("engine")) as running:
            prepare(running)
            yield running
    except Unavailable as error:
        pytest.skip(f"NO CONTAINERS: {error}")


@pytest.fixture(scope="module")
def banks(docker: Engine) -> Iterator[Banks]:
    """Yield stand-in banks that containers reach, served by a thread."""
    banks, loop, started, stopped = Banks(), asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with serving(banks, GATEWAY):
            started.set()
            await stopped.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait(60)
    yield banks
    loop.call_soon_threadsafe(stopped.set)
    thread.join()
    loop.close()


@contextmanager
def project(docker: Engine, banks: Banks, folder: Path, *profiles: str, env: str = "") -> Iterator[Project]:
    """Bring a project up until all its containers are healthy; remove it and its volumes at the end."""
    for name in ("docker-compose.yml", "Dockerfile"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / ".env").write_text(f"STORE_PASSWORD=5ec3e7\nGRAFANA_PASSWORD=9rafana\n{env}", encoding="utf-8")
    created = Project(docker, folder, unused_port(), profiles)
    override = OVERRIDE.format(port=created.port, environ=json.dumps(banks.environ() | OFTEN))
    (folder / "override.yml").write_text(override, encoding="utf-8")
    try:
        created.compose("up", "--detach", "--no-build", "--wait")
        yield created
    finally:
        created.compose("down", "--volumes", "--timeout", "10")


def publish(project: Project, banks: Banks, day: date, **rates: str) -> None:
    """Publish rates of nbk, and wait until the edge serves them."""
    banks.published.setdefault("nbk", {})[day] = {**OLD, **rates}
    wait_for_dollar(project, rates["USD"])


def wait_for_dollar(project: Project, rate: str) -> None:
    """Wait until the edge serves this rate."""
    wait_until(lambda: project.rates().get("USD") == Decimal(rate), f"USD {rate}")


def blocks(title: str) -> list[tuple[str, str]]:
    """Return the language and the text of each block of a section of docs/operations.md."""
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", guide, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def block(title: str, part: str, language: str = "sh") -> str:
    """Return the one block of a section of the guide that has this text."""
    (found,) = (text for name, text in blocks(title) if name == language and part in text)
    return found


def repository_of_this_checkout(folder: Path) -> Path:
    """Return a bare repository with the branch `main`: this checkout, with changes that are not committed."""
    repository = folder / "repository.git"
    commit = _git("stash", "create") or "HEAD"
    _git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    _git("push", "--quiet", str(repository), f"{commit}:refs/heads/main")
    return repository


def _git(*arguments: str) -> str:
    done = subprocess.run(("git", *arguments), cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
