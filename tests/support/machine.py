"""Check CPU time against bounds for the machine of docs/security.md, scaled up on slower machines."""

from time import thread_time
from typing import Final

_TURNS: Final = 1_000_000
_REFERENCE: Final = 0.013
"""Seconds that `_TURNS` iterations of an empty loop take on that machine."""


def fits(seconds: float, bound: float) -> bool:
    """Return whether work took no more CPU time than it would on the reference machine."""
    return seconds <= bound or seconds <= bound * _slower()


def _slower() -> float:
    """Return how many times slower this machine is now, under its current load."""
    begun = thread_time()
    for _ in range(_TURNS):
        pass
    return (thread_time() - begun) / _REFERENCE
