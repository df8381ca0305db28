"""The examples of packages/element, with the npm packages that their lock file names."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from service.settings.loader import ROOT

PACKAGE: Final = ROOT / "packages" / "element"
EXAMPLES: Final = PACKAGE / "examples"
EXAMPLE_SERVICE: Final = "https://ticker.example"
"""The URL of the service in the examples."""
TIMEOUT: Final = 600
"""Timeout in seconds of a command, which may download all packages."""


def run(*command: str | Path, cwd: Path) -> str:
    """Return the output of a command; fail with the output if it fails."""
    status, output = run_unchecked(*command, cwd=cwd)
    assert status == 0, output
    return output


def run_unchecked(*command: str | Path, cwd: Path) -> tuple[int, str]:
    """Return the exit status of a command and its output, without colours."""
    environ = os.environ | {"NO_COLOR": "1", "CI": "1", "NEXT_TELEMETRY_DISABLED": "1"}
    done = subprocess.run(
        command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def toolchain() -> Path:
    """Return the folder whose `node_modules` has the packages of the lock file; install them if they are missing."""
    if not shutil.which("npm"):
        pytest.skip("NO TESTS OF FRAMEWORKS: npm was not found")
    lock = EXAMPLES / "package-lock.json"
    folder = ROOT / ".venv" / f"examples-{sha256(lock.read_bytes()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    installed = folder / "installed"
    with (folder / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # tests of another process wait until the packages are there
        if not installed.exists():
            for file in (EXAMPLES / "package.json", lock):
                shutil.copy(file, folder)
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
            installed.touch()
    return folder


@contextmanager
def working_copy(service: str = EXAMPLE_SERVICE) -> Iterator[Path]:
    """Yield a copy of the examples that use `service`, beside the package as `npm pack` makes it."""
    tools = toolchain()
    with tempfile.TemporaryDirectory(dir=tools, prefix="run-") as name:
        folder = Path(name)
        for file in EXAMPLES.rglob("*"):
            copy = folder / file.relative_to(EXAMPLES)
            if file.is_file() and not file.name.startswith("package"):
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(file.read_text(encoding="utf-8").replace(EXAMPLE_SERVICE, service), encoding="utf-8")
        unpack(folder / "node_modules" / "@currency-ticker" / "element")
        yield folder


def unpack(folder: Path) -> list[str]:
    """Unpack what `npm pack` makes of the package to `folder`, and return the names of its files."""
    with tempfile.TemporaryDirectory() as name:
        (packed,) = json.loads(run("npm", "pack", "--json", "--pack-destination", name, cwd=PACKAGE))
        shutil.unpack_archive(Path(name) / packed["filename"], name, filter="data")
        shutil.copytree(Path(name) / "package", folder)
    return sorted(file["path"] for file in packed["files"])


def bin_of(folder: Path, name: str) -> Path:
    """Return the path of a command of the toolchain, from a working copy."""
    return folder.parent / "node_modules" / ".bin" / name
