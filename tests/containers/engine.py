"""A Docker engine with a socket, a data directory and networks of its own, and images made of Debian packages."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from service.settings.loader import ROOT
from tests.support.wait import wait_until

CACHE: Final = ROOT / ".containers"
"""Root file systems, wheels, the compose plugin, and the engine's images: a second run takes a minute."""
GATEWAY: Final = "172.30.229.1"
"""The address of this machine in the engine's default network, where containers reach the banks' stand-in."""
IMAGE: Final = "currency-ticker-ticker"
"""The name that compose gives to the image of the Dockerfile."""
MACHINE: Final = "currency-ticker-machine"
"""The image of a machine with systemd, as docs/operations.md requires it, and with the locked packages in /wheels."""
_SYSTEMS: Final = {
    "trixie": ("trixie", "ca-certificates,passwd,python3,python3-venv", ""),
    "forky": (
        "forky",
        "docker-compose,netcat-openbsd,nginx,prometheus,prometheus-alertmanager,valkey-server,valkey-tools",
        "",
    ),
    "machine": (
        "trixie",
        "ca-certificates,curl,git,passwd,procps,python3,python3-venv,sudo,systemd,systemd-sysv",
        "prometheus prometheus-alertmanager",
    ),
}
"""The suite and the packages of each base system, and packages that apt-get can install in it without a network."""
_DISK: Final = 8_000_000_000
_EXCLUDED: Final = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
_PLUGIN: Final = "./usr/libexec/docker/cli-plugins/docker-compose"
_PYTHON: Final = """
RUN python3 -m venv /usr/local && printf '[global]\\nno-index = true\\nfind-links = /wheels\\n' > /etc/pip.conf
COPY wheels /wheels
"""
_TOOLS: Final = """
RUN mkdir -p /data /prometheus /alertmanager && chown valkey:valkey /data && chown 65534:65534 /prometheus /alertmanager
WORKDIR /data
"""
_MACHINE: Final = """
RUN printf '[global]\\nno-index = true\\nfind-links = /wheels\\n' > /etc/pip.conf
COPY wheels /wheels
"""
_STARTED: Final = {"prom/prometheus": "prometheus", "prom/alertmanager": "prometheus-alertmanager"}
"""The command that an image starts by itself, so that docker-compose.yml gives options only."""


class Unavailable(Exception):
    """This machine cannot run containers, or make their images."""


