"""Garbage collector and thread switching, tuned so that neither keeps the event loop from its clients for long.

Without it, a full collection with 10,000 open streams stops the loop for tens of milliseconds (`make bench`, row
"longest pause"). `runtime.gc_tuning = false` leaves Python's defaults.
"""

import gc
import sys
from typing import Final

enabled = True
"""Set from `runtime.gc_tuning` before the application is created."""
_SWITCH_INTERVAL: Final = 0.0005
"""Seconds for which a thread may hold the interpreter when the event loop wants to run."""


def pause_while_loading() -> None:
    """Do not collect while modules are imported: they leave 0.7 MB of garbage. `tune_runtime` ends this."""
    gc.disable()


def tune_runtime() -> None:
    """Exclude what is loaded from collections, collect from now on, and switch threads sooner."""
    if enabled:
        gc.freeze()
        sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.enable()


def freeze() -> None:
    """Exclude what has been loaded since from collections: 90 days of rates are 100,000 objects that stay."""
    if enabled:
        gc.freeze()
