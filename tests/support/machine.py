"""Bounds of CPU time: they are those of the machine of docs/security.md, and grow on a slower one."""

from time import thread_time
from typing import Final

_TURNS: Final = 1_000_000
_REFERENCE: Final = 0.013
"""Seconds that so many turns of an empty loop take there."""


def fits(seconds: float, bound: float) -> bool:
    """Return whether work took no more CPU time than it would on the reference machine."""
    return seconds <= bound or seconds <= bound * _slower()


def _slower() -> float:
    """Return how many times slower this machine is now, with whatever else it does."""
    begun = thread_time()
    for _ in range(_TURNS):
        pass
    return (thread_time() - begun) / _REFERENCE
