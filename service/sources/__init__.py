"""Every source that can be asked: the adapter behind each key of `[sources.<key>]`."""

from typing import Final

from service.sources.base import Source
from service.sources.bnr import Bnr
from service.sources.boc import Boc
from service.sources.boe import Boe
from service.sources.cba import Cba
from service.sources.cbr import Cbr
from service.sources.cbu import Cbu
from service.sources.cnb import Cnb
from service.sources.ecb import Ecb
from service.sources.frankfurter import Frankfurter
from service.sources.mnb import Mnb
from service.sources.nbg import Nbg
from service.sources.nbk import Nbk
from service.sources.nbkr import Nbkr
from service.sources.nbm import Nbm
from service.sources.nbp import Nbp
from service.sources.nbrb import Nbrb
from service.sources.nbt import Nbt
from service.sources.nbu import Nbu
from service.sources.recorded import Recorded

RELAYS: Final = frozenset({"frankfurter"})
"""Adapters that must be told whose rates to ask for."""
LATEST_ONLY: Final = frozenset({"nbkr", "recorded"})
"""Adapters that cannot ask for a date: what was missed stays missing, and there is no history to be had."""
BY_YEAR: Final = frozenset({"cnb", "bnr", "boc", "boe", "mnb", "frankfurter"})
"""Adapters that are best asked for a year at once: a request brings that much, and it is not too large."""
OWN_CHANGES: Final = frozenset({"nbk", "cbu", "nbg", "cba", "recorded"})
"""Adapters whose answers have the absolute changes of the bank's own beside the rates."""
SOURCES: Final[dict[str, Source]] = {
    "nbk": Nbk(),
    "cbr": Cbr(),
    "ecb": Ecb(),
    "nbu": Nbu(),
    "cbu": Cbu(),
    "nbrb": Nbrb(),
    "nbkr": Nbkr(),
    "nbg": Nbg(),
    "nbm": Nbm(),
    "cba": Cba(),
    "nbt": Nbt(),
    "nbp": Nbp(),
    "cnb": Cnb(),
    "bnr": Bnr(),
    "mnb": Mnb(),
    "boc": Boc(),
    "boe": Boe(),
    "frankfurter": Frankfurter(),
    "recorded": Recorded(),
}
