"""The name of the running program, for messages that name another of its commands."""

import sys
from pathlib import Path
from typing import Final

SCRIPT: Final = "currency-ticker"
"""The console script of an installed package."""


def program() -> str:
    """Return the console script if it was started, otherwise `python -m service`."""
    return SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m service"


def set_rate_command(source: str) -> str:
    """Return the command that enters rates of a source."""
    return f"{program()} set-rate {source} DATE CODE=VALUE"
