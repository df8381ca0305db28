"""Every source that can be asked: the adapter behind each key of `[sources.<key>]`."""

from typing import Final

from service.sources.adapter import SourceAdapter
from service.sources.banks.bnr import Bnr
from service.sources.banks.boc import Boc
from service.sources.banks.boe import Boe
from service.sources.banks.cba import Cba
from service.sources.banks.cbr import Cbr
from service.sources.banks.cbu import Cbu
from service.sources.banks.cnb import Cnb
from service.sources.banks.ecb import Ecb
from service.sources.banks.frankfurter import Frankfurter
from service.sources.banks.mnb import Mnb
from service.sources.banks.nbg import Nbg
from service.sources.banks.nbk import Nbk
from service.sources.banks.nbkr import Nbkr
from service.sources.banks.nbm import Nbm
from service.sources.banks.nbp import Nbp
from service.sources.banks.nbrb import Nbrb
from service.sources.banks.nbt import Nbt
from service.sources.banks.nbu import Nbu
from service.sources.banks.recorded import Recorded

RELAYS: Final = frozenset({"frankfurter"})
"""Adapters that must be told whose rates to ask for."""
LATEST_ONLY: Final = frozenset({"nbkr", "recorded"})
"""Adapters that cannot ask for a date: what was missed stays missing, and there is no history to be had."""
BY_YEAR: Final = frozenset({"cnb", "bnr", "boc", "boe", "mnb", "frankfurter"})
"""Adapters that are best asked for a year at once: a request brings that much, and it is not too large."""
OWN_CHANGES: Final = frozenset({"nbk", "cbu", "nbg", "cba", "recorded"})
"""Adapters whose answers have the absolute changes of the bank's own beside the rates."""
SOURCES: Final[dict[str, SourceAdapter]] = {
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
