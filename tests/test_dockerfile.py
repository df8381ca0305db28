"""The Dockerfile, tested without a container engine: linted, and its command run from the files it copies.

Not tested here: the base image, `useradd`, and the installation of the lock file, which `make setup` does too. Steps
of pip and venv that need no index are run in directories of the test.
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
    """Return the command of the last step of this kind in the final image."""
    (*_, text) = (text for name, text in RUNTIME if name == step)
    words: list[str] = json.loads(text[text.index("[") :])
    return words


class ImageService(Service):
    """Runs the image's command on a free port, without a store or banks."""

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
    """Return a directory like the image's: copied files that .dockerignore allows, and a `.venv` with this Python."""
    context = tmp_path / "context"
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"]
    visible = [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    for path in (*visible, *(path for folder in visible for path in folder.rglob("*"))):
        name = str(path.relative_to(ROOT))
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        if any(fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in allowed):
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, context / name)
    app = tmp_path / "app"
    app.mkdir()
    for name, text in RUNTIME:
        if name == "COPY" and not text.startswith("--from"):
            source, target = text.split()
            sources = list(context.glob(source))
            assert sources, f"{source} is excluded by .dockerignore"
            for path in sources:
                if path.is_dir():
                    shutil.copytree(path, app / target)
                else:
                    (app / target).mkdir(exist_ok=True)
                    shutil.copy(path, app / target)
    (app / ".venv" / "bin").mkdir(parents=True)
    python = app / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return app


def modification_times(folder: Path) -> Mapping[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_hadolint_reports_nothing() -> None:
    """No rule of hadolint is violated, including those of the levels info and style."""
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


def test_python_version_is_supported() -> None:
    """Both stages use the same version, one that the project declares as supported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bases = {text.split()[0] for name, text in STEPS if name == "FROM"}
    assert len(bases) == 1
    version = re.fullmatch(r"python:(3\.\d+)-slim", bases.pop())
    assert version
    assert f"Programming Language :: Python :: {version[1]}" in project["classifiers"]


def test_installed_packages_are_locked() -> None:
    """The only installation is that of the lock file, with hashes, and without building: no package runs code then."""
    installs = [text for _, text in STEPS if re.search(r"\bpip\b.* install ", text)]
    assert len(installs) == 1
    assert installs[0].endswith("--only-binary=:all: --require-hashes -r requirements.lock")


def test_image_contains_only_what_it_needs(image: Path) -> None:
    """Packages, three settings files and the service; no tests, documents, lock file or git data."""
    copied = [text for name, text in RUNTIME if name == "COPY"]
    assert copied == ["--from=build /app/.venv .venv", "config/*.toml config/", "service service"]
    assert not [name for name, _ in RUNTIME if name == "ADD"]
    assert {path.name for path in image.iterdir()} == {".venv", "config", "service"}
    assert {path.name for path in (image / "config").iterdir()} == {"default.toml", "example.toml", "production.toml"}
    viewer, fonts = image / "service" / "web" / "viewer", image / "service" / "web" / "fonts"
    files = (image / "service").rglob("*")
    assert {path.suffix for path in viewer.iterdir()} == {".gz", ".txt", ""}  # compressed, with its licences
    chart = image / "service" / "web" / "static" / "uplot"
    assert {path.name for path in chart.iterdir()} == {"LICENSE", "uPlot.js"}
    kinds = {path.suffix for path in files if path.is_file() and path.parent not in (viewer, fonts, chart)}
    assert {path.suffix for path in fonts.iterdir()} == {".ttf", ".txt"}  # with their licence
    assert kinds == {
        ".py",
        ".csv",
        ".css",
        ".js",
        ".svg",
        ".atom",
        ".html",
        ".json",
        ".po",
        ".mo",
        ".cfg",
        ".ts",
        ".typed",
    }


@pytest.mark.slow
def test_image_has_no_installer_or_compiler(tmp_path: Path) -> None:
    """The environment has no pip; pip and ensurepip of the base image are removed; no tools are installed."""
    text = " && ".join(text for name, text in STEPS if name == "RUN")
    assert not {"apt-get", "apt", "apk", "curl", "wget", "gcc"} & set(text.split())
    create, uninstall, remove_bundle = (
        next(command for command in map(shlex.split, text.split(" && ")) if " ".join(command).startswith(beginning))
        for beginning in ("python -m venv", "python -m pip uninstall", "python -c import ensurepip")
    )

    def run(python: Path | str, *words: str, **environ: str) -> int:
        return subprocess.run([python, *words], check=False, capture_output=True, timeout=90, env=environ).returncode

    assert run(sys.executable, *(word.replace("/app", str(tmp_path)) for word in create[1:])) == 0
    assert run(tmp_path / ".venv" / "bin" / "python", "-c", "import pip") == 1
    base = tmp_path / "base" / "bin" / "python"
    assert run(sys.executable, "-m", "venv", str(tmp_path / "base")) == 0
    assert run(base, *uninstall[1:]) == 0
    assert run(base, "-c", "import pip") == 1
    bundled = tmp_path / "bundled" / "ensurepip"  # found before this machine's ensurepip, which must stay
    bundled.mkdir(parents=True)
    (bundled / "__init__.py").touch()
    assert run(base, *remove_bundle[1:], PYTHONPATH=str(bundled.parent)) == 0
    assert not bundled.exists()


def test_image_does_not_run_as_root() -> None:
    """It runs as the created user, by number, who does not own the files."""
    created = [text for _, text in RUNTIME if "useradd" in text]
    (user,) = (text for name, text in RUNTIME if name == "USER")
    assert f"--uid {user} " in created[0]
    assert all("--chown" not in text for name, text in RUNTIME if name == "COPY")


@pytest.mark.slow
def test_image_serves_and_reports_its_health(image: Path) -> None:
    """Entry point and health check work with only the files of the image; nothing is written there."""
    (step,) = (text for name, text in RUNTIME if name == "RUN" and "compileall" in text)
    subprocess.run(shlex.split(step), cwd=image, check=True, timeout=90)
    before = modification_times(image)
    service = ImageService(image)
    words = [word.replace("8080", str(service.port)) for word in arguments("HEALTHCHECK")]

    def healthy() -> bool:
        return subprocess.run(words, cwd=image, check=False, timeout=60, stderr=subprocess.DEVNULL).returncode == 0

    try:
        service.wait_for("/livez", "pass")
        assert service.get("/readyz")[0] == 503  # without store and banks it is still live
        assert healthy()
        assert service.get("/docs")[0] == service.get("/openapi.json")[0] == 200  # the viewer's files are in the image
    finally:
        service.process.terminate()
        status, log = service.ended()
    assert (status, "Traceback" in log) == (0, False), log
    assert not healthy()
    assert modification_times(image) == before
    assert not list(image.rglob("*.conf"))
