"""The units in config/systemd, verified by systemd's own tool."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings.loader import ROOT

UNITS = sorted((ROOT / "config" / "systemd").iterdir())
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")


def options(path: Path) -> set[str]:
    return {line for line in path.read_text(encoding="utf-8").splitlines() if "=" in line and not line.startswith("#")}


@needs_systemd
def test_units_are_valid(tmp_path: Path) -> None:
    """Without a message, except that the paths of the installation are those of this checkout here."""
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8")
        text = text.replace("/opt/currency-ticker/current/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text.replace("/opt/currency-ticker/current", str(ROOT)), encoding="utf-8")
    copies = [str(tmp_path / unit.name) for unit in UNITS]
    command = ("systemd-analyze", "verify", "--man=no", *copies)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    messages = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "currency-ticker" in line]
    assert (done.returncode, messages) == (0, [])


@needs_systemd
def test_exposure_is_low() -> None:
    """As systemd rates it, without the network that the service needs: at most 2.5 of 10."""
    command = ("systemd-analyze", "security", "--offline=yes", "--threshold=25")
    unit = ROOT / "config" / "systemd" / "currency-ticker.service"
    done = subprocess.run((*command, unit), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_backup_is_as_confined_as_the_service() -> None:
    service, backup = (
        options(ROOT / "config" / "systemd" / f"currency-ticker{name}.service") for name in ("", "-backup")
    )
    confining = (
        "Protect",
        "Private",
        "Restrict",
        "Capability",
        "NoNew",
        "SystemCall",
        "Lock",
        "UMask",
        "User",
        "State",
    )
    assert {line for line in service if line.startswith(confining)} == {
        line for line in backup if line.startswith(confining)
    }