@dataclass(frozen=True)
class Engine:
    """The command line of a running engine."""

    socket: Path

    @property
    def environ(self) -> dict[str, str]:
        settings = {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(CACHE / "config")}
        return {"PATH": os.environ["PATH"], "HOME": str(CACHE), "DOCKER_BUILDKIT": "0", **settings}

    def run(self, *arguments: str | Path, cwd: Path = CACHE, check: bool = True) -> str:
        """Return what `docker ARGUMENTS` prints; fail with its output if it fails."""
        done = subprocess.run(
            ("/usr/bin/docker", *arguments), cwd=cwd, env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, f"docker {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what the engine knows of a container."""
        (document,) = json.loads(self.run("inspect", name))
        return dict(document)


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Run an engine; raise `Unavailable`, with the reason, where none can run."""
    if os.geteuid() != 0:
        raise Unavailable("a container engine needs root")
    missing = [name for name in ("dockerd", "mmdebstrap") if not shutil.which(name)]
    if missing:
        raise Unavailable(f"not installed: {', '.join(missing)} (Debian's docker.io and mmdebstrap)")
    CACHE.mkdir(exist_ok=True)
    log, running = folder / "dockerd.log", Engine(folder / "docker.sock")
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            ("dockerd", "--data-root", CACHE / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid",
             "--host", f"unix://{running.socket}", "--bip", f"{GATEWAY}/24"),
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_until(lambda: daemon.poll() is not None or running.run("version", check=False).count("Version") > 1)
        if daemon.poll() is not None:
            raise Unavailable(f"dockerd does not start: {log.read_text(encoding='utf-8').strip().splitlines()[-1]}")
        yield running
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)


def prepare(engine: Engine) -> None:
    """Make the images that the Dockerfile and docker-compose.yml name, and build the service's own.

    Raises `Unavailable` if packages cannot be fetched or no container runs here; a failure of our files is an error.
    """
    for name in _SYSTEMS:
        _debian(name)
    plugin = CACHE / "config" / "cli-plugins" / "docker-compose"
    if not plugin.exists():
        _fetch("tar", "-xf", _archive("forky"), "-C", CACHE, _PLUGIN)
        plugin.parent.mkdir(parents=True, exist_ok=True)
        (CACHE / _PLUGIN).rename(plugin)
    context = CACHE / "context"
    wheels = context / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    _fetch(
        sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
        "--python-version=3.13", "--dest", wheels, "--requirement", ROOT / "requirements.lock",
    )  # fmt: skip
    services = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"].values()
    named = {service["image"] for service in services if "image" in service}
    (python,) = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    _build(engine, "trixie", _PYTHON, context, [python])
    for repository, command in _STARTED.items():
        (name,) = (name for name in named if name.startswith(f"{repository}:"))
        _build(engine, "forky", f'{_TOOLS}ENTRYPOINT ["{command}"]\n', context, [name])
        named.remove(name)
    _build(engine, "forky", _TOOLS, context, sorted(named))
    _build(engine, "machine", _MACHINE, context, [MACHINE])
    engine.run("build", "--quiet", "--tag", IMAGE, ROOT)


def _archive(name: str) -> Path:
    """Return the file of a base system; with other packages it is another file, which replaces an old one."""
    return CACHE / f"{name}-{sha256(repr(_SYSTEMS[name]).encode()).hexdigest()[:12]}.tar"


def _debian(name: str) -> None:
    """Make a base system, from the archive that this machine uses."""
    suite, packages, downloaded = _SYSTEMS[name]
    archive = _archive(name)
    if archive.exists():
        return
    for old in CACHE.glob(f"{name}*.tar"):
        old.unlink()
    if (free := shutil.disk_usage(CACHE).free) < _DISK:
        raise Unavailable(f"images need {_DISK / 1e9:.0f} GB, {CACHE} has {free / 1e9:.1f}")
    sources = [*Path("/etc/apt/sources.list.d").glob("*"), Path("/etc/apt/sources.list")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources if path.is_file())
    mirror = re.search(r"^(?:URIs:|deb(?: \[.*\])?) *(\S+/debian/?)(?:\s|$)", text, re.MULTILINE)
    if not mirror:
        raise Unavailable("no archive of Debian in /etc/apt")
    partial = archive.with_suffix(".partial")
    options = ["--quiet", "--variant=apt", "--format=tar", f"--include={packages}", *_EXCLUDED]
    unexpiring = '--aptopt=Acquire::Check-Valid-Until "false"'  # a mirror may be days old
    if downloaded:
        download = f"apt-get install --quiet --yes --download-only --no-install-recommends {downloaded}"
        options += ["--skip=cleanup/apt", f'--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {download}']
        options += ['--customize-hook=rm "$1"/var/cache/apt/*.bin']  # indexes that apt-get makes again
    _fetch("mmdebstrap", *options, unexpiring, suite, partial, mirror[1])
    partial.rename(archive)


def _fetch(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "hashes" not in done.stderr.lower(), done.stderr  # those of requirements.lock are ours
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {done.stderr.strip()[-300:]}")


def _import(engine: Engine, name: str) -> str:
    """Import a base system, and try to run a container of it; return the name of the image."""
    archive = _archive(name)
    if not engine.run("images", "--quiet", archive.stem).strip():
        engine.run("import", archive, archive.stem)
        try:
            engine.run("run", "--rm", "--memory", "64m", archive.stem, "true")
        except AssertionError as error:
            raise Unavailable(f"no container runs here: {str(error).strip()[-300:]}") from None
    return archive.stem


def _build(engine: Engine, base: str, dockerfile: str, context: Path, names: Sequence[str]) -> None:
    (context / f"{base}.Dockerfile").write_text(f"FROM {_import(engine, base)}\n{dockerfile}", encoding="utf-8")
    tags = [option for name in names for option in ("--tag", name)]
    engine.run("build", "--quiet", "--file", context / f"{base}.Dockerfile", *tags, context)
