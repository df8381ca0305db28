"""How the interpreter is set, so that neither its collector nor a thread keeps the loop from readers for long."""

import gc
import sys
from typing import Final

_TURN: Final = 0.0005
"""Seconds that a thread may go on when the loop wants its turn."""


def tune_runtime() -> None:
    """Set aside what is loaded, which no round of the collector need look at; collect from now on; share out turns."""
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(_TURN)
