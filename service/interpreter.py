"""How the interpreter is set, so that neither its collector nor a thread keeps the loop from readers for long.

A full round of the collector looks at all there is, half a millisecond for a thousand objects: 10,000 open streams
took it a sixth of a second, several times while they were opened. So what a long round has left is set aside. It is
freed as ever when nobody refers to it any more, which is how streams and figures end: only what is in a cycle by then
stays, some hundred objects of 60,000 streams that were opened and closed.
"""

import gc
import sys
import time
from typing import Any, Final

LONG: Final = 0.004
"""Seconds of a full round that looks at too much."""
_ROUNDS: Final = 1
"""How many rounds of the middle generation may pass without a full one: so that no full one finds much that is new."""
_TURN: Final = 0.0005
"""Seconds that a thread may go on when the loop wants its turn."""


def settle() -> None:
    """Set aside what is loaded, collect from now on, and share out turns."""
    begun = 0.0

    def called(phase: str, info: dict[str, Any]) -> None:
        nonlocal begun
        if phase == "start":
            begun = time.thread_time()
        elif info["generation"] == 2 and time.thread_time() - begun > LONG:
            gc.freeze()

    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _ROUNDS)
    gc.callbacks.append(called)
    gc.enable()
    sys.setswitchinterval(_TURN)
