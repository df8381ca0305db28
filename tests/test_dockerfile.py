"""The image, as far as can be shown without a container engine: linted, and run from what it copies.

Not shown here: the base image, `useradd`, and the installation of the lock file, which `make setup` does alike. What
pip and venv do without an index is done, in folders of a test.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

from service.settings.loader import ROOT
from tests.support.ports import unused_port
from tests.support.process import Service

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = [
    (line.split()[0], line.split(maxsplit=1)[1])
    for line in re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
    if line
]
RUNTIME = STEPS[max(number for number, (name, _) in enumerate(STEPS) if name == "FROM") :]


def arguments(step: str) -> list[str]:
    """Return what the last such step of the final image runs."""
    (*_, text) = (text for name, text in RUNTIME if name == step)
    words: list[str] = json.loads(text[text.index("[") :])
    return words


class Contained(Service):
    """The image's own command, with a free port, no store and no bank."""

    def __init__(self, image: Path) -> None:
        self.port = unused_port()
        closed = f"http://127.0.0.1:{unused_port()}"
        environ = {f"TICKER_SOURCES__{key}__URL": closed for key in ("NBK", "CBR", "NBU", "CBU")}
        environ |= {"TICKER_STORE__URL": f"redis://127.0.0.1:{unused_port()}/0", "TICKER_HTTP__PORT": str(self.port)}
        self.process = subprocess.Popen(
            [*arguments("ENTRYPOINT"), *arguments("CMD")],
            cwd=image, env={"PATH": os.defpath, **environ},
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return the image's folder: what is copied of what .dockerignore lets in, and a `.venv` with this Python."""
    context = tmp_path / "context"
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"]
    shown = [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    for path in (*shown, *(path for folder in shown for path in folder.rglob("*"))):
        name = str(path.relative_to(ROOT))
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        if any(fnmatch(name, one) or name.startswith(f"{one}/") for one in allowed):
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, context / name)
    app = tmp_path / "app"
    app.mkdir()
    for name, text in RUNTIME:
        if name == "COPY" and not text.startswith("--from"):
            source, target = text.split()
            sources = list(context.glob(source))
            assert sources, f"{source} is not let in by .dockerignore"
            for one in sources:
                if one.is_dir():
                    shutil.copytree(one, app / target)
                else:
                    (app / target).mkdir(exist_ok=True)
                    shutil.copy(one, app / target)
    (app / ".venv" / "bin").mkdir(parents=True)
    python = app / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return app


def everything(folder: Path) -> Mapping[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_it_is_linted() -> None:
    """No rule of hadolint is broken, down to those that only inform."""
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    command = [
        str(hadolint),
        "--no-color",
        "--failure-threshold",
        "style",
        "--disable-ignore-pragma",
        str(ROOT / "Dockerfile"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_its_python_is_one_of_ours() -> None:
    """Both stages have the same, one that the project names as tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bases = {text.split()[0] for name, text in STEPS if name == "FROM"}
    assert len(bases) == 1
    version = re.fullmatch(r"python:(3\.\d+)-slim", bases.pop())
    assert version
    assert f"Programming Language :: Python :: {version[1]}" in project["classifiers"]


def test_what_is_installed_is_locked() -> None:
    """The one installation is of the lock file, by hashes."""
    installs = [text for _, text in STEPS if re.search(r"\bpip\b.* install ", text)]
    assert len(installs) == 1
    assert installs[0].endswith("--require-hashes -r requirements.lock")


def test_its_contents_are_what_it_serves(image: Path) -> None:
    """Packages, three files of settings and the service: no tests, no documents, no lock file, nothing of git."""
    copied = [text for name, text in RUNTIME if name == "COPY"]
    assert copied == ["--from=build /app/.venv .venv", "config/*.toml config/", "service service"]
    assert not [name for name, _ in RUNTIME if name == "ADD"]
    assert {path.name for path in image.iterdir()} == {".venv", "config", "service"}
    assert {path.name for path in (image / "config").iterdir()} == {"default.toml", "example.toml", "production.toml"}
    viewer, files = image / "service" / "web" / "viewer", (image / "service").rglob("*")
    assert {path.suffix for path in viewer.iterdir()} == {".gz", ".txt", ""}  # packed, with its licences
    kinds = {path.suffix for path in files if path.is_file() and path.parent != viewer}
    assert kinds == {".py", ".csv", ".css", ".js", ".svg", ".html", ".json", ".po", ".mo", ".cfg", ".typed"}


@pytest.mark.slow
def test_nothing_in_it_can_install_or_compile(tmp_path: Path) -> None:
    """The packages come without pip, that of the base image goes with what would bring it back; nothing is added."""
    text = " && ".join(text for name, text in STEPS if name == "RUN")
    assert not {"apt-get", "apt", "apk", "curl", "wget", "gcc"} & set(text.split())
    made, removed, unbundled = (
        next(command for command in map(shlex.split, text.split(" && ")) if " ".join(command).startswith(beginning))
        for beginning in ("python -m venv", "python -m pip uninstall", "python -c import ensurepip")
    )

    def run(python: Path | str, *words: str, **environ: str) -> int:
        return subprocess.run([python, *words], check=False, capture_output=True, timeout=90, env=environ).returncode

    assert run(sys.executable, *(word.replace("/app", str(tmp_path)) for word in made[1:])) == 0
    assert run(tmp_path / ".venv" / "bin" / "python", "-c", "import pip") == 1
    base = tmp_path / "base" / "bin" / "python"
    assert run(sys.executable, "-m", "venv", str(tmp_path / "base")) == 0
    assert run(base, *removed[1:]) == 0
    assert run(base, "-c", "import pip") == 1
    bundled = tmp_path / "bundled" / "ensurepip"  # stands before that of this machine, which has to stay
    bundled.mkdir(parents=True)
    (bundled / "__init__.py").touch()
    assert run(base, *unbundled[1:], PYTHONPATH=str(bundled.parent)) == 0
    assert not bundled.exists()


def test_it_does_not_run_as_root() -> None:
    """As the user that was made, by number; its files belong to another."""
    made = [text for _, text in RUNTIME if "useradd" in text]
    (user,) = (text for name, text in RUNTIME if name == "USER")
    assert f"--uid {user} " in made[0]
    assert all("--chown" not in text for name, text in RUNTIME if name == "COPY")


def test_it_serves_and_its_health_is_known(image: Path) -> None:
    """Entry point and health check, from a folder with no more than the image has; nothing is written there."""
    (step,) = (text for name, text in RUNTIME if name == "RUN" and "compileall" in text)
    subprocess.run(shlex.split(step), cwd=image, check=True, timeout=90)
    before = everything(image)
    service = Contained(image)
    words = [word.replace("8080", str(service.port)) for word in arguments("HEALTHCHECK")]

    def healthy() -> bool:
        return subprocess.run(words, cwd=image, check=False, timeout=60, stderr=subprocess.DEVNULL).returncode == 0

    try:
        service.wait_for("/livez", "pass")
        assert service.get("/readyz")[0] == 503  # no store and no bank: alive all the same
        assert healthy()
        assert service.get("/docs")[0] == service.get("/openapi.json")[0] == 200  # its files are in the image
    finally:
        service.process.terminate()
        status, log = service.ended()
    assert (status, "Traceback" in log) == (0, False), log
    assert not healthy()
    assert everything(image) == before
    assert not list(image.rglob("*.conf"))
