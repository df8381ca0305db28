"""Background tasks, and every adjustment of the interpreter: what each gains, and how to switch it off."""

from typing import Protocol

from service.runtime import gc_tuning, lazy_imports


class _Switches(Protocol):
    @property
    def gc_tuning(self) -> bool: ...

    @property
    def lazy_imports(self) -> bool: ...


def configure(switches: _Switches) -> None:
    """Switch the adjustments on or off, for this process."""
    gc_tuning.enabled = switches.gc_tuning
    lazy_imports.enabled = switches.lazy_imports
