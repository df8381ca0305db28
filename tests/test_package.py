"""The package: built from a clean checkout, installed in an empty environment, run outside the checkout."""

import ast
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.runtime.program import program
from service.settings.loader import ROOT
from tests.supply import lock
from tests.support.ports import unused_port
from tests.support.process import Service, offline

PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DATA_ONLY: Final = {"tzdata"}
"""Dependencies that nothing imports: the standard library reads them."""
UV: Final = Path(sys.executable).with_name("uv")
INSTALLATION: Final = 600
"""Timeout in seconds of a build or installation, which may download all packages."""


def run(*command: str | Path, cwd: Path) -> str:
    """Return the output of a command; fail with the output if it fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TICKER_", "PYTHON", "VIRTUAL"))}
    done = subprocess.run(
        command, cwd=cwd, env=clean, capture_output=True, text=True, check=False, timeout=INSTALLATION
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Installed(Service):
    """The installed console script, run in an empty directory with the given environment alone."""

    def __init__(self, script: Path, folder: Path) -> None:
        self.port = unused_port()
        environ = {name: value for name, value in offline(folder).items() if name != "TICKER_STORE__DATA_DIR"}
        self.process = subprocess.Popen(
            [script, "serve", "--port", str(self.port)],
            cwd=folder, env={"PATH": os.defpath, **environ},
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """Return the files that git tracks, as in a fresh clone."""
    names = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def source(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout with only the tracked files."""
    folder = tmp_path_factory.mktemp("source")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a constraints file with the locked versions, so that new releases do not affect the tests."""
    file = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    file.write_text("".join(f"{name}=={version}\n" for name, version in lock.locked().items()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that `pip install .` builds."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts directory of a new environment with the wheel and its dependencies.

    uv installs the dependencies, in a tenth of pip's time; pip then installs the wheel and finds them satisfied.
    """
    folder = tmp_path_factory.mktemp("installed")
    scripts = folder / "venv" / "bin"
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(UV, "pip", "install", "-q", "--python", scripts / "python", "-c", constraints, wheel, cwd=folder)
    run(scripts / "python", "-m", "pip", "uninstall", "-q", "--yes", PROJECT["name"], cwd=folder)
    run(scripts / "python", "-m", "pip", "install", "-q", "--no-index", wheel, cwd=folder)
    return scripts


def test_imports_match_declared_dependencies() -> None:
    """Every package that `service` imports is a declared dependency, and every dependency is imported.

    Several packages provide `opentelemetry`; those that are imported are the extra `otel`.
    """
    imported = {
        name.partition(".")[0]
        for path in (ROOT / "service").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    provided = packages_distributions()
    foreign = imported - sys.stdlib_module_names - {"service"}
    assert foreign <= provided.keys()
    optional = {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"]["otel"]}
    assert "opentelemetry" in foreign
    assert optional <= {canonicalize_name(package) for package in provided["opentelemetry"]}
    needed = {canonicalize_name(package) for name in foreign - {"opentelemetry"} for package in provided[name]}
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert needed == declared - DATA_ONLY


@pytest.mark.parametrize(
    ("started", "named"),
    [
        ("/usr/local/bin/currency-ticker", "currency-ticker"),
        ("/app/service/__main__.py", "python -m service"),
        ("/usr/bin/gunicorn", "python -m service"),
    ],
)
def test_messages_name_the_program_that_runs(started: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in messages can be copied to a shell."""
    monkeypatch.setattr(sys, "argv", [started])
    assert program() == named


@pytest.mark.slow
@pytest.mark.timeout(2 * INSTALLATION)
def test_wheel_is_the_package_with_its_data(wheel: Path, tracked: set[str]) -> None:
    """It has every tracked file of `service`, the default settings and the licence, and nothing else."""
    default = "service/settings/default.toml"
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    files = {name: text for name, text in packed.items() if ".dist-info/" not in name}
    assert files.keys() == {name for name in tracked if name.startswith("service/")} | {default}
    assert files.pop(default) == (ROOT / "config" / "default.toml").read_bytes()
    assert all(text == (ROOT / name).read_bytes() for name, text in files.items())
    assert "service/py.typed" in files
    assert any(name.endswith("/licenses/LICENSE") for name in packed)


@pytest.mark.slow
@pytest.mark.timeout(2 * INSTALLATION)
def test_sdist_builds_the_same_wheel(source: Path, wheel: Path, tracked: set[str], tmp_path: Path) -> None:
    """The source distribution has only tracked files, and all that the wheel needs."""
    run(UV, "build", "-q", "--out-dir", tmp_path, source, cwd=tmp_path)  # builds the wheel from the source distribution
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - tracked == {"PKG-INFO"}
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(2 * INSTALLATION)
def test_installed_script_serves_outside_a_checkout(installed: Path, tmp_path: Path) -> None:
    """It starts its embedded store in the current directory, and serves pages, all languages and the API."""
    service = Installed(installed / "currency-ticker", tmp_path)
    try:
        for path, found in (
            ("/readyz", '{"status":"pass"}'),
            ("/v1/ticker.txt", "usd -0.77%\neur +0.44%\nrub 0.00%\ngbp -0.02%\ncny -0.27%\n"),
            ("/", '<div class="ticker strip auto recorded"'),
            ("/?lang=ru", "Виджет курсов валют"),
            ("/embed", '<span class="code">usd</span>'),
            ("/embed?lang=kk", "үлгі деректер"),
            ("/embed.js", "customElements"),
            ("/v1/ticker.svg", "<svg"),
            ("/v1/ticker.atom", "<feed"),
            ("/docs", '<div id="viewer">'),
            ("/openapi.json", '"openapi":"3.1.'),
        ):
            service.wait_for(path, found, within=60)
        page = service.wait_for("/docs", "swagger-ui-bundle", within=60)
        script = next(part for part in page.split('"') if "swagger-ui-bundle" in part)
        service.wait_for(f"/{script}", "SwaggerUIBundle", within=60)
    finally:
        service.process.terminate()
        status, log = service.ended(within=60)
    assert (status, "Traceback" in log) == (0, False), log
    assert [path.name for path in tmp_path.iterdir()] == [".data"]


@pytest.mark.slow
@pytest.mark.timeout(2 * INSTALLATION)
def test_script_has_the_help_of_the_module(installed: Path, tmp_path: Path) -> None:
    """Script and module print the same commands, with their own names. A shell completes those of the script only."""
    script = run(installed / "currency-ticker", "--help", cwd=tmp_path)
    module = run(installed / "python", "-m", "service", "--help", cwd=tmp_path)
    assert script.startswith("Usage: currency-ticker [OPTIONS]")
    assert module.startswith("Usage: python -m service [OPTIONS]")
    assert "serve" in script.partition("Commands:")[2]
    assert script.partition("Commands:")[2] == module.partition("Commands:")[2].replace(
        "python -m service", "currency-ticker"
    )
    assert ["--install-completion" in text for text in (script, module)] == [True, False]


@pytest.mark.slow
@pytest.mark.timeout(2 * INSTALLATION)
def test_uvx_runs_the_checkout(source: Path, constraints: Path, tmp_path: Path) -> None:
    """`uvx --from <checkout> currency-ticker` works without an installation."""
    tool = ("tool", "run", "-q", "--constraints", constraints, "--from", source, "currency-ticker")
    assert "serve" in run(UV, *tool, "--help", cwd=tmp_path)
    assert "nbk" in run(UV, *tool, "sources", "--markdown", cwd=tmp_path)
