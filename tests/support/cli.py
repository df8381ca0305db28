"""Run commands in this process or in a process of their own."""

import os
import subprocess
import sys
from collections.abc import Mapping

import structlog
from typer.testing import CliRunner, Result

from service.cli.main import cli
from service.settings.loader import ROOT

WIDTH = {"COLUMNS": "200"}
"""Wide enough for every table."""


def command(environ: Mapping[str, str], *arguments: str) -> Result:
    """Run a command in this process, with these `TICKER_` variables alone; standard input is empty.

    It runs an event loop: call it in a thread if one is running, and not concurrently, because standard output
    and environment belong to the whole process. Raise any exception that the command does not handle.
    """
    unset = dict.fromkeys(name for name in os.environ if name.startswith("TICKER_"))
    try:
        return CliRunner().invoke(
            cli, arguments, env=unset | WIDTH | dict(environ), catch_exceptions=False, prog_name="python -m service"
        )
    finally:
        structlog.reset_defaults()  # it would log to a standard error that is closed


def process(environ: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with these arguments, e.g. `-m service show`, and with these `TICKER_` variables alone."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=clean | WIDTH | dict(environ), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
